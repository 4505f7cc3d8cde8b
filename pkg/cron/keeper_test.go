package cron

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// renewals is a Services of which keep uses one method; renew is what the database does.
type renewals struct {
	Services
	mu    sync.Mutex
	calls int
	begun time.Time
	renew func(ctx context.Context, since time.Duration) error
}

func (r *renewals) RenewClaims(ctx context.Context, owner string) error {
	if owner != "me" {
		panic("renewed the claims of " + owner)
	}
	since := time.Since(r.begun)
	r.mu.Lock()
	r.calls++
	r.mu.Unlock()
	return r.renew(ctx, since)
}

// count is how often the claims were renewed by now.
func (r *renewals) count() int {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func TestKeeperRenewsEveryQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &renewals{begun: time.Now(), renew: func(context.Context, time.Duration) error { return nil }}
		held, stop := keep(t.Context(), store, "me")
		time.Sleep(10 * time.Minute)
		if held.Err() != nil {
			t.Fatalf("the work was stopped although all went well: %v", context.Cause(held))
		}
		stop()
		n := store.count()
		if n != 40 {
			t.Fatalf("%d renewals in ten minutes, want one every %v", n, renewEvery)
		}
		if held.Err() == nil {
			t.Fatal("the context goes on after stop")
		}
		time.Sleep(time.Minute)
		if store.count() != n {
			t.Fatal("renewal goes on after stop")
		}
	})
}

// TestKeeperStopsTheWorkInTime: whatever renewal suffers from, the work is told to stop well before the claim that was
// renewed last can end.
func TestKeeperStopsTheWorkInTime(t *testing.T) {
	gone := errors.New("the database is gone")
	hang := func(ctx context.Context, _ time.Duration) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, c := range map[string]struct {
		good  time.Duration // until then the database answers
		slow  time.Duration // and takes this long for it
		renew func(ctx context.Context, since time.Duration) error
	}{
		"fails from the first time on": {renew: func(context.Context, time.Duration) error { return gone }},
		"hangs from the first time on": {renew: hang},
		"fails later":                  {good: 5 * time.Minute, renew: func(context.Context, time.Duration) error { return gone }},
		"hangs later":                  {good: 5 * time.Minute, renew: hang},
		"answers late, then hangs":     {good: 5 * time.Minute, slow: 15 * time.Second, renew: hang},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lastGood := time.Duration(0)
				store := &renewals{begun: time.Now()}
				store.renew = func(ctx context.Context, since time.Duration) error {
					if since >= c.good {
						return c.renew(ctx, since)
					}
					lastGood = since // the database notes the new end before it answers
					time.Sleep(c.slow)
					return nil
				}
				held, stop := keep(t.Context(), store, "me")
				defer stop()
				<-held.Done()
				if cause := context.Cause(held); !errors.Is(cause, errClaimsLost) {
					t.Fatalf("stopped by %v", cause)
				}
				if lived := time.Since(store.begun) - lastGood; lived > patience+retryEvery || lived < patience-retryEvery {
					t.Fatalf("stopped %v after the last good renewal, want %v of a claim's %v", lived, patience, claimLife)
				}
			})
		})
	}
}

func TestKeeperSurvivesAShortFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &renewals{begun: time.Now(), renew: func(_ context.Context, since time.Duration) error {
			if since >= 14*time.Second && since < 14*time.Second+patience/2 {
				return kvm.Errorf(kvm.ErrUnreachable, "no database server answers")
			}
			return nil
		}}
		held, stop := keep(t.Context(), store, "me")
		defer stop()
		time.Sleep(5 * time.Minute)
		if held.Err() != nil {
			t.Fatalf("a failure of %v has stopped the work: %v", patience/2, context.Cause(held))
		}
		if n := store.count(); n < 20+int(patience/2/retryEvery)-5 {
			t.Fatalf("%d renewals: it was not tried again every %v", n, retryEvery)
		}
	})
}

// TestKeeperRenewsWhileTheWorkEnds: after a signal the work needs time to reach a safe point, under a claim that holds.
func TestKeeperRenewsWhileTheWorkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &renewals{begun: time.Now(), renew: func(context.Context, time.Duration) error { return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		held, stop := keep(ctx, store, "me")
		defer stop()
		cancel()
		<-held.Done()
		time.Sleep(time.Minute)
		if store.count() < 3 {
			t.Fatalf("%d renewals in the minute after the signal", store.count())
		}
		if cause := context.Cause(held); !errors.Is(cause, context.Canceled) || errors.Is(cause, errClaimsLost) {
			t.Fatalf("a signal counts as %v", cause)
		}
	})
}
