package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// slotPoll is the pause between two tries for a slot that another process holds.
const slotPoll = 2 * time.Second

// slots queues the services of this process for the slots of a node, first come first served, so that only as many as
// there are slots ask the database.
type slots struct {
	mu    sync.Mutex
	nodes map[string]chan struct{}
}

func newSlots() *slots { return &slots{nodes: map[string]chan struct{}{}} }

// enter waits for a turn at key, of n, until ctx ends.
func (q *slots) enter(ctx context.Context, key string, n int) (leave func(), err error) {
	q.mu.Lock()
	turns := q.nodes[key]
	if turns == nil {
		turns = make(chan struct{}, n)
		q.nodes[key] = turns
	}
	q.mu.Unlock()
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// slot takes one of n slots of kind on node for s. Where others hold them all it waits until cron.wait has passed since it
// came, and is then kvm.ErrBusy. The slot in the database stays until FreeSlot: it counts the task, not the process. leave
// gives up the turn within this process.
func (l *Lifecycle) slot(ctx context.Context, s *kvm.Service, kind, node string, n int) (leave func(), err error) {
	// Whoever has waited for a turn asks the database once in any case, but does not wait for as long again.
	until := l.Clock.Now().Add(l.Settings.Wait)
	leave, err = l.slots.enter(ctx, fmt.Sprintf("%d/%s/%s", s.Row.ServerID, node, kind), n)
	if err != nil {
		return nil, err
	}
	for {
		ok, err := l.Store.TakeSlot(ctx, s, kind, node, n)
		if err == nil && !ok && !l.Clock.Now().Before(until) {
			err = kvm.Errorf(kvm.ErrBusy, "one of the %d %s slots of node %s", n, kind, node)
		}
		if err == nil && !ok {
			err = l.Clock.Sleep(ctx, slotPoll)
		}
		if err != nil {
			leave()
			return nil, err
		}
		if ok {
			return leave, nil
		}
	}
}
