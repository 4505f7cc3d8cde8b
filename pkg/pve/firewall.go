package pve

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Firewall reads the VM's firewall: options with Proxmox's defaults for what is not set, the sets with their entries (a
// nomatch entry has a "!" in front), and the rules. Options.AntiSpoof stays false: it is no option. With options false they
// are not read.
func (c *Client) Firewall(ctx context.Context, o kvm.Owned, options bool) (kvm.FirewallState, error) {
	var st kvm.FirewallState
	vm, err := target(o)
	if err != nil {
		return st, err
	}
	fail := func(err error) (kvm.FirewallState, error) {
		return kvm.FirewallState{}, onVM(vm, "reading the firewall", err)
	}
	if options {
		if err := c.readOptions(ctx, vm, &st); err != nil {
			return fail(err)
		}
	}
	var sets []struct {
		Name text `json:"name"`
	}
	if err := c.get(ctx, guest(vm, "firewall", "ipset"), nil, &sets); err != nil {
		return fail(err)
	}
	st.IPSets = make(map[string][]string, len(sets))
	for _, set := range sets {
		if st.IPSets[string(set.Name)], err = c.entries(ctx, vm, string(set.Name)); err != nil {
			return fail(err)
		}
	}
	if st.Rules, err = c.rules(ctx, vm); err != nil {
		return fail(err)
	}
	return st, nil
}

// FirewallAgain is have with its options, and the entries of set where that is not "", read anew.
func (c *Client) FirewallAgain(ctx context.Context, o kvm.Owned, have kvm.FirewallState, set string) (kvm.FirewallState, error) {
	vm, err := target(o)
	if err != nil {
		return have, err
	}
	if have.IPSets = maps.Clone(have.IPSets); have.IPSets == nil {
		have.IPSets = map[string][]string{}
	}
	if err := c.readOptions(ctx, vm, &have); err != nil {
		return have, onVM(vm, "reading the firewall", err)
	}
	if set == "" {
		return have, nil
	}
	entries, err := c.entries(ctx, vm, set)
	if err != nil {
		return have, onVM(vm, "reading the firewall", err)
	}
	have.IPSets[set] = entries
	return have, nil
}

func (c *Client) readOptions(ctx context.Context, vm *kvm.VM, st *kvm.FirewallState) error {
	raw := dict[text]{}
	err := c.get(ctx, guest(vm, "firewall", "options"), nil, &raw)
	if err != nil {
		return err
	}
	if st.Options, err = firewallOptions(raw); err != nil {
		return err
	}
	st.Digest = string(raw["digest"])
	return nil
}

// entries are those of a set, a nomatch entry with a "!" in front.
func (c *Client) entries(ctx context.Context, vm *kvm.VM, set string) ([]string, error) {
	var rows []struct {
		CIDR    text `json:"cidr"`
		NoMatch flag `json:"nomatch"`
	}
	if err := c.get(ctx, guest(vm, "firewall", "ipset", set), nil, &rows); err != nil {
		return nil, err
	}
	list := make([]string, 0, len(rows))
	for _, e := range rows {
		entry := string(e.CIDR)
		if e.NoMatch {
			entry = "!" + entry
		}
		list = append(list, entry)
	}
	return list, nil
}

// firewallOptions fills in the defaults of PVE's code, which its schema does not tell (dhcp and ndp are on).
func firewallOptions(raw dict[text]) (f kvm.Firewall, err error) {
	for _, o := range []struct {
		key, none string
		to        *bool
	}{
		{"enable", "0", &f.Enable}, {"dhcp", "1", &f.DHCP}, {"ndp", "1", &f.NDP}, {"radv", "0", &f.RADV},
		{"macfilter", "1", &f.MACFilter}, {"ipfilter", "0", &f.IPFilter},
	} {
		if *o.to, err = parseFlag(or(string(raw[o.key]), o.none)); err != nil {
			return f, fmt.Errorf("the option %s: %w", o.key, err)
		}
	}
	f.PolicyIn = or(string(raw["policy_in"]), "DROP")
	f.PolicyOut = or(string(raw["policy_out"]), "ACCEPT")
	f.LogIn = or(string(raw["log_level_in"]), "nolog")
	f.LogOut = or(string(raw["log_level_out"]), "nolog")
	return f, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// SetFirewall writes all options, so nothing of the template's stays. A policy or log level that is empty is Proxmox's
// default.
func (c *Client) SetFirewall(ctx context.Context, o kvm.Owned, f kvm.Firewall) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	return onVM(vm, "setting the firewall's options", c.do(ctx, http.MethodPut, guest(vm, "firewall", "options"), params{
		"enable": bit(f.Enable), "dhcp": bit(f.DHCP), "ndp": bit(f.NDP), "radv": bit(f.RADV),
		"macfilter": bit(f.MACFilter), "ipfilter": bit(f.IPFilter),
		"policy_in": or(f.PolicyIn, "DROP"), "policy_out": or(f.PolicyOut, "ACCEPT"),
		"log_level_in": or(f.LogIn, "nolog"), "log_level_out": or(f.LogOut, "nolog"),
	}))
}

// SetIPSet makes the set if it is missing and makes its entries exactly addrs; have are its present entries as Firewall
// gave them. What is missing is added before what is too much goes, so that no address of the VM is ever shut out.
func (c *Client) SetIPSet(ctx context.Context, o kvm.Owned, name string, exists bool, have []string, addrs []netip.Addr) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	what := "setting the IPSet " + name
	want := make(map[netip.Prefix]bool, len(addrs))
	for _, a := range addrs {
		if !a.IsValid() || a.Zone() != "" {
			return kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %s: %s is no address for a firewall", vm.VMID, vm.Node, what, a)
		}
		a = a.Unmap()
		want[netip.PrefixFrom(a, a.BitLen())] = false
	}
	if !exists {
		err := c.do(ctx, http.MethodPost, guest(vm, "firewall", "ipset"), params{"name": name})
		if err != nil && !alreadyThere(err) {
			return onVM(vm, what, err)
		}
	}
	var surplus []string
	for _, entry := range have {
		if p, ok := entryPrefix(entry); ok {
			if _, wanted := want[p]; wanted {
				want[p] = true
				continue
			}
		}
		plain, nomatch := strings.CutPrefix(entry, "!")
		p, ok := entryPrefix(plain)
		_, clash := want[p]
		if nomatch && ok && clash { // it stands in the way of the entry that is to be added
			if err := c.deleteEntry(ctx, vm, name, plain); err != nil {
				return onVM(vm, what, err)
			}
			continue
		}
		surplus = append(surplus, plain)
	}
	for _, a := range addrs {
		a = a.Unmap()
		if want[netip.PrefixFrom(a, a.BitLen())] {
			continue
		}
		want[netip.PrefixFrom(a, a.BitLen())] = true
		err := c.do(ctx, http.MethodPost, guest(vm, "firewall", "ipset", name), params{"cidr": a.String()})
		if err != nil && !alreadyThere(err) {
			return onVM(vm, what, err)
		}
	}
	for _, entry := range surplus {
		if err := c.deleteEntry(ctx, vm, name, entry); err != nil {
			return onVM(vm, what, err)
		}
	}
	return nil
}

// deleteEntry removes one entry; one that is gone already is no error of Proxmox's.
func (c *Client) deleteEntry(ctx context.Context, vm *kvm.VM, set, entry string) error {
	return c.do(ctx, http.MethodDelete, guest(vm, "firewall", "ipset", set, entry), nil)
}

// entryPrefix is an entry as a prefix; Proxmox stores a single address without its length.
func entryPrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}

// DeleteIPSet deletes the set with its entries. One that is missing is done already.
func (c *Client) DeleteIPSet(ctx context.Context, o kvm.Owned, name string) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	err = c.do(ctx, http.MethodDelete, guest(vm, "firewall", "ipset", name), params{"force": "1"})
	if says(err, "no such IPSet") {
		return nil
	}
	return onVM(vm, "deleting the IPSet "+name, err)
}
