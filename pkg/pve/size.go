package pve

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const gib = 1 << 30

// parseSize reads a size as it stands in a drive string: 32G, 2252M, 3145729K, 1.5T or plain bytes. Units are powers of
// 1024. The result is bytes, rounded down.
func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	if i := strings.IndexAny(s, "KMGT"); i == len(s)-1 && i > 0 {
		number = s[:i]
		unit = map[byte]int64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}[s[i]]
	}
	whole, fraction, hasFraction := strings.Cut(number, ".")
	if !digits(whole) || hasFraction && !digits(fraction) {
		return 0, fmt.Errorf("the size %.40q is not a number with K, M, G or T", s)
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("the size %.40q is too large", s)
	}
	n *= unit
	if hasFraction {
		f, err := strconv.ParseFloat("0."+fraction, 64)
		if err != nil {
			return 0, fmt.Errorf("the size %.40q is not a number", s)
		}
		part := int64(f * float64(unit))
		if n > math.MaxInt64-part {
			return 0, fmt.Errorf("the size %.40q is too large", s)
		}
		n += part
	}
	return n, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// formatSize writes bytes with the largest unit that leaves no rest, as Proxmox does (G at most).
func formatSize(bytes int64) string {
	if bytes <= 0 {
		return "0"
	}
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if bytes%u.size == 0 {
			return strconv.FormatInt(bytes/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(bytes, 10)
}
