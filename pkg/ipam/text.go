package ipam

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"go4.org/netipx"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ParseRange reads a range as it is typed: "10.0.0.10-10.0.0.20", one address, or a prefix ("10.0.0.0/24", all of it; bits
// of the host are refused). Blanks around the parts do not count. Anything else is kvm.ErrInvalid.
func ParseRange(text string) (first, last netip.Addr, err error) {
	bad := func(why string) (netip.Addr, netip.Addr, error) {
		return netip.Addr{}, netip.Addr{}, kvm.Errorf(kvm.ErrInvalid, "range %q: %s", shorten(text), why)
	}
	trimmed := strings.TrimSpace(text)
	if strings.Contains(trimmed, "/") {
		p, err := netip.ParsePrefix(trimmed)
		switch {
		case err != nil:
			return bad("it is no prefix like 10.0.0.0/24")
		case p.Addr().Is4In6():
			return bad("write the IPv4 address as such")
		case p != p.Masked():
			return bad("bits of the host are set; the prefix is " + p.Masked().String())
		}
		return p.Addr(), netipx.PrefixLastIP(p), nil
	}
	from, to, two := strings.Cut(trimmed, "-")
	if !two {
		to = from
	}
	for _, end := range []struct {
		text string
		addr *netip.Addr
	}{{from, &first}, {to, &last}} {
		a, err := netip.ParseAddr(strings.TrimSpace(end.text))
		if err != nil || a.Zone() != "" {
			return bad("it is none like 10.0.0.10-10.0.0.20, 10.0.0.10 or 10.0.0.0/24")
		}
		*end.addr = a.Unmap()
	}
	if first.BitLen() != last.BitLen() {
		return bad("one end is IPv4 and the other IPv6")
	}
	if last.Less(first) {
		return bad("the first address is above the last")
	}
	return first, last, nil
}

// ReverseZone is the zone in which the reverse names of p's network stand, in lower case without the final dot:
// 130.168.192.in-addr.arpa. Zones end at an octet (IPv4) or a nibble (IPv6). When the prefix ends elsewhere, classless is
// true, the zone is the next larger one, and the owner of that has to delegate the part (RFC 2317 for what is smaller than
// a /24). p must pass Validate.
func ReverseZone(p kvm.Pool) (zone string, classless bool) {
	p = unmapped(p)
	bits := p.Bits
	if net := netip.PrefixFrom(p.First, bits).Masked(); !net.Contains(p.Last) {
		// Single routed addresses: what they have in common.
		for bits > 0 && !netip.PrefixFrom(p.First, bits).Masked().Contains(p.Last) {
			bits--
		}
	}
	step := 4
	if p.First.Is4() {
		step = 8
	}
	return reverseName(p.First, bits/step), bits%step != 0
}

// reverseName is the reverse name of the first n octets or nibbles of a.
func reverseName(a netip.Addr, n int) string {
	var labels []string
	raw := a.AsSlice()
	for i := n - 1; i >= 0; i-- {
		if a.Is4() {
			labels = append(labels, strconv.Itoa(int(raw[i])))
			continue
		}
		nibble := raw[i/2] >> 4
		if i%2 == 1 {
			nibble = raw[i/2] & 15
		}
		labels = append(labels, strconv.FormatInt(int64(nibble), 16))
	}
	if a.Is4() {
		return strings.Join(append(labels, "in-addr.arpa"), ".")
	}
	return strings.Join(append(labels, "ip6.arpa"), ".")
}

// ExpandIPv6 is a as tblhosting has it: IPv6 fully written out in lower case, IPv4 in dotted decimals.
func ExpandIPv6(a netip.Addr) string { return a.Unmap().WithZone("").StringExpanded() }

// ParseStored reads the addresses in tblhosting.dedicatedip or assignedips, which people edit: addresses between any mix
// of line ends, commas, semicolons and blanks, also with a prefix length, IPv6 short or written out. What is no address
// comes back as garbage, for somebody to be told; a range is garbage too. Each address comes once, in the order of its
// first mention.
func ParseStored(text string) (addrs []netip.Addr, garbage []string) {
	seen := Taken{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || r == ',' || r == ';' || r == '\x00' || r == '\u200b' || r == '\ufeff'
	}) {
		bare, _, slash := strings.Cut(word, "/")
		a, err := netip.ParseAddr(bare)
		if err == nil && slash {
			_, err = netip.ParsePrefix(word)
		}
		if err != nil {
			garbage = append(garbage, shorten(word))
			continue
		}
		a = a.Unmap().WithZone("")
		if !seen.Has(a) {
			seen[a] = struct{}{}
			addrs = append(addrs, a)
		}
	}
	return addrs, garbage
}

// shorten cuts s to what a line bears.
func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
