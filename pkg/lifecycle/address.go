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

// allocateIP claims the addresses. What an earlier deploy of the service still holds is kept.
func (l *Lifecycle) allocateIP(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
	n := s.Package.Network
	v4, v6 := wanted(n)
	res := pipeline.Result{Commit: func(ctx context.Context) error {
		// Services of one process queue for this; each has waited for those before it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), allocatePatience)
		defer cancel()
		return l.Store.Allocate(ctx, s, kvm.SetIP, func(pools []kvm.Pool, taken map[netip.Addr]struct{}) ([]kvm.Claim, error) {
			return pick(s, pools, taken, v4, v6)
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

// pick chooses what s still lacks: from the bridge and VLAN of what it has, else as the product says.
func pick(s *kvm.Service, pools []kvm.Pool, taken map[netip.Addr]struct{}, v4, v6 int) ([]kvm.Claim, error) {
	n := s.Package.Network
	want := ipam.Want{IPv4: v4, IPv6: v6, Auto: n.Auto, Bridge: n.Bridge, VLAN: n.VLAN}
	have := map[kvm.Family]int{}
	for _, c := range s.Addrs {
		have[kvm.FamilyOf(c.Addr)]++
		want.Fixed, want.Bridge, want.VLAN = true, c.Bridge, c.VLAN
	}
	want.IPv4, want.IPv6 = max(0, v4-have[kvm.IPv4]), max(0, v6-have[kvm.IPv6])
	if want.IPv4+want.IPv6 == 0 {
		return nil, nil
	}
	claims, err := ipam.Pick(pools, taken, want)
	if err != nil {
		return nil, err
	}
	for i := range claims {
		claims[i].Position += have[kvm.FamilyOf(claims[i].Addr)]
	}
	return claims, nil
}
