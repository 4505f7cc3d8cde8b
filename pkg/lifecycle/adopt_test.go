package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// asPHP leaves of the service what the PHP module would have left.
func (w *world) asPHP(id int64) {
	w.t.Helper()
	w.set(id, `vm_uuid = '', vm_uuids = NULL, queued_at = NULL, clone_sent = 0, server_id = 0, vm_node = '', vm_cluster = '', disk_slot = '',
		password_set = 0, vm_net0_mac = LOWER(vm_net0_mac)`)
	w.db.Exec("DELETE FROM puq_proxmox_kvm_addresses WHERE service_id = ?", id)
	w.db.Exec("DELETE FROM puq_proxmox_kvm_vmids WHERE service_id = ?", id)
}

// adopt takes the service's VM over, as the command does.
func (w *world) adopt(id int64, earlier ...string) (kvm.Adoption, error) {
	w.t.Helper()
	ctx, p := w.t.Context(), w.start(nil)
	if won, err := w.store.Claim(ctx, id, p.owner, ""); err != nil || !won {
		w.t.Fatalf("claim: %v, %v", won, err)
	}
	defer func() {
		if err := w.store.Release(ctx, id, p.owner, ""); err != nil {
			w.t.Error(err)
		}
	}()
	s := w.service(id)
	stored, err := w.store.HostingAddresses(ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	pools, err := w.store.ServerPools(ctx, s.Row.ServerID)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := p.life.Adoption(ctx, s, stored, pools, earlier)
	if err != nil {
		return a, err
	}
	return a, w.store.Adopt(ctx, s, a, false)
}

// walkThrough asks for verb and walks the service through its table.
func (w *world) walkThrough(id int64, verb kvm.Verb) pipeline.Outcome {
	w.t.Helper()
	ctx, p := w.t.Context(), w.start(nil)
	if _, err := w.store.Ask(ctx, id, kvm.Wish{Verb: verb}); err != nil {
		w.t.Fatal(err)
	}
	if won, err := w.store.Claim(ctx, id, p.owner, ""); err != nil || !won {
		w.t.Fatalf("claim: %v, %v", won, err)
	}
	i := slices.IndexFunc(p.life.Pipelines(), func(pl *pipeline.Pipeline) bool { return pl.Steps[0].From == verb.Status() })
	out := p.engine.Run(ctx, p.life.Pipelines()[i], w.service(id), event.SinkFunc(func(event.Event) {}))
	if err := w.store.Release(ctx, id, p.owner, out.Message); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// manyAddresses is a product whose VMs have two addresses of each family, and a second disk.
func manyAddresses(t *testing.T, version string) *world {
	w := newWorld(t, version, "ipv4=2", "ipv6=2", "additional_size=5", "additional_storage=shared", "main_domain=example.com")
	w.pool("2001:db8::10", "2001:db8::ffff", "2001:db8::1", 64, "vmbr0", 0)
	return w
}

// TestAdoptAndChangeRAM: what adopt stores is what a deploy of ours stores, nothing is written to Proxmox, and a change of
// RAM alone leaves addresses, IPSet and ipconfig0 as they were, also where the pools were edited since.
func TestAdoptAndChangeRAM(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		for name, edit := range map[string]string{
			"the pools are as they were": "UPDATE puq_proxmox_kvm_ip_pools SET dns1 = dns1",
			"the pools were edited": `UPDATE puq_proxmox_kvm_ip_pools SET bridge = 'vmbr7', vlan = 7, mask = IF(type = 'ipv4', 25, 80), dns1 = IF(type = 'ipv4', '192.0.2.99', '2001:db8::99'),
				gateway = IF(type = 'ipv4', '192.0.2.2', '2001:db8::2')`,
			"the pools are gone": "DELETE FROM puq_proxmox_kvm_ip_pools",
		} {
			if version != versions[0] && name != "the pools were edited" {
				continue // what Proxmox answers is no other
			}
			w := manyAddresses(t, version)
			id := w.order()
			w.reach(id, allRows)
			ours, vm := w.service(id), w.vm(id)
			w.asPHP(id)
			w.db.Exec(edit)
			w.product("ram=8")
			before := w.picture()
			w.writes()
			_, err := w.adopt(id)
			if writes := w.writes(); len(writes) > 0 || w.picture() != before {
				t.Errorf("%s %s: adopt has written to Proxmox: %v", version, name, writes)
			}
			if name == "the pools are gone" { // of those that the guest is not configured with nothing is known
				if !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(kvm.Hint(err), "puqkvm ippool add --server 1 --bridge vmbr0 --vlan 0 ") || len(w.service(id).Addrs) > 0 {
					t.Errorf("%s %s: %v (%s)", version, name, err, kvm.Hint(err))
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s %s: %v (%s)", version, name, err, kvm.Hint(err))
			}
			got := w.service(id)
			ours.Row.PasswordSet, ours.Row.Owner, ours.Row.Message = false, "", ""
			if diff := cmp.Diff(ours.Row, got.Row); diff != "" {
				t.Errorf("%s %s: the row (-ours +adopted):\n%s", version, name, diff)
			}
			var had, has []string
			for _, c := range ours.Addrs {
				had = append(had, fmt.Sprintf("%s %d %s %d", c.Addr, c.Position, c.Bridge, c.VLAN))
			}
			for _, c := range got.Addrs {
				has = append(has, fmt.Sprintf("%s %d %s %d", c.Addr, c.Position, c.Bridge, c.VLAN))
			}
			if diff := cmp.Diff(had, has); diff != "" {
				t.Errorf("%s %s: the addresses (-ours +adopted):\n%s", version, name, diff)
			}
			firewall := w.sim.Firewall(vm.VMID)
			if out := w.walkThrough(id, kvm.VerbChangePackage); !out.Complete {
				t.Fatalf("%s %s: %+v", version, name, out)
			}
			now := w.vm(id)
			for _, key := range []string{"ipconfig0", "net0", "nameserver", "searchdomain", "scsi0", "scsi1"} {
				if vm.Config[key] == "" || now.Config[key] != vm.Config[key] {
					t.Errorf("%s %s: %s was %q and is %q", version, name, key, vm.Config[key], now.Config[key])
				}
			}
			if now.Config["memory"] != "8192" {
				t.Errorf("%s %s: memory %s", version, name, now.Config["memory"])
			}
			if diff := cmp.Diff(firewall, w.sim.Firewall(vm.VMID)); diff != "" || len(firewall.IPSets["ipfilter-net0"]) != 4 {
				t.Errorf("%s %s: the firewall:\n%s", version, name, diff)
			}
			if diff := cmp.Diff(got.Addrs, w.service(id).Addrs, cmp.Comparer(func(x, y kvm.Claim) bool { return x == y })); diff != "" {
				t.Errorf("%s %s: the claims:\n%s", version, name, diff)
			}
		}
	}
}

// TestAdoptRefuses: each thing in which a VM can differ from its row refuses it by name, and changes nothing anywhere.
func TestAdoptRefuses(t *testing.T) {
	t.Parallel()
	w := manyAddresses(t, "8.4.21")
	id := w.order()
	w.reach(id, allRows)
	vmid := w.service(id).Row.VMID
	w.asPHP(id)
	vm := w.vm(id)
	config := func(key, value string) func() {
		return func() {
			if err := w.sim.SetConfig(vmid, map[string]string{key: value}); err != nil {
				t.Error(err)
			}
		}
	}
	hosting := func(column, value string) func() {
		return func() { w.db.Exec("UPDATE tblhosting SET "+column+" = ? WHERE id = ?", value, id) }
	}
	row := func(set string) func() { return func() { w.set(id, set) } }
	stored := func(column string) string {
		return w.db.Text("SELECT "+column+" FROM tblhosting WHERE id = ?", id)
	}
	dedicated, assigned := stored("dedicatedip"), stored("assignedips")
	set := fmt.Sprintf("/nodes/%s/qemu/%d/firewall/ipset/ipfilter-net0", vm.Node, vmid)
	for name, c := range map[string]struct {
		breaks, mends func()
		says          string
	}{
		"name":           {config("name", "theirs"), config("name", vm.Config["name"]), `its name is "theirs", not "` + vm.Config["name"] + `"`},
		"no name at all": {func() { row("vm_name = ''")(); hosting("domain", "")() }, func() { row("vm_name = '" + vm.Config["name"] + "'")() }, "says how it is called"},
		"name by the domain": {func() { row("vm_name = NULL")(); hosting("domain", "other.example.com")() },
			func() { row("vm_name = '" + vm.Config["name"] + "'")() }, `not "other"`},
		"MAC":         {row("vm_net0_mac = '02:00:00:00:00:01'"), row("vm_net0_mac = NULL"), ", not 02:00:00:00:00:01"},
		"no net0":     {config("net0", ""), config("net0", vm.Config["net0"]), "it has no network device net0"},
		"address":     {config("ipconfig0", "ip=192.0.2.200/24,gw=192.0.2.1"), config("ipconfig0", vm.Config["ipconfig0"]), "its ipconfig0 has 192.0.2.200, which WHMCS has not"},
		"odd address": {config("ipconfig0", "ip=manual"), config("ipconfig0", vm.Config["ipconfig0"]), `its ipconfig0 "ip=manual" cannot be understood`},
		"DHCP": {config("ipconfig0", "ip=dhcp,ip6=dhcp"), config("ipconfig0", vm.Config["ipconfig0"]),
			"its ipconfig0 leaves ipv4 to DHCP, and WHMCS has 192.0.2.10; its ipconfig0 leaves ipv6 to DHCP, and WHMCS has 2001:db8::10"},
		"one too many in WHMCS": {hosting("assignedips", assigned+"\n192.0.2.77"), hosting("assignedips", assigned), "its IPSet ipfilter-net0 lacks 192.0.2.77, which WHMCS has"},
		"one too few in WHMCS":  {hosting("assignedips", strings.Replace(assigned, "192.0.2.11", "", 1)), hosting("assignedips", assigned), "its IPSet ipfilter-net0 has 192.0.2.11, which WHMCS has not"},
		"none in WHMCS": {func() { hosting("assignedips", "")(); hosting("dedicatedip", "")() }, func() { hosting("assignedips", assigned)(); hosting("dedicatedip", dedicated)() },
			"its ipconfig0 has 192.0.2.10, which WHMCS has not"},
		"nonsense in WHMCS": {hosting("assignedips", assigned+"\n192.0.2.300"), hosting("assignedips", assigned), `WHMCS has "192.0.2.300" among the service's addresses, which is none`},
		"a network in the IPSet": {func() { w.call("POST", set, "cidr", "198.51.100.0/24") }, func() { w.call("DELETE", set+"/198.51.100.0%2F24") },
			"its IPSet ipfilter-net0 has 198.51.100.0/24, which WHMCS has not"},
		"no UUID":  {config("smbios1", "serial=1"), config("smbios1", vm.Config["smbios1"]), "has no SMBIOS UUID"},
		"template": {config("template", "1"), config("template", ""), "is a template, not the VM of service"},
		"storage":  {func() { w.product("backup_storage=nowhere") }, func() { w.product("backup_storage=") }, "no node that is online has the backup storage nowhere active"},
		"product":  {func() { w.db.Exec("UPDATE tblproducts SET servertype = 'other'") }, func() { w.db.Exec("UPDATE tblproducts SET servertype = 'puqProxmoxKVM'") }, "belongs to the module"},
	} {
		c.breaks()
		before, rowBefore := w.picture(), w.wholeRow(id)
		w.writes()
		_, err := w.adopt(id)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if writes := w.writes(); len(writes) > 0 || w.picture() != before || w.wholeRow(id) != rowBefore {
			t.Errorf("%s: something was changed: %v", name, writes)
		}
		c.mends()
	}
	if n := w.db.Text("SELECT (SELECT COUNT(*) FROM puq_proxmox_kvm_addresses) + (SELECT COUNT(*) FROM puq_proxmox_kvm_vmids)"); n != "0" {
		t.Errorf("%s claims and reservations were made", n)
	}
	hosting("domain", vm.Config["name"]+".example.com")()
	if _, err := w.adopt(id); err != nil {
		t.Errorf("mended: %v", err)
	}
}

// TestAdoptWithoutIPSet: without the firewall's set only ipconfig0 tells what the VM uses; DHCP is left to itself.
func TestAdoptWithoutIPSet(t *testing.T) {
	t.Parallel()
	w := manyAddresses(t, "8.4.21")
	w.product("antispoof=off")
	id := w.order()
	w.reach(id, allRows)
	vm := w.vm(id)
	w.asPHP(id)
	set := func(value string) {
		if err := w.sim.SetConfig(vm.VMID, map[string]string{"ipconfig0": value}); err != nil {
			t.Fatal(err)
		}
	}
	set("")
	if _, err := w.adopt(id); err == nil || !strings.Contains(err.Error(), "its ipconfig0 has no address of ipv4, and WHMCS has 192.0.2.10") {
		t.Errorf("no ipconfig0: %v", err)
	}
	set("ip6=2001:db8::11/64,gw6=2001:db8::1,ip=dhcp")
	w.product("ipv4=0", "dhcp_ipv4=on")
	a, err := w.adopt(id)
	if err != nil || len(a.Addrs) != 2 || a.Addrs[0].Addr != addr("2001:db8::11") || a.Addrs[1].Addr != addr("2001:db8::10") || a.Addrs[1].Position != 1 {
		t.Errorf("DHCP for IPv4, the second IPv6 address in the guest: %v, %+v", err, a.Addrs)
	}
}

// wholeRow is the service's row of ours, as text.
func (w *world) wholeRow(id int64) string {
	w.t.Helper()
	return w.db.Text(`SELECT CONCAT_WS('|', vm_id, vm_name, vm_status, vm_net0_mac, server_id, vm_node, vm_uuid, vm_uuids, vm_cluster, disk_slot, clone_sent, queued_at, claim_owner, message)
		FROM puqProxmoxKVM_vm_info WHERE service_id = ?`, id)
}

// TestAdoptInTheMiddle: a VM that the PHP module has half made is adopted at any status from the clone on, and finished.
func TestAdoptInTheMiddle(t *testing.T) {
	t.Parallel()
	w := manyAddresses(t, "8.4.21")
	whole := w.order()
	w.reach(whole, allRows)
	want := w.service(whole)
	for row := rowClone; row < allRows; row++ {
		id := w.order()
		w.reach(id, row)
		if row == rowClone { // it died before it had noted the clone
			w.set(id, "vm_status = ?", string(kvm.SetDNS))
		}
		had := w.service(id).Addrs
		vmid := w.service(id).Row.VMID
		w.asPHP(id)
		if err := w.sim.SetConfig(vmid, map[string]string{"description": ""}); err != nil { // the PHP module leaves no mark
			t.Fatal(err)
		}
		if _, err := w.adopt(id); err != nil {
			t.Errorf("after %s: %v (%s)", title(row), err, kvm.Hint(err))
			continue
		}
		w.reach(id, allRows)
		s, vm := w.service(id), w.vm(id)
		if s.Row.VMID != vmid || len(w.sim.VMs()) != int(id-whole)+2 {
			t.Errorf("after %s: VM %d became %d, and there are %d VMs", title(row), vmid, s.Row.VMID, len(w.sim.VMs()))
		}
		if diff := cmp.Diff(had, s.Addrs, cmp.Comparer(func(x, y kvm.Claim) bool { return x == y })); diff != "" {
			t.Errorf("after %s: the addresses:\n%s", title(row), diff)
		}
		if s.Row.DiskSlot != want.Row.DiskSlot || len(vm.Disks) != len(w.vm(whole).Disks) {
			t.Errorf("after %s: the additional disk is %q, of %d disks", title(row), s.Row.DiskSlot, len(vm.Disks))
		}
	}
}
