package lifecycle_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// seeded is a random source whose seed is printed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// trouble is a kind of fault, and what a row has to say of it.
type trouble struct {
	name  string
	fault pvesim.Fault
	says  string // the message, as an expression
	wait  bool   // it is no error
	done  bool   // the request has had its effect: a row may find that out within the run and go on
}

// refusals had no effect, and answer writes and reads alike.
var refusals = []trouble{
	{name: "401", fault: pvesim.Fault{Status: 401, Reason: "Authentication failed!"}, says: `401 Authentication failed!`},
	{name: "403", fault: pvesim.Fault{Status: 403, Reason: "Permission check failed (/vms/100, VM.Allocate)"}, says: `403 Permission check failed`},
	{name: "lock", fault: pvesim.Fault{Status: 500, Reason: "VM is locked (backup)"}, says: `^waiting on .*VM is locked \(backup\)`, wait: true},
	{name: "flock", fault: pvesim.Fault{Status: 500, Reason: "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"}, says: `^waiting on .*got timeout`, wait: true},
	{name: "quorum", fault: pvesim.Fault{Status: 500, Reason: "cluster not ready - no quorum?"}, says: `no quorum`},
	{name: "595", fault: pvesim.Fault{Status: 595, Reason: "No route to host"}, says: `595 No route to host`},
	{name: "596", fault: pvesim.Fault{Status: 596, Reason: "Connection timed out"}, says: `596 Connection timed out`},
	{name: "599", fault: pvesim.Fault{Status: 599, Reason: "Too many redirections"}, says: `599 Too many`},
	{name: "hang", fault: pvesim.Fault{Hang: true}, says: `no answer within 400ms`},
	{name: "reset before", fault: pvesim.Fault{ResetBefore: true}, says: `EOF|reset`},
	{name: "500", fault: pvesim.Fault{Status: 500, Reason: "something nobody knows"}, says: `500 something nobody knows`},
}

// effects were carried out, and then the answer was lost.
var effects = []trouble{
	{name: "596 after", fault: pvesim.Fault{Status: 596, Reason: "Connection timed out", After: true}, says: `596 Connection timed out`, done: true},
	{name: "599 after", fault: pvesim.Fault{Status: 599, Reason: "Too many redirections", After: true}, says: `599 Too many`, done: true},
	{name: "reset after", fault: pvesim.Fault{ResetAfter: true}, says: `EOF|reset`, done: true},
	{name: "no JSON", fault: pvesim.Fault{Body: "<html>welcome</html>"}, says: `not what Proxmox answers`, done: true},
}

// tasks are what happens to a task that had its 200.
var tasks = []trouble{
	{name: "task fails", fault: pvesim.Fault{TaskError: "something nobody knows"}, says: `failed: (something nobody knows|migration aborted .*something nobody knows)`},
	{name: "task killed", fault: pvesim.Fault{TaskError: "unexpected status"}, says: `failed: (unexpected status|migration aborted .*unexpected status)`},
	{name: "UPID vanishes", fault: pvesim.Fault{TaskVanishes: true}, says: `no such task`, done: true},
}

// call is a request of a row.
type call struct{ method, pattern string }

// calls are the requests that each row makes, each once, by the simulator's log.
func calls(t *testing.T, version string) (writes, reads, starts map[int][]call) {
	t.Helper()
	w := newWorld(t, version, rich...)
	w.staleFirewall()
	w.writes()
	id := w.order()
	writes, reads, starts = map[int][]call{}, map[int][]call{}, map[int][]call{}
	for row := 1; row <= allRows; row++ {
		w.reach(id, row)
		for _, e := range w.sim.Requests() {
			c := call{e.Method, e.Pattern}
			into := writes
			if e.Method == "GET" {
				into = reads
			}
			if !slices.Contains(into[row], c) {
				into[row] = append(into[row], c)
			}
		}
		w.writes()
	}
	for row, list := range writes {
		for _, c := range list {
			task := c.method == "POST" && !strings.Contains(c.pattern, "firewall") || strings.HasSuffix(c.pattern, "/resize") && version != "7.4-17"
			if task {
				starts[row] = append(starts[row], c)
			}
		}
	}
	return writes, reads, starts
}

