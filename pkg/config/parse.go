package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parsed is a setting's value.
type parsed struct {
	text     string // as it is stored
	number   int64
	duration time.Duration
	yes      bool
	zone     *time.Location
}

// units are the letters of a duration, the longest first.
var units = []struct {
	letter string
	length time.Duration
}{
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
}

func unitLength(letter string) time.Duration {
	for _, u := range units {
		if u.letter == letter {
			return u.length
		}
	}
	return 0
}

// parse checks text. Its error is name, what is there, and what is wanted.
func (s Setting) parse(text string) (parsed, error) {
	text = strings.TrimSpace(text)
	switch s.Kind {
	case Number:
		n, ok := whole(text)
		if !ok || n < s.Min || n > s.Max {
			return parsed{}, s.wrong(text, fmt.Sprintf("must be a whole number from %d to %d", s.Min, s.Max))
		}
		return parsed{text: strconv.FormatInt(n, 10), number: n}, nil
	case Duration:
		return s.parseDuration(text)
	case Switch:
		switch strings.ToLower(text) {
		case "yes", "on", "true", "1":
			return parsed{text: "yes", yes: true}, nil
		case "no", "off", "false", "0":
			return parsed{text: "no"}, nil
		}
		return parsed{}, s.wrong(text, "must be yes or no")
	case Zone:
		if text == "" {
			return parsed{zone: time.Local}, nil
		}
		zone, err := time.LoadLocation(text)
		if err != nil || text == "Local" {
			return parsed{}, s.wrong(text, "must be a time zone like Europe/Warsaw or UTC, or empty")
		}
		return parsed{text: text, zone: zone}, nil
	default: // Module
		if !moduleName(text) {
			return parsed{}, s.wrong(text, "must be a module's name: a letter, then letters, digits and _, at most 64")
		}
		return parsed{text: text}, nil
	}
}

// parseDuration reads a number and its unit, and stores it in the setting's unit, or in the longest one that is short
// enough to be exact.
func (s Setting) parseDuration(text string) (parsed, error) {
	own := unitLength(s.Unit)
	wanted := fmt.Sprintf("must be a time from %d%s to %d%s, like %d%s", s.Min, s.Unit, s.Max, s.Unit, max(s.Min, 1), s.Unit)
	digits, unit := text, own
	for _, u := range units {
		if rest, ok := strings.CutSuffix(strings.ToLower(text), u.letter); ok {
			digits, unit = strings.TrimSpace(rest), u.length
		}
	}
	n, ok := whole(digits)
	longest := time.Duration(s.Max) * own
	if !ok || n > int64(longest/unit) || time.Duration(n)*unit < time.Duration(s.Min)*own {
		return parsed{}, s.wrong(text, wanted)
	}
	d := time.Duration(n) * unit
	if strings.HasPrefix(s.Name, intervalPrefix) && d%own != 0 {
		return parsed{}, s.wrong(text, wanted+", in whole minutes")
	}
	p := parsed{duration: d}
	for _, u := range units {
		if u.length <= own && d%u.length == 0 {
			p.text = strconv.FormatInt(int64(d/u.length), 10) + u.letter
			break
		}
	}
	return p, nil
}

func (s Setting) wrong(text, wanted string) error {
	return fmt.Errorf("%s: %s %s", s.Name, quote(text), wanted)
}

// whole reads plain decimal digits.
func whole(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

func moduleName(text string) bool {
	for i, r := range text {
		letter := (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || (r != '_' && (r < '0' || r > '9'))) {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// quote shows text of others in one bearable line.
func quote(text string) string {
	const limit = 60
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return strconv.Quote(text)
}
