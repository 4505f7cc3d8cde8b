package cron

import (
	"context"
	"errors"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Hold claims the service for one command, runs do with it as it is under the claim, and lets it go. The context of do
// ends when the claim could not be kept. A service that somebody else is at work on is kvm.ErrBusy. When do fails, what the
// row says of its last run stays.
func Hold(ctx context.Context, store Services, owner string, id int64, do func(ctx context.Context, s *kvm.Service) error) (err error) {
	s, err := store.Service(ctx, id)
	if err != nil {
		return err
	}
	won, err := store.Claim(ctx, id, owner, s.Row.Owner)
	switch {
	case err != nil:
		return err
	case !won:
		return kvm.Errorf(kvm.ErrBusy, "another command or a tick is at work on service %d; try again", id)
	}
	held, stop := keep(ctx, store, owner)
	message := s.Row.Message
	defer func() {
		stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lettingGo)
		defer cancel()
		err = errors.Join(err, store.Release(ctx, id, owner, message))
	}()
	if s, err = store.Service(held, id); err != nil {
		return err
	}
	message = s.Row.Message
	if err = do(held, s); err == nil {
		message = ""
	} else if cause := context.Cause(held); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return err
}
