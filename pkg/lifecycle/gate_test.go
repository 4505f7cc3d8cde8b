package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// gated are the rows after the clone that touch or look at the VM.
var gated = []int{rowMigrate, rowCPU, rowSystemSize, rowSystemLimits, rowDisk, rowDiskSize, rowDiskLimits, rowNetwork, rowFirewall, rowCloudinit, rowStart, rowVerify}

// back is where a row that fails leaves the service.
func back(row int) kvm.Status {
	if row == rowVerify {
		return from(rowStart)
	}
	return from(row)
}

// TestForeignVM puts another VM in the place of the service's, at each row after the clone: refused, and it is as it was.
func TestForeignVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	w.staleFirewall()
	cases := map[string]func(vm pvesim.VMState) pvesim.VM{
		"another UUID": func(vm pvesim.VMState) pvesim.VM {
			return pvesim.VM{Name: "theirs"}
		},
		"another UUID, our name and mark": func(vm pvesim.VMState) pvesim.VM {
			return pvesim.VM{Name: vm.Config["name"], Config: map[string]string{"description": vm.Config["description"], "net0": vm.Config["net0"]}}
		},
		"no UUID": func(vm pvesim.VMState) pvesim.VM {
			return pvesim.VM{Name: vm.Config["name"], Config: map[string]string{"smbios1": "serial=1", "description": vm.Config["description"]}}
		},
		"another UUID, running": func(vm pvesim.VMState) pvesim.VM {
			return pvesim.VM{Name: vm.Config["name"], Running: true}
		},
	}
	for name, make := range cases {
		id := w.order()
		w.reach(id, rowClone)
		for _, row := range gated {
			if row > rowMigrate {
				w.reach(id, row-1)
			}
			own := w.vm(id)
			theirs := make(own)
			theirs.VMID, theirs.Node, theirs.Storage, theirs.DiskGiB, theirs.CloudInit = own.VMID, own.Node, "shared", 3, true
			kept := w.swap(own.VMID, theirs)
			before := w.picture()
			w.writes()
			out := w.run(id, row)
			if !errors.Is(out.Err, kvm.ErrForeign) || out.At != back(row) {
				t.Errorf("%s, %s: at %s: %v", title(row), name, out.At, out.Err)
			}
			if writes := w.writes(); len(writes) > 0 || w.picture() != before {
				t.Errorf("%s, %s: the foreign VM was touched: %v", title(row), name, writes)
			}
			kept()
		}
		w.reach(id, allRows)
	}
}

// swap takes the VM vmid off its place, where other then stands; back puts it there again as it was.
func (w *world) swap(vmid int, other pvesim.VM) (back func()) {
	w.t.Helper()
	vm, found := w.sim.VM(vmid)
	if !found {
		w.t.Fatalf("there is no VM %d", vmid)
	}
	config := func(options map[string]string) {
		for key := range w.state(vmid).Config {
			if _, keep := options[key]; !keep {
				options[key] = ""
			}
		}
		if err := w.sim.SetConfig(vmid, options); err != nil {
			w.t.Fatal(err)
		}
	}
	power := func(p kvm.Power) {
		if err := w.sim.SetPower(vmid, p); err != nil {
			w.t.Fatal(err)
		}
	}
	foreign := map[string]string{"name": other.Name, "smbios1": "uuid=11111111-2222-4333-8444-555555555555", "cores": "7", "memory": "777",
		"net0": "virtio=AA:BB:CC:DD:EE:FF,bridge=vmbr9", "scsi0": vm.Config["scsi0"], "ide2": vm.Config["ide2"], "boot": "order=scsi0"}
	for key, value := range other.Config {
		foreign[key] = value
	}
	config(foreign)
	if other.Running {
		power(kvm.Running)
	} else {
		power(kvm.Stopped)
	}
	return func() {
		power(kvm.Stopped)
		config(vm.Config)
		power(vm.Power)
	}
}

func (w *world) state(vmid int) pvesim.VMState {
	w.t.Helper()
	vm, found := w.sim.VM(vmid)
	if !found {
		w.t.Fatalf("there is no VM %d", vmid)
	}
	return vm
}

