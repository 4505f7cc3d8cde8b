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
