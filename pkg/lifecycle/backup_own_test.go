package lifecycle_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// those that is not protected. What others have made stays, and what is another VM's is not even shown.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant(), "backups=3")
	id := w.ready()
	vmid := w.service(id).Row.VMID
	life := w.start(nil).life
	day := func(n int) time.Time { return epoch.AddDate(0, 0, n) }
	protected, oldest, later := w.addBackup(id, "shared", day(-9)), w.addBackup(id, "shared", day(-8)), w.addBackup(id, "shared", day(-6))
	for _, v := range []string{later, protected, oldest} { // as they were noted says nothing
		w.put(id, v)
	}
	nightly, foreign := w.addBackup(id, "shared", day(-10)), w.strange(id, "shared", day(-11))
	claimed := w.strange(id, "shared", day(-12)) // which the journal names, for whatever reason
	w.put(id, claimed)
	w.call("PUT", "/nodes/pve1/storage/shared/content/"+protected, "protected", "1")

	shown := func() (out []string) {
		t.Helper()
		list, err := life.Backups(t.Context(), w.service(id))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			if b.Own != slices.Contains(w.journal(id), b.Volume) {
				t.Errorf("%s counts: %v", b.Volume, b.Own)
			}
			out = append(out, b.Volume)
		}
		return out
	}
	if got := shown(); !slices.Equal(got, []string{nightly, protected, oldest, later}) {
		t.Errorf("shown are %q", got)
	}
	if err := life.CheckBackup(t.Context(), w.service(id)); !errors.Is(err, kvm.ErrRefused) || !strings.Contains(err.Error(), "3 of 3") {
		t.Errorf("with three of three: %v", err)
	}

	if out := w.scheduled(id); !out.Complete {
		t.Fatalf("scheduled: %s", out.Message)
	}
	now := w.journal(id)[len(w.journal(id))-1]
	want := []string{protected, later, nightly, foreign, claimed, now}
	slices.Sort(want)
	if got := w.archives(vmid); !slices.Equal(got, want) {
		t.Errorf("after a scheduled one there are %q, want %q", got, want)
	}
	if got := shown(); !slices.Equal(got, []string{nightly, protected, later, now}) {
		t.Errorf("then are shown %q", got)
	}
	w.agree("scheduled", id, nightly, foreign)

	// One that somebody has removed in Proxmox is forgotten, and its place is free; of one that only cannot be seen it is not known.
	w.call("DELETE", "/nodes/pve1/storage/shared/content/"+later)
	down := w.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/nodes/{node}/storage/{storage}/content", Status: 500, Reason: "storage 'shared' is not online"})
	if err := life.CheckBackup(t.Context(), w.service(id)); err == nil || !slices.Contains(w.journal(id), later) {
		t.Errorf("with a storage that cannot be seen: %v; the journal has %q", err, w.journal(id))
	}
	down.Remove()
	w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
	if out := w.walk(id, 0); !out.Complete {
		t.Errorf("in the place of the one that is gone: %s", out.Message)
	}
	if got := w.journal(id); len(got) != 4 || slices.Contains(got, later) || !slices.Contains(got, protected) || !slices.Contains(got, now) {
		t.Errorf("after one was removed by hand the journal has %q", got)
	}
	w.agree("removed by hand", id, nightly, foreign)

	// When all are protected there is no room.
	for _, v := range w.journal(id) {
		w.call("PUT", "/nodes/pve1/storage/shared/content/"+v, "protected", "1")
	}
	before := w.archives(vmid)
	w.set(id, "backup_date = ''")
	if out := w.scheduled(id); !errors.Is(out.Err, kvm.ErrRefused) || !strings.Contains(out.Message, "protected") || w.at(id) != kvm.Ready {
		t.Errorf("all protected: at %s: %v", w.at(id), out.Err)
	}
	if got := w.archives(vmid); !slices.Equal(got, before) {
		t.Errorf("all protected: there are %q, and were %q", got, before)
	}

	// By hand: what is protected, another's, or an administrator's stays; what was made here goes.
	remove := func(volume string) error {
		p := w.start(nil)
		return p.now(id, p.life.RemoveBackup(volume)).Err
	}
	for volume, class := range map[string]error{protected: kvm.ErrRefused, foreign: kvm.ErrInvalid, claimed: kvm.ErrInvalid, "shared:backup/other": kvm.ErrInvalid, later: kvm.ErrInvalid} {
		if err := remove(volume); !errors.Is(err, class) {
			t.Errorf("removing %s: %v", volume, err)
		}
	}
	if err := remove(nightly); !errors.Is(err, kvm.ErrRefused) || !slices.Contains(w.archives(vmid), nightly) {
		t.Errorf("removing the administrator's: %v", err)
	}
	w.call("PUT", "/nodes/pve1/storage/shared/content/"+now, "protected", "0")
	if err := remove(now); err != nil || slices.Contains(w.archives(vmid), now) {
		t.Errorf("removing one that was made here: %v", err)
	}
	if got := w.archives(vmid); len(got) != len(before)-1 || !slices.Contains(got, foreign) || !slices.Contains(got, claimed) {
		t.Errorf("at the end there are %q", got)
	}
}

