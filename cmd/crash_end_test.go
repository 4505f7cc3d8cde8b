package cmd

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
)

// dumped is a table of the database as the crash test looks at it.
type dumped struct {
	name    string
	mine    string // the condition for a service's rows, with its id for %d; "" = it has none
	columns []string
}

// crashTables are all tables but those that tell what was done when: the stored runs and the tasks' last starts, which a
// disturbance changes as it should, the counters of the last count, and WHMCS's list of sent mails, which are counted where they are sent.
func (w *world) crashTables() []dumped {
	w.t.Helper()
	var out []dumped
	for _, name := range w.tables() {
		switch name {
		case "puq_proxmox_kvm_runs", "puq_proxmox_kvm_cron_tasks", "puq_proxmox_kvm_leases", "puq_proxmox_kvm_counters", "tblemails":
			continue
		}
		t := dumped{name: name, columns: w.column("SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION", name)}
		switch {
		case slices.Contains(t.columns, "service_id"):
			t.mine = "service_id = %d"
		case name == "tblhosting":
			t.mine = "id = %d"
		case name == "tblactivitylog": // five digits each
			t.mine = "description LIKE '%%service #%d%%'"
		}
		out = append(out, t)
	}
	return out
}

// mine are the service's rows, a line each; what a repetition may change (ids, moments, counts of attempts) is left out, and
// so is the claim: one whose end has passed holds nothing, and nobody clears it on a row that is settled.
func (w *world) mine(tables []dumped, id int64) []string {
	w.t.Helper()
	chance := regexp.MustCompile(`^(id|date|.*_at|.*_since|until|password|next_try|attempts|trace_after|last_error|mail_key|backup_moment|backup_day|backup_date)$`)
	moment := regexp.MustCompile(`notes=[0-9-]+ [0-9:]+|-\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d|puqkvm-\d{8}-\d{6}`)
	var out []string
	for _, t := range tables {
		if t.mine == "" {
			continue
		}
		for _, row := range w.rows("SELECT * FROM `" + t.name + "` WHERE " + fmt.Sprintf(t.mine, id)) {
			var cells []string
			for i, c := range t.columns {
				switch {
				case strings.HasPrefix(c, "claim_"):
				case !chance.MatchString(c), row[i] == `\N`:
					cells = append(cells, c+"="+row[i])
				}
			}
			out = append(out, moment.ReplaceAllString(t.name+": "+strings.Join(cells, " | "), "<when>"))
		}
	}
	return out
}

// others is everything that is not the service's: of each table the count and the sum of all other rows, and every other VM
// with its firewall and backups. vmids are the service's own, the former ones too; 0 = it has none yet.
func (w *world) others(tables []dumped, id int64, vmids ...int) []string {
	w.t.Helper()
	var parts []string
	for _, t := range tables {
		where := ""
		if t.mine != "" {
			where = " WHERE NOT (" + fmt.Sprintf(t.mine, id) + ")"
		}
		unclaimed := slices.DeleteFunc(slices.Clone(t.columns), func(c string) bool { return strings.HasPrefix(c, "claim_") })
		parts = append(parts, fmt.Sprintf("SELECT '%s', COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', `%s`))), 0) FROM `%s`%s",
			t.name, strings.Join(unclaimed, "`, `"), t.name, where))
	}
	var out []string
	for _, row := range w.rows(strings.Join(parts, " UNION ALL ")) {
		out = append(out, "rows of others in "+strings.Join(row, " "))
	}
	_, names := w.namesOf(id)
	out = append(out, names...)
	vms := w.sim.VMs()
	for _, n := range slices.Sorted(maps.Keys(vms)) {
		if !slices.Contains(vmids, n) {
			out = append(out, fmt.Sprintf("another VM %d: %+v %+v %+v", n, vms[n], w.sim.Firewall(n), w.sim.Backups(n)))
		}
	}
	return out
}

// identity is what a service has before the order; of one that has nothing yet it is zero.
type identity struct {
	vmid            int
	uuid, mac, user string
	password        string // as WHMCS shows it
	addresses       []string
	mails           int
	at              time.Time // when it was taken down
}

func (w *world) identity(id int64) (was identity) {
	w.t.Helper()
	was.mails, was.at = w.sent(id), w.clock.Now()
	row := w.rows("SELECT vm_id, vm_uuid, COALESCE(vm_net0_mac, '') FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	if len(row) == 0 {
		return was
	}
	was.vmid, was.uuid, was.mac = w.vmid(id), row[0][1], row[0][2]
	was.user, was.password, was.addresses = w.db.Text("SELECT username FROM tblhosting WHERE id = ?", id), w.password(id), w.addresses(id)
	return was
}

// addresses are all that the service claims, the first ones first.
func (w *world) addresses(id int64) []string {
	w.t.Helper()
	return w.column("SELECT address FROM puq_proxmox_kvm_addresses WHERE service_id = ? ORDER BY position, address", id)
}

