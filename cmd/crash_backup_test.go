package cmd

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// everyBackup gives the product two backups and one snapshot.
func everyBackup(w *world) {
	w.t.Helper()
	everyDeployRow(w)
	w.ok("product", "set", "1", "backups=2", "backup_storage=shared", "snapshots=1")
}

// everySnapshot gives the product a snapshot that lives for a day.
func everySnapshot(w *world) {
	w.t.Helper()
	everyBackup(w)
	w.ok("product", "set", "1", "snapshot_lifetime=1")
}

// everyISO gives the product a storage with an image.
func everyISO(w *world) {
	w.t.Helper()
	everyDeployRow(w)
	w.ok("product", "set", "1", "iso_storage=shared")
	if err := w.sim.AddISO("shared", "pve1", laterISO, 4<<20); err != nil {
		w.t.Fatal(err)
	}
}

// deployedAnd is a service whose VM runs, and what has come to it since.
func deployedAnd(then func(w *world, id int64)) func(w *world, id int64) {
	return func(w *world, id int64) {
		w.t.Helper()
		w.deployed(id)
		then(w, id)
	}
}

// did is how many tasks of a type were begun since for the VM of before, and went well.
func (w *world) did(typ string, was identity) (n int) {
	for _, task := range w.sim.Tasks() {
		if task.Type == typ && task.Guest == was.vmid && task.Exit == "OK" && !task.Start.Before(was.at) {
			n++
		}
	}
	return n
}

func (w *world) journal(id int64) int {
	return w.number("SELECT COUNT(*) FROM puq_proxmox_kvm_backups WHERE service_id = ?", id)
}

