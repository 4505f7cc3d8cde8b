package cmd

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// crashTable are the pipelines that the crash test disturbs. One joins by a line.
func crashTable() []*crashing {
	return []*crashing{
		{name: "Deploy", prepare: everyDeployRow, service: (*world).richService, order: []string{"create"}, ticks: 1, settled: kvm.Ready, mails: 1, password: true},
		{name: "ChangePackage", prepare: everyChange, service: (*world).upgraded, order: []string{"change-package"}, ticks: 1, settled: kvm.Ready, holds: (*world).changed, sampled: true},
		{name: "Reinstall", prepare: everyReinstall, service: (*world).kept, order: []string{"reinstall", "--template", otherTemplate, "--confirm", "REINSTALL"},
			ticks: 1, settled: kvm.Ready, mails: 1, password: true, holds: (*world).reinstalled, sampled: true},
		{name: "Terminate", prepare: everyDeployRow, service: (*world).kept, order: []string{"terminate"}, ticks: 1, settled: kvm.Remove, gone: true, holds: (*world).terminated, sampled: true},
		{name: "Redeploy", prepare: everyDeployRow, service: (*world).kept, order: []string{"redeploy", "--confirm", "REDEPLOY"},
			ticks: 2, settled: kvm.Ready, mails: 1, password: true, holds: (*world).redeployed, sampled: true},
		{name: "Suspend", prepare: everyDeployRow, service: (*world).deployed, order: []string{"suspend"}, ticks: 1, settled: kvm.Ready, holds: (*world).suspended, sampled: true},
		{name: "Unsuspend", prepare: everyDeployRow, service: (*world).asleep, order: []string{"unsuspend"}, ticks: 1, settled: kvm.Ready, holds: (*world).awake, sampled: true},
		// No guest agent answers: its row has nothing to do.
		{name: "ResetPassword", prepare: everyDeployRow, service: (*world).deployed, order: []string{"reset-password"}, ticks: 1, settled: kvm.Ready, mails: 1, skips: 1, password: true,
			holds: (*world).restarted, sampled: true},
		{name: "ResetPasswordByAgent", prepare: everyDeployRow, service: (*world).answering, order: []string{"reset-password"}, ticks: 1, settled: kvm.Ready, mails: 1, password: true,
			holds: (*world).told, sampled: true},
		{name: "Backup", prepare: everyBackup, service: (*world).deployed, order: []string{"backup", "create"}, ticks: 1, settled: kvm.Ready, holds: (*world).backedUpOnce, sampled: true},
		{name: "ScheduledBackup", prepare: everyBackup, service: (*world).due, order: []string{"backup", "schedule", "show"}, ticks: 1, settled: kvm.Ready, repeats: true,
			holds: (*world).rotated, sampled: true},
		{name: "Restore", prepare: everyChange, service: (*world).restorable, order: []string{"backup", "restore"}, after: (*world).firstVolume, ticks: 1, settled: kvm.Ready, mails: 1,
			password: true, kept: true, holds: (*world).back, sampled: true},
		{name: "Rollback", prepare: everyChange, service: (*world).revertible, order: []string{"snapshot", "rollback"}, after: (*world).theSnapshot, ticks: 1, settled: kvm.Ready,
			password: true, kept: true, skips: 3, holds: (*world).back, sampled: true},
		{name: "Snapshot", prepare: everyBackup, service: (*world).deployed, order: []string{"snapshot", "create"}, ticks: 1, settled: kvm.Ready, repeats: true, holds: (*world).oneSnapshot, sampled: true},
		{name: "OldSnapshots", prepare: everySnapshot, service: (*world).old, order: []string{"snapshot", "list"}, ticks: 1, settled: kvm.Ready, repeats: true, holds: (*world).noSnapshot, sampled: true},
		{name: "SnapshotRemove", prepare: everyBackup, service: deployedAnd((*world).remembered), order: []string{"snapshot", "remove"}, after: (*world).bareSnapshot, ticks: 1, settled: kvm.Ready,
			repeats: true, holds: (*world).snapshotRemoved, sampled: true},
		{name: "BackupRemove", prepare: everyBackup, service: deployedAnd((*world).archived), order: []string{"backup", "remove"}, after: (*world).bareVolume, ticks: 1, settled: kvm.Ready,
			repeats: true, holds: (*world).unarchived, sampled: true},
		{name: "MountISO", prepare: everyISO, service: deployedAnd((*world).written), order: []string{"iso", "mount"}, after: (*world).theISO, ticks: 1, settled: kvm.Ready,
			repeats: true, holds: (*world).mounted, sampled: true},
		{name: "UnmountISO", prepare: everyISO, service: deployedAnd((*world).withISO), order: []string{"iso", "unmount"}, ticks: 1, settled: kvm.Ready,
			repeats: true, holds: (*world).unmounted, sampled: true},
		{name: "AddRule", prepare: everyBackup, service: deployedAnd((*world).withRule), order: firewallRuleAdd, ticks: 1, settled: kvm.Ready,
			repeats: true, holds: (*world).ruleAdded, sampled: true},
		{name: "RemoveRule", prepare: everyBackup, service: deployedAnd((*world).withRules), order: []string{"firewall", "rule", "remove"}, after: (*world).firstRule, ticks: 1, settled: kvm.Ready,
			repeats: true, holds: (*world).ruleRemoved, sampled: true},
	}
}

