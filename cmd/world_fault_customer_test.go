package cmd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const (
	laterISO = "Debian-12.5.0-amd64-netinst.iso"
	// What stands on the disk now, and what stood there when the backup or the snapshot was made.
	ofNow, ofThen = "of now", "of the backup"
)

const (
	listTasks     = "GET /nodes/{node}/tasks"
	taskLog       = "GET /nodes/{node}/tasks/{upid}/log"
	taskStatus    = "GET /nodes/{node}/tasks/{upid}/status"
	listStorages  = "GET /nodes/{node}/storage"
	listContent   = "GET /nodes/{node}/storage/{storage}/content"
	deleteContent = "DELETE /nodes/{node}/storage/{storage}/content/{volume}"
	readArchive   = "GET /nodes/{node}/vzdump/extractconfig"
	listSnapshots = "GET " + ownVM + "/snapshot"
	listRules     = "GET " + ownVM + "/firewall/rules"
)

// firewallRuleAdd is the order of a rule, without the service.
var firewallRuleAdd = []string{"firewall", "rule", "add", "--direction", "in", "--action", "ACCEPT", "--proto", "tcp", "--dport", "22"}

// customerTable is what a customer does with a VM that stands. What is asked for is checked in Proxmox first, which stands for
// itself here, under "asked".
func customerTable() []later {
	make := later{name: "backup", prepare: (*world).written, order: []string{"backup", "create"}, settled: kvm.Ready, holds: (*world).backedUpAsAsked, lasts: (*world).oneBackup, rests: true,
		calls: []string{listStorages, listContent, readArchive, listTasks, "POST /nodes/{node}/vzdump", taskStatus, taskLog}}
	restore := later{name: "restore", prepare: (*world).archived, order: []string{"backup", "restore"}, after: (*world).firstVolume, settled: kvm.Ready, holds: (*world).restored, lasts: (*world).restoring,
		rests: true, calls: []string{listStorages, listContent, readArchive, listSnapshots, "DELETE " + ownVM + "/snapshot/{snapname}", "POST /nodes/{node}/qemu", taskStatus}}
	rollback := later{name: "rollback", prepare: (*world).remembered, order: []string{"snapshot", "rollback"}, after: (*world).theSnapshot, settled: kvm.Ready, holds: (*world).rolledBack, lasts: (*world).rollingBack,
		rests: true, calls: []string{listSnapshots, "GET " + ownVM + "/snapshot/{snapname}/config", "POST " + ownVM + "/snapshot/{snapname}/rollback", taskStatus}}
	asked := func(l later, calls ...string) later {
		l.name, l.now, l.calls = l.name+", asked", true, calls
		return l
	}
	return []later{
		make, asked(make, listStorages, listContent, readArchive),
		{name: "backup, by its schedule", prepare: (*world).isDue, settled: kvm.Ready, holds: (*world).rotatedOnce, lasts: (*world).rotating, rests: true,
			calls: append(slices.Clone(make.calls), deleteContent)},
		{name: "backup remove", prepare: (*world).archived, order: []string{"backup", "remove"}, after: (*world).bareVolume, settled: kvm.Ready, holds: (*world).unarchived, lasts: (*world).untouched,
			now: true, calls: []string{listContent, readArchive, deleteContent}},
		restore, asked(restore, listStorages, listContent, readArchive),
		rollback, asked(rollback, listSnapshots, "GET "+ownVM+"/snapshot/{snapname}/config"),
		{name: "snapshot create", prepare: (*world).written, order: []string{"snapshot", "create"}, settled: kvm.Ready, holds: (*world).snapshotTaken, lasts: (*world).untouched, now: true,
			calls: []string{listSnapshots, "POST " + ownVM + "/snapshot", taskStatus}},
		{name: "snapshot remove", prepare: (*world).remembered, order: []string{"snapshot", "remove"}, after: (*world).bareSnapshot, settled: kvm.Ready, holds: (*world).snapshotRemoved,
			lasts: (*world).untouched, now: true, calls: []string{listSnapshots, "DELETE " + ownVM + "/snapshot/{snapname}", taskStatus}},
		{name: "iso mount", prepare: (*world).written, order: []string{"iso", "mount"}, after: (*world).theISO, settled: kvm.Ready, holds: (*world).mounted, lasts: (*world).untouched, now: true,
			calls: []string{listContent, "PUT " + ownVM + "/config"}},
		{name: "iso unmount", prepare: (*world).withISO, order: []string{"iso", "unmount"}, settled: kvm.Ready, holds: (*world).unmounted, lasts: (*world).untouched, now: true,
			calls: []string{"PUT " + ownVM + "/config"}},
		{name: "firewall rule add", prepare: (*world).withRule, order: firewallRuleAdd,
			settled: kvm.Ready, holds: (*world).ruleAdded, lasts: (*world).ruleKept, now: true, calls: []string{listRules, "POST " + ownVM + "/firewall/rules"}},
		{name: "firewall rule remove", prepare: (*world).withRules, order: []string{"firewall", "rule", "remove"}, after: (*world).firstRule, settled: kvm.Ready, holds: (*world).ruleRemoved,
			lasts: (*world).ruleKept, now: true, calls: []string{listRules, "DELETE " + ownVM + "/firewall/rules/{pos}"}},
	}
}

