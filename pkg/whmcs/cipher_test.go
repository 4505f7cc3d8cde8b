package whmcs

import (
	"errors"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Computed from the description of the cipher by two other implementations, with the key of testHash and the
// initialisation vector 00 01 … 13.
var cipherVectors = map[string]string{
	"":                     "/7fdawaxa1p9/2Cy9gjn7ubDqa0=",
	"teststring":           "/7fdawaxa1p9/2Cy9gjn7ubDqa10ZHF3d3F0bmZu",
	"12345678901234567890": "/7fdawaxa1p9/2Cy9gjn7ubDqa0xMzE3MTMxPzE5Ozk/OTs5JykrIw==",
	"root@pam!whmcs-dev token 3f2b8c1e-aaaa-bbbb-cccc-0123456789ab": "/7fdawaxa1p9/2Cy9gjn7ubDqa1ybm13RHVnail+YmZvfiNrdWcyZ3qlwnUaQkK+5N40cY8baU44T4hUTIhZVN0n+CKptpuru0iYbM2zbevX",
	"zażółć €": "/7fdawaxa1p9/2Cy9gjn7ubDqa16YMe/x7bDhcyOKumOoQ==",
}

func testCipher() Cipher { return NewCipher(kvm.NewSecret(testHash)) }

func TestCipherVectors(t *testing.T) {
	c := testCipher()
	var iv [20]byte
	for i := range iv {
		iv[i] = byte(i)
	}
	for text, want := range cipherVectors {
		if got := c.seal(iv, text); got != want {
			t.Errorf("seal %q: %s, want %s", text, got, want)
		}
		if got, err := c.Decrypt(" " + want + "\n"); err != nil || got.Reveal() != text {
			t.Errorf("decrypt %s: %q, %v", want, got.Reveal(), err)
		}
	}
}

func TestCipherEmpty(t *testing.T) {
	c := testCipher()
	if got, err := c.Encrypt(kvm.Secret{}); got != "" || err != nil {
		t.Errorf("no password is stored as %q, %v", got, err)
	}
	if got, err := c.Decrypt(""); !got.Empty() || err != nil {
		t.Errorf("nothing decrypts to %q, %v", got.Reveal(), err)
	}
}

func TestCipherDiffersEachTime(t *testing.T) {
	a, err := testCipher().Encrypt(kvm.NewSecret("same"))
	b, err2 := testCipher().Encrypt(kvm.NewSecret("same"))
	if a == b || err != nil || err2 != nil {
		t.Errorf("%q and %q, %v, %v", a, b, err, err2)
	}
}

func TestCipherRefuses(t *testing.T) {
	text, err := testCipher().Encrypt(kvm.NewSecret("a password of twenty or more characters"))
	if err != nil {
		t.Fatal(err)
	}
	other := NewCipher(kvm.NewSecret("another installation's key"))
	for name, c := range map[string]struct {
		cipher Cipher
		text   string
	}{
		"wrong key": {other, text}, "no base64": {testCipher(), "plain-text!"}, "too short": {testCipher(), "AAAA"}, "no key": {Cipher{}, text},
	} {
		got, err := c.cipher.Decrypt(c.text)
		if !errors.Is(err, kvm.ErrAdmin) || kvm.Hint(err) == "" || !got.Empty() || strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %q, %v", name, got.Reveal(), err)
		}
	}
	if _, err := (Cipher{}).Encrypt(kvm.NewSecret("x")); !errors.Is(err, kvm.ErrAdmin) {
		t.Errorf("encrypting without a key: %v", err)
	}
}

func TestUnescaped(t *testing.T) {
	for text, want := range map[string]string{"a&amp;b&lt;c&quot;&#039;": `a&b<c"'`, "plain": "plain", "a&b": "a&b"} {
		got, other := Unescaped(kvm.NewSecret(text))
		if got.Reveal() != want || other != (text != want) {
			t.Errorf("%q: %q, %v", text, got.Reveal(), other)
		}
	}
}

func FuzzCipher(f *testing.F) {
	for text, stored := range cipherVectors {
		f.Add(text, stored)
	}
	f.Add("\x00\xff", "////////////////////////////////")
	f.Fuzz(func(t *testing.T, text, stored string) {
		c := testCipher()
		encrypted, err := c.Encrypt(kvm.NewSecret(text))
		if err != nil {
			t.Fatal(err)
		}
		back, err := c.Decrypt(encrypted)
		if printable([]byte(text)) != (err == nil) || err == nil && back.Reveal() != text {
			t.Errorf("%q came back as %q, %v", text, back.Reveal(), err)
		}
		if got, err := c.Decrypt(stored); err == nil && !printable([]byte(got.Reveal())) {
			t.Errorf("%q decrypts to %q", stored, got.Reveal())
		}
	})
}
