package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// given are the service's addresses as they are claimed, and as they stand in WHMCS.
func (w *world) given(id int64) (claimed []string, inWHMCS string) {
	w.t.Helper()
	for _, c := range w.service(id).Addrs {
		claimed = append(claimed, fmt.Sprintf("%s %d %s.%d", c.Addr, c.Position, c.Bridge, c.VLAN))
	}
	return claimed, w.db.Text("SELECT CONCAT(dedicatedip, '|', assignedips) FROM tblhosting WHERE id = ?", id)
}

func TestAllocate(t *testing.T) {
	t.Parallel()
	// Beside the world's own pool, vmbr0 untagged with 192.0.2.10 to .250, there are these.
	pools := func(w *world) {
		w.pool("2001:db8::10", "2001:db8::20", "2001:db8::1", 64, "vmbr0", 0)
		w.pool("198.51.100.2", "198.51.100.6", "198.51.100.1", 29, "vmbr1", 100)
		w.pool("2001:db8:1::10", "2001:db8:1::20", "2001:db8:1::1", 64, "vmbr1", 100)
		w.pool("203.0.113.8", "203.0.113.9", "203.0.113.1", 24, "vmbr2", 0)
	}
	for _, c := range []struct {
		name    string
		product []string
		claimed []string
		whmcs   string
		note    string
		guest   string // ipconfig0
		net0    string
	}{
		{name: "one IPv4", claimed: []string{"192.0.2.10 0 vmbr0.0"}, whmcs: "192.0.2.10|", guest: "ip=192.0.2.10/24,gw=192.0.2.1", net0: "bridge=vmbr0"},
		{name: "several of both families", product: []string{"ipv4=3", "ipv6=2"},
			claimed: []string{"192.0.2.10 0 vmbr0.0", "2001:db8::10 0 vmbr0.0", "192.0.2.11 1 vmbr0.0", "2001:db8::11 1 vmbr0.0", "192.0.2.12 2 vmbr0.0"},
			whmcs:   "192.0.2.10|192.0.2.11\n192.0.2.12\n2001:0db8:0000:0000:0000:0000:0000:0010\n2001:0db8:0000:0000:0000:0000:0000:0011",
			guest:   "ip=192.0.2.10/24,gw=192.0.2.1,ip6=2001:db8::10/64,gw6=2001:db8::1", net0: "bridge=vmbr0"},
		{name: "IPv6 alone", product: []string{"ipv4=0", "ipv6=1"}, claimed: []string{"2001:db8::10 0 vmbr0.0"},
			whmcs: "2001:0db8:0000:0000:0000:0000:0000:0010|", guest: "ip6=2001:db8::10/64,gw6=2001:db8::1", net0: "bridge=vmbr0"},
		{name: "the product's bridge and VLAN", product: []string{"auto_bridge=off", "bridge=vmbr1", "vlan=100", "ipv6=1"},
			claimed: []string{"198.51.100.2 0 vmbr1.100", "2001:db8:1::10 0 vmbr1.100"}, whmcs: "198.51.100.2|2001:0db8:0001:0000:0000:0000:0000:0010",
			guest: "ip=198.51.100.2/29,gw=198.51.100.1,ip6=2001:db8:1::10/64,gw6=2001:db8:1::1", net0: "bridge=vmbr1,firewall=1,tag=100"},
		{name: "DHCP", product: []string{"dhcp_ipv4=on", "bridge=vmbr0"}, whmcs: "|", note: "skip — DHCP", guest: "ip=dhcp", net0: "bridge=vmbr0"},
		{name: "DHCP for both", product: []string{"dhcp_ipv4=on", "dhcp_ipv6=on"}, whmcs: "|", note: "skip — DHCP", guest: "ip=dhcp,ip6=dhcp", net0: "bridge=vmbr0"},
		{name: "DHCP for IPv4, IPv6 from the pools", product: []string{"dhcp_ipv4=on", "ipv6=1", "auto_bridge=off", "bridge=vmbr1", "vlan=100"},
			claimed: []string{"2001:db8:1::10 0 vmbr1.100"}, whmcs: "2001:0db8:0001:0000:0000:0000:0000:0010|", guest: "ip=dhcp,ip6=2001:db8:1::10/64,gw6=2001:db8:1::1", net0: "bridge=vmbr1,firewall=1,tag=100"},
		{name: "DHCP for IPv6, IPv4 from the pools", product: []string{"dhcp_ipv6=on"}, claimed: []string{"192.0.2.10 0 vmbr0.0"}, whmcs: "192.0.2.10|",
			guest: "ip=192.0.2.10/24,gw=192.0.2.1,ip6=dhcp", net0: "bridge=vmbr0"},
		{name: "none", product: []string{"ipv4=0"}, whmcs: "|", note: "skip — no addresses", net0: "bridge=vmbr0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "8.4.21", c.product...)
			pools(w)
			id := w.order()
			out := w.reach(id, rowIP)
			claimed, inWHMCS := w.given(id)
			if fmt.Sprint(claimed) != fmt.Sprint(c.claimed) || inWHMCS != c.whmcs || out.note(title(rowIP)) != c.note {
				t.Errorf("claimed %q, in WHMCS %q, note %q", claimed, inWHMCS, out.note(title(rowIP)))
			}
			w.reach(id, rowCloudinit)
			config := w.vm(id).Config
			if config["ipconfig0"] != c.guest || !strings.Contains(config["net0"], c.net0) || !strings.Contains(c.net0, "tag=") && strings.Contains(config["net0"], "tag=") {
				t.Errorf("ipconfig0 %q, net0 %q", config["ipconfig0"], config["net0"])
			}
		})
	}
}

