package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const (
	clonePath  = "/nodes/{node}/qemu/{vmid}/clone"
	nextIDPath = "/cluster/nextid"
)

// TestCloneKinds: linked clones build upon the template and take no storage; full ones are whole and on the product's.
func TestCloneKinds(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version)
		var ids []int64
		for _, c := range []struct {
			product         []string
			storage, parent string
		}{
			{nil, "local-lvm", "base-9000-disk-0"},
			{[]string{"clone_type=full"}, "local-lvm", ""},
			{[]string{"clone_type=full", "system_storage=shared"}, "shared", ""},
		} {
			w.product(c.product...)
			id := w.order()
			ids = append(ids, id)
			w.reach(id, rowClone)
			if d := w.vm(id).Disks["scsi0"]; d.Storage != c.storage || d.Parent != c.parent {
				t.Errorf("%s %v: the disk is %+v", version, c.product, d)
			}
			s := w.service(id)
			if s.Row.UUID == "" || len(s.Row.UUIDs) != 1 || s.Row.UUIDs[0] != s.Row.UUID || s.Row.MAC == "" || s.Row.Node != "pve1" || !s.Row.CloneSent {
				t.Errorf("%s %v: stored %+v", version, c.product, s.Row)
			}
			w.reach(id, allRows)
		}
		w.settled(1, ids...)
	}
}

// TestVMIDTaken: ids that VMs and containers of others have are passed over; those are not touched.
func TestVMIDTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	for _, vmid := range []int{100, 101, 103} {
		if err := w.sim.AddVM(pvesim.VM{VMID: vmid, Node: "pve2", Name: "theirs", Storage: "shared", DiskGiB: 1}); err != nil {
			t.Fatal(err)
		}
	}
	// The simulator has no containers; nextid speaks of them as of VMs, and no list of VMs has them.
	containers := map[int]bool{102: true, 104: true}
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if r.Stage == pvesim.Arrived && r.Pattern == nextIDPath {
			for id := range containers {
				if r.Form["vmid"] == fmt.Sprint(id) {
					w.sim.AddFault(pvesim.Fault{Method: "GET", Path: nextIDPath, Count: 1, Status: 400, Reason: "Parameter verification failed.",
						Body: fmt.Sprintf(`{"data":null,"errors":{"vmid":"VM %d already exists"}}`, id)})
				}
			}
		}
	})
	before := w.picture()
	id := w.order()
	w.reach(id, rowClone)
	if vmid := w.service(id).Row.VMID; vmid != 105 {
		t.Errorf("the VM is %d", vmid)
	}
	w.sim.SetHook(nil)
	if got := w.db.Text("SELECT GROUP_CONCAT(vmid ORDER BY vmid) FROM puq_proxmox_kvm_vmids WHERE service_id = ?", id); got != "105" {
		t.Errorf("reserved: %s", got)
	}
	w.sim.RemoveVM(105)
	if w.picture() != before {
		t.Error("the VMs of others were touched")
	}
}

// TestTemplates: a template that no VM can be made of is an error that names the product's setting, and nothing is made.
func TestTemplates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	add := func(m pvesim.VM, isTemplate bool) {
		m.Node, m.Storage = "pve1", "local-lvm"
		make := w.sim.AddVM
		if isTemplate {
			make = func(m pvesim.VM) error { return w.sim.AddTemplate(pvesim.Template(m)) }
		}
		if err := make(m); err != nil {
			t.Fatal(err)
		}
	}
	add(pvesim.VM{VMID: 9001, Name: "plain", DiskGiB: 2, CloudInit: true}, false)
	add(pvesim.VM{VMID: 9002, Name: "mute", DiskGiB: 2}, true)
	add(pvesim.VM{VMID: 9003, Name: "deaf", DiskGiB: 2, CloudInit: true}, true)
	if err := w.sim.SetConfig(9003, map[string]string{"net0": ""}); err != nil {
		t.Fatal(err)
	}
	add(pvesim.VM{VMID: 9004, Name: "empty", CloudInit: true}, true)
	id := w.order()
	w.reach(id, rowDNS)
	w.writes()
	for template, word := range map[string]string{"9001": "is no template", "9002": "no cloud-init drive", "9003": "no network device net0", "9004": "no disk", "9999": "not in the cluster"} {
		w.product("template=" + template)
		out := w.run(id, rowClone)
		if out.Err == nil || out.At != kvm.SetDNS || !strings.Contains(out.Message, word) || !strings.Contains(out.Message, template) ||
			!strings.Contains(out.Message, "setting template of product 1") || !strings.Contains(kvm.Hint(out.Err), "puqkvm product set 1 template=") {
			t.Errorf("%s: %s (%s)", template, out.Message, kvm.Hint(out.Err))
		}
	}
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("%v", writes)
	}
	w.product("template=9000")
	w.reach(id, allRows)
}

