package whmcs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const someUUID = "11111111-2222-4333-8444-00000000000a"

// legacy adds a service whose row the PHP module made.
func (x *shop) legacy(id int64, vmid int, status string) {
	x.Helper()
	x.service(id)
	x.db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_id, vm_name, vm_status) VALUES (?, ?, 'vps', ?)", id, vmid, status)
}

// adoption is what the look at Proxmox would give for the service.
func adoption(sv *kvm.Service, uuid string, addrs ...string) kvm.Adoption {
	a := kvm.Adoption{Row: sv.Row, Backups: []kvm.Backup{{Storage: "nas", Volume: "nas:backup/1"}, {Storage: "nas", Volume: "nas:backup/1"}}}
	a.Row.UUID, a.Row.UUIDs, a.Row.Node, a.Row.Cluster, a.Row.CloneSent = uuid, []string{uuid}, "pve1", "c", true
	for i, text := range addrs {
		a.Addrs = append(a.Addrs, kvm.Claim{Addr: netip.MustParseAddr(text), Bridge: "vmbr0", Bits: 24, Position: i})
	}
	return a
}

// everything is all that Adopt may write.
func (x *shop) everything() string {
	x.Helper()
	return x.db.Text(`SELECT CONCAT_WS('/', (SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(',', service_id, vm_uuid, vm_status, queued_at IS NULL) ORDER BY service_id SEPARATOR ';'), '') FROM puqProxmoxKVM_vm_info),
		(SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(',', address, service_id, state) ORDER BY address SEPARATOR ';'), '') FROM puq_proxmox_kvm_addresses),
		(SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(',', vmid, service_id, state) ORDER BY vmid SEPARATOR ';'), '') FROM puq_proxmox_kvm_vmids),
		(SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(',', service_id, volume) ORDER BY id SEPARATOR ';'), '') FROM puq_proxmox_kvm_backups))`)
}