// disturb walks a service row by row. At each it lets the index-th of the row's calls meet the trouble, sees what the row
// says and that the status stays, and then that the next run does the row.
func (w *world) disturb(tr trouble, list map[int][]call, index int) int64 {
	w.t.Helper()
	id := w.order()
	for row := 1; row <= allRows; row++ {
		if index >= len(list[row]) {
			continue
		}
		if row > 1 && w.service(id).Row.Status != from(row) {
			w.reach(id, row-1)
		}
		c := list[row][index]
		at := fmt.Sprintf("%s: %s %s: %s", title(row), c.method, c.pattern, tr.name)
		f := tr.fault
		f.Method, f.Path = c.method, c.pattern
		armed := w.sim.AddFault(f)
		if tr.fault.Hang { // a request's time-out is real time: few questions about a task
			w.timeout, w.settings.Wait, w.settings.MigrationTimeout = 400*time.Millisecond, 2*time.Second, 2*time.Second
		}
		out := w.run(id, row)
		w.timeout, w.settings.Wait, w.settings.MigrationTimeout = 20*time.Second, 300*time.Second, 300*time.Second
		if armed.Hits() == 0 {
			w.t.Errorf("%s: it was never asked", at)
		}
		armed.Remove()
		// The row to verify the start goes back one row, so that the next run starts the VM.
		stays := out.At == from(row) || row == rowVerify && out.At == from(rowStart)
		switch {
		case out.Complete && (tr.done || harmless(row, c, tr)):
		case out.Complete:
			w.t.Errorf("%s: the row went on", at)
		case !stays || w.service(id).Row.Status != out.At:
			w.t.Errorf("%s: the status is %s, stored %s", at, out.At, w.service(id).Row.Status)
		case !regexp.MustCompile(tr.says).MatchString(out.Message) && !patient(c, out):
			w.t.Errorf("%s: it says %q", at, out.Message)
		case tr.wait != (out.Err == nil) && !patient(c, out):
			w.t.Errorf("%s: waiting %t: %s", at, out.Err == nil, out.Message)
		case strings.Contains(out.Message, pvesim.TwoNodesSecret):
			w.t.Errorf("%s: the secret is in %q", at, out.Message)
		}
		if s := w.service(id); s.Row.Status != to(row) {
			if out := w.run(id, row); !out.Complete {
				w.t.Errorf("%s: and the next run, without it, stops at %s: %s", at, out.At, out.Message)
				w.reach(id, row)
			}
		}
	}
	if w.service(id).Row.Status != kvm.Ready {
		w.reach(id, allRows)
	}
	return id
}

// harmless: what a row need not even notice.
func harmless(row int, c call, tr trouble) bool {
	// A token that may not ask for the cluster's name leaves it open.
	if strings.HasSuffix(c.pattern, "/cluster/status") && tr.name == "403" {
		return true
	}
	// Whether a VM has started is decided by its power state, not by what can be learned of the task.
	if row == rowStart && strings.HasSuffix(c.pattern, "/tasks/{upid}/status") {
		return true
	}
	// A storage list that cannot be had of a node is no reason to stop: the node is no place for the VM then, and it stays.
	return strings.HasSuffix(c.pattern, "/storage") || strings.HasSuffix(c.pattern, "/log")
}

// patient: a task whose state cannot be asked for is waited for.
func patient(c call, out outcome) bool {
	return strings.HasSuffix(c.pattern, "/tasks/{upid}/status") && out.Err == nil && strings.HasPrefix(out.Message, "waiting on task ")
}

// TestTroubleWithEveryCall lets each call of each row meet trouble, on a version where most is asynchronous.
func TestTroubleWithEveryCall(t *testing.T) {
	t.Parallel()
	const version = "8.4.21"
	writes, reads, starts := calls(t, version)
	most := func(list map[int][]call) (n int) {
		for _, l := range list {
			n = max(n, len(l))
		}
		return n
	}
	if most(writes) < 5 || most(reads) < 5 || len(starts) != 6 {
		t.Fatalf("writes %v\nreads %v\ntasks %v", writes, reads, starts)
	}
	rng := seeded(t)
	w := newWorld(t, version, rich...)
	w.staleFirewall()
	first := w.order()
	w.reach(first, allRows)
	want, ids := w.end(first), []int64{first}
	sweep := func(kinds []trouble, list map[int][]call, from, until int) {
		for _, tr := range kinds {
			for i := from; i < until; i++ {
				id := w.disturb(tr, list, i)
				ids = append(ids, id)
				if got := w.end(id); got != want {
					t.Errorf("%s at call %d: the end is\n%s\nwant\n%s", tr.name, i, got, want)
				}
			}
		}
	}
	// Each row's first write meets everything. Further writes are the firewall's, and of refusals, which all look alike to
	// it, a sample will do; so for the reads. PUQKVM_SOAK leaves out none. Package cmd has the matrix of whole ticks.
	sample := func(n int) (out []trouble) {
		if os.Getenv("PUQKVM_SOAK") != "" {
			return refusals
		}
		for _, i := range rng.Perm(len(refusals))[:n] {
			out = append(out, refusals[i])
		}
		return out
	}
	sweep(refusals, writes, 0, 1)
	sweep(sample(3), writes, 1, most(writes))
	sweep(effects, writes, 0, most(writes))
	sweep(tasks, starts, 0, most(starts))
	sweep(sample(2), reads, 0, most(reads))
	w.settled(1, ids...)
}