// TestTwoClonesToOneID: another's clone to our id wins while ours is on its way. The loser takes the next id and leaves
// the winner alone; a winner that is not finished is waited for.
func TestTwoClonesToOneID(t *testing.T) {
	t.Parallel()
	model := pvesim.Instant()
	model.Fork, model.LinkedClone, model.Allocate = 20*time.Millisecond, 90*time.Second, time.Second
	w := newWorldOn(t, "8.4.21", model)
	w.settings.Wait = 30 * time.Second
	id := w.order()
	w.reach(id, rowDNS)
	happened := w.once("POST", clonePath, pvesim.Arrived, func() {
		w.call("POST", "/nodes/pve1/qemu/9000/clone", "newid", "100", "name", "theirs", "full", "0", "description", "not ours")
	})
	out := w.run(id, rowClone)
	if !happened() || out.At != kvm.SetDNS {
		t.Fatalf("%+v", out.Outcome)
	}
	w.sim.SetHook(nil)
	if !strings.Contains(out.Message, "config file already exists") && !strings.HasPrefix(out.Message, "waiting on ") {
		t.Errorf("%q", out.Message)
	}
	waited := false
	for range 10 {
		out = w.run(id, rowClone)
		waited = waited || strings.Contains(out.Message, "locked by Proxmox (clone)")
		if out.Complete {
			break
		}
	}
	if !out.Complete || !waited || w.service(id).Row.VMID != 101 {
		t.Errorf("complete %t, waited for the winner %t, VM %d: %s", out.Complete, waited, w.service(id).Row.VMID, out.Message)
	}
	theirs := w.state(100)
	if theirs.Config["name"] != "theirs" || theirs.Config["description"] != "not ours" || theirs.Lock != "" {
		t.Errorf("the winner is %v", theirs.Config)
	}
	w.reach(id, allRows)
	w.settled(2, id)
}

// TestLostCloneIsFound: the clone was made and nobody was told. It is known by its mark, and is not made again.
func TestLostCloneIsFound(t *testing.T) {
	t.Parallel()
	for _, f := range []pvesim.Fault{{ResetAfter: true}, {Status: 596, After: true}, {Body: "{}"}, {TaskVanishes: true}} {
		model := pvesim.Instant()
		model.LinkedClone, model.Allocate = 90*time.Second, time.Second
		w := newWorldOn(t, "8.4.21", model)
		id := w.order()
		w.reach(id, rowDNS)
		f.Method, f.Path = "POST", clonePath
		armed := w.sim.AddFault(f)
		out := w.run(id, rowClone)
		armed.Remove()
		if out.Complete || out.Err == nil || out.At != kvm.SetDNS || !w.service(id).Row.CloneSent {
			t.Fatalf("%+v: %+v", f, out.Outcome)
		}
		waited := 0
		for range 5 {
			if out = w.run(id, rowClone); out.Complete {
				break
			}
			if waited++; out.Err != nil || !strings.Contains(out.Message, "locked by Proxmox (clone)") {
				t.Errorf("%+v: %+v", f, out.Outcome)
			}
		}
		if waited == 0 {
			t.Errorf("%+v: it was never waited for", f)
		}
		if n := w.sim.Counts()["POST "+clonePath]; n != 1 || !out.Complete || w.service(id).Row.VMID != 100 {
			t.Errorf("%+v: %d clones, VM %d, %s", f, n, w.service(id).Row.VMID, out.Message)
		}
		w.reach(id, allRows)
		w.settled(1, id)
	}
}

