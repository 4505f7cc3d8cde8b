package lifecycle_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// lost are the ways in which the answer to a request is lost, and whether it was carried out.
var lost = []struct {
	name  string
	fault pvesim.Fault
	done  bool
}{
	{"reset after", pvesim.Fault{ResetAfter: true}, true},
	{"596 after", pvesim.Fault{Status: 596, Reason: "Connection timed out", After: true}, true},
	{"no JSON", pvesim.Fault{Body: "<html>welcome</html>"}, true},
	{"no UPID", pvesim.Fault{Body: `{"data":null}`}, true},
	{"reset before", pvesim.Fault{ResetBefore: true}, false},
	{"596", pvesim.Fault{Status: 596, Reason: "Connection timed out"}, false},
}

// TestBackupWhoseAnswerIsLost: whether it was carried out or not, and whether its task has ended by then or not, there is one
// backup in the end, and the journal has it. Backups of before, and those that others make, are not taken for it.
func TestBackupWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, model := range map[string]*pvesim.Model{"ended": pvesim.Instant(), "at work": slow()} {
		w := newBackupWorld(t, model, "backups=50")
		w.settings.Wait = time.Hour
		w.sim.AddToken("root@pam!nightly", "0d5ee1f0-1111-2222-3333-444455556666", false)
		id := w.ready()
		vmid := w.service(id).Row.VMID
		var others []string
		for i, l := range lost {
			for _, before := range []string{"none of ours", "one of ours"} {
				what := name + ", " + l.name + ", " + before
				if i == 0 && before == "one of ours" {
					w.backUp(id)
				}
				if before == "one of ours" { // an administrator's job, which Proxmox has in its list of tasks, too
					seen := w.archives(vmid)
					w.nightly(vmid)
					others = append(others, slices.DeleteFunc(w.archives(vmid), func(v string) bool { return slices.Contains(seen, v) })...)
				}
				had, began := len(w.journal(id)), len(w.vzdumps(vmid))
				f := l.fault
				f.Method, f.Path, f.Count = "POST", vzdumpPath, 1
				armed := w.sim.AddFault(f)
				w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
				out := w.walk(id, 0)
				if armed.Hits() != 1 || out.Complete || w.at(id) != kvm.MakeBackup || len(w.journal(id)) != had {
					t.Fatalf("%s: hits %d, at %s: %s; the journal has %q", what, armed.Hits(), w.at(id), out.Message, w.journal(id))
				}
				if sent := w.service(id).Row.BackupSent; sent == "" && l.done {
					t.Errorf("%s: the row does not say that one was sent", what)
				}
				w.clock.Advance(15 * time.Minute) // Proxmox has locked the VM for so long
				w.finish(id, kvm.Ready)
				if n := len(w.vzdumps(vmid)) - began; n != 1 {
					t.Errorf("%s: %d backups were begun", what, n)
				}
				if n := len(w.journal(id)) - had; n != 1 {
					t.Errorf("%s: %d more in the journal", what, n)
				}
				w.agree(what, id, others...)
			}
		}
	}
}

// nightly is an administrator's job with a token of its own, seen through.
func (w *world) nightly(vmid int) {
	w.t.Helper()
	vm, _ := w.sim.VM(vmid)
	w.callAs("root@pam!nightly=0d5ee1f0-1111-2222-3333-444455556666", "POST", "/nodes/"+vm.Node+"/vzdump", "vmid", strconv.Itoa(vmid), "storage", "shared", "remove", "0")
	for range 20 {
		if w.sim.Settled() {
			return
		}
		w.clock.Advance(time.Minute)
	}
	w.t.Fatal("an administrator's job does not end")
}

// TestBackupThatFails: however the task ends, what is there decides. What made nothing is said, is not in the journal, and leaves
// the service where it can be asked again; what was made is in the journal.
func TestBackupThatFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault pvesim.Fault
		later bool // it is at work while nobody knows its task
		made  bool // there is an archive
		good  bool // and the row knows it
	}{
		"fails":                    {fault: pvesim.Fault{TaskError: "something nobody knows"}},
		"is interrupted":           {fault: pvesim.Fault{TaskError: "interrupted by signal"}},
		"is killed on the way":     {fault: pvesim.Fault{TaskKilledAfter: time.Minute}},
		"vanishes, and has worked": {fault: pvesim.Fault{TaskVanishes: true}, later: true, made: true, good: true},
		"ends with warnings":       {fault: pvesim.Fault{TaskError: "WARNINGS: 1"}, made: true, good: true},
	} {
		for _, scheduled := range []bool{false, true} {
			what := name + map[bool]string{true: ", scheduled"}[scheduled]
			w := newBackupWorld(t, slow())
			w.settings.Wait = time.Hour
			id := w.ready()
			vmid := w.service(id).Row.VMID
			w.set(id, "backup_date = '2026-04-09'")
			f := c.fault
			f.Method, f.Path, f.Count = "POST", vzdumpPath, 1
			armed := w.sim.AddFault(f)
			began := w.clock.Now()
			var out outcome
			if scheduled {
				out = w.scheduled(id)
			} else {
				w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
				out = w.walk(id, 0)
			}
			w.clock.Advance(15 * time.Minute)
			if c.later {
				if out.Complete || !strings.Contains(out.Message, "locked by Proxmox (backup), for a task that it does not know any more") {
					t.Errorf("%s: %s", what, out.Message)
				}
				out = w.walk(id, 0)
			}
			row := w.service(id).Row
			if armed.Hits() != 1 || row.Status != kvm.Ready || out.Complete != c.good || (len(w.archives(vmid)) == 1) != c.made {
				t.Errorf("%s: at %s: %s; there are %q", what, row.Status, out.Message, w.archives(vmid))
			}
			var unknown []string
			if c.made && !c.good {
				unknown = w.archives(vmid)
			}
			w.agree(what, id, unknown...)
			day, failed := "2026-04-09", "0"
			if c.good && scheduled {
				day = "2026-04-10"
			}
			if scheduled && !c.good {
				failed = "1"
			}
			if got := w.failures(id, "scheduled backup"); row.BackupDate != day || got != failed || row.BackupAfter.IsZero() != (failed == "0") {
				t.Errorf("%s: the day that was backed up is %s, %s entries in the activity log, again after %s", what, row.BackupDate, got, row.BackupAfter)
			}
			if failed == "1" && row.BackupAfter.Before(began.Add(time.Hour)) {
				t.Errorf("%s: it is tried again at %s already, begun at %s", what, row.BackupAfter, began)
			}
			if !c.good && !errors.Is(out.Err, kvm.ErrPermanent) {
				t.Errorf("%s: %v", what, out.Err)
			}
			// The next one is another's turn.
			w.backUp(id)
			w.agree(what+", the next one", id, unknown...)
		}
	}
}

