package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// slotPoll is the pause between two tries for a slot that another process holds.
const slotPoll = 2 * time.Second

// queues are where the services of this process wait for slots, the oldest order first, so that only as many as there are
// slots ask the database.
type queues struct {
	mu    sync.Mutex
	byKey map[string]*queue
}

func newQueues() *queues { return &queues{byKey: map[string]*queue{}} }

// of is the queue of key, for n slots.
func (q *queues) of(key string, n int, now time.Time) *queue {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.byKey[key] == nil {
		q.byKey[key] = &queue{held: now}
		for i := range n {
			q.byKey[key].free = append(q.byKey[key].free, i)
		}
	}
	return q.byKey[key]
}

type queue struct {
	mu      sync.Mutex
	free    []int // turns that nobody has, each a number below n
	waiting []*waiter
	held    time.Time // when one of this process last held a slot, or first came for one
}

type waiter struct {
	order int
	turn  chan int // gets the turn, once
}

// enter waits for a turn until ctx ends.
func (q *queue) enter(ctx context.Context, order int) (turn int, err error) {
	q.mu.Lock()
	if last := len(q.free) - 1; last >= 0 {
		turn, q.free = q.free[last], q.free[:last]
		q.mu.Unlock()
		return turn, nil
	}
	w := &waiter{order: order, turn: make(chan int, 1)}
	i, _ := slices.BinarySearchFunc(q.waiting, order+1, func(w *waiter, order int) int { return w.order - order })
	q.waiting = slices.Insert(q.waiting, i, w)
	q.mu.Unlock()
	select {
	case turn := <-w.turn:
		return turn, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	i = slices.Index(q.waiting, w)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if i < 0 { // the turn came all the same
		q.leave(<-w.turn)
	}
	return 0, ctx.Err()
}

// leave gives the turn to the oldest order that waits.
func (q *queue) leave(turn int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.free = append(q.free, turn)
		return
	}
	q.waiting[0].turn <- turn
	q.waiting = slices.Delete(q.waiting, 0, 1)
}

// used notes that one of this process holds or held a slot at now.
func (q *queue) used(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = now
}

// unused is for how long none of this process has held a slot.
func (q *queue) unused(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Sub(q.held)
}

// slot takes one of n slots of kind at place (a node, a storage) for s: in the queue of this process first, then in the
// database. Where others hold them all, and no service of this process has had one for cron.wait, it is kvm.ErrBusy. The slot in the database stays
// until FreeSlot: it counts the task, not the process. leave gives up the turn within this process.
func (l *Lifecycle) slot(ctx context.Context, s *kvm.Service, kind, place string, n int) (leave func(), err error) {
	q := l.queues.of(fmt.Sprintf("%d/%s/%s", s.Row.ServerID, kind, place), n, l.Clock.Now())
	turn := 0
	err = pipeline.Waiting(ctx, func() (err error) { turn, err = q.enter(ctx, s.Order); return err })
	if err != nil {
		return nil, err
	}
	for {
		ok, err := l.Store.TakeSlot(ctx, s, kind, place, n, turn)
		if err == nil && !ok && q.unused(l.Clock.Now()) >= l.Settings.Wait {
			err = kvm.Errorf(kvm.ErrBusy, "one of the %d %s slots of %s, which others have in use", n, kind, place)
		}
		if err == nil && !ok {
			err = pipeline.Waiting(ctx, func() error { return l.Clock.Sleep(ctx, slotPoll) })
		}
		if err != nil {
			q.leave(turn)
			return nil, err
		}
		if ok {
			q.used(l.Clock.Now())
			return func() { q.used(l.Clock.Now()); q.leave(turn) }, nil
		}
	}
}
