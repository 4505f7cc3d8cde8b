package ipam

import (
	"fmt"
	"math/big"
	"net/netip"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Use is how full a pool is. Addresses that are never given out do not count anywhere.
type Use struct {
	Total *big.Int // addresses that can be given out
	Used  int
	Free  *big.Int
}

// String is "3 of 254 used"; very large totals are powers of two, "3 of 2^64 used".
func (u Use) String() string { return fmt.Sprintf("%d of %s used", u.Used, Count(u.Total)) }

// Count is n in digits, from 2^40 on as the nearest power of two, "2^64": a pool's totals as a person reads them.
func Count(n *big.Int) string {
	if n.BitLen() <= 40 {
		return n.String()
	}
	// 2^64 less a gateway is 2^64 for everybody: round where the second-highest bits say so.
	bits := n.BitLen() - 1
	if n.Bit(bits-1) == 1 {
		bits++
	}
	return fmt.Sprintf("2^%d", bits)
}

// Usage is how full p is. A pool that does not pass Validate holds nothing.
func Usage(p kvm.Pool, taken Taken) Use { return usage(unmapped(p), taken, nil) }

// usage is Usage with further addresses that are not given out.
func usage(p kvm.Pool, taken, reserved Taken) Use {
	u := Use{Total: big.NewInt(0), Free: big.NewInt(0)}
	if validRange(p) != "" {
		return u
	}
	u.Total = total(p, reserved)
	counts := func(a netip.Addr) bool { return !kept(p, a) && !reserved.Has(a) && !edge(p, a) }
	// Whichever is shorter is walked: the range or the taken addresses.
	if size(p).Cmp(big.NewInt(int64(len(taken)))) <= 0 {
		for a := p.First; a.IsValid() && a.Compare(p.Last) <= 0; a = a.Next() {
			if taken.Has(a) && counts(a) {
				u.Used++
			}
		}
	} else {
		seen := func(a netip.Addr) bool { // a mapped address that stands there unmapped too
			_, twice := taken[a.Unmap()]
			return a.Is4In6() && twice
		}
		for a := range taken {
			if b := a.Unmap(); within(p, b) && counts(b) && !seen(a) {
				u.Used++
			}
		}
	}
	u.Free = new(big.Int).Sub(u.Total, big.NewInt(int64(u.Used)))
	return u
}

// total is how many of p's addresses can be given out.
func total(p kvm.Pool, reserved Taken) *big.Int {
	never := Taken{}
	add := func(a netip.Addr) {
		if within(p, a) && (kept(p, a) || reserved.Has(a) || edge(p, a)) {
			never[a] = struct{}{}
		}
	}
	add(p.Gateway)
	add(p.DNS1)
	add(p.DNS2)
	add(p.First) // the network address, if it is in the range, is its first
	add(p.Last)  // and the broadcast address its last
	for a := range reserved {
		add(a)
	}
	return new(big.Int).Sub(size(p), big.NewInt(int64(len(never))))
}

// kept says whether a is p's gateway or DNS server.
func kept(p kvm.Pool, a netip.Addr) bool { return a == p.Gateway || a == p.DNS1 || a == p.DNS2 }

// within says whether a is in p's range.
func within(p kvm.Pool, a netip.Addr) bool {
	return a.BitLen() == p.First.BitLen() && p.First.Compare(a) <= 0 && a.Compare(p.Last) <= 0
}

// size is how many addresses the range has.
func size(p kvm.Pool) *big.Int {
	n := new(big.Int).Sub(number(p.Last), number(p.First))
	return n.Add(n, big.NewInt(1))
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
