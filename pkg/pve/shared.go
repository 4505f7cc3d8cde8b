package pve

import (
	"context"
	"sync"
	"time"
)

// shared is a value that many want and one fetches. The others wait for that one, each only as long as its own context.
type shared[T any] struct {
	gate  chan struct{}
	value *T
	at    time.Time
}

func newShared[T any]() shared[T] { return shared[T]{gate: make(chan struct{}, 1)} }

// get is the value when it is younger than age at now, else what fetch gives. A failed fetch leaves what was there.
func (s *shared[T]) get(ctx context.Context, now func() time.Time, age time.Duration, fetch func(context.Context) (T, error)) (T, error) {
	var zero T
	select {
	case s.gate <- struct{}{}:
		defer func() { <-s.gate }()
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	began := now()
	if s.value != nil && began.Sub(s.at) < age {
		return *s.value, nil
	}
	v, err := fetch(ctx)
	if err != nil {
		return zero, err
	}
	s.value, s.at = &v, began
	return v, nil
}

// sharedBy is a shared value for each key.
type sharedBy[T any] struct {
	mu    sync.Mutex
	byKey map[string]*shared[T]
}

func newSharedBy[T any]() *sharedBy[T] { return &sharedBy[T]{byKey: map[string]*shared[T]{}} }

func (s *sharedBy[T]) of(key string) *shared[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.byKey[key]
	if v == nil {
		made := newShared[T]()
		v = &made
		s.byKey[key] = v
	}
	return v
}
