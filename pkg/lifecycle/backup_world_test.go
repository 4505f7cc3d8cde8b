package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const (
	vzdumpPath   = "/nodes/{node}/vzdump"
	restorePath  = "/nodes/{node}/qemu"
	rollbackPath = "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback"
	somebodys    = "99999999-8888-4777-8666-555555555555"
)

// slow is a model in which backups and restores take minutes, and nothing else any time.
func slow() *pvesim.Model { return &pvesim.Model{Backup: 10 * time.Minute, Restore: 10 * time.Minute} }

// newBackupWorld has a product with two backups on the shared storage.
func newBackupWorld(t *testing.T, model *pvesim.Model, product ...string) *world {
	t.Helper()
	w := newDestroyWorld(t, model, append([]string{"backups=2", "backup_storage=shared", "snapshots=3"}, product...)...)
	w.settings.BackupsPerNode = 1
	return w
}

// wish is ask with what the verb carries.
func (w *world) wish(id int64, wish kvm.Wish) {
	w.t.Helper()
	if _, err := w.store.Ask(w.t.Context(), id, wish); err != nil {
		w.t.Fatal(err)
	}
}

// backUp makes a backup, which must succeed, and gives its volume.
func (w *world) backUp(id int64) string {
	w.t.Helper()
	before := w.journal(id)
	w.wish(id, kvm.Wish{Verb: kvm.VerbBackup, Note: "before"})
	if out := w.walk(id, 0); !out.Complete {
		w.t.Fatalf("backup of service %d: %s", id, out.Message)
	}
	after := w.journal(id)
	if len(after) != len(before)+1 {
		w.t.Fatalf("a backup of service %d left %q in the journal, where %q was", id, after, before)
	}
	return after[len(after)-1]
}

// moment is one of the schedule's, as it is due now.
func (w *world) moment() kvm.Moment {
	now := w.clock.Now().UTC().Truncate(time.Second)
	return kvm.Moment{Time: now, Date: now.Format(time.DateOnly)}
}

// beginScheduled takes up a moment of the schedule.
func (w *world) beginScheduled(id int64) (began bool, why string, err error) {
	w.t.Helper()
	p := w.start(nil)
	ctx := w.t.Context()
	if won, err := w.store.Claim(ctx, id, p.owner, ""); err != nil || !won {
		w.t.Fatalf("service %d: claim %t, %v", id, won, err)
	}
	began, why, err = p.life.BeginScheduled(ctx, w.service(id), w.moment())
	if err := w.store.Release(ctx, id, p.owner, ""); err != nil {
		w.t.Fatal(err)
	}
	return began, why, err
}

// schedule makes the backup of a moment that has just come.
func (w *world) scheduled(id int64) outcome {
	w.t.Helper()
	if began, why, err := w.beginScheduled(id); !began || why != "" || err != nil {
		w.t.Fatalf("service %d: begun %t, %q, %v", id, began, why, err)
	}
	return w.walk(id, 0)
}

// strange puts a backup of a VM of somebody else's on the storage, which had the service's VMID once.
func (w *world) strange(id int64, storage string, taken time.Time) string {
	w.t.Helper()
	own := w.vm(id).Config["smbios1"]
	w.configure(id, map[string]string{"smbios1": "uuid=" + somebodys})
	volume := w.addBackup(id, storage, taken)
	w.configure(id, map[string]string{"smbios1": own})
	return volume
}

// addBackup puts a backup of the service's VM on the storage, as an administrator's job would.
func (w *world) addBackup(id int64, storage string, taken time.Time) string {
	w.t.Helper()
	volume, err := w.sim.AddBackup(storage, w.service(id).Row.VMID, taken)
	if err != nil {
		w.t.Fatal(err)
	}
	return volume
}

// put puts a volume into the service's journal.
func (w *world) put(id int64, volume string) {
	w.t.Helper()
	storage, _, _ := strings.Cut(volume, ":")
	if err := w.store.NoteBackup(w.t.Context(), w.service(id), kvm.Backup{Storage: storage, Volume: volume}); err != nil {
		w.t.Fatal(err)
	}
}

// journal are the volumes of the service's journal.
func (w *world) journal(id int64) []string {
	w.t.Helper()
	list, err := w.store.Backups(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, b := range list {
		out = append(out, b.Volume)
	}
	return out
}

// archives are the backups that there are of a VMID.
func (w *world) archives(vmid int) []string {
	var out []string
	for _, b := range w.sim.Backups(vmid) {
		out = append(out, b.ID)
	}
	slices.Sort(out)
	return out
}

// vzdumps are the backup tasks of a VMID that have been begun.
func (w *world) vzdumps(vmid int) []pvesim.TaskState {
	return slices.DeleteFunc(w.sim.Tasks(), func(task pvesim.TaskState) bool { return task.Type != "vzdump" || task.ID != strconv.Itoa(vmid) })
}

// agree checks that nothing of a backup is in hand any more, and that the journal has just the archives that there are, but for
// others.
func (w *world) agree(what string, id int64, others ...string) {
	w.t.Helper()
	row := w.service(id).Row
	if row.BackupSent != "" || row.TaskUPID != "" || w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots") != "0" {
		w.t.Errorf("%s: the row speaks of %q and the task %q, %s slots are held", what, row.BackupSent, row.TaskUPID, w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots"))
	}
	there := slices.DeleteFunc(w.archives(row.VMID), func(volume string) bool { return slices.Contains(others, volume) })
	journal := w.journal(id)
	slices.Sort(journal)
	if !slices.Equal(there, journal) {
		w.t.Errorf("%s: the journal has %q, and there are %q", what, journal, there)
	}
}

// failures are the entries in the activity log that say of the service that what has failed.
func (w *world) failures(id int64, what string) string {
	w.t.Helper()
	return w.db.Text("SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE ?", fmt.Sprintf("VM of service #%d: %s FAILED%%", id, what))
}

// overStrangers walks rows rows of what wish asks for; then the VMID is given to somebody else of each kind. The row after them must
// leave that VM alone, keep what the service holds, and lead to at.
func overStrangers(t *testing.T, rows int, at kvm.Status, wish func(w *world, id int64) kvm.Wish) {
	t.Helper()
	for _, by := range strangers {
		w := newBackupWorld(t, pvesim.Instant())
		id := w.ready()
		own, vmid := w.vm(id), w.service(id).Row.VMID
		w.wish(id, wish(w, id))
		w.walk(id, rows)
		w.recycle(vmid, own, by)
		before := w.theirs(vmid)
		if out := w.walk(id, 0); !errors.Is(out.Err, kvm.ErrForeign) || w.at(id) != at {
			t.Errorf("%s: at %s: %v", by.name, w.at(id), out.Err)
		}
		w.untouched(by.name, vmid, before)
		w.kept(by.name, id)
	}
}
