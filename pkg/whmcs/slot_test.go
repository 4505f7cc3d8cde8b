package whmcs

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// take takes a clone slot on pve1, one of n, and wants to get it or not.
func (x *shop) take(sv *kvm.Service, n int, want bool) {
	x.Helper()
	if got, err := x.TakeSlot(x.Context(), sv, "clone", "pve1", n, 0); err != nil || got != want {
		x.Fatalf("service %d: slot %v, %v; want %v", sv.ID, got, err, want)
	}
}

func TestSlots(t *testing.T) {
	x := newShop(t)
	x.order(1, 2, 3, 4)
	a, b, c, d := x.hold(1), x.hold(2), x.hold(3), x.hold(4)
	x.take(a, 2, true)
	x.take(b, 2, true)
	x.take(c, 2, false)
	x.take(a, 2, true) // a run that goes on finds its own
	if n := x.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots"); n != "2" {
		t.Errorf("%s slots are held", n)
	}
	for _, other := range []struct {
		kind, node string
		server     int64
	}{{"backup", "pve1", 1}, {"clone", "pve2", 1}, {"clone", "pve1", 2}} {
		d.Row.ServerID = other.server
		if got, err := x.TakeSlot(t.Context(), d, other.kind, other.node, 1, 0); err != nil || !got {
			t.Errorf("%+v counts with the others: %v, %v", other, got, err)
		}
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', server_id, node, kind, service_id) ORDER BY service_id, kind SEPARATOR '; ') FROM puq_proxmox_kvm_slots"); got !=
		"1 pve1 clone 1; 1 pve1 clone 2; 1 pve1 backup 4; 2 pve1 clone 4" {
		t.Errorf("held: %s", got) // a service has one slot of a kind: the last one
	}
	if err := x.FreeSlots(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	x.take(c, 2, true)
	if err := x.FreeSlots(t.Context(), a); err != nil { // it holds none
		t.Fatal(err)
	}
	x.take(a, 2, false)
}

// A slot whose service is at another status, or is gone, is free: the task that it was for is over.
func TestSlotOfAnotherStatusIsFree(t *testing.T) {
	x := newShop(t)
	x.order(1, 2)
	a, b := x.hold(1), x.hold(2)
	x.take(a, 1, true)
	x.take(b, 1, false)
	if err := x.Move(t.Context(), a, kvm.SetIP, nil); err != nil {
		t.Fatal(err)
	}
	x.take(a, 1, true) // what it held at its former status is no longer its own: it takes it anew
	if got := x.db.Text("SELECT CONCAT_WS(' ', service_id, vm_status) FROM puq_proxmox_kvm_slots"); got != "1 set_ip" {
		t.Errorf("held: %s", got)
	}
	x.take(b, 1, false)
	if err := x.Move(t.Context(), a, kvm.SetDNS, nil); err != nil {
		t.Fatal(err)
	}
	x.take(b, 1, true)
	x.take(a, 1, false)
	x.db.Exec("DELETE FROM puqProxmoxKVM_vm_info WHERE service_id = 2")
	x.take(a, 1, true)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = NULL WHERE service_id = 1")
	x.order(3)
	x.take(x.hold(3), 1, true)
}

// Eight processes with three services each want slots of one node, of which there are two: never more are held, and while
// somebody wants one they are all in use in the end.
func TestSlotRace(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		x := newShop(t)
		const processes, each, slots = 8, 3, 2
		var held []*kvm.Service
		for id := int64(1); id <= processes*each; id++ {
			x.order(id)
			held = append(held, x.hold(id))
		}
		stores := x.others(processes, strict)
		var inUse, most, rounds atomic.Int32
		together(len(held), func(i int) {
			store := stores[i%processes]
			for {
				got, err := store.TakeSlot(t.Context(), held[i], "clone", "pve1", slots, 0)
				if err != nil {
					t.Error(err)
					return
				}
				if !got {
					continue
				}
				now := inUse.Add(1)
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				again, err := store.TakeSlot(t.Context(), held[i], "clone", "pve1", slots, 0)
				if err != nil || !again {
					t.Errorf("service %d does not find its own slot: %v, %v", held[i].ID, again, err)
				}
				rounds.Add(1)
				inUse.Add(-1)
				if err := store.FreeSlots(t.Context(), held[i]); err != nil {
					t.Error(err)
				}
				return
			}
		})
		if most.Load() > slots || rounds.Load() != processes*each {
			t.Errorf("%d of %d slots were in use at once; %d of %d services had one", most.Load(), slots, rounds.Load(), processes*each)
		}
		if n := x.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots"); n != "0" {
			t.Errorf("%s slots are left", n)
		}
	})
}

// More than the slots that there are is never in the table, whatever a process believes.
func TestSlotsInTable(t *testing.T) {
	x := newShop(t)
	var held []*kvm.Service
	for id := int64(1); id <= 24; id++ {
		x.order(id)
		held = append(held, x.hold(id))
	}
	stores := x.others(8, false)
	var got atomic.Int32
	together(len(held), func(i int) {
		ok, err := stores[i%8].TakeSlot(t.Context(), held[i], "clone", "pve1", 3, i)
		if err != nil {
			t.Error(err)
		}
		if ok {
			got.Add(1)
		}
	})
	if n := x.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots"); n != fmt.Sprint(got.Load()) || got.Load() > 3 {
		t.Errorf("%s slots in the table, %d given", n, got.Load())
	}
}
