package cmd

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// modelEnd is how many ticks services may need when all troubles are over.
const modelEnd = 14

// modelLastChange is what the products become at the end, and never were before: so each VM that is older has something to
// change.
var modelLastChange = map[string][]string{"1": {"ram=5"}, "2": {"cpu=5"}}

// end takes all troubles away and sees to it that every service gets where it must: first by itself, then what its product
// says, then away.
func (m *model) end() {
	m.t.Helper()
	m.heal()
	m.settleAll("by itself", func(modelRow) bool { return true })
	m.lookNames("by itself")
	if len(m.failures) > 0 {
		return
	}
	for _, s := range m.list() {
		if m.modelRows()[s.id].status == kvm.ErrorRestore {
			m.story = append(m.story, "end: "+m.verb(modelVerb{name: "reinstall", args: []string{"--confirm", "REINSTALL"}, dooms: true, live: true}, s))
		}
	}
	m.settleAll("after reinstall", func(modelRow) bool { return true })
	if len(m.failures) > 0 {
		return
	}
	var changed []*modelService
	for _, s := range m.list() {
		if row, own := m.modelRows()[s.id], m.own(m.sim.VMs())[s.id]; row.status == kvm.Ready && len(own) == 1 && own[0].VMID == row.vmid && !s.deleted {
			m.story = append(m.story, "end: "+m.verb(modelVerb{name: "change-package"}, s))
			changed = append(changed, s)
		}
	}
	m.settleAll("after change-package", func(r modelRow) bool { return true })
	m.lookNames("after change-package")
	for _, s := range changed {
		m.asProduct(s)
	}
	if len(m.failures) > 0 {
		return
	}
	for _, s := range m.list() {
		m.story = append(m.story, "end: "+m.verb(modelVerb{name: "terminate", dooms: true}, s))
	}
	m.settleAll("after terminate", func(r modelRow) bool { return r.status != kvm.Ready })
	m.empty()
	m.noBackups()
	m.lookNames("after terminate")
	m.stored()
}

// heal ends every trouble, as an administrator would.
func (m *model) heal() {
	for _, f := range m.faults {
		f.Remove()
	}
	m.faults = nil
	m.api.Heal()
	m.names.Heal()
	m.up("pve1")
	m.up("pve2")
	m.noQuorum = false
	m.sim.SetQuorum(true)
	m.settled()
	for id, list := range m.own(m.sim.VMs()) {
		for _, vm := range list {
			if vm.Lock != "" {
				m.story = append(m.story, "end: unlock: "+m.unlock(vm, id))
			}
		}
	}
	m.db.Exec("UPDATE tblhosting SET domainstatus = 'Active'")
	for id := range modelProducts {
		for _, settings := range [][]string{modelProducts[id], modelLastChange[id]} {
			if out, code := m.direct(append([]string{"product", "set", id}, settings...)...); code != exitDone {
				m.wrong("end", "product %s: %s", id, out)
			}
		}
	}
	for _, p := range modelPools {
		more := slices.Clone(p)
		for i, v := range more {
			if i > 0 && (more[i-1] == "--first" || more[i-1] == "--last") {
				at := strings.LastIndexAny(v, ".:") + 1
				more[i] = v[:at] + map[string]string{"--first": "100", "--last": "150"}[more[i-1]]
			}
		}
		if out, code := m.direct(append([]string{"ippool", "add", "--server", "1"}, more...)...); code != exitDone {
			m.wrong("end", "pool: %s", out)
		}
	}
	for _, s := range m.list() {
		m.direct("backup", "schedule", "clear", strconv.FormatInt(s.id, 10)) // of what has none it is refused
	}
	m.daysOp(nil)
	m.story = append(m.story, "end: all troubles are over")
}

// lookNames mends what is wrong in DNS, as an administrator would, and then all names are right: those of the services that
// stand, each once, those of others as they were, and nothing of those that have ended.
func (m *model) lookNames(when string) {
	m.t.Helper()
	if len(m.failures) > 0 {
		return
	}
	m.minutesLater(1)
	if out, code := m.direct("dns", "sync", "--all"); code != exitDone {
		m.wrong("DNS", "%s, dns sync: exit %d: %s", when, code, out)
		return
	}
	var stand, unknown []int64
	for id, row := range m.modelRows() {
		s := m.services[id]
		switch row.status.Phase() {
		case kvm.PhaseRemove:
		case kvm.PhaseTerminate, kvm.PhaseErrorTerminate, kvm.PhaseRedeploy:
			unknown = append(unknown, id)
		default:
			if s.deleted {
				unknown = append(unknown, id)
			} else {
				stand = append(stand, id)
			}
		}
	}
	for _, text := range m.misnamed(stand, unknown) {
		m.wrong("DNS", "%s, %s", when, text)
	}
}

// settled lets the cluster's tasks end.
func (m *model) settled() {
	for range 600 {
		if m.sim.Settled() {
			return
		}
		m.clk.Advance(time.Second)
	}
	m.wrong("end", "the cluster's tasks do not end")
}

