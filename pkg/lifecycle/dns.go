package lifecycle

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const noZone = "skip — no zone"

// configureDNS never fails the run: a database that cannot be asked for zones fails at the move that follows.
func (l *Lifecycle) configureDNS(ctx context.Context, _ *kvm.Service) (pipeline.Result, error) {
	zones, err := l.Store.Zones(ctx)
	switch {
	case err != nil:
		return skip("skip — zones could not be read")
	case len(zones) == 0:
		return skip(noZone)
	}
	return skip("skip — DNS providers are not served by this version")
}

// deleteDNS never fails the run either.
func (l *Lifecycle) deleteDNS(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	tell(ctx, "deleting DNS records")
	return l.configureDNS(ctx, s)
}
