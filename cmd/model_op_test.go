package cmd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// modelOp is an operation: something that somebody does.
type modelOp struct {
	name   string
	weight int
	middle bool // it may also be done in the middle of a tick
	// do does it and says what was done, "" = there was nothing to do it with.
	do func(m *model, rng *rand.Rand) string
}

// modelVerb is a verb that a service's customer, WHMCS or a shell sends.
type modelVerb struct {
	name   string
	weight int
	args   []string // behind the service's id
	dooms  bool     // it destroys the VM
	live   bool     // it looks at the VM, and so meets what troubles Proxmox has
}

// modelVerbs are the verbs. One joins by a line.
func modelVerbs() []modelVerb {
	return []modelVerb{
		{name: "create", weight: 14},
		{name: "change-package", weight: 10},
		{name: "suspend", weight: 6},
		{name: "unsuspend", weight: 6},
		{name: "terminate", weight: 6, dooms: true},
		{name: "reinstall", weight: 6, args: []string{"--confirm", "REINSTALL"}, dooms: true, live: true},
		{name: "reinstall", weight: 2, args: []string{"--template", "9001", "--confirm", "REINSTALL"}, dooms: true, live: true},
		{name: "redeploy", weight: 3, args: []string{"--confirm", "REDEPLOY"}, dooms: true, live: true},
		{name: "reset-password", weight: 6, live: true},
		{name: "start", weight: 3, live: true},
		{name: "stop", weight: 3, live: true},
	}
}

// modelOps are the operations. One joins by a line.
func modelOps() []*modelOp {
	return append([]*modelOp{
		{name: "tick", weight: 16, do: (*model).tickOp},
		{name: "disturbed tick", weight: 14, do: (*model).disturbedOp},
		{name: "another's tick", weight: 2, middle: true, do: (*model).otherTickOp},
		{name: "verb", weight: 30, middle: true, do: (*model).verbOp},
		{name: "product", weight: 5, middle: true, do: (*model).productOp},
		{name: "upgrade", weight: 6, middle: true, do: (*model).upgradeOp},
		{name: "WHMCS status", weight: 2, middle: true, do: (*model).stateOp},
		{name: "service deleted", weight: 1, do: (*model).deleteOp},
		{name: "Proxmox fault", weight: 4, middle: true, do: (*model).faultOp},
		{name: "node down or up", weight: 2, middle: true, do: (*model).nodeOp},
		{name: "node crashed", weight: 1, middle: true, do: (*model).crashOp},
		{name: "quorum", weight: 1, middle: true, do: (*model).quorumOp},
		{name: "lock", weight: 2, middle: true, do: (*model).lockOp},
		{name: "unlock", weight: 3, middle: true, do: (*model).unlockOp},
		{name: "VM destroyed by hand", weight: 1, middle: true, do: (*model).takeOp},
		{name: "VMID given to another", weight: 3, middle: true, do: (*model).giveOp},
		{name: "another's VM goes", weight: 2, middle: true, do: (*model).goOp},
		{name: "power by hand", weight: 3, middle: true, do: (*model).powerOp},
		{name: "VM moved by hand", weight: 1, middle: true, do: (*model).moveOp},
		{name: "snapshot by hand", weight: 1, middle: true, do: (*model).snapshotOp},
		{name: "row edited", weight: 3, do: (*model).editOp},
		{name: "mail trouble", weight: 3, middle: true, do: (*model).mailOp},
		{name: "DNS trouble", weight: 3, middle: true, do: (*model).namesOp},
		{name: "days pass", weight: 1, do: (*model).daysOp},
	}, customerOps()...)
}

// chooseOp chooses among those that fit, by weight.
func chooseOp(rng *rand.Rand, fits func(*modelOp) bool) *modelOp {
	var list []*modelOp
	for _, op := range modelOps() {
		if fits(op) {
			for range op.weight {
				list = append(list, op)
			}
		}
	}
	return list[rng.IntN(len(list))]
}

func (m *model) verbOp(rng *rand.Rand) string {
	var verbs []modelVerb
	for _, v := range modelVerbs() {
		for range v.weight {
			verbs = append(verbs, v)
		}
	}
	v, s := verbs[rng.IntN(len(verbs))], m.any(rng)
	// Mostly one that is not refused.
	for range 4 {
		phase := kvm.PhaseNone
		if st, ordered := m.statuses()[s.id]; ordered {
			phase = st.Phase()
		}
		if d := kvm.Decide(kvm.Verb(v.name), phase); d != kvm.Refuse && d != kvm.Done && !s.deleted {
			break
		}
		v, s = verbs[rng.IntN(len(verbs))], m.any(rng)
	}
	return m.verb(v, s)
}

