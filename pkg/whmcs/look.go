package whmcs

import (
	"context"
	"sync"
	"time"
)

// lookAge is how old what all services of a tick share may be. It is the wall's time: what an administrator changes counts
// for every service that is taken up so much later.
const lookAge = 5 * time.Second

// look is something that is read for many services at once.
type look[T any] struct {
	mu    sync.Mutex
	at    time.Time
	value T
}

// get is the value, read anew when it is too old. Of many that want it one reads, and an error is that one's alone.
func (l *look[T]) get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at.IsZero() && time.Since(l.at) < lookAge {
		return l.value, nil
	}
	began := time.Now()
	value, err := read(ctx)
	if err != nil {
		return value, err
	}
	l.value, l.at = value, began
	return value, nil
}
