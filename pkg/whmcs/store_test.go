package whmcs

import (
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// testHash is the cc_encryption_hash of the tests.
const testHash = "puqkvm-example-cc-encryption-hash-not-a-real-secret-0123456789AB"

// openStore opens the store on a database as it is.
func openStore(t *testing.T, db *whmcstest.DB) *Store {
	t.Helper()
	d, err := ParseDSN(db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), d, Options{EncryptionHash: kvm.NewSecret(testHash)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// newStore is a store on a fresh database with our tables made.
func newStore(t *testing.T, options ...whmcstest.Option) (*Store, *whmcstest.DB) {
	t.Helper()
	db := whmcstest.NewDB(t, options...)
	s := openStore(t, db)
	if _, err := s.Migrate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return openStore(t, db), db
}