// verb sends a verb and sees to it that the answer is one, and that one which refuses changes nothing.
func (m *model) verb(v modelVerb, s *modelService) string {
	before := m.rowText(s.id)
	out, code := m.direct(slices.Concat(strings.Fields(v.name), []string{strconv.FormatInt(s.id, 10)}, v.args)...)
	text := fmt.Sprintf("%s %d at %s: exit %d", v.name, s.id, m.statusText(s.id), code)
	switch code {
	case exitDone, exitQueued:
		m.touched[s.id] = true
		if v.dooms {
			s.doomed = true
		}
		switch v.name {
		case "reset-password":
			s.resets++
		case "terminate":
			s.ending = true
		}
	case exitRefused, exitAdmin:
		if after := m.rowText(s.id); !m.held && !v.live && after != before {
			m.wrong("G9", "%s was refused (%s) and changed %s to %s", v.name, strings.TrimSpace(out), before, after)
		}
	case exitUnknown, exitFailed:
		if v.live && (m.held || m.troubled() || m.services[s.id].taken || exitUnknown == code) {
			break
		}
		fallthrough
	default:
		m.wrong("exit", "%s: %s", text, strings.TrimSpace(out))
	}
	m.tally.add(fmt.Sprintf("%s: exit %d", v.name, code))
	return text
}

func (m *model) rowText(id int64) string {
	var out []string
	for _, row := range m.rows("SELECT vm_id, vm_status, next_status, suspended, template, vm_uuid, vm_uuids, clone_sent FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id) {
		out = append(out, strings.Join(row, " | "))
	}
	return strings.Join(out, "; ")
}

