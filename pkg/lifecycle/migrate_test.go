package lifecycle_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const migratePath = "/nodes/{node}/qemu/{vmid}/migrate"

// load puts running VMs on a node, so that it has that much less free memory.
func (w *world) load(node string, vmid, gib int) {
	w.t.Helper()
	if err := w.sim.AddVM(pvesim.VM{VMID: vmid, Node: node, Name: "load", Memory: gib * 1024, Running: true}); err != nil {
		w.t.Fatal(err)
	}
}

// TestMigrate: where the VM goes, and what the title says when it stays.
func TestMigrate(t *testing.T) {
	t.Parallel()
	dir := func(nodes ...string) func(w *world) {
		return func(w *world) {
			w.sim.AddStorage(pvesim.Storage{ID: "files", Type: "dir", Nodes: nodes, Content: "images"})
			if err := w.sim.AddTemplate(pvesim.Template{VMID: 9005, Node: "pve1", Name: "on-files", Storage: "files", DiskGiB: 2, CloudInit: true}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	for i, c := range []struct {
		name    string
		product []string
		scene   func(w *world)
		node    string
		note    string
		tasks   int
	}{
		{name: "the product's node", product: []string{"node=pve2", "clone_type=full"}, node: "pve2", tasks: 1},
		{name: "there already", product: []string{"node=pve1"}, node: "pve1", note: "skip — no change"},
		{name: "a linked clone on lvmthin", product: []string{"node=pve2"}, node: "pve2", tasks: 1},
		{name: "automatically, all alike", node: "pve1", note: "skip — no change"},
		{name: "automatically, the other has more", scene: func(w *world) { w.load("pve1", 800, 8) }, node: "pve2", tasks: 1},
		{name: "automatically, the own has more", scene: func(w *world) { w.load("pve2", 800, 8) }, node: "pve1", note: "skip — no change"},
		{name: "a linked clone on a local directory", product: []string{"node=pve2", "template=9005"}, scene: dir(), node: "pve1",
			note: "skip — a linked clone on the local storage files stays on pve1"},
		{name: "a full clone on a local directory", product: []string{"node=pve2", "template=9005", "clone_type=full"}, scene: dir(), node: "pve2", tasks: 1},
		{name: "another storage there", product: []string{"node=pve2", "clone_type=full", "system_storage=shared"}, node: "pve2", tasks: 1},
		{name: "the storage is missing there", product: []string{"node=pve2", "template=9005", "clone_type=full"}, scene: dir("pve1"), node: "pve1",
			note: "skip — stays on pve1: node pve2 is offline or has no storage files"},
		{name: "automatically, the storage is missing on the better one", product: []string{"template=9005", "clone_type=full"},
			scene: func(w *world) { dir("pve1")(w); w.load("pve1", 800, 8) }, node: "pve1", note: "skip — no change"},
		{name: "the node is offline", product: []string{"node=pve2", "clone_type=full"}, scene: func(w *world) { w.sim.SetNodeDown("pve2", true) }, node: "pve1",
			note: "skip — stays on pve1: node pve2 is offline or has no storage local-lvm"},
		{name: "automatically, the better one is offline", scene: func(w *world) { w.load("pve1", 800, 8); w.sim.SetNodeDown("pve2", true) }, node: "pve1", note: "skip — no change"},
		{name: "no such node", product: []string{"node=pve9", "clone_type=full"}, node: "pve1", note: "skip — stays on pve1: the cluster has no node pve9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, versions[i%len(versions)])
			if c.scene != nil {
				c.scene(w)
			}
			w.product(c.product...)
			id := w.order()
			w.reach(id, rowClone)
			out := w.reach(id, rowMigrate)
			s := w.service(id)
			if got := w.vm(id).Node; got != c.node || s.Row.Node != c.node || out.note(title(rowMigrate)) != c.note {
				t.Errorf("on %s, stored %s (%s)", got, s.Row.Node, out.note(title(rowMigrate)))
			}
			if n := w.sim.Counts()["POST "+migratePath]; n != c.tasks {
				t.Errorf("%d migrations", n)
			}
			w.sim.SetNodeDown("pve2", false)
			w.reach(id, allRows)
		})
	}
}

// TestOrdersSpread: several orders of one process do not all go to the node that was the emptiest when it began.
func TestOrdersSpread(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "ram=4", "clone_type=full")
	w.load("pve1", 800, 2)
	p := w.start(nil)
	on := map[string]int{}
	for range 6 {
		id := w.order()
		if out := p.run(id, rowMigrate); !out.Complete {
			t.Fatalf("%+v", out.Outcome)
		}
		on[w.vm(id).Node]++
	}
	if on["pve1"] != 3 || on["pve2"] != 3 {
		t.Errorf("%v", on)
	}
}

// TestMigrationSwitchedOff: no node is even looked at.
func TestMigrationSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "node=pve2")
	w.settings.MigrationEnabled = false
	id := w.order()
	out := w.reach(id, rowMigrate)
	if got := out.note(title(rowMigrate)); got != "skip — migration is switched off" || w.vm(id).Node != "pve1" || w.sim.Counts()["GET /nodes"] != 0 {
		t.Errorf("%s, on %s", got, w.vm(id).Node)
	}
	w.reach(id, allRows)
}

