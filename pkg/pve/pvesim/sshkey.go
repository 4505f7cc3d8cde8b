package pvesim

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"slices"
	"strings"
)

// validKeys says whether ssh-keygen would take the keys.
func validKeys(encoded string) bool {
	text, err := url.PathUnescape(encoded)
	if err != nil {
		return false
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && !validKey(line) {
			return false
		}
	}
	return true
}

// validKey says whether a line is a whole public key of a known type.
func validKey(line string) bool {
	fields := strings.Fields(line)
	i := slices.IndexFunc(fields, func(f string) bool {
		return strings.HasPrefix(f, "ssh-") || strings.HasPrefix(f, "ecdsa-") || strings.HasPrefix(f, "sk-")
	})
	if i < 0 || i+1 >= len(fields) {
		return false
	}
	blob, err := base64.StdEncoding.DecodeString(fields[i+1])
	if err != nil {
		return false
	}
	parts := 0
	for first := true; len(blob) > 0; first = false {
		if len(blob) < 4 {
			return false
		}
		n := binary.BigEndian.Uint32(blob)
		if uint64(n) > uint64(len(blob)-4) || first && string(blob[4:4+n]) != fields[i] {
			return false
		}
		blob = blob[4+n:]
		parts++
	}
	return parts >= 2
}
