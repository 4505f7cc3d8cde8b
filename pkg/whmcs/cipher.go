package whmcs

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Cipher is WHMCS's reversible encryption of tblhosting.password and tblservers.password: SHA-1 as a key stream over the
// plaintext, under a key from cc_encryption_hash. It is the same in WHMCS 7 and 8, and as far as anybody has seen in 9.
// It can not tell a wrong key from a right one, so one password of a server must have logged in before any is written.
//
// The zero Cipher has no key and refuses to work.
type Cipher struct {
	key   [sha1.Size]byte
	keyed bool
}

// NewCipher is the cipher of a WHMCS with this cc_encryption_hash; an empty one gives the zero Cipher.
func NewCipher(hash kvm.Secret) Cipher {
	if hash.Empty() {
		return Cipher{}
	}
	inner := hexMD5(hash.Reveal())
	return Cipher{key: sha1.Sum([]byte(hexMD5(inner) + inner)), keyed: true}
}

func hexMD5(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func errNoKey() error {
	return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "passwords cannot be read or written without WHMCS's cc_encryption_hash"),
		"give the directory of WHMCS's configuration.php with --whmcs-root, or encryption_hash_file in puqkvm's own")
}

// Encrypt is what WHMCS stores for the password, other each time. No password is stored as "".
func (c Cipher) Encrypt(password kvm.Secret) (string, error) {
	if password.Empty() {
		return "", nil
	}
	if !c.keyed {
		return "", errNoKey()
	}
	var iv [sha1.Size]byte
	if _, err := rand.Read(iv[:]); err != nil {
		return "", fmt.Errorf("encrypting a password: %w", err)
	}
	return c.seal(iv, password.Reveal()), nil
}

func (c Cipher) seal(iv [sha1.Size]byte, text string) string {
	out := make([]byte, sha1.Size+len(text))
	subtle.XORBytes(out, iv[:], c.key[:])
	stream := iv[:]
	for done := 0; done < len(text); done += sha1.Size {
		block := []byte(text[done:min(done+sha1.Size, len(text))])
		subtle.XORBytes(out[sha1.Size+done:], block, stream)
		stream = next(stream, block)
	}
	return base64.StdEncoding.EncodeToString(out)
}

// next is the stream after a block: the hash of the stream before it and its plaintext.
func next(stream, plain []byte) []byte {
	sum := sha1.Sum(append(append(make([]byte, 0, 2*sha1.Size), stream...), plain...))
	return sum[:]
}

// Decrypt is the password that WHMCS stored; "" is no password. Text that cannot be one is kvm.ErrAdmin: the key is most
// likely another WHMCS's.
func (c Cipher) Decrypt(stored string) (kvm.Secret, error) {
	stored = strings.TrimSpace(stored)
	if stored == "" {
		return kvm.Secret{}, nil
	}
	if !c.keyed {
		return kvm.Secret{}, errNoKey()
	}
	raw, err := base64.StdEncoding.DecodeString(stored)
	if err != nil || len(raw) < sha1.Size {
		return kvm.Secret{}, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "what is stored is not a password as WHMCS encrypts it"),
			"enter the password in WHMCS again")
	}
	text := make([]byte, len(raw)-sha1.Size)
	stream := make([]byte, sha1.Size)
	subtle.XORBytes(stream, raw, c.key[:])
	for done := 0; done < len(text); done += sha1.Size {
		block := text[done:min(done+sha1.Size, len(text))]
		subtle.XORBytes(block, raw[sha1.Size+done:], stream)
		stream = next(stream, block)
	}
	if !printable(text) {
		return kvm.Secret{}, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "the stored password does not decrypt to text: wrong cc_encryption_hash?"),
			"compare cc_encryption_hash with the one in WHMCS's configuration.php; if it is right, enter the password in WHMCS again")
	}
	return kvm.NewSecret(string(text)), nil
}

func printable(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	for _, r := range string(text) {
		if !unicode.IsGraphic(r) {
			return false
		}
	}
	return true
}

// Unescaped is s with HTML entities replaced by what they stand for, and whether that is another text. WHMCS's forms
// store some passwords with entities: one that does not log in is worth a second try in this form.
func Unescaped(s kvm.Secret) (kvm.Secret, bool) {
	text := html.UnescapeString(s.Reveal())
	return kvm.NewSecret(text), text != s.Reveal()
}
