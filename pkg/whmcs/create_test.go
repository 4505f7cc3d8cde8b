package whmcs

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// create creates the service's row and wants that VMID.
func (x *shop) create(id int64, vmid int) {
	x.Helper()
	sv, err := x.Create(x.Context(), id, orderedAt, nil)
	if err != nil {
		x.Fatal(err)
	}
	if sv.Row.VMID != vmid || x.vm("vm_id", id) != fmt.Sprint(vmid) {
		x.Fatalf("service %d has VMID %d, stored %s; want %d", id, sv.Row.VMID, x.vm("vm_id", id), vmid)
	}
}

func TestCreate(t *testing.T) {
	x := newShop(t)
	x.product(`{"template":9000,"first_vmid":2000,"name_prefix":"kvm","name_rule":"{prefix}-{service_id}-{hour}{minute}","main_domain":"example.com"}`)
	x.service(7)
	mail := kvm.Mail{ServiceID: 7, Action: "SendEmail", Template: "Welcome", Key: "welcome:7"}
	sv, err := x.Create(t.Context(), 7, orderedAt, &mail)
	if err != nil {
		t.Fatal(err)
	}
	if sv.Row.VMID != 2000 || sv.Row.Name != "kvm-7-0349" || sv.Domain != "kvm-7-0349.example.com" || sv.Row.Status != kvm.Creation || sv.Row.ServerID != 1 {
		t.Errorf("%+v", sv)
	}
	for query, want := range map[string]string{
		"SELECT domain FROM tblhosting WHERE id = 7": "kvm-7-0349.example.com",
		"SELECT CONCAT_WS(' ', vm_id, vm_name, vm_status, server_id, clone_sent, alerted) FROM puqProxmoxKVM_vm_info WHERE service_id = 7": "2000 kvm-7-0349 creation 1 0 0",
		"SELECT status_since = queued_at AND status_since > UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE FROM puqProxmoxKVM_vm_info":               "1",
		"SELECT CONCAT_WS(' ', vmid, service_id, state) FROM puq_proxmox_kvm_vmids":                                                        "2000 7 reserved",
		"SELECT CONCAT_WS(' ', mail_key, service_id, client_id, template) FROM puq_proxmox_kvm_outbox":                                     "welcome:7 7 42 Welcome",
	} {
		if got := x.db.Text(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// Nothing of what cannot have a VM, or has one, is changed.
func TestCreateRefuses(t *testing.T) {
	x := newShop(t)
	x.db.AddProduct(whmcstest.Product{ID: 2, Module: "cpanel"})
	x.db.AddServer(whmcstest.Server{ID: 2, Module: "cpanel"})
	for name, c := range map[string]struct {
		change string // of service 7, whose row is at "status" if that is not ""
		status kvm.Status
		class  error
		words  string
	}{
		"no such service":   {change: "DELETE FROM tblhosting WHERE id = 7", class: kvm.ErrNotFound, words: "service 7"},
		"no such product":   {change: "UPDATE tblhosting SET packageid = 99", class: kvm.ErrInvalid, words: "product 99"},
		"another module's":  {change: "UPDATE tblhosting SET packageid = 2", class: kvm.ErrInvalid, words: `"cpanel"`},
		"quantity":          {change: "UPDATE tblhosting SET qty = 3", class: kvm.ErrInvalid, words: "quantity 3"},
		"no quantity":       {change: "UPDATE tblhosting SET qty = 0", class: kvm.ErrInvalid, words: "quantity 0"},
		"terminated":        {change: "UPDATE tblhosting SET domainstatus = 'Terminated'", class: kvm.ErrRefused, words: "Terminated"},
		"cancelled":         {change: "UPDATE tblhosting SET domainstatus = 'Cancelled'", class: kvm.ErrRefused, words: "Cancelled"},
		"fraud":             {change: "UPDATE tblhosting SET domainstatus = 'Fraud'", class: kvm.ErrRefused, words: "Fraud"},
		"no server":         {change: "UPDATE tblhosting SET server = 0", class: kvm.ErrNotFound, words: "server 0"},
		"another's server":  {change: "UPDATE tblhosting SET server = 2", class: kvm.ErrRefused, words: "server 2"},
		"no template":       {change: "UPDATE puq_proxmox_kvm_product_settings SET settings = '{}'", class: kvm.ErrAdmin, words: "no template"},
		"no settings":       {change: "DELETE FROM puq_proxmox_kvm_product_settings", class: kvm.ErrAdmin, words: "no template"},
		"settings nonsense": {change: `UPDATE puq_proxmox_kvm_product_settings SET settings = '{"template":9000,"cpu":"many"}'`, class: kvm.ErrInvalid, words: "product 1"},
		"name is no label":  {change: `UPDATE puq_proxmox_kvm_product_settings SET settings = '{"template":9000,"name_rule":"a{random_digit_63}"}'`, class: kvm.ErrInvalid, words: "name"},
		"pending":           {status: kvm.SetIP, class: kvm.ErrQueued, words: "set_ip"},
		"another's status":  {status: "something", class: kvm.ErrAdmin, words: "something"},
		"has a VM":          {status: kvm.Ready, class: kvm.ErrRefused, words: "has a VM"},
		"failed terminate":  {status: kvm.ErrorTerminate, class: kvm.ErrAdmin, words: "error_terminate"},
		"removed but in hand": {change: "INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status, claim_owner, claim_until) VALUES (7, 'remove', 'x', UTC_TIMESTAMP(6) + INTERVAL 1 MINUTE)",
			class: kvm.ErrQueued, words: "in hand"},
	} {
		x.db.Exec("DELETE FROM tblhosting")
		x.db.Exec("DELETE FROM puqProxmoxKVM_vm_info")
		x.product(`{"template":9000}`)
		x.db.AddService(whmcstest.Service{ID: 7, ClientID: 42, ProductID: 1, ServerID: 1, Domain: "before.example.com"})
		if c.status != "" {
			x.db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status, vm_id) VALUES (7, ?, 555)", string(c.status))
		}
		if c.change != "" {
			x.db.Exec(c.change)
		}
		before := x.row(7)
		sv, err := x.Create(t.Context(), 7, orderedAt, &kvm.Mail{ServiceID: 7, Action: "SendEmail", Template: "Welcome", Key: "k"})
		if sv != nil || !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, %v", name, sv, err)
		}
		if d := cmp.Diff(before, x.row(7)); d != "" {
			t.Errorf("%s: the row changed: %s", name, d)
		}
		if n := x.db.Text("SELECT (SELECT COUNT(*) FROM puq_proxmox_kvm_vmids) + (SELECT COUNT(*) FROM puq_proxmox_kvm_outbox) + (SELECT COUNT(*) FROM tblhosting WHERE domain <> 'before.example.com')"); n != "0" {
			t.Errorf("%s: something was left behind", name)
		}
	}
}

// A WHMCS without quantities has none.
func TestCreateWithoutQuantity(t *testing.T) {
	x := newShop(t)
	x.service(7)
	x.db.Exec("ALTER TABLE tblhosting DROP COLUMN qty")
	old := &shop{T: t, Store: openStore(t, x.db), db: x.db}
	old.create(7, 100)
}

// A removed service is deployed anew. The UUIDs of its former VMs stay its own; nothing else does.
func TestCreateAgain(t *testing.T) {
	x := newShop(t)
	x.order(7)
	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET vm_status = 'remove', vm_node = 'pve2', vm_uuid = 'b', vm_uuids = '["a","b"]', vm_net0_mac = 'm', clone_sent = 1, migrate_target = 'pve3',
		disk_slot = 'scsi1', iso_boot = 'ide0 cdn', password_set = 1, suspended = 1, task_kind = 'clone', task_upid = 'UPID:x', message = 'm', alerted = 1, status_since = '2026-01-01', queued_at = '2026-01-01',
		own_snapshots = 2, restore_from = 'nfs:x', restore_failed = 1, backup_sent = 'UPID:y', claim_owner = 'dead', claim_until = '2026-01-01'`)
	x.db.Exec("DELETE FROM puq_proxmox_kvm_vmids")
	sv, err := x.Create(t.Context(), 7, orderedAt, nil)
	if err != nil || sv.Row.Status != kvm.Creation {
		t.Fatal(sv, err)
	}
	back, err := x.Service(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	want := kvm.Row{VMID: 100, Name: "vps-42-7", Status: kvm.Creation, Since: back.Row.Since, ServerID: 1, UUIDs: []string{"a", "b"}, Owner: "dead"}
	if d := cmp.Diff(want, back.Row); d != "" {
		t.Error(d)
	}
	if x.vm("queued_at > '2026-02-01' AND status_since > '2026-02-01' AND alerted = 0", 7) != "1" {
		t.Errorf("%v", x.row(7))
	}
}

// The lowest VMID that nobody has: no reservation, no tombstone at rest, no row of the PHP module's, which never reserved.
func TestLowestVMID(t *testing.T) {
	x := newShop(t)
	x.db.Exec(`INSERT INTO puq_proxmox_kvm_vmids (vmid, service_id, state, until, reserved_at) VALUES (99, 1, 'reserved', NULL, '2026-01-01'), (100, 1, 'reserved', NULL, '2026-01-01'),
		(102, 1, 'tombstone', UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, '2026-01-01'), (104, 1, 'tombstone', UTC_TIMESTAMP(6) - INTERVAL 1 SECOND, '2026-01-01'),
		(105, 1, 'tombstone', NULL, '2026-01-01')`)
	x.db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status, vm_id) VALUES (1, 'ready', 101), (2, 'ready', 106), (3, 'ready', 100), (4, 'ready', NULL)")
	for id := int64(10); id < 14; id++ {
		x.service(id)
	}
	x.create(10, 103)
	x.create(11, 104)
	x.create(12, 107)
	if got := x.db.Text("SELECT CONCAT_WS(' ', service_id, state, COALESCE(until, '-')) FROM puq_proxmox_kvm_vmids WHERE vmid = 104"); got != "11 reserved -" {
		t.Errorf("104: %s", got)
	}
	x.product(`{"template":9000,"first_vmid":105}`)
	x.create(13, 108)
}

func TestNextVMID(t *testing.T) {
	x := newShop(t)
	x.order(1, 2, 3)
	sv := x.hold(1)
	sv.Row.CloneSent, sv.Row.Node, sv.Row.TaskUPID = true, "pve1", "UPID:x"
	if err := x.NextVMID(t.Context(), sv); err != nil {
		t.Fatal(err)
	}
	if sv.Row.VMID != 103 || sv.Row.CloneSent || sv.Row.Node != "" || x.vm("CONCAT_WS(' ', vm_id, clone_sent, vm_node, vm_status)", 1) != "103 0  creation" {
		t.Errorf("%+v; stored %s", sv.Row, x.vm("CONCAT_WS(' ', vm_id, clone_sent, vm_node, vm_status)", 1))
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', vmid, service_id) ORDER BY vmid) FROM puq_proxmox_kvm_vmids"); got != "101 2,102 3,103 1" {
		t.Errorf("reserved: %s", got)
	}
}

// Eight processes create 40 services at once, each service by two of them, while others leave theirs: no VMID stands
// twice, none is left out, and each service is created once.
func TestCreateRace(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		x := newShop(t)
		const services = 40
		for id := int64(1); id <= services; id++ {
			x.service(id)
		}
		x.order(50)
		moving := x.hold(50)
		stores := x.others(8, strict)
		together(len(stores)+1, func(i int) {
			if i == len(stores) {
				for range 5 {
					if err := x.NextVMID(t.Context(), moving); err != nil {
						t.Error(err)
					}
				}
				return
			}
			for n := range services / 4 {
				id := int64(n*4+i%4) + 1
				if _, err := stores[i].Create(t.Context(), id, orderedAt, nil); err != nil && !errors.Is(err, kvm.ErrQueued) {
					t.Errorf("service %d: %v", id, err)
				}
			}
		})
		for query, want := range map[string]string{
			"SELECT CONCAT_WS(' ', COUNT(*), COUNT(DISTINCT vm_id)) FROM puqProxmoxKVM_vm_info":                                             "41 41",
			"SELECT COUNT(*) FROM puqProxmoxKVM_vm_info v JOIN puq_proxmox_kvm_vmids r ON r.vmid = v.vm_id AND r.service_id = v.service_id": "41",
			"SELECT COUNT(*) FROM puq_proxmox_kvm_vmids":                                                                                    "41",
			"SELECT MAX(vmid) < 150 FROM puq_proxmox_kvm_vmids":                                                                             "1",
		} {
			if got := x.db.Text(query); got != want {
				t.Errorf("%s: %s, want %s", query, got, want)
			}
		}
	})
}

// A transaction that hangs in another process keeps nobody from ordering.
func TestCreateWaitsForNobody(t *testing.T) {
	x := newShop(t)
	x.order(1)
	x.db.Exec("INSERT INTO puq_proxmox_kvm_vmids (vmid, service_id, state, until, reserved_at) VALUES (500, 1, 'tombstone', '2026-01-01', '2026-01-01')")
	tx, err := x.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "UPDATE puqProxmoxKVM_vm_info SET message = 'hangs' WHERE service_id = 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "UPDATE puq_proxmox_kvm_vmids SET reserved_at = '2026-01-02' WHERE vmid = 500"); err != nil {
		t.Fatal(err)
	}
	x.service(2)
	x.create(2, 101)
}
