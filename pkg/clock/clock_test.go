package clock

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestFakeMovesOnlyWhenTold(t *testing.T) {
	start := time.Date(2026, 4, 10, 3, 49, 18, 0, time.UTC)
	f := NewFake(start)
	if err := f.Sleep(context.Background(), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	f.Advance(-time.Hour)
	if got := f.Now().Sub(start); got != 30*time.Second {
		t.Fatalf("the clock moved by %v, want 30s", got)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Sleep(ended, time.Minute); !errors.Is(err, context.Canceled) {
		t.Fatalf("Sleep on an ended context: %v", err)
	}
	if got := f.Now().Sub(start); got != 30*time.Second {
		t.Fatalf("an ended context moved the clock to %v", got)
	}
}

func TestScaledRunsFaster(t *testing.T) {
	s := NewScaled(time.Unix(0, 0), 1000)
	before := s.Now()
	if err := s.Sleep(context.Background(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := s.Now().Sub(before); got < 5*time.Second {
		t.Fatalf("slept %v of scaled time, want at least 5s", got)
	}
}

func TestWallSleepEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, d := range []time.Duration{0, time.Hour} {
		if err := (Wall{}).Sleep(ctx, d); !errors.Is(err, context.Canceled) {
			t.Fatalf("Sleep(%v) = %v", d, err)
		}
	}
}