func TestAdopt(t *testing.T) {
	x := newShop(t)
	x.legacy(7, 2003, "ready")
	x.db.Exec("INSERT INTO puq_proxmox_kvm_vmids (vmid, service_id, state, until, reserved_at) VALUES (2003, 5, 'tombstone', UTC_TIMESTAMP(6) + INTERVAL 1 DAY, UTC_TIMESTAMP(6))")
	before := x.everything()
	sv, err := x.Service(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Store.Adopt(t.Context(), sv, adoption(sv, someUUID, "192.0.2.10", "2001:db8::a"), true); err != nil || x.everything() != before {
		t.Fatalf("the plan: %v\n%s", err, x.everything())
	}
	if err := x.Store.Adopt(t.Context(), sv, adoption(sv, someUUID, "192.0.2.10", "2001:db8::a"), false); !errors.Is(err, kvm.ErrMoved) || x.everything() != before {
		t.Fatalf("without the claim: %v\n%s", err, x.everything())
	}
	sv = x.hold(7)
	if err := x.Store.Adopt(t.Context(), sv, adoption(sv, someUUID, "192.0.2.10", "2001:db8::a"), false); err != nil {
		t.Fatal(err)
	}
	const want = "7," + someUUID + ",ready,0/192.0.2.10,7,claimed;2001:0db8:0000:0000:0000:0000:0000:000a,7,claimed/2003,7,reserved/7,nas:backup/1"
	if got := x.everything(); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	if ids, err := x.Unadopted(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("left to adopt: %v, %v", ids, err)
	}
	// The next look of this process, without a fresh one, knows of the claims.
	if _, given := x.given.taken[netip.MustParseAddr("192.0.2.10")]; !given {
		t.Error("the address can be given out again")
	}
}

// A VM, UUID or address of another service is refused, with that service's name, and nothing is written.
func TestAdoptRefusesAnothers(t *testing.T) {
	x := newShop(t)
	for name, c := range map[string]struct {
		other func(x *shop)
		says  string // "" = it may
	}{
		"the same VMID on the server": {func(x *shop) { x.legacy(8, 2003, "clone") }, "VM 2003 is that of service 8 too"},
		"the same VMID, removed":      {func(x *shop) { x.legacy(8, 2003, "remove") }, ""},
		"the same VMID elsewhere":     {func(x *shop) { x.legacy(8, 2003, "ready"); x.db.Exec("UPDATE tblhosting SET server = 2 WHERE id = 8") }, ""},
		"the same VMID in the cluster": {func(x *shop) {
			x.legacy(8, 2003, "ready")
			x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET server_id = 2, vm_cluster = 'c' WHERE service_id = 8")
		}, "VM 2003 is that of service 8 too"},
		"the UUID": {func(x *shop) {
			x.legacy(8, 2004, "ready")
			x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_uuid = UPPER(?) WHERE service_id = 8", someUUID)
		}, "service 8 has or had a UUID of " + someUUID},
		"the UUID, once": {func(x *shop) {
			x.legacy(8, 2004, "remove")
			x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_uuids = ? WHERE service_id = 8", `["x","`+someUUID+`"]`)
		}, "service 8 has or had a UUID of " + someUUID},
		"the address, claimed": {func(x *shop) {
			x.db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, claimed_at) VALUES ('192.0.2.10', 8, UTC_TIMESTAMP(6))")
		}, "192.0.2.10 is claimed by service 8"},
		"the address, quarantined": {func(x *shop) {
			x.db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, state, claimed_at) VALUES ('192.0.2.10', 8, 'quarantined', UTC_TIMESTAMP(6))")
		}, "192.0.2.10 is quarantined by service 8"},
		"the address in WHMCS": {func(x *shop) {
			x.service(8)
			x.db.Exec("UPDATE tblhosting SET assignedips = '198.51.100.1\r\n192.0.2.10' WHERE id IN (7, 8)")
		}, "192.0.2.10 stands in WHMCS at service 8 too"},
		"the address of its own": {func(x *shop) {
			x.db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, claimed_at) VALUES ('192.0.2.10', 7, UTC_TIMESTAMP(6))")
		}, ""},
		"the address in an old service": {func(x *shop) {
			x.service(8)
			x.db.Exec("UPDATE tblhosting SET dedicatedip = '192.0.2.10', domainstatus = 'Terminated' WHERE id = 8")
		}, ""},
	} {
		for _, table := range []string{"tblhosting", "puqProxmoxKVM_vm_info", "puq_proxmox_kvm_addresses", "puq_proxmox_kvm_vmids", "puq_proxmox_kvm_backups"} {
			x.db.Exec("DELETE FROM " + table)
		}
		x.given.at = time.Time{}
		x.legacy(7, 2003, "ready")
		x.db.Exec("UPDATE tblhosting SET dedicatedip = '192.0.2.10' WHERE id = 7")
		c.other(x)
		before := x.everything()
		sv := x.hold(7)
		err := x.Store.Adopt(t.Context(), sv, adoption(sv, someUUID, "192.0.2.10"), false)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (!errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), c.says) || kvm.Hint(err) == "" || x.everything() != before):
			t.Errorf("%s: %v (%s)\n%s", name, err, kvm.Hint(err), x.everything())
		}
	}
}

// Between the look and the insert another process claims the address: the key says no, and the other is named.
func TestAdoptOvertaken(t *testing.T) {
	x := newShop(t)
	x.legacy(7, 2003, "ready")
	sv := x.hold(7)
	if _, err := x.given.refresh(t.Context(), x.Store); err != nil {
		t.Fatal(err)
	}
	x.db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, claimed_at) VALUES ('192.0.2.11', 8, UTC_TIMESTAMP(6))")
	before := x.everything()
	err := x.Store.Adopt(t.Context(), sv, adoption(sv, someUUID, "192.0.2.10", "192.0.2.11"), false)
	if !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), "192.0.2.11 is claimed by service 8") || x.everything() != before {
		t.Errorf("%v\n%s", err, x.everything())
	}
}

