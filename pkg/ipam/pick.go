package ipam

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Taken is the addresses that nobody may get. An IPv4 address may stand in it as such or mapped to IPv6; zones do not
// belong in it. NewTaken makes one of any list.
type Taken map[netip.Addr]struct{}

// NewTaken is the set of addrs, unmapped and without zones.
func NewTaken(addrs []netip.Addr) Taken {
	t := make(Taken, len(addrs))
	for _, a := range addrs {
		t[a.Unmap().WithZone("")] = struct{}{}
	}
	return t
}

// Has says whether a, which is not mapped, is taken.
func (t Taken) Has(a netip.Addr) bool {
	if _, ok := t[a]; ok {
		return true
	}
	if !a.Is4() {
		return false
	}
	_, ok := t[netip.AddrFrom16(a.As16())]
	return ok
}

// Want is what a service is to get.
type Want struct {
	IPv4, IPv6 int    // how many addresses
	Auto       bool   // bridge and VLAN come from the pools
	Bridge     string // without Auto: pools of this bridge and VLAN serve, and no others
	VLAN       int
	Fixed      bool // the VM stands on Bridge and VLAN already: they count in spite of Auto
}

// Pick chooses free addresses for want from a server's pools: the lowest ones of the first pool that has any, then of the
// next. All come from one bridge and VLAN: want's, or with Auto the first (in the order of pools) that has enough of both
// families. The IPv4 claims come first; positions count from 0 in each family.
//
// When the pools do not suffice nothing is chosen, and the error is kvm.ErrExhausted, naming every pool that could have
// served and its use. A negative number wanted is kvm.ErrInvalid.
func Pick(pools []kvm.Pool, taken Taken, want Want) ([]kvm.Claim, error) {
	if want.IPv4 < 0 || want.IPv6 < 0 {
		return nil, kvm.Errorf(kvm.ErrInvalid, "%d IPv4 and %d IPv6 addresses cannot be given out", want.IPv4, want.IPv6)
	}
	if want.IPv4+want.IPv6 == 0 {
		return nil, nil
	}
	groups := segments(pools)
	if !want.Auto || want.Fixed {
		groups = only(groups, want.Bridge, want.VLAN)
	}
	for _, g := range groups {
		if claims, ok := g.pick(taken, want); ok {
			return claims, nil
		}
	}
	return nil, exhausted(groups, taken, want)
}

// segment is the pools of one bridge and VLAN, where all addresses can see each other.
type segment struct {
	bridge   string
	vlan     int
	pools    []kvm.Pool // those that pass Validate, addresses unmapped
	broken   []error    // what is wrong with the others
	reserved Taken      // gateways and DNS servers of all its pools
}

// segments sorts pools by bridge and VLAN, in the order in which these first appear.
func segments(pools []kvm.Pool) []*segment {
	type place struct {
		bridge string
		vlan   int
	}
	var all []*segment
	at := map[place]*segment{}
	for _, p := range pools {
		p = unmapped(p)
		g := at[place{p.Bridge, p.VLAN}]
		if g == nil {
			g = &segment{bridge: p.Bridge, vlan: p.VLAN, reserved: Taken{}}
			at[place{p.Bridge, p.VLAN}] = g
			all = append(all, g)
		}
		for _, a := range []netip.Addr{p.Gateway, p.DNS1, p.DNS2} {
			if a.IsValid() {
				g.reserved[a] = struct{}{}
			}
		}
		if err := Validate(p); err != nil {
			g.broken = append(g.broken, err)
			continue
		}
		g.pools = append(g.pools, p)
	}
	return all
}

// only is the segment of bridge and vlan; when there is none, an empty one that the error can name.
func only(groups []*segment, bridge string, vlan int) []*segment {
	for _, g := range groups {
		if g.bridge == bridge && g.vlan == vlan {
			return []*segment{g}
		}
	}
	return []*segment{{bridge: bridge, vlan: vlan}}
}

// pick is all that is wanted, or ok false.
func (g *segment) pick(taken Taken, want Want) (claims []kvm.Claim, ok bool) {
	given := make(Taken, want.IPv4+want.IPv6) // pools may overlap
	for _, w := range []struct {
		family kvm.Family
		n      int
	}{{kvm.IPv4, want.IPv4}, {kvm.IPv6, want.IPv6}} {
		n := 0
		for _, p := range g.pools {
			if p.Family != w.family {
				continue
			}
			for a := p.First; n < w.n && a.IsValid() && a.Compare(p.Last) <= 0; a = a.Next() {
				if taken.Has(a) || given.Has(a) || g.reserved.Has(a) || edge(p, a) {
					continue
				}
				given[a] = struct{}{}
				claims = append(claims, kvm.Claim{Addr: a, PoolID: p.ID, Bridge: p.Bridge, VLAN: p.VLAN,
					Gateway: p.Gateway, Bits: p.Bits, DNS1: p.DNS1, DNS2: p.DNS2, Position: n})
				n++
			}
		}
		if n < w.n {
			return nil, false
		}
	}
	return claims, true
}

// exhausted says what there is and why it does not suffice.
func exhausted(groups []*segment, taken Taken, want Want) error {
	var wanted, parts, families []string
	for _, w := range []struct {
		family kvm.Family
		n      int
	}{{kvm.IPv4, want.IPv4}, {kvm.IPv6, want.IPv6}} {
		if w.n == 0 {
			continue
		}
		wanted = append(wanted, fmt.Sprintf("%d %s", w.n, name(w.family)))
		for _, g := range groups {
			found := false
			for _, p := range g.pools {
				if p.Family != w.family {
					continue
				}
				found = true
				parts = append(parts, fmt.Sprintf("%s, %s %s-%s: %s", where(g.bridge, g.vlan), name(w.family), p.First, p.Last, usage(p, taken, g.reserved)))
			}
			if !found {
				parts = append(parts, fmt.Sprintf("%s: no %s pool", where(g.bridge, g.vlan), name(w.family)))
			}
		}
		families = append(families, name(w.family))
	}
	for _, g := range groups {
		for _, err := range g.broken {
			parts = append(parts, "passed over: "+err.Error())
		}
	}
	if len(groups) == 0 {
		parts = append(parts, "no pool at all")
	}
	on := "on one bridge and VLAN"
	if !want.Auto || want.Fixed {
		on = "on " + where(want.Bridge, want.VLAN)
	}
	return kvm.WithHint(kvm.Errorf(kvm.ErrExhausted, "not enough free addresses: wanted %s %s; there is %s",
		strings.Join(wanted, " and "), on, strings.Join(parts, "; ")),
		"puqkvm ippool add ... gives more: %s addresses %s", strings.Join(families, " and "), on)
}

func name(f kvm.Family) string {
	if f == kvm.IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

func where(bridge string, vlan int) string {
	if vlan == 0 {
		return bridge + " untagged"
	}
	return fmt.Sprintf("%s VLAN %d", bridge, vlan)
}
