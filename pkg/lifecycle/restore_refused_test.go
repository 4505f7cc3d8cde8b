package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestRestoreIsRefused: what can be seen to fail is said at once, and again by the first row; then the service is where it was,
// and nobody has touched its VM.
func TestRestoreIsRefused(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant(), "backups=9", "clone_type=full", "system_storage=shared")
	id := w.ready()
	vmid := w.service(id).Row.VMID
	own, foreign, claimed := w.backedUp(id, "of then"), w.strange(id, "shared", epoch.AddDate(0, 0, -1)), w.strange(id, "shared", epoch.AddDate(0, 0, -2))
	w.put(id, claimed)
	local := w.addBackup(id, "local", epoch.AddDate(0, 0, -3))
	w.put(id, local)
	home := w.vm(id).Node
	if err := w.sim.MoveVM(vmid, otherNode(home)); err != nil {
		t.Fatal(err)
	}
	none, protect := func() {}, func(on string) { w.configure(id, map[string]string{"protection": on}) }
	inside := "/nodes/{node}/vzdump/extractconfig"
	for name, c := range map[string]struct {
		volume      string
		do, undo    func()
		class       error
		words, hint string
	}{
		"no such backup":        {"shared:backup/vzdump-qemu-100-2020_01_01-00_00_00.vma.zst", none, none, kvm.ErrInvalid, "has no backup", "backup list"},
		"no volume":             {"x", none, none, kvm.ErrInvalid, "has no backup", "backup list"},
		"another's":             {foreign, none, none, kvm.ErrInvalid, "has no backup", "backup list"},
		"another's, as ours":    {claimed, none, none, kvm.ErrInvalid, "has no backup", "backup list"},
		"on another node":       {local, none, none, kvm.ErrRefused, "does not see it", "bring the VM to " + home},
		"a protected VM":        {own, func() { protect("1") }, func() { protect("") }, kvm.ErrPermanent, "protected", "--protection 0"},
		"nothing can be read":   {own, nil, nil, kvm.ErrPermanent, "can't decode manifest", ""},
		"another VM's contents": {own, nil, nil, kvm.ErrForeign, "never this service's", ""},
	} {
		for _, broken := range []bool{false, true} {
			what := fmt.Sprintf("%s, after one that failed: %v", name, broken)
			at, failed := kvm.Ready, 0
			if broken {
				at, failed = kvm.ErrorRestore, 1
			}
			w.set(id, "vm_status = ?, restore_failed = ?", string(at), failed)
			var armed *pvesim.Armed
			switch {
			case name == "nothing can be read": // and so nothing that the journal says of it helps
				w.db.Exec("UPDATE puq_proxmox_kvm_backups SET uuid = ''")
				armed = w.sim.AddFault(pvesim.Fault{Method: "GET", Path: inside, Status: 500, Reason: "can't decode manifest"})
			case name == "another VM's contents": // by now; the journal has its UUID of before
				w.db.Exec("UPDATE puq_proxmox_kvm_backups SET uuid = ? WHERE volume = ?", w.service(id).Row.UUID, own)
				armed = w.sim.AddFault(pvesim.Fault{Method: "GET", Path: inside, Body: `{"data":"smbios1: uuid=` + somebodys + `\n"}`})
			default:
				c.do()
			}
			before := w.picture()
			w.writes()
			if err := w.start(nil).life.CheckRestore(t.Context(), w.service(id), c.volume); !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.words) || !strings.Contains(kvm.Hint(err), c.hint) {
				t.Errorf("%s: checked: %v (%s)", what, err, kvm.Hint(err))
			}
			out := w.restore(id, c.volume)
			if !errors.Is(out.Err, c.class) || !strings.Contains(out.Message, c.words) || w.at(id) != at || w.service(id).Row.RestoreFailed != broken {
				t.Errorf("%s: at %s: %v", what, w.at(id), out.Err)
			}
			if got := w.writes(); len(got) > 0 || w.picture() != before {
				t.Errorf("%s: sent were %q; the VM was\n%s\nand is\n%s", what, got, before, w.picture())
			}
			if armed != nil {
				armed.Remove()
			} else {
				c.undo()
			}
		}
	}
	w.set(id, "vm_status = 'ready', restore_failed = 0")
	w.restore(id, own) // and now it is not refused
	w.finish(id, kvm.Ready)
	w.brought("at the end", id, "of then")

	w.sim.RemoveVM(vmid)
	err := w.start(nil).life.CheckRestore(t.Context(), w.service(id), own)
	if !errors.Is(err, kvm.ErrRefused) || !strings.Contains(kvm.Hint(err), "reinstall") {
		t.Errorf("a VM that is gone: %v (%s)", err, kvm.Hint(err))
	}
	if out := w.restore(id, own); !errors.Is(out.Err, kvm.ErrRefused) || w.at(id) != kvm.Ready {
		t.Errorf("a VM that is gone: at %s: %v", w.at(id), out.Err)
	}
	if _, found := w.sim.VM(vmid); found {
		t.Error("a VM that is gone was made")
	}
}

