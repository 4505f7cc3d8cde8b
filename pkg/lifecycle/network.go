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

// configureNetwork makes net0 as the package says. The MAC stays: it is the VM's, or the one kept for it on the row.
func (l *Lifecycle) configureNetwork(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return l.configure(ctx, s, change{kind: taskConfig, what: "net0",
		same: func(vm *kvm.VM) bool { return vm.NIC != nil && *vm.NIC == wantedNIC(s, vm) },
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return "", c.SetNIC(ctx, vm, wantedNIC(s, vm.VM()))
		}})
}

func wantedNIC(s *kvm.Service, vm *kvm.VM) kvm.NIC {
	n := s.Package.Network
	nic := kvm.NIC{Model: "virtio", Bridge: n.Bridge, VLAN: n.VLAN, Rate: n.Bandwidth, Firewall: s.Package.Firewall.Enable}
	if vm.NIC != nil {
		nic.Model, nic.MAC = vm.NIC.Model, vm.NIC.MAC
	}
	if n.Model != "" {
		nic.Model = n.Model
	}
	if s.Row.MAC != "" {
		nic.MAC = s.Row.MAC
	}
	if len(s.Addrs) > 0 {
		nic.Bridge, nic.VLAN = s.Addrs[0].Bridge, s.Addrs[0].VLAN
	}
	return nic
}

// configureFirewall makes the VM's firewall the product's. A fresh VM's rules and sets are the template's, or were left
// under its VMID: they go. What somebody else changes meanwhile is looked at anew.
func (l *Lifecycle) configureFirewall(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if s.Package.Network.DHCP() {
		return skip("skip — DHCP")
	}
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	var addrs []netip.Addr
	if s.Package.Firewall.AntiSpoof {
		for _, a := range s.Addrs {
			addrs = append(addrs, a.Addr)
		}
	}
	have, err := c.Firewall(ctx, vm, !s.Fresh) // a fresh VM's are the template's
	for try := 0; ; try++ {
		if err != nil {
			return pipeline.Result{}, err
		}
		changes := firewallChanges(c, vm, have, s.Package.Firewall, addrs)
		switch {
		case len(changes) == 0 && try > 0:
			return pipeline.Result{}, nil
		case len(changes) == 0:
			return skip(noChange)
		case try == digestTries:
			return pipeline.Result{}, fmt.Errorf("VM %d: the firewall was accepted by Proxmox but did not take effect", s.Row.VMID)
		}
		for _, change := range changes {
			if err = change(context.WithoutCancel(ctx)); err != nil {
				break
			}
		}
		if err != nil && (!errors.Is(err, kvm.ErrChanged) || try == digestTries-1) {
			return pipeline.Result{}, err
		}
		have, err = l.firewallAgain(ctx, c, vm, have, len(addrs) > 0)
	}
}

// firewallAgain reads what was changed: the options and our set, or all where rules or other sets had to go.
func (l *Lifecycle) firewallAgain(ctx context.Context, c Cluster, vm kvm.Owned, have kvm.FirewallState, filtered bool) (kvm.FirewallState, error) {
	_, ours := have.IPSets[ipSet]
	switch {
	case have.Rules > 0, len(have.IPSets) > 1, len(have.IPSets) == 1 && !(ours && filtered):
		return c.Firewall(ctx, vm, true)
	case filtered:
		return c.FirewallAgain(ctx, vm, have, ipSet)
	}
	return c.FirewallAgain(ctx, vm, have, "")
}

// firewallChanges are the calls that make have the firewall that is wanted, in their order: entries are written before the
// switch that makes them count. Each may be repeated.
func firewallChanges(c Cluster, vm kvm.Owned, have kvm.FirewallState, want kvm.Firewall, addrs []netip.Addr) (changes []func(context.Context) error) {
	if have.Rules > 0 {
		changes = append(changes, func(ctx context.Context) error { return c.ClearRules(ctx, vm, have.Rules) })
	}
	for _, name := range slices.Sorted(maps.Keys(have.IPSets)) {
		if name != ipSet || len(addrs) == 0 {
			changes = append(changes, func(ctx context.Context) error { return c.DeleteIPSet(ctx, vm, name) })
		}
	}
	entries, exists := have.IPSets[ipSet]
	if len(addrs) > 0 && !(exists && sameEntries(entries, addrs)) {
		changes = append(changes, func(ctx context.Context) error { return c.SetIPSet(ctx, vm, ipSet, exists, entries, addrs) })
	}
	want.AntiSpoof = have.Options.AntiSpoof // the set's existence, and no option
	if have.Options != want {
		changes = append(changes, func(ctx context.Context) error { return c.SetFirewall(ctx, vm, want) })
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
