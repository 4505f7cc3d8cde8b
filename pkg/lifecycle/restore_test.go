package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// write writes on the service's system disk.
func (w *world) write(id int64, text string) {
	w.t.Helper()
	if err := w.sim.WriteDisk(w.service(id).Row.VMID, "scsi0", text); err != nil {
		w.t.Fatal(err)
	}
}

// backedUp makes a backup of the service's VM with text on its disk, and then writes something else.
func (w *world) backedUp(id int64, text string) string {
	w.t.Helper()
	w.write(id, text)
	volume := w.backUp(id)
	w.write(id, "of now")
	return volume
}

// restore asks for it and walks once.
func (w *world) restore(id int64, volume string) outcome {
	w.t.Helper()
	w.wish(id, kvm.Wish{Verb: kvm.VerbRestore, From: volume})
	return w.walk(id, 0)
}

// restores are the tasks that restored, or shall restore, the VMID.
func (w *world) restores(vmid int) (out []pvesim.TaskState) {
	for _, task := range w.sim.Tasks() {
		if task.Type == "qmrestore" && task.Guest == vmid {
			out = append(out, task)
		}
	}
	return out
}

// brought checks that the service is ready and runs with text on its disk, and that nothing is left of the way there.
func (w *world) brought(what string, id int64, text string) {
	w.t.Helper()
	row, vm := w.service(id).Row, w.vm(id)
	if row.Status != kvm.Ready || row.RestoreFailed || row.TaskUPID != "" {
		w.t.Errorf("%s: at %s, failed %t, task %q: %s", what, row.Status, row.RestoreFailed, row.TaskUPID, row.Message)
	}
	if vm.Disks["scsi0"].Contents != text || vm.Power != kvm.Running || vm.Lock != "" || !strings.Contains(vm.Config["smbios1"], row.UUID) || !strings.Contains(vm.Config["net0"], row.MAC) {
		w.t.Errorf("%s: the disk is %q, the VM %s, lock %q, %s, %s; stored %s, %s", what, vm.Disks["scsi0"].Contents, vm.Power, vm.Lock, vm.Config["smbios1"], vm.Config["net0"], row.UUID, row.MAC)
	}
}

// TestRestoreWhoseAnswerIsLost: the VM is restored in the end, and one that is at work is waited for in place of a second.
func TestRestoreWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, model := range map[string]*pvesim.Model{"ended": pvesim.Instant(), "at work": slow()} {
		w := newBackupWorld(t, model)
		w.settings.Wait = time.Hour
		id := w.ready()
		vmid := w.service(id).Row.VMID
		volume := w.backedUp(id, "of then")
		for _, l := range lost {
			what := name + ", " + l.name
			w.write(id, "of now")
			began := len(w.restores(vmid))
			f := l.fault
			f.Method, f.Path, f.Count = "POST", restorePath, 1
			armed := w.sim.AddFault(f)
			out := w.restore(id, volume)
			if armed.Hits() != 1 || out.Complete || w.at(id) != kvm.RSSnapshotsRemoved {
				t.Errorf("%s: hits %d, at %s: %s", what, armed.Hits(), w.at(id), out.Message)
			}
			w.finish(id, kvm.Ready)
			w.brought(what, id, "of then")
			want := 1
			if l.done && name == "ended" {
				want = 2 // nobody knows that it was, and it may be repeated
			}
			if n := len(w.restores(vmid)) - began; n != want {
				t.Errorf("%s: %d were begun, not %d", what, n, want)
			}
		}
	}
}

// TestRestoreThatDied: what a restore that nobody follows has left is told from one at work, and an administrator is told how to
// go on; one whose task says that it has failed says so. Either way the VM is not started, and a restore or a reinstallation mends
// it.
func TestRestoreThatDied(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault pvesim.Fault
		hint  string
	}{
		"without a trace":   {pvesim.Fault{ResetAfter: true}, "qm unlock"},
		"its task is known": {pvesim.Fault{TaskKilledAfter: time.Minute}, "puqkvm backup restore"},
		"its task fails":    {pvesim.Fault{TaskError: "vma extract failed"}, "puqkvm backup restore"},
	} {
		w := newBackupWorld(t, slow())
		w.settings.Wait = time.Hour
		id := w.ready()
		vmid := w.service(id).Row.VMID
		volume := w.backedUp(id, "of then")
		f := c.fault
		f.Method, f.Path, f.Count = "POST", restorePath, 1
		w.sim.AddFault(f)
		out := w.restore(id, volume)
		if name == "without a trace" {
			if err := w.sim.KillTask(w.restores(vmid)[0].UPID); err != nil {
				t.Fatal(err)
			}
			out = w.walk(id, 0)
		}
		row, vm := w.service(id).Row, w.vm(id)
		if !errors.Is(out.Err, kvm.ErrPermanent) || !strings.Contains(kvm.Hint(out.Err), c.hint) || row.Status != kvm.ErrorRestore || !row.RestoreFailed || w.failures(id, "restore") != "1" || vm.Power != kvm.Stopped {
			t.Errorf("%s: at %s, failed %t, the VM is %s: %v (%s); %s entries in the activity log", name, row.Status, row.RestoreFailed, vm.Power, out.Err, kvm.Hint(out.Err), w.failures(id, "restore"))
		}
		if _, err := w.store.Ask(t.Context(), id, kvm.Wish{Verb: kvm.VerbStart}); !errors.Is(err, kvm.ErrAdmin) {
			t.Errorf("%s: start: %v", name, err)
		}
		if err := w.sim.SetLock(vmid, ""); err != nil { // qm unlock
			t.Fatal(err)
		}
		w.restore(id, volume)
		w.finish(id, kvm.Ready)
		w.brought(name, id, "of then")
	}
}

