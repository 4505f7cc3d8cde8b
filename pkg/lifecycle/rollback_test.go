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

// snap takes a snapshot of the service's VM with text on its disk, and then writes something else.
func (w *world) snap(id int64, name, text string) {
	w.t.Helper()
	w.write(id, text)
	if err := w.sim.AddSnapshot(w.service(id).Row.VMID, name, ""); err != nil {
		w.t.Fatal(err)
	}
	w.write(id, "of now")
}

// rollBack asks for it and walks once.
func (w *world) rollBack(id int64, name string) outcome {
	w.t.Helper()
	w.wish(id, kvm.Wish{Verb: kvm.VerbRollback, From: name})
	return w.walk(id, 0)
}

// TestTakeSnapshots: up to as many as the package has; those of others do not count, and what is there is counted anew each time.
func TestTakeSnapshots(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, "snapshots=2")
		id := w.ready()
		vmid := w.service(id).Row.VMID
		take := func(name string) error {
			p := w.start(nil)
			return p.now(id, p.life.TakeSnapshot(name, "why")).Err
		}
		w.snap(id, "of-somebody", "")
		for i, name := range []string{"puqkvm-20260410-000001", "puqkvm-20260410-000002"} {
			if err := take(name); err != nil || w.service(id).Row.OwnSnapshots != i+1 || w.vm(id).Snapshots[name].Description != "why" {
				t.Errorf("%s: %v, %d are noted", name, err, w.service(id).Row.OwnSnapshots)
			}
		}
		if err := take("puqkvm-20260410-000003"); !errors.Is(err, kvm.ErrRefused) || !strings.Contains(err.Error(), "2 of 2") || len(w.vm(id).Snapshots) != 3 {
			t.Errorf("a third: %v", err)
		}
		w.call("DELETE", fmt.Sprintf("/nodes/%s/qemu/%d/snapshot/puqkvm-20260410-000001", w.vm(id).Node, vmid))
		if err := take("puqkvm-20260410-000002"); !errors.Is(err, kvm.ErrTaken) {
			t.Errorf("one of that name: %v", err)
		}
		if err := take("puqkvm-20260410-000003"); err != nil || len(w.vm(id).Snapshots) != 3 {
			t.Errorf("after one was removed by hand: %v", err)
		}
		p := w.start(nil)
		if out := p.now(id, p.life.RemoveSnapshot("of-somebody")); !out.Complete || w.service(id).Row.OwnSnapshots != 2 || len(w.vm(id).Snapshots) != 2 {
			t.Errorf("removed somebody's: %s, %d are noted", out.Message, w.service(id).Row.OwnSnapshots)
		}
		w.product("snapshots=0")
		if err := take("puqkvm-20260410-000004"); !errors.Is(err, kvm.ErrRefused) || !strings.Contains(err.Error(), "has no snapshots") {
			t.Errorf("a package without: %v", err)
		}
	}
}

// TestRollbackIsRefused: what can be seen to fail, or would lose a disk, is said at once and by the first row, and nobody has
// touched the VM.
func TestRollbackIsRefused(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, slow())
	id := w.ready()
	vmid, node := w.service(id).Row.VMID, w.vm(id).Node
	w.snap(id, "then", "of then")
	w.call("POST", fmt.Sprintf("/nodes/%s/qemu/%d/config", node, vmid), "scsi3", "local-lvm:1")
	w.snap(id, "later", "of later")
	refused := func(what, name string, class error, words, hint string) {
		t.Helper()
		before := w.picture()
		w.writes()
		if err := w.start(nil).life.CheckRollback(t.Context(), w.service(id), name); !errors.Is(err, class) || !strings.Contains(err.Error(), words) || !strings.Contains(kvm.Hint(err), hint) {
			t.Errorf("%s: checked: %v (%s)", what, err, kvm.Hint(err))
		}
		out := w.rollBack(id, name)
		if !errors.Is(out.Err, class) || !strings.Contains(out.Message, words) || w.at(id) != kvm.Ready {
			t.Errorf("%s: at %s: %v", what, w.at(id), out.Err)
		}
		if got := w.writes(); len(got) > 0 || w.picture() != before {
			t.Errorf("%s: sent were %q; the VM was\n%s\nand is\n%s", what, got, before, w.picture())
		}
	}
	refused("no such snapshot", "nosuch", kvm.ErrInvalid, "has no snapshot", "snapshot list")
	refused("no name", "..", kvm.ErrInvalid, "has no snapshot", "snapshot list")
	refused("the present", "current", kvm.ErrInvalid, "has no snapshot", "snapshot list")
	refused("a disk that came later", "then", kvm.ErrRefused, "the disk scsi3", "detach")
	// The slot is the same, and the disk another.
	at := w.vm(id).Config["scsi0"]
	w.configure(id, map[string]string{"scsi0": w.vm(id).Config["scsi3"], "scsi3": at})
	refused("disks that were swapped", "later", kvm.ErrRefused, "scsi0, scsi3", "detach")
	w.configure(id, map[string]string{"scsi0": at, "scsi3": w.vm(id).Config["scsi0"]})

	// One that is not whole: it is being removed.
	w.sim.AddFault(pvesim.Fault{Method: "DELETE", Path: "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", TaskError: "lvremove failed", Count: 1})
	w.call("DELETE", fmt.Sprintf("/nodes/%s/qemu/%d/snapshot/then", node, vmid))
	if err := w.sim.SetLock(vmid, ""); err != nil {
		t.Fatal(err)
	}
	refused("one that is half removed", "then", kvm.ErrRefused, "not whole (delete)", "")

	if out := w.rollBack(id, "later"); !out.Complete {
		t.Fatal(out.Message)
	}
	w.brought("the one that has all disks", id, "of later")
}