// TestBackupsOfAFormerVMID: what was made of a VM that the service had under another VMID is still the service's: it counts, it can
// be removed and restored. What somebody else's VM under that VMID left is not.
func TestBackupsOfAFormerVMID(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant())
	id := w.ready()
	was := w.service(id).Row
	if err := w.sim.WriteDisk(was.VMID, "scsi0", "of the former VM"); err != nil {
		t.Fatal(err)
	}
	first, second := w.backUp(id), w.backUp(id)
	foreign := w.strange(id, "shared", epoch.AddDate(0, 0, -1))
	w.ask(id, kvm.VerbRedeploy)
	w.finish(id, kvm.Ready)
	row := w.service(id).Row
	if row.VMID == was.VMID || row.UUID == was.UUID {
		t.Fatalf("it has VMID %d again, and the UUID %s", row.VMID, row.UUID)
	}
	life := w.start(nil).life
	list, err := life.Backups(t.Context(), w.service(id))
	if err != nil || len(list) != 2 || list[0].Volume != first || !list[0].Own || list[1].Volume != second || list[1].UUID != was.UUID {
		t.Errorf("%+v, %v", list, err)
	}
	if err := life.CheckBackup(t.Context(), w.service(id)); !errors.Is(err, kvm.ErrRefused) || !strings.Contains(err.Error(), "2 of 2") {
		t.Errorf("with two of two: %v", err)
	}
	if err := life.CheckRestore(t.Context(), w.service(id), foreign); !errors.Is(err, kvm.ErrInvalid) {
		t.Errorf("another's: %v", err)
	}
	if out := w.scheduled(id); !out.Complete {
		t.Fatalf("scheduled: %s", out.Message)
	}
	if got := w.archives(was.VMID); !slices.Equal(got, []string{foreign, second}) {
		t.Errorf("of the former VMID there are %q", got)
	}
	w.wish(id, kvm.Wish{Verb: kvm.VerbRestore, From: second})
	w.finish(id, kvm.Ready)
	now := w.service(id).Row
	if now.VMID != row.VMID || now.UUID != was.UUID || !slices.Contains(now.UUIDs, row.UUID) || w.vm(id).Disks["scsi0"].Contents != "of the former VM" {
		t.Errorf("restored: %+v, the disk is %q", now, w.vm(id).Disks["scsi0"].Contents)
	}
	if _, found := w.sim.VM(was.VMID); found {
		t.Errorf("it was restored to VM %d", was.VMID)
	}
	// Both VMs' backups go with the service.
	w.ask(id, kvm.VerbTerminate)
	w.finish(id, kvm.Remove)
	w.freed("terminated", id)
	if got := append(w.archives(was.VMID), w.archives(row.VMID)...); !slices.Equal(got, []string{foreign}) {
		t.Errorf("terminated: there are %q", got)
	}
}

// TestTerminateDuringABackup: what our own task makes while a terminate is asked for is waited for, and removed with the rest,
// whether or not its answer was seen. An administrator's own backup stays.
func TestTerminateDuringABackup(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]pvesim.Fault{"seen": {}, "its answer was lost": {ResetAfter: true}, "never carried out": {ResetBefore: true}} {
		w := newBackupWorld(t, slow())
		w.settings.Wait = time.Minute
		id := w.ready()
		vmid := w.service(id).Row.VMID
		earlier, nightly := w.addBackup(id, "shared", epoch.AddDate(0, 0, -1)), w.addBackup(id, "shared", epoch.AddDate(0, 0, -2))
		w.put(id, earlier)
		if name != "seen" {
			fault.Method, fault.Path, fault.Count = "POST", vzdumpPath, 1
			w.sim.AddFault(fault)
		}
		w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
		w.walk(id, 0)
		if (w.service(id).Row.TaskUPID != "") != (name == "seen") || w.at(id) != kvm.MakeBackup {
			t.Fatalf("%s: at %s, task %q", name, w.at(id), w.service(id).Row.TaskUPID)
		}
		w.ask(id, kvm.VerbTerminate)
		if name != "never carried out" {
			for range 2 {
				if out := w.walk(id, 0); out.Err != nil || w.at(id) != kvm.Terminate {
					t.Errorf("%s, while it is at work: at %s: %s", name, w.at(id), out.Message)
				}
				if _, found := w.sim.VM(vmid); !found {
					t.Fatalf("%s: the VM is gone", name)
				}
				w.kept(name, id)
			}
		}
		w.clock.Advance(15 * time.Minute)
		w.finish(id, kvm.Remove)
		w.freed(name, id)
		if got := w.archives(vmid); !slices.Equal(got, []string{nightly}) {
			t.Errorf("%s: there are %q", name, got)
		}
		if n := len(w.vzdumps(vmid)); n != map[bool]int{true: 1}[name != "never carried out"] {
			t.Errorf("%s: %d were begun", name, n)
		}
	}
}