// TestRestoreThatHasNoRoom: the VM's disks are gone by then; once there is room the same backup, or a reinstallation, brings a VM
// back.
func TestRestoreThatHasNoRoom(t *testing.T) {
	t.Parallel()
	for _, verb := range []kvm.Verb{kvm.VerbRestore, kvm.VerbReinstall} {
		w := newBackupWorld(t, pvesim.Instant())
		id := w.ready()
		volume := w.backedUp(id, "of then")
		w.sim.SetStorageFull("local-lvm", true)
		out := w.restore(id, volume)
		row := w.service(id).Row
		if !errors.Is(out.Err, kvm.ErrPermanent) || row.Status != kvm.ErrorRestore || !row.RestoreFailed || row.TaskUPID != "" || w.failures(id, "restore") != "1" || !strings.Contains(out.Message, "not whole") {
			t.Errorf("at %s, failed %t: %v", row.Status, row.RestoreFailed, out.Err)
		}
		w.sim.SetStorageFull("local-lvm", false)
		w.wish(id, kvm.Wish{Verb: verb, From: volume})
		w.finish(id, kvm.Ready)
		text := "of then"
		if verb == kvm.VerbReinstall {
			text = ""
		}
		w.brought(string(verb), id, text)
		if verb == kvm.VerbReinstall { // whose UUID is another; the backup is still the service's
			w.restore(id, volume)
			w.finish(id, kvm.Ready)
			w.brought("of the VM before the reinstallation", id, "of then")
			if now := w.service(id).Row.UUID; now != row.UUID {
				t.Errorf("its UUID is %s, and was %s in the backup", now, row.UUID)
			}
		}
	}
}

// TestRestoreOfAnAdministrator: a restore that somebody else has begun over the VM meanwhile is not taken for the one that was
// asked for: it is waited for, and then that one follows.
func TestRestoreOfAnAdministrator(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, slow())
	w.settings.Wait = time.Hour
	w.sim.AddToken("root@pam!nightly", "0d5ee1f0-1111-2222-3333-444455556666", false)
	id := w.ready()
	vmid := w.service(id).Row.VMID
	wanted, other := w.backedUp(id, "wanted"), w.backedUp(id, "other")
	w.restore(id, wanted) // one of ours, which is over
	w.finish(id, kvm.Ready)
	w.wish(id, kvm.Wish{Verb: kvm.VerbRestore, From: wanted})
	if out := w.walk(id, 3); !out.Complete || w.at(id) != kvm.RSSnapshotsRemoved {
		t.Fatalf("at %s: %s", w.at(id), out.Message)
	}
	w.callAs("root@pam!nightly=0d5ee1f0-1111-2222-3333-444455556666", "POST", "/nodes/"+w.vm(id).Node+"/qemu", "vmid", fmt.Sprint(vmid), "archive", other, "force", "1")
	if out := w.walk(id, 0); out.Err != nil || !strings.Contains(out.Message, "locked by Proxmox (create)") || w.at(id) != kvm.RSSnapshotsRemoved || w.service(id).Row.TaskUPID != "" {
		t.Errorf("at %s, task %q: %+v", w.at(id), w.service(id).Row.TaskUPID, out.Outcome)
	}
	w.clock.Advance(15 * time.Minute)
	w.finish(id, kvm.Ready)
	w.brought("at the end", id, "wanted")
}

