package pvesim

import (
	"errors"
	"fmt"
	"slices"
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
	claim
	lock    *flock
	o       *op
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

// claim is the wish for a lock and what is said and done about it.
type claim struct {
	key            string
	shared         bool
	limit          time.Duration
	waiting, given string      // the log's lines before and after a wait
	late           func(error) // what happens when limit passes; nil ends the op
	lateText       string      // the error then; "" for the one that the kind of lock has
	then           func()
}

func (w *claim) lateError() error {
	if w.lateText != "" {
		return errors.New(w.lateText)
	}
	return lockTimeout(w.key)
}

// acquire goes on with then when the lock is o's; when limit passes before, o ends with the text of PVE.
func (o *op) acquire(key string, shared bool, limit time.Duration, then func()) {
	o.lock(claim{key: key, shared: shared, limit: limit, then: then})
}

// lock is acquire with words and an end of its own.
func (o *op) lock(w claim) {
	if w.waiting == "" {
		w.waiting, w.given = "trying to acquire lock...", " OK"
	}
	if w.late == nil {
		w.late = o.fail
	}
	l := o.c.locks[w.key]
	if l == nil {
		l = &flock{key: w.key, holders: map[*op]bool{}}
		o.c.locks[w.key] = l
	}
	if len(l.queue) == 0 && l.admits(w.shared) {
		l.holders[o] = w.shared
		o.held = append(o.held, l)
		if clusterLock(w.key) {
			o.limitHold(l)
		}
		w.then()
		return
	}
	if clusterLock(w.key) {
		o.logf("trying to acquire cfs lock '%s' ...", w.key)
		o.after(time.Second, func() {
			if w.limit <= time.Second {
				w.late(w.lateError())
				return
			}
			w.limit -= time.Second
			o.lock(w)
		})
		return
	}
	o.logf("%s", w.waiting)
	q := &waiter{claim: w, lock: l, o: o}
	q.timeout = o.c.schedule(w.limit, func() {
		if o.waiting == q {
			o.forget(q)
			w.late(w.lateError())
		}
	})
	o.waiting = q
	l.queue = append(l.queue, q)
}

// forget takes a waiter of o out of its lock's queue. Those behind it may go on.
func (o *op) forget(w *waiter) {
	w.timeout.cancel()
	o.waiting = nil
	if i := slices.Index(w.lock.queue, w); i >= 0 {
		w.lock.queue = slices.Delete(w.lock.queue, i, i+1)
	}
	w.lock.serve(o.c)
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

// drop takes o out of the holders.
func (l *flock) drop(o *op) {
	delete(l.holders, o)
	l.serve(o.c)
}

// serve gives the lock to those who wait, first come first served.
func (l *flock) serve(c *Cluster) {
	for len(l.queue) > 0 && l.admits(l.queue[0].shared) {
		w := l.queue[0]
		l.queue = l.queue[1:]
		w.timeout.cancel()
		w.o.waiting = nil
		l.holders[w.o] = w.shared
		w.o.held = append(w.o.held, l)
		w.o.logf("%s", w.given)
		w.then()
	}
	if len(l.queue) == 0 && len(l.holders) == 0 && c.locks[l.key] == l {
		delete(c.locks, l.key)
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
	if o.waiting != nil {
		o.forget(o.waiting)
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
