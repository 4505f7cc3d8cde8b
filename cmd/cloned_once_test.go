package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestTheDeadOnesCloneComesLate: the request of the killed process has reached Proxmox, but is carried out only when the
// next tick has seen that there is no such VM and sends its own.
func TestTheDeadOnesCloneComesLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	s := w.holdAt("the clone request", at(pvesim.Arrived, "POST", "/clone"))
	first := w.start(nil, "cron", "--force")
	late := s.await(first)
	s.killed(first)

	s = w.holdAt("the second clone request", at(pvesim.Arrived, "POST", "/clone"))
	second := w.start(nil, "cron", "--force")
	again := s.await(second)
	if again.Form["newid"] != late.Form["newid"] {
		t.Errorf("the next tick clones to %s, the first may have made %s", again.Form["newid"], late.Form["newid"])
	}
	if err := w.send(late.Method, late.Path, late.Form); err != nil {
		t.Fatal(err)
	}
	s.release()
	if code := second.wait(); code != exitDone {
		t.Fatalf("exit %d\n%s", code, &second.errout)
	}
	w.goOn(7000, "the clone request")
	w.settle(7000)
	if left := w.sim.Volumes(w.vmid(7000) + 1); len(left) != 0 {
		t.Errorf("volumes of another VM: %v", left)
	}
}

// TestAnotherTakesTheNumber: the killed process had sent nothing yet, and before the next tick somebody else makes a VM
// under the number that was reserved. It is neither taken for ours nor touched.
func TestAnotherTakesTheNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	vmid := w.vmid(7000)
	s := w.holdAt("the clone request", at(pvesim.Arrived, "POST", "/clone"))
	c := w.start(nil, "cron", "--force")
	s.await(c)
	s.killed(c)
	foreign := map[string]string{"vmid": strconv.Itoa(vmid), "name": "somebody-elses", "memory": "512", "smbios1": "uuid=5ad5ad5a-0000-4000-8000-00000000beef"}
	if err := w.send("POST", "/nodes/pve1/qemu", foreign); err != nil {
		t.Fatal(err)
	}
	before, found := w.sim.VM(vmid)
	if !found {
		t.Fatal("the other VM was not made")
	}
	w.goOn(7000, s.what)
	after, _ := w.sim.VM(vmid)
	if fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the other VM was %v and is %v", before, after)
	}
	if w.vmid(7000) == vmid {
		t.Errorf("VM %d is taken for ours", vmid)
	}
	w.sim.RemoveVM(vmid)
	w.settle(7000)
}

// TestACloneWithoutOurMark: our task has ended OK, and yet the VM says that it is another's. Nothing proves that it is
// ours, so nothing is done to it until somebody has looked.
func TestACloneWithoutOurMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	s := w.holdAt("the clone's answer", at(pvesim.Done, "POST", "/clone"))
	c := w.start(nil, "cron", "--force")
	s.await(c)
	vmid := w.vmid(7000)
	vm, _ := w.sim.VM(vmid)
	if err := w.sim.SetConfig(vmid, map[string]string{"description": "another's"}); err != nil {
		t.Fatal(err)
	}
	s.release()
	if code := c.wait(); code != exitDone {
		t.Fatalf("exit %d\n%s", code, &c.errout)
	}
	w.want(7000, kvm.SetDNS)
	if m := w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = 7000"); !strings.Contains(m, "does not carry our mark") {
		t.Errorf("the row says %q", m)
	}
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots"); n != "0" {
		t.Errorf("%s slots are held for a clone that is over", n)
	}
	w.next()
	w.want(7000, kvm.SetDNS)
	if err := w.sim.SetConfig(vmid, map[string]string{"description": vm.Config["description"]}); err != nil {
		t.Fatal(err)
	}
	w.goOn(7000, "an administrator's look")
	w.settle(7000)
	w.cloned(7000)
}

// TestFailingClonesHoldNoSlot: services whose clones fail again and again must not keep the node's slots from the others.
func TestFailingClonesHoldNoSlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000, 7001, 7002, 7003)
	fault := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: "/nodes/{node}/qemu/{vmid}/clone", TaskError: "clone failed: out of patience", Count: 2})
	w.tick()
	if n := fault.Hits(); n != 2 {
		t.Fatalf("%d clones failed", n)
	}
	var ready []int64
	for _, id := range ids(7000, 4) {
		if w.status(id) == kvm.Ready {
			ready = append(ready, id)
		}
	}
	if len(ready) != 2 {
		t.Errorf("ready: %v; two services with failing clones keep the others from theirs", ready)
	}
	w.tick()
	w.settle(ids(7000, 4)...)
}
