package kvm

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"

	// Without characters that are mistaken for each other (0 O o, 1 I l): passwords are read out and typed off.
	clearLower  = "abcdefghijkmnpqrstuvwxyz"
	clearUpper  = "ABCDEFGHJKLMNPQRSTUVWXYZ"
	clearDigits = "23456789"

	passwordLength = 16 // characters: some 92 bits
)

// RandomPassword is a guest's new password: 16 letters and digits without look-alikes, at least one lower case letter,
// one upper case letter and one digit. Every such password is equally likely. source is crypto/rand.Reader, or a fixed
// one in tests; its error is passed on.
func RandomPassword(source io.Reader) (Secret, error) {
	for range 1000 {
		text, err := randomText(source, clearLower+clearUpper+clearDigits, passwordLength)
		if err != nil {
			return Secret{}, fmt.Errorf("new password: %w", err)
		}
		// Drawn again as a whole: to patch the missing kind in would favour some passwords.
		if strings.ContainsAny(text, clearLower) && strings.ContainsAny(text, clearUpper) && strings.ContainsAny(text, clearDigits) {
			return NewSecret(text), nil
		}
	}
	return Secret{}, fmt.Errorf("new password: %w", errNotRandom)
}

// RandomUser is a name for the user in the guest, for products that name none: "u" and 7 lower case letters and digits.
func RandomUser(source io.Reader) (string, error) {
	text, err := randomText(source, clearLower+clearDigits, 7)
	if err != nil {
		return "", fmt.Errorf("new user name: %w", err)
	}
	return "u" + text, nil
}

var errNotRandom = errors.New("the random source repeats itself")

// randomText draws n characters of alphabet, each equally likely.
func randomText(source io.Reader, alphabet string, n int) (string, error) {
	if source == nil {
		return "", errors.New("no random source was given")
	}
	// Bytes from the last, incomplete round of the alphabet would favour its beginning: they are drawn again.
	limit := 256 - 256%len(alphabet)
	text := make([]byte, 0, n)
	var b [1]byte
	for tries := 0; len(text) < n; tries++ {
		if tries > 1000+10*n {
			return "", errNotRandom
		}
		if _, err := io.ReadFull(source, b[:]); err != nil {
			return "", fmt.Errorf("random source: %w", err)
		}
		if int(b[0]) < limit {
			text = append(text, alphabet[int(b[0])%len(alphabet)])
		}
	}
	return string(text), nil
}
