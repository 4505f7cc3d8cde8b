package pvesim

import (
	"context"
	"math/rand/v2"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"
)

// Fault is something that goes wrong with certain requests. Its first part says with which, the second what.
type Fault struct {
	Method string  // empty: any
	Path   string  // as in the API's table ("/nodes/{node}/qemu/{vmid}/clone") or a path with * for one segment; empty: any
	VMID   int     // of the path; 0: any
	Guest  int     // the VM that it is about, see Request; 0: any
	Skip   int     // lets that many pass first
	Count  int     // goes wrong that often; 0: always
	Rate   float64 // with this probability; 0: each time

	// Status, with Reason and Body, is answered instead of doing anything: 401, 403, 500 ("VM is locked (backup)",
	// "cluster not ready - no quorum?"), 595, 596, 599. With After it is answered although the thing was done.
	Status int
	Reason string
	After  bool
	// Body replaces the body as it is (no JSON, say); alone it goes with a 200 after the effect.
	Body string
	// Delay passes first.
	Delay time.Duration
	// Hang answers nothing until the client goes away; nothing is done.
	Hang bool
	// ResetBefore breaks the connection before anything is done, ResetAfter when it was done.
	ResetBefore, ResetAfter bool
	// TaskError is how the request's task ends although it got its UPID; it undoes what it did. "WARNINGS: 1" is a success.
	TaskError string
	// TaskVanishes makes the task one that no call finds; it does its work.
	TaskVanishes bool
	// TaskKilledAfter is when, from its UPID on, the worker of the request's task gets a signal: it puts back what it did
	// and ends with "received interrupt", or as such a task words it. One that has ended by then is not touched.
	TaskKilledAfter time.Duration
	// UpLate is how long a VM that the request's task starts is seen stopped after the task has ended well: QEMU dies at once,
	// and somebody (an administrator, a high-availability manager) starts it again.
	UpLate time.Duration
	// NodeDown is how long the request's node is down: it crashes when the request arrives, and boots when that has passed.
	// The node is the one in the path, or the one of the request's VM.
	NodeDown time.Duration
}

type faults struct {
	mu   sync.Mutex
	list []*armed
	rng  *rand.Rand
	hook func(context.Context, Request)
}

type armed struct {
	Fault
	skip, hits int
}

// AddFault arms f and returns what counts its hits and disarms it. Of several that fit a request the first one counts.
func (c *Cluster) AddFault(f Fault) *Armed {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	a := &armed{Fault: f, skip: f.Skip}
	c.faults.list = append(c.faults.list, a)
	return &Armed{c: c, a: a}
}

// Armed is a fault in place.
type Armed struct {
	c *Cluster
	a *armed
}

// Hits is how often the fault struck.
func (a *Armed) Hits() int {
	a.c.faults.mu.Lock()
	defer a.c.faults.mu.Unlock()
	return a.a.hits
}

// Remove disarms the fault.
func (a *Armed) Remove() {
	a.c.faults.mu.Lock()
	defer a.c.faults.mu.Unlock()
	for i, other := range a.c.faults.list {
		if other == a.a {
			a.c.faults.list = append(a.c.faults.list[:i:i], a.c.faults.list[i+1:]...)
			return
		}
	}
}

// Stage is when a hook is called.
type Stage string

// The stages of a request.
const (
	Arrived Stage = "arrived" // nothing was done yet
	Done    Stage = "done"    // it was done, the answer has not been written
)

// Request is what a hook is told.
type Request struct {
	Stage   Stage
	Method  string
	Path    string // below /api2/json
	Pattern string // the row of the API's table, "" if there is none
	VMID    int    // of the path, 0 if it has none
	Guest   int    // the VM that it is about: a clone's new one, the one that a task works on, else VMID
	Form    map[string]string
	Status  int // at Done
}

// SetHook makes hook be called in the request's goroutine when a request has arrived and when it is done; nil removes
// it. It may block (the client waits, others do not), or end the client's process.
func (c *Cluster) SetHook(hook func(context.Context, Request)) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.hook = hook
}

func (f *faults) call(ctx context.Context, r Request) {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		hook(ctx, r)
	}
}

// strike is the fault that strikes r, or nil.
func (f *faults) strike(r Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.list {
		if !a.fits(r) || a.Count > 0 && a.hits >= a.Count {
			continue
		}
		if a.skip > 0 {
			a.skip--
			continue
		}
		if a.Rate > 0 && f.rng.Float64() >= a.Rate {
			continue
		}
		a.hits++
		copied := a.Fault
		return &copied
	}
	return nil
}

func (a *armed) fits(r Request) bool {
	if a.Method != "" && a.Method != r.Method || a.VMID != 0 && a.VMID != r.VMID || a.Guest != 0 && a.Guest != r.Guest {
		return false
	}
	if a.Path == "" || a.Path == r.Pattern || a.Path == r.Path {
		return true
	}
	ok, err := path.Match(a.Path, r.Path)
	return err == nil && ok
}

// answer is what f has the client see instead of real, or nil when it has no say in that.
func (f *Fault) answer(c *Cluster, real answer) answer {
	if f.Status == 0 && f.Body == "" {
		return real
	}
	a := real
	if f.Status != 0 {
		reason := f.Reason
		if reason == "" {
			reason = http.StatusText(f.Status)
		}
		if reason == "" {
			reason = strconv.Itoa(f.Status)
		}
		bare := f.Status == http.StatusUnauthorized || f.Status >= 590
		a = c.errorAnswer(&apiError{code: f.Status, msg: reason, bare: bare})
	}
	if f.Body != "" {
		a.body, a.json, a.close = []byte(f.Body), false, true
	}
	return a
}
