package lifecycle

import (
	"context"
	"net/netip"
	"time"

	"github.com/puqkvm/puqkvm/pkg/ipam"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// allocatePatience is how long a service may take to get its addresses, its turn included.
const allocatePatience = time.Minute

// wanted are how many addresses of each family the package asks for; a family that DHCP serves needs none.
func wanted(n kvm.Network) (v4, v6 int) {
	v4, v6 = n.IPv4, n.IPv6
	if n.DHCP4 {
		v4 = 0
	}
	if n.DHCP6 {
		v6 = 0
	}
	return v4, v6
}

// allocateIP claims the addresses. What an earlier deploy of the service still holds is kept, as far as it is wanted.
func (l *Lifecycle) allocateIP(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
	n := s.Package.Network
	v4, v6 := wanted(n)
	res := pipeline.Result{Commit: func(ctx context.Context) error {
		// Services of one process queue for this; each has waited for those before it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), allocatePatience)
		defer cancel()
		return l.Store.Allocate(ctx, s, kvm.SetIP, func(pools []kvm.Pool, taken map[netip.Addr]struct{}) (kvm.Allotment, error) {
			return allot(s, pools, taken, v4, v6)
		})
	}}
	switch {
	case v4+v6 == 0 && n.DHCP():
		res.Note = "skip — DHCP"
	case v4+v6 == 0:
		res.Note = "skip — no addresses"
	}
	return res, nil
}

// allot chooses how the addresses of s change so that it has v4 and v6 of them. Those it has stay, the first ones first; what
// it lacks is taken from those that were leaving it, then from the pools: of the bridge and VLAN of what it has, else as the
// product says.
func allot(s *kvm.Service, pools []kvm.Pool, taken map[netip.Addr]struct{}, v4, v6 int) (kvm.Allotment, error) {
	n := s.Package.Network
	want := ipam.Want{Auto: n.Auto, Bridge: n.Bridge, VLAN: n.VLAN}
	var out kvm.Allotment
	next := map[kvm.Family]int{} // the position of the next one
	lacks := func(f kvm.Family, count int) int {
		for _, c := range s.Addrs {
			if kvm.FamilyOf(c.Addr) != f {
				continue
			}
			want.Fixed, want.Bridge, want.VLAN = true, c.Bridge, c.VLAN
			if count == 0 {
				out.Leave = append(out.Leave, c)
				continue
			}
			count, next[f] = count-1, max(next[f], c.Position+1)
		}
		for _, c := range s.Leaving {
			if kvm.FamilyOf(c.Addr) != f || count == 0 || want.Fixed && (c.Bridge != want.Bridge || c.VLAN != want.VLAN) {
				continue
			}
			want.Fixed, want.Bridge, want.VLAN = true, c.Bridge, c.VLAN
			out.Return = append(out.Return, c)
			count, next[f] = count-1, max(next[f], c.Position+1)
		}
		return count
	}
	want.IPv4 = lacks(kvm.IPv4, v4)
	want.IPv6 = lacks(kvm.IPv6, v6)
	if want.IPv4+want.IPv6 == 0 {
		return out, nil
	}
	claims, err := ipam.Pick(pools, taken, want)
	if err != nil {
		return kvm.Allotment{}, err
	}
	for _, c := range claims {
		c.Position += next[kvm.FamilyOf(c.Addr)]
		out.Add = append(out.Add, c)
	}
	return out, nil
}
