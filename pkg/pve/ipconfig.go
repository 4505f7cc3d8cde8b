package pve

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ipconfig is the value of ipconfig0, "" for neither address nor DHCP.
func ipconfig(c kvm.IPConfig) (string, error) {
	var parts []string
	for _, f := range []struct {
		ip, gw  string
		dhcp    bool
		addr    netip.Prefix
		gateway netip.Addr
		v4      bool
	}{
		{"ip", "gw", c.DHCP4, c.Addr4, c.Gateway4, true},
		{"ip6", "gw6", c.DHCP6, c.Addr6, c.Gateway6, false},
	} {
		switch {
		case f.dhcp && (f.addr.IsValid() || f.gateway.IsValid()):
			return "", kvm.Errorf(kvm.ErrInvalid, "%s cannot be both DHCP and %s", f.ip, f.addr)
		case f.dhcp:
			parts = append(parts, f.ip+"=dhcp")
		case !f.addr.IsValid() && f.gateway.IsValid():
			return "", kvm.Errorf(kvm.ErrInvalid, "the gateway %s needs an address", f.gateway)
		case f.addr.IsValid():
			if f.addr.Addr().Is4() != f.v4 || f.gateway.IsValid() && f.gateway.Is4() != f.v4 {
				return "", kvm.Errorf(kvm.ErrInvalid, "%s=%s with the gateway %s mixes the families", f.ip, f.addr, f.gateway)
			}
			parts = append(parts, f.ip+"="+f.addr.String())
			if f.gateway.IsValid() {
				parts = append(parts, f.gw+"="+f.gateway.String())
			}
		}
	}
	return strings.Join(parts, ","), nil
}

// parseIPConfig reads ipconfig0. ok is false for what kvm.IPConfig cannot hold, which is then zero.
func parseIPConfig(s string) (c kvm.IPConfig, ok bool) {
	if s == "" {
		return c, true
	}
	all, err := parsePairs(s, "")
	if err != nil {
		return c, false
	}
	for _, kv := range all {
		switch kv.key {
		case "ip":
			c.DHCP4, c.Addr4, err = parseAddress(kv.value, "dhcp")
		case "ip6":
			c.DHCP6, c.Addr6, err = parseAddress(kv.value, "dhcp", "auto")
		case "gw":
			c.Gateway4, err = netip.ParseAddr(kv.value)
		case "gw6":
			c.Gateway6, err = netip.ParseAddr(kv.value)
		default:
			return kvm.IPConfig{}, false
		}
		if err != nil {
			return kvm.IPConfig{}, false
		}
	}
	if _, err := ipconfig(c); err != nil { // mixed families, a gateway without an address
		return kvm.IPConfig{}, false
	}
	return c, true
}

func parseAddress(s string, dhcp ...string) (bool, netip.Prefix, error) {
	if slices.Contains(dhcp, s) {
		return true, netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(s)
	return false, p, err
}

// parseNameservers reads a list of addresses, nil where one is none.
func parseNameservers(s string) []netip.Addr {
	var out []netip.Addr
	for _, text := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(",; \t\r\n", r) }) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil
		}
		out = append(out, a)
	}
	return out
}