// written is a service with something on its disk, and with somebody else's backup under its VMID.
func (w *world) written(id int64) {
	w.t.Helper()
	vmid := w.vmid(id)
	vm, _ := w.sim.VM(vmid)
	for _, step := range []func() error{
		func() error { return w.sim.SetConfig(vmid, map[string]string{"smbios1": "uuid=" + somebodysUUID}) },
		func() error { _, err := w.sim.AddBackup("shared", vmid, epoch.AddDate(-1, 0, 0)); return err },
		func() error { return w.sim.SetConfig(vmid, map[string]string{"smbios1": vm.Config["smbios1"]}) },
		func() error { return w.sim.WriteDisk(vmid, "scsi0", ofNow) },
	} {
		if err := step(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// isDue is written, with two backups of its own and a schedule that wants a third.
func (w *world) isDue(id int64) {
	w.t.Helper()
	w.backedUp(id)
	if err := w.sim.WriteDisk(w.vmid(id), "scsi0", ofNow); err != nil {
		w.t.Fatal(err)
	}
	w.scheduled(id)
}

// archived is written, with a backup of another content, and a snapshot.
func (w *world) archived(id int64) {
	w.t.Helper()
	w.written(id)
	vmid := w.vmid(id)
	var volume string
	for _, step := range []func() error{
		func() error { return w.sim.WriteDisk(vmid, "scsi0", ofThen) },
		func() (err error) { volume, err = w.sim.AddBackup("shared", vmid, epoch.AddDate(0, 0, -1)); return err },
		func() error { return w.sim.WriteDisk(vmid, "scsi0", ofNow) },
		func() error { return w.sim.AddSnapshot(vmid, "nightly", "") },
	} {
		if err := step(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at) VALUES (?, 1, 'shared', ?, UTC_TIMESTAMP(6))", id, volume)
}

// remembered is written, with a snapshot of another content, from before its package grew, and with one of somebody's.
func (w *world) remembered(id int64) {
	w.t.Helper()
	w.written(id)
	vmid := w.vmid(id)
	vm, _ := w.sim.VM(vmid)
	for _, step := range []func() error{
		func() error { return w.sim.AddSnapshot(vmid, "of-somebody", "") },
		func() error { return w.sim.WriteDisk(vmid, "scsi0", ofThen) },
		func() error { return w.sim.SetConfig(vmid, map[string]string{"cores": "1"}) },
		func() error { return w.sim.AddSnapshot(vmid, "of-then", "") },
		func() error { return w.sim.SetConfig(vmid, map[string]string{"cores": vm.Config["cores"]}) },
		func() error { return w.sim.WriteDisk(vmid, "scsi0", ofNow) },
	} {
		if err := step(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) bareVolume(id int64) []string { return w.firstVolume(id)[:1] }

func (w *world) bareSnapshot(id int64) []string { return w.theSnapshot(id)[:1] }

func (w *world) theISO(int64) []string { return []string{laterISO} }

// firstRule is the position of the client's rule, in the list as it is now: given again it must not be another rule's.
func (w *world) firstRule(id int64) []string {
	w.t.Helper()
	var shown struct{ Digest string }
	if err := json.Unmarshal([]byte(w.ok("firewall", "show", fmt.Sprint(id), "--output", "json")), &shown); err != nil {
		w.t.Fatal(err)
	}
	return []string{"0", "--digest", shown.Digest}
}

// withISO is written, with an image in a drive.
func (w *world) withISO(id int64) {
	w.t.Helper()
	w.written(id)
	w.ok("iso", "mount", fmt.Sprint(id), laterISO)
}

// withRule is written, with a firewall rule of an administrator.
func (w *world) withRule(id int64) {
	w.t.Helper()
	w.written(id)
	vm, _ := w.sim.VM(w.vmid(id))
	if err := w.send("POST", fmt.Sprintf("/nodes/%s/qemu/%d/firewall/rules", vm.Node, vm.VMID), map[string]string{"type": "out", "action": "DROP", "enable": "1", "comment": "of somebody"}); err != nil {
		w.t.Fatal(err)
	}
}

// withRules is withRule, with one of the client before it.
func (w *world) withRules(id int64) {
	w.t.Helper()
	w.withRule(id)
	w.ok(append(slices.Clone(firewallRuleAdd), fmt.Sprint(id))...)
}

// untouched: the disk is what it was, and what others have made is there.
func (w *world) untouched(id int64, was identity) []string { return w.holding(was, ofNow) }

// holding: the VM's disk has these contents, and the backup of the VM that had its VMID once is there.
func (w *world) holding(was identity, contents string) []string {
	vm, _ := w.sim.VM(was.vmid)
	return failing(map[string]bool{
		"the VM is not the former one":                        strings.Contains(vm.Config["smbios1"], was.uuid),
		fmt.Sprintf("its disk has %+v", vm.Disks["scsi0"]):    vm.Disks["scsi0"].Contents == contents,
		"another's backup is gone":                            w.backupsOf(was.vmid, somebodysUUID) == 1,
		"a disk of it is not named, or there is one too many": len(w.sim.Volumes(was.vmid)) == len(vm.Disks),
	})
}

func (w *world) oneBackup(id int64, was identity) []string {
	n := w.did("vzdump", was)
	return append(w.untouched(id, was), failing(map[string]bool{
		fmt.Sprintf("%d backups were made, %d are there", n, w.backupsOf(was.vmid, was.uuid)): n <= 1 && w.backupsOf(was.vmid, was.uuid) <= 1,
	})...)
}

// backedUpAsAsked: each order that has ended has at most one backup, the last one has one that was begun after those that failed, and
// all are in the journal.
func (w *world) backedUpAsAsked(id int64, was identity) []string {
	orders := w.number("SELECT COUNT(*) FROM puq_proxmox_kvm_runs WHERE service_id = ? AND action = 'backup' AND to_status = 'ready'", id)
	good := w.number("SELECT COUNT(*) FROM puq_proxmox_kvm_runs WHERE service_id = ? AND action = 'backup' AND to_status = 'ready' AND result = 'success'", id)
	made, there := w.did("vzdump", was), w.backupsOf(was.vmid, was.uuid)
	failed, begun := w.db.Text("SELECT COALESCE(MAX(ended_at), '') FROM puq_proxmox_kvm_runs WHERE service_id = ? AND action = 'backup' AND to_status = 'ready' AND result = 'error'", id), ""
	for _, task := range w.sim.Tasks() {
		if task.Type == "vzdump" && task.Guest == was.vmid {
			begun = task.Start.UTC().Format("2006-01-02 15:04:05.000000")
		}
	}
	return append(w.untouched(id, was), failing(map[string]bool{
		fmt.Sprintf("%d orders, %d done, %d made, %d there, %d noted", orders, good, made, there, w.journal(id)): good == 1 && made >= 1 && made <= orders && there == made && w.journal(id) == made,
		fmt.Sprintf("the backup was begun at %s, and the order before it had failed by %s", begun, failed):       begun > failed,
		"Proxmox has locked the VM":  w.sim.VMs()[was.vmid].Lock == "",
		"the row still speaks of it": w.db.Text("SELECT backup_sent FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == "",
	})...)
}

// rotating: for the one that comes one goes, and not more.
func (w *world) rotating(id int64, was identity) []string {
	n, left := w.did("vzdump", was), w.backupsOf(was.vmid, was.uuid)
	return append(w.untouched(id, was), failing(map[string]bool{
		fmt.Sprintf("%d backups were made, %d are there", n, left): n <= 1 && left >= 1 && left <= 2,
	})...)
}

func (w *world) rotatedOnce(id int64, was identity) []string {
	return append(w.rotated(id, was), failing(map[string]bool{
		fmt.Sprintf("%d are in the journal", w.journal(id)): w.journal(id) == 3, // with somebody's, which somebody has written into it
		"the row still speaks of it":                        w.db.Text("SELECT backup_sent FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == "",
		"Proxmox has locked the VM":                         w.sim.VMs()[was.vmid].Lock == "",
	})...)
}

func (w *world) unarchived(id int64, was identity) []string {
	return append(w.untouched(id, was), failing(map[string]bool{
		"its backup is there":     w.backupsOf(was.vmid, was.uuid) == 0,
		"its backup still counts": strings.Contains(w.ok("backup", "list", fmt.Sprint(id), "--output", "json"), `"count":0,"quota":2,"backups":[]`),
	})...)
}

// restoring: nothing is destroyed before the restore begins, which has its backup to the end; what it leaves half made is not
// handed out.
func (w *world) restoring(id int64, was identity) []string {
	began, running, failed := false, false, false
	for _, task := range w.sim.Tasks() {
		if task.Type == "qmrestore" && task.Guest == was.vmid && !task.Start.Before(was.at) {
			began, running, failed = true, task.End.IsZero(), task.Exit != "OK"
		}
	}
	wrong := failing(map[string]bool{
		"its backup is gone":                 w.backupsOf(was.vmid, was.uuid) == 1,
		"it is ready, and its disks are not": !failed || w.status(id) != kvm.Ready,
	})
	switch {
	case !began:
		wrong = append(wrong, w.holding(was, ofNow)...)
	case !running && !failed:
		wrong = append(wrong, w.holding(was, ofThen)...)
	}
	return wrong
}

func (w *world) restored(id int64, was identity) []string {
	vm, _ := w.sim.VM(was.vmid)
	return slices.Concat(w.same(id, was, kvm.Running, "1"), w.holding(was, ofThen), failing(map[string]bool{
		"the row says that it failed":                 w.db.Text("SELECT restore_failed FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == "0",
		"Proxmox has locked it, or something waits":   vm.Lock == "" && len(vm.Pending) == 0,
		"it has snapshots":                            len(vm.Snapshots) == 0,
		"its backup is gone":                          w.backupsOf(was.vmid, was.uuid) == 1,
		"its password is another":                     w.password(id) == was.password,
		fmt.Sprintf("%d mails", w.sent(id)-was.mails): w.sent(id) == was.mails+1,
	}))
}

// rollingBack: the disk is the one of now until a rollback has gone well.
func (w *world) rollingBack(id int64, was identity) []string {
	for _, task := range w.sim.Tasks() {
		if task.Type == "qmrollback" && task.Guest == was.vmid && !task.Start.Before(was.at) && task.Exit != "" && w.did("qmrollback", was) == 0 {
			return nil // it died, or was undone: of that the snapshot is the way back
		}
	}
	if w.did("qmrollback", was) == 0 {
		return w.holding(was, ofNow)
	}
	return w.holding(was, ofThen)
}

func (w *world) rolledBack(id int64, was identity) []string {
	vm, _ := w.sim.VM(was.vmid)
	return slices.Concat(w.same(id, was, kvm.Running, "1"), w.holding(was, ofThen), failing(map[string]bool{
		"it is not what its package says":           vm.Config["cores"] == "2",
		"Proxmox has locked it, or something waits": vm.Lock == "" && len(vm.Pending) == 0,
		fmt.Sprintf("it has %v", vm.Snapshots):      len(vm.Snapshots) == 2,
		"its password is another":                   w.password(id) == was.password,
		"a mail was sent":                           w.sent(id) == was.mails,
	}))
}

// snapshotTaken: there is one, whole. Where the answer to the first was lost there are two, as were asked for.
func (w *world) snapshotTaken(id int64, was identity) []string {
	vm, _ := w.sim.VM(was.vmid)
	whole, all := 0, 0
	for _, snap := range vm.Snapshots {
		if all++; snap.State == "" {
			whole++
		}
	}
	noted := w.number("SELECT own_snapshots FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	return append(w.untouched(id, was), failing(map[string]bool{
		fmt.Sprintf("%d snapshots, %d whole, %d noted", all, whole, noted): whole >= 1 && all <= 2 && noted >= all,
		"Proxmox has locked it": vm.Lock == "" && vm.Power == kvm.Running,
	})...)
}

func (w *world) snapshotRemoved(id int64, was identity) []string {
	vm, _ := w.sim.VM(was.vmid)
	_, others := vm.Snapshots["of-somebody"]
	return append(w.untouched(id, was), failing(map[string]bool{
		fmt.Sprintf("it has %v", vm.Snapshots): others && len(vm.Snapshots) == 1,
		"Proxmox has locked it":                vm.Lock == "" && vm.Power == kvm.Running,
	})...)
}

// next is what the VM has, or will have when it is stopped and started.
func next(vm pvesim.VMState) map[string]string {
	out := map[string]string{}
	for _, from := range []map[string]string{vm.Config, vm.Pending} {
		for key, value := range from {
			if out[key] = value; value == "" {
				delete(out, key)
			}
		}
	}
	return out
}

// drives are the slots in which the image is.
func drives(vm pvesim.VMState) (slots []string) {
	for key, value := range next(vm) {
		if strings.HasPrefix(value, "shared:iso/"+laterISO) {
			slots = append(slots, key)
		}
	}
	return slots
}

func (w *world) mounted(id int64, was identity) []string {
	vm, _ := w.sim.VM(was.vmid)
	slots := append(drives(vm), "")
	return append(w.untouched(id, was), failing(map[string]bool{
		fmt.Sprintf("the image is in %q", slots):              len(slots) == 2,
		fmt.Sprintf("the boot order is %s", next(vm)["boot"]): next(vm)["boot"] == fmt.Sprintf("order=%s;scsi0", slots[0]),
		"the order of before is not noted":                    w.db.Text("SELECT iso_boot FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == slots[0]+" order=scsi0",
		fmt.Sprintf("VM %s, lock %q", vm.Power, vm.Lock):      vm.Power == kvm.Running && vm.Lock == "",
	})...)
}

func (w *world) unmounted(id int64, was identity) []string {
	vm, _ := w.sim.VM(was.vmid)
	return append(w.untouched(id, was), failing(map[string]bool{
		fmt.Sprintf("the image is in %q", drives(vm)):         len(drives(vm)) == 0,
		fmt.Sprintf("the boot order is %s", next(vm)["boot"]): next(vm)["boot"] == "order=scsi0",
		"an order is noted": w.db.Text("SELECT iso_boot FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == "",
		fmt.Sprintf("VM %s, lock %q", vm.Power, vm.Lock): vm.Power == kvm.Running && vm.Lock == "",
	})...)
}

// rules are those of the VM's firewall: how many are somebody's, and how many the client's.
func (w *world) rules(vmid int) (others, own int) {
	for _, rule := range w.sim.Firewall(vmid).Rules {
		if strings.HasPrefix(rule["comment"], "puqkvm") {
			own++
		} else {
			others++
		}
	}
	return others, own
}

// ruleKept: the administrator's rule stays, and the client's does not come twice.
func (w *world) ruleKept(id int64, was identity) []string {
	others, own := w.rules(was.vmid)
	return append(w.untouched(id, was), failing(map[string]bool{fmt.Sprintf("%d rules of somebody's, %d of the client's", others, own): others == 1 && own <= 1})...)
}

// stored is how many rules of the client are stored.
func (w *world) storedRules(id int64) int {
	return strings.Count(w.db.Text("SELECT COALESCE(firewall, '') FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id), `"dport"`)
}

func (w *world) ruleAdded(id int64, was identity) []string {
	_, own := w.rules(was.vmid)
	return append(w.ruleKept(id, was), failing(map[string]bool{fmt.Sprintf("%d rules, %d stored", own, w.storedRules(id)): own == 1 && w.storedRules(id) == 1})...)
}

func (w *world) ruleRemoved(id int64, was identity) []string {
	_, own := w.rules(was.vmid)
	return append(w.ruleKept(id, was), failing(map[string]bool{fmt.Sprintf("%d rules, %d stored", own, w.storedRules(id)): own == 0 && w.storedRules(id) == 0})...)
}