// TestMigrationRefused: what Proxmox would refuse again, before the task or in it, leaves the VM where it is with the
// reason in the title; the deployment goes on.
func TestMigrationRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault pvesim.Fault
		says  string
	}{
		"by the task": {pvesim.Fault{Method: "POST", Path: migratePath, TaskError: "can't migrate local cdrom image 'local:iso/x.iso'"}, "local cdrom image"},
		"by the call": {pvesim.Fault{Method: "POST", Path: migratePath, Status: 500, Reason: "storage 'local-lvm' is not available on node 'pve2'"}, "is not available on node"},
		"bad request": {pvesim.Fault{Method: "POST", Path: migratePath, Status: 400, Reason: "Parameter verification failed."}, "Parameter verification failed"},
		"by the check": {pvesim.Fault{Method: "GET", Path: migratePath, Body: `{"data":{"running":0,"local_resources":["hostpci0"],"local_disks":[]}}`},
			"it uses the local resource hostpci0"},
	} {
		w := newWorld(t, "8.4.21", "node=pve2", "clone_type=full")
		armed := w.sim.AddFault(c.fault)
		id := w.order()
		out := w.reach(id, allRows)
		note := out.note(title(rowMigrate))
		if armed.Hits() != 1 || !strings.HasPrefix(note, "skip — ") || !strings.Contains(note, c.says) || w.vm(id).Node != "pve1" {
			t.Errorf("%s: %d hits, %q, on %s", name, armed.Hits(), note, w.vm(id).Node)
		}
		w.settled(1, id)
	}
}

