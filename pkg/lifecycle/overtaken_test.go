package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestResizeOvertaken: from 8 on the digest of a resize is compared in its task. The change is computed anew there too.
func TestResizeOvertaken(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, rich...)
		for _, row := range []int{rowSystemSize, rowDiskSize} {
			id := w.order()
			w.reach(id, row-1)
			vmid := w.service(id).Row.VMID
			happened := w.once("PUT", resizePath, pvesim.Arrived, func() {
				if err := w.sim.SetConfig(vmid, map[string]string{"tags": "overtaken"}); err != nil {
					t.Error(err)
				}
			})
			out := w.run(id, row)
			if !happened() || !out.Complete {
				t.Errorf("%s %s: %+v", version, title(row), out.Outcome)
			}
			w.sim.SetHook(nil)
			w.reach(id, allRows)
		}
	}
}

// TestResizeLockedMeanwhile: a lock that comes between our look and the resize is waited for.
func TestResizeLockedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, rich...)
		id := w.order()
		w.reach(id, rowCPU)
		vmid := w.service(id).Row.VMID
		happened := w.once("PUT", resizePath, pvesim.Arrived, func() {
			if err := w.sim.SetLock(vmid, "snapshot"); err != nil {
				t.Error(err)
			}
		})
		out := w.run(id, rowSystemSize)
		if !happened() || out.Err != nil || out.At != from(rowSystemSize) || !strings.HasPrefix(out.Message, "waiting on ") {
			t.Errorf("%s: %+v", version, out.Outcome)
		}
		if err := w.sim.SetLock(vmid, ""); err != nil {
			t.Error(err)
		}
		w.reach(id, allRows)
	}
}

// TestDeletedInWHMCS: a service whose row in WHMCS is gone waits with words at every row; a service that has ended waits
// also when its product is no good any more.
func TestDeletedInWHMCS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", rich...)
	id := w.order()
	for row := 1; row <= allRows; row++ {
		if row > 1 {
			w.reach(id, row-1)
		}
		before := w.picture()
		w.db.Exec("UPDATE tblhosting SET id = id + 100000 WHERE id = ?", id)
		out := w.run(id, row)
		if out.Err != nil || out.At != from(row) || !strings.HasPrefix(out.Message, "waiting on WHMCS: the service is deleted in WHMCS") || w.picture() != before {
			t.Errorf("%s: %+v", title(row), out.Outcome)
		}
		w.db.Exec("UPDATE tblhosting SET id = id - 100000, domainstatus = 'Cancelled', packageid = 77 WHERE id = ?", id+100000)
		out = w.run(id, row)
		if out.Err != nil || out.At != from(row) || !strings.HasPrefix(out.Message, "waiting on WHMCS: the service is Cancelled") {
			t.Errorf("%s, cancelled without product: %+v", title(row), out.Outcome)
		}
		w.db.Exec("UPDATE tblhosting SET domainstatus = 'Active', packageid = 1 WHERE id = ?", id)
		if row == rowVerify && w.service(id).Row.Status != from(row) {
			w.reach(id, rowStart)
		}
	}
}

// TestUUIDsOfTwoDeploys: the UUIDs of all VMs that the service had stay: their backups are its own.
func TestUUIDsOfTwoDeploys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	var had []string
	for range 3 {
		w.reach(id, allRows)
		had = append(had, w.service(id).Row.UUID)
		w.sim.RemoveVM(w.service(id).Row.VMID)
		w.db.Exec("DELETE FROM puq_proxmox_kvm_vmids")
		w.set(id, "vm_status = 'remove'")
		w.create(id)
	}
	row := w.service(id).Row
	for i, uuid := range had {
		if !row.HasUUID(uuid) {
			t.Errorf("the UUID of deploy %d is forgotten: %v", i+1, row.UUIDs)
		}
	}
}

// TestMovedBackAfterMigration: the migration ended well, the process died, and somebody moved the VM away again. The next
// ticks bring it to its target.
func TestMovedBackAfterMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "node=pve2", "clone_type=full")
	id := w.order()
	w.reach(id, rowClone)
	count := &fuse{}
	probe := w.order()
	w.reach(probe, rowClone)
	w.start(count).run(probe, rowMigrate)
	at := 0
	for i, name := range count.calls {
		if name == "Wait" {
			at = i + 1
		}
	}
	w.start(&fuse{at: at}).run(id, rowMigrate)
	if err := w.sim.MoveVM(w.service(id).Row.VMID, "pve1"); err != nil {
		t.Fatal(err)
	}
	var out outcome
	for range 3 {
		if out = w.run(id, rowMigrate); out.Complete {
			break
		}
	}
	if !out.Complete || w.vm(id).Node != "pve2" {
		t.Errorf("on %s: %+v", w.vm(id).Node, out.Outcome)
	}
}

// TestDeadClusterHoldsNobody: a cluster that does not answer about its template holds no clone in another cluster.
func TestDeadClusterHoldsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	w.timeout = 5 * time.Second
	dead, alive := w.order(), w.order()
	w.reach(dead, rowDNS)
	w.reach(alive, rowDNS)
	// Another cluster by its server's id; the simulator stands for both.
	w.set(alive, "server_id = 2")
	p := w.start(nil)
	if _, err := p.cluster(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{})
	w.once("GET", configPath, pvesim.Arrived, func() { close(entered) })
	w.sim.AddFault(pvesim.Fault{Method: "GET", Path: configPath, VMID: template, Count: 1, Hang: true})
	ended := make(chan int64, 2)
	go func() { p.run(dead, rowClone); ended <- dead }()
	<-entered
	go func() { p.run(alive, rowClone); ended <- alive }()
	if first := <-ended; first != alive {
		t.Error("the other cluster's clone waited for the dead one's answer")
	}
	<-ended
}
