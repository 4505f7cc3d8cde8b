package lifecycle_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// changing is a world with one service that is ready.
func changing(t *testing.T, product ...string) (*world, int64) {
	t.Helper()
	w := newWorld(t, "8.4.21", product...)
	w.pool("2001:db8::10", "2001:db8::20", "2001:db8::1", 64, "vmbr0", 0)
	w.settings.StopGraceful, w.settings.StopForce, w.settings.Quarantine = 120*time.Second, 60*time.Second, 24*time.Hour
	id := w.order()
	w.reach(id, allRows)
	return w, id
}

// change changes the product and sees the change of package through.
func (w *world) change(id int64, product ...string) outcome {
	w.t.Helper()
	w.product(product...)
	w.ask(id, kvm.VerbChangePackage)
	out := w.walk(id, 0)
	if !out.Complete || w.service(id).Row.Status != kvm.Ready || w.vm(id).Power != kvm.Running {
		w.t.Fatalf("%v: %+v, at %s, %s", product, out.Outcome, w.service(id).Row.Status, w.vm(id).Power)
	}
	return out
}

// claims are the service's addresses as they are stored, with their states.
func (w *world) claims() string {
	w.t.Helper()
	return w.db.Text(`SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(' ', address, service_id, state) ORDER BY address SEPARATOR ', '), '') FROM puq_proxmox_kvm_addresses`)
}

// TestChangeOfNothing: a package that is what the VM is already: every row that compares says so and still advances, and
// nothing of the VM is written.
func TestChangeOfNothing(t *testing.T) {
	t.Parallel()
	w, id := changing(t, rich...)
	before, firewall := w.vm(id), fmt.Sprint(w.sim.Firewall(w.service(id).Row.VMID))
	w.writes()
	out := w.change(id)
	after := w.vm(id)
	if !maps.Equal(before.Config, after.Config) || fmt.Sprint(before.Disks) != fmt.Sprint(after.Disks) || fmt.Sprint(w.sim.Firewall(w.service(id).Row.VMID)) != firewall {
		t.Errorf("it was %v, and is %v", before, after)
	}
	for _, row := range w.writes() {
		if !strings.Contains(row, "/status/") {
			t.Errorf("it sent %s", row)
		}
	}
	var titles []string
	for _, s := range out.steps {
		titles = append(titles, strings.TrimSpace(s.Title+" "+s.Note))
	}
	skipped := func(rows ...string) (all []string) {
		for _, r := range rows {
			all = append(all, r+" skip — no change")
		}
		return all
	}
	want := slices.Concat([]string{"Update IP + DNS + Firewall", "Stop VM"},
		skipped("Set CPU & RAM", "Resize system disk", "Set system disk I/O", "Create additional disk", "Resize additional disk", "Set additional disk I/O", "Configure network"),
		[]string{"Configure firewall", "Start VM", "Verify VM"})
	if !slices.Equal(titles, want) {
		t.Errorf("%q\nwant %q", titles, want)
	}
}

// TestChangeOfHardware: CPU, RAM, disks and their limits, and the card become the package's, up and down, but for disks, which
// never shrink. What an administrator has set stays: whether the VM starts with its node, its MAC, the drive's other options.
func TestChangeOfHardware(t *testing.T) {
	t.Parallel()
	w, id := changing(t, "system_size=20")
	w.configure(id, map[string]string{"onboot": "0"})
	mac := w.service(id).Row.MAC
	check := func(what string, good bool) {
		t.Helper()
		if !good {
			t.Errorf("%s: %v %v", what, w.vm(id).Config, w.vm(id).Disks)
		}
	}
	gib := func(slot string) int64 { return w.vm(id).Disks[slot].Size >> 30 }
	has := func(slot, text string) bool { return strings.Contains(w.vm(id).Config[slot], text) }

	w.change(id, "cpu=4", "ram=8", "system_size=30", "system_mbps_rd=100", "system_iops_wr=500", "bandwidth=12", "net_model=e1000")
	vm := w.vm(id)
	check("more", vm.Config["cores"] == "4" && vm.Config["memory"] == "8192" && gib("scsi0") == 30 && has("scsi0", "mbps_rd=100") && has("scsi0", "iops_wr=500") && has("net0", "e1000="+mac) && has("net0", "rate=12"))
	check("onboot", vm.Config["onboot"] == "0" && len(vm.Pending) == 0)

	out := w.change(id, "cpu=1", "ram=1", "system_size=20", "system_mbps_rd=0", "system_iops_wr=0", "bandwidth=0", "additional_size=10", "additional_mbps_wr=50")
	vm = w.vm(id)
	check("less", vm.Config["cores"] == "1" && vm.Config["memory"] == "1024" && gib("scsi0") == 30 && !has("scsi0", "mbps") && !has("scsi0", "iops") && !has("net0", "rate"))
	check("an additional disk", gib("scsi1") == 10 && has("scsi1", "mbps_wr=50"))
	if got := out.note("Resize system disk"); got != "skip — disks never shrink, scsi0 has 30 GiB" {
		t.Errorf("%q", got)
	}
	w.change(id, "additional_size=25", "additional_mbps_wr=0")
	check("a larger one", gib("scsi1") == 25 && !has("scsi1", "mbps"))
	out = w.change(id, "additional_size=5")
	check("never smaller", gib("scsi1") == 25 && strings.Contains(out.note("Resize additional disk"), "never shrink"))
	w.change(id, "additional_size=0")
	check("never removed", gib("scsi1") == 25 && len(w.sim.Volumes(w.service(id).Row.VMID)) == len(w.vm(id).Disks))
}

