package cmd

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
)

// dumped is a table of the database as the crash test looks at it.
type dumped struct {
	name    string
	key     string // the column with the service's id, "" = it has none
	columns []string
}

// crashTables are all tables but those that tell what was done when: the stored runs and the tasks' last starts, which a
// disturbance changes as it should, and WHMCS's list of sent mails, which are counted where they are sent.
func (w *world) crashTables() []dumped {
	w.t.Helper()
	var out []dumped
	for _, name := range w.tables() {
		switch name {
		case "puq_proxmox_kvm_runs", "puq_proxmox_kvm_cron_tasks", "tblemails":
			continue
		}
		t := dumped{name: name, columns: w.column("SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION", name)}
		switch {
		case slices.Contains(t.columns, "service_id"):
			t.key = "service_id"
		case name == "tblhosting":
			t.key = "id"
		}
		out = append(out, t)
	}
	return out
}

// mine are the service's rows, a line each; what a repetition may change (ids, moments, counts of attempts) is left out, and
// so is the claim: one whose end has passed holds nothing, and nobody clears it on a row that is settled.
func (w *world) mine(tables []dumped, id int64) []string {
	w.t.Helper()
	chance := regexp.MustCompile(`^(id|.*_at|.*_since|until|password|next_try|attempts|trace_after|last_error|mail_key)$`)
	var out []string
	for _, t := range tables {
		if t.key == "" {
			continue
		}
		for _, row := range w.rows("SELECT * FROM `"+t.name+"` WHERE `"+t.key+"` = ?", id) {
			var cells []string
			for i, c := range t.columns {
				switch {
				case strings.HasPrefix(c, "claim_"):
				case !chance.MatchString(c), row[i] == `\N`:
					cells = append(cells, c+"="+row[i])
				}
			}
			out = append(out, t.name+": "+strings.Join(cells, " | "))
		}
	}
	return out
}

// others is everything that is not the service's: of each table the count and the sum of all other rows, and every other VM
// with its firewall. vmid is the service's own, 0 = it has none yet.
func (w *world) others(tables []dumped, id int64, vmid int) []string {
	w.t.Helper()
	var parts []string
	for _, t := range tables {
		where := ""
		if t.key != "" {
			where = fmt.Sprintf(" WHERE `%s` <> %d", t.key, id)
		}
		unclaimed := slices.DeleteFunc(slices.Clone(t.columns), func(c string) bool { return strings.HasPrefix(c, "claim_") })
		parts = append(parts, fmt.Sprintf("SELECT '%s', COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', `%s`))), 0) FROM `%s`%s",
			t.name, strings.Join(unclaimed, "`, `"), t.name, where))
	}
	var out []string
	for _, row := range w.rows(strings.Join(parts, " UNION ALL ")) {
		out = append(out, "rows of others in "+strings.Join(row, " "))
	}
	vms := w.sim.VMs()
	for _, n := range slices.Sorted(maps.Keys(vms)) {
		if n != vmid {
			out = append(out, fmt.Sprintf("another VM %d: %+v %+v", n, vms[n], w.sim.Firewall(n)))
		}
	}
	return out
}

// end is how a settled service looks, in the database and in Proxmox, one line each. What is its own by chance (numbers,
// addresses, the user's name) is replaced by names, so that the ends of two services compare. wrong is what does not fit
// together within it.
func (w *world) end(tables []dumped, id int64) (lines, wrong []string) {
	w.t.Helper()
	vmid := w.vmid(id)
	row := w.rows("SELECT vm_uuid, COALESCE(vm_net0_mac, ''), vm_name FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)[0]
	uuid, mac, name := row[0], row[1], row[2]
	user := w.db.Text("SELECT username FROM tblhosting WHERE id = ?", id)
	names := map[string]string{strconv.FormatInt(id, 10): "<sid>", strconv.Itoa(vmid): "<vmid>", uuid: "<uuid>", mac: "<mac>", strings.ToLower(mac): "<mac>", user: "<user>"}
	var addresses []netip.Addr
	for _, text := range w.column("SELECT address FROM puq_proxmox_kvm_addresses WHERE service_id = ? ORDER BY position, address", id) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			w.t.Fatal(err)
		}
		addresses = append(addresses, a)
		names[text], names[a.String()] = fmt.Sprintf("<ip%d>", len(addresses)), fmt.Sprintf("<ip%d>", len(addresses))
	}
	lines = append(w.mine(tables, id), w.vmLines(vmid)...)
	vm, _ := w.sim.VM(vmid)
	for what, ok := range map[string]bool{
		"the row has no UUID": uuid != "", "the row has no MAC": mac != "", "WHMCS has no user": user != "", "the service has no address": len(addresses) > 0,
		"the VM's UUID is not the row's":            strings.Contains(vm.Config["smbios1"], "uuid="+uuid),
		"the VM's MAC is not the row's":             strings.Contains(vm.Config["net0"], mac),
		"the VM's name is not the row's":            vm.Config["name"] == name,
		"the guest's user is not the one in WHMCS":  vm.Config["ciuser"] == user,
		"the cloud-init drive has not these values": strings.Contains(vm.CloudInit, user),
		"a task of Proxmox still runs":              w.sim.Settled(),
		"another service has its VMID":              w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_id = ?", vmid) == "1",
	} {
		if !ok {
			wrong = append(wrong, what)
		}
	}
	wrong = append(wrong, w.passwords(id, vmid)...)
	for n := vmid - 4; n <= vmid+4; n++ {
		if _, found := w.sim.VM(n); !found {
			for _, v := range w.sim.Volumes(n) {
				wrong = append(wrong, "left over in Proxmox: the volume "+v)
			}
		}
	}
	replace := replacement(names)
	for i := range lines {
		lines[i] = replace(lines[i])
	}
	slices.Sort(lines)
	slices.Sort(wrong)
	return lines, wrong
}

// passwords checks that the guest was never given another password than WHMCS shows.
func (w *world) passwords(id int64, vmid int) (wrong []string) {
	w.t.Helper()
	secret, err := whmcs.NewCipher(kvm.NewSecret(testHash)).Decrypt(w.db.Text("SELECT password FROM tblhosting WHERE id = ?", id))
	if err != nil {
		return []string{"the password in WHMCS: " + err.Error()}
	}
	sent := 0
	for _, r := range w.sim.Requests() {
		p, has := r.Form["cipassword"]
		if !has || !strings.Contains(r.Path, fmt.Sprintf("/qemu/%d/", vmid)) {
			continue
		}
		if sent++; p != secret.Reveal() {
			wrong = append(wrong, fmt.Sprintf("the guest got the password %s, WHMCS shows %s", p, secret.Reveal()))
		}
	}
	if sent == 0 {
		wrong = append(wrong, "the guest got no password")
	}
	return wrong
}

// vmLines is a VM with its volumes and its firewall, one line each.
func (w *world) vmLines(vmid int) []string {
	vm, found := w.sim.VM(vmid)
	if !found {
		return []string{"there is no VM"}
	}
	chance := regexp.MustCompile(`\$5\$\S+|ctime=\d+|(vmgenid|instance-id:) [0-9a-f-]+`)
	out := []string{fmt.Sprintf("VM: node %s, %s, paused %v, lock %q, pool %q, pending %v, template %v", vm.Node, vm.Power, vm.Paused, vm.Lock, vm.Pool, vm.Pending, vm.Template)}
	for k, v := range vm.Config {
		out = append(out, "config: "+k+" "+v)
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
