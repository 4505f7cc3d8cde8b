package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestParseRange(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.10-10.0.0.20":         "10.0.0.10 10.0.0.20",
		" 10.0.0.10 - 10.0.0.20 ":     "10.0.0.10 10.0.0.20",
		"10.0.0.10":                   "10.0.0.10 10.0.0.10",
		"10.0.0.0/24":                 "10.0.0.0 10.0.0.255",
		"::ffff:10.0.0.1":             "10.0.0.1 10.0.0.1",
		"2001:db8::/64":               "2001:db8:: 2001:db8::ffff:ffff:ffff:ffff",
		"2001:DB8::2-2001:db8:0::ff9": "2001:db8::2 2001:db8::ff9",
	} {
		first, last, err := ParseRange(text)
		if got := fmt.Sprint(first, " ", last); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", "10.0.0.1-", "10.0.0.9-10.0.0.1", "10.0.0.1-20", "10.0.0.5/24", "10.0.0.0/33", "10.0.0.1-2001:db8::1",
		"fe80::1%eth0", "10.0.0.1-10.0.0.2-10.0.0.3", "10.0.0.01", "::ffff:10.0.0.0/120", "vmbr0"} {
		if first, last, err := ParseRange(text); !errors.Is(err, kvm.ErrInvalid) || first.IsValid() && last.IsValid() && text == "" {
			t.Errorf("%q: %v %v, %v", text, first, last, err)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"10.0.0.10-10.0.0.20", "10.0.0.0/24", "2001:db8::1", "::ffff:10.0.0.1-10.0.0.9", "/", "fe80::1%a-fe80::2", "0.0.0.0/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, last, err := ParseRange(text)
		if err != nil {
			if !errors.Is(err, kvm.ErrInvalid) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q: %q", text, err)
			}
			return
		}
		if last.Less(first) || first.BitLen() != last.BitLen() || first.Is4In6() || last.Is4In6() || first.Zone()+last.Zone() != "" {
			t.Fatalf("%q: %s-%s", text, first, last)
		}
		again, end, err := ParseRange(first.String() + "-" + last.String())
		if err != nil || again != first || end != last {
			t.Fatalf("%q: read back %s-%s, %v", text, again, end, err)
		}
	})
}

func TestReverseZone(t *testing.T) {
	tests := []struct {
		first, last string
		bits        int
		zone        string
		classless   bool
	}{
		{"192.168.130.6", "192.168.130.20", 24, "130.168.192.in-addr.arpa", false},
		{"172.16.5.6", "172.16.5.9", 16, "16.172.in-addr.arpa", false},
		{"10.1.2.3", "10.1.2.9", 8, "10.in-addr.arpa", false},
		{"192.168.130.70", "192.168.130.80", 26, "130.168.192.in-addr.arpa", true},
		{"192.168.130.70", "192.168.131.80", 22, "168.192.in-addr.arpa", true},
		{"192.168.130.70", "192.168.130.70", 32, "70.130.168.192.in-addr.arpa", false},
		{"192.168.130.64", "192.168.130.79", 32, "130.168.192.in-addr.arpa", true},
		{"::ffff:192.168.130.6", "192.168.130.20", 24, "130.168.192.in-addr.arpa", false},
		{"2001:db8:0:12::2", "2001:db8:0:12::ff", 64, "2.1.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", false},
		{"2001:db8::2", "2001:db8::ff", 48, "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", false},
		{"2001:db8::2", "2001:db8::ff", 50, "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", true},
		{"2001:db8:a0::2", "2001:db8:a0::ff", 44, "a.0.0.8.b.d.0.1.0.0.2.ip6.arpa", false},
	}
	for _, tt := range tests {
		p := kvm.Pool{First: addr(tt.first), Last: addr(tt.last), Bits: tt.bits}
		if zone, classless := ReverseZone(p); zone != tt.zone || classless != tt.classless {
			t.Errorf("%s/%d: %s %v", tt.first, tt.bits, zone, classless)
		}
	}
}

