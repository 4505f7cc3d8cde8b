package cmd

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
)

// modelRow is a service's row, as it stands.
type modelRow struct {
	id            int64
	vmid          int
	status, noted kvm.Status
	suspended     bool
	uuid, uuids   string
	message       string
	moment        string // of its schedule that was taken up last, "" = none
}

func (m *model) modelRows() map[int64]modelRow {
	out := map[int64]modelRow{}
	for _, r := range m.rows("SELECT service_id, COALESCE(vm_id, 0), vm_status, next_status, suspended, vm_uuid, COALESCE(vm_uuids, ''), COALESCE(message, ''), COALESCE(backup_moment, '') FROM puqProxmoxKVM_vm_info") {
		row := modelRow{status: kvm.Status(r[2]), noted: kvm.Status(r[3]), suspended: r[4] != "0", uuid: strings.ToLower(r[5]), uuids: strings.ToLower(r[6]), message: r[7], moment: r[8]}
		_, _ = fmt.Sscan(r[0], &row.id)
		_, _ = fmt.Sscan(r[1], &row.vmid)
		out[row.id] = row
	}
	return out
}

// look checks what must hold at every moment. where is for the reader.
func (m *model) look(where string) {
	m.t.Helper()
	if m.held && m.setting.workers > 1 {
		return // the others go on while this one looks
	}
	rows := m.modelRows()
	for id, row := range rows {
		s := m.services[id]
		if s == nil {
			m.wrong("row", "%s: service %d has a row and was never ordered", where, id)
			return
		}
		for _, u := range strings.FieldsFunc(strings.TrimPrefix(row.uuids, "null")+","+row.uuid, func(r rune) bool { return strings.ContainsRune(`[]", `, r) }) {
			s.uuids[u] = true
		}
	}
	vms := m.sim.VMs()
	own := m.own(vms)
	m.lookForeign()
	m.lookVMs(rows, vms, own)
	m.lookAddresses(rows, own)
	m.lookMails()
	m.lookSecrets(rows)
	m.lookBackups(rows, own)
	for i := range m.failures {
		if !strings.Contains(m.failures[i], " [") {
			m.failures[i] += " [" + where + "]"
		}
	}
}

// lookForeign: G1, nobody else's VM was touched.
func (m *model) lookForeign() {
	for vmid, left := range m.foreign {
		if now := m.picture(vmid); now != left {
			m.wrong("G1", "VM %d of somebody else's was\n%s\nand is\n%s", vmid, left, now)
		}
	}
}

// lookVMs: G2, a service has at most one VM; G4, one that is removed has none; none that was a customer's goes unasked; one
// that is suspended does not run; the VMID of each is kept for it.
func (m *model) lookVMs(rows map[int64]modelRow, vms map[int]pvesim.VMState, own map[int64][]pvesim.VMState) {
	there := map[string]bool{}
	for _, vm := range vms {
		there[uuidOf(vm)] = true
	}
	kept := map[string]bool{}
	for _, r := range m.rows("SELECT vmid, service_id FROM puq_proxmox_kvm_vmids") {
		kept[r[0]+" "+r[1]] = true
	}
	for _, s := range m.list() {
		row, ordered := rows[s.id]
		mine := own[s.id]
		if len(mine) > 1 {
			m.wrong("G2", "service %d at %s has %d VMs: %d, %d", s.id, row.status, len(mine), mine[0].VMID, mine[1].VMID)
		}
		if ordered && row.status == kvm.Remove && len(mine) > 0 {
			m.wrong("G4", "service %d is removed, and VM %d is there", s.id, mine[0].VMID)
		}
		for u := range s.given {
			if !there[u] {
				if !s.doomed {
					m.wrong("G4", "service %d at %s: nobody asked for it, and its VM %s is gone", s.id, row.status, u)
				}
				delete(s.given, u)
			}
		}
		for _, vm := range mine {
			if !kept[fmt.Sprintf("%d %d", vm.VMID, s.id)] {
				m.wrong("G4", "service %d at %s: its VM %d is there, and its VMID is not kept for it", s.id, row.status, vm.VMID)
			}
			if !ordered {
				m.wrong("G4", "service %d has no row, and VM %d is there", s.id, vm.VMID)
			}
			if vm.Power != kvm.Running {
				s.started = false
			}
			if row.status == kvm.Ready && row.noted == "" && row.suspended && vm.Power == kvm.Running && !s.started {
				m.wrong("suspended", "service %d is suspended, and its VM %d runs", s.id, vm.VMID)
			}
		}
		if row.status == kvm.Ready && row.noted == "" && !m.held {
			s.doomed = false
			if there[row.uuid] {
				s.given[row.uuid], s.taken = true, false
			}
		}
		if row.status == kvm.Remove || row.status == kvm.Creation {
			s.taken = false
		}
	}
}