// TestChangeOfAddresses: more come from the VM's own bridge; fewer stay the service's until the VM runs without them; who asks
// for more before that gets the same ones back.
func TestChangeOfAddresses(t *testing.T) {
	t.Parallel()
	w, id := changing(t)
	const a, b, c, six = "192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:0db8:0000:0000:0000:0000:0000:0010"
	mine := func(addr, state string) string { return fmt.Sprintf("%s %d %s", addr, id, state) }
	check := func(what string, hosting string, claims ...string) {
		t.Helper()
		_, have := w.given(id)
		if got := w.claims(); got != strings.Join(claims, ", ") || have != hosting {
			t.Errorf("%s: %s; in WHMCS %q", what, got, have)
		}
	}
	entries := func() string {
		return strings.Join(w.sim.Firewall(w.service(id).Row.VMID).IPSets["ipfilter-net0"], " ")
	}
	told := w.vm(id).CloudInit

	w.pool("198.51.100.2", "198.51.100.6", "198.51.100.1", 29, "vmbr1", 100)
	w.product("auto_bridge=off", "bridge=vmbr1", "vlan=100") // of new orders
	w.change(id, "ipv4=3", "ipv6=0")
	check("more", a+"|"+b+"\n"+c, mine(a, "claimed"), mine(b, "claimed"), mine(c, "claimed"))
	if got := entries(); got != "192.0.2.10 192.0.2.11 192.0.2.12" || w.vm(id).CloudInit != told || !strings.Contains(w.vm(id).Config["net0"], "bridge=vmbr0") {
		t.Errorf("%s, %s, told\n%s", got, w.vm(id).Config["net0"], w.vm(id).CloudInit)
	}
	w.change(id, "ipv6=1")
	check("the other family", a+"|"+b+"\n"+c+"\n"+six, mine(a, "claimed"), mine(b, "claimed"), mine(c, "claimed"), mine(six, "claimed"))
	if got := w.vm(id).Config["ipconfig0"]; !strings.Contains(got, "ip6=2001:db8::10/64") || !strings.Contains(w.vm(id).CloudInit, "2001:db8::10") {
		t.Errorf("%s, told\n%s", got, w.vm(id).CloudInit)
	}

	// Fewer, and the VM does not come up: nobody else gets what is leaving.
	late := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: startPath, UpLate: time.Hour, Count: 1})
	w.product("ipv4=1", "ipv6=0", "auto_bridge=on", "bridge=vmbr0", "vlan=0")
	w.ask(id, kvm.VerbChangePackage)
	if out := w.walk(id, 0); out.Message != "VM failed to start (status: stopped). Will retry." || out.At != kvm.CPFirewall || late.Hits() != 1 {
		t.Fatalf("%+v", out.Outcome)
	}
	check("fewer, not through", a+"|", mine(a, "claimed"), mine(b, "leaving"), mine(c, "leaving"), mine(six, "leaving"))
	other := w.order()
	w.reach(other, rowIP)
	if got := w.service(other).Addrs[0].Addr.String(); got != "192.0.2.13" {
		t.Errorf("another service got %s", got)
	}
	theirs := fmt.Sprintf("192.0.2.13 %d claimed", other)
	w.change(id, "ipv4=2")
	check("one comes back", a+"|"+b, mine(a, "claimed"), mine(b, "claimed"), theirs)
	if got := entries(); got != "192.0.2.10 192.0.2.11" {
		t.Error(got)
	}
	// Without anti-spoofing a guest could go on using what is taken from it.
	w.change(id, "ipv4=1", "antispoof=off")
	check("quarantined", a+"|", mine(a, "claimed"), mine(b, "quarantined"), theirs)
	if got := w.db.Text("SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(6), until) BETWEEN 1435 AND 1440 FROM puq_proxmox_kvm_addresses WHERE address = ?", b); got != "1" {
		t.Error("not for ip.quarantine")
	}

	// DHCP and back: the guest is told, and no filter of former addresses is left.
	w.change(id, "antispoof=on")
	w.change(id, "ipv4=0", "dhcp_ipv4=on")
	if got := w.vm(id).Config["ipconfig0"]; got != "ip=dhcp" || entries() != "" || !strings.Contains(w.claims(), mine(a, "quarantined")) {
		t.Errorf("with DHCP: %s, %s, %s", got, entries(), w.claims())
	}
	w.change(id, "ipv4=1", "dhcp_ipv4=off")
	if s := w.service(id); len(s.Addrs) != 1 || !strings.Contains(w.vm(id).Config["ipconfig0"], "ip="+s.Addrs[0].Addr.String()+"/") || entries() != s.Addrs[0].Addr.String() {
		t.Errorf("and back: %v, %s, %s", s.Addrs, w.vm(id).Config["ipconfig0"], entries())
	}
}

