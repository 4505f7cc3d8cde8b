package whmcs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// pool adds a pool of server 1.
func (x *shop) pool(gateway string, bits int, first, last string) {
	x.Helper()
	x.db.Exec("INSERT INTO puq_proxmox_kvm_ip_pools (server_id, type, bridge, vlan, gateway, mask, dns1, address_start, address_stop) VALUES (1, ?, 'vmbr0', 20, ?, ?, ?, ?, ?)",
		string(kvm.FamilyOf(netip.MustParseAddr(first))), gateway, bits, gateway, first, last)
}

// pickLowest chooses the lowest free addresses, as simply as can be.
func pickLowest(v4, v6 int) func([]kvm.Pool, map[netip.Addr]struct{}) (kvm.Allotment, error) {
	return func(pools []kvm.Pool, taken map[netip.Addr]struct{}) (kvm.Allotment, error) {
		var out []kvm.Claim
		left := map[kvm.Family]int{kvm.IPv4: v4, kvm.IPv6: v6}
		place := map[kvm.Family]int{}
		for _, p := range pools {
			for a := p.First; left[p.Family] > 0 && a.Compare(p.Last) <= 0; a = a.Next() {
				if _, held := taken[a]; held {
					continue
				}
				out = append(out, kvm.Claim{Addr: a, PoolID: p.ID, Bridge: p.Bridge, VLAN: p.VLAN, Gateway: p.Gateway, Bits: p.Bits, DNS1: p.DNS1, DNS2: p.DNS2, Position: place[p.Family]})
				place[p.Family]++
				left[p.Family]--
			}
		}
		if left[kvm.IPv4]+left[kvm.IPv6] > 0 {
			return kvm.Allotment{}, kvm.Errorf(kvm.ErrExhausted, "no address is left")
		}
		return kvm.Allotment{Add: out}, nil
	}
}

