package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// slotsTaken is a store that tells when a slot was not to be had.
type slotsTaken struct {
	lifecycle.Store
	refused func()
}

func (s slotsTaken) TakeSlot(ctx context.Context, sv *kvm.Service, kind, place string, n, first int) (bool, error) {
	ok, err := s.Store.TakeSlot(ctx, sv, kind, place, n, first)
	if err == nil && !ok {
		s.refused()
	}
	return ok, err
}

// toBackUp is a service of a product with backups on the storage shared that is to be backed up.
func (w *world) toBackUp() int64 {
	w.t.Helper()
	w.settings.BackupsPerNode = 1
	w.product("backups=2", "backup_storage=shared")
	id := w.ready()
	w.ask(id, kvm.VerbBackup)
	return id
}

func (w *world) allVzdumps() (list []pvesim.TaskState) {
	return slices.DeleteFunc(w.sim.Tasks(), func(t pvesim.TaskState) bool { return t.Type != "vzdump" })
}

// TestBackupLooksAgainAfterItsTurn: what was read of a VM before it waited for its turn does not count: one that somebody has
// locked meanwhile is left alone, and no backup goes for one that cannot be made.
func TestBackupLooksAgainAfterItsTurn(t *testing.T) {
	w := newWorld(t, "")
	id, other := w.toBackUp(), w.ready()
	w.db.Exec("INSERT INTO puq_proxmox_kvm_slots (server_id, node, kind, slot, service_id, vm_status, taken_at) VALUES (1, ?, 'vzdump', 0, ?, 'ready', UTC_TIMESTAMP(6))", w.vm(id).Node, other)
	p, waited := w.start(nil), 0
	p.life.Store = slotsTaken{p.life.Store, func() {
		waited++
		w.db.Exec("DELETE FROM puq_proxmox_kvm_slots WHERE service_id = ?", other)
		if err := w.sim.SetLock(w.vm(id).VMID, "snapshot"); err != nil {
			t.Error(err)
		}
	}}
	out := p.tick(id)
	if waited != 1 || !strings.Contains(out.Message, "locked by Proxmox (snapshot)") || len(w.allVzdumps()) != 0 || w.at(id) != kvm.MakeBackup {
		t.Errorf("it waited %d times: %q, %d backups, at %s", waited, out.Message, len(w.allVzdumps()), w.at(id))
	}
	if err := w.sim.SetLock(w.vm(id).VMID, ""); err != nil {
		t.Fatal(err)
	}
	if out := p.tick(id); !out.Complete || len(w.allVzdumps()) != 1 {
		t.Errorf("%q, %d backups", out.Message, len(w.allVzdumps()))
	}
}

// TestBackupIsNotedWhereItIs: a backup whose product has another storage by now, or none that there is, is noted all the same.
func TestBackupIsNotedWhereItIs(t *testing.T) {
	for name, storage := range map[string]string{"the same": "shared", "another": "local", "one that is not there": "gone", "none": ""} {
		t.Run(name, func(t *testing.T) {
			model := pvesim.Instant()
			model.Backup = time.Hour
			w := newWorldOn(t, "", model)
			w.settings.Wait = time.Minute
			id := w.toBackUp()
			if out := w.walk(id, 0); out.Complete || len(w.allVzdumps()) != 1 {
				t.Fatalf("%q", out.Message)
			}
			w.product("backup_storage=" + storage)
			w.clock.Advance(2 * time.Hour)
			if out := w.walk(id, 0); !out.Complete {
				t.Fatalf("%q", out.Message)
			}
			journal, err := w.store.Backups(t.Context(), id)
			if err != nil || len(journal) != 1 || journal[0].Storage != "shared" || journal[0].UUID != w.service(id).Row.UUID || len(w.allVzdumps()) != 1 {
				t.Errorf("%v, %+v, %d backups", err, journal, len(w.allVzdumps()))
			}
		})
	}
}

// TestBackupIsNotedLater: where the storage could not be read, the backup is neither lost nor made again.
func TestBackupIsNotedLater(t *testing.T) {
	w := newWorld(t, "")
	id := w.toBackUp()
	asked, node := 0, w.vm(id).Node
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) { // the node is silent for that request alone
		if r.Method == "GET" && r.Pattern == "/nodes/{node}/storage/{storage}/content" && len(w.allVzdumps()) > 0 {
			asked++
			w.sim.SetNodeDown(node, r.Stage == pvesim.Arrived)
		}
	})
	out := w.walk(id, 0)
	w.sim.SetHook(nil)
	if out.Complete || !errors.Is(out.Err, kvm.ErrUnreachable) || asked != 2 {
		t.Fatalf("%q, asked %d times", out.Message, asked)
	}
	if out := w.walk(id, 0); !out.Complete || len(w.allVzdumps()) != 1 {
		t.Errorf("%q, %d backups", out.Message, len(w.allVzdumps()))
	}
	if journal, err := w.store.Backups(t.Context(), id); err != nil || len(journal) != 1 {
		t.Errorf("%v, %+v", err, journal)
	}
}

// TestBackupsOnAStorageThatIsNoMore: what the journal has on a storage that the cluster no longer has is out of reach: it keeps
// nobody from the rest, and stays in the journal. One that is only not active is waited for.
func TestBackupsOnAStorageThatIsNoMore(t *testing.T) {
	w := newWorld(t, "")
	id := w.toBackUp()
	w.db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at) VALUES (?, 1, 'former', 'former:backup/vzdump-qemu-100-2026_01_01-00_00_00.vma.zst', UTC_TIMESTAMP(6))", id)
	if out := w.walk(id, 0); !out.Complete {
		t.Fatal(out.Message)
	}
	list, err := w.start(nil).life.Backups(t.Context(), w.service(id))
	if err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_backups WHERE service_id = ?", id); n != "2" {
		t.Errorf("%s in the journal", n)
	}
	w.sim.SetNodeDown("pve2", true) // whose own storage it may be
	if list, err := w.start(nil).life.Backups(t.Context(), w.service(id)); !errors.Is(err, kvm.ErrUnreachable) {
		t.Errorf("with a node away: %+v, %v", list, err)
	}
}
