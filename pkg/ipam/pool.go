package ipam

import (
	"fmt"
	"net/netip"
	"strings"

	"go4.org/netipx"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Validate says what in a pool cannot work (kvm.ErrInvalid, all of it in one line): first and last address of the pool's
// family, in order and in one prefix; a prefix length; a gateway, in that prefix unless it is an IPv6 link-local one or the
// prefix is a single address; DNS servers, when there are any, that a guest can ask; bridge and VLAN as PVE takes them; at
// least one address to give out.
func Validate(p kvm.Pool) error {
	p = unmapped(p)
	var wrong []string
	addf := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	if !kvm.ValidBridge(p.Bridge) {
		addf("bridge %q is no bridge's name (1 to 15 letters, digits, - _ and .)", p.Bridge)
	}
	if p.VLAN < 0 || p.VLAN > 4094 {
		addf("VLAN %d is not 0 to 4094", p.VLAN)
	}
	if p.DNS2.IsValid() && !p.DNS1.IsValid() {
		addf("there is a second DNS server and no first")
	}
	for _, d := range []netip.Addr{p.DNS1, p.DNS2} {
		if d.IsValid() && (!d.IsGlobalUnicast() || d.Zone() != "") {
			addf("DNS server %s is none that a guest can ask", d)
		}
	}
	if err := validRange(p); err != "" {
		addf("%s", err)
	} else if total(p, nil).Sign() == 0 {
		addf("it has no address to give out: all are gateway, DNS server, network or broadcast address")
	}
	if len(wrong) == 0 {
		return nil
	}
	return kvm.Errorf(kvm.ErrInvalid, "pool %s, %s-%s/%d: %s", where(p.Bridge, p.VLAN), text(p.First), text(p.Last), p.Bits, strings.Join(wrong, "; "))
}

// validRange is what is wrong with addresses, prefix length and gateway, or "".
func validRange(p kvm.Pool) string {
	most := 128
	switch p.Family {
	case kvm.IPv4:
		most = 32
	case kvm.IPv6:
	default:
		return fmt.Sprintf("family %q is neither %s nor %s", p.Family, kvm.IPv4, kvm.IPv6)
	}
	if p.Bits < 1 || p.Bits > most {
		return fmt.Sprintf("prefix length %d is not 1 to %d", p.Bits, most)
	}
	for _, a := range []struct {
		what string
		addr netip.Addr
	}{{"first address", p.First}, {"last address", p.Last}, {"gateway", p.Gateway}} {
		switch {
		case !a.addr.IsValid():
			return "there is no " + a.what
		case kvm.FamilyOf(a.addr) != p.Family:
			return fmt.Sprintf("%s %s is not %s", a.what, a.addr, name(p.Family))
		case a.addr.Zone() != "":
			return fmt.Sprintf("%s %s has a zone", a.what, a.addr)
		}
	}
	for _, a := range []netip.Addr{p.First, p.Last} {
		if !a.IsGlobalUnicast() {
			return fmt.Sprintf("%s is no address of a host", a)
		}
	}
	if p.Last.Less(p.First) {
		return "the first address is above the last"
	}
	linkLocal := p.Family == kvm.IPv6 && p.Gateway.IsLinkLocalUnicast()
	if !p.Gateway.IsGlobalUnicast() && !linkLocal {
		return fmt.Sprintf("gateway %s is no address of a host", p.Gateway)
	}
	prefix := netip.PrefixFrom(p.First, p.Bits).Masked()
	switch {
	case p.Bits == most:
		return "" // routed one by one: each is its own network
	case !prefix.Contains(p.Last):
		return fmt.Sprintf("the last address is not in %s, the first one's network", prefix)
	case !prefix.Contains(p.Gateway) && !linkLocal:
		return fmt.Sprintf("gateway %s is not in %s", p.Gateway, prefix)
	case edge(p, p.Gateway):
		return fmt.Sprintf("gateway %s is the network or broadcast address of %s", p.Gateway, prefix)
	}
	return ""
}

// Overlaps are those of others that share an address with p. A pool with p's own id (unless 0) is p itself.
func Overlaps(p kvm.Pool, others []kvm.Pool) []kvm.Pool {
	var all []kvm.Pool
	r := span(p)
	for _, o := range others {
		if o.ID != 0 && o.ID == p.ID {
			continue
		}
		if r.Overlaps(span(o)) {
			all = append(all, o)
		}
	}
	return all
}

func span(p kvm.Pool) netipx.IPRange { return netipx.IPRangeFrom(p.First.Unmap(), p.Last.Unmap()) }

// edge says whether a is the network or broadcast address of p's network.
func edge(p kvm.Pool, a netip.Addr) bool {
	net := netip.PrefixFrom(p.First, p.Bits).Masked()
	if p.Bits > p.First.BitLen()-2 {
		return false // two addresses or one: there is room for neither
	}
	return a == net.Addr() || a.Is4() && a == netipx.PrefixLastIP(net)
}

// unmapped is p with IPv4 addresses as such, not mapped to IPv6.
func unmapped(p kvm.Pool) kvm.Pool {
	p.Gateway, p.DNS1, p.DNS2 = p.Gateway.Unmap(), p.DNS1.Unmap(), p.DNS2.Unmap()
	p.First, p.Last = p.First.Unmap(), p.Last.Unmap()
	return p
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return "(none)"
	}
	return a.String()
}