// TestAutoBridge: the first bridge and VLAN whose pools have enough of both families is taken, not one for each.
func TestAutoBridge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "ipv4=1", "ipv6=1")
	w.pool("198.51.100.2", "198.51.100.3", "198.51.100.1", 29, "vmbr1", 100)
	w.pool("2001:db8:1::10", "2001:db8:1::20", "2001:db8:1::1", 64, "vmbr1", 100)
	a, b, c := w.order(), w.order(), w.order()
	w.reach(a, rowIP)
	w.reach(b, rowIP)
	claimed, _ := w.given(b)
	if fmt.Sprint(claimed) != "[198.51.100.3 0 vmbr1.100 2001:db8:1::11 0 vmbr1.100]" {
		t.Errorf("%v", claimed)
	}
	w.reach(b, rowNetwork)
	if got := w.vm(b).Config["net0"]; !strings.HasSuffix(got, ",bridge=vmbr1,firewall=1,tag=100") {
		t.Errorf("the product's bridge is vmbr0, the addresses' vmbr1 with VLAN 100, and net0 is %s", got)
	}
	before := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses")
	out := w.run(c, rowIP)
	if !errors.Is(out.Err, kvm.ErrExhausted) || out.At != kvm.Creation || !strings.Contains(out.Message, "198.51.100.2-198.51.100.3") ||
		!strings.Contains(out.Message, "vmbr0 untagged: no IPv6 pool") || kvm.Hint(out.Err) == "" {
		t.Errorf("%+v", out.Outcome)
	}
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses"); n != before {
		t.Errorf("half an allocation: %s claims, %s before", n, before)
	}
	// It goes on by itself when there are more.
	w.pool("198.51.100.4", "198.51.100.4", "198.51.100.1", 29, "vmbr1", 100)
	w.reach(c, rowIP)
}

