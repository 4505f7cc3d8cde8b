package kvm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is what values a setting takes.
type Kind string

// The kinds of settings.
const (
	KindNumber  Kind = "number"  // a whole number in digits
	KindDecimal Kind = "decimal" // a number with at most 3 decimals
	KindSwitch  Kind = "switch"  // on or off
	KindChoice  Kind = "choice"  // one of Values
	KindText    Kind = "text"    // printable text
	KindHidden  Kind = "secret"  // printable text that is never shown
)

// Setting is a row of the table of product settings.
type Setting struct {
	Key      string
	Group    string
	Kind     Kind
	Default  string
	Unit     string   // of numbers: GB, MB/s, days
	Min, Max float64  // of numbers, both allowed
	Values   []string // of a choice
	Help     string

	form  form // of text, when not all text will do
	zero  bool // 0 is allowed besides Min to Max
	blank bool // of text and choices: may be empty
	set   func(*Package, value)
}

// form is what a text has to look like.
type form struct {
	want  string                      // in words
	canon func(string) (string, bool) // the canonical form, and whether the text has the form at all
}

// value is a setting's value, read.
type value struct {
	text string // canonical: what is stored and compared
	n    int
	f    float64
	on   bool
}

// Settings is the table of product settings: every setting, in the order in which it is shown.
func Settings() []Setting {
	all := slices.Clone(table)
	for i := range all {
		all[i].Values = slices.Clone(all[i].Values)
	}
	return all
}

func setting(key string) (*Setting, bool) {
	for i := range table {
		if table[i].Key == key {
			return &table[i], true
		}
	}
	return nil, false
}

// nearest names a setting that key may have been meant for: one with the same letters, or that contains it.
func nearest(key string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
	}
	k := plain(key)
	for i := range table {
		if p := plain(table[i].Key); p == k || len(k) >= 3 && (strings.Contains(p, k) || strings.Contains(k, p)) {
			return fmt.Sprintf(" (%s?)", table[i].Key)
		}
	}
	return ""
}

// Range is what the setting takes, in words.
func (s Setting) Range() string {
	words := ""
	switch s.Kind {
	case KindNumber:
		words = fmt.Sprintf("a whole number from %s to %s", decimal(s.Min), decimal(s.Max))
	case KindDecimal:
		words = fmt.Sprintf("a number from %s to %s with at most 3 decimals", decimal(s.Min), decimal(s.Max))
	case KindSwitch:
		return "on or off"
	case KindChoice:
		words = "one of " + strings.Join(s.Values, ", ")
	case KindText, KindHidden:
		if words = s.form.want; words == "" {
			words = fmt.Sprintf("text of at most %d printable characters", longestText)
		}
	}
	if s.zero {
		words = "0 or " + words
	}
	if s.blank {
		words += ", or empty"
	}
	return words
}

const longestText = 255 // characters

// parse reads text. An error is ErrInvalid with the key, the value (unless it is a secret) and the range.
func (s *Setting) parse(text string) (value, error) {
	text = strings.TrimSpace(text)
	refuse := func() (value, error) {
		shown := quote(text)
		if s.Kind == KindHidden {
			shown = "the value (not shown)"
		}
		return value{}, Errorf(ErrInvalid, "%s: %s is not %s", s.Key, shown, s.Range())
	}
	switch s.Kind {
	case KindNumber:
		n, err := strconv.Atoi(text)
		if !only(text, "", false) || err != nil || !s.within(float64(n)) {
			return refuse()
		}
		return value{text: strconv.Itoa(n), n: n}, nil
	case KindDecimal:
		whole, rest, dot := strings.Cut(text, ".")
		f, err := strconv.ParseFloat(text, 64)
		if !isDigits(whole) || dot && (!isDigits(rest) || len(rest) > 3) || err != nil || !s.within(f) {
			return refuse()
		}
		return value{text: decimal(f), f: f}, nil
	case KindSwitch:
		switch strings.ToLower(text) {
		case "on", "yes", "true", "1":
			return value{text: "on", on: true}, nil
		case "off", "no", "false", "0":
			return value{text: "off"}, nil
		}
		return refuse()
	case KindChoice:
		if text == "" && s.blank {
			return value{}, nil
		}
		for _, v := range s.Values {
			if strings.EqualFold(v, text) {
				return value{text: v}, nil
			}
		}
		return refuse()
	}
	if text == "" {
		if s.blank {
			return value{}, nil
		}
		return refuse()
	}
	if !printable(text) || utf8.RuneCountInString(text) > longestText {
		return refuse()
	}
	if s.form.canon != nil {
		canonical, ok := s.form.canon(text)
		if !ok {
			return refuse()
		}
		text = canonical
	}
	return value{text: text}, nil
}

func (s *Setting) within(n float64) bool {
	return s.Min <= n && n <= s.Max || s.zero && n == 0
}

// json is the canonical text as a JSON value.
func (s *Setting) json(text string) string {
	switch s.Kind {
	case KindNumber, KindDecimal:
		return text
	case KindSwitch:
		return strconv.FormatBool(text == "on")
	}
	b, err := json.Marshal(text)
	if err != nil {
		panic("kvm: a string that is no JSON: " + err.Error()) // encoding/json takes every string
	}
	return string(b)
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func isDigits(s string) bool { return s != "" && strings.Trim(s, digits) == "" }

// printable says whether s is text without control characters, on one line.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// quote is s for an error's text: in quotes, escaped, and not longer than a line bears.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		return strconv.Quote(string(r[:60])) + "…"
	}
	return strconv.Quote(s)
}

// IsSecretSetting says whether the setting key holds a secret, which must not come from an argument.
func IsSecretSetting(key string) bool {
	s, ok := setting(key)
	return ok && s.Kind == KindHidden
}
