package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestRecycledBetweenRows: after each row of what destroys, the VM is destroyed by hand and its VMID given to somebody else.
// Before the row that destroys nothing proves that the service's own VM is gone, so that it stops there; after it the
// stranger is nobody's business. In every case the stranger's VM stays as it is.
func TestRecycledBetweenRows(t *testing.T) {
	t.Parallel()
	for _, d := range destroyers {
		t.Run(string(d.verb), func(t *testing.T) {
			t.Parallel()
			w := newDestroyWorld(t, pvesim.Instant())
			for i, by := range strangers {
				for rows := range d.deletes + 1 {
					if (rows+i)%2 == 1 && rows > 0 && rows < d.deletes-1 {
						continue // the rows in the middle meet every other stranger
					}
					w.recycledAfter(d, rows, by)
				}
			}
			w.othersVM(d)
		})
	}
}

func (w *world) recycledAfter(d destroyer, rows int, by stranger) {
	w.t.Helper()
	what := fmt.Sprintf("%s, after %d rows, %s", d.verb, rows, by.name)
	id := w.ready()
	own, vmid := w.vm(id), w.service(id).Row.VMID
	w.ask(id, d.verb)
	if rows > 0 {
		if out := w.walk(id, rows); !out.Complete {
			w.t.Fatalf("%s: %s", what, out.Message)
		}
	}
	at := w.at(id)
	w.recycle(vmid, own, by)
	before := w.theirs(vmid)
	out := w.walk(id, 0)
	w.untouched(what, vmid, before)
	if rows >= d.deletes {
		w.finish(id, d.end)
		w.untouched(what, vmid, before)
		if d.end == kvm.Remove {
			w.freed(what, id)
		} else if w.service(id).Row.VMID == vmid {
			w.t.Errorf("%s: it has the stranger's VMID", what)
		}
		w.sim.RemoveVM(vmid)
		return
	}
	if !errors.Is(out.Err, kvm.ErrForeign) || !strings.Contains(out.Message, fmt.Sprint(vmid)) {
		w.t.Errorf("%s: %q is not why", what, out.Message)
	}
	w.kept(what, id)
	switch {
	case d.verb == kvm.VerbTerminate:
		w.gaveUp(what, id, 1)
		w.ask(id, d.verb) // by hand it is tried again
		w.walk(id, 0)
		w.gaveUp(what, id, 2)
		w.untouched(what, vmid, before)
		w.ask(id, d.verb)
	case d.verb == kvm.VerbReinstall && rows == 0: // refused: the service is as it was before
		if m := w.db.Text("SELECT message FROM puq_proxmox_kvm_runs WHERE service_id = ? ORDER BY id DESC LIMIT 1", id); w.at(id) != kvm.Ready || m != out.Message {
			w.t.Errorf("%s: at %s, the last run says %q", what, w.at(id), m)
		}
		w.ask(id, d.verb)
	default:
		if now := w.at(id); now != at && (now != kvm.RDDNSRemoved || at != kvm.RDStopped) || w.service(id).Row.Message != out.Message {
			w.t.Errorf("%s: at %s, want %s; the row says %q", what, w.at(id), at, w.service(id).Row.Message)
		}
	}
	w.sim.RemoveVM(vmid) // and now it is proved that there is none
	w.finish(id, d.end)
}

// gaveUp checks the end of a terminate that an administrator must look at.
func (w *world) gaveUp(what string, id int64, attempts int) {
	w.t.Helper()
	w.kept(what, id)
	if at, message := w.at(id), w.service(id).Row.Message; at != kvm.ErrorTerminate || message == "" {
		w.t.Errorf("%s: at %s, the row says %q", what, at, message)
	}
	if n := w.attempts(id); n != fmt.Sprint(attempts) {
		w.t.Errorf("%s: %s entries in the activity log, want %d", what, n, attempts)
	}
	for _, p := range w.start(nil).life.Pipelines() {
		for _, st := range p.Statuses() {
			if st == kvm.ErrorTerminate {
				w.t.Errorf("cron goes on by itself with %s", p.Name)
			}
		}
	}
}

// othersVM: a row that names the VM of another service of ours.
func (w *world) othersVM(d destroyer) {
	w.t.Helper()
	other := w.ready()
	vmid := w.service(other).Row.VMID
	for rows := range d.deletes + 1 {
		what := fmt.Sprintf("%s, after %d rows, another service's VM", d.verb, rows)
		id := w.ready()
		mine := w.service(id).Row.VMID
		w.ask(id, d.verb)
		if rows > 0 {
			w.walk(id, rows)
		}
		w.sim.RemoveVM(mine)
		w.set(id, "vm_id = ?, vm_node = ?", vmid, w.vm(other).Node)
		before := w.theirs(vmid)
		out := w.walk(id, 0)
		if rows < d.deletes && !errors.Is(out.Err, kvm.ErrForeign) || rows < d.deletes && d.verb == kvm.VerbTerminate && w.at(id) != kvm.ErrorTerminate {
			w.t.Errorf("%s: at %s: %v", what, w.at(id), out.Err)
		}
		if rows < d.deletes {
			w.kept(what, id)
		} else {
			w.finish(id, d.end)
		}
		w.untouched(what, vmid, before)
		w.kept(what+", the other service", other)
	}
}

