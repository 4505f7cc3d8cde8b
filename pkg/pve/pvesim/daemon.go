package pvesim

import "time"

// daemon is one node's pvedaemon: a few workers, each busy with one call until that is done.
type daemon struct {
	idle chan time.Time // workers; the time is when it ended what its caller had given up, zero otherwise
	left int            // workers that are busy although their callers have gone
	wake chan struct{}  // is closed while there are such workers
}

func newDaemon(workers int) *daemon {
	d := &daemon{idle: make(chan time.Time, workers), wake: make(chan struct{})}
	for range workers {
		d.idle <- time.Time{}
	}
	return d
}

// takeWorker waits for a worker on the node that serves the call. When it was one whose last caller had given up, and
// that took longer than pveproxy waits, the call is served all the same and answered with a 596. Waiting for short calls
// is not counted: on a compressed clock that would be the machine's slowness and not PVE's.
func (r *request) takeWorker() error {
	c := r.c
	if !r.ep.daemon || len(c.nodes) == 0 {
		return nil
	}
	node := c.nodes[0].Name
	if r.ep.proxied && c.daemons[r.vars["node"]] != nil {
		node = r.vars["node"]
	}
	d, came := c.daemons[node], c.clock.Now()
	got := func(done time.Time) error {
		if r.daemon = d; done.After(came) {
			r.waited = done.Sub(came)
		}
		return nil
	}
	for {
		select {
		case done := <-d.idle:
			return got(done)
		default:
		}
		c.lock()
		wake, next := d.wake, c.untilNext(250*time.Millisecond)
		c.mu.Unlock()
		select {
		case done := <-d.idle:
			return got(done)
		case <-r.ctx.Done():
			return errGone
		case <-wake: // nobody else lets the time pass for what goes on without a caller
			if c.clock.Sleep(r.ctx, next) != nil {
				return errGone
			}
		}
	}
}

// giveWorker makes the call's worker idle.
func (r *request) giveWorker() {
	if r.daemon != nil {
		r.daemon.idle <- time.Time{}
	}
}

// leaveWorker leaves the call's worker with o, which goes on without the call. The mutex is held.
func (r *request) leaveWorker(o *op) {
	d := r.daemon
	if d == nil {
		return
	}
	r.daemon = nil
	if d.left++; d.left == 1 {
		close(d.wake)
	}
	o.atEnd = append(o.atEnd, func() {
		if d.left--; d.left == 0 {
			d.wake = make(chan struct{})
		}
		d.idle <- o.c.now
	})
}