// TestSilentTarget: a node that the product names is waited for when it does not answer; among several a node that does
// not is passed over.
func TestSilentTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "clone_type=full")
	w.load("pve1", 800, 8)
	silent := w.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/nodes/pve2/*", Status: 596, Reason: "Connection timed out"})
	anywhere := w.order()
	w.reach(anywhere, rowMigrate)
	if node := w.vm(anywhere).Node; node != "pve1" {
		t.Errorf("on %s, and pve2 does not answer", node)
	}
	w.product("node=pve2", "clone_type=full")
	named := w.order()
	w.reach(named, rowClone)
	if out := w.run(named, rowMigrate); !errors.Is(out.Err, kvm.ErrUnreachable) || w.service(named).Row.Status != kvm.Cloned {
		t.Errorf("at %s: %v", w.service(named).Row.Status, out.Err)
	}
	silent.Remove()
	w.reach(named, rowMigrate)
	if node := w.vm(named).Node; node != "pve2" {
		t.Errorf("on %s, and pve2 answers", node)
	}
}

// TestMigrationTarget: the target is stored before the migration is asked for, and a run after a crash keeps to it,
// though another node would be chosen now.
func TestMigrationTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "clone_type=full")
	w.load("pve1", 800, 8)
	id := w.order()
	w.reach(id, rowClone)
	happened := w.once("POST", migratePath, pvesim.Arrived, func() {
		if got := w.db.Text("SELECT migrate_target FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id); got != "pve2" {
			t.Errorf("at the POST the stored target is %q", got)
		}
	})
	armed := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: migratePath, ResetBefore: true})
	if out := w.run(id, rowMigrate); !happened() || out.Complete {
		t.Fatalf("%+v", out.Outcome)
	}
	armed.Remove()
	w.load("pve2", 801, 32)
	w.reach(id, rowMigrate)
	if got := w.vm(id).Node; got != "pve2" {
		t.Errorf("on %s", got)
	}
}

// TestLostMigration: nobody was told that the migration has begun. It is waited for where it shows, and not sent twice.
func TestLostMigration(t *testing.T) {
	t.Parallel()
	for _, f := range []pvesim.Fault{{ResetAfter: true}, {Status: 596, After: true}, {TaskVanishes: true}} {
		model := pvesim.Instant()
		model.Migrate = 100 * time.Second
		w := newWorldOn(t, "8.4.21", model, "node=pve2", "clone_type=full")
		id := w.order()
		w.reach(id, rowClone)
		f.Method, f.Path = "POST", migratePath
		armed := w.sim.AddFault(f)
		if out := w.run(id, rowMigrate); out.Complete || out.At != kvm.Cloned {
			t.Fatalf("%+v: %+v", f, out.Outcome)
		}
		armed.Remove()
		waited := 0
		var out outcome
		for range 5 {
			if out = w.run(id, rowMigrate); out.Complete {
				break
			}
			if waited++; out.Err != nil || !strings.Contains(out.Message, "locked by Proxmox (migrate)") {
				t.Errorf("%+v: %+v", f, out.Outcome)
			}
		}
		if n := w.sim.Counts()["POST "+migratePath]; n != 1 || !out.Complete || waited == 0 || w.vm(id).Node != "pve2" {
			t.Errorf("%+v: %d migrations, complete %t, waited %d, on %s", f, n, out.Complete, waited, w.vm(id).Node)
		}
		w.reach(id, allRows)
		w.settled(1, id)
	}
}

// TestLongMigration: a migration that takes longer than a tick's patience is waited for by the next ticks.
func TestLongMigration(t *testing.T) {
	t.Parallel()
	model := pvesim.Instant()
	model.Migrate = 1000 * time.Second
	w := newWorldOn(t, "9.2.11", model, "node=pve2", "clone_type=full")
	id := w.order()
	w.reach(id, rowClone)
	out := w.run(id, allRows)
	if out.Err != nil || !strings.HasPrefix(out.Message, "waiting on task UPID:pve1:") || w.service(id).Row.TaskKind != "migrate" {
		t.Errorf("%+v", out.Outcome)
	}
	for range 5 {
		if out = w.run(id, allRows); out.Complete {
			break
		}
	}
	if n := w.sim.Counts()["POST "+migratePath]; n != 1 || !out.Complete {
		t.Errorf("%d migrations, %+v", n, out.Outcome)
	}
	w.settled(1, id)
}

// TestMovedByOthers: an administrator or the high availability moves the VM between two rows, or two runs.
func TestMovedByOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	id := w.order()
	w.reach(id, rowMigrate)
	node := "pve1"
	for row := rowCPU; row <= allRows; row++ {
		if err := w.sim.MoveVM(w.service(id).Row.VMID, node); err != nil {
			t.Fatal(err)
		}
		w.reach(id, row)
		if got := w.service(id).Row.Node; got != node && row != rowVerify {
			t.Errorf("%s: stored %s, the VM is on %s", title(row), got, node)
		}
		node = map[string]string{"pve1": "pve2", "pve2": "pve1"}[node]
	}
	w.settled(1, id)
}
