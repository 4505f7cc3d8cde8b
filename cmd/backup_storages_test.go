package cmd

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestBackupStorages: backups are made, listed, restored, rotated and removed on a node's own directory, on NFS, and on a Proxmox
// Backup Server, whose volumes are named in another way.
func TestBackupStorages(t *testing.T) {
	for _, s := range []pvesim.Storage{
		{ID: "dumps", Type: "dir", Content: "backup", Size: 1 << 40},
		{ID: "nfs", Type: "nfs", Content: "backup", Shared: true, Size: 1 << 40},
		{ID: "pbs", Type: "pbs", Content: "backup", Shared: true, Size: 1 << 40},
	} {
		t.Run(s.Type, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scene{})
			w.sim.AddStorage(s)
			w.ok("product", "set", "1", "backups=2", "backup_storage="+s.ID)
			w.order(5546)
			w.tick()
			vmid := w.vmid(5546)
			if err := w.sim.WriteDisk(vmid, "scsi0", "then"); err != nil {
				t.Fatal(err)
			}
			w.ok("backup", "create", "5546", "--note", "the first", "--wait")
			if err := w.sim.WriteDisk(vmid, "scsi0", "now"); err != nil {
				t.Fatal(err)
			}
			w.clock.(*clock.Fake).Advance(time.Minute)
			w.ok("backup", "create", "5546", "--wait")
			list := w.listedBackups("5546")
			if len(list) != 2 || !strings.HasPrefix(list[0].Volume, s.ID+":backup/") || list[0].Note != "the first" || !list[0].Counts || !list[1].Counts {
				t.Fatalf("%+v", list)
			}
			w.ok("backup", "restore", "5546", list[0].Volume, "--confirm", "RESTORE", "--wait")
			if vm, _ := w.sim.VM(vmid); vm.Disks["scsi0"].Contents != "then" || vm.Power != kvm.Running {
				t.Errorf("after the restore: %s, %q", vm.Power, vm.Disks["scsi0"].Contents)
			}
			w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = ?, backup_moment = ?", kvm.Schedule{}.String(), w.clock.Now().UTC().AddDate(0, 0, -2))
			log := w.tick()
			after := w.listedBackups("5546")
			if len(after) != 2 || after[0].Volume != list[1].Volume || !strings.Contains(log, "oldest backup removed: "+list[0].Volume) {
				t.Errorf("after the scheduled one: %+v\n%s", after, log)
			}
			for _, b := range after {
				w.ok("backup", "remove", "5546", b.Volume)
			}
			if left := w.sim.Backups(vmid); len(left) != 0 || w.journal(5546) != 0 {
				t.Errorf("left: %+v, %d in the journal", left, w.journal(5546))
			}
		})
	}
}

// TestBackupsOfAStorageThatPrunes: Proxmox, which is not asked to prune, refuses a second backup on a storage that keeps one. None is
// lost, and the way out is said.
func TestBackupsOfAStorageThatPrunes(t *testing.T) {
	w := newWorld(t, scene{})
	w.sim.AddStorage(pvesim.Storage{ID: "nfs", Type: "nfs", Content: "backup", Size: 1 << 40, Prune: "keep-last=1"})
	w.ok("product", "set", "1", "backups=2", "backup_storage=nfs")
	w.order(5546)
	w.tick()
	w.ok("backup", "create", "5546", "--wait")
	out, errs, code := w.run("backup", "create", "5546", "--wait")
	if code != exitFailed || !strings.Contains(out, "pvesm set nfs --prune-backups keep-all=1") || len(w.listedBackups("5546")) != 1 || w.status(5546) != kvm.Ready {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func (w *world) listedBackups(sid string) []listedBackup {
	w.t.Helper()
	var out listedBackups
	if err := json.Unmarshal([]byte(w.ok("backup", "list", sid, "--output", "json")), &out); err != nil {
		w.t.Fatal(err)
	}
	return out.Backups
}