// TestRestoreOverAStranger: before the row that restores the VM is destroyed by hand and its VMID given to somebody else, or
// somebody starts it. A stranger's VM is not touched, and what runs is stopped first.
func TestRestoreOverAStranger(t *testing.T) {
	t.Parallel()
	overStrangers(t, 3, kvm.ErrorRestore, func(w *world, id int64) kvm.Wish {
		return kvm.Wish{Verb: kvm.VerbRestore, From: w.backedUp(id, "of then")}
	})
	w := newBackupWorld(t, pvesim.Instant())
	id := w.ready()
	volume := w.backedUp(id, "of then")
	w.wish(id, kvm.Wish{Verb: kvm.VerbRestore, From: volume})
	w.walk(id, 3)
	w.power(id, kvm.Running)
	w.finish(id, kvm.Ready)
	w.brought("started meanwhile", id, "of then")
}

// TestRestoredDisks: the additional disk is looked for where the backup has it; where it has none one is made, and where it cannot
// be told, too.
func TestRestoredDisks(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant(), "backups=50", "additional_size=5", "additional_storage=shared", "additional_mbps_wr=50")
	id := w.ready()
	if slot := w.service(id).Row.DiskSlot; slot != "scsi1" {
		t.Fatalf("the additional disk is at %q", slot)
	}
	disk, add := w.vm(id).Config["scsi1"], "shared:3"
	for name, c := range map[string]struct {
		then map[string]string // where the backup has disks
		slot string            // the row's, now
		want string            // the row's, then
		all  string            // the slots with disks
	}{
		"at the same slot":      {map[string]string{"scsi1": disk}, "scsi1", "scsi1", "scsi0 scsi1"},
		"at another slot":       {map[string]string{"scsi1": "", "scsi3": disk}, "scsi1", "scsi3", "scsi0 scsi3"},
		"on another bus":        {map[string]string{"scsi1": "", "virtio2": disk}, "scsi1", "virtio2", "scsi0 virtio2"},
		"nowhere":               {map[string]string{"scsi1": ""}, "scsi1", "scsi1", "scsi0 scsi1"},
		"never, and now none":   {map[string]string{"scsi1": ""}, "", "scsi1", "scsi0 scsi1"},
		"one of two":            {map[string]string{"scsi1": disk, "scsi2": add}, "scsi1", "scsi1", "scsi0 scsi1 scsi2"},
		"one of two, not told":  {map[string]string{"scsi1": disk, "scsi2": add}, "scsi5", "scsi3", "scsi0 scsi1 scsi2 scsi3"},
		"the system's slot":     {map[string]string{"scsi1": disk}, "scsi0", "scsi1", "scsi0 scsi1"},
		"a CD drive is no disk": {map[string]string{"scsi1": "none,media=cdrom", "scsi2": disk}, "scsi1", "scsi2", "scsi0 scsi2"},
	} {
		w.power(id, kvm.Stopped)
		was := w.vm(id).Config["scsi1"]
		then, back := map[string]string{}, map[string]string{}
		for slot, value := range c.then {
			switch value {
			case add:
				w.call("POST", fmt.Sprintf("/nodes/%s/qemu/%d/config", w.vm(id).Node, w.service(id).Row.VMID), slot, add)
				continue
			case disk:
				value = was
			}
			then[slot], back[slot] = value, ""
		}
		back["scsi1"] = was
		w.configure(id, then)
		volume := w.addBackup(id, "shared", w.clock.Now())
		w.configure(id, back)
		w.power(id, kvm.Running)
		w.set(id, "disk_slot = ?", c.slot)
		w.restore(id, volume)
		w.finish(id, kvm.Ready)
		vm := w.vm(id)
		var slots []string
		for _, slot := range []string{"scsi0", "scsi1", "scsi2", "scsi3", "scsi4", "scsi5", "virtio2"} {
			if _, there := vm.Disks[slot]; there {
				slots = append(slots, slot)
			}
		}
		got := w.service(id).Row.DiskSlot
		if d := vm.Disks[c.want]; got != c.want || strings.Join(slots, " ") != c.all || d.Size != 5<<30 || !strings.Contains(vm.Config[c.want], "mbps_wr=50") {
			t.Errorf("%s: the row says %s, want %s; there are %q, want %q; it has %d bytes, %s", name, got, c.want, slots, c.all, d.Size, vm.Config[c.want])
		}
		clean := map[string]string{} // as it was, for the next
		for key := range vm.Config {
			if strings.HasPrefix(key, "unused") {
				clean[key] = ""
			}
		}
		for _, slot := range slots[1:] {
			clean[slot] = ""
		}
		clean["scsi1"] = vm.Config[c.want]
		w.power(id, kvm.Stopped)
		w.configure(id, clean)
		w.set(id, "disk_slot = 'scsi1'")
		w.power(id, kvm.Running)
	}
}
