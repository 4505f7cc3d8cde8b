package whmcs

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// sheet reads the service's.
func (x *shop) sheet(id int64) Sheet {
	x.Helper()
	sheet, err := x.Sheet(x.Context(), id)
	if err != nil {
		x.Fatal(err)
	}
	return sheet
}

func TestSheet(t *testing.T) {
	x := newShop(t)
	if got := x.sheet(5546); !cmp.Equal(got, Sheet{State: deletedState}) {
		t.Errorf("of nothing: %+v", got)
	}

	x.db.AddService(whmcstest.Service{ID: 5546, ClientID: 42, ProductID: 1, ServerID: 1, DedicatedIP: "192.0.2.10", AssignedIPs: "2001:db8::1\n192.0.2.99 nonsense\n192.0.2.50"})
	x.db.Exec("UPDATE tblproducts SET name = 'VPS &amp; more' WHERE id = 1")
	x.service(5547)
	for _, id := range []int64{5546, 5547} {
		if _, err := x.Create(t.Context(), id, orderedAt, nil); err != nil {
			t.Fatal(err)
		}
	}
	x.db.Exec(`INSERT INTO puq_proxmox_kvm_addresses (address, service_id, position, pool_id, bridge, vlan, gateway, bits, state, claimed_at) VALUES
		('192.0.2.10', 5546, 0, 3, 'vmbr0', 7, '192.0.2.1', 24, 'claimed', UTC_TIMESTAMP(6)), ('192.0.2.11', 5546, 1, 0, 'vmbr0', 7, '192.0.2.1', 24, 'leaving', UTC_TIMESTAMP(6)),
		('192.0.2.9', 5546, 0, 3, 'vmbr0', 7, '192.0.2.1', 24, 'quarantined', UTC_TIMESTAMP(6)), ('192.0.2.50', 5547, 0, 3, 'vmbr0', 7, '192.0.2.1', 24, 'claimed', UTC_TIMESTAMP(6))`)
	x.db.Exec(`INSERT INTO puq_proxmox_kvm_outbox (mail_key, service_id, action, template, params, state, attempts, next_try, last_error, created_at) VALUES
		('a', 5546, 'SendEmail', 'VM is ready', '{}', 'sent', 1, UTC_TIMESTAMP(6), NULL, UTC_TIMESTAMP(6)), ('b', 5546, 'SendAdminEmail', '', '{}', 'failed', 9, UTC_TIMESTAMP(6), 'no', UTC_TIMESTAMP(6)),
		('c', 5547, 'SendEmail', 'VM is ready', '{}', 'pending', 0, UTC_TIMESTAMP(6), NULL, UTC_TIMESTAMP(6))`)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET status_since = UTC_TIMESTAMP(6) - INTERVAL 90 SECOND WHERE service_id = 5546")
	network := SheetAddress{Bridge: "vmbr0", VLAN: 7, Gateway: "192.0.2.1", Bits: 24}
	claim := func(address, state string, pool int64) SheetAddress {
		a := network
		a.Address, a.State, a.Pool = address, state, pool
		return a
	}
	want := Sheet{Hosting: true, State: "Active", ClientID: 42, ProductID: 1, Product: "VPS & more", Ours: true, Module: whmcstest.Module, ServerID: 1,
		Domain: x.db.Text("SELECT domain FROM tblhosting WHERE id = 5546"), Age: 90 * time.Second,
		Addresses: []SheetAddress{claim("192.0.2.10", "claimed", 3), claim("192.0.2.11", "leaving", 0), claim("192.0.2.9", "quarantined", 3),
			{Address: "2001:db8::1"}, {Address: "192.0.2.99"}, {Address: "nonsense"}, {Address: "192.0.2.50", Other: 5547}},
		Mails: []SheetMail{{Name: "SendAdminEmail", State: kvm.MailFailed, Attempts: 9, Error: "no"}}}
	got := x.sheet(5546)
	if got.Age > want.Age && got.Age < want.Age+20*time.Second {
		got.Age = want.Age
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(SheetMail{}, "Created")); diff != "" {
		t.Error(diff)
	}
	x.db.Exec("INSERT INTO tbladdonmodules (module, setting, value) VALUES ('puq_proxmox_kvm', 'version', '3.0')")
	if got := x.sheet(5546); !errors.Is(got.Addon, kvm.ErrRefused) {
		t.Errorf("the addon: %v", got.Addon)
	}
}

// TestSheetHolder: a claim is somebody's who lives, as far as can be known, or it keeps nobody from the service.
func TestSheetHolder(t *testing.T) {
	x := newShop(t)
	x.service(5546)
	if _, err := x.Create(t.Context(), 5546, orderedAt, nil); err != nil {
		t.Fatal(err)
	}
	mine := strings.Split(x.owner, "/")
	dead := slices.Clone(mine)
	dead[4] = "1" // this process's pid was another's then
	for what, c := range map[string]struct {
		owner string
		until string
		pid   string
		holds bool
	}{
		"this process":          {x.owner, "+ INTERVAL 45 SECOND", mine[3], true},
		"silent for too long":   {x.owner, "- INTERVAL 5 SECOND", mine[3], false},
		"dead":                  {strings.Join(dead, "/"), "+ INTERVAL 45 SECOND", mine[3], false},
		"on another host":       {"web7/boot/ns/4711/1/abc", "+ INTERVAL 45 SECOND", "4711", true},
		"an end that is absurd": {"web7/boot/ns/4711/1/abc", "+ INTERVAL 1 DAY", "4711", false},
		"no token of ours":      {"somebody", "+ INTERVAL 45 SECOND", "", true},
	} {
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = ?, claim_until = UTC_TIMESTAMP(6) "+c.until+" WHERE service_id = 5546", c.owner)
		h := x.sheet(5546).Holder
		if h == nil || h.PID != c.pid || h.Holds() != c.holds {
			t.Errorf("%s: %+v, holds %v", what, h, h.Holds())
		}
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = NULL, claim_until = NULL")
	if h := x.sheet(5546).Holder; h != nil || h.Holds() {
		t.Errorf("nobody: %+v", h)
	}
}

// TestServicesOf: whose a UUID is, or was.
func TestServicesOf(t *testing.T) {
	const uuid = "5af155a0-2d3f-47b6-b378-1af3950a0d55"
	x := newShop(t)
	for _, id := range []int64{5546, 5547, 5548} {
		x.service(id)
		if _, err := x.Create(t.Context(), id, orderedAt, nil); err != nil {
			t.Fatal(err)
		}
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_uuid = ? WHERE service_id = 5547", uuid)
	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET vm_uuids = ? WHERE service_id = 5548`, `["00000000-0000-4000-8000-000000000000","`+uuid+`"]`)
	for text, want := range map[string][]int64{uuid: {5547, 5548}, strings.ToUpper(uuid): {5547, 5548}, "": nil, "%": nil, uuid[:8]: nil} {
		if got, err := x.ServicesOf(t.Context(), text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}