const (
	somebodysVM   = 20002
	somebodysUUID = "5ad5ad5a-0000-4000-8000-00000000beef"
	otherTemplate = "9100"
)

// everyDeployRow makes each row of Deploy do something: a full clone, which goes on to another node, two disks with
// limits, addresses of both families, and what the template's firewall must not leave to the VM.
func everyDeployRow(w *world) {
	w.t.Helper()
	w.everyRow()
	w.withNames(0)
	for _, storage := range []string{"local-lvm", "shared"} { // some hundred VMs follow one another there, each with whole copies and backups
		w.sim.SetStorageSize(storage, 1<<50)
	}
	w.ok("product", "set", "1", "first_vmid=20000", "ipv4=2", "ipv6=1")
	w.ok("ippool", "add", "--server", "1", "--gateway", "2001:db8::1/64", "--first", "2001:db8::10", "--last", "2001:db8::ffff")
	const firewall = "/nodes/pve1/qemu/9000/firewall"
	for _, call := range []struct {
		method, path string
		form         map[string]string
	}{
		{"POST", firewall + "/rules", map[string]string{"type": "in", "action": "ACCEPT", "enable": "1", "comment": "stale"}},
		{"POST", firewall + "/ipset", map[string]string{"name": "old"}},
		{"POST", firewall + "/ipset/old", map[string]string{"cidr": "198.51.100.0/24"}},
		{"POST", firewall + "/ipset", map[string]string{"name": "ipfilter-net0"}},
		{"POST", firewall + "/ipset/ipfilter-net0", map[string]string{"cidr": "198.51.100.7"}},
		{"PUT", firewall + "/options", map[string]string{"policy_out": "REJECT", "radv": "1"}},
		{"POST", "/nodes/pve1/qemu", map[string]string{"vmid": strconv.Itoa(somebodysVM), "name": "somebody-elses", "memory": "512", "smbios1": "uuid=" + somebodysUUID}},
	} {
		if err := w.send(call.method, call.path, call.form); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.sim.AddBackup("shared", somebodysVM, epoch); err != nil {
		w.t.Fatal(err)
	}
}

// richService is a service with all that a customer can give it.
func (w *world) richService(id int64) {
	w.t.Helper()
	w.service(id)
	for product := range 2 {
		w.db.AddCustomField(whmcstest.CustomField{ProductID: int64(product + 1), Name: "SSH Key", ServiceID: id, Value: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtJ0kX0bQb7q0vB0gq8nF2QmW8rJ4l5rM3cY9p1Zs7d ada@example.com"})
	}
}

// deployed is a service whose VM runs.
func (w *world) deployed(id int64) {
	w.t.Helper()
	w.richService(id)
	w.ok("create", strconv.FormatInt(id, 10))
	log := w.ok("cron", "--force")
	if st := w.status(id); st != kvm.Ready {
		w.t.Fatalf("service %d, which the order is to find ready, is at %s: %s\n%s", id, st, w.message(id), log)
	}
}

// everyChange has a product 2, which asks for other things than product 1 in each row of a change of package.
func everyChange(w *world) {
	w.t.Helper()
	everyDeployRow(w)
	w.ok("product", "set", "1", "additional_size=0", "ipv4=2", "ipv6=1")
	w.db.AddProduct(whmcstest.Product{ID: 2})
	w.ok("product", "set", "2", "template=9000", "clone_type=full", "system_storage=local-lvm", "node=pve2", "main_domain=example.com", "first_vmid=20000",
		"cpu=4", "ram=8", "system_size=30", "system_mbps_rd=0", "system_iops_wr=900", "additional_size=10", "additional_mbps_wr=50", "bandwidth=25",
		"ipv4=1", "ipv6=2", "fw_policy_in=DROP")
}

// upgraded is a service whose customer has just bought product 2.
func (w *world) upgraded(id int64) {
	w.t.Helper()
	w.deployed(id)
	w.db.Exec("UPDATE tblhosting SET packageid = 2 WHERE id = ?", id)
}

func (w *world) changed(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(w.vmid(id))
	have := w.addresses(id)
	return failing(map[string]bool{
		"the VM is not the former one":       strings.Contains(vm.Config["smbios1"], was.uuid),
		"the VM is not as its package":       vm.Config["cores"] == "4" && vm.Config["memory"] == "8192" && vm.Disks["scsi0"].Size == 30<<30 && vm.Disks["scsi1"].Size == 10<<30,
		"a limit that was lifted is there":   !strings.Contains(vm.Config["scsi0"], "mbps_rd") && strings.Contains(vm.Config["scsi0"], "iops_wr=900"),
		"the rate is another":                strings.Contains(vm.Config["net0"], "rate=25"),
		"the VM does not run":                vm.Power == kvm.Running && vm.Config["onboot"] == "1",
		"its addresses are not 1 IPv4, 2 v6": len(have) == 3 && len(w.column("SELECT address FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND address LIKE '%:%'", id)) == 2,
		"its first address is another":       len(have) > 0 && slices.Contains(was.addresses, have[0]),
		"an address still leaves":            w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state <> 'claimed'", id) == "0",
	})
}

// backedUp gives the service's VM two backups that are in its journal, and a third that is there too, of another VM that had
// its VMID once.
func (w *world) backedUp(id int64) {
	w.t.Helper()
	vmid := w.vmid(id)
	vm, _ := w.sim.VM(vmid)
	for days, smbios := range map[int]string{1: vm.Config["smbios1"], 2: vm.Config["smbios1"], 400: "uuid=" + somebodysUUID} {
		err := w.sim.SetConfig(vmid, map[string]string{"smbios1": smbios})
		if err != nil {
			w.t.Fatal(err)
		}
		volume, err := w.sim.AddBackup("shared", vmid, epoch.AddDate(0, 0, -days))
		if err != nil {
			w.t.Fatal(err)
		}
		w.db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at) VALUES (?, 1, 'shared', ?, UTC_TIMESTAMP(6))", id, volume)
	}
	if err := w.sim.SetConfig(vmid, map[string]string{"smbios1": vm.Config["smbios1"]}); err != nil {
		w.t.Fatal(err)
	}
}

// kept is a service with a running VM, snapshots of it, and backups.
func (w *world) kept(id int64) {
	w.t.Helper()
	w.deployed(id)
	w.backedUp(id)
	for _, name := range []string{"before-upgrade", "nightly"} {
		if err := w.sim.AddSnapshot(w.vmid(id), name, "of the customer"); err != nil {
			w.t.Fatal(err)
		}
	}
}

// backups are the UUIDs inside the backups that bear a VMID.
func (w *world) backupsOf(vmid int, uuid string) (n int) {
	for _, b := range w.sim.Backups(vmid) {
		if strings.Contains(b.Config["smbios1"], uuid) {
			n++
		}
	}
	return n
}

// everyReinstall has a template besides the product's.
func everyReinstall(w *world) {
	w.t.Helper()
	everyDeployRow(w)
	vmid, err := strconv.Atoi(otherTemplate)
	if err == nil {
		err = w.sim.AddTemplate(pvesim.Template{VMID: vmid, Node: "pve1", Name: "rocky-9", Storage: "local-lvm", DiskGiB: 3, CloudInit: true, Cores: 1, Memory: 1024, Config: map[string]string{"agent": "1"}})
	}
	if err == nil {
		err = w.sim.WriteDisk(vmid, "scsi0", "rocky")
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reinstalled(id int64, was identity) (wrong []string) {
	vmid := w.vmid(id)
	vm, _ := w.sim.VM(vmid)
	uuid := w.db.Text("SELECT vm_uuid FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	return failing(map[string]bool{
		"the VM is the former one":         uuid != was.uuid && !w.uuidExists(was.uuid),
		"the VMID is another":              vmid == was.vmid,
		"the MAC is another":               strings.Contains(vm.Config["net0"], was.mac),
		"the addresses are others":         slices.Equal(w.addresses(id), was.addresses),
		"the template is another":          vm.Disks["scsi0"].Contents == "rocky",
		"a snapshot is there":              len(vm.Snapshots) == 0,
		"a backup is gone":                 w.backupsOf(vmid, was.uuid) == 2 && w.backupsOf(vmid, somebodysUUID) == 1,
		"its history lacks the former one": strings.Contains(w.db.Text("SELECT vm_uuids FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id), was.uuid),
		"the VM does not run":              vm.Power == kvm.Running && vm.Config["onboot"] == "1",
	})
}

func (w *world) terminated(id int64, was identity) (wrong []string) {
	entries := w.column("SELECT description FROM tblactivitylog WHERE description LIKE ?", fmt.Sprintf("%%service #%d%%", id))
	notes := w.db.Text("SELECT notes FROM tblhosting WHERE id = ?", id)
	missing := slices.DeleteFunc(slices.Clone(was.addresses), func(a string) bool { return strings.Contains(notes, netip.MustParseAddr(a).String()) })
	return failing(map[string]bool{
		fmt.Sprintf("the activity log says %q", entries): len(entries) == 1 && strings.Contains(entries[0], "terminated successfully"),
		fmt.Sprintf("the notes say %q", notes):           len(missing) == 0 && strings.Count(notes, "terminated") == 1,
		"a backup of its own is there":                   w.backupsOf(was.vmid, was.uuid) == 0,
		"another's backup is gone":                       w.backupsOf(was.vmid, somebodysUUID) == 1,
		"its VMID does not rest":                         w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_vmids WHERE vmid = ? AND state = 'tombstone' AND until > UTC_TIMESTAMP(6)", was.vmid) == "1",
		"WHMCS shows its addresses":                      w.db.Text("SELECT CONCAT(domain, dedicatedip, assignedips) FROM tblhosting WHERE id = ?", id) == "",
	})
}

func (w *world) redeployed(id int64, was identity) (wrong []string) {
	_, there := w.sim.VM(was.vmid)
	return failing(map[string]bool{
		"the former VM is there":            !there && !w.uuidExists(was.uuid),
		"the VMID is the former one":        w.vmid(id) != was.vmid,
		"the former VMID does not rest":     w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_vmids WHERE vmid = ? AND state = 'tombstone' AND until > UTC_TIMESTAMP(6)", was.vmid) == "1",
		"a backup is gone":                  w.backupsOf(was.vmid, was.uuid) == 2 && w.backupsOf(was.vmid, somebodysUUID) == 1,
		"its history lacks the former UUID": strings.Contains(w.db.Text("SELECT vm_uuids FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id), was.uuid),
	})
}

func (w *world) suspended(id int64, was identity) (wrong []string) {
	return w.same(id, was, kvm.Stopped, "0")
}

// asleep is a service that is suspended.
func (w *world) asleep(id int64) {
	w.t.Helper()
	w.deployed(id)
	w.ok("suspend", strconv.FormatInt(id, 10))
	w.ok("cron", "--force")
}

func (w *world) awake(id int64, was identity) (wrong []string) {
	return w.same(id, was, kvm.Running, "1")
}

// same: the VM is the former one, in this power state, and starts with its node or does not.
func (w *world) same(id int64, was identity, power kvm.Power, onboot string) (wrong []string) {
	vm, _ := w.sim.VM(w.vmid(id))
	boots := vm.Config["onboot"]
	if boots == "" {
		boots = "0"
	}
	return failing(map[string]bool{
		"the VM is not the former one":              strings.Contains(vm.Config["smbios1"], was.uuid),
		fmt.Sprintf("the VM is %s", vm.Power):       vm.Power == power,
		fmt.Sprintf("its onboot is %q", boots):      boots == onboot,
		"the suspended flag is not as was asked":    w.db.Text("SELECT suspended FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) == map[string]string{"0": "1", "1": "0"}[onboot],
		"its addresses are others than before that": slices.Equal(w.addresses(id), was.addresses),
	})
}

// restarted: cloud-init has the new password, and has run since.
func (w *world) restarted(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(w.vmid(id))
	return append(w.same(id, was, kvm.Running, "1"), failing(map[string]bool{
		"the VM was not started anew":   len(vm.Pending) == 0,
		"the guest agent has been used": len(vm.Passwords) == 0,
	})...)
}

// answering is a service whose guest has an agent.
func (w *world) answering(id int64) {
	w.t.Helper()
	w.deployed(id)
	if err := w.sim.SetGuest(w.vmid(id), &pvesim.Guest{}); err != nil {
		w.t.Fatal(err)
	}
}

// told: the guest has the new password, by its agent, or, where the answer of that was lost, by cloud-init and a start.
func (w *world) told(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(w.vmid(id))
	start := fmt.Sprintf("/qemu/%d/status/start", w.vmid(id))
	started := slices.ContainsFunc(w.sim.Requests(), func(r pvesim.Entry) bool { return strings.HasSuffix(r.Path, start) })
	return append(w.same(id, was, kvm.Running, "1"), failing(map[string]bool{
		"the guest has another password": vm.Passwords[was.user] == w.password(id) || started && len(vm.Pending) == 0,
	})...)
}

// failing are the names of what is not so.
func failing(checks map[string]bool) (wrong []string) {
	for what, ok := range checks {
		if !ok {
			wrong = append(wrong, what)
		}
	}
	return wrong
}