func (m *model) statusText(id int64) string {
	list := m.column("SELECT CONCAT(vm_status, IF(next_status = '', '', CONCAT(' then ', next_status))) FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	return strings.Join(append(list, "(no row)")[:1], "")
}

// productOp changes what a product is.
func (m *model) productOp(rng *rand.Rand) string {
	product := strconv.Itoa(1 + rng.IntN(2))
	one := func(list ...string) string { return list[rng.IntN(len(list))] }
	change := one("cpu="+one("1", "2", "3", "4"), "ram="+one("1", "2", "3", "4"), "additional_size="+one("0", "2", "3", "4"), "system_size="+one("4", "5", "6"),
		"ipv4="+one("1", "1", "2"), "ipv6="+one("0", "1", "2"), "ipv6="+one("0", "1"), "vlan="+one("0", "20"), "auto_bridge="+one("on", "off"), "template="+one("9000", "9001"),
		"bandwidth="+one("0", "10"), "antispoof="+one("on", "off"), "clone_type="+one("full", "linked"), "system_mbps_rd="+one("0", "50"), "fw_enable="+one("on", "on", "off"))
	if out, code := m.direct("product", "set", product, change); code != exitDone {
		return "refused: " + change + ": " + strings.TrimSpace(out)
	}
	return product + " " + change
}

// upgradeOp does what WHMCS does when a customer takes another product.
func (m *model) upgradeOp(rng *rand.Rand) string {
	s := m.any(rng)
	if s.deleted {
		return ""
	}
	m.db.Exec("UPDATE tblhosting SET packageid = 3 - packageid WHERE id = ?", s.id)
	return "the other product; " + m.verb(modelVerb{name: "change-package"}, s)
}

// stateOp ends a service in WHMCS, or takes that back.
func (m *model) stateOp(rng *rand.Rand) string {
	s := m.any(rng)
	if s.deleted {
		return ""
	}
	state := "Active"
	if m.db.Text("SELECT domainstatus FROM tblhosting WHERE id = ?", s.id) == "Active" {
		state = []string{"Cancelled", "Terminated", "Fraud"}[rng.IntN(3)]
	}
	m.db.Exec("UPDATE tblhosting SET domainstatus = ? WHERE id = ?", state, s.id)
	return fmt.Sprintf("%d is %s", s.id, state)
}

// deleteOp deletes a service in WHMCS; there is a new one then.
func (m *model) deleteOp(rng *rand.Rand) string {
	s := m.any(rng)
	if s.deleted || len(m.services) > modelServices+2 {
		return ""
	}
	m.db.Exec("DELETE FROM tblhosting WHERE id = ?", s.id)
	s.deleted = true
	return fmt.Sprintf("%d; new: %d", s.id, m.addService(1+int64(rng.IntN(2))).id)
}

// editOp writes into a service's row by hand: an earlier status of the same pipeline, or nonsense that must not matter.
func (m *model) editOp(rng *rand.Rand) string {
	s := m.any(rng)
	status := m.statusText(s.id)
	switch rng.IntN(3) {
	case 0:
		m.db.Exec("UPDATE puqProxmoxKVM_vm_info SET message = ? WHERE service_id = ?", "nonsense\x01 '\"; DROP TABLE", s.id)
		return fmt.Sprintf("message of %d", s.id)
	case 1:
		claims := []string{"claim_owner = 'nonsense', claim_until = '2199-01-01'", "claim_owner = 'a/b/c/1/1/3', claim_until = NULL", "claim_owner = NULL, claim_until = UTC_TIMESTAMP(6) + INTERVAL 50 SECOND",
			"claim_owner = '', claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 DAY"}
		set := claims[rng.IntN(len(claims))]
		m.db.Exec("UPDATE puqProxmoxKVM_vm_info SET "+set+" WHERE service_id = ?", s.id)
		return fmt.Sprintf("claim of %d: %s", s.id, set)
	}
	for _, p := range m.orders {
		list := strings.Fields(p)
		i := slices.Index(list, status) // with nothing noted
		if i < 1 {
			continue
		}
		earlier := list[rng.IntN(i)]
		if earlier == string(kvm.CPUpdateIP) || strings.HasPrefix(earlier, "su") || strings.HasPrefix(earlier, "us") {
			continue
		}
		m.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = ?, task_kind = '', task_upid = '' WHERE service_id = ?", earlier, s.id)
		m.touched[s.id] = true
		return fmt.Sprintf("status of %d: %s to %s", s.id, status, earlier)
	}
	return ""
}

// mailOp lets WHMCS's API fail for some calls.
func (m *model) mailOp(rng *rand.Rand) string {
	n := 1 + rng.IntN(3)
	switch rng.IntN(4) {
	case 0:
		m.api.Refuse(n, "Email Send Aborted")
	case 1:
		m.api.LoseAnswer(n)
	case 2:
		m.api.Drop(n)
	case 3:
		m.api.Answer(n, 502, "<html>bad gateway</html>", false)
	}
	return fmt.Sprintf("%d calls", n)
}

// namesOp lets the DNS server refuse, fail after the change, be broken or not know the key, a few times or until all is over.
func (m *model) namesOp(rng *rand.Rand) string {
	f := []hestiasim.Fault{
		{Command: hestiasim.Add, Exit: 8}, {Command: hestiasim.Delete, Exit: 12}, {Command: hestiasim.Add, Acts: true, Exit: 20}, {Command: hestiasim.Delete, Acts: true, Exit: 2},
		{Status: 500, Body: "<html>internal server error</html>"}, {Exit: 10}, {Command: hestiasim.List, Exit: 3}, {Command: hestiasim.Add, Acts: true, Status: 502},
	}[rng.IntN(8)]
	if f.Times = 1 + rng.IntN(6); rng.IntN(6) == 0 {
		f.Times = hestiasim.Always
	}
	m.names.Fail(f)
	return fmt.Sprintf("%q exit %d status %d, done %v, %d times", f.Command, f.Exit, f.Status, f.Acts, f.Times)
}

// daysOp lets so much time pass that quarantines and VMIDs' rests are over.
func (m *model) daysOp(*rand.Rand) string {
	m.db.Exec("UPDATE puq_proxmox_kvm_addresses SET until = until - INTERVAL 8 DAY WHERE until IS NOT NULL")
	m.db.Exec("UPDATE puq_proxmox_kvm_vmids SET until = until - INTERVAL 8 DAY WHERE until IS NOT NULL")
	return "8"
}

// moveOp lets a high-availability manager move a VM.
func (m *model) moveOp(rng *rand.Rand) string {
	vm, id, found := m.anyVM(rng, func(vm pvesim.VMState) bool { return vm.Lock == "" && m.linkless(vm) })
	if !found {
		return ""
	}
	to := map[string]string{"pve1": "pve2", "pve2": "pve1"}[vm.Node]
	if err := m.sim.MoveVM(vm.VMID, to); err != nil {
		m.t.Fatal(err)
	}
	return fmt.Sprintf("VM %d of %d to %s", vm.VMID, id, to)
}

// linkless says whether no disk of the VM builds upon a template's, which is on its node.
func (m *model) linkless(vm pvesim.VMState) bool {
	for _, d := range vm.Disks {
		if d.Parent != "" {
			return false
		}
	}
	return true
}