// lookAddresses: G3, an address is one service's; what a VM is told is its service's own, claimed; WHMCS shows what is
// claimed.
func (m *model) lookAddresses(rows map[int64]modelRow, own map[int64][]pvesim.VMState) {
	holder, claimed := map[string]int64{}, map[int64]map[string]bool{}
	for _, r := range m.rows("SELECT address, service_id, state FROM puq_proxmox_kvm_addresses") {
		var id int64
		_, _ = fmt.Sscan(r[1], &id)
		holder[r[0]] = id
		if r[2] == "claimed" {
			if claimed[id] == nil {
				claimed[id] = map[string]bool{}
			}
			claimed[id][r[0]] = true
		}
		if rows[id].status == kvm.Remove && r[2] != "quarantined" {
			m.wrong("G3", "service %d is removed and %s is %s", id, r[0], r[2])
		}
	}
	shown := map[string]string{}
	for _, r := range m.rows("SELECT id, dedicatedip, assignedips FROM tblhosting") {
		var id int64
		_, _ = fmt.Sscan(r[0], &id)
		list := strings.Fields(r[1] + " " + r[2])
		for _, a := range list {
			if other := shown[a]; other != "" {
				m.wrong("G3", "WHMCS shows %s with services %s and %s", a, other, r[0])
			}
			shown[a] = r[0]
			if !claimed[id][a] {
				m.wrong("G3", "WHMCS shows %s with service %d at %s, which does not claim it", a, id, rows[id].status)
			}
		}
		if len(list) != len(claimed[id]) {
			m.wrong("G3", "WHMCS shows %v with service %d, which claims %v", list, id, claimed[id])
		}
	}
	for id, mine := range own {
		for _, vm := range mine {
			if phase := rows[id].status.Phase(); (phase == kvm.PhaseRestore || phase == kvm.PhaseRollback || phase == kvm.PhaseErrorRestore) && (vm.Power == kvm.Stopped || m.services[id].started) {
				continue // it has the configuration of another day, and does not run unless somebody has started it by hand
			}
			for _, a := range addressesOf(vm, m.sim.Firewall(vm.VMID)) {
				switch other, taken := holder[a]; {
				case !taken:
					m.wrong("G3", "VM %d of service %d at %s uses %s, which anybody may get", vm.VMID, id, rows[id].status, a)
				case other != id:
					m.wrong("G3", "VM %d of service %d at %s uses %s of service %d", vm.VMID, id, rows[id].status, a, other)
				}
			}
		}
	}
}

// addressesOf are those that a VM is configured with, as the database writes them.
func addressesOf(vm pvesim.VMState, fw pvesim.FirewallState) []string {
	var out []string
	add := func(text string) {
		text, _, _ = strings.Cut(text, "/")
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, whmcs.StoredAddr(a))
		}
	}
	for _, part := range strings.Split(vm.Config["ipconfig0"], ",") {
		if key, value, _ := strings.Cut(part, "="); key == "ip" || key == "ip6" {
			add(value)
		}
	}
	for _, entry := range fw.IPSets["ipfilter-net0"] {
		add(entry)
	}
	return out
}

// lookMails: what is in the outbox is sent once; a VM is announced once, and a new password once. WHMCS's log shows whose a
// mail is by the domain or the address: of a service that has neither any more, a mail whose answer was lost comes again.
func (m *model) lookMails() {
	for _, r := range m.column("SELECT o.service_id FROM puq_proxmox_kvm_outbox o LEFT JOIN tblhosting h ON h.id = o.service_id WHERE (o.state = 'sending' OR o.attempts > 1) AND COALESCE(h.domain, '') = '' AND COALESCE(h.dedicatedip, '') = ''") {
		id, _ := strconv.ParseInt(r, 10, 64)
		m.services[id].traceless = true
	}
	for _, r := range m.rows("SELECT service_id, template, COUNT(*) FROM puq_proxmox_kvm_outbox WHERE action = 'SendEmail' GROUP BY service_id, template") {
		id, _ := strconv.ParseInt(r[0], 10, 64)
		sent := 0
		for _, mail := range m.api.Mails() {
			if mail.ServiceID == id && mail.Template == r[1] {
				sent++
			}
		}
		if entries, _ := strconv.Atoi(r[2]); sent > entries && !m.services[id].traceless {
			m.wrong("mail", "service %d: %q was sent %d times, for %s entries of the outbox", id, r[1], sent, r[2])
		}
	}
	ready, reset := map[int64]int{}, map[int64]int{}
	for _, mail := range m.api.Mails() {
		switch mail.Template {
		case readyTemplate:
			ready[mail.ServiceID]++
		case welcomeTemplate:
			reset[mail.ServiceID]++
		}
	}
	for _, s := range m.list() {
		if s.traceless {
			continue
		}
		if ready[s.id] > len(s.uuids) {
			m.wrong("mail", "service %d: %d mails that it is ready for %d VMs", s.id, ready[s.id], len(s.uuids))
		}
		if reset[s.id] > s.resets {
			m.wrong("mail", "service %d: %d mails with a new password, which was asked for %d times", s.id, reset[s.id], s.resets)
		}
	}
}

// lookSecrets: G8, no message has a secret.
func (m *model) lookSecrets(rows map[int64]modelRow) {
	for _, row := range rows {
		m.secretIn(fmt.Sprintf("message of service %d", row.id), row.message)
	}
}

// said checks what a command has printed.
func (m *model) said(args []string, text string) {
	for _, r := range m.column("SELECT password FROM tblhosting WHERE password <> ''") {
		if p, err := whmcs.NewCipher(kvm.NewSecret(testHash)).Decrypt(r); err == nil {
			m.secrets[p.Reveal()] = true
		}
	}
	m.secretIn("the output of "+strings.Join(args, " "), text)
}

func (m *model) secretIn(where, text string) {
	for _, s := range []string{testHash, testAPISecret, pvesim.TwoNodesSecret} {
		if strings.Contains(text, s) {
			m.wrong("G8", "%s has a secret", where)
		}
	}
	for s := range m.secrets {
		if strings.Contains(text, s) {
			m.wrong("G8", "%s has a password", where)
		}
	}
}