func TestAllocate(t *testing.T) {
	x := newShop(t)
	x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.19")
	x.pool("2001:db8::1", 64, "2001:db8::10", "2001:db8::1f")
	x.order(7)
	sv := x.hold(7)
	sv.Row.TaskUPID, sv.Row.TaskKind = "UPID:x", "clone"
	if err := x.Allocate(t.Context(), sv, kvm.SetIP, pickLowest(2, 2)); err != nil {
		t.Fatal(err)
	}
	want := []kvm.Claim{
		{Addr: netip.MustParseAddr("192.0.2.10"), PoolID: 1, Bridge: "vmbr0", VLAN: 20, Gateway: netip.MustParseAddr("192.0.2.1"), Bits: 24, DNS1: netip.MustParseAddr("192.0.2.1")},
		{Addr: netip.MustParseAddr("2001:db8::10"), PoolID: 2, Bridge: "vmbr0", VLAN: 20, Gateway: netip.MustParseAddr("2001:db8::1"), Bits: 64, DNS1: netip.MustParseAddr("2001:db8::1")},
		{Addr: netip.MustParseAddr("192.0.2.11"), PoolID: 1, Bridge: "vmbr0", VLAN: 20, Gateway: netip.MustParseAddr("192.0.2.1"), Bits: 24, DNS1: netip.MustParseAddr("192.0.2.1"), Position: 1},
		{Addr: netip.MustParseAddr("2001:db8::11"), PoolID: 2, Bridge: "vmbr0", VLAN: 20, Gateway: netip.MustParseAddr("2001:db8::1"), Bits: 64, DNS1: netip.MustParseAddr("2001:db8::1"), Position: 1},
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	back, err := x.Service(t.Context(), 7)
	if d := cmp.Diff(want, back.Addrs, same); d != "" || err != nil {
		t.Error(d, err)
	}
	slices.SortFunc(sv.Addrs, func(a, b kvm.Claim) int {
		return strings.Compare(fmt.Sprint(a.Position, StoredAddr(a.Addr)), fmt.Sprint(b.Position, StoredAddr(b.Addr)))
	})
	if d := cmp.Diff(want, sv.Addrs, same); d != "" {
		t.Error("in memory:", d)
	}
	if got := x.db.Text("SELECT CONCAT(dedicatedip, '|', assignedips) FROM tblhosting WHERE id = 7"); got != "192.0.2.10|192.0.2.11\n2001:0db8:0000:0000:0000:0000:0000:0010\n2001:0db8:0000:0000:0000:0000:0000:0011" {
		t.Errorf("in WHMCS: %q", got)
	}
	if sv.Row.Status != kvm.SetIP || sv.Row.TaskUPID != "" || x.vm("vm_status", 7) != "set_ip" || x.vm("task_upid", 7) != "" {
		t.Errorf("%+v", sv.Row)
	}
}

// Where there is no IPv4, the first IPv6 is the dedicated address; a service that wants none gets none.
func TestAllocateWithoutIPv4(t *testing.T) {
	x := newShop(t)
	x.pool("2001:db8::1", 64, "2001:db8::10", "2001:db8::1f")
	x.order(7, 8)
	if err := x.Allocate(t.Context(), x.hold(7), kvm.SetIP, pickLowest(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := x.Allocate(t.Context(), x.hold(8), kvm.SetIP, pickLowest(0, 0)); err != nil {
		t.Fatal(err)
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT(dedicatedip, '|', assignedips) ORDER BY id) FROM tblhosting"); got != "2001:0db8:0000:0000:0000:0000:0000:0010|,|" {
		t.Errorf("in WHMCS: %q", got)
	}
}

// Eight processes allocate from one pool that is just large enough, with WHMCS's table in either engine: each address is
// given once, all are given, and who comes too late is told so and gets nothing.
func TestAllocateRace(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		for _, engine := range []string{"InnoDB", "MyISAM"} {
			t.Run(engine, func(t *testing.T) {
				x := newShop(t)
				x.db.Exec("ALTER TABLE tblhosting ENGINE=" + engine)
				const services, addresses = 44, 40
				x.pool("192.0.2.1", 24, "192.0.2.10", fmt.Sprintf("192.0.2.%d", 10+addresses-1))
				var held []*kvm.Service
				for id := int64(1); id <= services; id++ {
					x.order(id)
					held = append(held, x.hold(id))
				}
				stores := x.others(8, strict)
				var mu sync.Mutex
				exhausted := 0
				together(len(stores), func(i int) {
					for n := i; n < services; n += len(stores) {
						err := stores[i].Allocate(t.Context(), held[n], kvm.SetIP, pickLowest(1, 0))
						if errors.Is(err, kvm.ErrExhausted) {
							mu.Lock()
							exhausted++
							mu.Unlock()
						} else if err != nil {
							t.Errorf("service %d: %v", held[n].ID, err)
						}
					}
				})
				if exhausted != services-addresses {
					t.Errorf("%d services were told that the pool is exhausted", exhausted)
				}
				for query, want := range map[string]int{
					"SELECT COUNT(*) FROM puq_proxmox_kvm_addresses":                                                                                             addresses,
					"SELECT COUNT(DISTINCT dedicatedip) FROM tblhosting WHERE dedicatedip <> ''":                                                                 addresses,
					"SELECT COUNT(*) FROM puqProxmoxKVM_vm_info v JOIN tblhosting h ON h.id = v.service_id WHERE v.vm_status = 'set_ip' AND h.dedicatedip <> ''": addresses,
					"SELECT COUNT(*) FROM puq_proxmox_kvm_addresses a JOIN tblhosting h ON h.id = a.service_id AND h.dedicatedip = a.address":                    addresses,
					"SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status = 'creation'":                                                                    services - addresses,
				} {
					if got := x.db.Text(query); got != fmt.Sprint(want) {
						t.Errorf("%s: %s, want %d", query, got, want)
					}
				}
			})
		}
	})
}