func (w *world) backedUpOnce(id int64, was identity) (wrong []string) {
	n := w.did("vzdump", was)
	return failing(map[string]bool{
		fmt.Sprintf("it was made %d times", n):              n == 1 && w.backupsOf(was.vmid, was.uuid) == 1,
		fmt.Sprintf("%d are in the journal", w.journal(id)): w.journal(id) == 1,
		"the journal does not know what is inside":          w.db.Text("SELECT COALESCE(MAX(uuid), '') FROM puq_proxmox_kvm_backups WHERE service_id = ?", id) == was.uuid,
		"Proxmox has locked the VM":                         w.sim.VMs()[was.vmid].Lock == "",
		"the row still speaks of it":                        w.db.Text("SELECT backup_sent FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == "",
	})
}

// due is a service whose schedule has a moment that has passed, with two backups of its own and one of a VM that had its VMID once.
func (w *world) due(id int64) {
	w.t.Helper()
	w.deployed(id)
	w.backedUp(id)
	w.scheduled(id)
}

// scheduled gives the service a schedule with a moment that has passed, and it alone: a process on the wall's clock would find the
// others' next ones passed as well.
func (w *world) scheduled(id int64) {
	w.t.Helper()
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = NULL WHERE service_id <> ?", id)
	days := kvm.Schedule{0, 0, 0, 0, 0, 0, 0}
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = ?, backup_moment = ? WHERE service_id = ?", days.String(), w.clock.Now().UTC().AddDate(0, 0, -2), id)
}

func (w *world) rotated(id int64, was identity) (wrong []string) {
	n := w.did("vzdump", was)
	return failing(map[string]bool{
		fmt.Sprintf("it was made %d times", n):                              n == 1,
		fmt.Sprintf("there are %d, not 2", w.backupsOf(was.vmid, was.uuid)): w.backupsOf(was.vmid, was.uuid) == 2,
		"another's backup is gone":                                          w.backupsOf(was.vmid, somebodysUUID) == 1,
		"the day has none":                                                  w.db.Text("SELECT backup_date FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) != "",
	})
}

// restorable is a service whose package has grown since its backup was made.
func (w *world) restorable(id int64) {
	w.t.Helper()
	w.deployed(id)
	if err := w.sim.WriteDisk(w.vmid(id), "scsi0", "of the backup"); err != nil {
		w.t.Fatal(err)
	}
	volume, err := w.sim.AddBackup("shared", w.vmid(id), epoch.AddDate(0, 0, -1))
	if err != nil {
		w.t.Fatal(err)
	}
	w.db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at) VALUES (?, 1, 'shared', ?, UTC_TIMESTAMP(6))", id, volume)
	w.change(id)
	if err := w.sim.AddSnapshot(w.vmid(id), "nightly", ""); err != nil {
		w.t.Fatal(err)
	}
}

// change brings the service to product 2, and takes the VM's marks of before away.
func (w *world) change(id int64) {
	w.t.Helper()
	w.db.Exec("UPDATE tblhosting SET packageid = 2 WHERE id = ?", id)
	w.ok("change-package", strconv.FormatInt(id, 10))
	log := w.ok("cron", "--force")
	if st := w.status(id); st != kvm.Ready {
		w.t.Fatalf("service %d is at %s: %s\n%s", id, st, w.message(id), log)
	}
	if err := w.sim.WriteDisk(w.vmid(id), "scsi0", "of now"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) firstVolume(id int64) []string {
	return []string{w.db.Text("SELECT volume FROM puq_proxmox_kvm_backups WHERE service_id = ? ORDER BY id LIMIT 1", id), "--confirm", "RESTORE"}
}

// revertible is a service whose VM was changed since its snapshot was taken; the disks are the same, for else it could not go back.
func (w *world) revertible(id int64) {
	w.t.Helper()
	w.deployed(id)
	w.change(id)
	vmid := w.vmid(id)
	vm, _ := w.sim.VM(vmid)
	then := map[string]string{"cores": "1", "memory": "1024", "net0": strings.Replace(vm.Config["net0"], "rate=25", "rate=3", 1), "name": "of-then",
		"scsi0": strings.Replace(vm.Config["scsi0"], "iops_wr=900", "iops_wr=7", 1), "scsi1": strings.Replace(vm.Config["scsi1"], "mbps_wr=50", "mbps_wr=7", 1)}
	now := map[string]string{}
	for key := range then {
		now[key] = vm.Config[key]
	}
	for _, step := range []func() error{
		func() error { return w.sim.SetConfig(vmid, then) },
		func() error { return w.sim.WriteDisk(vmid, "scsi0", "of the backup") },
		func() error { return w.sim.AddSnapshot(vmid, "of-then", "") },
		func() error { return w.sim.SetConfig(vmid, now) },
		func() error { return w.sim.WriteDisk(vmid, "scsi0", "of now") },
	} {
		if err := step(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) theSnapshot(int64) []string { return []string{"of-then", "--confirm", "ROLLBACK"} }

// back: the VM has the disk of then, and all else as the package of now says.
func (w *world) back(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(was.vmid)
	return append(w.same(id, was, kvm.Running, "1"), failing(map[string]bool{
		fmt.Sprintf("its disk is %q", vm.Disks["scsi0"].Contents): vm.Disks["scsi0"].Contents == "of the backup",
		"the VM is not as its package":                            vm.Config["cores"] == "4" && vm.Config["memory"] == "8192" && vm.Disks["scsi0"].Size == 30<<30 && vm.Disks["scsi1"].Size == 10<<30,
		"its limits are others":                                   strings.Contains(vm.Config["scsi0"], "iops_wr=900") && strings.Contains(vm.Config["scsi1"], "mbps_wr=50"),
		"its network is another":                                  strings.Contains(vm.Config["net0"], "rate=25") && strings.Contains(vm.Config["net0"], was.mac),
		"its name is another":                                     vm.Config["name"] == w.db.Text("SELECT vm_name FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id),
		"the row says that it failed":                             w.db.Text("SELECT restore_failed FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == "0",
		"Proxmox has locked it":                                   vm.Lock == "" && len(vm.Pending) == 0,
	})...)
}

func (w *world) oneSnapshot(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(was.vmid)
	return w.snapshotsLeft(id, vm, 1)
}

// old is a service with a snapshot of ours whose time is over, and one of somebody's.
func (w *world) old(id int64) {
	w.t.Helper()
	w.deployed(id)
	for _, name := range []string{"puqkvm-20260101-000000", "of-somebody"} {
		if err := w.sim.AddSnapshot(w.vmid(id), name, ""); err != nil {
			w.t.Fatal(err)
		}
	}
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET own_snapshots = 1 WHERE service_id = ?", id)
}

func (w *world) noSnapshot(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(was.vmid)
	_, there := vm.Snapshots["of-somebody"]
	return append(w.snapshotsLeft(id, vm, 0), failing(map[string]bool{"another's snapshot is gone": there})...)
}

func (w *world) snapshotsLeft(id int64, vm pvesim.VMState, want int) []string {
	n := 0
	for name := range vm.Snapshots {
		if strings.HasPrefix(name, "puqkvm-") {
			n++
		}
	}
	noted := w.number("SELECT own_snapshots FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	return failing(map[string]bool{
		fmt.Sprintf("%d snapshots of ours, not %d", n, want): n == want,
		fmt.Sprintf("%d are noted", noted):                   noted == want,
		"Proxmox has locked the VM":                          vm.Lock == "" && vm.Power == kvm.Running,
	})
}