// zonePrefix is the prefix whose reverse names stand in zone, read back from its labels.
func zonePrefix(zone string) (netip.Prefix, error) {
	labels, four := strings.CutSuffix(zone, "in-addr.arpa")
	base, size, bits := 10, 4, 8
	if !four {
		var ok bool
		if labels, ok = strings.CutSuffix(zone, "ip6.arpa"); !ok {
			return netip.Prefix{}, errors.New("no reverse zone")
		}
		base, size, bits = 16, 16, 4
	}
	raw := make([]byte, size)
	parts := strings.FieldsFunc(labels, func(r rune) bool { return r == '.' })
	slices.Reverse(parts)
	for i, part := range parts {
		n, err := strconv.ParseUint(part, base, bits)
		if err != nil {
			return netip.Prefix{}, err
		}
		raw[i*bits/8] |= byte(n) << (8 - bits - i*bits%8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(a, len(parts)*bits), nil
}

func FuzzReverseZone(f *testing.F) {
	f.Add([]byte{192, 168, 130, 6}, byte(24))
	f.Add([]byte{10, 0, 0, 1}, byte(31))
	f.Add([]byte("\x20\x01\x0d\xb8\x00\x00\x00\x12\x00\x00\x00\x00\x00\x00\x00\x01"), byte(50))
	f.Fuzz(func(t *testing.T, raw []byte, b byte) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		a = a.Unmap()
		bits := int(b) % (a.BitLen() + 1)
		zone, classless := ReverseZone(kvm.Pool{First: a, Last: a, Bits: bits})
		back, err := zonePrefix(zone)
		if err != nil {
			t.Fatalf("%s/%d: %s: %v", a, bits, zone, err)
		}
		if !back.IsValid() || back != back.Masked() || !back.Contains(a) {
			t.Fatalf("%s/%d: %s is the zone of %s", a, bits, zone, back)
		}
		step := 4
		if a.Is4() {
			step = 8
		}
		// The zone is the network's own, or the smallest one around it.
		if missing := bits - back.Bits(); missing < 0 || missing >= step || classless != (missing > 0) {
			t.Fatalf("%s/%d: %s, classless %v", a, bits, zone, classless)
		}
	})
}

func TestExpandIPv6(t *testing.T) {
	for in, want := range map[string]string{
		"2001:DB8::1":     "2001:0db8:0000:0000:0000:0000:0000:0001",
		"fe80::1%eth0":    "fe80:0000:0000:0000:0000:0000:0000:0001",
		"::ffff:10.0.0.1": "10.0.0.1",
		"10.0.0.1":        "10.0.0.1",
	} {
		if got := ExpandIPv6(addr(in)); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestParseStored(t *testing.T) {
	tests := []struct{ text, addrs, garbage string }{
		{"", "[]", "[]"},
		{"10.0.0.1\r\n10.0.0.2\r\n2001:0db8:0000:0000:0000:0000:0000:0001\r\n", "[10.0.0.1 10.0.0.2 2001:db8::1]", "[]"},
		{"10.0.0.1, 10.0.0.2;10.0.0.3\t10.0.0.4\n\n10.0.0.5\u00a010.0.0.6", "[10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6]", "[]"},
		{"10.0.0.1 10.0.0.1 ::ffff:10.0.0.1 10.0.0.1/24", "[10.0.0.1]", "[]"},
		{"\ufeff10.0.0.1 10.0.0.2/99 vps.example.com 10.0.0.3-10.0.0.9 010.0.0.1", "[10.0.0.1]", "[10.0.0.2/99 vps.example.com 10.0.0.3-10.0.0.9 010.0.0.1]"},
	}
	for _, tt := range tests {
		addrs, garbage := ParseStored(tt.text)
		if fmt.Sprint(addrs) != tt.addrs || fmt.Sprint(garbage) != tt.garbage {
			t.Errorf("%q: %v, garbage %v", tt.text, addrs, garbage)
		}
	}
}

func FuzzParseStored(f *testing.F) {
	f.Add("10.0.0.1\r\n2001:db8::1,x")
	f.Add("fe80::1%eth0 10.0.0.1/24")
	f.Fuzz(func(t *testing.T, text string) {
		addrs, garbage := ParseStored(text)
		for i, a := range addrs {
			if a.Is4In6() || a.Zone() != "" || slices.Contains(addrs[:i], a) {
				t.Fatalf("%q: %v", text, addrs)
			}
		}
		var written []string
		for _, a := range addrs {
			written = append(written, ExpandIPv6(a))
		}
		back, none := ParseStored(strings.Join(written, "\r\n"))
		if !slices.Equal(back, addrs) || len(none) != 0 {
			t.Fatalf("%q: %v, read back %v %q; garbage %q", text, addrs, back, none, garbage)
		}
	})
}
