package lifecycle_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// TestEndedMeanwhile: WHMCS ends or loses the service in the middle of each table (at each row in two of four ways). It waits
// and says so, and goes on when the service is Active again; only a terminate does not care.
func TestEndedMeanwhile(t *testing.T) {
	t.Parallel()
	const away = 100000
	states := map[string][2]string{
		"Cancelled":        {"UPDATE tblhosting SET domainstatus = 'Cancelled' WHERE id = ?", "UPDATE tblhosting SET domainstatus = 'Active' WHERE id = ?"},
		"Fraud":            {"UPDATE tblhosting SET domainstatus = 'Fraud' WHERE id = ?", "UPDATE tblhosting SET domainstatus = 'Active' WHERE id = ?"},
		"Terminated":       {"UPDATE tblhosting SET domainstatus = 'Terminated' WHERE id = ?", "UPDATE tblhosting SET domainstatus = 'Active' WHERE id = ?"},
		"deleted in WHMCS": {fmt.Sprintf("UPDATE tblhosting SET id = id + %d WHERE id = ?", away), fmt.Sprintf("UPDATE tblhosting SET id = id - %d WHERE id = ? + %d", away, away)},
	}
	names := slices.Sorted(maps.Keys(states))
	for _, verb := range []kvm.Verb{kvm.VerbChangePackage, kvm.VerbReinstall, kvm.VerbRedeploy, kvm.VerbResetPassword, kvm.VerbSuspend, kvm.VerbUnsuspend} {
		t.Run(string(verb), func(t *testing.T) {
			t.Parallel()
			w := newDestroyWorld(t, pvesim.Instant())
			id := w.ready()
			w.ask(id, verb)
			for rows := 0; w.at(id) != kvm.Ready && w.at(id) != kvm.Creation; rows++ {
				at, before := w.at(id), w.picture()
				for _, state := range []string{names[rows%4], names[(rows+1)%4]} {
					change := states[state]
					w.db.Exec(change[0], id)
					w.sim.ResetRequests()
					out := w.walk(id, 0)
					if out.Err != nil || w.at(id) != at || !strings.HasPrefix(out.Message, "waiting on WHMCS: the service is "+state) || w.service(id).Row.Message != out.Message {
						t.Errorf("%s at %s, %s: at %s: %s", verb, at, state, w.at(id), out.Message)
					}
					if writes := w.writes(); len(writes) > 0 || w.picture() != before {
						t.Errorf("%s at %s, %s: %v", verb, at, state, writes)
					}
					w.db.Exec(change[1], id)
				}
				if out := w.walk(id, 1); !out.Complete || rows > allRows+10 {
					t.Fatalf("%s at %s: %s", verb, at, out.Message)
				}
			}
		})
	}
	w := newDestroyWorld(t, pvesim.Instant())
	for state, change := range states {
		for rows := range 5 {
			id := w.ready()
			vmid := w.service(id).Row.VMID
			w.ask(id, kvm.VerbTerminate)
			if rows > 0 {
				w.walk(id, rows)
			}
			w.db.Exec(change[0], id)
			out := w.walk(id, 0)
			if _, there := w.sim.VM(vmid); out.Err != nil || w.at(id) != kvm.Remove || there {
				t.Errorf("terminate, %s after %d rows: at %s: %s", state, rows, w.at(id), out.Message)
			}
			if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ?", id); n != "0" {
				t.Errorf("terminate, %s: %s addresses are left", state, n)
			}
			w.db.Exec(change[1], id)
		}
	}
}

// TestWithoutProduct: what has become of the product does not keep a VM from being suspended, started again, and destroyed.
func TestWithoutProduct(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	w.db.AddProduct(whmcstest.Product{ID: 2})
	for name, breaks := range map[string]string{
		"no product":      "UPDATE tblhosting SET packageid = 77 WHERE id = ?",
		"no settings":     "UPDATE tblhosting SET packageid = 2 WHERE id = ?",
		"no such service": "DELETE FROM tblhosting WHERE id = ?",
	} {
		id := w.ready()
		vmid := w.service(id).Row.VMID
		w.db.Exec(breaks, id)
		if name != "no such service" {
			w.ask(id, kvm.VerbSuspend)
			if out := w.walk(id, 0); out.Err != nil || w.at(id) != kvm.Ready || w.vm(id).Power != kvm.Stopped {
				t.Errorf("%s, suspend: at %s: %s", name, w.at(id), out.Message)
			}
			w.ask(id, kvm.VerbUnsuspend)
			if out := w.walk(id, 0); out.Err != nil || w.at(id) != kvm.Ready || w.vm(id).Power != kvm.Running {
				t.Errorf("%s, unsuspend: at %s: %s", name, w.at(id), out.Message)
			}
		}
		w.ask(id, kvm.VerbTerminate)
		out := w.walk(id, 0)
		if _, there := w.sim.VM(vmid); out.Err != nil || w.at(id) != kvm.Remove || there {
			t.Errorf("%s, terminate: at %s: %s", name, w.at(id), out.Message)
		}
		w.freed(name, id)
	}
}

