package whmcs

import (
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// orderedAt is when the tests order: the clock of the name's macros.
var orderedAt = time.Date(2026, 4, 10, 3, 49, 18, 0, time.UTC)

// shop is a database with server 1, client 42 and product 1, which has a template.
type shop struct {
	*testing.T
	*Store
	db    *whmcstest.DB
	owner string // of this process
}

func newShop(t *testing.T, options ...whmcstest.Option) *shop {
	t.Helper()
	store, db := newStore(t, options...)
	owner, err := NewOwner()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := store.cipher.Encrypt(kvm.NewSecret("token"))
	if err != nil {
		t.Fatal(err)
	}
	db.AddServer(whmcstest.Server{ID: 1, Hostname: "pve.example.com", EncryptedPassword: secret})
	db.AddClient(whmcstest.Client{ID: 42})
	db.AddProduct(whmcstest.Product{ID: 1})
	x := &shop{T: t, Store: store, db: db, owner: owner}
	x.product(`{"template":9000}`)
	return x
}

// product gives product 1 its settings.
func (x *shop) product(settings string) {
	x.db.Exec("REPLACE INTO puq_proxmox_kvm_product_settings (product_id, settings) VALUES (1, ?)", settings)
}

// service adds a service of product 1 to WHMCS.
func (x *shop) service(id int64) {
	x.Helper()
	x.db.AddService(whmcstest.Service{ID: id, ClientID: 42, ProductID: 1, ServerID: 1})
}

// order is service, and create.
func (x *shop) order(ids ...int64) {
	x.Helper()
	for _, id := range ids {
		x.service(id)
		if _, err := x.Create(x.Context(), id, orderedAt, nil); err != nil {
			x.Fatal(err)
		}
	}
}

// hold claims the service and reads it, as cron does.
func (x *shop) hold(id int64) *kvm.Service {
	x.Helper()
	return x.holdAs(x.Store, id, x.owner)
}

func (x *shop) holdAs(s *Store, id int64, owner string) *kvm.Service {
	x.Helper()
	if won, err := s.Claim(x.Context(), id, owner, ""); err != nil || !won {
		x.Fatalf("claim of service %d: %v, %v", id, won, err)
	}
	sv, err := s.Service(x.Context(), id)
	if err != nil {
		x.Fatal(err)
	}
	if sv.Row.Owner != owner {
		x.Fatalf("service %d was read under the claim of %q", id, sv.Row.Owner)
	}
	return sv
}

// vm is a column of the service's row.
func (x *shop) vm(column string, id int64) string {
	x.Helper()
	return x.db.Text("SELECT "+column+" FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
}

// row is the service's whole row, for "nothing was written".
func (x *shop) row(id int64) map[string]string {
	x.Helper()
	rows, err := x.db.QueryContext(x.Context(), "SELECT * FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	if err != nil {
		x.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		x.Fatal(err)
	}
	values := make([]any, len(names))
	for i := range values {
		values[i] = new(any)
	}
	out := map[string]string{}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			x.Fatal(err)
		}
		for i, n := range names {
			out[n] = fmt.Sprintf("%s", *values[i].(*any))
		}
	}
	if err := rows.Err(); err != nil {
		x.Fatal(err)
	}
	return out
}

// others are n further processes on the same database. With strict their connections refuse to write a row that has
// changed since their transaction first looked, as MariaDB does by default from 11.6 on.
func (x *shop) others(n int, strict bool) []*Store {
	x.Helper()
	d, err := ParseDSN(x.db.DSN)
	if err != nil {
		x.Fatal(err)
	}
	var out []*Store
	for range n {
		s, err := Open(x.Context(), d, Options{EncryptionHash: kvm.NewSecret(testHash)})
		if err != nil {
			x.Fatal(err)
		}
		if strict {
			if err := s.Close(); err != nil {
				x.Fatal(err)
			}
			s.config.Params["innodb_snapshot_isolation"] = "ON"
			if err := s.connect(); err != nil {
				x.Fatal(err)
			}
		}
		x.Cleanup(func() { _ = s.Close() })
		out = append(out, s)
	}
	return out
}

