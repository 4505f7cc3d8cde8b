package lifecycle

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// configureDNS never fails the run: a database that cannot be asked for zones fails at the move that follows.
func (l *Lifecycle) configureDNS(ctx context.Context, _ *kvm.Service) (pipeline.Result, error) {
	zones, err := l.Store.Zones(ctx)
	switch {
	case err != nil:
		return skip("skip — zones could not be read")
	case len(zones) == 0:
		return skip("skip — no zone")
	}
	return skip("skip — DNS providers are not served by this version")
}