// TestAddressesOfOthers: an address is free only when no claim and no service of WHMCS has it, whatever spelling it has
// there; those of services that have ended and of VMs that are removed are given out again.
func TestAddressesOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "ipv4=1", "ipv6=1")
	w.pool("2001:db8::10", "2001:db8::40", "2001:db8::1", 64, "vmbr0", 0)
	taken, free := []string{}, []string{}
	n := int64(900)
	at := 10
	other := func(status, row string, dedicated, assigned string, keeps bool, addrs ...string) {
		n++
		w.db.AddService(whmcstest.Service{ID: n, ClientID: client, ProductID: 1, ServerID: 1, Status: status, DedicatedIP: dedicated, AssignedIPs: assigned})
		if row != "" {
			w.db.Exec("INSERT INTO puqProxmoxKVM_vm_info (vm_id, vm_name, vm_status, server_id, service_id) VALUES (?, 'x', ?, 1, ?)", 700+n, row, n)
		}
		if keeps {
			taken = append(taken, addrs...)
		} else {
			free = append(free, addrs...)
		}
	}
	v4 := func() string { at++; return fmt.Sprintf("192.0.2.%d", at-1) }
	for _, status := range []string{"Pending", "Active", "Suspended", "Completed", "Terminated", "Cancelled", "Fraud"} {
		ended := slices.Contains([]string{"Terminated", "Cancelled", "Fraud"}, status)
		for _, row := range []string{"", "remove", "ready", "error_terminate", "set_ip"} {
			a := v4()
			keeps := !ended || row != "" && row != "remove"
			other(status, row, a, "", keeps, a)
		}
	}
	a, b, c := v4(), v4(), v4()
	other("Active", "", "", a+"\r\n"+b+" , "+c, true, a, b, c)
	other("Active", "", "", "2001:0DB8:0000:0000:0000:0000:0000:0010\n2001:db8:0::0011", true, "2001:db8::10", "2001:db8::11")
	other("Active", "", "::ffff:"+v4(), "", true, fmt.Sprintf("192.0.2.%d", at-1))

	var got []string
	for range len(free) + 2 {
		id := w.order()
		w.reach(id, rowIP)
		s := w.service(id)
		for _, c := range s.Addrs {
			if slices.Contains(taken, c.Addr.String()) {
				t.Errorf("%s belongs to somebody else and was given out", c.Addr)
			}
			if kvm.FamilyOf(c.Addr) == kvm.IPv4 {
				got = append(got, c.Addr.String())
			}
		}
	}
	slices.Sort(got)
	want := append(slices.Clone(free), fmt.Sprintf("192.0.2.%d", at), fmt.Sprintf("192.0.2.%d", at+1))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("given out %v, want the recycled ones first: %v", got, want)
	}
	if n := w.db.Text("SELECT COUNT(*) - COUNT(DISTINCT address) FROM puq_proxmox_kvm_addresses"); n != "0" {
		t.Errorf("%s addresses twice", n)
	}
}

// TestLegacyList: the server's "Assigned IP Addresses" serve beside the pools, and a list that cannot be read is an error
// that names it.
func TestLegacyList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "auto_bridge=off", "bridge=vmbr7", "vlan=9", "ipv4=2")
	w.db.Exec("UPDATE tblservers SET assignedips = ? WHERE id = 1", "vmbr7|9|203.0.113.20|24|203.0.113.1|203.0.113.53,203.0.113.54\r\nvmbr7|9|203.0.113.21|255.255.255.0|203.0.113.1|203.0.113.53,203.0.113.54\r\n")
	id := w.order()
	w.reach(id, rowNetwork)
	w.reach(id, rowCloudinit)
	config := w.vm(id).Config
	if config["ipconfig0"] != "ip=203.0.113.20/24,gw=203.0.113.1" || config["nameserver"] != "203.0.113.53 203.0.113.54" || !strings.Contains(config["net0"], "bridge=vmbr7,firewall=1,tag=9") {
		t.Errorf("%v", config)
	}
	w.db.Exec("UPDATE tblservers SET assignedips = '203.0.113.20, 203.0.113.21' WHERE id = 1")
	id = w.order()
	out := w.run(id, rowIP)
	if !errors.Is(out.Err, kvm.ErrInvalid) || !strings.Contains(out.Message, "Assigned IP Addresses") || !strings.Contains(out.Message, "line 1") || kvm.Hint(out.Err) == "" {
		t.Errorf("%+v", out.Outcome)
	}
}

// TestDHCPAfterAddresses: a product that changes to DHCP while its VM is under way does not stop it.
func TestDHCPAfterAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowNetwork)
	w.product("dhcp_ipv4=on")
	w.reach(id, allRows)
	if got := w.vm(id).Config["ipconfig0"]; got != "ip=dhcp" {
		t.Errorf("ipconfig0 %q", got)
	}
}

// TestKeptAddresses: what an earlier deploy of the service still holds is kept, and only what lacks is added, from the
// same bridge and VLAN.
func TestKeptAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	w.pool("198.51.100.2", "198.51.100.6", "198.51.100.1", 29, "vmbr1", 100)
	w.product("auto_bridge=off", "bridge=vmbr1", "vlan=100")
	id := w.order()
	w.reach(id, rowIP)
	w.set(id, "vm_status = 'creation'")
	w.product("auto_bridge=on", "bridge=vmbr0", "vlan=0", "ipv4=3")
	w.reach(id, rowIP)
	claimed, inWHMCS := w.given(id)
	if fmt.Sprint(claimed) != "[198.51.100.2 0 vmbr1.100 198.51.100.3 1 vmbr1.100 198.51.100.4 2 vmbr1.100]" || inWHMCS != "198.51.100.2|198.51.100.3\n198.51.100.4" {
		t.Errorf("%v, %q", claimed, inWHMCS)
	}
}
