package pvesim

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// upid is the UPID in an answer's body.
func upid(body string) string {
	_, text, _ := strings.Cut(body, `"data":"`)
	text, _, _ = strings.Cut(text, `"`)
	return text
}

// boots is TwoNodes on a clock that the test alone moves, with tasks that take a while.
func boots(t *testing.T) (*Cluster, *client, *clock.Fake) {
	t.Helper()
	fake := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, k := instant(t, Options{Clock: fake, Model: &Model{LinkedClone: 10 * time.Second, Boot: 5 * time.Second}})
	return c, k, fake
}

// TestFaultByGuest: a clone and its task belong to the new VM, so that a fault of one VM leaves the others' clones of the
// same template alone.
func TestFaultByGuest(t *testing.T) {
	c, k, _ := boots(t)
	fault := c.AddFault(Fault{Guest: 101, Status: 500, Reason: "not you"})
	other := upid(k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=102"))
	k.want("500 not you", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=101")
	k.want("500 not you", http.MethodGet, "/cluster/nextid?vmid=101", "")
	fault.Remove()
	mine := upid(k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=101"))
	c.AddFault(Fault{Guest: 101, Status: 500, Reason: "not you"})
	k.want("200 OK", http.MethodGet, "/nodes/pve1/tasks/"+other+"/status", "")
	k.want("500 not you", http.MethodGet, "/nodes/pve1/tasks/"+mine+"/status", "")
	k.want("200 OK", http.MethodGet, "/nodes/pve1/qemu/9000/config", "")
}

// TestTaskKilledInTheMiddle: the worker puts back what it did, and says so as PVE does; one that has ended is not touched.
func TestTaskKilledInTheMiddle(t *testing.T) {
	c, k, fake := boots(t)
	c.AddFault(Fault{Method: http.MethodPost, TaskKilledAfter: 6 * time.Second, Count: 1})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
	fake.Advance(5 * time.Second)
	if vm, found := c.VM(100); !found || vm.Lock != "clone" {
		t.Fatalf("in the middle: found %t, lock %q", found, vm.Lock)
	}
	fake.Advance(2 * time.Second)
	if _, found := c.VM(100); found || len(c.Volumes(100)) != 0 {
		t.Errorf("the killed clone has left VM 100 (%t) or %v", found, c.Volumes(100))
	}
	if task := c.Tasks()[0]; task.Exit != "clone failed: interrupted by signal" || task.End.Sub(task.Start) != 6*time.Second {
		t.Errorf("it ended as %q after %v", task.Exit, task.End.Sub(task.Start))
	}
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
	fake.Advance(11 * time.Second)
	c.AddFault(Fault{Method: http.MethodPost, TaskKilledAfter: 2 * time.Second, Count: 1})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/status/start", "")
	fake.Advance(time.Minute)
	if vm, _ := c.VM(100); vm.Power != kvm.Stopped || c.Tasks()[2].Exit != "received interrupt" {
		t.Errorf("the killed start: %s, %q", vm.Power, c.Tasks()[2].Exit)
	}
	c.AddFault(Fault{Method: http.MethodPost, TaskKilledAfter: 6 * time.Second, Count: 1})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/status/start", "")
	fake.Advance(time.Minute)
	if vm, _ := c.VM(100); vm.Power != kvm.Running || c.Tasks()[3].Exit != "OK" {
		t.Errorf("a start that had ended: %s, %q", vm.Power, c.Tasks()[3].Exit)
	}
}

// TestNodeDownForAMinute: the node of the struck request answers 595, what ran there is over, its VMs are unknown, the
// other node goes on; after the minute it boots and starts what has onboot.
func TestNodeDownForAMinute(t *testing.T) {
	c, k, fake := boots(t)
	for _, vm := range []VM{{VMID: 200, Node: "pve2", Running: true, Config: map[string]string{"onboot": "1"}}, {VMID: 201, Node: "pve2", Running: true}, {VMID: 202, Node: "pve1", Running: true}} {
		if err := c.AddVM(vm); err != nil {
			t.Fatal(err)
		}
	}
	fault := c.AddFault(Fault{Guest: 200, NodeDown: time.Minute, Count: 1})
	k.want("595 No route to host", http.MethodGet, "/nodes/pve2/qemu/200/config", "")
	if fault.Hits() != 1 {
		t.Errorf("%d hits", fault.Hits())
	}
	fake.Advance(59 * time.Second)
	k.want("595 No route to host", http.MethodGet, "/nodes/pve2/qemu/201/config", "")
	k.want("200 OK", http.MethodGet, "/nodes/pve1/qemu/202/config", "")
	if body := k.want("200 OK", http.MethodGet, "/cluster/resources?type=vm", ""); strings.Count(body, `"status":"unknown"`) != 2 {
		t.Errorf("while it is down: %s", body)
	}
	fake.Advance(2 * time.Second)
	k.want("200 OK", http.MethodGet, "/nodes/pve2/qemu/200/config", "")
	vms := c.VMs()
	if vms[200].Power != kvm.Running || vms[201].Power != kvm.Stopped || vms[202].Power != kvm.Running {
		t.Errorf("after it: %s, %s, %s", vms[200].Power, vms[201].Power, vms[202].Power)
	}
}

// TestUpLate: the start task ends well, and the VM is seen stopped until it comes up by itself, unless somebody was faster.
func TestUpLate(t *testing.T) {
	c, k, fake := boots(t)
	if err := c.AddVM(VM{VMID: 200, Node: "pve2"}); err != nil {
		t.Fatal(err)
	}
	power := func(want kvm.Power) {
		t.Helper()
		if vm, _ := c.VM(200); vm.Power != want {
			t.Fatalf("it is %s, want %s", vm.Power, want)
		}
	}
	c.AddFault(Fault{Method: http.MethodPost, Path: "/nodes/{node}/qemu/{vmid}/status/start", UpLate: 30 * time.Second, Count: 1})
	k.want("200 OK", http.MethodPost, "/nodes/pve2/qemu/200/status/start", "")
	fake.Advance(6 * time.Second)
	if task := c.Tasks()[0]; task.Exit != "OK" {
		t.Fatalf("the task ended as %q", task.Exit)
	}
	power(kvm.Stopped)
	fake.Advance(28 * time.Second)
	power(kvm.Stopped)
	fake.Advance(2 * time.Second)
	power(kvm.Running)
}
