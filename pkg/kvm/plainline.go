package kvm

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNote is how many characters the note of a backup and the description of a snapshot may have.
const MaxNote = 200

// PlainLine is text that a client gives for others to read: one line of at most most characters, without what a terminal would act
// upon. what names it in the error, which is ErrInvalid.
func PlainLine(what, text string, most int) (string, error) {
	text = strings.TrimSpace(text)
	odd := func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
	}
	switch {
	case !utf8.ValidString(text) || strings.ContainsFunc(text, odd):
		return "", Errorf(ErrInvalid, "%s %s: one line of text, without control characters", what, quote(text))
	case utf8.RuneCountInString(text) > most:
		return "", Errorf(ErrInvalid, "%s has %d characters; %d are the most", what, utf8.RuneCountInString(text), most)
	}
	return text, nil
}
