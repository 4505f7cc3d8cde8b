package pve

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

// Fingerprint connects to addr (as in Options.URLs) and gives the SHA-256 fingerprint of the certificate shown there, see
// trust.Fingerprint.
func Fingerprint(ctx context.Context, addr string) (string, error) {
	h, err := host(addr)
	if err != nil {
		return "", err
	}
	print, err := trust.Fingerprint(ctx, h)
	if err != nil {
		err = fmt.Errorf("proxmox: %w", err)
	}
	return print, err
}

// withTrustHint adds to an error about a certificate how to mend it.
func withTrustHint(e *Error) error {
	print, pinned, refused := trust.Presented(e.cause)
	switch {
	case pinned:
		return kvm.WithHint(e, "if the certificate was renewed, compare this fingerprint with the node's own and add it to the server's pins: %s", print)
	case refused:
		if print != "" {
			print = " " + print
		}
		return kvm.WithHint(e, "give the server the cluster's CA file, or compare this fingerprint with the node's own and pin it:%s", print)
	}
	return e
}
