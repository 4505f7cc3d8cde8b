package kvm

import "strings"

// ValidDNSLabel says whether s is one label of a host name as we write them: 1 to 63 of a-z, 0-9 and "-", with no "-" at
// either end. Upper case is refused, since WHMCS, PVE and DNS compare names differently.
func ValidDNSLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return only(s, "-", false)
}

// ValidDNSName says whether s is a host name in lower case without the final dot: labels of [ValidDNSLabel], together at
// most 253 characters, the last one not a number (so that no IPv4 address passes).
func ValidDNSName(s string) bool {
	if len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if !ValidDNSLabel(label) {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

// ValidNode says whether s can be a PVE node's name: 1 to 63 letters, digits and "-", with no "-" at either end.
func ValidNode(s string) bool { return ValidDNSLabel(strings.ToLower(s)) }

// ValidStorage says whether s can be a PVE storage id: a letter, then letters, digits, "-", "_" and ".", with a letter or
// digit at the end; at least 2 characters.
func ValidStorage(s string) bool {
	return len(s) >= 2 && len(s) <= 100 && only(s[:1], "", true) && !strings.ContainsAny(s[:1], "0123456789") &&
		only(s, "-_.", true) && only(s[len(s)-1:], "", true)
}

// ValidBridge says whether s can be a bridge or SDN vnet: 1 to 15 letters, digits, "-", "_" and "." (the kernel's limit for
// an interface's name), not beginning with "-" or ".".
func ValidBridge(s string) bool {
	return len(s) >= 1 && len(s) <= 15 && s[0] != '-' && s[0] != '.' && only(s, "-_.", true)
}

// only says whether s has nothing but a-z, 0-9, the bytes of more, and A-Z if upper is allowed.
func only(s, more string, upper bool) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || upper && 'A' <= c && c <= 'Z' || strings.IndexByte(more, c) >= 0) {
			return false
		}
	}
	return true
}

// ValidUUID says whether s is a UUID as SMBIOS has it: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
func ValidUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
			return false
		}
	}
	return true
}
