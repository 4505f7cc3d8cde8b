package kvm

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// MacroValues are what the macros of a name rule stand for.
type MacroValues struct {
	Prefix    string
	ClientID  int64
	ServiceID int64
	Now       time.Time // in WHMCS's zone: {year} to {second} are read from it as it is
	Rand      io.Reader // for {random_…}: crypto/rand.Reader, or a fixed one in tests
}

const (
	// longestRandom is the largest N of {random_digit_N} and {random_letter_N}: a DNS label has no room for more.
	longestRandom = 63

	macros = "{prefix} {client_id} {service_id} {random_digit_N} {random_letter_N} (N from 1 to 63) {unixtime} {year} {month} {day} {hour} {minute} {second}"
)

// ExpandName makes a VM's name from a product's name rule, like "{prefix}-{client_id}-{service_id}". The macros are
// {prefix} {client_id} {service_id} {random_digit_N} {random_letter_N} {unixtime} {year} {month} {day} {hour} {minute}
// {second}; N is 1 to 63.
//
// The result is a DNS label (see [ValidDNSLabel]). An unknown macro, a brace without its partner, and a result that is no
// label are ErrInvalid; an error of m.Rand is passed on.
func ExpandName(rule string, m MacroValues) (string, error) {
	parts, err := parseRule(rule)
	if err != nil {
		return "", err
	}
	var name strings.Builder
	for _, p := range parts {
		text, err := p.expand(m)
		if err != nil {
			return "", fmt.Errorf("name rule %s: %w", quote(rule), err)
		}
		name.WriteString(text)
	}
	if !ValidDNSLabel(name.String()) {
		return "", Errorf(ErrInvalid, "name rule %s: the name %s (%d characters) is no DNS label: 1 to 63 of a-z, 0-9 and -, with no - at either end",
			quote(rule), quote(name.String()), name.Len())
	}
	return name.String(), nil
}

// rulePart is a piece of a name rule: text as it stands, or a macro.
type rulePart struct {
	text  string // literal; "" for a macro
	macro string // the name without braces and without _N
	n     int    // N of the random macros
}

// parseRule cuts a rule into its parts, or says what in it cannot work (ErrInvalid).
func parseRule(rule string) ([]rulePart, error) {
	var parts []rulePart
	rest := rule
	for rest != "" {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			return append(parts, rulePart{text: rest}), nil
		}
		if rest[i] == '}' {
			return nil, Errorf(ErrInvalid, "name rule %s: a } without its {", quote(rule))
		}
		if i > 0 {
			parts = append(parts, rulePart{text: rest[:i]})
		}
		rest = rest[i+1:]
		end := strings.IndexAny(rest, "{}")
		if end < 0 || rest[end] == '{' {
			return nil, Errorf(ErrInvalid, "name rule %s: a { without its }", quote(rule))
		}
		p, ok := parseMacro(rest[:end])
		if !ok {
			return nil, Errorf(ErrInvalid, "name rule %s: there is no macro %s; there are %s",
				quote(rule), quote("{"+rest[:end]+"}"), macros)
		}
		parts = append(parts, p)
		rest = rest[end+1:]
	}
	return parts, nil
}

func parseMacro(name string) (rulePart, bool) {
	switch name {
	case "prefix", "client_id", "service_id", "unixtime", "year", "month", "day", "hour", "minute", "second":
		return rulePart{macro: name}, true
	}
	for _, random := range []string{"random_digit", "random_letter"} {
		count, ok := strings.CutPrefix(name, random+"_")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > longestRandom || strconv.Itoa(n) != count {
			return rulePart{}, false
		}
		return rulePart{macro: random, n: n}, true
	}
	return rulePart{}, false
}

func (p rulePart) expand(m MacroValues) (string, error) {
	switch p.macro {
	case "prefix":
		return m.Prefix, nil
	case "client_id":
		return strconv.FormatInt(m.ClientID, 10), nil
	case "service_id":
		return strconv.FormatInt(m.ServiceID, 10), nil
	case "random_digit":
		return randomText(m.Rand, digits, p.n)
	case "random_letter":
		return randomText(m.Rand, lower, p.n)
	case "unixtime":
		return strconv.FormatInt(m.Now.Unix(), 10), nil
	case "year":
		return m.Now.Format("2006"), nil
	case "month":
		return m.Now.Format("01"), nil
	case "day":
		return m.Now.Format("02"), nil
	case "hour":
		return m.Now.Format("15"), nil
	case "minute":
		return m.Now.Format("04"), nil
	case "second":
		return m.Now.Format("05"), nil
	}
	return p.text, nil
}