// TestOurNameWithoutOurMark: after a clone was sent there is a VM with our name at our id that does not carry the mark.
// Nobody but an administrator can say whose it is.
func TestOurNameWithoutOurMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowDNS)
	w.set(id, "clone_sent = 1")
	if err := w.sim.AddVM(pvesim.VM{VMID: 100, Node: "pve2", Name: w.service(id).Row.Name, Storage: "shared", DiskGiB: 1}); err != nil {
		t.Fatal(err)
	}
	before := w.picture()
	for range 2 {
		out := w.run(id, allRows)
		if !errors.Is(out.Err, kvm.ErrAdmin) || out.At != kvm.SetDNS || !strings.Contains(out.Message, "an administrator must look") || w.picture() != before {
			t.Errorf("%+v", out.Outcome)
		}
	}
	// Renamed by the administrator it is another's, and the next id is taken.
	if err := w.sim.SetConfig(100, map[string]string{"name": "theirs"}); err != nil {
		t.Fatal(err)
	}
	w.reach(id, allRows)
	if w.service(id).Row.VMID != 101 {
		t.Errorf("VM %d", w.service(id).Row.VMID)
	}
	w.settled(2, id)
}

// TestUnreadableVM: a VM at our id that the token may not read is not left, once a clone was sent: it may be ours.
func TestUnreadableVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowDNS)
	w.set(id, "clone_sent = 1")
	if err := w.sim.AddVM(pvesim.VM{VMID: 100, Node: "pve2", Name: "hidden"}); err != nil {
		t.Fatal(err)
	}
	w.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/nodes/{node}/qemu/{vmid}/config", VMID: 100, Status: 403, Reason: "Permission check failed (/vms/100, VM.Audit)"})
	out := w.run(id, rowClone)
	if !errors.Is(out.Err, kvm.ErrDenied) || out.At != kvm.SetDNS || w.service(id).Row.VMID != 100 {
		t.Errorf("%+v", out.Outcome)
	}
}

// TestCloneWithoutUUID: without an SMBIOS UUID nothing could prove later whose the VM is.
func TestCloneWithoutUUID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	happened := w.once("POST", clonePath, pvesim.Done, func() {
		if err := w.sim.SetConfig(100, map[string]string{"smbios1": "serial=7"}); err != nil {
			t.Error(err)
		}
	})
	out := w.run(id, allRows)
	if !happened() || !errors.Is(out.Err, kvm.ErrAdmin) || out.At != kvm.SetDNS || !strings.Contains(kvm.Hint(out.Err), "9000") {
		t.Errorf("%+v", out.Outcome)
	}
}

// TestCloneRefused: what Proxmox says to a clone that cannot be made is passed on, and the node's slot is free for others.
func TestCloneRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "clone_type=full", "system_storage=nowhere")
	w.settings.ClonesPerNode = 1
	id := w.order()
	out := w.run(id, allRows)
	if !errors.Is(out.Err, kvm.ErrPermanent) || out.At != kvm.SetDNS || !strings.Contains(out.Message, "storage 'nowhere' does not exist") {
		t.Errorf("%+v", out.Outcome)
	}
	w.product("system_storage=local-lvm")
	other := w.order()
	w.reach(other, allRows)
	w.reach(id, allRows)
	w.settled(1, id, other)
}

// TestLockedTemplate: a template that is being backed up is waited for.
func TestLockedTemplate(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version)
		id := w.order()
		if err := w.sim.SetLock(template, "backup"); err != nil {
			t.Fatal(err)
		}
		out := w.run(id, allRows)
		if out.Err != nil || out.At != kvm.SetDNS || !strings.HasPrefix(out.Message, "waiting on ") || !strings.Contains(out.Message, "VM is locked (backup)") {
			t.Errorf("%s: %+v", version, out.Outcome)
		}
		if err := w.sim.SetLock(template, ""); err != nil {
			t.Fatal(err)
		}
		w.reach(id, allRows)
		w.settled(1, id)
	}
}

// TestFailedCloneFreesItsSlot: a service whose clone task fails each time does not keep the node's slot from the others.
func TestFailedCloneFreesItsSlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	w.settings.ClonesPerNode = 1
	bad, good := w.order(), w.order()
	w.reach(bad, rowDNS)
	armed := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: clonePath, TaskError: "something nobody knows"})
	if out := w.run(bad, rowClone); !errors.Is(out.Err, kvm.ErrTaskFailed) {
		t.Fatalf("%+v", out.Outcome)
	}
	armed.Remove()
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots"); n != "0" {
		t.Errorf("%s slots are taken", n)
	}
	w.reach(good, allRows)
}
