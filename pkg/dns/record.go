package dns

import (
	"net/netip"
	"strings"
)

// Type is a type of DNS records.
type Type string

// The types that are kept.
const (
	A    Type = "A"
	AAAA Type = "AAAA"
	PTR  Type = "PTR"
)

// TypeOf is the type of a forward record for a.
func TypeOf(a netip.Addr) Type {
	if a.Unmap().Is4() {
		return A
	}
	return AAAA
}

// Record is one thing that DNS shall say: Name has the address Addr, or, Reverse, Addr is called Name. Names are host names
// in lower case without the final dot.
type Record struct {
	Reverse bool
	Name    string
	Addr    netip.Addr
}

// Canonical is value as values of typ are compared: addresses as netip writes them, names in lower case without the final
// dot. What is no such value stays as it is.
func Canonical(typ Type, value string) string {
	if typ == PTR {
		return CanonicalName(value)
	}
	if a, err := netip.ParseAddr(strings.TrimSpace(value)); err == nil {
		return a.Unmap().String()
	}
	return value
}

// CanonicalName is name in lower case without the final dot and blanks around it.
func CanonicalName(name string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
}
