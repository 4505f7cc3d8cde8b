package lifecycle_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestBeginScheduled: what cannot begin now stays due, and says what it waits on; what is not to be made is passed over; of one that
// another process has taken up there is nothing to do.
func TestBeginScheduled(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant())
	id := w.ready()
	vmid := w.service(id).Row.VMID
	due := func() (moment string) {
		return w.db.Text("SELECT CONCAT_WS(' ', vm_status, COALESCE(backup_moment, 'none'), COALESCE(backup_after, 'none')) FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	}
	w.set(id, "backup_moment = '2026-04-01 03:00:00', backup_after = '2026-04-01 04:00:00', backup_date = '2026-03-30'")
	was := due()
	for name, c := range map[string]struct {
		do, undo func()
		why      string // "" = nothing is waited on
		class    error
		passed   bool
	}{
		"locked":             {func() { w.lock(vmid, "snapshot") }, func() { w.lock(vmid, "") }, "locked by Proxmox (snapshot)", nil, false},
		"ended in WHMCS":     {func() { w.db.Exec("UPDATE tblhosting SET domainstatus = 'Cancelled'") }, func() { w.db.Exec("UPDATE tblhosting SET domainstatus = 'Active'") }, "Cancelled", nil, false},
		"no such product":    {func() { w.db.Exec("UPDATE tblhosting SET packageid = 99") }, func() { w.db.Exec("UPDATE tblhosting SET packageid = 1") }, "", kvm.ErrInvalid, false},
		"no such storage":    {func() { w.product("backup_storage=nosuch") }, func() { w.product("backup_storage=shared") }, "", kvm.ErrInvalid, false},
		"package without":    {func() { w.product("backups=0") }, func() { w.product("backups=2") }, "", nil, true},
		"nothing is certain": {func() { w.sim.SetNodeDown(w.vm(id).Node, true) }, func() { w.sim.SetNodeDown(w.vm(id).Node, false) }, "", kvm.ErrUnreachable, false},
	} {
		c.do()
		m := w.moment()
		began, why, err := w.beginScheduled(id)
		if began || !strings.Contains(why, c.why) || (why == "") != (c.why == "") || !errors.Is(err, c.class) || (err == nil) != (c.class == nil) {
			t.Errorf("%s: begun %t, %q, %v", name, began, why, err)
		}
		want := was
		if c.passed {
			want = "ready " + m.Time.Format("2006-01-02 15:04:05.000000") + " none"
		}
		if got := due(); got != want {
			t.Errorf("%s: the row says %s, want %s", name, got, want)
		}
		c.undo()
		w.set(id, "backup_moment = '2026-04-01 03:00:00', backup_after = '2026-04-01 04:00:00'")
	}

	// A day that has its backup already.
	p := w.start(nil)
	if won, err := w.store.Claim(t.Context(), id, p.owner, ""); err != nil || !won {
		t.Fatal(won, err)
	}
	s := w.service(id)
	if err := p.life.PassOver(t.Context(), s, w.moment()); err != nil || due() != "ready "+w.moment().Time.Format("2006-01-02 15:04:05.000000")+" none" {
		t.Errorf("passed over: %v, %s", err, due())
	}
	if err := w.store.Release(t.Context(), id, p.owner, ""); err != nil {
		t.Fatal(err)
	}

	// Another process was faster; and one that failed is not yet tried again.
	at := w.moment().Time.Format("2006-01-02 15:04:05")
	for _, after := range []any{nil, w.moment().Time.Add(time.Hour)} {
		w.set(id, "backup_moment = ?, backup_after = ?", at, after)
		if began, why, err := w.beginScheduled(id); began || why != "" || err != nil || w.at(id) != kvm.Ready {
			t.Errorf("taken up, again after %v: begun %t, %q, %v", after, began, why, err)
		}
	}
	w.set(id, "backup_moment = ?, backup_after = ?", at, w.moment().Time)
	if out := w.scheduled(id); !out.Complete || w.service(id).Row.BackupDate != "2026-04-10" || !w.service(id).Row.BackupAfter.IsZero() {
		t.Errorf("tried again: %s; %+v", out.Message, w.service(id).Row)
	}
	w.agree("at the end", id)
}

// lock sets or takes off Proxmox's lock.
func (w *world) lock(vmid int, lock string) {
	w.t.Helper()
	if err := w.sim.SetLock(vmid, lock); err != nil {
		w.t.Fatal(err)
	}
}

// TestScheduledInItsZone: the day that has its backup is the one of the moment as it was taken up, whatever the zone is by then, and so
// is the note.
func TestScheduledInItsZone(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, pvesim.Instant())
	id := w.ready()
	w.clock.Advance(21*time.Hour + 30*time.Minute) // past 23:30
	if began, why, err := w.beginScheduled(id); !began {
		t.Fatal(why, err)
	}
	p := w.start(nil)
	p.life.Zone = time.FixedZone("east", 2*60*60)
	if out := p.tick(id); !out.Complete {
		t.Fatal(out.Message)
	}
	b := w.sim.Backups(w.service(id).Row.VMID)
	if got := w.service(id).Row.BackupDate; got != "2026-04-10" || len(b) != 1 || b[0].Notes != "Scheduled backup 2026-04-10" {
		t.Errorf("of the day %s: %+v", got, b)
	}
}

// TestScheduledOfAPackageWithout: a package that has lost its backups meanwhile gets none, and one that is at work is seen through.
func TestScheduledOfAPackageWithout(t *testing.T) {
	t.Parallel()
	w := newBackupWorld(t, slow())
	w.settings.Wait = time.Minute
	id := w.ready()
	vmid := w.service(id).Row.VMID
	if began, why, err := w.beginScheduled(id); !began {
		t.Fatal(why, err)
	}
	w.product("backups=0")
	if out := w.walk(id, 0); !out.Complete || out.note("Create backup") != "skip — the package has no backups" || len(w.vzdumps(vmid)) != 0 || w.service(id).Row.BackupDate != "" {
		t.Errorf("%+v, of the day %q", out.Outcome, w.service(id).Row.BackupDate)
	}
	w.product("backups=2")
	if began, why, err := w.beginScheduled(id); !began {
		t.Fatal(why, err)
	}
	w.walk(id, 0)
	w.product("backups=0")
	w.clock.Advance(15 * time.Minute)
	w.finish(id, kvm.Ready)
	if len(w.journal(id)) != 1 || w.service(id).Row.BackupDate == "" {
		t.Errorf("the journal has %q, of the day %q", w.journal(id), w.service(id).Row.BackupDate)
	}
	w.agree("seen through", id)
}
