package cmd

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// during calls verbs of the service once, while the program waits for its first request to method and pattern.
func (w *world) during(method, pattern string, verbs ...string) {
	var once sync.Once
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if r.Stage == pvesim.Arrived && r.Method == method && r.Pattern == pattern {
			once.Do(func() {
				for _, v := range verbs {
					if out, errs, code := w.run(v, "5001"); code != exitQueued {
						w.t.Errorf("%s: exit %d\n%s%s", v, code, out, errs)
					}
				}
			})
		}
	})
	w.t.Cleanup(func() { w.sim.SetHook(nil) })
}

// TestVerbsDuringATick: WHMCS's verbs while a tick has the service in hand. None is lost, none breaks the row that is at work.
func TestVerbsDuringATick(t *testing.T) {
	const clone, start = "/nodes/{node}/qemu/{vmid}/clone", "/nodes/{node}/qemu/{vmid}/status/start"
	t.Run("terminate during the clone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, scene{})
		w.order(5001)
		w.during("POST", clone, "suspend", "terminate")
		if log := w.tick(); w.status(5001) != kvm.Terminate || !strings.Contains(log, "--- Deploy paused: waiting at (terminate) ---") || !strings.Contains(log, "processed: 1, errors: 0") {
			t.Errorf("at %s\n%s", w.status(5001), log)
		}
		if n := len(w.sim.VMs()); n != 2 {
			t.Errorf("the clone was cut off: %d VMs", n)
		}
		w.tick()
		if n := len(w.sim.VMs()); w.status(5001) != kvm.Remove || n != 1 || len(w.api.Mails()) != 0 {
			t.Errorf("at %s, %d VMs, mails %v", w.status(5001), n, w.api.Mails())
		}
	})
	t.Run("terminate and create during the start", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, scene{})
		w.order(5001)
		first := w.vmid(5001)
		w.during("POST", start, "terminate", "create")
		for range 4 {
			w.tick()
		}
		w.settle(5001)
		if w.vmid(5001) == first {
			t.Errorf("the VMID %d did not rest", first)
		}
	})
	t.Run("suspend and change-package during the start", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, scene{})
		w.order(5001)
		w.during("POST", start, "suspend", "change-package")
		w.tick()
		if w.status(5001) != kvm.ChangePackage || len(w.api.Mails()) != 1 {
			t.Errorf("at %s, mails %v", w.status(5001), w.api.Mails())
		}
		w.tick()
		w.tick()
		vm := w.sim.VMs()[w.vmid(5001)]
		if w.status(5001) != kvm.Ready || vm.Power != kvm.Stopped || vm.Config["onboot"] != "0" || len(w.api.Mails()) != 1 {
			t.Errorf("at %s, %s, onboot %s, mails %v", w.status(5001), vm.Power, vm.Config["onboot"], w.api.Mails())
		}
	})
	t.Run("change-package during a change", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, scene{})
		w.order(5001)
		w.tick()
		w.ok("product", "set", "1", "cpu=3")
		w.ok("change-package", "5001")
		w.during("PUT", "/nodes/{node}/qemu/{vmid}/config", "change-package")
		w.ok("product", "set", "1", "ram=6")
		if w.tick(); w.status(5001) != kvm.ChangePackage {
			t.Errorf("at %s", w.status(5001))
		}
		w.tick()
		if vm := w.sim.VMs()[w.vmid(5001)]; vm.Config["cores"] != "3" || vm.Config["memory"] != "6144" {
			t.Errorf("%v", vm.Config)
		}
		w.settle(5001)
	})
}

// TestVerbsOnAnOlderSchema: between a new program and its migration WHMCS's verbs are queued, and the rest says what to type.
func TestVerbsOnAnOlderSchema(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5001)
	w.tick()
	w.db.Exec("ALTER TABLE puqProxmoxKVM_vm_info DROP COLUMN next_status, DROP COLUMN vm_cluster, DROP COLUMN template")
	w.db.Exec("DROP TABLE puq_proxmox_kvm_backups")
	w.db.Exec("UPDATE puq_proxmox_kvm_meta SET value = '1' WHERE name = 'schema_version'")
	w.order(5002)
	refused := func(want int, args ...string) {
		t.Helper()
		before := w.state()
		_, errs, code := w.run(args...)
		if diff := changed(before, w.state()); code != want || !strings.Contains(errs, "Hint: puqkvm db migrate") || len(diff) > 0 {
			t.Errorf("%v: exit %d, %s%v", args, code, errs, diff)
		}
	}
	refused(exitAdmin, "reinstall", "5001", "--confirm", "REINSTALL")
	refused(exitAdmin, "reset-password", "5001")
	refused(exitAdmin, "suspend", "5001", "--wait")
	refused(exitAdmin, "cron")
	refused(exitQueued, "suspend", "5002")
	w.ok("suspend", "5001")
	refused(exitQueued, "unsuspend", "5001")
	w.ok("terminate", "5002")
	if w.status(5001) != kvm.Suspend || w.status(5002) != kvm.Terminate {
		t.Errorf("at %s and %s", w.status(5001), w.status(5002))
	}
	w.ok("db", "migrate")
	w.tick()
	if w.status(5001) != kvm.Ready || w.status(5002) != kvm.Remove || w.sim.VMs()[w.vmid(5001)].Power != kvm.Stopped {
		t.Errorf("at %s and %s", w.status(5001), w.status(5002))
	}
}