// TestChangeAndPower: a VM that its owner stopped runs after it, a suspended one does not; a start whose task fails is said in
// the words that are known, with the reason, and is tried again.
func TestChangeAndPower(t *testing.T) {
	t.Parallel()
	w, id := changing(t)
	w.power(id, kvm.Stopped)
	if out := w.change(id, "cpu=2"); out.note("Stop VM") != "skip — no change" {
		t.Errorf("%q", out.note("Stop VM"))
	}

	failing := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: startPath, TaskError: "start failed: QEMU exited with code 1", Count: 1})
	w.ask(id, kvm.VerbChangePackage)
	out := w.walk(id, 0)
	if !strings.HasPrefix(out.Message, "VM failed to start (status: stopped). Will retry. ") || !strings.Contains(out.Message, "QEMU exited") || !errors.Is(out.Err, kvm.ErrTaskFailed) || failing.Hits() != 1 || w.service(id).Row.Status != kvm.CPFirewall {
		t.Errorf("%+v", out.Outcome)
	}
	if out := w.walk(id, 0); !out.Complete || len(out.steps) != 3 || w.vm(id).Power != kvm.Running {
		t.Errorf("%+v", out)
	}

	// The PHP module's word for cp_stop.
	w.set(id, "vm_status = 'cp_update_ip'")
	if out := w.walk(id, 0); !out.Complete || out.steps[0].Title != "Stop VM" || len(out.steps) != 11 {
		t.Errorf("%+v", out)
	}

	// Suspended before, or while the change is under way.
	w.ask(id, kvm.VerbSuspend)
	w.walk(id, 0)
	w.ask(id, kvm.VerbChangePackage)
	out = w.walk(id, 0)
	if vm := w.vm(id); !out.Complete || out.note("Start VM") != "skip — suspended" || vm.Power != kvm.Stopped || vm.Config["onboot"] != "0" {
		t.Errorf("%+v, %s, onboot %s", out, vm.Power, vm.Config["onboot"])
	}
	w.ask(id, kvm.VerbUnsuspend)
	w.walk(id, 0)
	w.ask(id, kvm.VerbChangePackage)
	suspend := w.once("POST", startPath, pvesim.Arrived, func() { w.ask(id, kvm.VerbSuspend) })
	w.walk(id, 0)
	if !suspend() || w.service(id).Row.Status != kvm.Suspend {
		t.Fatalf("at %s", w.service(id).Row.Status)
	}
	w.walk(id, 0)
	if vm := w.vm(id); w.service(id).Row.Status != kvm.Ready || vm.Power != kvm.Stopped || vm.Config["onboot"] != "0" {
		t.Errorf("at %s, %s, onboot %s", w.service(id).Row.Status, vm.Power, vm.Config["onboot"])
	}
}

// TestChangeThatCannotBegin: pools without room change nothing, and the VM runs on; a VM that is locked is left alone without
// a line. A terminate that comes then is taken, though the row never passes.
func TestChangeThatCannotBegin(t *testing.T) {
	t.Parallel()
	w, id := changing(t)
	before, claims := w.picture(), w.claims()
	w.product("ipv4=250")
	w.ask(id, kvm.VerbChangePackage)
	for range 2 {
		if out := w.walk(id, 0); !errors.Is(out.Err, kvm.ErrExhausted) || out.At != kvm.ChangePackage || len(out.steps) != 1 {
			t.Errorf("%+v", out.Outcome)
		}
	}
	if w.claims() != claims || w.vm(id).Power != kvm.Running {
		t.Errorf("%s, %s", w.claims(), w.picture())
	}
	vmid := w.service(id).Row.VMID
	if err := w.sim.SetLock(vmid, "backup"); err != nil {
		t.Fatal(err)
	}
	if out := w.walk(id, 0); !out.Silent || out.Err != nil || out.Message != fmt.Sprintf("waiting on VM %d: locked by Proxmox (backup)", vmid) {
		t.Errorf("%+v", out.Outcome)
	}
	if err := w.sim.SetLock(vmid, ""); err != nil {
		t.Fatal(err)
	}
	w.writes()
	if after := w.picture(); strings.Count(after, `"running"`) != strings.Count(before, `"running"`) {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	w.once("GET", "/nodes/{node}/qemu/{vmid}/config", pvesim.Arrived, func() { w.ask(id, kvm.VerbTerminate) })
	if out := w.walk(id, 0); !errors.Is(out.Err, kvm.ErrExhausted) {
		t.Errorf("%+v", out.Outcome)
	}
	out := w.walk(id, 0)
	if _, there := w.sim.VM(vmid); !out.Complete || there || w.service(id).Row.Status != kvm.Remove {
		t.Errorf("%+v, at %s", out.Outcome, w.service(id).Row.Status)
	}
}
