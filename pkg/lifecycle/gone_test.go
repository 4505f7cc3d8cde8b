package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestGoneAlready: a VM that was destroyed by hand needs no destroying; nothing is asked of Proxmox for one that never was.
func TestGoneAlready(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	for _, d := range destroyers {
		id := w.ready()
		w.sim.RemoveVM(w.service(id).Row.VMID)
		w.ask(id, d.verb)
		w.sim.ResetRequests()
		out := w.walk(id, 0)
		if out.Err != nil {
			t.Errorf("%s: %s", d.verb, out.Message)
		}
		for _, call := range w.writes() {
			if strings.HasPrefix(call, "DELETE /nodes") && !strings.Contains(call, "firewall") {
				t.Errorf("%s: %s", d.verb, call)
			}
		}
		w.finish(id, d.end)
	}
	for rows := range rowClone {
		id := w.order()
		if rows > 0 {
			w.reach(id, rows)
		}
		w.ask(id, kvm.VerbTerminate)
		w.sim.ResetRequests()
		if out := w.walk(id, 0); out.Err != nil || len(w.sim.Requests()) > 0 || w.at(id) != kvm.Remove {
			t.Errorf("after %d rows: at %s: %s, %d requests", rows, w.at(id), out.Message, len(w.sim.Requests()))
		}
		w.freed("never cloned", id)
	}
}

// TestLateClone: a clone request that got no answer has its effect later. Whenever the VM appears it is found by its mark
// and destroyed, and nothing is given back before.
func TestLateClone(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	for _, c := range []struct {
		name string
		rows int  // of terminate that are walked before it appears
		wait bool // it appears while it is waited for
		two  bool // another one was sent, which also got no answer
	}{{name: "before the first row"}, {name: "before the row that destroys", rows: 2}, {name: "while it is waited for", rows: 2, wait: true},
		{name: "two", two: true}, {name: "two, while waiting", rows: 2, wait: true, two: true}} {
		id := w.order()
		w.reach(id, rowDNS)
		lost := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: clonePath, ResetBefore: true})
		tries := 1
		if c.two {
			tries = 2
		}
		for range tries {
			if out := w.run(id, rowClone); !errors.Is(out.Err, kvm.ErrUnknown) {
				t.Fatalf("%s: %+v", c.name, out.Outcome)
			}
		}
		lost.Remove()
		row := w.service(id).Row
		if !row.CloneSent || row.Cluster == "" {
			t.Errorf("%s: before the request nothing says that a clone was sent, and where: %+v", c.name, row)
		}
		appear := func() {
			w.call("POST", fmt.Sprintf("/nodes/pve1/qemu/%d/clone", template), "newid", fmt.Sprint(row.VMID), "name", row.Name, "description", kvm.Mark(installation, id))
		}
		w.ask(id, kvm.VerbTerminate)
		if c.rows > 0 {
			if out := w.walk(id, c.rows); !out.Complete {
				t.Fatalf("%s: %s", c.name, out.Message)
			}
		}
		happened := func() bool { return true }
		if c.wait {
			happened = w.once("GET", clusterPath, pvesim.Done, appear) // the last question of the first look
		} else {
			appear()
		}
		out := w.walk(id, 0)
		w.sim.SetHook(nil)
		if _, left := w.sim.VM(row.VMID); !happened() || left || out.Err != nil || w.at(id) != kvm.Remove {
			t.Errorf("%s: at %s, the VM is there: %t: %s", c.name, w.at(id), left, out.Message)
		}
		w.freed(c.name, id)
	}
	// None appears: it was waited for, once.
	id := w.order()
	w.reach(id, rowDNS)
	defer w.sim.AddFault(pvesim.Fault{Method: "POST", Path: clonePath, ResetBefore: true}).Remove()
	w.run(id, rowClone)
	w.ask(id, kvm.VerbTerminate)
	began := w.clock.Now()
	out := w.walk(id, 0)
	if took := w.clock.Now().Sub(began) - 61*time.Second; out.Err != nil || w.at(id) != kvm.Remove || took < 40*time.Second || took > 60*time.Second {
		t.Errorf("at %s after %v: %s", w.at(id), took, out.Message)
	}
}

