package cmd

import (
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestClaimed: while one process has a service in hand, another's tick leaves it alone: it asks Proxmox nothing, and
// writes nothing.
func TestClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	s := w.holdAt("the clone request", at(pvesim.Arrived, "POST", "/clone"))
	first := w.start(nil, "cron", "--force")
	s.await(first)
	const row = "SELECT CONCAT_WS(' ', vm_status, vm_id, clone_sent, claim_owner) FROM puqProxmoxKVM_vm_info"
	before, asked := w.db.Text(row), len(w.sim.Requests())
	// It lists what it may take up before the first has claimed it, and comes to the claim when the first is at work.
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND")
	tap, env := w.tap()
	late := newStop(t, "the second claim")
	tap.holdEach([]*stop{late}, func(_ int, r pvesim.Request) bool {
		return r.Stage == pvesim.Arrived && strings.Contains(r.Path, "SET claim_owner =")
	})
	second := w.start(env, "cron", "--force")
	late.await(second)
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND")
	late.release()
	if code := second.wait(); code != exitDone {
		t.Fatalf("exit %d\n%s%s", code, &second.out, &second.errout)
	}
	log := second.out.String()
	if after := w.db.Text(row); after != before {
		t.Errorf("the row was %s, and another process made it %s\n%s", before, after, log)
	}
	if n := len(w.sim.Requests()) - asked; n != 0 {
		t.Errorf("another process made %d requests to Proxmox\n%s", n, log)
	}
	w.want(7000, kvm.SetDNS)
	s.release()
	if code := first.wait(); code != exitDone {
		t.Fatalf("exit %d\n%s%s", code, &first.out, &first.errout)
	}
	w.settle(7000)
	w.unclaimed()
	w.cloned(7000)
}
