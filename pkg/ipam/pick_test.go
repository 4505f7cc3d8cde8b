package ipam

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var addr = netip.MustParseAddr

// pool is a pool of first to last in a network with this gateway.
func pool(id int64, bridge string, vlan int, first, last, gateway string, bits int) kvm.Pool {
	return kvm.Pool{ID: id, Family: kvm.FamilyOf(addr(first)), Bridge: bridge, VLAN: vlan,
		First: addr(first), Last: addr(last), Gateway: addr(gateway), Bits: bits}
}

func taken(addrs ...string) Taken {
	var all []netip.Addr
	for _, a := range addrs {
		all = append(all, addr(a))
	}
	return NewTaken(all)
}

func picked(claims []kvm.Claim) string {
	var words []string
	for _, c := range claims {
		words = append(words, fmt.Sprintf("%d:%s", c.Position, c.Addr))
	}
	return strings.Join(words, " ")
}

func TestPick(t *testing.T) {
	lan := pool(1, "vmbr0", 0, "10.0.0.0", "10.0.0.255", "10.0.0.1", 24)
	more := pool(2, "vmbr0", 0, "10.0.5.9", "10.0.5.12", "10.0.5.1", 24)
	six := pool(3, "vmbr0", 0, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1", 64)
	vlan := pool(4, "vmbr1", 7, "10.7.0.10", "10.7.0.11", "10.7.0.1", 24)
	vlan6 := pool(5, "vmbr1", 7, "2001:db8:7::2", "2001:db8:7::9", "fe80::1", 64)
	resolver := lan
	resolver.DNS1, resolver.DNS2 = addr("10.0.0.2"), addr("10.0.0.4")
	broken := lan
	broken.Bits = 40

	tests := map[string]struct {
		pools []kvm.Pool
		taken Taken
		want  Want
		picks string
	}{
		"lowest first, neither network nor gateway": {[]kvm.Pool{lan}, nil, Want{IPv4: 2, Bridge: "vmbr0"}, "0:10.0.0.2 1:10.0.0.3"},
		"taken ones are passed over":                {[]kvm.Pool{lan}, taken("10.0.0.2", "10.0.0.4"), Want{IPv4: 2, Bridge: "vmbr0"}, "0:10.0.0.3 1:10.0.0.5"},
		"taken ones that are mapped to IPv6":        {[]kvm.Pool{lan}, Taken{addr("::ffff:10.0.0.2"): {}}, Want{IPv4: 1, Bridge: "vmbr0"}, "0:10.0.0.3"},
		"DNS servers stay":                          {[]kvm.Pool{resolver}, nil, Want{IPv4: 2, Bridge: "vmbr0"}, "0:10.0.0.3 1:10.0.0.5"},
		"pools in order":                            {[]kvm.Pool{more, lan}, taken("10.0.5.9"), Want{IPv4: 4, Bridge: "vmbr0"}, "0:10.0.5.10 1:10.0.5.11 2:10.0.5.12 3:10.0.0.2"},
		"overlapping pools":                         {[]kvm.Pool{more, more}, taken("10.0.5.9", "10.0.5.10"), Want{IPv4: 2, Bridge: "vmbr0"}, "0:10.0.5.11 1:10.0.5.12"},
		"both families count from 0":                {[]kvm.Pool{lan, six}, nil, Want{IPv4: 1, IPv6: 2, Bridge: "vmbr0"}, "0:10.0.0.2 0:2001:db8::2 1:2001:db8::3"},
		"IPv6 alone":                                {[]kvm.Pool{lan, six}, taken("2001:db8::2"), Want{IPv6: 1, Bridge: "vmbr0"}, "0:2001:db8::3"},
		"auto takes the first that has both":        {[]kvm.Pool{lan, vlan, vlan6, six}, nil, Want{IPv4: 1, IPv6: 1, Auto: true}, "0:10.0.0.2 0:2001:db8::2"},
		"auto goes on when one family lacks":        {[]kvm.Pool{lan, vlan, vlan6}, nil, Want{IPv4: 1, IPv6: 1, Auto: true}, "0:10.7.0.10 0:2001:db8:7::2"},
		"auto goes on when there are too few":       {[]kvm.Pool{vlan, lan}, nil, Want{IPv4: 3, Auto: true}, "0:10.0.0.2 1:10.0.0.3 2:10.0.0.4"},
		"auto does not mind the product's bridge":   {[]kvm.Pool{vlan}, nil, Want{IPv4: 1, Auto: true, Bridge: "vmbr0"}, "0:10.7.0.10"},
		"a VM that stands stays on its VLAN":        {[]kvm.Pool{lan, vlan}, nil, Want{IPv4: 1, Auto: true, Fixed: true, Bridge: "vmbr1", VLAN: 7}, "0:10.7.0.10"},
		"bridge and VLAN of the product":            {[]kvm.Pool{lan, vlan}, nil, Want{IPv4: 1, Bridge: "vmbr1", VLAN: 7}, "0:10.7.0.10"},
		"a broken pool stops nobody":                {[]kvm.Pool{broken, more}, nil, Want{IPv4: 1, Bridge: "vmbr0"}, "0:10.0.5.9"},
		"nothing wanted":                            {[]kvm.Pool{lan}, nil, Want{Auto: true}, ""},
		"/31 has no edges":                          {[]kvm.Pool{pool(1, "vmbr0", 0, "10.9.0.0", "10.9.0.1", "10.9.0.0", 31)}, nil, Want{IPv4: 1, Auto: true}, "0:10.9.0.1"},
		"/32 routed to the host":                    {[]kvm.Pool{pool(1, "vmbr0", 0, "10.9.0.0", "10.9.0.1", "10.1.0.1", 32)}, nil, Want{IPv4: 2, Auto: true}, "0:10.9.0.0 1:10.9.0.1"},
		"the gateway of a neighbouring pool": {[]kvm.Pool{pool(1, "vmbr0", 0, "10.0.0.9", "10.0.0.12", "10.0.0.1", 24), pool(2, "vmbr0", 0, "10.0.0.20", "10.0.0.22", "10.0.0.10", 24)},
			nil, Want{IPv4: 2, Auto: true}, "0:10.0.0.9 1:10.0.0.11"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			claims, err := Pick(tt.pools, tt.taken, tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if got := picked(claims); got != tt.picks {
				t.Errorf("got  %s\nwant %s", got, tt.picks)
			}
		})
	}
}

func TestPickGivesTheNetworkOfThePool(t *testing.T) {
	p := pool(9, "vmbr3", 12, "10.0.0.10", "10.0.0.20", "10.0.0.1", 24)
	p.DNS1, p.DNS2 = addr("9.9.9.9"), addr("1.1.1.1")
	claims, err := Pick([]kvm.Pool{p}, nil, Want{IPv4: 1, Auto: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []kvm.Claim{{Addr: addr("10.0.0.10"), PoolID: 9, Bridge: "vmbr3", VLAN: 12, Gateway: addr("10.0.0.1"), Bits: 24,
		DNS1: addr("9.9.9.9"), DNS2: addr("1.1.1.1")}}
	if diff := cmp.Diff(want, claims, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestPickRefuses(t *testing.T) {
	full := pool(1, "vmbr0", 0, "10.0.0.1", "10.0.0.3", "10.0.0.1", 24)
	broken := pool(2, "vmbr0", 0, "10.0.1.9", "10.0.1.2", "10.0.1.1", 24)
	six := pool(3, "vmbr1", 5, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1", 64)
	tests := map[string]struct {
		pools    []kvm.Pool
		want     Want
		sentinel error
		text     []string
	}{
		"full": {[]kvm.Pool{full}, Want{IPv4: 1, Bridge: "vmbr0"}, kvm.ErrExhausted,
			[]string{"wanted 1 IPv4 on vmbr0 untagged", "vmbr0 untagged, IPv4 10.0.0.1-10.0.0.3: 2 of 2 used"}},
		"auto names every place": {[]kvm.Pool{full, six}, Want{IPv4: 1, IPv6: 1, Auto: true}, kvm.ErrExhausted,
			[]string{"wanted 1 IPv4 and 1 IPv6 on one bridge and VLAN", "2 of 2 used", "vmbr1 VLAN 5: no IPv4 pool", "vmbr0 untagged: no IPv6 pool", "0 of 2^64 used"}},
		"no pool there":            {[]kvm.Pool{full}, Want{IPv4: 1, Bridge: "vmbr9", VLAN: 3}, kvm.ErrExhausted, []string{"vmbr9 VLAN 3: no IPv4 pool"}},
		"no pool at all":           {nil, Want{IPv4: 1, Auto: true}, kvm.ErrExhausted, []string{"no pool at all"}},
		"the broken pool is named": {[]kvm.Pool{broken}, Want{IPv4: 1, Bridge: "vmbr0"}, kvm.ErrExhausted, []string{"passed over", "10.0.1.9-10.0.1.2", "above the last"}},
		"another VLAN's free ones": {[]kvm.Pool{full, pool(4, "vmbr0", 1, "10.0.0.5", "10.0.0.9", "10.0.0.1", 24)}, Want{IPv4: 1, Bridge: "vmbr0"}, kvm.ErrExhausted, []string{"2 of 2 used"}},
		"a negative number":        {[]kvm.Pool{six}, Want{IPv6: -1, Auto: true}, kvm.ErrInvalid, []string{"-1 IPv6"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			claims, err := Pick(tt.pools, taken("10.0.0.2", "10.0.0.3"), tt.want)
			if len(claims) != 0 || !errors.Is(err, tt.sentinel) {
				t.Fatalf("got %v, %v", claims, err)
			}
			for _, text := range tt.text {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("no %q in %q", text, err)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			if hint := kvm.Hint(err); tt.sentinel == kvm.ErrExhausted && !strings.Contains(hint, "puqkvm ippool add") {
				t.Errorf("hint %q", hint)
			}
		})
	}
}

// TestPickByEnumeration compares Pick and Usage with the plain way, which lists every range, over random small pools.
func TestPickByEnumeration(t *testing.T) {
	const seed = 20260410
	r := rand.New(rand.NewPCG(seed, 1))
	var served, refused int
	for round := range 4000 {
		pools, taken := randomPools(r), Taken{}
		for _, p := range pools {
			for a := p.First; a.Compare(p.Last) <= 0; a = a.Next() {
				if r.IntN(3) == 0 {
					taken[a] = struct{}{}
				}
			}
		}
		want := Want{IPv4: r.IntN(6), IPv6: r.IntN(4), Auto: r.IntN(2) == 0, Bridge: "vmbr0", VLAN: r.IntN(2), Fixed: r.IntN(5) == 0}
		claims, err := Pick(pools, taken, want)
		expected, possible := enumerate(pools, taken, want)
		if possible != (err == nil) || picked(expected) != picked(claims) {
			t.Fatalf("seed %d round %d: pools %+v, want %+v\ngot      %s, %v\nexpected %s, %v", seed, round, pools, want, picked(claims), err, picked(expected), possible)
		}
		if err != nil {
			refused++
			if !errors.Is(err, kvm.ErrExhausted) {
				t.Fatal(err)
			}
			continue
		}
		served++
		seen := map[netip.Addr]bool{}
		for _, c := range claims {
			if seen[c.Addr] || taken.Has(c.Addr) || c.Addr == c.Gateway {
				t.Fatalf("seed %d round %d: %s is given twice, taken, or the gateway", seed, round, c.Addr)
			}
			seen[c.Addr] = true
		}
		for _, p := range pools {
			total, used := 0, 0
			for a := p.First; a.Compare(p.Last) <= 0; a = a.Next() {
				if usable(p, a) {
					total++
					if taken.Has(a) {
						used++
					}
				}
			}
			if u := Usage(p, taken); Validate(p) == nil && (u.Total.Cmp(big.NewInt(int64(total))) != 0 || u.Used != used || u.Free.Int64() != int64(total-used)) {
				t.Fatalf("seed %d round %d: %+v: %+v, counted %d of %d", seed, round, p, u, used, total)
			}
		}
	}
	if served < 500 || refused < 500 {
		t.Errorf("%d served and %d refused: the rounds do not try both", served, refused)
	}
}

func randomPools(r *rand.Rand) []kvm.Pool {
	var all []kvm.Pool
	for id := range r.IntN(6) {
		base, most, bits := addr("10.0.0.0"), 32, 26+r.IntN(6)
		if r.IntN(3) == 0 {
			base, most, bits = addr("2001:db8::"), 128, 122+r.IntN(6)
		}
		host := func() netip.Addr {
			raw := base.AsSlice()
			raw[len(raw)-1] = byte(r.IntN(1 << (most - bits)))
			a, _ := netip.AddrFromSlice(raw)
			return a
		}
		first, last := host(), host()
		if last.Less(first) {
			first, last = last, first
		}
		all = append(all, kvm.Pool{ID: int64(id + 1), Family: kvm.FamilyOf(base), Bridge: "vmbr0", VLAN: r.IntN(2),
			First: first, Last: last, Gateway: host(), Bits: bits})
	}
	return all
}

// usable says by bits alone whether p may give a out.
func usable(p kvm.Pool, a netip.Addr) bool {
	if a == p.Gateway {
		return false
	}
	host := a.BitLen() - p.Bits
	if host < 2 {
		return true
	}
	raw := a.AsSlice()
	part := int(raw[len(raw)-1]) & (1<<host - 1)
	return part != 0 && (a.Is6() || part != 1<<host-1)
}

func enumerate(pools []kvm.Pool, taken Taken, want Want) ([]kvm.Claim, bool) {
	var vlans []int
	for _, p := range pools {
		vlans = append(vlans, p.VLAN)
	}
	if !want.Auto || want.Fixed {
		vlans = []int{want.VLAN}
	}
	for _, vlan := range vlans {
		gateways := map[netip.Addr]bool{}
		for _, p := range pools {
			if p.VLAN == vlan {
				gateways[p.Gateway] = true
			}
		}
		var claims []kvm.Claim
		count := map[kvm.Family]int{kvm.IPv4: want.IPv4, kvm.IPv6: want.IPv6}
		given := map[netip.Addr]bool{}
		for _, f := range []kvm.Family{kvm.IPv4, kvm.IPv6} {
			n := 0
			for _, p := range pools {
				if p.VLAN != vlan || p.Family != f || Validate(p) != nil {
					continue
				}
				for a := p.First; a.Compare(p.Last) <= 0 && count[f] > 0; a = a.Next() {
					if usable(p, a) && !taken.Has(a) && !gateways[a] && !given[a] {
						given[a] = true
						claims = append(claims, kvm.Claim{Addr: a, Position: n})
						n++
						count[f]--
					}
				}
			}
		}
		if count[kvm.IPv4] == 0 && count[kvm.IPv6] == 0 {
			return claims, true
		}
	}
	return nil, want.IPv4+want.IPv6 == 0
}

func BenchmarkPick(b *testing.B) {
	lan := pool(1, "vmbr0", 0, "10.0.0.0", "10.0.255.255", "10.0.0.1", 16)
	six := pool(2, "vmbr0", 0, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1", 64)
	fill := func(p kvm.Pool, n int) Taken {
		t := Taken{}
		for a := p.First; len(t) < n; a = a.Next() {
			t[a] = struct{}{}
		}
		return t
	}
	for name, bb := range map[string]struct {
		pool  kvm.Pool
		taken Taken
		want  Want
	}{
		"16 with 60000 taken":  {lan, fill(lan, 60000), Want{IPv4: 4, Auto: true}},
		"64 with 100000 taken": {six, fill(six, 100000), Want{IPv6: 4, Auto: true}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Pick([]kvm.Pool{bb.pool}, bb.taken, bb.want); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+", usage", func(b *testing.B) {
			for b.Loop() {
				if Usage(bb.pool, bb.taken).Used == 0 {
					b.Fatal("nothing is used")
				}
			}
		})
	}
}
