package lifecycle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// usedAddresses are those of addrs that the service holds, what the guest is configured with first, and in what they differ
// from what the VM says: from ipconfig0, and from the IPSet where there is one. Where the guest asks DHCP, and the package
// wants no address, what WHMCS has was typed in by somebody, and is not ours to hold.
func usedAddresses(s *kvm.Service, vm *kvm.VM, addrs []netip.Addr, entries []string, filtered bool) (used []netip.Addr, wrong []string) {
	differs := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if vm.IPConfigOdd {
		differs("its ipconfig0 %.80q cannot be understood", vm.Keys["ipconfig0"])
	}
	v4, v6 := wanted(s.Package.Network)
	var set []netip.Addr
	for _, e := range entries {
		a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimSuffix(e, "/128"), "/32"))
		switch {
		case strings.HasPrefix(strings.ToLower(e), "fe80:"): // belongs to every VM
		case err != nil || !slices.Contains(addrs, a.Unmap()):
			differs("its IPSet %s has %s, which WHMCS has not", ipSet, e)
		default:
			set = append(set, a.Unmap())
		}
	}
	ip := vm.IPConfig
	for _, f := range []struct {
		family kvm.Family
		guest  netip.Addr
		dhcp   bool
		wants  int
	}{{kvm.IPv4, ip.Addr4.Addr(), ip.DHCP4, v4}, {kvm.IPv6, ip.Addr6.Addr(), ip.DHCP6, v6}} {
		own := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return kvm.FamilyOf(a) != f.family })
		switch {
		case f.dhcp && f.wants == 0:
			continue
		case f.dhcp && len(own) > 0:
			differs("its ipconfig0 leaves %s to DHCP, and WHMCS has %s", f.family, own[0])
		case f.guest.IsValid() && !slices.Contains(own, f.guest):
			differs("its ipconfig0 has %s, which WHMCS has not", f.guest)
		case !f.guest.IsValid() && len(own) > 0 && !filtered && !vm.IPConfigOdd:
			differs("its ipconfig0 has no address of %s, and WHMCS has %s", f.family, own[0])
		}
		for _, a := range own {
			if filtered && !slices.Contains(set, a) {
				differs("its IPSet %s lacks %s, which WHMCS has", ipSet, a)
			}
		}
		slices.SortStableFunc(own, func(x, y netip.Addr) int { return rank(y == f.guest) - rank(x == f.guest) })
		used = append(used, own...)
	}
	return used, wrong
}

func rank(first bool) int {
	if first {
		return 1
	}
	return 0
}

// adoptedClaims are the claims for addrs: their network is that of the pool, but as the VM has it where it says so, for a
// pool that was edited must not change a VM that stands.
func adoptedClaims(s *kvm.Service, vm *kvm.VM, addrs []netip.Addr, pools []kvm.Pool) ([]kvm.Claim, error) {
	next := map[kvm.Family]int{}
	var out []kvm.Claim
	for _, a := range addrs {
		claim, found := fromPool(pools, a, vm.NIC)
		if !deploying(s) {
			claim.Bridge, claim.VLAN = vm.NIC.Bridge, vm.NIC.VLAN
			for _, guest := range []struct {
				addr    netip.Prefix
				gateway netip.Addr
			}{{vm.IPConfig.Addr4, vm.IPConfig.Gateway4}, {vm.IPConfig.Addr6, vm.IPConfig.Gateway6}} {
				if guest.addr.Addr() != a {
					continue
				}
				found = true
				claim.Bits, claim.Gateway = guest.addr.Bits(), guest.gateway
			}
		}
		if !found {
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s of service %d is in no pool of WHMCS server %d, and the guest is not configured with it: its network is not known", a, s.ID, s.Row.ServerID),
				"puqkvm ippool add --server %d --bridge %s --vlan %d --gateway GATEWAY/BITS --first %s --last %s", s.Row.ServerID, vm.NIC.Bridge, vm.NIC.VLAN, a, a)
		}
		family := kvm.FamilyOf(a)
		claim.Addr, claim.Position = a, next[family]
		next[family]++
		out = append(out, claim)
	}
	if !deploying(s) {
		keepNameservers(out, vm.Nameservers)
	}
	return out, nil
}

// keepNameservers gives the first claim of each family the servers that the guest asks, as far as two each go, where the
// pools would tell it others.
func keepNameservers(claims []kvm.Claim, asked []netip.Addr) {
	var told []netip.Addr
	var firsts []*kvm.Claim
	for i := range claims {
		if claims[i].Position == 0 {
			firsts = append(firsts, &claims[i])
			told = appendDNS(told, claims[i])
		}
	}
	if len(asked) == 0 || slices.Equal(told, asked) {
		return
	}
	asked = append(slices.Clone(asked), make([]netip.Addr, 2*len(firsts))...)
	for i, c := range firsts {
		c.DNS1, c.DNS2 = asked[2*i], asked[2*i+1]
	}
}

// fromPool is a claim of a with the network of the pool that has it: one of the VM's own bridge and VLAN before others.
func fromPool(pools []kvm.Pool, a netip.Addr, nic *kvm.NIC) (claim kvm.Claim, found bool) {
	for _, p := range pools {
		if kvm.FamilyOf(a) != p.Family || a.Less(p.First) || p.Last.Less(a) {
			continue
		}
		same := p.Bridge == nic.Bridge && p.VLAN == nic.VLAN
		if found && !same {
			continue
		}
		claim = kvm.Claim{Addr: a, PoolID: p.ID, Bridge: p.Bridge, VLAN: p.VLAN, Gateway: p.Gateway, Bits: p.Bits, DNS1: p.DNS1, DNS2: p.DNS2}
		if found = true; same {
			break
		}
	}
	return claim, found
}