// early says what was freed, or reported gone, while the VM that the service had is there.
func (w *world) early(id int64, was identity) (wrong []string) {
	w.t.Helper()
	if was.uuid == "" || !w.uuidExists(was.uuid) {
		return nil
	}
	st := w.status(id)
	if st == kvm.Remove || st == kvm.Creation {
		wrong = append(wrong, fmt.Sprintf("it is at %s, and its VM is there", st))
	}
	if st == kvm.Ready { // what its package has no more is free now
		return wrong
	}
	have := w.addresses(id)
	for _, a := range was.addresses {
		if !slices.Contains(have, a) {
			wrong = append(wrong, fmt.Sprintf("the address %s is free, and its VM is there", a))
		}
	}
	return wrong
}

// uuidExists says whether Proxmox has a VM with this UUID.
func (w *world) uuidExists(uuid string) bool {
	for _, vm := range w.sim.VMs() {
		if strings.Contains(vm.Config["smbios1"], "uuid="+uuid) {
			return true
		}
	}
	return false
}

// end is how a settled service looks, in the database and in Proxmox, one line each. What is its own by chance (numbers,
// addresses, the user's name, and of the VM that it had before) is replaced by names, so that the ends of two services
// compare. wrong is what does not fit together within it.
func (w *crashWorld) end(id int64, was identity) (lines, wrong []string) {
	w.t.Helper()
	now := w.identity(id)
	names := map[string]string{strconv.Itoa(was.vmid): "<former vmid>", was.uuid: "<former uuid>", was.mac: "<former mac>", strings.ToLower(was.mac): "<former mac>", was.user: "<former user>"}
	for list, addresses := range map[string][]string{"former ip": was.addresses, "ip": now.addresses} {
		for n, text := range addresses {
			a, err := netip.ParseAddr(text)
			if err != nil {
				w.t.Fatal(err)
			}
			if list == "ip" || !slices.Contains(now.addresses, text) {
				names[text], names[a.String()] = fmt.Sprintf("<%s%d>", list, n+1), fmt.Sprintf("<%s%d>", list, n+1)
			}
		}
	}
	for text, name := range map[string]string{strconv.FormatInt(id, 10): "<sid>", strconv.Itoa(now.vmid): "<vmid>", now.uuid: "<uuid>", now.mac: "<mac>", strings.ToLower(now.mac): "<mac>", now.user: "<user>"} {
		names[text] = name
	}
	lines = append(w.mine(w.tables, id), w.vmLines(now.vmid)...)
	own, _ := w.namesOf(id)
	lines = append(lines, own...)
	vmids := []int{now.vmid}
	if was.vmid != 0 && was.vmid != now.vmid {
		vmids = append(vmids, was.vmid)
		lines = append(lines, w.vmLines(was.vmid)...)
	}
	checks := map[string]bool{
		"a task of Proxmox still runs":   w.sim.Settled(),
		"another service has its VMID":   w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_id = ?", now.vmid) == "1",
		"two services have an address":   w.db.Text("SELECT COUNT(*) - COUNT(DISTINCT dedicatedip) FROM tblhosting WHERE dedicatedip <> ''") == "0",
		"two VMs have its first address": w.guestsWith(now.addresses) <= 1,
		"its former VM is there":         was.uuid == "" || now.uuid == was.uuid || !w.uuidExists(was.uuid),
	}
	if w.p.gone {
		f := w.sim.Firewall(now.vmid)
		maps.Copy(checks, map[string]bool{
			"its VM is there":        !w.uuidExists(was.uuid),
			"the row has a UUID":     now.uuid == "",
			"its addresses are held": len(now.addresses) == 0,
			"it is claimed":          w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE service_id = ? AND claim_owner IS NOT NULL", id) == "0",
			"its firewall is there":  len(f.Options)+len(f.Rules)+len(f.IPSets) == 0,
		})
	} else {
		vm, _ := w.sim.VM(now.vmid)
		name := w.db.Text("SELECT vm_name FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
		maps.Copy(checks, map[string]bool{
			"the row has no UUID": now.uuid != "", "the row has no MAC": now.mac != "", "WHMCS has no user": now.user != "", "the service has no address": len(now.addresses) > 0,
			"the VM's UUID is not the row's":            strings.Contains(vm.Config["smbios1"], "uuid="+now.uuid),
			"the VM's MAC is not the row's":             strings.Contains(vm.Config["net0"], now.mac),
			"the VM's name is not the row's":            vm.Config["name"] == name,
			"the guest's user is not the one in WHMCS":  vm.Config["ciuser"] == now.user,
			"the cloud-init drive has not these values": strings.Contains(vm.CloudInit, now.user),
		})
	}
	for what, ok := range checks {
		if !ok {
			wrong = append(wrong, what)
		}
	}
	wrong = append(wrong, w.passwords(id, was)...)
	if w.p.holds != nil {
		wrong = append(wrong, w.p.holds(w.world, id, was)...)
	}
	for _, vmid := range vmids {
		for n := vmid - 4; n <= vmid+4; n++ {
			if _, found := w.sim.VM(n); !found {
				for _, v := range w.sim.Volumes(n) {
					wrong = append(wrong, "left over in Proxmox: the volume "+v)
				}
			}
		}
	}
	replace := replacement(names)
	for i := range lines {
		lines[i] = replace(lines[i])
	}
	slices.Sort(lines)
	slices.Sort(wrong)
	return lines, slices.Compact(wrong)
}

// guestsWith is how many VMs are told the first of these addresses.
func (w *world) guestsWith(addresses []string) (n int) {
	if len(addresses) == 0 {
		return 0
	}
	for _, vm := range w.sim.VMs() {
		if strings.Contains(vm.Config["ipconfig0"], "ip="+addresses[0]+"/") {
			n++
		}
	}
	return n
}

// password is the guest's as WHMCS shows it, "" = there is none.
func (w *world) password(id int64) string {
	w.t.Helper()
	encrypted := w.db.Text("SELECT password FROM tblhosting WHERE id = ?", id)
	if encrypted == "" {
		return ""
	}
	secret, err := whmcs.NewCipher(kvm.NewSecret(testHash)).Decrypt(encrypted)
	if err != nil {
		w.t.Fatalf("the password in WHMCS: %v", err)
	}
	return secret.Reveal()
}

// passwords checks that the guest was never given another password than WHMCS shows; and, where the work is not to give it
// a new one, that it was given none and the one in WHMCS has stayed.
func (w *crashWorld) passwords(id int64, was identity) (wrong []string) {
	w.t.Helper()
	shown, sent := w.password(id), 0
	for _, r := range w.sim.Requests() {
		p, has := r.Form["cipassword"]
		if !has || !strings.Contains(r.Path, fmt.Sprintf("/qemu/%d/", w.vmid(id))) {
			continue
		}
		if sent++; p != shown {
			wrong = append(wrong, fmt.Sprintf("the guest got the password %s, WHMCS shows %s", p, shown))
		}
	}
	switch {
	case w.p.password && sent == 0:
		wrong = append(wrong, "the guest got no password")
	case w.p.password && !w.p.kept && shown == was.password:
		wrong = append(wrong, "the password is the former one")
	case w.p.kept && shown != was.password:
		wrong = append(wrong, fmt.Sprintf("WHMCS shows the password %s, and %s before", shown, was.password))
	case !w.p.password && (sent > 0 || shown != was.password):
		wrong = append(wrong, fmt.Sprintf("the guest was sent %d passwords; WHMCS shows %s, and %s before", sent, shown, was.password))
	}
	return wrong
}

// vmLines is a VM with its volumes, its snapshots, its firewall, and the backups that bear its VMID, one line each.
func (w *world) vmLines(vmid int) []string {
	var out []string
	when := regexp.MustCompile(`-\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d|puqkvm-\d{8}-\d{6}`)
	for _, b := range w.sim.Backups(vmid) {
		out = append(out, fmt.Sprintf("backup: %s, protected %v", when.ReplaceAllString(b.ID, "<when>"), b.Protected))
	}
	vm, found := w.sim.VM(vmid)
	if !found {
		return append(out, fmt.Sprintf("there is no VM %d", vmid))
	}
	chance := regexp.MustCompile(`\$5\$\S+|ctime=\d+|(vmgenid|instance-id:) [0-9a-f-]+`)
	for name := range vm.Snapshots {
		out = append(out, "snapshot: "+when.ReplaceAllString(name, "<when>"))
	}
	out = append(out, fmt.Sprintf("VM: node %s, %s, paused %v, lock %q, pool %q, pending %v, template %v", vm.Node, vm.Power, vm.Paused, vm.Lock, vm.Pool, vm.Pending, vm.Template))
	for k, v := range vm.Config {
		out = append(out, "config: "+k+" "+when.ReplaceAllString(v, "<when>"))
	}
	for slot, d := range vm.Disks {
		out = append(out, fmt.Sprintf("disk: %s %+v", slot, d))
	}
	for _, v := range w.sim.Volumes(vmid) {
		out = append(out, "volume: "+v)
	}
	for line := range strings.Lines(vm.CloudInit) {
		out = append(out, "cloud-init: "+strings.TrimRight(line, "\n"))
	}
	f := w.sim.Firewall(vmid)
	out = append(out, fmt.Sprintf("firewall: %v, rules %v", f.Options, f.Rules))
	for name, entries := range f.IPSets {
		out = append(out, "IPSet "+name)
		for _, e := range entries {
			out = append(out, fmt.Sprintf("IPSet %s: %s", name, e))
		}
	}
	for i := range out {
		out[i] = chance.ReplaceAllString(out[i], "<chance>")
	}
	return out
}

// replacement replaces whole words by their names.
func replacement(names map[string]string) func(string) string {
	words := slices.SortedFunc(maps.Keys(names), func(a, b string) int { return len(b) - len(a) })
	words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
	for i := range words {
		words[i] = regexp.QuoteMeta(words[i])
	}
	all := regexp.MustCompile(`\b(` + strings.Join(words, "|") + `)\b`)
	return func(text string) string {
		return all.ReplaceAllStringFunc(text, func(s string) string { return names[s] })
	}
}
