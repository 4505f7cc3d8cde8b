package lifecycle

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// Whoever waits longest by its order, not by its arrival, gets the next turn.
func TestQueueServesTheOldestOrder(t *testing.T) {
	q := newQueues().of("key", 1, time.Unix(0, 0))
	first, err := q.enter(t.Context(), 7)
	if err != nil || first != 0 {
		t.Fatal(first, err)
	}
	var mu sync.Mutex
	var served []int
	var wg sync.WaitGroup
	for i, order := range []int{5, 3, 9, 1, 4} {
		wg.Go(func() {
			turn, err := q.enter(t.Context(), order)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			served = append(served, order)
			mu.Unlock()
			q.leave(turn)
		})
		q.await(i + 1)
	}
	q.leave(first)
	wg.Wait()
	if !slices.Equal(served, []int{1, 3, 4, 5, 9}) {
		t.Errorf("served in the order %v", served)
	}
	if len(q.free) != 1 || len(q.waiting) != 0 {
		t.Errorf("%d turns are free, %d wait", len(q.free), len(q.waiting))
	}
}

// await waits until n are in the queue.
func (q *queue) await(n int) {
	for {
		q.mu.Lock()
		waiting := len(q.waiting)
		q.mu.Unlock()
		if waiting == n {
			return
		}
	}
}

// A turn that is given to somebody who has just given up is not lost.
func TestQueueKeepsItsTurns(t *testing.T) {
	for range 200 {
		q := newQueues().of("key", 2, time.Unix(0, 0))
		a, _ := q.enter(t.Context(), 1)
		b, _ := q.enter(t.Context(), 2)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for order := range 4 {
			wg.Go(func() {
				if turn, err := q.enter(ctx, order); err == nil {
					q.leave(turn)
				}
			})
		}
		q.await(4)
		wg.Go(cancel)
		wg.Go(func() { q.leave(a) })
		wg.Go(func() { q.leave(b) })
		wg.Wait()
		slices.Sort(q.free)
		if !slices.Equal(q.free, []int{0, 1}) || len(q.waiting) != 0 {
			t.Fatalf("free turns %v, %d wait", q.free, len(q.waiting))
		}
	}
}
