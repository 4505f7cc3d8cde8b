package dns

import (
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Zone is a zone at a provider.
type Zone struct {
	ID       int64
	Name     string // as ParseZone gives it
	Kind     string // the provider's name in the log: cloudflare, hestiacp, powerdns
	Provider Provider
	// Server is what zones have in common that are written one after the other; see Syncer.
	Server string
	// OneWriter: no other process may write to Server meanwhile, either.
	OneWriter bool
	// Problem is why there is no Provider: the zone's settings cannot be used. Its operations fail with it.
	Problem error
}

// ParseZone reads the name of a zone as it is typed. It is in lower case and without the final dot then. A first label of
// the form a/b or a-b before a /24's reverse zone is a part of that, as RFC 2317 proposes: b is the last address where a to
// b is a block that a prefix can have, else a prefix length of 25 to 32. Anything else is kvm.ErrInvalid.
func ParseZone(text string) (string, error) {
	name := CanonicalName(text)
	bad := func(why string) (string, error) {
		return "", kvm.Errorf(kvm.ErrInvalid, "%q is no zone: %s", text, why)
	}
	labels := strings.Split(name, ".")
	if _, _, ok := classless(name); ok {
		labels = labels[1:]
	}
	if name == "" || len(name) > 253 {
		return bad("a name like example.com or 2.0.192.in-addr.arpa is wanted")
	}
	for _, label := range labels {
		if !kvm.ValidDNSLabel(strings.TrimPrefix(label, "_")) {
			return bad("each label is 1 to 63 of a-z, 0-9 and -; a part of a /24 is like 128/25.2.0.192.in-addr.arpa or 128-255.2.0.192.in-addr.arpa")
		}
	}
	if rest, ok := strings.CutSuffix(name, "."+arpa4); ok && name != arpa4 {
		if _, _, part := classless(name); !part && !octets(rest) {
			return bad("an IPv4 reverse zone has one to four octets, the last one of the address first")
		}
	}
	if rest, ok := strings.CutSuffix(name, "."+arpa6); ok && !nibbles(rest) {
		return bad("an IPv6 reverse zone has one to 32 nibbles, the last one of the address first")
	}
	return name, nil
}

func octets(text string) bool {
	labels := strings.Split(text, ".")
	for _, label := range labels {
		if _, ok := octet(label); !ok {
			return false
		}
	}
	return len(labels) <= 4
}

func nibbles(text string) bool {
	labels := strings.Split(text, ".")
	for _, label := range labels {
		if len(label) != 1 || !strings.Contains(hex, label) {
			return false
		}
	}
	return len(labels) <= 32
}

// IsReverse says whether a zone of this name holds reverse names.
func IsReverse(name string) bool {
	for _, arpa := range []string{arpa4, arpa6} {
		if name == arpa || strings.HasSuffix(name, "."+arpa) {
			return true
		}
	}
	return false
}

// classless is the part of a /24 that the zone name stands for, as RFC 2317 proposes to name it.
func classless(name string) (first, last netip.Addr, ok bool) {
	label, rest, _ := strings.Cut(name, ".")
	slash := strings.Contains(label, "/")
	from, to, found := strings.Cut(label, "-")
	if slash {
		from, to, found = strings.Cut(label, "/")
	}
	low, okLow := octet(from)
	high, okHigh := octet(to)
	net, okNet := ReverseAddr("0." + rest)
	if !found || !okLow || !okHigh || !okNet || !net.Is4() {
		return
	}
	size := 0
	switch n := int(high) - int(low) + 1; {
	case !slash && n > 1 && bits.OnesCount(uint(n)) == 1 && int(low)%n == 0:
		size = n
	case high >= 25 && high <= 32 && int(low)%(1<<(32-high)) == 0:
		size = 1 << (32 - high)
	default:
		return
	}
	raw := net.As4()
	raw[3] = low
	first = netip.AddrFrom4(raw)
	raw[3] = byte(int(low) + size - 1)
	return first, netip.AddrFrom4(raw), true
}

// Holds says whether name belongs to the zone: it is the zone's own, or ends with it at a label boundary.
func (z *Zone) Holds(name string) bool {
	return name == z.Name || strings.HasSuffix(name, "."+z.Name)
}

// reverse is the name under which the PTR of a stands in z; false when it is not z's.
func (z *Zone) reverse(a netip.Addr) (string, bool) {
	if first, last, ok := classless(z.Name); ok {
		a = a.Unmap()
		if !a.Is4() || a.Less(first) || last.Less(a) {
			return "", false
		}
		raw := a.As4()
		return strconv.Itoa(int(raw[3])) + "." + z.Name, true
	}
	name := ReverseName(a)
	return name, IsReverse(z.Name) && z.Holds(name)
}

// Serves says whether some zone has room for r.
func Serves(zones []Zone, r Record) bool {
	for i := range zones {
		if zones[i].takes(r) {
			return true
		}
	}
	return false
}

func (z *Zone) takes(r Record) bool {
	if r.Reverse {
		_, ok := z.reverse(r.Addr)
		return ok
	}
	return z.Holds(r.Name)
}
