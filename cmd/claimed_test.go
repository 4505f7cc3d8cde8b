package cmd

import (
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
	log := w.next()
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
