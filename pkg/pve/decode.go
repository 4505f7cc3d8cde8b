package pve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Proxmox answers numbers as strings and strings as numbers, booleans as 1, "1" or true, and leaves out or nulls what is
// not set. These types read all of it. What cannot be read is an error, never a zero.
type (
	integer int64
	real    float64
	flag    bool
	text    string
)

// scalar is the text of a JSON string, number or boolean, "" for null.
func scalar(b []byte) (string, error) {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0 || bytes.Equal(b, []byte("null")):
		return "", nil
	case b[0] == '"':
		var s string
		err := json.Unmarshal(b, &s)
		return s, err
	case bytes.Equal(b, []byte("true")):
		return "1", nil
	case bytes.Equal(b, []byte("false")):
		return "0", nil
	case b[0] == '{' || b[0] == '[':
		return "", fmt.Errorf("a plain value was expected, not %.20s", b)
	}
	return string(b), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *text) UnmarshalJSON(b []byte) error {
	s, err := scalar(b)
	*v = text(s)
	return err
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *integer) UnmarshalJSON(b []byte) error {
	s, err := scalar(b)
	if err != nil || s == "" {
		*v = 0
		return err
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		*v = integer(n)
		return nil
	}
	f, err := strconv.ParseFloat(s, 64) // 1.0, 1e9
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return fmt.Errorf("%.40q is no whole number", s)
	}
	*v = integer(f)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *real) UnmarshalJSON(b []byte) error {
	s, err := scalar(b)
	if err != nil || s == "" {
		*v = 0
		return err
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%.40q is no number", s)
	}
	*v = real(f)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *flag) UnmarshalJSON(b []byte) error {
	s, err := scalar(b)
	if err != nil {
		return err
	}
	on, err := parseFlag(s)
	*v = flag(on)
	return err
}

// parseFlag reads a boolean as it stands in answers and in property strings; "" is false.
func parseFlag(s string) (bool, error) {
	switch s {
	case "1", "on", "yes", "true":
		return true, nil
	case "", "0", "off", "no", "false":
		return false, nil
	}
	return false, fmt.Errorf("%.40q is no boolean", s)
}

// dict is an object. Perl answers an empty one as [] at times.
type dict[T any] map[string]T

// UnmarshalJSON implements json.Unmarshaler.
func (d *dict[T]) UnmarshalJSON(b []byte) error {
	var none []json.RawMessage
	if json.Unmarshal(b, &none) == nil && len(none) == 0 {
		*d = nil
		return nil
	}
	return json.Unmarshal(b, (*map[string]T)(d))
}

// keys are a configuration's keys with their values as text.
func keys(raw map[string]json.RawMessage) (map[string]string, error) {
	out := make(map[string]string, len(raw))
	for key, value := range raw {
		s, err := scalar(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
			continue
		}
		out[key] = s
	}
	return out, nil
}