// TestTerminateDuringClone: the copy takes minutes. Terminate waits for it, by its task or by its lock, and destroys what it
// has made.
func TestTerminateDuringClone(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"its task": false, "its lock": true} {
		model := pvesim.Instant()
		model.LinkedClone, model.Allocate = 20*time.Minute, time.Second
		w := newDestroyWorld(t, model)
		id := w.order()
		w.reach(id, rowDNS)
		fault := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: clonePath, ResetAfter: lost})
		w.run(id, rowClone)
		fault.Remove()
		w.ask(id, kvm.VerbTerminate)
		waited := 0
		for w.at(id) != kvm.Remove && waited < 30 {
			out := w.walk(id, 0)
			if w.at(id) == kvm.Remove {
				break
			}
			if waited++; out.Err != nil || !strings.HasPrefix(out.Message, "waiting on ") {
				t.Errorf("%s: %s", name, out.Message)
			}
			w.kept(name, id)
		}
		if n := len(w.sim.VMs()); waited < 2 || w.at(id) != kvm.Remove || n != 1 {
			t.Errorf("%s: at %s after %d ticks, %d VMs", name, w.at(id), waited, n)
		}
		w.freed(name, id)
	}
}

// TestAnotherCluster: the WHMCS server was given another cluster's address. Nothing that this one says of the VM counts: not
// that there is none, and not whose the VM is that it has under this VMID.
func TestAnotherCluster(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	for _, d := range destroyers {
		for _, taken := range []bool{false, true} {
			for _, cluster := range []string{"former", ""} {
				if cluster == "" && taken {
					continue // then it is a foreign VM, by all that is known
				}
				for rows := range d.deletes {
					what := fmt.Sprintf("%s after %d rows, taken %t, cluster %q", d.verb, rows, taken, cluster)
					id := w.ready()
					own, vmid := w.vm(id), w.service(id).Row.VMID
					w.ask(id, d.verb)
					if rows > 0 {
						w.walk(id, rows)
					}
					w.sim.RemoveVM(vmid)
					if taken {
						w.recycle(vmid, own, strangers[0])
					}
					w.set(id, "vm_cluster = ?", cluster)
					before := w.theirs(vmid)
					out := w.walk(id, 0)
					w.untouched(what, vmid, before)
					w.kept(what, id)
					if !errors.Is(out.Err, kvm.ErrAdmin) || !strings.Contains(kvm.Hint(out.Err), fmt.Sprintf("puqkvm vm forget %d", id)) || cluster != "" && !strings.Contains(out.Message, cluster) {
						t.Errorf("%s: %s", what, out.Message)
					}
					if d.verb == kvm.VerbTerminate {
						w.gaveUp(what, id, 1)
					}
					w.sim.RemoveVM(vmid)
				}
			}
		}
	}
}

// TestForeignBeforeVerb: what changes a VM meets somebody else's from its first row on.
func TestForeignBeforeVerb(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	for _, verb := range []kvm.Verb{kvm.VerbChangePackage, kvm.VerbSuspend, kvm.VerbUnsuspend, kvm.VerbResetPassword} {
		for _, by := range strangers {
			for rows := range 3 {
				what := fmt.Sprintf("%s after %d rows, %s", verb, rows, by.name)
				id := w.ready()
				own, vmid := w.vm(id), w.service(id).Row.VMID
				w.ask(id, verb)
				if rows > 0 {
					w.walk(id, rows)
				}
				at := w.at(id)
				w.recycle(vmid, own, by)
				before := w.theirs(vmid)
				if at == kvm.Ready {
					continue // its rows are over
				}
				out := w.walk(id, 0)
				w.untouched(what, vmid, before)
				w.kept(what, id)
				if !errors.Is(out.Err, kvm.ErrForeign) || w.service(id).Row.Message != out.Message || out.Message == "" {
					t.Errorf("%s: at %s: %s", what, w.at(id), out.Message)
				}
				w.sim.RemoveVM(vmid)
			}
		}
	}
}

// TestUnreadableIsNotOurs: a configuration that cannot be read proves nothing, and nothing is done with the VM. Only a
// terminate that may not read it gives up.
func TestUnreadableIsNotOurs(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	for _, verb := range []kvm.Verb{kvm.VerbTerminate, kvm.VerbReinstall, kvm.VerbRedeploy, kvm.VerbChangePackage, kvm.VerbSuspend, kvm.VerbUnsuspend, kvm.VerbResetPassword} {
		for status, reason := range map[int]string{403: "Permission check failed (/vms/100, VM.Audit)", 500: "unable to read the file", 595: "No route to host"} {
			what := fmt.Sprintf("%s, %d", verb, status)
			id := w.ready()
			vmid := w.service(id).Row.VMID
			w.ask(id, verb)
			before := w.theirs(vmid)
			fault := w.sim.AddFault(pvesim.Fault{Method: "GET", Path: configPath, VMID: vmid, Status: status, Reason: reason})
			out := w.walk(id, 0)
			fault.Remove()
			w.untouched(what, vmid, before)
			w.kept(what, id)
			if gaveUp := w.at(id) == kvm.ErrorTerminate; out.Complete || gaveUp != (verb == kvm.VerbTerminate && status == 403) || !strings.Contains(out.Message, reason) {
				t.Errorf("%s: at %s: %s", what, w.at(id), out.Message)
			}
		}
	}
}