// TestOurTaskIsTheProof: our own task has said OK, and before that is known somebody else has the VMID. That is no obstacle.
// When the task is not known, nothing proves that the VM was destroyed.
func TestOurTaskIsTheProof(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	for _, d := range destroyers {
		for _, by := range strangers[:3] {
			for _, how := range []string{"at once", "a tick later", "the answer is lost"} {
				what := fmt.Sprintf("%s, %s, %s", d.verb, how, by.name)
				id := w.ready()
				own, vmid := w.vm(id), w.service(id).Row.VMID
				w.ask(id, d.verb)
				w.walk(id, d.deletes-1)
				before := ""
				given := func() {
					if _, found := w.sim.VM(vmid); found {
						t.Errorf("%s: the VM is still there", what)
					}
					w.recycle(vmid, own, by)
					before = w.theirs(vmid)
				}
				var out outcome
				switch how {
				case "at once":
					happened := w.once("DELETE", deletePath, pvesim.Done, given)
					out = w.walk(id, 0)
					if !happened() {
						t.Errorf("%s: there was no DELETE", what)
					}
					w.sim.SetHook(nil)
				case "a tick later":
					silent := w.sim.AddFault(pvesim.Fault{Method: "GET", Path: taskPath, Status: 595, Reason: "No route to host"})
					if out = w.walk(id, 0); out.Err != nil || !strings.HasPrefix(out.Message, "waiting on task UPID:") {
						t.Errorf("%s: %+v", what, out.Outcome)
					}
					w.kept(what, id)
					silent.Remove()
					given()
					out = w.walk(id, 0)
				default:
					lost := w.sim.AddFault(pvesim.Fault{Method: "DELETE", Path: deletePath, ResetAfter: true, Count: 1})
					w.walk(id, 0)
					if lost.Hits() != 1 {
						t.Errorf("%s: there was no DELETE", what)
					}
					lost.Remove()
					given()
					out = w.walk(id, 0)
					if !errors.Is(out.Err, kvm.ErrForeign) {
						t.Errorf("%s: %v", what, out.Err)
					}
					w.kept(what, id)
					w.untouched(what, vmid, before)
					w.sim.RemoveVM(vmid)
					continue
				}
				if out.Err != nil {
					t.Errorf("%s: %v", what, out.Err)
				}
				w.finish(id, d.end)
				w.untouched(what, vmid, before)
				w.sim.RemoveVM(vmid)
			}
		}
	}
}

// TestRecycledWhileWaiting: a guest that does not hear is given its time, and in that the VM is destroyed by hand and its
// VMID given to somebody else. What follows the wait must not hit the stranger.
func TestRecycledWhileWaiting(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	type wait struct {
		verb kvm.Verb
		rows int // that come before the one that waits
	}
	waits := []wait{{kvm.VerbTerminate, 0}, {kvm.VerbReinstall, 2}, {kvm.VerbRedeploy, 0}, {kvm.VerbChangePackage, 1}, {kvm.VerbSuspend, 1}, {kvm.VerbResetPassword, 2}}
	for _, d := range destroyers {
		waits = append(waits, wait{d.verb, d.deletes - 1}) // somebody has started the VM again
	}
	for _, c := range waits {
		for _, by := range strangers[:4] {
			what := fmt.Sprintf("%s, row %d, %s", c.verb, c.rows+1, by.name)
			id := w.ready()
			own, vmid := w.vm(id), w.service(id).Row.VMID
			w.ask(id, c.verb)
			if c.rows > 0 {
				w.walk(id, c.rows)
			}
			if err := errors.Join(w.sim.SetPower(vmid, kvm.Running), w.sim.SetDeaf(vmid, true)); err != nil {
				t.Fatal(err)
			}
			before := ""
			happened := w.once("GET", taskPath, pvesim.Arrived, func() {
				w.recycle(vmid, own, by)
				before = w.theirs(vmid)
			})
			out := w.walk(id, 0)
			w.sim.SetHook(nil)
			if !happened() {
				t.Fatalf("%s: nothing was waited for: %s", what, out.Message)
			}
			if !errors.Is(out.Err, kvm.ErrForeign) && !errors.Is(out.Err, kvm.ErrNotHere) {
				t.Errorf("%s: at %s: %s", what, w.at(id), out.Message)
			}
			w.kept(what, id)
			w.untouched(what, vmid, before)
			w.sim.RemoveVM(vmid)
		}
	}
}

// TestRecycledBetweenSnapshots: while the first of two snapshots is removed the VMID becomes a VM's that has one of the
// second's name.
func TestRecycledBetweenSnapshots(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	id := w.ready()
	own, vmid := w.vm(id), w.service(id).Row.VMID
	for _, name := range []string{"theirs", "second"} {
		if err := w.sim.AddSnapshot(vmid, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	w.ask(id, kvm.VerbReinstall)
	var once sync.Once
	before := ""
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if r.Stage == pvesim.Done && r.Method == "DELETE" && strings.HasSuffix(r.Path, "/snapshot/second") {
			once.Do(func() {
				w.recycle(vmid, own, strangers[0])
				before = w.theirs(vmid)
			})
		}
	})
	out := w.walk(id, 0)
	w.sim.SetHook(nil)
	if before == "" || !errors.Is(out.Err, kvm.ErrForeign) || w.at(id) != kvm.RIChecked {
		t.Errorf("at %s: %v", w.at(id), out.Err)
	}
	w.untouched("reinstall", vmid, before)
}
