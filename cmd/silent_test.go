package cmd

import (
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestSilentProcess: a process that is held up for longer than its claim lives has lost its services to the next tick. It
// writes nothing more about them, whatever it was about to do.
func TestSilentProcess(t *testing.T) {
	const lost = "no longer ours"
	disk := func(r pvesim.Request) bool { return r.Stage == pvesim.Done && r.Form["scsi1"] != "" }
	for name, c := range map[string]struct {
		fits func(pvesim.Request) bool
		says string
	}{
		"after the clone":           {at(pvesim.Done, "POST", "/clone"), lost},
		"before the migration":      {at(pvesim.Arrived, "POST", "/migrate"), "does not exist"}, // on this node, for it was moved
		"after the new disk":        {disk, lost},
		"before the network":        {func(r pvesim.Request) bool { return r.Stage == pvesim.Arrived && r.Form["net0"] != "" }, lost},
		"before the password":       {func(r pvesim.Request) bool { return r.Stage == pvesim.Arrived && r.Form["cipassword"] != "" }, lost},
		"after the start":           {at(pvesim.Done, "POST", "/status/start"), lost},
		"reading before the e-mail": {at(pvesim.Done, "GET", "/status/current"), lost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scene{})
			w.everyRow()
			w.order(7000)
			s := w.holdAt(name, c.fits)
			silent := w.start(nil, "cron", "--force")
			s.await(silent)
			w.minutesLater(2)
			w.next()
			w.want(7000, kvm.Ready)
			before := w.db.Text("SELECT CONCAT_WS(' ', vm_status, vm_id, vm_uuid, clone_sent, migrate_target, disk_slot, password_set, task_kind, task_upid) FROM puqProxmoxKVM_vm_info")
			s.release()
			if code := silent.wait(); code != exitDone {
				t.Fatalf("exit %d\n%s%s", code, &silent.out, &silent.errout)
			}
			if !strings.Contains(silent.out.String(), c.says) {
				t.Errorf("the silent process does not say that it has lost the service:\n%s", &silent.out)
			}
			if after := w.db.Text("SELECT CONCAT_WS(' ', vm_status, vm_id, vm_uuid, clone_sent, migrate_target, disk_slot, password_set, task_kind, task_upid) FROM puqProxmoxKVM_vm_info"); after != before {
				t.Errorf("it has written %s over %s", after, before)
			}
			w.settle(7000)
			w.cloned(7000)
		})
	}
}

// TestSilentProcessWakes: the process that was held up wakes while the next one stands at the very row, so the status alone
// does not tell it that the service is another's.
func TestSilentProcessWakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	s := w.holdAt("the clone's answer", at(pvesim.Done, "POST", "/clone"))
	silent := w.start(nil, "cron", "--force")
	s.await(silent)
	w.minutesLater(2)
	next := w.holdAt("the next one's look", at(pvesim.Arrived, "GET", "/cluster/nextid"))
	second := w.start(nil, "cron", "--force")
	next.await(second)
	s.release()
	if code := silent.wait(); code != exitDone || !strings.Contains(silent.out.String(), "no longer ours at set_dns") {
		t.Errorf("exit %d\n%s%s", code, &silent.out, &silent.errout)
	}
	if upid := w.db.Text("SELECT task_upid FROM puqProxmoxKVM_vm_info"); upid != "" {
		t.Errorf("it has written the task %s", upid)
	}
	w.stillClaimed(7000)
	next.release()
	if code := second.wait(); code != exitDone {
		t.Fatalf("exit %d\n%s%s", code, &second.out, &second.errout)
	}
	w.settle(7000)
	w.cloned(7000)
}

// TestAddressTakenMeanwhile: between a process's look at the addresses and its claim another one claims the same.
func TestAddressTakenMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	tap, env := w.tap()
	w.order(7000)
	s := tap.holdAt(t, "the claim of the address", func(r pvesim.Request) bool {
		return r.Stage == pvesim.Arrived && strings.HasPrefix(r.Path, "INSERT INTO puq_proxmox_kvm_addresses")
	})
	first := w.start(env, "cron", "--force")
	wanted := s.await(first).Path
	w.order(7001)
	others := w.holdAt("the other's clone row", at(pvesim.Arrived, "GET", "/cluster/nextid"))
	second := w.start(nil, "cron", "--force")
	others.await(second)
	if taken := w.db.Text("SELECT dedicatedip FROM tblhosting WHERE id = 7001"); taken == "" || !strings.Contains(wanted, "'"+taken+"'") {
		t.Fatalf("the two do not want the same address: one has %q, the other is about to %s", taken, wanted)
	}
	s.release()
	others.release()
	for _, c := range []*child{first, second} {
		if code := c.wait(); code != exitDone {
			t.Fatalf("exit %d\n%s%s", code, &c.out, &c.errout)
		}
	}
	w.settle(7000, 7001)
	w.distinct([]int64{7000, 7001})
}