// TestBackupThatCannotBeSeen: while nobody can say how the task has ended, or what it has made, nothing is decided; then it is.
func TestBackupThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"its end": taskPath, "its log": "/nodes/{node}/tasks/{upid}/log",
		"the storage": "/nodes/{node}/storage/{storage}/content", "what is inside": "/nodes/{node}/vzdump/extractconfig"} {
		w := newBackupWorld(t, pvesim.Instant())
		id := w.ready()
		w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
		var silent *pvesim.Armed
		happened := w.once("POST", vzdumpPath, pvesim.Done, func() {
			silent = w.sim.AddFault(pvesim.Fault{Method: "GET", Path: path, Status: 595, Reason: "No route to host"})
		})
		for range 2 {
			out := w.walk(id, 0)
			row := w.service(id).Row
			if !happened() || out.Complete || row.Status != kvm.MakeBackup || row.TaskUPID == "" || row.BackupSent == "" || len(w.journal(id)) != 0 {
				t.Errorf("%s: at %s: %s; task %q, sent %q", name, row.Status, out.Message, row.TaskUPID, row.BackupSent)
			}
		}
		silent.Remove()
		w.finish(id, kvm.Ready)
		w.agree(name, id)
		if n := len(w.vzdumps(w.service(id).Row.VMID)); n != 1 || len(w.journal(id)) != 1 {
			t.Errorf("%s: %d were begun, the journal has %q", name, n, w.journal(id))
		}
	}
}

// TestBackupThatIsRefused: what cannot be made is said, nothing is sent, and the service is at ready again.
func TestBackupThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant())
	id := w.ready()
	vmid := w.service(id).Row.VMID
	refused := func(what string, class error, words string) {
		t.Helper()
		if err := w.start(nil).life.CheckBackup(t.Context(), w.service(id)); !errors.Is(err, class) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: checked: %v", what, err)
		}
		w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
		if out := w.walk(id, 0); !errors.Is(out.Err, class) || !strings.Contains(out.Message, words) || w.at(id) != kvm.Ready {
			t.Errorf("%s: at %s: %v", what, w.at(id), out.Err)
		}
		if n := len(w.vzdumps(vmid)); n != 0 {
			t.Errorf("%s: %d were begun", what, n)
		}
		w.agree(what, id)
	}
	w.product("backups=0")
	refused("a package without", kvm.ErrRefused, "has no backups")
	w.product("backups=2", "backup_storage=")
	refused("no storage", kvm.ErrInvalid, "no storage for backups")
	w.product("backup_storage=local-lvm")
	refused("a storage that takes none", kvm.ErrInvalid, "local-lvm")
	w.product("backup_storage=nosuch")
	refused("a storage that is not there", kvm.ErrInvalid, "nosuch")

	// A VM that Proxmox has locked is waited for.
	w.product("backup_storage=shared")
	if err := w.sim.SetLock(vmid, "migrate"); err != nil {
		t.Fatal(err)
	}
	w.wish(id, kvm.Wish{Verb: kvm.VerbBackup})
	if out := w.walk(id, 0); out.Err != nil || !strings.Contains(out.Message, "locked by Proxmox (migrate)") || w.at(id) != kvm.MakeBackup || len(w.vzdumps(vmid)) != 0 {
		t.Errorf("locked: at %s: %+v", w.at(id), out.Outcome)
	}
	if err := w.sim.SetLock(vmid, ""); err != nil {
		t.Fatal(err)
	}
	w.finish(id, kvm.Ready)
	w.agree("unlocked", id)
	if n := len(w.journal(id)); n != 1 {
		t.Errorf("unlocked: %d in the journal", n)
	}
}

// TestWhatCounts: the quota counts what the journal has and what is still there; a day's backup takes the place of the oldest of
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
