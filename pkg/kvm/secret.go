package kvm

import "log/slog"

// Secret is a password, token secret or key. Whatever prints it prints ***; Reveal is the one way to the text, so a
// search for Reveal shows every place where a secret leaves the program. Compare with Equal: == compares identity.
type Secret struct {
	// Package fmt calls no method of a value in an unexported field, and follows one pointer: it does not follow two.
	text **string
}

// NewSecret makes a Secret of text; of "" it is the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	p := &text
	return Secret{&p}
}

// Reveal is the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return **s.text
}

// Empty says whether there is no text.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// Equal says whether both have the same text.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String hides the text.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return "***"
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return "kvm.Secret(" + s.String() + ")" }

// MarshalText hides the text from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the text from structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
