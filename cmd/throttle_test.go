package cmd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// TestClonesToASharedStorage: clones from templates of two nodes to one storage that both share count together, also those
// of two processes.
func TestClonesToASharedStorage(t *testing.T) {
	t.Parallel()
	model := pvesim.SmallMachine()
	model.Exact = map[string]time.Duration{"qmclone": 4 * time.Second}
	w := newWorld(t, scene{model: model, clock: clock.NewScaled(epoch, 40)})
	for vmid, node := range map[int]string{9101: "pve1", 9102: "pve2"} {
		if err := w.sim.AddTemplate(pvesim.Template{VMID: vmid, Node: node, Name: "shared-" + node, Storage: "shared", DiskGiB: 2, CloudInit: true}); err != nil {
			t.Fatal(err)
		}
	}
	w.ok("settings", "set", "pve.clones_per_storage", "3")
	w.db.AddProduct(whmcstest.Product{ID: 2})
	all := ids(6001, 10)
	w.order(all...)
	w.ok("product", "set", "1", "template=9101")
	w.db.Exec("INSERT INTO puq_proxmox_kvm_product_settings (product_id, settings) SELECT 2, settings FROM puq_proxmox_kvm_product_settings WHERE product_id = 1")
	w.ok("product", "set", "2", "template=9102")
	w.db.Exec("UPDATE tblhosting SET packageid = 2 WHERE id > 6005")
	a, b := w.start(nil, "cron", "--force"), w.start(nil, "cron", "--force")
	for _, c := range []*child{a, b} {
		if code := c.wait(); code != exitDone {
			t.Fatalf("exit %d\n%s%s", code, &c.out, &c.errout)
		}
	}
	w.next()
	for _, id := range all {
		w.want(id, kvm.Ready)
	}
	w.unclaimed()
	clones := w.overlap("qmclone")
	if clones["pve1"] == 0 || clones["pve2"] == 0 {
		t.Fatalf("the templates of both nodes were to be used: %v", clones)
	}
	if sum := clones["pve1"] + clones["pve2"]; sum > 4 {
		t.Errorf("clones at once: %v", clones)
	}
	if most := w.overlapBy("qmclone", func(pvesim.TaskState) string { return "" })[""]; most != 3 {
		t.Errorf("up to %d clones at once to the storage, and the throttle is 3", most)
	}
}

// TestADeadNodeCostsOneProbe: twenty services whose VMs are on a node that is gone cost a tick one call to it and one probe,
// and those of the other node are not held up.
func TestADeadNodeCostsOneProbe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.ok("product", "set", "1", "node=pve2", "clone_type=full")
	all := ids(6001, 20)
	w.order(all...)
	w.tick()
	w.settle(all...)
	w.ok("product", "set", "1", "node=pve1")
	w.order(6100)
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'set_firewall' WHERE service_id < 6100")
	w.sim.SetNodeDown("pve2", true)
	w.sim.ResetRequests()
	log := w.tick()
	asked := 0
	for _, r := range w.sim.Requests() {
		if strings.HasPrefix(r.Path, "/nodes/pve2/") {
			asked++
		}
	}
	if asked > 2 {
		t.Errorf("the dead node was asked %d times", asked)
	}
	w.want(6100, kvm.Ready)
	for _, id := range all {
		w.want(id, kvm.SetFirewall)
	}
	if n := strings.Count(log, "node pve2 is down and not asked again for a minute"); n < 19 {
		t.Errorf("%d services say why they wait\n%s", n, log)
	}
	if want := fmt.Sprintf("processed: %d, errors: %d", len(all)+1, len(all)); !strings.Contains(log, want) {
		t.Errorf("not %q in\n%s", want, log)
	}
	w.sim.SetNodeDown("pve2", false)
	w.tick()
	w.settle(append(all, 6100)...)
}