// isolations runs f with ordinary connections and, where the server knows the variable, with strict ones.
func isolations(t *testing.T, f func(t *testing.T, strict bool)) {
	t.Run("ordinary", func(t *testing.T) { f(t, false) })
	db := whmcstest.NewDB(t, whmcstest.Empty())
	var name, value string
	err := db.QueryRowContext(t.Context(), "SHOW VARIABLES LIKE 'innodb_snapshot_isolation'").Scan(&name, &value)
	switch {
	case err == nil:
		t.Run("strict", func(t *testing.T) { f(t, true) })
	case !errors.Is(err, sql.ErrNoRows):
		t.Fatal(err)
	}
}

// together runs f for each i below n at once and waits for all.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

func TestService(t *testing.T) {
	x := newShop(t)
	x.product(`{"template":9000,"cpu":2,"ram":4}`)
	x.db.AddService(whmcstest.Service{ID: 7, ClientID: 42, ProductID: 1, ServerID: 1, Status: "Suspended", Username: "ada"})
	x.db.AddConfigOption(whmcstest.ConfigOption{ProductID: 1, Name: "CPU Cores|Cores", Value: "6|6 cores", ServiceID: 7})
	x.db.AddCustomField(whmcstest.CustomField{ProductID: 1, Name: "SSH Key|Your key", ServiceID: 7, Value: " ssh-ed25519 A\r\nssh-ed25519 B\r\n"})
	x.db.AddCustomField(whmcstest.CustomField{ProductID: 1, Name: "SSH Keyring", ServiceID: 7, Value: "not this"})
	if _, err := x.Service(t.Context(), 7); !errors.Is(err, kvm.ErrNotFound) || !strings.Contains(kvm.Hint(err), "create 7") {
		t.Errorf("without a row of ours: %v", err)
	}
	if _, err := x.Create(t.Context(), 7, orderedAt, nil); err != nil {
		t.Fatal(err)
	}
	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET vm_node = 'pve2', vm_uuid = 'b', vm_uuids = '["a","b"]', vm_net0_mac = 'BC:24:11:00:00:01', clone_sent = 1,
		migrate_target = 'pve3', disk_slot = 'scsi1', iso_boot = 'ide0 cdn', password_set = 1, suspended = 1, task_kind = 'clone', task_upid = 'UPID:x', message = 'm',
		own_snapshots = 2, restore_from = 'nfs:x', restore_failed = 1, backup_note = 'n', backup_sent = 'UPID:y', backup_moment = '2026-01-02 03:00:00', backup_date = '2026-01-02',
		backup_after = '2026-01-02 04:00:00', status_since = '2026-01-02 03:04:05.000006', vm_status = 'clone' WHERE service_id = 7`)
	sv, err := x.Service(t.Context(), 7)
	if err != nil || sv.Problem != nil {
		t.Fatal(err, sv.Problem)
	}
	want := kvm.Row{VMID: 100, Name: "vps-42-7", Status: kvm.Cloned, Since: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), ServerID: 1, Node: "pve2", UUID: "b",
		UUIDs: []string{"a", "b"}, MAC: "BC:24:11:00:00:01", CloneSent: true, MigrateTarget: "pve3", DiskSlot: "scsi1", ISOBoot: "ide0 cdn", PasswordSet: true, Suspended: true,
		TaskKind: "clone", TaskUPID: "UPID:x", Message: "m",
		OwnSnapshots: 2, From: "nfs:x", RestoreFailed: true, BackupNote: "n", BackupSent: "UPID:y", BackupMoment: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), BackupDate: "2026-01-02",
		BackupAfter: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)}
	if d := cmp.Diff(want, sv.Row); d != "" {
		t.Error(d)
	}
	if sv.ClientID != 42 || sv.ProductID != 1 || sv.ServerID != 1 || sv.State != "Suspended" || sv.Domain != "vps-42-7" || sv.Username != "ada" {
		t.Errorf("%+v", sv)
	}
	if sv.SSHKeys != "ssh-ed25519 A\nssh-ed25519 B" || sv.Package.CPU != 6 || sv.Package.RAM != 4096 || sv.Package.Template != 9000 {
		t.Errorf("keys %q, %d cores, %d MiB, template %d", sv.SSHKeys, sv.Package.CPU, sv.Package.RAM, sv.Package.Template)
	}
}

// What is wrong with the rows that a service needs is its Problem: one bad service never stops the list.
func TestServiceProblems(t *testing.T) {
	x := newShop(t)
	x.db.AddProduct(whmcstest.Product{ID: 2, Module: "cpanel"})
	x.db.AddProduct(whmcstest.Product{ID: 3})
	x.db.Exec("INSERT INTO puq_proxmox_kvm_product_settings (product_id, settings) VALUES (3, '{\"template\":9000}')")
	x.order(7)
	x.db.AddConfigOption(whmcstest.ConfigOption{ProductID: 3, Name: "CPU Cores", Value: "many", ServiceID: 7})
	for name, c := range map[string]struct {
		change string
		class  error
		words  string
	}{
		"no such product":    {"UPDATE tblhosting SET packageid = 99 WHERE id = ?", kvm.ErrInvalid, "product 99"},
		"another module's":   {"UPDATE tblhosting SET packageid = 2 WHERE id = ?", kvm.ErrInvalid, `"cpanel"`},
		"module by case":     {"UPDATE tblproducts, tblhosting SET servertype = 'PUQPROXMOXKVM' WHERE tblproducts.id = 1 AND tblhosting.id = ?", kvm.ErrInvalid, `"PUQPROXMOXKVM"`},
		"UUIDs are nonsense": {"UPDATE puqProxmoxKVM_vm_info SET vm_uuids = 'a,b' WHERE service_id = ?", kvm.ErrInvalid, "vm_uuids"},
		"no VMID":            {"UPDATE puqProxmoxKVM_vm_info SET vm_id = NULL WHERE service_id = ?", kvm.ErrInvalid, "vm_id"},
		"settings nonsense":  {"UPDATE puq_proxmox_kvm_product_settings, tblhosting SET settings = '{\"cpu\":-1}' WHERE tblhosting.id = ?", kvm.ErrInvalid, "product 1: "},
		"no template":        {"UPDATE puq_proxmox_kvm_product_settings, tblhosting SET settings = NULL WHERE tblhosting.id = ?", kvm.ErrAdmin, "no template"},
		"option nonsense":    {"UPDATE tblhosting SET packageid = 3 WHERE id = ?", kvm.ErrInvalid, "CPU Cores"},
	} {
		x.db.Exec("UPDATE tblhosting SET packageid = 1")
		x.db.Exec("UPDATE tblproducts SET servertype = ? WHERE id = 1", DefaultModule)
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_id = 100, vm_uuids = NULL")
		x.product(`{"template":9000}`)
		if sv, err := x.Service(t.Context(), 7); err != nil || sv.Problem != nil {
			t.Fatal(err, sv.Problem)
		}
		x.db.Exec(c.change, 7)
		sv, err := x.Service(t.Context(), 7)
		if err != nil {
			t.Fatal(name, err)
		}
		if !errors.Is(sv.Problem, c.class) || !strings.Contains(sv.Problem.Error(), c.words) || strings.Contains(sv.Problem.Error(), "\n") {
			t.Errorf("%s: problem %v", name, sv.Problem)
		}
	}
	x.db.Exec("UPDATE tblhosting SET packageid = 1")
	x.db.Exec("UPDATE tblproducts SET servertype = ? WHERE id = 1", DefaultModule)
	x.product(`{"template":9000}`)
	x.order(8)
	x.db.Exec("DELETE FROM tblhosting WHERE id = 8")
	if sv, err := x.Service(t.Context(), 8); err != nil || sv.State != deletedState || sv.Row.VMID == 0 {
		t.Errorf("deleted in WHMCS: %+v, %v", sv, err)
	}
}

// Every column that may be NULL may be NULL.
func TestServiceNulls(t *testing.T) {
	x := newShop(t, whmcstest.WithPHPTables())
	x.order(7)
	rows, err := x.db.QueryContext(t.Context(), `SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'puqProxmoxKVM_vm_info' AND IS_NULLABLE = 'YES'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var set []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		set = append(set, name+" = NULL")
	}
	if len(set) < 8 || !slices.Contains(set, "vm_status = NULL") {
		t.Fatalf("only %q may be NULL", set)
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET " + strings.Join(set, ", ") + " WHERE service_id = 7")
	sv, err := x.Service(t.Context(), 7)
	if err != nil || sv.Row.Status != "" || sv.Row.VMID != 0 || sv.Problem == nil {
		t.Errorf("service: %+v, %v", sv, err)
	}
	list, err := x.List(t.Context(), Filter{})
	if err != nil || len(list) != 3 || list[2].ID != 5547 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if _, err := x.Create(t.Context(), 7, orderedAt, nil); !errors.Is(err, kvm.ErrAdmin) || kvm.Hint(err) == "" {
		t.Errorf("create on a row without a status: %v", err)
	}
	pending, err := x.Pending(t.Context(), []kvm.Status{kvm.Creation, kvm.Ready}, time.Minute)
	if err != nil || len(pending) != 1 || pending[0] != (kvm.Pending{ID: 5546, Status: kvm.Ready}) {
		t.Errorf("pending: %+v, %v", pending, err)
	}
	if _, taken, err := x.PoolsWithTaken(t.Context(), 1); err != nil || len(taken) != 0 {
		t.Errorf("addresses: %v, %v", taken, err)
	}
}

