package cron

import (
	"context"
	"errors"
	"time"
)

const (
	// claimLife is how long the database lets a claim hold without renewal.
	claimLife = 60 * time.Second
	// renewEvery is the pause between two renewals.
	renewEvery = claimLife / 4
	// retryEvery is the pause after a renewal that failed.
	retryEvery = time.Second
	// patience is how long renewal may fail before the work in hand is stopped, well before a claim ends.
	patience = claimLife * 6 / 10
)

var errClaimsLost = errors.New("the claims could not be renewed, so the work was stopped before another process takes it over")

// keep renews owner's claims until stop is called. The context it gives ends with ctx, or with errClaimsLost as its cause
// when renewal failed for too long.
func keep(ctx context.Context, store Services, owner string) (held context.Context, stop func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	// The work may go on for a while after ctx has ended, so renewal does too.
	renewing, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(done)
		timer := time.NewTimer(renewEvery)
		defer timer.Stop()
		last := time.Now()
		for {
			select {
			case <-renewing.Done():
				return
			case <-timer.C:
			}
			began := time.Now()
			try, cancelTry := context.WithDeadline(renewing, last.Add(patience))
			err := store.RenewClaims(try, owner)
			cancelTry()
			switch {
			case err == nil:
				last = began // the new life began no earlier, however late the answer came
				timer.Reset(renewEvery)
			case time.Since(last) >= patience:
				cancel(errClaimsLost)
				return
			default:
				timer.Reset(retryEvery)
			}
		}
	}()
	return held, func() {
		end()
		<-done
		cancel(nil)
	}
}
