package clock

import (
	"context"
	"sync"
	"time"
)

// Clock tells the time and waits.
type Clock interface {
	// Now is the present moment.
	Now() time.Time
	// Sleep waits for d, or until ctx ends, whose error it then returns. A d of zero or less only looks at ctx.
	Sleep(ctx context.Context, d time.Duration) error
}

// Wall is the machine's own clock.
type Wall struct{}

// Now is time.Now.
func (Wall) Now() time.Time { return time.Now() }

// Sleep waits on the machine's clock.
func (Wall) Sleep(ctx context.Context, d time.Duration) error { return sleep(ctx, d) }

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Fake is a clock that moves only when somebody sleeps on it or calls Advance. It is safe for concurrent use, but with
// several sleepers at once each adds its own wait: use Scaled where side-by-side durations matter.
type Fake struct {
	mu  sync.Mutex
	now time.Time
}

// NewFake is a Fake that stands at now.
func NewFake(now time.Time) *Fake { return &Fake{now: now} }

// Now is where the clock stands.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the clock by d.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d > 0 {
		f.now = f.now.Add(d)
	}
}

// Sleep moves the clock by d and returns at once; a ctx that has ended moves nothing.
func (f *Fake) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.Advance(d)
	return nil
}

// Scaled runs Factor times as fast as the wall, from Start on.
type Scaled struct {
	start, begun time.Time
	factor       float64
}

// NewScaled is a clock that stands at start now and runs factor times as fast as the wall. A factor of zero or less is 1.
func NewScaled(start time.Time, factor float64) *Scaled {
	if factor <= 0 {
		factor = 1
	}
	return &Scaled{start: start, begun: time.Now(), factor: factor}
}

// Now is the scaled time.
func (s *Scaled) Now() time.Time {
	return s.start.Add(time.Duration(float64(time.Since(s.begun)) * s.factor))
}

// Sleep waits until d has passed on the scaled clock.
func (s *Scaled) Sleep(ctx context.Context, d time.Duration) error {
	return sleep(ctx, time.Duration(float64(d)/s.factor))
}
