package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestNetwork: bridge and VLAN come from the addresses, rate and model from the product; the MAC and all options that the
// product does not know stay.
func TestNetwork(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version)
		w.pool("198.51.100.2", "198.51.100.6", "198.51.100.1", 29, "vmbr1", 100)
		for _, c := range []struct {
			product []string
			net0    string // with MAC for the address
		}{
			{nil, "virtio=MAC,bridge=vmbr0,firewall=1,link_down=0,queues=4"},
			{[]string{"bandwidth=12.5", "net_model=e1000"}, "e1000=MAC,bridge=vmbr0,firewall=1,link_down=0,queues=4,rate=12.5"},
			{[]string{"fw_enable=off", "bandwidth=0.125", "net_model="}, "virtio=MAC,bridge=vmbr0,link_down=0,queues=4,rate=0.125"},
			{[]string{"auto_bridge=off", "bridge=vmbr1", "vlan=100", "bandwidth=", "fw_enable="}, "virtio=MAC,bridge=vmbr1,firewall=1,link_down=0,queues=4,tag=100"},
			{[]string{"auto_bridge=off", "bridge=vmbr5", "vlan=7", "dhcp_ipv4=on"}, "virtio=MAC,bridge=vmbr5,firewall=1,link_down=0,queues=4,tag=7"},
		} {
			w.product(c.product...)
			id := w.order()
			w.reach(id, rowClone)
			vm := w.vm(id)
			mac := w.service(id).Row.MAC
			w.configure(id, map[string]string{"net0": "virtio=" + mac + ",bridge=vmbr3,tag=55,rate=3,queues=4,link_down=0"})
			if !strings.Contains(vm.Config["net0"], mac) {
				t.Errorf("%s: stored the MAC %s, the VM has %s", version, mac, vm.Config["net0"])
			}
			w.reach(id, rowNetwork)
			got := strings.Split(strings.Replace(w.vm(id).Config["net0"], mac, "MAC", 1), ",")
			slices.Sort(got[1:])
			if text := strings.Join(got, ","); text != c.net0 {
				t.Errorf("%s %v: %s, want %s", version, c.product, text, c.net0)
			}
			w.set(id, "vm_status = ?", string(from(rowNetwork)))
			w.writes()
			if out := w.reach(id, rowNetwork); out.note(title(rowNetwork)) != "skip — no change" || len(w.writes()) != 0 {
				t.Errorf("%s %v: repeated: %q", version, c.product, out.note(title(rowNetwork)))
			}
		}
	}
}

// TestKeptMAC: the MAC on the row is the one that is written, though the VM has another.
func TestKeptMAC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowDiskLimits)
	w.set(id, "vm_net0_mac = 'BC:24:11:AA:BB:CC'")
	w.reach(id, rowNetwork)
	if got := w.vm(id).Config["net0"]; !strings.HasPrefix(got, "virtio=BC:24:11:AA:BB:CC,") {
		t.Errorf("%s", got)
	}
}

