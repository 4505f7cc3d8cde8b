package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

const (
	farmNodes     = 8
	farmFirstSID  = 6000
	farmFirstVMID = 20000
)

// farmOrder is what a service of the farm is: the usual kind, in which every row of Deploy but DNS and migration has
// something to do.
var farmOrder = []string{"cpu=2", "ram=4", "system_size=20", "system_mbps_rd=200", "system_mbps_wr=200", "system_iops_rd=1000", "system_iops_wr=1000",
	"additional_size=50", "additional_mbps_rd=100", "additional_mbps_wr=100", "bandwidth=50", "ipv4=2", "main_domain=example.com",
	"first_vmid=" + strconv.Itoa(farmFirstVMID)}

// farm is a provider at the time of a sale: a cluster of eight nodes, a product a node, two pools, and n orders, all as
// create queues them, given to the products in turn; with one template they are all of the first.
type farm struct {
	*world
	n           int
	oneTemplate bool
	done        kvm.Status // where the services are when all is done, "" = ready
}

func newFarm(b testing.TB, s scene, n int, oneTemplate bool) *farm {
	b.Helper()
	s.nodes, s.bare = farmNodes, true
	f := &farm{world: newWorld(b, s), n: n, oneTemplate: oneTemplate}
	f.ok("server", "set", "1", "--fingerprint", f.pve.Fingerprint)
	for i := range f.products() {
		id := int64(i + 1)
		if id > 1 { // newWorld has added the first
			f.db.AddProduct(whmcstest.Product{ID: id})
		}
		f.ok(append([]string{"product", "set", strconv.FormatInt(id, 10), "template=" + strconv.Itoa(pvesim.FirstTemplate+i)}, farmOrder...)...)
	}
	f.ok("ippool", "add", "--server", "1", "--gateway", "10.0.0.1/16", "--first", "10.0.1.0", "--last", "10.0.255.254", "--dns", "192.0.2.53")
	first := min(n, f.products())
	for i := range first {
		id := int64(farmFirstSID + i)
		f.db.AddService(whmcstest.Service{ID: id, ClientID: 42, ProductID: int64(i + 1), ServerID: 1})
		f.ok("create", strconv.FormatInt(id, 10))
	}
	f.multiply(first)
	return f
}

func (f *farm) products() int {
	if f.oneTemplate {
		return 1
	}
	return farmNodes
}

// multiply makes the first orders be f.n of them, by the rows that create has written: a create for each takes longer
// than what is to be measured.
func (f *farm) multiply(first int) {
	f.t.Helper()
	digits := "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	step := fmt.Sprintf("(%d * (a.d + 10 * b.d + 100 * c.d + 1000 * e.d))", first)
	for _, table := range []struct {
		name, id string
		changed  map[string]string // column -> expression
	}{
		{"tblhosting", "id", map[string]string{"id": "x.id + " + step, "domain": "REPLACE(x.domain, x.id, x.id + " + step + ")"}},
		{"puqProxmoxKVM_vm_info", "service_id", map[string]string{"service_id": "x.service_id + " + step, "vm_id": "x.vm_id + " + step,
			"vm_name": "REPLACE(x.vm_name, x.service_id, x.service_id + " + step + ")", "queued_at": "x.queued_at + INTERVAL " + step + " MICROSECOND"}},
		{"puq_proxmox_kvm_vmids", "service_id", map[string]string{"service_id": "x.service_id + " + step, "vmid": "x.vmid + " + step}},
	} {
		var columns, values []string
		for _, c := range f.column("SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?", table.name) {
			value, changed := table.changed[c]
			if !changed {
				value = "x." + c
			}
			columns, values = append(columns, c), append(values, value)
		}
		f.db.Exec("INSERT INTO "+table.name+" ("+strings.Join(columns, ", ")+") SELECT "+strings.Join(values, ", ")+" FROM "+table.name+" x, "+
			digits+" a, "+digits+" b, "+digits+" c, "+digits+" e WHERE "+step+" > 0 AND x."+table.id+" + "+step+" < ?", farmFirstSID+f.n)
	}
	if n := f.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info v JOIN tblhosting h ON h.id = v.service_id JOIN puq_proxmox_kvm_vmids r ON r.vmid = v.vm_id AND r.service_id = h.id WHERE vm_status = 'creation'"); n != strconv.Itoa(f.n) {
		f.t.Fatalf("%s orders, want %d", n, f.n)
	}
}

// left is how many orders are not done.
func (f *farm) left() int {
	f.t.Helper()
	done := f.done
	if done == "" {
		done = kvm.Ready
	}
	return f.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status <> '" + string(done) + "'")
}

// settleFarm checks that every order is a running VM of its own with its own addresses and one mail, and that nothing is
// left over.
func (f *farm) settleFarm() {
	f.t.Helper()
	running := 0
	for _, vm := range f.sim.VMs() {
		if vm.Power == kvm.Running && vm.Lock == "" && !vm.Template {
			running++
		}
	}
	mails, most := map[int64]int{}, 0
	for _, m := range f.api.Mails() {
		mails[m.ServiceID]++
		most = max(most, mails[m.ServiceID])
	}
	if len(mails) != f.n || most != 1 || len(f.sim.VMs()) != f.n+farmNodes || running != f.n {
		f.t.Errorf("%d orders: %d services were told, at most %d times; %d VMs beside the templates, %d of them running", f.n, len(mails), most, len(f.sim.VMs())-farmNodes, running)
	}
	n := strconv.Itoa(f.n)
	for what, check := range map[string]struct{ query, want string }{
		"ready":                   {"SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status = 'ready'", n},
		"VMIDs":                   {"SELECT COUNT(DISTINCT vm_id) FROM puqProxmoxKVM_vm_info", n},
		"UUIDs":                   {"SELECT COUNT(DISTINCT vm_uuid) FROM puqProxmoxKVM_vm_info WHERE vm_uuid <> ''", n},
		"services of 2 addresses": {"SELECT COUNT(*) FROM (SELECT service_id FROM puq_proxmox_kvm_addresses GROUP BY service_id HAVING COUNT(*) = 2) x", n},
		"addresses in WHMCS":      {"SELECT COUNT(DISTINCT dedicatedip) FROM tblhosting WHERE dedicatedip <> ''", n},
		"claims of services":      {"SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE claim_owner IS NOT NULL", "0"},
		"slots":                   {"SELECT COUNT(*) FROM puq_proxmox_kvm_slots", "0"},
		"unsent mails":            {"SELECT COUNT(*) FROM puq_proxmox_kvm_outbox WHERE state <> 'sent'", "0"},
	} {
		if got := f.db.Text(check.query); got != check.want {
			f.t.Errorf("%s: %s, want %s", what, got, check.want)
		}
	}
}

// What the benchmarks measure is what an order is, and the lower bound counts no call that the program does without: so
// that figures are not of something else when the benchmarks are run the next time.
func TestFarm(t *testing.T) {
	model := pvesim.Instant()
	f := newFarm(t, scene{model: model}, farmNodes+3, false)
	d := f.drain(0, func() processes {
		f.tick()
		return processes{}
	})
	f.settleFarm()
	f.checkNeeds(necessary(model))
	if d.left != 0 || d.ticks == 0 || d.requests < f.n*len(necessary(model)) || d.polls < 5*f.n || d.statements < f.n*deployRows {
		t.Errorf("%+v", d)
	}
	for i, want := range []int{2, 2, 2, 1, 1, 1, 1, 1} {
		if got := f.perNode()[i]; got != want {
			t.Errorf("node %d: %d orders, want %d", i+1, got, want)
		}
	}
}