// TestTombstones: a VMID of ours rests, an address that a living VM could still use is out of use for a while, and what a
// forgotten VM had is so until somebody says otherwise.
func TestTombstones(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant(), "antispoof=off", "ipv4=2")
	ctx := t.Context()
	addresses := func(id int64) []string {
		var out []string
		for _, c := range w.service(id).Addrs {
			out = append(out, c.Addr.String())
		}
		return out
	}
	first := w.ready()
	vmid, had, uuid := w.service(first).Row.VMID, addresses(first), w.service(first).Row.UUID
	w.ask(first, kvm.VerbTerminate)
	w.finish(first, kvm.Remove)
	w.freed("terminated", first)
	w.open() // a new process: a look at the addresses serves for a while
	next := w.ready()
	if got := w.service(next).Row.VMID; got == vmid {
		t.Errorf("VM %d does not rest", vmid)
	}
	if got := addresses(next); !slices.Equal(got, had) {
		t.Errorf("the addresses %v of a VM that is gone are not given out: %v", had, got)
	}
	w.db.Exec("UPDATE puq_proxmox_kvm_vmids SET until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE vmid = ?", vmid)
	third := w.ready()
	if got := w.service(third).Row.VMID; got != vmid {
		t.Errorf("VM %d has rested and is not used: VM %d", vmid, got)
	}

	// A package that shrinks: the VM lives, and could go on using what it had.
	w.product("ipv4=1")
	w.ask(next, kvm.VerbChangePackage)
	w.finish(next, kvm.Ready)
	lost := had[1]
	if got := addresses(next); !slices.Equal(got, had[:1]) {
		t.Errorf("after the change it has %v", got)
	}
	state := func() string {
		return w.db.Text("SELECT CONCAT(state, ' ', COALESCE(TIMESTAMPDIFF(HOUR, UTC_TIMESTAMP(6), until), -1)) FROM puq_proxmox_kvm_addresses WHERE address = ?", lost)
	}
	if got := state(); got != "quarantined 23" {
		t.Errorf("%s is %s", lost, got)
	}
	if other := w.ready(); slices.Contains(addresses(other), lost) {
		t.Errorf("%s is given out in its quarantine", lost)
	}
	w.db.Exec("UPDATE puq_proxmox_kvm_addresses SET until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE address = ?", lost)
	w.open()
	if other := w.ready(); !slices.Contains(addresses(other), lost) {
		t.Errorf("%s is not given out after its quarantine: %v", lost, addresses(other))
	}

	// Forgotten: nobody knows what became of the VM.
	if _, err := w.store.Forget(ctx, third, w.settings.VMIDRest); err == nil {
		t.Error("a service with a VM is forgotten")
	}
	kept := addresses(third)
	w.set(third, "vm_status = 'error_terminate'")
	if _, err := w.store.Forget(ctx, third, w.settings.VMIDRest); err != nil {
		t.Fatal(err)
	}
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state = 'quarantined' AND until IS NULL", third); n != fmt.Sprint(len(kept)) {
		t.Errorf("%s of %d addresses stay out of use", n, len(kept))
	}
	w.db.Exec("UPDATE tblhosting SET domainstatus = 'Terminated' WHERE id = ?", third)
	w.open()
	if other := w.ready(); slices.Contains(addresses(other), kept[0]) || w.service(other).Row.VMID == vmid {
		t.Errorf("VM %d with %v: another has what a forgotten VM may use", w.service(other).Row.VMID, addresses(other))
	}
	if err := w.store.ReleaseAddress(ctx, addr(kept[0])); err != nil {
		t.Fatal(err)
	}
	w.open()
	if other := w.ready(); !slices.Contains(addresses(other), kept[0]) {
		t.Errorf("%s was released and is not given out: %v", kept[0], addresses(other))
	}

	// What was once this service's is never a stranger's.
	w.sim.RemoveVM(w.service(next).Row.VMID)
	w.create(first)
	w.reach(first, allRows)
	if now := w.service(first).Row; now.UUID == uuid || !now.HasUUID(uuid) {
		t.Errorf("the history %v lacks %s, or the VM is the old one", now.UUIDs, uuid)
	}
	if err := w.sim.SetConfig(w.service(first).Row.VMID, map[string]string{"smbios1": "uuid=" + uuid}); err != nil { // as after a restore
		t.Fatal(err)
	}
	w.ask(first, kvm.VerbSuspend)
	if out := w.walk(first, 0); out.Err != nil || w.vm(first).Power != kvm.Stopped {
		t.Errorf("its former UUID: %s", out.Message)
	}
}

// TestBackupsGoLast: terminate removes the backups that are proved to be the service's. One that is another's, or protected,
// stays; one that is gone is no obstacle; one that cannot be looked for is waited for, with nothing given back.
func TestBackupsGoLast(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	id, stranger := w.ready(), w.ready()
	vmid, theirs := w.service(id).Row.VMID, w.service(stranger).Row.VMID
	note := func(volume string) {
		storage, _, _ := strings.Cut(volume, ":")
		w.db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at) VALUES (?, 1, ?, ?, UTC_TIMESTAMP(6))", id, storage, volume)
	}
	add := func(storage string, vmid int) string {
		w.clock.Advance(time.Minute)
		volume, err := w.sim.AddBackup(storage, vmid, w.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		note(volume)
		return volume
	}
	add("shared", vmid)
	if err := w.sim.MoveVM(vmid, "pve2"); err != nil {
		t.Fatal(err)
	}
	add("local", vmid) // on pve2, which is not the first node
	add("shared", theirs)
	note("shared:backup/vzdump-qemu-100-2020_01_01-00_00_00.vma.zst")
	note("local:backup/vzdump-qemu-100-2020_01_01-00_00_00.vma.zst")
	w.ask(id, kvm.VerbTerminate)
	w.walk(id, 3)
	w.sim.SetNodeDown("pve2", true)
	out := w.walk(id, 0)
	if out.Err != nil && w.at(id) != kvm.TERemoved || !strings.Contains(out.Message, "pve2") {
		t.Errorf("at %s: %s", w.at(id), out.Message)
	}
	w.kept("a node with backups is offline", id)
	w.sim.SetNodeDown("pve2", false)
	w.finish(id, kvm.Remove)
	if left := w.sim.Backups(vmid); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if left := w.sim.Backups(theirs); len(left) != 1 {
		t.Errorf("the other service's backup is gone: %v", left)
	}
}
