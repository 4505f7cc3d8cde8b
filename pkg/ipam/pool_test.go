package ipam

import (
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestValidate(t *testing.T) {
	four := func(change func(*kvm.Pool)) kvm.Pool {
		p := pool(1, "vmbr0", 10, "192.168.130.6", "192.168.130.20", "192.168.130.1", 24)
		p.DNS1, p.DNS2 = addr("9.9.9.9"), addr("2620:fe::fe")
		change(&p)
		return p
	}
	six := func(gateway string) kvm.Pool {
		return pool(1, "vmbr0", 10, "2001:db8::2", "2001:db8::ffff", gateway, 64)
	}
	tests := map[string]struct {
		pool kvm.Pool
		want string // "" = fine
	}{
		"fine":                  {four(func(*kvm.Pool) {}), ""},
		"no DNS":                {four(func(p *kvm.Pool) { p.DNS1, p.DNS2 = p.Gateway.Unmap(), p.Gateway }), ""},
		"mapped":                {four(func(p *kvm.Pool) { p.First = addr("::ffff:192.168.130.6") }), ""},
		"routed /32":            {four(func(p *kvm.Pool) { p.Bits, p.Gateway = 32, addr("10.0.0.1") }), ""},
		"IPv6":                  {six("2001:db8::1"), ""},
		"IPv6, link-local":      {six("fe80::1"), ""},
		"order":                 {four(func(p *kvm.Pool) { p.First, p.Last = p.Last, p.First }), "above the last"},
		"family":                {four(func(p *kvm.Pool) { p.Family = kvm.IPv6 }), "is not IPv6"},
		"no family":             {four(func(p *kvm.Pool) { p.Family = "ip" }), `family "ip"`},
		"mixed":                 {four(func(p *kvm.Pool) { p.Last = addr("2001:db8::1") }), "is not IPv4"},
		"none":                  {kvm.Pool{Family: kvm.IPv4, Bridge: "vmbr0", Bits: 24}, "no first address"},
		"no gateway":            {four(func(p *kvm.Pool) { p.Gateway = kvm.Pool{}.Gateway }), "no gateway"},
		"bits 0":                {four(func(p *kvm.Pool) { p.Bits = 0 }), "prefix length 0 is not 1 to 32"},
		"bits 33":               {four(func(p *kvm.Pool) { p.Bits = 33 }), "prefix length 33"},
		"out of the prefix":     {four(func(p *kvm.Pool) { p.Last = addr("192.168.131.2") }), "not in 192.168.130.0/24"},
		"gateway elsewhere":     {four(func(p *kvm.Pool) { p.Gateway = addr("192.168.131.1") }), "gateway 192.168.131.1 is not in"},
		"gateway is link-local": {four(func(p *kvm.Pool) { p.Gateway = addr("169.254.0.1") }), "gateway 169.254.0.1"},
		"gateway is broadcast":  {four(func(p *kvm.Pool) { p.Gateway = addr("192.168.130.255") }), "network or broadcast"},
		"gateway is anycast":    {six("2001:db8::"), "network or broadcast"},
		"gateway nowhere":       {four(func(p *kvm.Pool) { p.Bits, p.Gateway = 32, addr("0.0.0.0") }), "gateway 0.0.0.0"},
		"multicast":             {pool(1, "vmbr0", 0, "224.0.0.5", "224.0.0.9", "224.0.0.1", 24), "224.0.0.5 is no address of a host"},
		"zone":                  {six("fe80::1%eth0"), "has a zone"},
		"bridge":                {four(func(p *kvm.Pool) { p.Bridge = "vmbr0,tag=5" }), `bridge "vmbr0,tag=5"`},
		"VLAN":                  {four(func(p *kvm.Pool) { p.VLAN = 4095 }), "VLAN 4095"},
		"DNS":                   {four(func(p *kvm.Pool) { p.DNS1 = addr("127.0.0.53") }), "DNS server 127.0.0.53"},
		"second DNS alone":      {four(func(p *kvm.Pool) { p.DNS1 = kvm.Pool{}.DNS1 }), "no first"},
		"nothing to give out":   {pool(1, "vmbr0", 0, "10.0.0.0", "10.0.0.1", "10.0.0.1", 24), "no address to give out"},
		"two things at once":    {four(func(p *kvm.Pool) { p.VLAN, p.Bits = -1, 99 }), "VLAN -1 is not 0 to 4094; prefix length 99"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := Validate(tt.pool)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, kvm.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestOverlaps(t *testing.T) {
	a := pool(1, "vmbr0", 0, "10.0.0.10", "10.0.0.20", "10.0.0.1", 24)
	edited := pool(1, "vmbr0", 0, "10.0.0.15", "10.0.0.25", "10.0.0.1", 24)
	touching := pool(2, "vmbr0", 0, "10.0.0.20", "10.0.0.30", "10.0.0.1", 24)
	beside := pool(3, "vmbr0", 0, "10.0.0.21", "10.0.0.30", "10.0.0.1", 24)
	elsewhere := pool(4, "vmbr9", 5, "::ffff:10.0.0.5", "10.0.0.12", "10.0.0.1", 24)
	six := pool(5, "vmbr0", 0, "2001:db8::", "2001:db8::9", "fe80::1", 64)
	legacy := pool(0, "vmbr0", 0, "10.0.0.12", "10.0.0.12", "10.0.0.1", 24)
	var ids []int64
	for _, p := range Overlaps(a, []kvm.Pool{a, edited, touching, beside, elsewhere, six, legacy}) {
		ids = append(ids, p.ID)
	}
	if len(ids) != 3 || ids[0] != 2 || ids[1] != 4 || ids[2] != 0 {
		t.Errorf("got %v", ids)
	}
	if got := Overlaps(legacy, []kvm.Pool{legacy}); len(got) != 1 {
		t.Errorf("pools without an id are never the same one: %v", got)
	}
}

func TestUsage(t *testing.T) {
	broken := pool(1, "vmbr0", 0, "10.0.0.9", "10.0.0.2", "10.0.0.1", 24)
	tests := map[string]struct {
		pool  kvm.Pool
		taken Taken
		want  string
		free  string
	}{
		"a whole network":     {pool(1, "vmbr0", 0, "10.0.0.0", "10.0.0.255", "10.0.0.1", 24), taken("10.0.0.0", "10.0.0.1", "10.0.0.5", "10.0.1.5"), "1 of 253 used", "252"},
		"walking the taken":   {pool(1, "vmbr0", 0, "10.0.0.0", "10.0.255.255", "10.0.0.1", 16), Taken{addr("::ffff:10.0.0.9"): {}, addr("10.0.0.9"): {}, addr("::ffff:10.0.0.8"): {}}, "2 of 65533 used", "65531"},
		"a /64":               {pool(1, "vmbr0", 0, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1", 64), taken("2001:db8::", "2001:db8::7"), "1 of 2^64 used", "18446744073709551613"},
		"larger than 64 bits": {pool(1, "vmbr0", 0, "2001:db8::", "2001:db8:0:ff:ffff:ffff:ffff:ffff", "fe80::1", 48), nil, "0 of 2^72 used", "4722366482869645213695"},
		"a broken one":        {broken, taken("10.0.0.3"), "0 of 0 used", "0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := Usage(tt.pool, tt.taken)
			if u.String() != tt.want || u.Free.String() != tt.free {
				t.Errorf("got %s, free %s", u, u.Free)
			}
		})
	}
}

func TestCount(t *testing.T) {
	for bits, want := range map[uint]string{0: "1", 39: "549755813888", 40: "2^40", 63: "2^63"} {
		if got := Count(new(big.Int).Lsh(big.NewInt(1), bits)); got != want {
			t.Errorf("2^%d: %s", bits, got)
		}
	}
}