func TestList(t *testing.T) {
	x := newShop(t)
	x.order(5, 6, 7)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready', vm_node = 'pve1' WHERE service_id = 5")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_node = 'pve2', server_id = 2, message = 'waiting on x' WHERE service_id = 6")
	x.db.Exec("UPDATE tblhosting SET dedicatedip = '192.0.2.5', assignedips = '192.0.2.6\n192.0.2.7', userid = 43 WHERE id = 5")
	x.db.Exec("DELETE FROM tblhosting WHERE id = 7")
	for want, f := range map[string]Filter{
		"5 6 7": {}, "5": {Status: kvm.Ready}, "6 7": {Status: kvm.Creation}, "6": {Server: 2}, "5 7": {Server: 1}, "5 ": {Node: "pve1"},
		" 5": {Client: 43}, "6 ": {Client: 42}, "": {Status: kvm.Ready, Node: "pve2"},
	} {
		list, err := x.List(t.Context(), f)
		if err != nil || list == nil {
			t.Fatalf("%+v: %v, %v", f, list, err)
		}
		var ids []string
		for _, l := range list {
			ids = append(ids, fmt.Sprint(l.ID))
		}
		if got := strings.Join(ids, " "); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %s, want %s", f, got, want)
		}
	}
	list, err := x.List(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if l := list[0]; l.VMID != 100 || l.Name != "vps-42-5" || l.Domain != "vps-42-5" || l.State != "Active" || !slices.Equal(l.Addresses, []string{"192.0.2.5", "192.0.2.6", "192.0.2.7"}) {
		t.Errorf("%+v", l)
	}
	if list[1].Message != "waiting on x" || list[2].State != deletedState || list[2].Since.IsZero() {
		t.Errorf("%+v", list[1:])
	}
}

