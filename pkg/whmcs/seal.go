package whmcs

import "github.com/puqkvm/puqkvm/pkg/kvm"

// Seal encrypts a secret with WHMCS's cipher, for a settings document.
func (s *Store) Seal(secret kvm.Secret) (string, error) { return s.cipher.Encrypt(secret) }

// Unseal is a secret that Seal has encrypted, as a settings document has it.
func (s *Store) Unseal(sealed kvm.Secret) (kvm.Secret, error) {
	return s.cipher.Decrypt(sealed.Reveal())
}