// settleAll ticks until each service has settled or is excused; as says where it may settle.
func (m *model) settleAll(when string, as func(modelRow) bool) {
	m.t.Helper()
	for range modelEnd {
		open := 0
		for _, row := range m.modelRows() {
			if pending(row.status) && !m.excused(m.services[row.id], row.status, m.own(m.sim.VMs()), row.message) {
				open++
			}
		}
		if open == 0 && m.ticked(when) {
			break
		}
		m.story = append(m.story, "end: "+m.tick(nil))
		m.look("end, " + when)
		if len(m.failures) > 0 {
			return
		}
	}
	own := m.own(m.sim.VMs())
	for _, row := range m.modelRows() {
		s := m.services[row.id]
		switch {
		case pending(row.status):
			if !m.excused(s, row.status, own, row.message) {
				m.wrong("end", "%s, service %d is at %s: %s", when, row.id, row.status, row.message)
			}
		case row.noted != "" && row.status != kvm.ErrorTerminate && row.status != kvm.ErrorRestore:
			m.wrong("end", "%s, service %d is at %s, and %s is noted", when, row.id, row.status, row.noted)
		case !as(row):
			m.wrong("end", "%s, service %d is at %s", when, row.id, row.status)
		case row.status == kvm.ErrorTerminate && !m.foreignAt(row) && when == "after terminate":
			m.wrong("end", "%s, service %d is at error_terminate: %s", when, row.id, row.message)
		}
	}
}

// ticked says whether a tick was done at this part of the end.
func (m *model) ticked(when string) bool {
	done := m.phase == when
	m.phase = when
	return done
}

// foreignAt says whether somebody else's VM has the row's VMID.
func (m *model) foreignAt(row modelRow) bool {
	_, found := m.foreign[row.vmid]
	return found
}

// asProduct checks that a service's VM is what its product says.
func (m *model) asProduct(s *modelService) {
	m.t.Helper()
	row := m.modelRows()[s.id]
	vm, found := m.sim.VM(row.vmid)
	if row.status != kvm.Ready || !found {
		m.wrong("end", "service %d is at %s, VM %d there %v", s.id, row.status, row.vmid, found)
		return
	}
	product := m.db.Text("SELECT packageid FROM tblhosting WHERE id = ?", s.id)
	settings := map[string]string{}
	for _, text := range slices.Concat(modelProducts[product], modelLastChange[product]) {
		key, value, _ := strings.Cut(text, "=")
		settings[key] = value
	}
	ram, _ := strconv.Atoi(settings["ram"])
	for what, pair := range map[string][2]string{
		"cores":          {vm.Config["cores"], settings["cpu"]},
		"memory":         {vm.Config["memory"], strconv.Itoa(ram * 1024)},
		"IPv4 addresses": {m.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND address LIKE '%.%' AND state = 'claimed'", s.id), settings["ipv4"]},
		"IPv6 addresses": {m.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND address LIKE '%:%' AND state = 'claimed'", s.id), settings["ipv6"]},
		"leaving":        {m.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state = 'leaving'", s.id), "0"},
		"runs":           {strconv.FormatBool(vm.Power == kvm.Running), strconv.FormatBool(!row.suspended)},
		"onboot":         {strconv.FormatBool(vm.Config["onboot"] == "1"), strconv.FormatBool(!row.suspended)},
		"pending":        {strconv.Itoa(len(vm.Pending)), "0"},
		"in the guest":   {strconv.FormatBool(strings.Contains(vm.Config["ipconfig0"], "ip="+m.db.Text("SELECT dedicatedip FROM tblhosting WHERE id = ?", s.id)+"/")), "true"},
		"in the IPSet":   {strconv.Itoa(len(m.sim.Firewall(vm.VMID).IPSets["ipfilter-net0"])), strconv.Itoa(len(strings.Fields(m.db.Text("SELECT CONCAT(dedicatedip, ' ', assignedips) FROM tblhosting WHERE id = ?", s.id))))},
	} {
		if pair[0] != pair[1] {
			m.wrong("end", "service %d, VM %d: %s: %s, want %s", s.id, vm.VMID, what, pair[0], pair[1])
		}
	}
}

// empty checks that nothing is left of services that are gone.
func (m *model) empty() {
	m.t.Helper()
	rows := m.modelRows()
	for id, list := range m.own(m.sim.VMs()) {
		if rows[id].status != kvm.ErrorTerminate {
			m.wrong("end", "VM %d of service %d at %s is left", list[0].VMID, id, rows[id].status)
		}
	}
	for _, row := range m.rows("SELECT a.address, a.service_id FROM puq_proxmox_kvm_addresses a JOIN puqProxmoxKVM_vm_info v ON v.service_id = a.service_id WHERE v.vm_status = 'remove' AND a.state <> 'quarantined'") {
		m.wrong("end", "the claim of %s by service %s is left", row[0], row[1])
	}
	for _, vmid := range m.vmids() {
		if _, found := m.sim.VM(vmid); !found && len(m.sim.Volumes(vmid)) > 0 {
			m.wrong("end", "the volumes %v are left of VM %d", m.sim.Volumes(vmid), vmid)
		}
	}
}

// vmids are all that services ever had.
func (m *model) vmids() []int {
	var out []int
	for _, text := range m.column("SELECT vmid FROM puq_proxmox_kvm_vmids") {
		n, _ := strconv.Atoi(text)
		out = append(out, n)
	}
	return out
}

// stored: G8, no table that is not WHMCS's own has a secret.
func (m *model) stored() {
	m.t.Helper()
	for _, table := range m.tables() {
		for _, row := range m.rows("SELECT * FROM `" + table + "`") {
			m.secretIn("a row of "+table, strings.Join(row, "\n"))
		}
	}
}