// Addresses that stand in tblhosting are taken, whoever wrote them there, unless their service is over in WHMCS and has no
// row of ours or a removed one.
func TestTakenInWHMCS(t *testing.T) {
	x := newShop(t)
	x.db.AddProduct(whmcstest.Product{ID: 2, Module: "cpanel"})
	rows := map[string]string{"none": "", "ready": "'ready'", "removed": "'remove'", "stuck": "'error_terminate'", "no status": "NULL"}
	over := []string{"Terminated", "Cancelled", "Fraud"}
	id := int64(0)
	type stored struct{ state, row string }
	have := map[netip.Addr]stored{}
	for _, state := range []string{"Pending", "Active", "Suspended", "Terminated", "Cancelled", "Fraud", "Completed"} {
		for row, status := range rows {
			id++
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(id)})
			have[a] = stored{state, row}
			x.db.AddService(whmcstest.Service{ID: id, ClientID: 42, ProductID: 1 + id%2, Status: state, DedicatedIP: a.String()})
			if row != "none" {
				x.db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status) VALUES (?, "+status+")", id)
			}
		}
	}
	_, taken, err := x.PoolsWithTaken(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for a, s := range have {
		_, got := taken[a]
		if want := !slices.Contains(over, s.state) || s.row != "none" && s.row != "removed"; got != want {
			t.Errorf("%s, row of ours: %s: taken %v, want %v", s.state, s.row, got, want)
		}
	}
}

