package pvesim

import (
	"container/heap"
	"time"
)

// event is something that happens at a moment, unless it is cancelled before.
type event struct {
	at   time.Time
	seq  uint64 // events of one moment happen in the order in which they were made
	run  func()
	dead bool
}

func (e *event) cancel() {
	if e != nil {
		e.dead = true
	}
}

type eventQueue []*event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is heap.Interface's.
func (q *eventQueue) Push(x any) { *q = append(*q, x.(*event)) }

// Pop is heap.Interface's.
func (q *eventQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}

// schedule makes run happen d after the present moment. The mutex is held, also while run runs.
func (c *Cluster) schedule(d time.Duration, run func()) *event {
	c.seq++
	e := &event{at: c.now.Add(d), seq: c.seq, run: run}
	heap.Push(&c.events, e)
	return e
}

// settle lets everything happen that is due, each at its own moment, and then moves the cluster's time to the clock's.
// The mutex is held.
func (c *Cluster) settle() {
	now := c.clock.Now()
	for len(c.events) > 0 && !c.events[0].at.After(now) {
		e := heap.Pop(&c.events).(*event)
		if e.dead {
			continue
		}
		c.broadcast(e.at)
		if e.at.After(c.now) {
			c.now = e.at
		}
		e.run()
	}
	c.broadcast(now)
	if now.After(c.now) {
		c.now = now
	}
}

// untilNext is how long it is until something happens by itself, at most limit.
func (c *Cluster) untilNext(limit time.Duration) time.Duration {
	for len(c.events) > 0 && c.events[0].dead {
		heap.Pop(&c.events)
	}
	if len(c.events) == 0 {
		return limit
	}
	return max(min(c.events[0].at.Sub(c.now), limit), time.Millisecond)
}

// lock takes the mutex and settles. Every entry into the cluster goes through it.
func (c *Cluster) lock() {
	c.mu.Lock()
	c.settle()
}
