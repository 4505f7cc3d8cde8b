package cmd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// anyVM is a VM of a service's that fits, chosen by chance, no task being at work on it.
func (m *model) anyVM(rng *rand.Rand, fits func(pvesim.VMState) bool) (pvesim.VMState, int64, bool) {
	busy := map[int]bool{}
	for _, t := range m.sim.Tasks() {
		if t.End.IsZero() {
			busy[t.Guest] = true
		}
	}
	own := m.own(m.sim.VMs())
	var list []pvesim.VMState
	of := map[int]int64{}
	for _, s := range m.list() {
		for _, vm := range own[s.id] {
			if of[vm.VMID] = s.id; !busy[vm.VMID] && fits(vm) {
				list = append(list, vm)
			}
		}
	}
	if len(list) == 0 {
		return pvesim.VMState{}, 0, false
	}
	vm := list[rng.IntN(len(list))]
	return vm, of[vm.VMID], true
}

// lockOp lets somebody else's backup lock a VM.
func (m *model) lockOp(rng *rand.Rand) string {
	vm, id, found := m.anyVM(rng, func(vm pvesim.VMState) bool { return vm.Lock == "" })
	if !found {
		return ""
	}
	lock := []string{"backup", "snapshot", "migrate"}[rng.IntN(3)]
	if err := m.sim.SetLock(vm.VMID, lock); err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("VM %d of %d: %s", vm.VMID, id, lock)
}

// unlockOp does what an administrator does with a VM that is locked.
func (m *model) unlockOp(rng *rand.Rand) string {
	vm, id, found := m.anyVM(rng, func(vm pvesim.VMState) bool { return vm.Lock != "" })
	if !found {
		return ""
	}
	return m.unlock(vm, id)
}

// unlock takes a lock off; what a clone that died has left is no VM, and goes.
func (m *model) unlock(vm pvesim.VMState, id int64) string {
	if vm.Lock == "clone" {
		m.sim.RemoveVM(vm.VMID)
		return fmt.Sprintf("the half clone %d of %d is gone", vm.VMID, id)
	}
	if err := m.sim.SetLock(vm.VMID, ""); err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("VM %d of %d", vm.VMID, id)
}

// takeOp destroys a service's VM by hand.
func (m *model) takeOp(rng *rand.Rand) string {
	vm, id, found := m.anyVM(rng, func(vm pvesim.VMState) bool { return vm.Lock == "" })
	if !found {
		return ""
	}
	m.sim.RemoveVM(vm.VMID)
	m.services[id].taken = true
	delete(m.services[id].given, uuidOf(vm))
	return fmt.Sprintf("VM %d of %d, which is at %s", vm.VMID, id, m.statusText(id))
}

// giveOp gives a VMID that a service has, and no VM, to somebody else's VM.
func (m *model) giveOp(rng *rand.Rand) string {
	var free []string
	for _, id := range m.column("SELECT DISTINCT vm_id FROM puqProxmoxKVM_vm_info WHERE vm_id > 0 ORDER BY 1") {
		n, err := strconv.Atoi(id)
		if err != nil {
			m.t.Fatal(err)
		}
		if _, found := m.sim.VM(n); !found && len(m.sim.Volumes(n)) == 0 {
			free = append(free, id)
		}
	}
	if len(free) == 0 || len(m.foreign) > 10 {
		return ""
	}
	vmid, err := strconv.Atoi(free[rng.IntN(len(free))])
	if err != nil {
		m.t.Fatal(err)
	}
	holder := m.rows("SELECT service_id, vm_name, vm_status FROM puqProxmoxKVM_vm_info WHERE vm_id = ? ORDER BY service_id", vmid)[0]
	name := []string{"", "newcomer", holder[1]}[min(2, rng.IntN(8))%3]
	if rng.IntN(8) > 0 && name == holder[1] {
		name = "newcomer"
	}
	if !m.addForeign(vmid, name) {
		return ""
	}
	return fmt.Sprintf("VM %d, which was of %s at %s, is somebody's, named %q", vmid, holder[0], holder[2], name)
}

// goOp takes somebody else's VM away.
func (m *model) goOp(rng *rand.Rand) string {
	var list []int
	for vmid := range m.foreign {
		list = append(list, vmid)
	}
	if len(list) < 3 {
		return ""
	}
	slices.Sort(list)
	vmid := list[rng.IntN(len(list))]
	m.sim.RemoveVM(vmid)
	delete(m.foreign, vmid)
	return fmt.Sprintf("VM %d", vmid)
}

