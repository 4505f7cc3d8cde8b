package dns

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestParseZone(t *testing.T) {
	for text, want := range map[string]string{
		"Example.COM.": "example.com", " example.com ": "example.com", "com": "com", "xn--bcher-kva.example": "xn--bcher-kva.example", "_tcp.example.com": "_tcp.example.com",
		"2.0.192.in-addr.arpa": "2.0.192.in-addr.arpa", "192.in-addr.arpa": "192.in-addr.arpa", "in-addr.arpa": "in-addr.arpa",
		"10.2.0.192.in-addr.arpa": "10.2.0.192.in-addr.arpa", "128/25.2.0.192.in-addr.arpa": "128/25.2.0.192.in-addr.arpa",
		"128-25.2.0.192.in-addr.arpa": "128-25.2.0.192.in-addr.arpa", "0-31.2.0.192.in-addr.arpa": "0-31.2.0.192.in-addr.arpa",
		"8.b.d.0.1.0.0.2.ip6.arpa": "8.b.d.0.1.0.0.2.ip6.arpa", "8.B.D.0.1.0.0.2.IP6.ARPA.": "8.b.d.0.1.0.0.2.ip6.arpa", "ip6.arpa": "ip6.arpa",
		"": "", ".": "", "exa mple.com": "", "-a.com": "", "a..com": "", "a/b.com": "", "300.in-addr.arpa": "", "02.0.192.in-addr.arpa": "", "1.2.3.4.5.in-addr.arpa": "",
		"129/25.2.0.192.in-addr.arpa": "", "128/24.2.0.192.in-addr.arpa": "", "5-9.2.0.192.in-addr.arpa": "", "128/25.0.192.in-addr.arpa": "",
		"ab.8.b.d.0.1.0.0.2.ip6.arpa": "", "g.ip6.arpa": "", "*.example.com": "", strings.Repeat("a.", 127) + "a": "", "bücher.example": "",
	} {
		got, err := ParseZone(text)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, kvm.ErrInvalid) {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestClassless: a zone of RFC 2317 holds just the addresses that its name stands for.
func TestClassless(t *testing.T) {
	for zone, want := range map[string][2]int{
		"128/25": {128, 255}, "0/25": {0, 127}, "64/26": {64, 127}, "7/32": {7, 7}, "128-25": {128, 255}, "0-25": {0, 127}, "128-255": {128, 255}, "0-31": {0, 31},
		"32-63": {32, 63}, "0-32": {0, 0}, "0-30": {0, 3}, "28-31": {28, 31}, "0/31": {0, 1},
	} {
		z := Zone{Name: zone + ".2.0.192.in-addr.arpa"}
		for last := range 256 {
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(last)})
			name, ok := z.reverse(a)
			if ok != (want[0] <= last && last <= want[1]) {
				t.Fatalf("%s: %s is in it: %t", zone, a, ok)
			}
			if ok && (!z.Holds(name) || !strings.HasPrefix(name, a.String()[len("192.0.2."):]+".")) {
				t.Fatalf("%s: %s is %s", zone, a, name)
			}
		}
		for _, other := range []string{"192.0.3.130", "192.0.1.1", "2001:db8::80"} {
			if name, ok := z.reverse(addr(other)); ok {
				t.Errorf("%s holds %s as %s", zone, other, name)
			}
		}
	}
}

func TestReverseName(t *testing.T) {
	for a, want := range map[string]string{
		"192.168.130.6": "6.130.168.192.in-addr.arpa", "0.0.0.0": "0.0.0.0.in-addr.arpa", "::ffff:192.0.2.1": "1.2.0.192.in-addr.arpa",
		"2001:db8::567:89ab": "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := ReverseName(addr(a)); got != want {
			t.Errorf("%s is %s, want %s", a, got, want)
		}
	}
	for _, name := range []string{"", "in-addr.arpa", "2.0.192.in-addr.arpa", "256.2.0.192.in-addr.arpa", "01.2.0.192.in-addr.arpa", "1.1.2.0.192.in-addr.arpa", "+1.2.0.192.in-addr.arpa",
		"8.b.d.0.1.0.0.2.ip6.arpa", "example.com", strings.Repeat("0.", 31) + "g.ip6.arpa", strings.Repeat("0.", 20) + "f.f.f.f." + strings.Repeat("0.", 8) + "ip6.arpa" + "x"} {
		if a, ok := ReverseAddr(name); ok {
			t.Errorf("%q is %s", name, a)
		}
	}
}

func FuzzReverseName(f *testing.F) {
	for _, seed := range []string{"\xc0\x00\x02\x01", "0123456789abcdef", strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x01"} {
		f.Add([]byte(seed), seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		if a, ok := netip.AddrFromSlice(raw); ok {
			if back, ok := ReverseAddr(ReverseName(a)); !ok || back != a.Unmap() {
				t.Errorf("%s is %s is %s, %t", a, ReverseName(a), back, ok)
			}
		}
		if a, ok := ReverseAddr(name); ok && ReverseName(a) != CanonicalName(name) {
			t.Errorf("%q is %s is %s", name, a, ReverseName(a))
		}
	})
}

// FuzzZone: a zone that is read is read as itself again; what it takes stands below it, and what it takes of addresses
// leads back to the address where the zone is no part of a /24.
func FuzzZone(f *testing.F) {
	for _, seed := range []string{"example.com", "128/25.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "0-31.2.0.192.in-addr.arpa"} {
		f.Add(seed, "a.example.com", []byte{192, 0, 2, 200})
	}
	f.Fuzz(func(t *testing.T, text, name string, raw []byte) {
		parsed, err := ParseZone(text)
		if err != nil {
			if !errors.Is(err, kvm.ErrInvalid) || parsed != "" {
				t.Fatalf("%q is %q, %v", text, parsed, err)
			}
			return
		}
		if again, err := ParseZone(parsed); err != nil || again != parsed {
			t.Fatalf("%q is %q is %q, %v", text, parsed, again, err)
		}
		z := Zone{Name: parsed}
		if z.Holds(name) && name != parsed && !strings.HasSuffix(name, "."+parsed) {
			t.Errorf("%q holds %q", parsed, name)
		}
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		at, ok := z.reverse(a)
		if !ok {
			return
		}
		if !z.Holds(at) {
			t.Errorf("%q holds %s as %q", parsed, a, at)
		}
		if _, _, part := classless(parsed); !part {
			if back, ok := ReverseAddr(at); !ok || back != a.Unmap() {
				t.Errorf("%q holds %s as %q, which is %s", parsed, a, at, back)
			}
		}
	})
}