// In whatever way addresses stand in tblhosting, they are understood; what is no address is none.
func TestTakenSpellings(t *testing.T) {
	x := newShop(t)
	x.db.AddService(whmcstest.Service{ID: 1, DedicatedIP: " 192.0.2.1 ", AssignedIPs: "192.0.2.2\r\n192.0.2.3\n\n2001:DB8::4, 2001:0db8:0000:0000:0000:0000:0000:0005;::ffff:192.0.2.6\t192.0.2.7/24\nvps.example.com 300.1.1.1"})
	x.db.AddService(whmcstest.Service{ID: 2, AssignedIPs: "192.0.2.8"})
	_, taken, err := x.PoolsWithTaken(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.6 192.0.2.7 192.0.2.8 2001:db8::4 2001:db8::5"
	var got []netip.Addr
	for a := range taken {
		got = append(got, a)
	}
	slices.SortFunc(got, netip.Addr.Compare)
	if text := strings.Trim(fmt.Sprint(got), "[]"); text != want {
		t.Errorf("taken: %s\nwant:  %s", text, want)
	}
}

// What the service's own row in tblhosting says is no obstacle: a deploy that was killed after the write goes on.
func TestAllocateKeepsItsOwn(t *testing.T) {
	x := newShop(t)
	x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.11")
	x.order(7)
	x.db.Exec("UPDATE tblhosting SET dedicatedip = '192.0.2.10' WHERE id = 7")
	if err := x.Allocate(t.Context(), x.hold(7), kvm.SetIP, pickLowest(1, 0)); err != nil || x.db.Text("SELECT address FROM puq_proxmox_kvm_addresses") != "192.0.2.10" {
		t.Errorf("%v, %s", err, x.db.Text("SELECT address FROM puq_proxmox_kvm_addresses"))
	}
}

func TestQuarantine(t *testing.T) {
	x := newShop(t)
	x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.12")
	for addr, until := range map[string]string{"192.0.2.10": "UTC_TIMESTAMP(6) + INTERVAL 1 HOUR", "192.0.2.11": "NULL", "192.0.2.12": "UTC_TIMESTAMP(6) - INTERVAL 1 SECOND"} {
		x.db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, state, until, claimed_at) VALUES (?, 1, 'quarantined', "+until+", '2026-01-01')", addr)
	}
	x.order(7, 8)
	if err := x.Allocate(t.Context(), x.hold(7), kvm.SetIP, pickLowest(1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', address, service_id, state) ORDER BY address) FROM puq_proxmox_kvm_addresses"); got !=
		"192.0.2.10 1 quarantined,192.0.2.11 1 quarantined,192.0.2.12 7 claimed" {
		t.Errorf("claims: %s", got)
	}
	if err := x.Allocate(t.Context(), x.hold(8), kvm.SetIP, pickLowest(1, 0)); !errors.Is(err, kvm.ErrExhausted) {
		t.Errorf("an address in quarantine was given away: %v", err)
	}
}

// What was free a moment ago and is not any more is not given out, quarantined or claimed; the next choice is.
func TestAllocateChoosesAgain(t *testing.T) {
	x := newShop(t)
	x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.19")
	x.order(7)
	choices := 0
	err := x.Allocate(t.Context(), x.hold(7), kvm.SetIP, func(pools []kvm.Pool, taken map[netip.Addr]struct{}) (kvm.Allotment, error) {
		claims, err := pickLowest(1, 0)(pools, taken)
		if choices++; choices == 1 {
			x.db.Exec(`INSERT INTO puq_proxmox_kvm_addresses (address, service_id, state, until, claimed_at) VALUES ('192.0.2.10', 1, 'quarantined', UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, '2026-01-01'),
				('192.0.2.11', 2, 'claimed', NULL, '2026-01-01'), ('192.0.2.12', 3, 'quarantined', UTC_TIMESTAMP(6) - INTERVAL 1 SECOND, '2026-01-01')`)
		}
		return claims, err
	})
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', address, service_id) ORDER BY address) FROM puq_proxmox_kvm_addresses"); err != nil || choices != 2 ||
		got != "192.0.2.10 1,192.0.2.11 2,192.0.2.12 7" {
		t.Errorf("%v after %d choices: %s", err, choices, got)
	}
}

// The server's legacy list serves after the pools, and its addresses are claimed like any other.
func TestAllocateLegacyList(t *testing.T) {
	x := newShop(t)
	x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.10")
	x.db.Exec("UPDATE tblservers SET assignedips = 'vmbr1|30|198.51.100.5|255.255.255.0|198.51.100.1|198.51.100.53,198.51.100.54\r\nvmbr1|30|198.51.100.6|24|198.51.100.1|198.51.100.53,198.51.100.54'")
	x.order(7)
	sv := x.hold(7)
	if err := x.Allocate(t.Context(), sv, kvm.SetIP, pickLowest(3, 0)); err != nil {
		t.Fatal(err)
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', address, pool_id, bridge, vlan, gateway, bits, dns1, dns2) ORDER BY address) FROM puq_proxmox_kvm_addresses"); got !=
		"192.0.2.10 1 vmbr0 20 192.0.2.1 24 192.0.2.1 ,198.51.100.5 0 vmbr1 30 198.51.100.1 24 198.51.100.53 198.51.100.54,198.51.100.6 0 vmbr1 30 198.51.100.1 24 198.51.100.53 198.51.100.54" {
		t.Errorf("claims: %s", got)
	}
	x.db.Exec("UPDATE tblservers SET assignedips = 'nonsense'")
	x.order(8)
	if err := x.Allocate(t.Context(), x.hold(8), kvm.SetIP, pickLowest(1, 0)); !errors.Is(err, kvm.ErrInvalid) || !strings.Contains(err.Error(), "line 1") || kvm.Hint(err) == "" {
		t.Errorf("a list that cannot be read: %v", err)
	}
}

func TestReleaseAddress(t *testing.T) {
	x := newShop(t)
	x.order(1, 2)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'remove' WHERE service_id = 2")
	x.db.Exec(`INSERT INTO puq_proxmox_kvm_addresses (address, service_id, state, claimed_at) VALUES ('192.0.2.1', 1, 'claimed', '2026-01-01'),
		('192.0.2.2', 2, 'claimed', '2026-01-01'), ('192.0.2.3', 3, 'claimed', '2026-01-01'), ('192.0.2.4', 1, 'quarantined', '2026-01-01')`)
	for addr, class := range map[string]error{"192.0.2.1": kvm.ErrRefused, "192.0.2.2": nil, "192.0.2.3": nil, "192.0.2.4": nil, "192.0.2.5": kvm.ErrNotFound} {
		if err := x.ReleaseAddress(t.Context(), netip.MustParseAddr(addr)); !errors.Is(err, class) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(address) FROM puq_proxmox_kvm_addresses"); got != "192.0.2.1" {
		t.Errorf("left: %s", got)
	}
}