// powerOp starts or stops a service's VM by hand.
func (m *model) powerOp(rng *rand.Rand) string {
	vm, id, found := m.anyVM(rng, func(vm pvesim.VMState) bool { return vm.Lock == "" })
	if !found {
		return ""
	}
	to := kvm.Running
	if vm.Power == kvm.Running {
		to = kvm.Stopped
	}
	m.services[id].started = to == kvm.Running
	if err := m.sim.SetPower(vm.VMID, to); err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("VM %d of %d is %s", vm.VMID, id, to)
}

// snapshotOp makes a snapshot of a service's VM.
func (m *model) snapshotOp(rng *rand.Rand) string {
	vm, id, found := m.anyVM(rng, func(vm pvesim.VMState) bool { return vm.Lock == "" && len(vm.Snapshots) < 2 })
	if !found {
		return ""
	}
	if err := m.sim.AddSnapshot(vm.VMID, fmt.Sprintf("s%d", rng.IntN(1000000)), "by hand"); err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("of VM %d of %d", vm.VMID, id)
}

// nodeOp makes a node unreachable, or reachable again.
func (m *model) nodeOp(rng *rand.Rand) string {
	node := []string{"pve1", "pve2"}[rng.IntN(2)]
	if m.down[node] {
		m.up(node)
		return node + " is up"
	}
	m.down[node] = true
	m.sim.SetNodeDown(node, true)
	return node + " is down, what runs there goes on"
}

// crashOp crashes a node: what runs there ends.
func (m *model) crashOp(rng *rand.Rand) string {
	node := []string{"pve1", "pve2"}[rng.IntN(2)]
	if m.down[node] {
		return ""
	}
	m.down[node] = true
	m.sim.CrashNode(node)
	return node
}

func (m *model) up(node string) {
	m.down[node] = false
	m.sim.BootNode(node)
}

func (m *model) quorumOp(*rand.Rand) string {
	m.noQuorum = !m.noQuorum
	m.sim.SetQuorum(!m.noQuorum)
	return fmt.Sprintf("lost %v", m.noQuorum)
}

// faultOp puts one of the fault matrix's troubles in place for some ticks.
func (m *model) faultOp(rng *rand.Rand) string {
	if len(m.faults) > 2 {
		return ""
	}
	if rng.IntN(6) == 0 {
		return m.hideOp(rng)
	}
	var kinds []trouble
	for _, t := range troubles {
		if t.full == "" && !t.fault.Hang && t.fault.NodeDown == 0 {
			kinds = append(kinds, t)
		}
	}
	tr := kinds[rng.IntN(len(kinds))]
	f := tr.fault
	f.Rate, f.Count, f.Skip = []float64{0, 0.2, 0.5}[rng.IntN(3)], rng.IntN(6), rng.IntN(4)
	if rng.IntN(3) > 0 || tr.tasks {
		f.Method = []string{"POST", "PUT", "DELETE", "POST"}[rng.IntN(4)]
	}
	if rng.IntN(3) == 0 {
		f.Method, f.Path = "", []string{"/nodes/{node}/qemu/{vmid}/clone", "/nodes/{node}/qemu/{vmid}/config", "/nodes/{node}/qemu/{vmid}", "/cluster/nextid", "/cluster/status",
			"/nodes/{node}/qemu/{vmid}/status/current", "/nodes/{node}/tasks/{upid}/status", "/cluster/resources", "/nodes/{node}/qemu/{vmid}/status/start",
			"/nodes/{node}/qemu/{vmid}/status/shutdown", "/nodes/{node}/qemu/{vmid}/firewall/options"}[rng.IntN(11)]
	}
	m.faults = append(m.faults, &modelFault{Armed: m.sim.AddFault(f), ticks: 1 + rng.IntN(3), name: tr.name})
	return fmt.Sprintf("%s at %q %q, rate %g, %d times", tr.name, f.Method, f.Path, f.Rate, f.Count)
}

// hideOp has every VM out of sight for some ticks: the nodes know no configuration and the cluster lists nothing, as when
// VMs move and the list lags behind. Only nextid knows better.
func (m *model) hideOp(rng *rand.Rand) string {
	ticks := 1 + rng.IntN(3)
	for _, f := range []pvesim.Fault{
		{Method: "GET", Path: "/nodes/{node}/qemu/{vmid}/config", Status: 500, Reason: "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist"},
		{Method: "GET", Path: "/cluster/resources", Body: `{"data":[]}`},
	} {
		m.faults = append(m.faults, &modelFault{Armed: m.sim.AddFault(f), ticks: ticks, name: "out of sight"})
	}
	return fmt.Sprintf("all VMs are out of sight for %d ticks", ticks)
}
