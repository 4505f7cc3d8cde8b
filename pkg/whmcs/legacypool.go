package whmcs

import (
	"net/netip"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ParseLegacyPools reads a server's "Assigned IP Addresses" in the form of the PHP module's first versions, one address
// a line: bridge|vlan|address|mask|gateway|dns1,dns2, the mask as prefix length or dotted, DNS servers optional.
// Addresses that follow each other on consecutive lines with the same network become one pool. Blank lines are skipped;
// any other line is an error, kvm.ErrInvalid, with its number.
func ParseLegacyPools(server int64, text string) ([]kvm.Pool, error) {
	var out []kvm.Pool
	seen := map[netip.Addr]int{}
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != 5 && len(f) != 6 {
			return nil, kvm.Errorf(kvm.ErrInvalid, "line %d: not of the form bridge|vlan|address|mask|gateway|dns1,dns2", i+1)
		}
		dns1, dns2 := "", ""
		if len(f) == 6 {
			dns1, dns2, _ = strings.Cut(f[5], ",")
		}
		p := kvm.Pool{ServerID: server, Bridge: f[0]}
		family := kvm.IPv4
		if strings.Contains(f[2], ":") {
			family = kvm.IPv6
		}
		if err := fillPool(&p, string(family), f[1], f[4], f[3], dns1, dns2, f[2], f[2]); err != nil {
			return nil, kvm.Errorf(kvm.ErrInvalid, "line %d: %w", i+1, err)
		}
		if before, found := seen[p.First]; found {
			return nil, kvm.Errorf(kvm.ErrInvalid, "line %d: %s stands on line %d already", i+1, p.First, before)
		}
		seen[p.First] = i + 1
		if n := len(out); n > 0 && out[n-1].Last.Next() == p.First {
			last := out[n-1]
			last.First, last.Last = p.First, p.Last
			if last == p {
				out[n-1].Last = p.Last
				continue
			}
		}
		out = append(out, p)
	}
	return out, nil
}
