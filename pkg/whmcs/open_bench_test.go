package whmcs

import (
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// What every start of the program pays before it does anything.
func BenchmarkOpen(b *testing.B) {
	db := whmcstest.NewDB(b)
	d, err := ParseDSN(db.DSN)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(b.Context(), d, Options{EncryptionHash: kvm.NewSecret(testHash)})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