// TestRollbackToNotTheNewest: a storage that goes back to its newest snapshot alone refuses in the task: the VM stays as it is, and
// is started again.
func TestRollbackToNotTheNewest(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant(), "clone_type=full", "system_storage=tank", "cpu=2")
	w.sim.AddStorage(pvesim.Storage{ID: "tank", Type: "zfspool", Content: "images"})
	id := w.ready()
	w.snap(id, "first", "of the first")
	w.snap(id, "second", "of the second")
	before := w.vm(id)
	out := w.rollBack(id, "first")
	if !errors.Is(out.Err, kvm.ErrPermanent) || !strings.Contains(out.Message, "not most recent snapshot") || w.at(id) != kvm.RBCloudinit {
		t.Errorf("at %s: %v", w.at(id), out.Err)
	}
	w.finish(id, kvm.Ready)
	w.brought("not the newest", id, "of now")
	if after := w.vm(id); len(after.Snapshots) != 2 || after.Config["cores"] != before.Config["cores"] || after.Config["onboot"] != before.Config["onboot"] {
		t.Errorf("it was %+v, and is %+v", before.Config, after.Config)
	}
	if out := w.rollBack(id, "second"); !out.Complete {
		t.Fatal(out.Message)
	}
	w.brought("the newest", id, "of the second")
}

// TestRollbackWhoseAnswerIsLost: the VM is back in the end, once or twice, and was not started before.
func TestRollbackWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, model := range map[string]*pvesim.Model{"ended": pvesim.Instant(), "at work": {Rollback: 10 * time.Minute}} {
		w := newBackupWorld(t, model)
		w.settings.Wait = time.Hour
		id := w.ready()
		w.snap(id, "then", "of then")
		for _, l := range lost {
			what := name + ", " + l.name
			w.write(id, "of now")
			f := l.fault
			f.Method, f.Path, f.Count = "POST", rollbackPath, 1
			armed := w.sim.AddFault(f)
			out := w.rollBack(id, "then")
			if armed.Hits() != 1 || out.Complete || w.at(id) != kvm.RBStopped {
				t.Errorf("%s: hits %d, at %s: %s", what, armed.Hits(), w.at(id), out.Message)
			}
			if l.done && name == "at work" {
				if out := w.walk(id, 0); out.Err != nil || !strings.Contains(out.Message, "locked by Proxmox (rollback)") || w.at(id) != kvm.RBStopped {
					t.Errorf("%s, while it is at work: at %s: %+v", what, w.at(id), out.Outcome)
				}
				w.clock.Advance(15 * time.Minute)
			}
			w.finish(id, kvm.Ready)
			w.brought(what, id, "of then")
		}
	}
}

// TestRollbackThatDied: what it has left of the disks nobody knows, and Proxmox keeps its lock: the VM is left alone until an
// administrator takes that off; then it goes back all the same.
func TestRollbackThatDied(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, &pvesim.Model{Rollback: 10 * time.Minute})
	id := w.ready()
	vmid := w.service(id).Row.VMID
	w.snap(id, "then", "of then")
	w.settings.Wait = time.Minute
	if out := w.rollBack(id, "then"); out.Err != nil || w.service(id).Row.TaskUPID == "" {
		t.Fatalf("at %s: %+v", w.at(id), out.Outcome)
	}
	if err := w.sim.KillTask(w.service(id).Row.TaskUPID); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if out := w.walk(id, 0); out.Complete || w.at(id) != kvm.RBStopped || w.vm(id).Power != kvm.Stopped {
			t.Fatalf("at %s, the VM is %s: %+v", w.at(id), w.vm(id).Power, out.Outcome)
		}
	}
	if err := w.sim.SetLock(vmid, ""); err != nil {
		t.Fatal(err)
	}
	w.settings.Wait = time.Hour
	w.finish(id, kvm.Ready)
	w.brought("after the lock was taken off", id, "of then")
}

// TestRollbackOfAStranger: before the row that rolls back the VMID becomes somebody else's, whose VM has a snapshot of that name.
func TestRollbackOfAStranger(t *testing.T) {
	t.Parallel()
	overStrangers(t, 2, kvm.RBCloudinit, func(w *world, id int64) kvm.Wish {
		w.snap(id, "theirs", "of then")
		return kvm.Wish{Verb: kvm.VerbRollback, From: "theirs"}
	})
}

// TestRollbackMakesThePackage: what the snapshot has of the package of then is made what it is now.
func TestRollbackMakesThePackage(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorldOn(t, version, pvesim.Instant(), "snapshots=3", "cpu=1", "ram=1")
		w.settings.StopGraceful, w.settings.StopForce = 120*time.Second, 60*time.Second
		id := w.ready()
		w.snap(id, "then", "of then")
		w.product("cpu=4", "ram=8", "system_iops_wr=500", "bandwidth=12.5")
		w.ask(id, kvm.VerbChangePackage)
		w.finish(id, kvm.Ready)
		w.configure(id, map[string]string{"name": "by-hand"})
		w.rollBack(id, "then")
		w.finish(id, kvm.Ready)
		w.brought(version, id, "of then")
		conf := w.vm(id).Config
		if conf["cores"] != "4" || conf["memory"] != "8192" || !strings.Contains(conf["scsi0"], "iops_wr=500") || !strings.Contains(conf["net0"], "rate=12.5") || conf["onboot"] != "1" ||
			conf["name"] != w.service(id).Row.Name {
			t.Errorf("%s: %v", version, conf)
		}
	}
}
