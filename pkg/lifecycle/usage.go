package lifecycle

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Usage are the points of the charts of s's VM over a time frame of Proxmox's, the oldest first.
func (l *Lifecycle) Usage(ctx context.Context, s *kvm.Service, frame string) ([]kvm.Usage, error) {
	if s.Row.UUID == "" && (!s.Row.Legacy || s.Row.Status == kvm.Remove) {
		return nil, kvm.Errorf(kvm.ErrRefused, "service %d is at %s and has no VM that charts could be of", s.ID, s.Row.Status)
	}
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return nil, err
	}
	return c.Usage(ctx, vm, frame)
}
