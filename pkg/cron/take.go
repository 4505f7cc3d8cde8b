package cron

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Take claims the service for a command, keeps the claim while do is at work, and lets go. The service is as it is stored
// under the claim. kvm.ErrBusy: another process has it in hand, or do would meet one.
func (p *Process) Take(ctx context.Context, service int64, do func(ctx context.Context, s *kvm.Service) error) error {
	s, err := p.Store.Service(ctx, service)
	if err != nil {
		return err
	}
	won, err := p.Store.Claim(ctx, service, p.Owner, s.Row.Owner)
	if err != nil {
		return err
	}
	if !won {
		return kvm.Errorf(kvm.ErrBusy, "another command or a tick is at work on service %d; try again", service)
	}
	held, stop := keep(ctx, p.Store, p.Owner)
	defer stop()
	message := s.Row.Message
	defer func() { p.release(ctx, service, message) }()
	if s, err = p.Store.Service(ctx, service); err != nil {
		return err
	}
	s.Row.Owner, message = p.Owner, s.Row.Message
	return do(held, s)
}
