package trust

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Trust says how the server's certificate is judged. Zero is the system's roots; at most one field is set.
type Trust struct {
	// CAFile is a PEM file with the authorities to trust, such as a cluster's pve-root-ca.pem.
	CAFile string
	// Pins are SHA-256 fingerprints of certificates, any of which is trusted as it is: AA:BB:… or plain hex. Several,
	// for each node has its own and certificates are renewed.
	Pins []string
	// Insecure trusts anybody. It is for the administrator who asked for it.
	Insecure bool
}

// pinError is a certificate that no pin fits. The fingerprint is public.
type pinError struct{ presented string }

func (e *pinError) Error() string {
	return "the server's certificate has the SHA-256 fingerprint " + e.presented + ", which is not pinned"
}

// Config is t for a client. What can never work is kvm.ErrInvalid.
func (t Trust) Config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	ways := 0
	for _, used := range []bool{t.CAFile != "", len(t.Pins) > 0, t.Insecure} {
		if used {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, kvm.Errorf(kvm.ErrInvalid, "a CA file, fingerprints and insecure exclude each other")
	case t.CAFile != "":
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, kvm.Errorf(kvm.ErrInvalid, "the CA file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, kvm.Errorf(kvm.ErrInvalid, "the CA file %s has no certificate in PEM form", t.CAFile)
		}
	case t.Insecure:
		conf.InsecureSkipVerify = true
	case len(t.Pins) > 0:
		pins, err := parsePins(t.Pins)
		if err != nil {
			return nil, err
		}
		conf.InsecureSkipVerify = true // the pins are the check, also of a resumed session
		conf.VerifyConnection = func(s tls.ConnectionState) error { return checkPins(pins, s) }
	}
	return conf, nil
}

func parsePins(texts []string) ([][sha256.Size]byte, error) {
	var pins [][sha256.Size]byte
	for _, s := range texts {
		b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(s), ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, kvm.Errorf(kvm.ErrInvalid, "the fingerprint %q is not SHA-256: 32 bytes in hex, with or without colons", s)
		}
		pins = append(pins, [sha256.Size]byte(b))
	}
	return pins, nil
}

func checkPins(pins [][sha256.Size]byte, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	sum := sha256.Sum256(s.PeerCertificates[0].Raw)
	for _, pin := range pins {
		if subtle.ConstantTimeCompare(sum[:], pin[:]) == 1 {
			return nil
		}
	}
	return &pinError{formatPin(sum)}
}

func formatPin(sum [sha256.Size]byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// Fingerprint connects to addr (host:port) and gives the SHA-256 fingerprint of the certificate shown there, in the form
// AA:BB:…. It trusts whoever answers: compare the result with what the server itself shows before pinning it.
func Fingerprint(ctx context.Context, addr string) (string, error) {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", kvm.Errorf(kvm.ErrInvalid, "%q is not host:port", addr)
	}
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 5 * time.Second},
		Config:    &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, ServerName: name},
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", kvm.Errorf(kvm.ErrUnreachable, "the certificate of %s: %w", addr, err)
	}
	defer conn.Close()
	return formatPin(sha256.Sum256(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw)), nil
}

// Presented is the fingerprint of the certificate that err refuses, AA:BB:…, "" where it is not known. pinned says that
// pins were to fit it; refused is false when err is none about a certificate.
func Presented(err error) (fingerprint string, pinned, refused bool) {
	var pin *pinError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &pin):
		return pin.presented, true, true
	case errors.As(err, &cert):
		if len(cert.UnverifiedCertificates) > 0 {
			fingerprint = formatPin(sha256.Sum256(cert.UnverifiedCertificates[0].Raw))
		}
		return fingerprint, false, true
	}
	return "", false, false
}