// TestServiceOfThePHPModule: a row that names no server is of its service's, so that it never gets another one's addresses;
// and a clone may have been sent for it, so that a VM at its VMID is looked at before it is left.
func TestServiceOfThePHPModule(t *testing.T) {
	x := newShop(t)
	x.order(5)
	x.db.AddServer(whmcstest.Server{ID: 2, Hostname: "other.example.com"})
	for _, server := range []int{2, 1} {
		x.db.Exec("INSERT INTO puq_proxmox_kvm_ip_pools (server_id, type, bridge, gateway, mask, address_start, address_stop) VALUES (?, 'ipv4', 'vmbr0', ?, 24, ?, ?)",
			server, fmt.Sprintf("10.0.%d.1", server), fmt.Sprintf("10.0.%d.10", server), fmt.Sprintf("10.0.%d.20", server))
	}
	if sv, err := x.Service(t.Context(), 5); err != nil || sv.Row.CloneSent {
		t.Fatalf("our own row: %+v, %v", sv, err)
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET server_id = 0, queued_at = NULL WHERE service_id = 5")
	sv := x.hold(5)
	if sv.Row.ServerID != 1 || !sv.Row.CloneSent {
		t.Fatalf("the row's server is %d, clone sent %v", sv.Row.ServerID, sv.Row.CloneSent)
	}
	err := x.Allocate(t.Context(), sv, kvm.SetIP, func(pools []kvm.Pool, _ map[netip.Addr]struct{}) (kvm.Allotment, error) {
		for _, p := range pools {
			if p.ServerID != 1 {
				t.Errorf("a pool of server %d is offered", p.ServerID)
			}
		}
		return kvm.Allotment{}, nil
	})
	if err != nil || x.vm("server_id", 5) != "1" {
		t.Fatalf("%v, server_id %s", err, x.vm("server_id", 5))
	}
}