// TestForeignWithinRun: the VM becomes another one between two rows of one run, after the row before has changed it.
func TestForeignWithinRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	id := w.order()
	w.reach(id, rowCPU)
	happened := w.once("PUT", "/nodes/{node}/qemu/{vmid}/resize", pvesim.Done, func() {
		if err := w.sim.SetConfig(w.service(id).Row.VMID, map[string]string{"smbios1": "uuid=11111111-2222-4333-8444-555555555555"}); err != nil {
			t.Error(err)
		}
	})
	out := w.run(id, allRows)
	if !happened() || !errors.Is(out.Err, kvm.ErrForeign) || out.At != from(rowSystemSize) {
		t.Errorf("at %s: %v", out.At, out.Err)
	}
}

// TestUnproved: without a stored UUID, as the PHP module's rows are, nothing is touched at any row.
func TestUnproved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	id := w.order()
	w.reach(id, rowClone)
	for _, row := range gated {
		if row > rowMigrate {
			w.reach(id, row-1)
		}
		r := w.service(id).Row
		w.set(id, "vm_uuid = '', vm_uuids = NULL")
		before := w.picture()
		w.writes()
		out := w.run(id, row)
		if !errors.Is(out.Err, kvm.ErrUnproved) || out.At != back(row) || kvm.Hint(out.Err) == "" {
			t.Errorf("%s: at %s: %v (%s)", title(row), out.At, out.Err, kvm.Hint(out.Err))
		}
		if writes := w.writes(); len(writes) > 0 || w.picture() != before {
			t.Errorf("%s: touched: %v", title(row), writes)
		}
		w.set(id, "vm_uuid = ?, vm_uuids = ?", r.UUID, fmt.Sprintf("[%q]", r.UUID))
	}
	w.reach(id, allRows)
}

// TestLockedVM: a VM that Proxmox has locked waits at each row without a line and without an error; one that is locked
// while the row is at work waits too.
func TestLockedVM(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, rich...)
		id := w.order()
		w.reach(id, rowClone)
		vmid := w.service(id).Row.VMID
		lock := func(lock string) {
			if err := w.sim.SetLock(vmid, lock); err != nil {
				t.Error(err)
			}
		}
		for _, row := range gated {
			if row > rowMigrate {
				w.reach(id, row-1)
			}
			lock("backup")
			before := w.picture()
			out := w.run(id, row)
			if !out.Silent || out.Err != nil || out.At != from(row) || !strings.Contains(out.Message, "locked by Proxmox (backup)") || w.picture() != before {
				t.Errorf("%s %s: %+v", version, title(row), out.Outcome)
			}
			if m := w.service(id).Row.Message; m != out.Message {
				t.Errorf("%s %s: stored %q, said %q", version, title(row), m, out.Message)
			}
			lock("")
		}
		w.reach(id, allRows)

		// Meanwhile: the lock comes when the row's own call has arrived.
		for row, c := range map[int]call{rowMigrate: {"POST", "/nodes/{node}/qemu/{vmid}/migrate"}, rowCPU: {"PUT", "/nodes/{node}/qemu/{vmid}/config"},
			rowDisk:    {"POST", "/nodes/{node}/qemu/{vmid}/config"},
			rowNetwork: {"PUT", "/nodes/{node}/qemu/{vmid}/config"}, rowCloudinit: {"PUT", "/nodes/{node}/qemu/{vmid}/config"},
			rowStart: {"POST", "/nodes/{node}/qemu/{vmid}/status/start"}} {
			id := w.order()
			w.reach(id, row-1)
			vmid := w.service(id).Row.VMID
			happened := w.once(c.method, c.pattern, pvesim.Arrived, func() {
				if err := w.sim.SetLock(vmid, "snapshot"); err != nil {
					t.Error(err)
				}
			})
			out := w.run(id, row)
			if !happened() || out.Err != nil || out.At != from(row) || !strings.HasPrefix(out.Message, "waiting on ") || !strings.Contains(out.Message, "snapshot") {
				t.Errorf("%s %s, locked meanwhile: %+v", version, title(row), out.Outcome)
			}
			if err := w.sim.SetLock(vmid, ""); err != nil {
				t.Error(err)
			}
			w.reach(id, allRows)
		}
	}
}

