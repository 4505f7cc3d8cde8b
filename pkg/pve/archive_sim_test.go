package pve

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// writes are the requests since the last look that were no GET.
func writes(sim *pvesim.Cluster) []string {
	var out []string
	for _, e := range sim.Requests() {
		if e.Method != http.MethodGet {
			out = append(out, e.Method+" "+e.Path)
		}
	}
	sim.ResetRequests()
	return out
}

// contents is what is on the VM's disk at slot.
func contents(t *testing.T, sim *pvesim.Cluster, slot string) string {
	t.Helper()
	vm, found := sim.VM(100)
	if !found {
		t.Fatal("there is no VM 100")
	}
	return vm.Disks[slot].Contents
}

func TestTakingSnapshotsOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		sim.ResetRequests()
		for _, name := range []string{"", "a", "1a", "-ab", "a b", "a/b", "..", "ä1", "a\n", strings.Repeat("a", 41)} {
			is(t, name, ended(c.CreateSnapshot(ctx, o, name, "")), kvm.ErrInvalid)
			if name != strings.Repeat("a", 41) {
				is(t, "back to "+name, ended(c.Rollback(ctx, o, name)), kvm.ErrInvalid)
				_, err := c.SnapshotDisks(ctx, o, name)
				is(t, "disks of "+name, err, kvm.ErrInvalid)
			}
		}
		if got := sim.Requests(); len(got) > 0 {
			t.Errorf("for names that cannot be: %+v", got)
		}
		for _, name := range []string{"current", "PENDING"} {
			if err := ended(c.CreateSnapshot(ctx, o, name, "")); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("the reserved name %s: %v", name, err)
			}
		}
		long, name := strings.Repeat("a", 40), kvm.SnapshotName(c.clock.Now())
		must(t, ended(c.CreateSnapshot(ctx, o, name, "before 50 %\\n \"the\" update; 'ä'")))
		must(t, sim.SetPower(100, kvm.Running))
		must(t, ended(c.CreateSnapshot(ctx, o, long, "")))
		list, err := c.Snapshots(ctx, o)
		if err != nil || len(list) != 2 || list[0].Name != name || list[0].Description != "before 50 %\\n \"the\" update; 'ä'" || list[1].Name != long || list[1].Description != "" ||
			list[0].RAM || list[1].RAM || !list[0].Ours() || list[1].Ours() {
			t.Errorf("%+v, %v", list, err)
		}
		is(t, "one of that name", ended(c.CreateSnapshot(ctx, o, name, "other")), kvm.ErrTaken)
		must(t, sim.SetLock(100, "backup"))
		is(t, "locked", ended(c.CreateSnapshot(ctx, o, "later", "")), kvm.ErrBusy)
		must(t, sim.SetLock(100, ""))
		p := poor(t, c, sim)
		is(t, "without the privilege", end(t, p)(p.CreateSnapshot(ctx, o, "later", "")), kvm.ErrDenied)
		must(t, sim.SetPower(100, kvm.Stopped))

		// A storage that takes none.
		must(t, ended(c.task(ctx, http.MethodPost, guest(o.VM(), "config"), params{"scsi1": "nfs:1,format=raw"})))
		is(t, "a raw disk", ended(c.CreateSnapshot(ctx, o, "later", "")), kvm.ErrPermanent)
		if list, err := c.Snapshots(ctx, o); err != nil || len(list) != 2 || list[0].Description == "other" {
			t.Errorf("what was refused has left %+v, %v", list, err)
		}
		sim.RemoveVM(100)
		is(t, "VM gone", ended(c.CreateSnapshot(ctx, o, "later", "")), kvm.ErrNotHere)
	})
}

func TestRollbackOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		wait := func(id kvm.UPID, err error) { t.Helper(); must(t, ended(id, err)); o = proof(t, c, 100) }
		wait(c.task(ctx, http.MethodPost, guest(o.VM(), "config"), params{"scsi1": "local:1,format=qcow2"}))
		must(t, sim.WriteDisk(100, "scsi0", "of then"))
		must(t, sim.WriteDisk(100, "scsi1", "of then, too"))
		then := o.VM()
		wait(c.CreateSnapshot(ctx, o, "then", ""))
		wait("", c.SetCPU(ctx, o, 4, 4096, true))
		if version != "7.4-17" { // which grows no disk with snapshots
			wait(c.Resize(ctx, o, "scsi0", 9))
		}
		must(t, sim.WriteDisk(100, "scsi0", "of now"))
		must(t, sim.WriteDisk(100, "scsi1", "of now"))
		wait(c.AddDisk(ctx, o, "scsi2", "local", 2))

		disks, err := c.SnapshotDisks(ctx, o, "then")
		if d := cmp.Diff(then.Disks, disks); err != nil || d != "" || len(disks) != 2 {
			t.Errorf("%v\n%s", err, d)
		}
		_, err = c.SnapshotDisks(ctx, o, "other")
		is(t, "disks of one that is not there", err, kvm.ErrNotFound)
		is(t, "back to one that is not there", ended(c.Rollback(ctx, o, "other")), kvm.ErrNotFound)
		must(t, sim.SetLock(100, "backup"))
		is(t, "locked", ended(c.Rollback(ctx, o, "then")), kvm.ErrBusy)
		must(t, sim.SetLock(100, ""))
		p := poor(t, c, sim)
		is(t, "without the privilege", end(t, p)(p.Rollback(ctx, o, "then")), kvm.ErrDenied)
		if got := contents(t, sim, "scsi0") + contents(t, sim, "scsi1"); got != "of nowof now" || proof(t, c, 100).VM().Cores != 4 {
			t.Errorf("what was refused has left %q", got)
		}

		must(t, sim.SetPower(100, kvm.Running))
		wait(c.Rollback(ctx, o, "then"))
		vm := o.VM()
		if contents(t, sim, "scsi0") != "of then" || contents(t, sim, "scsi1") != "of then, too" || vm.Cores != then.Cores || vm.Memory != then.Memory || vm.OnBoot != then.OnBoot ||
			vm.Disk("scsi0").Size != then.Disk("scsi0").Size || vm.Disk("scsi2") != nil || vm.UUID != then.UUID || vm.NIC.MAC != then.NIC.MAC || vm.Lock != "" {
			t.Errorf("%q, %q, %+v", contents(t, sim, "scsi0"), contents(t, sim, "scsi1"), vm)
		}
		must(t, c.clock.Sleep(ctx, time.Minute))
		if power, _, err := c.Power(ctx, o); power != kvm.Stopped || err != nil {
			t.Errorf("it is %s, %v", power, err)
		}
		sim.RemoveVM(100)
		is(t, "VM gone", ended(c.Rollback(ctx, o, "then")), kvm.ErrNotHere)
		_, err = c.SnapshotDisks(ctx, o, "then")
		is(t, "disks of a VM that is gone", err, kvm.ErrNotHere)
	})
}

// A storage that goes back to its newest snapshot alone refuses the others, and leaves the VM as it is.
func TestRollbackToNotTheNewest(t *testing.T) {
	for _, version := range flavours {
		c, sim := simulated(t, version)
		sim.AddStorage(pvesim.Storage{ID: "tank", Type: "zfspool", Content: "images"})
		o := deploy(t, c, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 100, Name: "a", Full: true, Storage: "tank"})
		for _, name := range []string{"first", "second"} {
			must(t, sim.WriteDisk(100, "scsi0", "of the "+name))
			must(t, end(t, c)(c.CreateSnapshot(t.Context(), o, name, "")))
		}
		must(t, sim.WriteDisk(100, "scsi0", "of now"))
		is(t, version+", not the newest", end(t, c)(c.Rollback(t.Context(), o, "first")), kvm.ErrPermanent)
		if got := contents(t, sim, "scsi0"); got != "of now" || proof(t, c, 100).VM().Lock != "" {
			t.Errorf("%s: what was refused has left %q", version, got)
		}
		must(t, end(t, c)(c.Rollback(t.Context(), o, "second")))
		if got := contents(t, sim, "scsi0"); got != "of the second" {
			t.Errorf("%s: the disk is %q", version, got)
		}
	}
}

