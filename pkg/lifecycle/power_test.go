package lifecycle_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const startPath = "/nodes/{node}/qemu/{vmid}/status/start"

func (w *world) power(id int64, p kvm.Power) {
	w.t.Helper()
	if err := w.sim.SetPower(w.service(id).Row.VMID, p); err != nil {
		w.t.Fatal(err)
	}
}

// TestStart: a VM that runs already is not started again; a start that fails says why, and the next tick tries again.
func TestStart(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version)
		id := w.order()
		w.reach(id, rowCloudinit)
		w.power(id, kvm.Running)
		if out := w.reach(id, rowStart); out.note(title(rowStart)) != "skip — no change" || w.sim.Counts()["POST "+startPath] != 0 {
			t.Errorf("%s: running already: %q", version, out.note(title(rowStart)))
		}
		w.reach(id, allRows)

		// The bridge is missing on the node: the task fails.
		id = w.order()
		w.reach(id, rowCloudinit)
		net0 := w.vm(id).Config["net0"]
		w.configure(id, map[string]string{"net0": strings.Replace(net0, "vmbr0", "vmbr8", 1)})
		for range 2 {
			out := w.run(id, allRows)
			if !errors.Is(out.Err, kvm.ErrTaskFailed) || out.At != from(rowStart) || !strings.Contains(out.Message, "the task qmstart of") || w.service(id).Row.TaskUPID != "" {
				t.Errorf("%s: %+v", version, out.Outcome)
			}
		}
		w.configure(id, map[string]string{"net0": net0})
		w.reach(id, allRows)

		// Somebody else is faster: the task fails with "already running", and the VM runs.
		id = w.order()
		w.reach(id, rowCloudinit)
		happened := w.once("POST", startPath, pvesim.Arrived, func() { w.power(id, kvm.Running) })
		out := w.reach(id, allRows)
		if !happened() || out.note(title(rowStart)) != "" {
			t.Errorf("%s: overtaken: %q", version, out.note(title(rowStart)))
		}
		// The task says nothing good, and the VM runs: killed after the effect.
		w.sim.SetHook(nil)
		id = w.order()
		w.reach(id, rowCloudinit)
		armed := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: startPath, TaskVanishes: true})
		w.reach(id, allRows)
		armed.Remove()
	}
}

// TestSlowStart: a start that outlasts a tick's patience is waited for, and not repeated.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	model := pvesim.Instant()
	model.Boot = 500 * time.Second
	w := newWorldOn(t, "8.4.21", model)
	id := w.order()
	out := w.run(id, allRows)
	if out.Err != nil || out.At != from(rowStart) || !strings.HasPrefix(out.Message, "waiting on task UPID:") {
		t.Errorf("%+v", out.Outcome)
	}
	w.reach(id, allRows)
	if n := w.sim.Counts()["POST "+startPath]; n != 1 {
		t.Errorf("%d starts", n)
	}
	w.settled(1, id)
}

// TestDoesNotComeUp: the task ended well and the VM is off. The message is the one that is known; the status goes back,
// and the next tick starts the VM again.
func TestDoesNotComeUp(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version)
		id := w.order()
		w.reach(id, rowStart)
		w.power(id, kvm.Stopped)
		began := w.clock.Now()
		out := w.run(id, allRows)
		if out.Message != "VM failed to start (status: stopped). Will retry." || out.At != kvm.SetCloudinit || out.Wanted != kvm.Ready || out.Err == nil {
			t.Errorf("%s: %+v", version, out.Outcome)
		}
		if took := w.clock.Now().Sub(began) - 61*time.Second; took < w.settings.StartWait || took > w.settings.StartWait+2*time.Second {
			t.Errorf("%s: looked for %v", version, took)
		}
		if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_outbox"); n != "0" {
			t.Errorf("%s: %s mails", version, n)
		}
		if s := w.service(id); s.Row.Status != kvm.SetCloudinit {
			t.Errorf("%s: stored %s", version, s.Row.Status)
		}
		w.reach(id, allRows)
		w.settled(1, id)
	}
}

