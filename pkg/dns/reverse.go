package dns

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	arpa4 = "in-addr.arpa"
	arpa6 = "ip6.arpa"
	hex   = "0123456789abcdef"
)

// ReverseName is the name under which the PTR of a stands: 10.2.0.192.in-addr.arpa, or 32 nibbles and ip6.arpa.
func ReverseName(a netip.Addr) string {
	a = a.Unmap()
	raw := a.AsSlice()
	var b strings.Builder
	for i := len(raw) - 1; i >= 0; i-- {
		if a.Is4() {
			b.WriteString(strconv.Itoa(int(raw[i])) + ".")
			continue
		}
		b.Write([]byte{hex[raw[i]&15], '.', hex[raw[i]>>4], '.'})
	}
	if a.Is4() {
		return b.String() + arpa4
	}
	return b.String() + arpa6
}

// ReverseAddr is the address whose [ReverseName] is name; false when it is none's.
func ReverseAddr(name string) (netip.Addr, bool) {
	name = CanonicalName(name)
	if rest, ok := strings.CutSuffix(name, "."+arpa4); ok {
		labels := strings.Split(rest, ".")
		if len(labels) != 4 {
			return netip.Addr{}, false
		}
		var raw [4]byte
		for i, label := range labels {
			n, ok := octet(label)
			if !ok {
				return netip.Addr{}, false
			}
			raw[3-i] = n
		}
		return netip.AddrFrom4(raw), true
	}
	rest, ok := strings.CutSuffix(name, "."+arpa6)
	labels := strings.Split(rest, ".")
	if !ok || len(labels) != 32 {
		return netip.Addr{}, false
	}
	var raw [16]byte
	for i, label := range labels {
		n := strings.Index(hex, label)
		if len(label) != 1 || n < 0 {
			return netip.Addr{}, false
		}
		raw[15-i/2] |= byte(n << (4 * (i % 2)))
	}
	a := netip.AddrFrom16(raw)
	return a, !a.Is4In6() // such an address has its name among those of IPv4
}

// octet reads a decimal octet as reverse names have it: without leading zeros.
func octet(label string) (byte, bool) {
	n, err := strconv.ParseUint(label, 10, 8)
	return byte(n), err == nil && strconv.FormatUint(n, 10) == label
}
