package pve

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestParseIPConfig(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	for s, want := range map[string]kvm.IPConfig{
		"":                                      {},
		"ip=dhcp":                               {DHCP4: true},
		"ip6=auto,ip=192.0.2.9/24,gw=192.0.2.1": {Addr4: prefix("192.0.2.9/24"), Gateway4: addr("192.0.2.1"), DHCP6: true},
		"ip=192.0.2.9/32,ip6=2001:DB8::9/64,gw6=fe80::1": {Addr4: prefix("192.0.2.9/32"), Addr6: prefix("2001:db8::9/64"), Gateway6: addr("fe80::1")},
		"ip=dhcp,ip6=dhcp": {DHCP4: true, DHCP6: true},
	} {
		if got, ok := parseIPConfig(s); !ok || got != want {
			t.Errorf("%q: %+v, %v", s, got, ok)
		}
	}
	for _, odd := range []string{"ip=auto", "ip=192.0.2.9", "ip=192.0.2.9/33", "gw=192.0.2.1", "ip=dhcp,gw=192.0.2.1", "ip=2001:db8::9/64", "ip6=192.0.2.9/24",
		"ip=192.0.2.9/24,gw=2001:db8::1", "ip=192.0.2.9/24,mtu=9000", "ip=192.0.2.9/24,ip=192.0.2.10/24", "192.0.2.9/24", "ip=", ",", "manual"} {
		if got, ok := parseIPConfig(odd); ok || got != (kvm.IPConfig{}) {
			t.Errorf("%q: %+v, %v", odd, got, ok)
		}
	}
}

// A strange guest is read all the same.
func TestVMWithStrangeCloudInit(t *testing.T) {
	for config, want := range map[string]kvm.VM{
		`{}`: {},
		`{"ipconfig0":"ip=192.0.2.9/24,mtu=9000","nameserver":"192.0.2.1;2001:db8::1, 192.0.2.2"}`: {IPConfigOdd: true,
			Nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}},
		`{"ipconfig0":"ip6=auto","nameserver":"192.0.2.1 host","searchdomain":"a.test b.test"}`: {IPConfig: kvm.IPConfig{DHCP6: true}, SearchDomain: "a.test b.test"},
		`{"ipconfig1":"ip=dhcp"}`: {},
	} {
		_, c := script{"GET /nodes/pve1/qemu/110/config": {config}}.serve(t)
		vm, err := c.VM(t.Context(), "pve1", 110)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		got := kvm.VM{IPConfig: vm.IPConfig, IPConfigOdd: vm.IPConfigOdd, Nameservers: vm.Nameservers, SearchDomain: vm.SearchDomain}
		if d := cmp.Diff(want, got, addresses()); d != "" {
			t.Errorf("%s: %s", config, d)
		}
	}
}

// FuzzIPConfig: what was read is written so that it is read the same again, and nothing odd leaves a half.
func FuzzIPConfig(f *testing.F) {
	for _, s := range []string{"", "ip=dhcp", "ip6=auto", "ip=192.0.2.9/24,gw=192.0.2.1,ip6=2001:db8::9/64,gw6=2001:db8::1", "ip=192.0.2.9/24,mtu=1", "ip6=::ffff:1.2.3.4/120"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := parseIPConfig(s)
		if !ok {
			if c != (kvm.IPConfig{}) {
				t.Fatalf("%q: odd, and %+v", s, c)
			}
			return
		}
		written, err := ipconfig(c)
		if err != nil {
			t.Fatalf("%q: %+v cannot be written: %v", s, c, err)
		}
		if again, ok := parseIPConfig(written); !ok || again != c {
			t.Fatalf("%q: %+v, written %q, read %+v, %v", s, c, written, again, ok)
		}
		for _, a := range parseNameservers(s) {
			if !a.IsValid() || strings.ContainsAny(a.String(), " ,;") {
				t.Fatalf("%q: %v", s, a)
			}
		}
	})
}