// TestComesUpLate: a VM that is seen running within start.wait is fine.
func TestComesUpLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowStart)
	w.power(id, kvm.Stopped)
	vmid, looks := w.service(id).Row.VMID, 0
	w.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/nodes/{node}/qemu/{vmid}/status/current", Count: 3, Body: `{"data":{"status":"stopped"}}`})
	if err := w.sim.SetPower(vmid, kvm.Running); err != nil {
		t.Fatal(err)
	}
	w.reach(id, allRows)
	for _, e := range w.sim.Requests() {
		if strings.HasSuffix(e.Path, "/status/current") {
			looks++
		}
	}
	if looks < 4 {
		t.Errorf("%d looks", looks)
	}
	w.settled(1, id)
}

// TestSuspended: while the flag is set the VM must not run: onboot is 0, it is not started, and is expected off.
func TestSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	id := w.order()
	w.set(id, "suspended = 1")
	out := w.reach(id, allRows)
	vm := w.vm(id)
	if out.note(title(rowStart)) != "skip — suspended" || vm.Power != kvm.Stopped || vm.Config["onboot"] != "0" || w.sim.Counts()["POST "+startPath] != 0 {
		t.Errorf("%q, %s, onboot %s", out.note(title(rowStart)), vm.Power, vm.Config["onboot"])
	}
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_outbox"); n != "1" {
		t.Errorf("%s mails", n)
	}

	// The flag was set when the VM had been started: it is stopped, or the suspend that waits for the end would never come.
	id = w.order()
	w.reach(id, rowStart)
	w.set(id, "suspended = 1")
	w.reach(id, allRows)
	if vm := w.vm(id); vm.Power != kvm.Stopped {
		t.Errorf("%s", vm.Power)
	}
}

// TestMail: the mail is written together with the status, once, with the product's template.
func TestMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "mail_ready=Your VM")
	id := w.order()
	w.reach(id, rowStart)
	// A status that cannot be stored leaves no mail.
	w.db.Exec("CREATE TRIGGER no_ready BEFORE UPDATE ON puqProxmoxKVM_vm_info FOR EACH ROW IF NEW.vm_status = 'ready' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not now'; END IF")
	out := w.run(id, allRows)
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_outbox"); out.Err == nil || n != "0" {
		t.Errorf("%+v, %s mails", out.Outcome, n)
	}
	w.db.Exec("DROP TRIGGER no_ready")
	// A mail that cannot be stored leaves the status.
	w.db.Exec("RENAME TABLE puq_proxmox_kvm_outbox TO gone")
	out = w.run(id, allRows)
	if s := w.service(id); out.Err == nil || s.Row.Status == kvm.Ready {
		t.Errorf("%+v, at %s", out.Outcome, s.Row.Status)
	}
	w.db.Exec("RENAME TABLE gone TO puq_proxmox_kvm_outbox")
	w.reach(id, allRows)
	w.set(id, "vm_status = ?", string(kvm.Starting))
	w.reach(id, allRows)
	if got := w.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', service_id, client_id, action, template, state)) FROM puq_proxmox_kvm_outbox"); got != "5001 42 SendEmail Your VM pending" {
		t.Errorf("%q", got)
	}
	w.settled(1, id)
}

// TestNodeRebootsInTheMiddle: a node that reboots starts what has onboot=1, and knows nothing of a deployment. At no row
// may that start a VM that was not yet told its addresses.
func TestNodeRebootsInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	for row := rowCPU; row < rowStart; row++ {
		id := w.order()
		w.reach(id, row)
		w.sim.CrashNode("pve2")
		w.sim.BootNode("pve2")
		w.reach(id, allRows)
		vm := w.vm(id)
		addr := w.service(id).Addrs[0].Addr.String()
		if vm.Power != kvm.Running || len(vm.Pending) != 0 || !strings.Contains(vm.CloudInit, addr) || vm.Config["onboot"] != "1" {
			t.Errorf("after row %d: %s, onboot %s, pending %v, and the guest was told\n%s", row, vm.Power, vm.Config["onboot"], vm.Pending, vm.CloudInit)
		}
	}
}
