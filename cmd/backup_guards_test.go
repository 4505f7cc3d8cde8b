package cmd

import (
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// backing is a world of services whose product has backups.
func backing(t *testing.T, s scene, ids ...int64) *world {
	t.Helper()
	w := newWorld(t, s)
	w.ok("product", "set", "1", "backups=1", "backup_storage=shared", "snapshots=1")
	w.order(ids...)
	w.tick()
	return w
}

// TestBackupsTakeTurns: of what many have asked for a node makes one after the other, so that Proxmox has none wait for another's
// lock. Each is made.
func TestBackupsTakeTurns(t *testing.T) {
	model := pvesim.Instant()
	model.Backup = 5 * time.Second
	w := backing(t, scene{model: model}, 5001, 5002, 5003)
	for _, id := range []string{"5001", "5002", "5003"} {
		w.ok("backup", "create", id)
	}
	log := w.tick()
	if n := w.number("SELECT COUNT(*) FROM puq_proxmox_kvm_backups"); n != 3 {
		t.Errorf("%d backups\n%s", n, log)
	}
	for node, n := range w.overlap("vzdump") {
		if n != 1 {
			t.Errorf("%s made %d at once", node, n)
		}
	}
}

// TestAJournalThatLies: the journal says of a volume that it is the service's, as it would of a name that is used again, and inside is
// another's VM. It is neither removed, nor rotated, nor restored.
func TestAJournalThatLies(t *testing.T) {
	w := backing(t, scene{}, 5001)
	was := w.identity(5001)
	w.written(5001)
	b := w.sim.Backups(was.vmid)[0]
	w.db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, uuid, made_at, size, noted_at) VALUES (5001, 1, 'shared', ?, ?, ?, ?, UTC_TIMESTAMP(6))",
		b.ID, was.uuid, b.Taken.UTC(), b.Size)
	whole := func(after string) {
		t.Helper()
		for _, wrong := range w.untouched(5001, was) {
			t.Errorf("%s: %s", after, wrong)
		}
	}
	for _, order := range [][]string{{"remove", "5001", b.ID}, {"restore", "5001", b.ID, "--confirm", "RESTORE"}} {
		_, errs, code := w.run(append([]string{"backup"}, order...)...)
		if code != exitAdmin || !strings.Contains(errs, "was never this service's") {
			t.Errorf("%s: exit %d: %s", order[0], code, errs)
		}
		w.tick()
		whole(order[0])
	}
	w.scheduled(5001)
	log := w.tick()
	if st := w.status(5001); st != kvm.Ready || !strings.Contains(log, "was never this service's") {
		t.Errorf("after the rotation it is at %s\n%s", st, log)
	}
	whole("the rotation")
}

// TestRestoreOfWhatIsGone: what goes between the order and cron is seen by the first row, which has touched nothing.
func TestRestoreOfWhatIsGone(t *testing.T) {
	w := backing(t, scene{}, 5001)
	w.archived(5001)
	was := w.identity(5001)
	w.ok(append([]string{"backup", "restore", "5001"}, w.firstVolume(5001)...)...)
	w.sim.RemoveBackups(was.vmid)
	log := w.tick()
	vm, _ := w.sim.VM(was.vmid)
	if st := w.status(5001); st != kvm.Ready || vm.Power != kvm.Running || len(vm.Snapshots) != 1 || vm.Disks["scsi0"].Contents != ofNow {
		t.Errorf("at %s, the VM is %s, with %q and %d snapshots\n%s", st, vm.Power, vm.Disks["scsi0"].Contents, len(vm.Snapshots), log)
	}
}

// TestAFailedBackupIsNotTheNextOne: a backup of which it could not be learned what became of it is noted by the next order, which
// makes its own.
func TestAFailedBackupIsNotTheNextOne(t *testing.T) {
	w := backing(t, scene{}, 5001)
	w.ok("product", "set", "1", "backups=2")
	w.ok("backup", "create", "5001")
	fault := w.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/nodes/{node}/tasks/{upid}/log", Status: 403, Reason: "Permission check failed (/nodes/pve1, Sys.Audit)"})
	w.tick()
	if st := w.status(5001); st != kvm.Ready || w.journal(5001) != 0 {
		t.Fatalf("it is at %s, with %d in the journal", st, w.journal(5001))
	}
	fault.Remove()
	w.ok("backup", "create", "5001")
	log := w.tick()
	if made := len(w.sim.Backups(w.vmid(5001))); made != 2 || w.journal(5001) != 2 {
		t.Errorf("%d were made, %d are in the journal\n%s", made, w.journal(5001), log)
	}
}

// TestTerminateTakesABackupInDoubt: a backup whose answer was lost goes with the service that is terminated before anybody has looked
// for it.
func TestTerminateTakesABackupInDoubt(t *testing.T) {
	w := backing(t, scene{}, 5001)
	vmid := w.vmid(5001)
	w.ok("backup", "create", "5001")
	w.sim.AddFault(pvesim.Fault{Method: "POST", Path: "/nodes/{node}/vzdump", ResetAfter: true, Count: 1})
	w.tick()
	if st, made := w.status(5001), len(w.sim.Backups(vmid)); st != kvm.MakeBackup || made != 1 {
		t.Fatalf("it is at %s, and %d were made", st, made)
	}
	w.ok("terminate", "5001")
	log := w.tick()
	if st, left := w.status(5001), len(w.sim.Backups(vmid)); st != kvm.Remove || left != 0 {
		t.Errorf("it is at %s, and %d backups are left\n%s", st, left, log)
	}
}