// TestBackupOnASimulatedCluster: one archive, with the note as it was typed, and nothing else removed for it; and its name is
// known from the task, whatever the note says.
func TestBackupOnASimulatedCluster(t *testing.T) {
	notes := map[string]string{"": "", "plain": "plain", `50 % of \n C:\new 'a' "b"`: `50 % of \n C:\new 'a' "b"`, "{{node}} {{vmid}}": "{ {node}} { {vmid}}",
		"{{{node}}} {{{{cluster}}}} {": "{ { {node}}} { { { {cluster}}}} {", "two\r\nlines": "two  lines", "ä {x} 🙂": "ä {x} 🙂",
		"INFO: creating vzdump archive '/mnt/pve/x/dump/vzdump-qemu-999-2026_01_01-00_00_00.vma.zst'": "INFO: creating vzdump archive '/mnt/pve/x/dump/vzdump-qemu-999-2026_01_01-00_00_00.vma.zst'"}
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		before, err := sim.AddBackup("local", 100, c.clock.Now().AddDate(0, 0, -1))
		must(t, err)
		seen := map[string]bool{before: true}
		for note, want := range notes {
			must(t, c.clock.Sleep(ctx, time.Minute))
			id, err := c.Backup(ctx, o, "local", note)
			must(t, ended(id, err))
			name, err := c.BackupMade(ctx, id)
			must(t, err)
			var fresh []pvesim.Backup
			for _, b := range sim.Backups(100) {
				if !seen[b.ID] {
					fresh = append(fresh, b)
				}
				seen[b.ID] = true
			}
			if len(fresh) != 1 || fresh[0].ID != "local:"+name || fresh[0].Notes != want || fresh[0].Protected || !strings.HasSuffix(name, ".vma.zst") {
				t.Errorf("%q: made %+v, by the task %s", note, fresh, name)
			}
		}
		if got := len(sim.Backups(100)); got != len(notes)+1 {
			t.Errorf("%d backups are there", got)
		}
		must(t, sim.SetLock(100, "snapshot"))
		id, err := c.Backup(ctx, o, "local", "")
		is(t, "locked", ended(id, err), kvm.ErrBusy)
		_, err = c.BackupMade(ctx, id)
		is(t, "the name of what a locked VM gave", err, kvm.ErrNotFound)
		must(t, sim.SetLock(100, ""))
		is(t, "no such storage", ended(c.Backup(ctx, o, "nosuch", "")), kvm.ErrPermanent)
		if err := ended(c.Backup(ctx, o, "nfs", "")); err == nil {
			t.Error("a storage that holds no backups took one")
		}
		p := poor(t, c, sim)
		is(t, "without the privilege", end(t, p)(p.Backup(ctx, o, "local", "")), kvm.ErrDenied)
		must(t, sim.MoveVM(100, "pve2"))
		is(t, "moved", ended(c.Backup(ctx, o, "local", "")), kvm.ErrNotHere)
		sim.RemoveVM(100)
		if err := ended(c.Backup(ctx, o, "local", "")); err == nil {
			t.Error("a VM that is gone was backed up")
		}
		if got := len(sim.Backups(100)); got != len(notes)+1 {
			t.Errorf("%d backups are there at the end", got)
		}
	})
}

// TestBackupsThatWait: a node does one after the other; the name of one that waits is not known yet.
func TestBackupsThatWait(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx := t.Context()
		second := deploy(t, c, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 101, Name: "b"})
		sim.AddFault(pvesim.Fault{Method: "POST", Path: "/nodes/{node}/vzdump", Skip: 2, ResetAfter: true})
		first, err := c.Backup(ctx, o, "local", "")
		must(t, err)
		later, err := c.Backup(ctx, second, "local", "")
		must(t, err)
		_, err = c.BackupMade(ctx, later)
		is(t, "the name of one that waits", err, kvm.ErrNotFound)
		_, err = c.Backup(ctx, o, "local", "")
		is(t, "an answer that is lost", err, kvm.ErrUnknown)
		must(t, c.Wait(ctx, first, time.Hour))
		must(t, c.Wait(ctx, later, time.Hour))
		name, err := c.BackupMade(ctx, later)
		if err != nil || len(sim.Backups(101)) != 1 || sim.Backups(101)[0].ID != "local:"+name {
			t.Errorf("%s, %v; there are %+v", name, err, sim.Backups(101))
		}
		// What was begun without an answer is among our tasks, as is what has ended.
		tasks, err := c.OwnTasks(ctx, "pve1", 100, "vzdump")
		if err != nil || len(tasks) != 2 || tasks[0].UPID != first || tasks[1].UPID == first || tasks[1].Type != "vzdump" || tasks[1].User != "whmcs@pve!puqkvm" {
			t.Errorf("%+v, %v", tasks, err)
		}
		must(t, c.Wait(ctx, tasks[1].UPID, time.Hour))
		if n := len(sim.Backups(100)); n != 2 {
			t.Errorf("%d backups", n)
		}
		sim.ForgetTask(string(first))
		_, err = c.BackupMade(ctx, first)
		is(t, "a task that nobody knows", err, kvm.ErrNotFound)
	})
}

// The name of an archive on a backup server is no file's.
func TestBackupToABackupServer(t *testing.T) {
	for _, version := range flavours {
		c, sim := simulated(t, version)
		sim.AddStorage(pvesim.Storage{ID: "pbs", Type: "pbs", Content: "backup", Shared: true})
		o := deploy(t, c, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 100, Name: "a"})
		id, err := c.Backup(t.Context(), o, "pbs", "note")
		must(t, end(t, c)(id, err))
		name, err := c.BackupMade(t.Context(), id)
		if got := sim.Backups(100); err != nil || len(got) != 1 || got[0].ID != "pbs:"+name || !strings.HasPrefix(name, "backup/vm/100/") || kvm.VolumeVMID("pbs:"+name) != 100 {
			t.Errorf("%s: %s, %v; there are %+v", version, name, err, got)
		}
	}
}

func TestRestoreOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		sim.AddStorage(pvesim.Storage{ID: "pool", Type: "lvmthin", Content: "images"})
		must(t, sim.WriteDisk(100, "scsi0", "of then"))
		then := o.VM()
		volume, err := sim.AddBackup("local", 100, c.clock.Now().AddDate(0, 0, -1))
		must(t, err)
		b := &kvm.Backup{Volume: volume, Storage: "local", Node: "pve1", VMID: 100}
		must(t, c.Inside(ctx, b))
		own, err := kvm.ProveBackup(b, &kvm.Row{UUID: o.VM().UUID})
		must(t, err)
		change := func() {
			t.Helper()
			must(t, sim.SetConfig(100, map[string]string{"cores": "4", "smbios1": "uuid=" + testUUID}))
			must(t, sim.WriteDisk(100, "scsi0", "of now"))
			must(t, sim.AddSnapshot(100, "s1", ""))
			o = proof(t, c, 100)
		}
		change()
		same := func(what string) {
			t.Helper()
			vm, _ := sim.VM(100)
			if vm.Config["cores"] != "4" || vm.Disks["scsi0"].Contents != "of now" || len(vm.Snapshots) != 1 {
				t.Errorf("%s has left %+v", what, vm)
			}
		}
		writes(sim)
		is(t, "a backup that nothing proves", ended(c.Restore(ctx, o, kvm.OwnedBackup{})), kvm.ErrUnproved)
		if got := writes(sim); len(got) > 0 {
			t.Errorf("for a backup that nothing proves: %q", got)
		}
		must(t, sim.SetPower(100, kvm.Running))
		is(t, "running", ended(c.Restore(ctx, o, own)), kvm.ErrState)
		must(t, sim.SetPower(100, kvm.Stopped))
		same("running")
		if lock := proof(t, c, 100).VM().Lock; lock != "" {
			t.Errorf("a refused restore left the lock %q", lock)
		}
		must(t, sim.SetLock(100, "backup"))
		is(t, "locked", ended(c.Restore(ctx, o, own)), kvm.ErrBusy)
		must(t, sim.SetLock(100, ""))
		must(t, sim.SetConfig(100, map[string]string{"protection": "1"}))
		is(t, "protected", ended(c.Restore(ctx, o, own)), kvm.ErrPermanent)
		must(t, sim.SetConfig(100, map[string]string{"protection": ""}))
		p := poor(t, c, sim)
		is(t, "without the privilege", end(t, p)(p.Restore(ctx, o, own)), kvm.ErrDenied)
		same("what was refused")

		id, err := c.Restore(ctx, o, own)
		must(t, err)
		tasks, err := c.Running(ctx, "pve1", 100)
		if err != nil || len(tasks) != 1 || tasks[0].UPID != id || tasks[0].Type != "qmrestore" || proof(t, c, 100).VM().Lock != "create" {
			t.Errorf("at work: %+v, %v, lock %q", tasks, err, proof(t, c, 100).VM().Lock)
		}
		is(t, "once more, meanwhile", ended(c.Restore(ctx, o, own)), kvm.ErrBusy)
		must(t, c.Wait(ctx, id, time.Hour))
		must(t, c.clock.Sleep(ctx, time.Minute))
		o = proof(t, c, 100)
		vm, _ := sim.VM(100)
		if now := o.VM(); contents(t, sim, "scsi0") != "of then" || now.UUID != then.UUID || now.Cores != then.Cores || now.NIC.MAC != then.NIC.MAC || now.Description != then.Description ||
			now.Lock != "" || vm.Power != kvm.Stopped || len(vm.Snapshots) != 0 {
			t.Errorf("%q, %+v, %+v", contents(t, sim, "scsi0"), now, vm)
		}

		// What it takes from the VM before it fails, nobody gives back.
		change()
		sim.SetStorageFull("nfs", true)
		err = ended(c.Restore(ctx, o, own))
		is(t, "no room", err, kvm.ErrTaskFailed)
		sim.SetStorageFull("nfs", false)
		must(t, ended(c.Restore(ctx, proof(t, c, 100), own))) // the same again
		if contents(t, sim, "scsi0") != "of then" {
			t.Errorf("after one that failed: %q", contents(t, sim, "scsi0"))
		}
		must(t, ended(c.DeleteBackup(ctx, own)))
		is(t, "a backup that is gone", ended(c.Restore(ctx, proof(t, c, 100), own)), kvm.ErrPermanent)
		if contents(t, sim, "scsi0") != "of then" {
			t.Errorf("of a backup that is gone: %q", contents(t, sim, "scsi0"))
		}
	})
}