// TestFirewall: the firewall is the product's and nothing of the template's, with exactly the VM's addresses in its set,
// and the switch that makes it count is thrown last.
func TestFirewall(t *testing.T) {
	t.Parallel()
	all := "dhcp=1 enable=1 ipfilter=0 log_level_in=nolog log_level_out=nolog macfilter=1 ndp=1 policy_in=ACCEPT policy_out=ACCEPT radv=0"
	for _, version := range versions {
		w := newWorld(t, version)
		w.pool("2001:db8::10", "2001:db8::40", "2001:db8::1", 64, "vmbr0", 0)
		for i, c := range []struct {
			product []string
			options string
			entries []string // of ipfilter-net0; nil = no such set
			stale   bool     // the template has a firewall of its own
		}{
			{product: nil, options: all, entries: []string{"192.0.2.10"}},
			{product: []string{"ipv4=2", "ipv6=2"}, options: all, entries: []string{"192.0.2.11", "192.0.2.12", "2001:db8::10", "2001:db8::11"}, stale: true},
			{product: []string{"ipv4=0", "ipv6=1"}, options: all, entries: []string{"2001:db8::12"}},
			{product: []string{"ipv4=1", "ipv6=0", "antispoof=off"}, options: all},
			{product: []string{"antispoof=on", "fw_policy_in=DROP", "fw_policy_out=REJECT", "fw_log_in=info", "fw_log_out=err", "fw_dhcp=off", "fw_ndp=off",
				"fw_radv=on", "fw_macfilter=off", "fw_ipfilter=on", "fw_enable=off"},
				options: "dhcp=0 enable=0 ipfilter=1 log_level_in=info log_level_out=err macfilter=0 ndp=0 policy_in=DROP policy_out=REJECT radv=1", entries: []string{"192.0.2.14"}},
		} {
			if c.stale {
				w.staleFirewall()
			}
			w.product(c.product...)
			id := w.order()
			w.reach(id, rowNetwork)
			vmid := w.service(id).Row.VMID
			if c.stale != (len(w.sim.Firewall(vmid).Rules) > 0) && i < 2 {
				t.Fatalf("%s: before the row there is %+v", version, w.sim.Firewall(vmid))
			}
			w.writes()
			out := w.reach(id, rowFirewall)
			if out.note(title(rowFirewall)) != "" {
				t.Errorf("%s %v: %s", version, c.product, out.note(title(rowFirewall)))
			}
			writes := w.writes()
			if last := writes[len(writes)-1]; last != fmt.Sprintf("PUT /nodes/%s/qemu/%d/firewall/options", w.vm(id).Node, vmid) {
				t.Errorf("%s %v: the last of %v is not the options", version, c.product, writes)
			}
			fw := w.sim.Firewall(vmid)
			var options []string
			for k, v := range fw.Options {
				options = append(options, k+"="+v)
			}
			slices.Sort(options)
			entries, set := fw.IPSets["ipfilter-net0"]
			if got := strings.Join(options, " "); got != c.options || len(fw.Rules) != 0 || set != (c.entries != nil) || !slices.Equal(entries, c.entries) || len(fw.IPSets) > 1 {
				t.Errorf("%s %v: %+v\nwant %s, %v", version, c.product, fw, c.options, c.entries)
			}
			w.set(id, "vm_status = ?", string(from(rowFirewall)))
			if out := w.reach(id, rowFirewall); out.note(title(rowFirewall)) != "skip — no change" || len(w.writes()) != 0 {
				t.Errorf("%s %v: repeated: %q", version, c.product, out.note(title(rowFirewall)))
			}
		}
	}
}

// TestFirewallWithDHCP: nothing is managed when the guest gets an address by itself.
func TestFirewallWithDHCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "dhcp_ipv4=on")
	id := w.order()
	w.reach(id, rowNetwork)
	w.writes()
	if out := w.reach(id, rowFirewall); out.note(title(rowFirewall)) != "skip — DHCP" || len(w.writes()) != 0 {
		t.Errorf("%q", out.note(title(rowFirewall)))
	}
}

// TestFirewallOvertaken: somebody adds a rule while those of the template are being cleared. The row ends with none.
func TestFirewallOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	w.staleFirewall()
	id := w.order()
	w.reach(id, rowNetwork)
	vmid := w.service(id).Row.VMID
	happened := w.once("DELETE", "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}", pvesim.Arrived, func() {
		w.call("POST", fmt.Sprintf("/nodes/pve1/qemu/%d/firewall/rules", vmid), "type", "in", "action", "ACCEPT", "enable", "1", "comment", "meanwhile")
	})
	out := w.run(id, rowFirewall)
	if !happened() || !out.Complete || len(w.sim.Firewall(vmid).Rules) != 0 {
		t.Errorf("%+v, %+v", out.Outcome, w.sim.Firewall(vmid).Rules)
	}
}