// TestRestoreRefusedOnTheWay: what is refused when the VM is stopped already, but before anything was restored, leaves it running as
// it was, and what it is cannot be lost by the ways out of error_restore. After a request whose answer nobody has seen, nothing is
// known of the disks.
func TestRestoreRefusedOnTheWay(t *testing.T) {
	t.Parallel()
	denied := pvesim.Fault{Method: "POST", Path: restorePath, Status: 403, Reason: "Permission check failed (/vms/100, VM.Allocate)"}
	for name, c := range map[string]struct {
		lost      bool // a request was sent before, and its answer was lost
		suspended bool
		gone      bool // the archive
		noStart   bool
		class     error
		words     string
	}{
		"the archive has gone":               {gone: true, class: kvm.ErrNotFound},
		"a privilege is missing":             {class: kvm.ErrDenied},
		"of a suspended service":             {suspended: true, class: kvm.ErrDenied},
		"and the VM does not start":          {noStart: true, class: kvm.ErrDenied, words: "does not run (puqkvm start"},
		"after one that may be at work":      {lost: true, class: kvm.ErrDenied},
		"after one, and the archive is gone": {lost: true, gone: true, class: kvm.ErrNotFound},
	} {
		w := newBackupWorld(t, pvesim.Instant())
		id := w.ready()
		volume := w.backedUp(id, "of then")
		w.wish(id, kvm.Wish{Verb: kvm.VerbRestore, From: volume})
		if out := w.walk(id, 3); !out.Complete || w.at(id) != kvm.RSSnapshotsRemoved || w.vm(id).Power != kvm.Stopped {
			t.Fatalf("%s: at %s: %s", name, w.at(id), out.Message)
		}
		if c.lost {
			w.sim.AddFault(pvesim.Fault{Method: "POST", Path: restorePath, Count: 1, ResetBefore: true})
			if out := w.walk(id, 0); out.Complete || w.at(id) != kvm.RSSnapshotsRemoved {
				t.Fatalf("%s: at %s: %s", name, w.at(id), out.Message)
			}
		}
		if c.suspended {
			w.set(id, "suspended = 1")
		}
		if c.gone {
			w.sim.RemoveBackups(w.service(id).Row.VMID)
		} else {
			w.sim.AddFault(denied)
		}
		if c.noStart {
			w.sim.AddFault(pvesim.Fault{Method: "POST", Path: "/nodes/{node}/qemu/{vmid}/status/start", Status: 500, Reason: "no space"})
		}
		out := w.walk(id, 0)
		row, vm := w.service(id).Row, w.vm(id)
		at, power := kvm.Ready, kvm.Running
		if c.suspended || c.noStart || c.lost {
			power = kvm.Stopped
		}
		if c.lost {
			at = kvm.ErrorRestore
		}
		if !errors.Is(out.Err, c.class) || !strings.Contains(out.Message, c.words) || row.Status != at || row.RestoreFailed != c.lost || vm.Power != power || vm.Disks["scsi0"].Contents != "of now" ||
			strings.Contains(out.Message, "nothing was restored") == c.lost || w.failures(id, "restore") != "1" {
			t.Errorf("%s: at %s, failed %t, the VM is %s with %q, %s entries: %v (%s)", name, row.Status, row.RestoreFailed, vm.Power, vm.Disks["scsi0"].Contents, w.failures(id, "restore"), out.Err, kvm.Hint(out.Err))
		}
	}
}