// TestEndedInWHMCS: a service that WHMCS shows as ended waits with words at every row.
func TestEndedInWHMCS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	id := w.order()
	for row := 1; row <= allRows; row++ {
		if row > 1 {
			w.reach(id, row-1)
		}
		before := w.picture()
		for _, state := range []string{"Cancelled", "Fraud", "Terminated", "Completed"} {
			w.db.Exec("UPDATE tblhosting SET domainstatus = ? WHERE id = ?", state, id)
			out := w.run(id, row)
			if out.Err != nil || out.Silent || out.At != from(row) || !strings.HasPrefix(out.Message, "waiting on WHMCS: the service is "+state) || w.picture() != before {
				t.Errorf("%s, %s: %+v", title(row), state, out.Outcome)
			}
			w.db.Exec("UPDATE tblhosting SET domainstatus = 'Active' WHERE id = ?", id)
		}
	}
	for _, state := range []string{"Pending", "Suspended", "Active"} {
		w.set(id, "vm_status = ?", string(from(rowVerify)))
		w.db.Exec("UPDATE tblhosting SET domainstatus = ? WHERE id = ?", state, id)
		w.reach(id, allRows)
	}
}

// TestProductProblems: what is wrong with the rows of WHMCS is an error that says what to mend, at any row, and goes away
// with its cause.
func TestProductProblems(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	id := w.order()
	doc := func() string {
		return w.db.Text("SELECT settings FROM puq_proxmox_kvm_product_settings WHERE product_id = 1")
	}
	good := doc()
	setDoc := func(text string) func() {
		return func() {
			w.db.Exec("UPDATE puq_proxmox_kvm_product_settings SET settings = ? WHERE product_id = 1", text)
		}
	}
	exec := func(query string, args ...any) func() { return func() { w.db.Exec(query, args...) } }
	problems := []struct {
		name         string
		breaks, mend func()
		says         []string
	}{
		{"a setting out of range", setDoc(`{"template":9000,"cpu":0}`), setDoc(good), []string{"product 1", "cpu", "1 to 1024"}},
		{"a setting nobody knows", setDoc(`{"template":9000,"cpus":2}`), setDoc(good), []string{"product 1", "cpus"}},
		{"no document", setDoc(`template=9000`), setDoc(good), []string{"product 1", "JSON"}},
		{"no template", setDoc(`{}`), setDoc(good), []string{"product 1", "no template is set"}},
		{"no product", exec("UPDATE tblhosting SET packageid = 77 WHERE id = ?", id), exec("UPDATE tblhosting SET packageid = 1 WHERE id = ?", id),
			[]string{"product 77", "does not exist"}},
		{"another module", exec("UPDATE tblproducts SET servertype = 'cpanel' WHERE id = 1"), exec("UPDATE tblproducts SET servertype = 'puqProxmoxKVM' WHERE id = 1"),
			[]string{"product 1", "cpanel", "puqProxmoxKVM"}},
		{"a nonsense option", func() {
			w.db.Exec("INSERT INTO tblproductconfiggroups (name, description) VALUES ('g', '')")
			w.db.Exec("INSERT INTO tblproductconfiglinks (gid, pid) SELECT MAX(id), 1 FROM tblproductconfiggroups")
			w.db.Exec("INSERT INTO tblproductconfigoptions (gid, optionname, optiontype, qtyminimum, qtymaximum, `order`, hidden) SELECT MAX(id), 'RAM|Memory', '1', 0, 0, 0, 0 FROM tblproductconfiggroups")
			w.db.Exec("INSERT INTO tblproductconfigoptionssub (configid, optionname, sortorder, hidden) SELECT MAX(id), 'plenty', 0, 0 FROM tblproductconfigoptions")
			w.db.Exec("INSERT INTO tblhostingconfigoptions (relid, configid, optionid, qty) SELECT ?, MAX(configid), MAX(id), 0 FROM tblproductconfigoptionssub", id)
		}, exec("DELETE FROM tblhostingconfigoptions"), []string{"RAM", "plenty", "1 to 16384"}},
	}
	for row := 1; row <= allRows; row++ {
		if row > 1 {
			w.reach(id, row-1)
		}
		before := w.picture()
		for _, p := range problems {
			p.breaks()
			out := w.run(id, row)
			p.mend()
			if out.Err == nil || out.At != back(row) || w.picture() != before {
				t.Errorf("%s, %s: %+v", title(row), p.name, out.Outcome)
			}
			for _, word := range p.says {
				if !strings.Contains(out.Message, word) {
					t.Errorf("%s, %s: %q does not say %q", title(row), p.name, out.Message, word)
				}
			}
			if row == rowVerify {
				w.reach(id, rowStart)
			}
		}
	}
	w.reach(id, allRows)
}
