package lifecycle_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const (
	deletePath  = "/nodes/{node}/qemu/{vmid}"
	taskPath    = "/nodes/{node}/tasks/{upid}/status"
	listPath    = "/cluster/resources"
	clusterPath = "/cluster/status"
)

// destroyer is a verb whose table destroys a VM, with how many of its rows come before the VM is gone.
type destroyer struct {
	verb    kvm.Verb
	deletes int // the row that destroys, from 1
	end     kvm.Status
}

var destroyers = []destroyer{{kvm.VerbTerminate, 3, kvm.Remove}, {kvm.VerbReinstall, 4, kvm.Ready}, {kvm.VerbRedeploy, 3, kvm.Ready}}

// newDestroyWorld has settings for tables that stop and destroy.
func newDestroyWorld(t *testing.T, model *pvesim.Model, product ...string) *world {
	t.Helper()
	w := newWorldOn(t, "8.4.21", model, product...)
	w.settings.StopGraceful, w.settings.StopForce = 120*time.Second, 60*time.Second
	w.settings.VMIDRest, w.settings.Quarantine = 7*24*time.Hour, 24*time.Hour
	return w
}

// ready orders a service and walks it until it is ready.
func (w *world) ready() int64 {
	w.t.Helper()
	id := w.order()
	w.reach(id, allRows)
	return id
}

// ask is somebody's wish, which must be taken or noted.
func (w *world) ask(id int64, verb kvm.Verb) {
	w.t.Helper()
	if _, err := w.store.Ask(w.t.Context(), id, kvm.Wish{Verb: verb}); err != nil {
		w.t.Fatal(err)
	}
}

// walk takes the service up as cron does, in a process of its own, and walks at most rows rows of the table that its status
// belongs to, 0 = all.
func (w *world) walk(id int64, rows int) outcome {
	w.t.Helper()
	p := w.start(nil)
	w.clock.Advance(61 * time.Second)
	return p.held(id, func(s *kvm.Service) *pipeline.Pipeline {
		if err := w.store.TakeNote(w.t.Context(), s); err != nil {
			w.t.Fatal(err)
		}
		table := p.table(s)
		if first := slices.IndexFunc(table.Steps, func(st pipeline.Step) bool { return st.From == s.Row.Status }); rows > 0 {
			last := min(first+rows, len(table.Steps))
			for last < len(table.Steps) && table.Steps[last].From == table.Steps[last-1].From { // rows of one status go together
				last++
			}
			table.Steps = table.Steps[:last]
		}
		return table
	})
}

// finish walks the service to end, in at most three ticks.
func (w *world) finish(id int64, end kvm.Status) {
	w.t.Helper()
	var out outcome
	for range 3 {
		if w.at(id) == end {
			return
		}
		out = w.walk(id, 0)
	}
	if w.at(id) != end {
		w.t.Errorf("service %d is at %s, want %s: %s", id, w.at(id), end, out.Message)
	}
}