// TestBackupOfAVMThatWasMoved: the answer is lost, and before anybody looks the VM is on another node. What was once made of it
// there is not taken for what was asked for now.
func TestBackupOfAVMThatWasMoved(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]pvesim.Fault{"carried out": {ResetAfter: true}, "not carried out": {ResetBefore: true}} {
		for _, before := range []bool{false, true} {
			w := newBackupWorld(t, pvesim.Instant(), "backups=9", "clone_type=full", "system_storage=shared")
			id := w.ready()
			vmid, home := w.service(id).Row.VMID, w.vm(id).Node
			move := func(node string) {
				t.Helper()
				if err := w.sim.MoveVM(vmid, node); err != nil {
					t.Fatal(err)
				}
			}
			move(otherNode(home))
			w.backUp(id)
			move(home)
			if before {
				w.backUp(id)
			}
			had, began := len(w.journal(id)), len(w.vzdumps(vmid))
			fault.Method, fault.Path, fault.Count = "POST", vzdumpPath, 1
			w.sim.AddFault(fault)
			w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
			w.walk(id, 0)
			move(otherNode(home))
			w.finish(id, kvm.Ready)
			if n := len(w.vzdumps(vmid)) - began; n != 1 || len(w.journal(id)) != had+1 {
				t.Errorf("%s, backed up there before %v: %d were begun, %d more in the journal", name, before, n, len(w.journal(id))-had)
			}
			w.agree(name, id)
		}
	}
}

// TestBackupThatFailedWithAnArchive: a task may end badly when the archive is whole: that counts.
func TestBackupThatFailedWithAnArchive(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant())
	id := w.ready()
	var ends *pvesim.Armed
	happened := w.once("POST", vzdumpPath, pvesim.Done, func() {
		ends = w.sim.AddFault(pvesim.Fault{Method: "GET", Path: taskPath, Body: `{"data":{"status":"stopped","exitstatus":"job errors"}}`})
	})
	out := w.scheduled(id)
	if !happened() || ends.Hits() == 0 || !out.Complete || w.service(id).Row.BackupDate != "2026-04-10" || len(w.journal(id)) != 1 {
		t.Errorf("%+v; the journal has %q, of the day %q", out.Outcome, w.journal(id), w.service(id).Row.BackupDate)
	}
	w.agree("job errors", id)
}

// TestBackupThatWasNeverBegun: the request was lost, and when that is known the package has no room any more: nothing is left of it.
func TestBackupThatWasNeverBegun(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant())
	id := w.ready()
	w.sim.AddFault(pvesim.Fault{Method: "POST", Path: vzdumpPath, Count: 1, ResetBefore: true})
	w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
	w.walk(id, 0)
	w.product("backups=0")
	if out := w.walk(id, 0); !errors.Is(out.Err, kvm.ErrRefused) || w.at(id) != kvm.Ready || len(w.vzdumps(w.service(id).Row.VMID)) != 0 {
		t.Errorf("at %s: %v", w.at(id), out.Err)
	}
	w.agree("never begun", id)
}

// TestTerminateAfterABackupOfAVMThatIsGone: the VM was removed by hand; what our own task has made of it goes all the same.
func TestTerminateAfterABackupOfAVMThatIsGone(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"its answer was lost", "its end was not seen"} {
		w := newBackupWorld(t, pvesim.Instant())
		id := w.ready()
		vmid := w.service(id).Row.VMID
		fault := pvesim.Fault{Method: "POST", Path: vzdumpPath, ResetAfter: true}
		if name == "its end was not seen" {
			fault = pvesim.Fault{Method: "GET", Path: taskPath, Status: 595, Reason: "No route to host"}
		}
		armed := w.sim.AddFault(fault)
		w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
		w.walk(id, 0)
		armed.Remove()
		if len(w.archives(vmid)) != 1 || len(w.journal(id)) != 0 {
			t.Errorf("%s: there are %q, the journal has %q", name, w.archives(vmid), w.journal(id))
		}
		w.sim.RemoveVM(vmid)
		w.ask(id, kvm.VerbTerminate)
		w.finish(id, kvm.Remove)
		w.freed(name, id)
		if got := w.archives(vmid); len(got) != 0 {
			t.Errorf("%s: there are %q", name, got)
		}
	}
}