// Of two services that adopt one VM at the same time one does.
func TestAdoptOnce(t *testing.T) {
	for range 2 {
		x := newShop(t)
		x.legacy(7, 2003, "ready")
		x.legacy(8, 2004, "ready")
		done := make(chan error, 2)
		for _, id := range []int64{7, 8} {
			sv := x.hold(id)
			a := adoption(sv, someUUID)
			a.Row.VMID = 2003 // somebody has written it into both rows
			go func() { done <- openAgain(t, x).Adopt(t.Context(), sv, a, false) }()
		}
		first, second := <-done, <-done
		if (first == nil) == (second == nil) {
			t.Fatalf("%v and %v", first, second)
		}
		if n := x.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_uuid <> ''"); n != "1" {
			t.Errorf("%s services have it", n)
		}
	}
}

// openAgain is another process's store on the same database.
func openAgain(t *testing.T, x *shop) *Store {
	t.Helper()
	return openStore(t, x.db)
}

// Forgetting a service keeps its addresses out of use: claimed ones, and those of a VM that was never adopted.
func TestForget(t *testing.T) {
	x := newShop(t)
	x.legacy(7, 2003, "error_terminate")
	x.db.Exec("UPDATE tblhosting SET dedicatedip = '192.0.2.10', assignedips = '192.0.2.11\nnone' WHERE id = 7")
	x.db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, state, claimed_at) VALUES ('192.0.2.9', 7, 'leaving', UTC_TIMESTAMP(6)), ('192.0.2.11', 8, 'claimed', UTC_TIMESTAMP(6))")
	kept, err := x.Forget(t.Context(), 7, time.Hour)
	if err != nil || len(kept) != 2 || kept[0].String() != "192.0.2.10" || kept[1].String() != "192.0.2.9" {
		t.Errorf("%v, %v", kept, err)
	}
	const want = "/192.0.2.10,7,quarantined;192.0.2.11,8,claimed;192.0.2.9,7,quarantined/2003,7,tombstone/"
	if got := x.everything(); got != want {
		t.Errorf("%s", got)
	}
	x.db.Exec("UPDATE tblhosting SET domainstatus = 'Terminated' WHERE id = 7")
	if given, err := x.readGiven(t.Context()); err != nil || len(given.taken) != 3 {
		t.Errorf("taken: %v, %v", given.taken, err)
	}
}

// Setting a status by hand says so in the activity log, and a note that comes first wins.
func TestSetStatus(t *testing.T) {
	x := newShop(t)
	x.order(7)
	at := time.Date(2026, 4, 10, 5, 0, 0, 0, time.UTC)
	sv := x.hold(7)
	sv.Row.TaskKind, sv.Row.TaskUPID = "start", "UPID:x"
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET next_status = 'suspend'")
	if err := x.SetStatus(t.Context(), sv, kvm.Terminate, at); err != nil {
		t.Fatal(err)
	}
	if got := x.vm("CONCAT_WS(',', vm_status, next_status, task_upid)", 7); got != "terminate,,UPID:x" {
		t.Error(got)
	}
	if err := x.SetStatus(t.Context(), sv, kvm.SetIP, at); err != nil {
		t.Fatal(err)
	}
	if got := x.vm("CONCAT_WS(',', vm_status, next_status, task_upid)", 7); got != "set_ip,," {
		t.Error(got)
	}
	stale := *sv
	stale.Row.Status = kvm.Creation
	if err := x.SetStatus(t.Context(), &stale, kvm.SetIP, at); !errors.Is(err, kvm.ErrMoved) {
		t.Errorf("from a status that has passed: %v", err)
	}
	if n := x.db.Text("SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE '%an administrator set its status from % to %'"); n != "2" {
		t.Errorf("%s entries", n)
	}
}