func (w *world) at(id int64) kvm.Status {
	w.t.Helper()
	return kvm.Status(w.db.Text("SELECT vm_status FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id))
}

// stranger is what stands at a VMID that was given to somebody else.
type stranger struct {
	name string
	vm   func(own pvesim.VMState) pvesim.VM
}

func otherNode(node string) string {
	if node == "pve1" {
		return "pve2"
	}
	return "pve1"
}

var strangers = []stranger{
	{"same node", func(own pvesim.VMState) pvesim.VM { return pvesim.VM{Name: "theirs", Node: own.Node} }},
	{"same node, off", func(own pvesim.VMState) pvesim.VM { return pvesim.VM{Name: "theirs", Node: own.Node} }},
	{"other node", func(own pvesim.VMState) pvesim.VM { return pvesim.VM{Name: "theirs", Node: otherNode(own.Node)} }},
	{"our name and mark", func(own pvesim.VMState) pvesim.VM {
		return pvesim.VM{Name: own.Config["name"], Node: own.Node, Config: map[string]string{"description": own.Config["description"], "net0": own.Config["net0"]}}
	}},
	{"no UUID", func(own pvesim.VMState) pvesim.VM {
		return pvesim.VM{Name: own.Config["name"], Node: own.Node, Config: map[string]string{"smbios1": "serial=1"}}
	}},
	{"container", func(own pvesim.VMState) pvesim.VM {
		return pvesim.VM{Name: own.Config["name"], Node: own.Node, Container: true}
	}},
}

// recycle destroys the VM vmid by hand, if it is there, and gives its VMID to a stranger with all that a VM may have.
func (w *world) recycle(vmid int, own pvesim.VMState, by stranger) {
	w.sim.RemoveVM(vmid)
	vm := by.vm(own)
	vm.VMID, vm.Storage, vm.DiskGiB, vm.CloudInit, vm.Running = vmid, "shared", 3, true, by.name != "same node, off"
	if err := w.sim.AddVM(vm); err != nil {
		w.t.Error(err)
		return
	}
	err := w.sim.WriteDisk(vmid, "scsi0", "their data")
	if err == nil {
		w.sim.AddSnapshot(vmid, "theirs", "")
		_, err = w.sim.AddBackup("shared", vmid, w.clock.Now())
	}
	if err != nil {
		w.t.Error(err)
	}
}

// theirs is all that there is of a VMID, as text, and forgets what was asked of the cluster so far.
func (w *world) theirs(vmid int) string {
	w.t.Helper()
	w.sim.ResetRequests()
	vm, _ := w.sim.VM(vmid)
	text, err := json.MarshalIndent([]any{vm, w.sim.Firewall(vmid), w.sim.Volumes(vmid), w.sim.Backups(vmid)}, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// untouched checks that nothing was even tried on the stranger's VM since before.
func (w *world) untouched(what string, vmid int, before string) {
	w.t.Helper()
	for _, e := range w.sim.Requests() {
		if e.Method != "GET" && (strings.Contains(e.Path+"/", fmt.Sprintf("/qemu/%d/", vmid)) || strings.Contains(e.Path, fmt.Sprintf("vzdump-qemu-%d-", vmid))) {
			w.t.Errorf("%s: %s %s is tried on the stranger's VM: %d", what, e.Method, e.Path, e.Status)
		}
	}
	if after := w.theirs(vmid); after != before {
		w.t.Errorf("%s: the stranger's VM was\n%s\nand is\n%s", what, before, after)
	}
}

// attempts is how many failed terminations of the service stand in WHMCS's activity log.
func (w *world) attempts(id int64) string {
	w.t.Helper()
	return w.db.Text("SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE ?", fmt.Sprintf("VM of service #%d: termination FAILED%%", id))
}

// kept checks that nothing of the service was given back: its address, VMID, and domain.
func (w *world) kept(what string, id int64) {
	w.t.Helper()
	for thing, query := range map[string]string{
		"the address":            "SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state = 'claimed'",
		"the VMID":               "SELECT COUNT(*) FROM puq_proxmox_kvm_vmids WHERE service_id = ? AND state = 'reserved'",
		"the address and domain": "SELECT COUNT(*) FROM tblhosting WHERE id = ? AND dedicatedip <> '' AND domain <> ''",
	} {
		if n := w.db.Text(query, id); n != "1" {
			w.t.Errorf("%s: %s was given back", what, thing)
		}
	}
}

// freed checks that a service without a VM holds nothing, and that its VMID rests.
func (w *world) freed(what string, id int64) {
	w.t.Helper()
	for thing, query := range map[string]string{
		"addresses":            "SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ?",
		"reserved VMIDs":       "SELECT COUNT(*) FROM puq_proxmox_kvm_vmids WHERE service_id = ? AND state <> 'tombstone'",
		"addresses in WHMCS":   "SELECT COUNT(*) FROM tblhosting WHERE id = ? AND (dedicatedip <> '' OR domain <> '')",
		"open tasks, a UUID":   "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE service_id = ? AND (task_upid <> '' OR vm_uuid <> '')",
		"backups in its name":  "SELECT COUNT(*) FROM puq_proxmox_kvm_backups WHERE service_id = ?",
		"slots":                "SELECT COUNT(*) FROM puq_proxmox_kvm_slots WHERE service_id = ?",
		"claims by a process":  "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE service_id = ? AND claim_owner IS NOT NULL",
		"failed terminations!": "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE service_id = ? AND vm_status = 'error_terminate'",
	} {
		if n := w.db.Text(query, id); n != "0" {
			w.t.Errorf("%s: %s are left: %s", what, thing, n)
		}
	}
}
