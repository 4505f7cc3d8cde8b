package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// ipSet is the set that holds what net0 may send from; its mere existence switches the filter on.
const ipSet = "ipfilter-net0"

// configureFirewall makes a new VM's firewall the product's, with the policies and rules that the client has made. Other
// rules and sets are the template's, or were left under its VMID: they go.
func (l *Lifecycle) configureFirewall(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return l.makeFirewall(ctx, s, true)
}

// reapplyFirewall is for a VM that was given to its customer: rules and sets that an administrator has made stay. It says
// nothing of a firewall that was right already. With DHCP nothing is managed, but the set of the addresses that the VM had
// before would keep it from using any other.
func (l *Lifecycle) reapplyFirewall(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if s.Package.Network.DHCP() {
		c, vm, err := l.observe(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		have, err := c.Firewall(ctx, vm, true)
		if _, exists := have.IPSets[ipSet]; err != nil || !exists {
			return pipeline.Result{Note: "skip — DHCP"}, err
		}
		return pipeline.Result{}, c.DeleteIPSet(context.WithoutCancel(ctx), vm, ipSet)
	}
	res, err := l.makeFirewall(ctx, s, false)
	if res.Note == noChange {
		res.Note = ""
	}
	return res, err
}

// makeFirewall makes the VM's firewall the product's and the client's; with alone it has nothing else then. What somebody
// else changes meanwhile is looked at anew.
func (l *Lifecycle) makeFirewall(ctx context.Context, s *kvm.Service, alone bool) (pipeline.Result, error) {
	if s.Package.Network.DHCP() {
		return skip("skip — DHCP")
	}
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	want := wantedFirewall{options: s.Firewall.Applied(s.Package.Firewall), rules: s.Firewall.Rules, alone: alone}
	if s.Package.Firewall.AntiSpoof {
		for _, a := range s.Addrs {
			want.addrs = append(want.addrs, a.Addr)
		}
	}
	have, err := c.Firewall(ctx, vm, !s.Fresh) // a fresh VM's are the template's
	for try := 0; ; try++ {
		if err != nil {
			return pipeline.Result{}, err
		}
		changes := want.changes(ctx, c, vm, have)
		switch {
		case len(changes) == 0 && try > 0:
			return pipeline.Result{}, nil
		case len(changes) == 0:
			return skip(noChange)
		case try == digestTries:
			return pipeline.Result{}, fmt.Errorf("VM %d: the firewall was accepted by Proxmox but did not take effect", s.Row.VMID)
		}
		for _, change := range changes {
			if err = change(); err != nil {
				break
			}
		}
		if err != nil && (!errors.Is(err, kvm.ErrChanged) || try == digestTries-1) {
			return pipeline.Result{}, err
		}
		have, err = l.firewallAgain(ctx, c, vm, have, want)
	}
}

// firewallAgain reads what was changed: the options and our set, or all where there is more.
func (l *Lifecycle) firewallAgain(ctx context.Context, c Cluster, vm kvm.Owned, have kvm.FirewallState, want wantedFirewall) (kvm.FirewallState, error) {
	filtered := len(want.addrs) > 0
	_, ours := have.IPSets[ipSet]
	switch {
	case len(have.Rules.Rules) > 0, len(want.rules) > 0, len(have.IPSets) > 1, len(have.IPSets) == 1 && !(ours && filtered):
		return c.Firewall(ctx, vm, true)
	case filtered:
		return c.FirewallAgain(ctx, vm, have, ipSet)
	}
	return c.FirewallAgain(ctx, vm, have, "")
}

// wantedFirewall is what a VM's firewall shall be.
type wantedFirewall struct {
	options kvm.Firewall
	rules   []kvm.Rule
	addrs   []netip.Addr // that the VM may send from; nil = any
	alone   bool         // rules and sets of others go
}

// changes are the calls that make have what is wanted, in their order: rules and entries are written before the switch that
// makes them count. Each may be repeated. A signal ends none of them, but the next rule is not begun.
func (want wantedFirewall) changes(ctx context.Context, c Cluster, vm kvm.Owned, have kvm.FirewallState) (changes []func() error) {
	write := context.WithoutCancel(ctx)
	if _, settled := nextRuleStep(have.Rules.Rules, want.rules, want.alone); !settled {
		changes = append(changes, func() error {
			_, err := arrangeRules(ctx, c, vm, have.Rules, want.rules, want.alone)
			return err
		})
	}
	for _, name := range slices.Sorted(maps.Keys(have.IPSets)) {
		if name != ipSet && want.alone || name == ipSet && len(want.addrs) == 0 {
			changes = append(changes, func() error { return c.DeleteIPSet(write, vm, name) })
		}
	}
	entries, exists := have.IPSets[ipSet]
	if len(want.addrs) > 0 && !(exists && sameEntries(entries, want.addrs)) {
		changes = append(changes, func() error { return c.SetIPSet(write, vm, ipSet, exists, entries, want.addrs) })
	}
	options := want.options
	options.AntiSpoof = have.Options.AntiSpoof // the set's existence, and no option
	if have.Options != options {
		changes = append(changes, func() error { return c.SetFirewall(write, vm, options) })
	}
	return changes
}

// sameEntries compares a set's entries, which Proxmox writes without the prefix length of a single address, with addrs.
func sameEntries(entries []string, addrs []netip.Addr) bool {
	var have, want []netip.Addr
	for _, e := range entries {
		a, err := netip.ParseAddr(e)
		if err != nil {
			return false
		}
		have = append(have, a)
	}
	want = append(want, addrs...)
	slices.SortFunc(have, netip.Addr.Compare)
	slices.SortFunc(want, netip.Addr.Compare)
	return slices.Equal(have, want)
}
