package pvesim

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// op is a piece of work in steps: a task's worker, or what a synchronous call does. It runs on the event queue, holds
// file locks, and ends once. The mutex is held in all of its methods and steps.
type op struct {
	c       *Cluster
	task    *task // nil: a synchronous call
	skip    bool  // skiplock=1 of root@pam
	held    []*flock
	waiting *waiter
	next    *event
	undo    func()   // what a failed or interrupted op puts back
	atEnd   []func() // are called when it has ended
	done    bool
	err     error
}

// flock is a file lock, held by one op alone or by several together.
type flock struct {
	key     string
	holders map[*op]bool // value: shared
	queue   []*waiter
}

type waiter struct {
	lock    *flock
	o       *op
	shared  bool
	then    func()
	timeout *event
}

const (
	vmLockWait      = 10 * time.Second // PVE::AbstractConfig lock_config
	storageLockWait = 10 * time.Second // PVE::Storage::Plugin cluster_lock_storage
	// clusterLockHold is how long work under a lock of the cluster may take before it is aborted (PVE::Cluster cfs_lock).
	clusterLockHold = 60 * time.Second
)

// clusterLock says whether a lock is one of the cluster's file system: directories that all nodes see. One that is taken
// is tried again each second, in no order; file locks of a node are handed on at once, first come first served.
func clusterLock(key string) bool { return strings.HasPrefix(key, "storage-") }

// lockTimeout is what PVE says when a lock could not be had in time.
func lockTimeout(key string) error {
	if clusterLock(key) {
		return fmt.Errorf("cfs-lock '%s' error: got lock request timeout", key)
	}
	file, _, _ := strings.Cut(key, "@") // each node has its own
	return fmt.Errorf("can't lock file '%s' - got timeout", file)
}

func vmLockKey(vmid int) string {
	return fmt.Sprintf("/var/lock/qemu-server/lock-%d.conf", vmid)
}

func (o *op) logf(format string, args ...any) {
	if o.task != nil {
		o.task.log = append(o.task.log, fmt.Sprintf(format, args...))
	}
}

// after goes on with then when d has passed.
func (o *op) after(d time.Duration, then func()) {
	if d <= 0 {
		then()
		return
	}
	o.next = o.c.schedule(d, func() {
		if !o.done {
			then()
		}
	})
}

// acquire goes on with then when the lock is o's; when limit passes before, o ends with the text of PVE.
func (o *op) acquire(key string, shared bool, limit time.Duration, then func()) {
	l := o.c.locks[key]
	if l == nil {
		l = &flock{key: key, holders: map[*op]bool{}}
		o.c.locks[key] = l
	}
	if len(l.queue) == 0 && l.admits(shared) {
		l.holders[o] = shared
		o.held = append(o.held, l)
		if clusterLock(key) {
			o.limitHold(l)
		}
		then()
		return
	}
	if clusterLock(key) {
		o.logf("trying to acquire cfs lock '%s' ...", key)
		o.after(time.Second, func() {
			if limit <= time.Second {
				o.fail(lockTimeout(key))
				return
			}
			o.acquire(key, shared, limit-time.Second, then)
		})
		return
	}
	o.logf("trying to acquire lock...")
	w := &waiter{lock: l, o: o, shared: shared, then: then}
	w.timeout = o.c.schedule(limit, func() {
		if o.waiting == w {
			o.fail(lockTimeout(key))
		}
	})
	o.waiting = w
	l.queue = append(l.queue, w)
}

// limitHold aborts o when it keeps a lock of the cluster too long.
func (o *op) limitHold(l *flock) {
	o.c.schedule(clusterLockHold, func() {
		if _, holds := l.holders[o]; holds && o.c.locks[l.key] == l {
			o.fail(fmt.Errorf("cfs-lock '%s' error: got lock timeout - aborting command", l.key))
		}
	})
}

func (l *flock) admits(shared bool) bool {
	for _, s := range l.holders {
		if !s || !shared {
			return false
		}
	}
	return true
}

// hand passes all of o's locks on to the task that goes on with its work, and ends o.
func (o *op) hand(t *task) {
	for _, l := range o.held {
		l.holders[t.op] = l.holders[o]
		delete(l.holders, o)
	}
	t.held, o.held = o.held, nil
	o.end(nil)
}

// release lets go of key's lock before the op ends.
func (o *op) release(key string) {
	for i, l := range o.held {
		if l.key == key {
			o.held = append(o.held[:i:i], o.held[i+1:]...)
			l.drop(o)
			return
		}
	}
}

// drop takes o out of the holders and gives the lock to those who wait, first come first served.
func (l *flock) drop(o *op) {
	delete(l.holders, o)
	for len(l.queue) > 0 && l.admits(l.queue[0].shared) {
		w := l.queue[0]
		l.queue = l.queue[1:]
		w.timeout.cancel()
		w.o.waiting = nil
		l.holders[w.o] = w.shared
		w.o.held = append(w.o.held, l)
		w.o.logf(" OK")
		w.then()
	}
	if len(l.queue) == 0 && len(l.holders) == 0 && o.c.locks[l.key] == l {
		delete(o.c.locks, l.key)
	}
}

// commit ends o with success: effect happens now. A task that was told to fail fails instead and puts back what it did.
func (o *op) commit(effect func()) {
	if o.task != nil && o.task.forced != "" && !isWarning(o.task.forced) {
		o.fail(errors.New(o.task.forced))
		return
	}
	if effect != nil {
		effect()
	}
	o.end(nil)
}

// fail ends o with err and puts back what it did.
func (o *op) fail(err error) {
	if o.done {
		return
	}
	if o.undo != nil {
		o.undo()
	}
	o.end(err)
}

// end ends o as it is.
func (o *op) end(err error) {
	if o.done {
		return
	}
	o.done, o.err = true, err
	o.next.cancel()
	if w := o.waiting; w != nil {
		w.timeout.cancel()
		o.waiting = nil
		for i, q := range w.lock.queue {
			if q == w {
				w.lock.queue = append(w.lock.queue[:i:i], w.lock.queue[i+1:]...)
				break
			}
		}
	}
	if o.task != nil {
		o.task.finish(err)
	}
	for _, then := range o.atEnd {
		then()
	}
	held := o.held
	o.held = nil
	for _, l := range held {
		l.drop(o)
	}
}

// await holds the request until o has ended and gives its error. A client that goes away, or the 30 s limit of
// pveproxy, ends the waiting and not the work: pvedaemon's worker stays with it.
func (r *request) await(o *op) error {
	done, err := r.awaitFor(o, proxyLimit-r.waited)
	if err == nil && !done {
		err = errTooLong()
	}
	if !o.done {
		r.leaveWorker(o)
	}
	return err
}

// errTooLong is pveproxy's answer when pvedaemon or another node has not answered in time.
func errTooLong() error {
	return &apiError{code: 596, msg: "Connection timed out", bare: true}
}

// awaitFor is await with a limit of its own; done is false when that has passed.
func (r *request) awaitFor(o *op, limit time.Duration) (done bool, err error) {
	c := r.c
	for begun := c.now; !o.done; {
		left := limit - c.now.Sub(begun)
		if left <= 0 {
			return false, nil
		}
		d := c.untilNext(min(left, 250*time.Millisecond))
		c.mu.Unlock()
		err := c.clock.Sleep(r.ctx, d)
		c.lock()
		if err != nil && !o.done {
			return false, errGone
		}
	}
	return true, o.err
}

// proxyLimit is how long pveproxy waits for pvedaemon or for another node.
const proxyLimit = 30 * time.Second

// errGone: nobody is there to be answered.
var errGone = errors.New("the client went away")
