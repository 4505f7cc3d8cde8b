package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestCrashOfABackup ends a process at each call that a scheduled backup makes, whose task has ended at once or takes its time: the
// day has one, for which the oldest went, and the journal has what there is.
func TestCrashOfABackup(t *testing.T) {
	t.Parallel()
	for name, model := range map[string]*pvesim.Model{"at once": pvesim.Instant(), "takes its time": slow()} {
		w := newBackupWorld(t, model)
		w.settings.Wait = time.Hour
		id := w.ready()
		vmid := w.service(id).Row.VMID
		w.backUp(id)
		w.backUp(id)
		foreign := w.strange(id, "shared", epoch.AddDate(0, 0, -30))
		crash := func(at int) (*fuse, int) {
			t.Helper()
			began := len(w.vzdumps(vmid))
			oldest := w.archives(vmid)[1] // the first is the foreign one
			w.set(id, "backup_date = ''")
			if begun, why, err := w.beginScheduled(id); !begun {
				t.Fatalf("%s: %q, %v", name, why, err)
			}
			f := &fuse{at: at}
			w.start(f).tick(id)
			w.clock.Advance(15 * time.Minute)
			w.finish(id, kvm.Ready)
			what := name + ", not killed"
			if at > 0 && at <= len(f.calls) {
				what = fmt.Sprintf("%s, killed at call %d (%s)", name, at, f.calls[at-1])
			}
			left := w.archives(vmid)
			if n := len(w.vzdumps(vmid)) - began; n != 1 || len(left) != 3 || slices.Contains(left, oldest) || !slices.Contains(left, foreign) || w.service(id).Row.BackupDate == "" {
				t.Errorf("%s: %d were begun, there are %q, of the day %q", what, n, left, w.service(id).Row.BackupDate)
			}
			w.agree(what, id, foreign)
			return f, len(f.calls)
		}
		f, calls := crash(0)
		for _, call := range []string{"OwnTasks", "Backup", "BackupMade", "NoteBackup", "DeleteBackup", "ForgetBackup", "BackupStorages", "Backups", "Inside", "TakeSlot", "FreeSlots", "Save at scheduled_backup"} {
			if !slices.Contains(f.calls, call) {
				t.Errorf("%s: %s is not among the calls %q", name, call, f.calls)
			}
		}
		for at := 1; at <= calls; at++ {
			crash(at)
		}
	}
}

// TestCrashOfARestore, and of a rollback: two processes end one after the other, at calls that a printed seed chooses; in the end
// the VM is as one that nobody was killed over.
func TestCrashOfARestore(t *testing.T) {
	t.Parallel()
	for _, verb := range []kvm.Verb{kvm.VerbRestore, kvm.VerbRollback} {
		w := newBackupWorld(t, pvesim.Instant(), append(slices.Clone(rich), "additional_storage=local-lvm")...)
		id := w.ready()
		vmid := w.service(id).Row.VMID
		from := "then"
		w.write(id, "of then")
		if verb == kvm.VerbRestore {
			from = w.backUp(id)
		} else if err := w.sim.AddSnapshot(vmid, from, ""); err != nil {
			t.Fatal(err)
		}
		w.product("cpu=4", "ram=8")
		w.ask(id, kvm.VerbChangePackage)
		w.finish(id, kvm.Ready)
		end := func() string {
			return strings.NewReplacer(w.vm(id).Disks["scsi0"].ID, "DISK0", w.vm(id).Disks["scsi1"].ID, "DISK1").Replace(w.end(id))
		}
		begin := func() {
			w.write(id, "of now")
			w.wish(id, kvm.Wish{Verb: verb, From: from})
		}
		begin()
		count := &fuse{}
		if out := w.start(count).tick(id); !out.Complete {
			t.Fatalf("%s: %+v", verb, out)
		}
		w.brought(string(verb), id, "of then")
		want := end()
		rng := seeded(t)
		for range 12 {
			begin()
			a, b := 1+rng.IntN(len(count.calls)), 1+rng.IntN(20)
			w.start(&fuse{at: a}).tick(id)
			if w.at(id) != kvm.Ready {
				w.start(&fuse{at: b}).tick(id)
			}
			w.finish(id, kvm.Ready)
			what := fmt.Sprintf("%s, killed after calls %d (%s) and %d of the next run", verb, a, count.calls[a-1], b)
			w.brought(what, id, "of then")
			if got := end(); got != want {
				t.Errorf("%s: the end is\n%s\nwant\n%s", what, got, want)
			}
		}
	}
}
