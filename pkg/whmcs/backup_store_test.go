package whmcs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// journal is the service's journal of backups as it is stored.
func (x *shop) journal(service int64) string {
	x.Helper()
	return x.db.Text(`SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(' ', server_id, volume, COALESCE(made_at, 'never'), size, uuid) ORDER BY id SEPARATOR '; '), '')
		FROM puq_proxmox_kvm_backups WHERE service_id = ?`, service)
}

// schedule gives the service's row what it has of a schedule; "" = NULL.
func (x *shop) schedule(id int64, text, moment, made, after string) {
	x.Helper()
	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready', vm_backup_schedule = NULLIF(?, ''), backup_moment = NULLIF(?, ''), backup_date = ?, backup_after = NULLIF(?, '')
		WHERE service_id = ?`, text, moment, made, after, id)
}

// days is a schedule as it is typed.
func days(t *testing.T, text string) kvm.Schedule {
	t.Helper()
	s, err := kvm.ParseDays(text, func() kvm.DayTime { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	volume100 = "nfs:backup/vzdump-qemu-100-2026_04_10-01_49_18.vma.zst"
	volume101 = "pbs:backup/vm/101/2026-04-11T01:49:18Z"
	uuid100   = "11111111-2222-3333-4444-555555555555"
)

func TestNoteBackup(t *testing.T) {
	x := newShop(t)
	x.order(7, 8)
	sv, other := x.hold(7), x.hold(8)
	made := time.Date(2026, 4, 10, 4, 49, 18, 123456000, time.FixedZone("", 3*60*60))
	b := kvm.Backup{Storage: "nfs", Volume: volume100, VMID: 5, Node: "pve1", Time: made, Size: 1 << 33, UUID: uuid100, Notes: "n", Protected: true}
	for range 2 { // a run that died after it notes it again
		if err := x.NoteBackup(t.Context(), sv, b); err != nil {
			t.Fatal(err)
		}
	}
	x.db.Exec("UPDATE puq_proxmox_kvm_backups SET noted_at = '2026-01-01'")
	if err := x.NoteBackup(t.Context(), other, b); err != nil {
		t.Fatal(err)
	}
	bare := kvm.Backup{Storage: "pbs", Volume: volume101}
	if err := x.NoteBackup(t.Context(), sv, bare); err != nil {
		t.Fatal(err)
	}
	want := []kvm.Backup{{Storage: "nfs", Volume: volume100, VMID: 100, Time: made.UTC(), Size: 1 << 33, UUID: uuid100, Own: true},
		{Storage: "pbs", Volume: volume101, VMID: 101, Own: true}}
	got, err := x.Backups(t.Context(), 7)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	if got := x.journal(7); got != "1 "+volume100+" 2026-04-10 01:49:18.123456 8589934592 "+uuid100+"; 1 "+volume101+" never 0 " {
		t.Error(got)
	}

	// What is read of it later takes the place of what was not known.
	bare.UUID, bare.Time, bare.Size = uuid100, made, 5
	if err := x.NoteBackup(t.Context(), sv, bare); err != nil {
		t.Fatal(err)
	}
	if got := x.journal(7); !strings.HasSuffix(got, volume101+" 2026-04-10 01:49:18.123456 5 "+uuid100) || strings.Count(got, ";") != 1 {
		t.Error(got)
	}
	if got := x.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_backups WHERE noted_at = '2026-01-01'"); got != "1" {
		t.Errorf("of the first one %s rows say when it was noted", got)
	}
	// Names of volumes differ by case.
	if err := x.NoteBackup(t.Context(), other, kvm.Backup{Storage: "nfs", Volume: strings.Replace(volume100, "zst", "ZST", 1)}); err != nil {
		t.Fatal(err)
	}
	if list, err := x.Backups(t.Context(), 8); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	if list, err := x.Backups(t.Context(), 9); err != nil || len(list) != 0 {
		t.Errorf("of a service without any: %v, %v", list, err)
	}

	before := x.journal(8)
	for range 2 { // the second time it is gone already
		if err := x.ForgetBackup(t.Context(), 7, b); err != nil {
			t.Fatal(err)
		}
	}
	if got := x.journal(7); !strings.HasPrefix(got, "1 "+volume101) || strings.Contains(got, ";") || x.journal(8) != before {
		t.Errorf("%s; of the other service %s", got, x.journal(8))
	}
}

func TestBackupSchedule(t *testing.T) {
	x := newShop(t)
	x.order(7, 8)
	if _, _, err := x.BackupSchedule(t.Context(), 99); !errors.Is(err, kvm.ErrNotFound) {
		t.Errorf("without a row: %v", err)
	}
	if text, taken, err := x.BackupSchedule(t.Context(), 7); err != nil || text != "" || !taken.IsZero() {
		t.Errorf("before any: %q, %s, %v", text, taken, err)
	}
	daily, weekly := days(t, "all=03:00"), days(t, "sun=7:00")
	from := time.Date(2026, 4, 10, 5, 0, 0, 0, time.FixedZone("", 2*60*60))
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET backup_after = '2026-01-01'")
	set := func(was string, to kvm.Schedule, taken time.Time, want error) {
		t.Helper()
		before := x.row(7)
		err := x.SetBackupSchedule(t.Context(), 7, was, to, taken)
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Fatalf("%s in the place of %q: %v", to, was, err)
		}
		if d := cmp.Diff(before, x.row(7)); want != nil && d != "" {
			t.Errorf("%s in the place of %q is refused and changed: %s", to, was, d)
		}
	}
	stored := func(want kvm.Schedule, taken string) {
		t.Helper()
		text, moment, err := x.BackupSchedule(t.Context(), 7)
		if err != nil || text != want.String() || moment.Format(time.RFC3339) != taken {
			t.Errorf("stored %q, counting from %s, %v; want %q from %s", text, moment.Format(time.RFC3339), err, want, taken)
		}
	}
	set("", daily, from, nil)
	stored(daily, "2026-04-10T03:00:00Z")
	if x.vm("COALESCE(backup_after, 'none')", 7) != "none" {
		t.Error("a backup of the former schedule is tried again")
	}
	set("", weekly, from, kvm.ErrBusy) // by somebody who has read none
	set(daily.String()+" ", weekly, from, nil)
	set(weekly.String(), daily, from, nil)

	// Where nothing is to be counted anew the moments stay, and one that is tried again is.
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET backup_moment = '2026-04-09 03:00:00', backup_after = '2026-04-09 04:00:00' WHERE service_id = 7")
	set(daily.String(), weekly, time.Time{}, nil)
	stored(weekly, "2026-04-09T03:00:00Z")
	if x.vm("backup_after", 7) != "2026-04-09T04:00:00Z" {
		t.Errorf("after %s", x.vm("backup_after", 7))
	}
	set(weekly.String(), kvm.NoSchedule(), time.Time{}, nil)
	stored(kvm.NoSchedule(), "2026-04-09T03:00:00Z")
	if x.vm("vm_backup_schedule IS NULL", 7) != "1" {
		t.Error("an empty schedule is stored as a text")
	}
	set(weekly.String(), daily, from, kvm.ErrBusy) // by somebody who has read what is gone
	set("", kvm.NoSchedule(), time.Time{}, nil)    // which changes nothing
	if err := x.SetBackupSchedule(t.Context(), 99, "", daily, from); err == nil {
		t.Error("a schedule was stored for a service without a row")
	}
	if x.vm("CONCAT_WS(' ', vm_backup_schedule IS NULL, backup_moment IS NULL, backup_after)", 8) != "1 1 2026-01-01 00:00:00.000000" {
		t.Errorf("another service's: %v", x.row(8))
	}
}

// due is what is due at now, a line for each.
func (x *shop) due(now time.Time, zone *time.Location) string {
	x.Helper()
	list, err := x.DueBackups(x.Context(), now, zone)
	if err != nil {
		x.Fatal(err)
	}
	var lines []string
	for _, d := range list {
		line := fmt.Sprintf("%d %s %s", d.Service, d.Moment.Time.UTC().Format("2006-01-02T15:04Z"), d.Moment.Date)
		if d.Made != "" {
			line += " made " + d.Made
		}
		if d.Err != nil {
			line = fmt.Sprintf("%d: %v (%s)", d.Service, d.Err, kvm.Hint(d.Err))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// 2026-04-10 is a Friday.
func TestDueBackups(t *testing.T) {
	x := newShop(t)
	x.order(1, 2, 3, 4, 5, 6, 7, 8, 9)
	now := at("03:30:00")
	const friday3, friday2 = `{"5":"03:00"}`, `{"5":"02:00"}`
	x.schedule(1, friday3, "2026-04-03 03:00:00", "", "")
	x.schedule(2, friday3, "2026-04-10 02:59:59.999999", "2026-04-09", "")
	x.schedule(3, friday2, "2026-04-03 02:00:00", "2026-04-10", "")                     // the day's is made
	x.schedule(4, friday3, "2026-04-10 03:00:00", "", "")                               // taken up
	x.schedule(5, friday2, "2026-04-10 02:00:00", "", "2026-04-10 03:30:00")            // to be tried again, now
	x.schedule(6, friday2, "2026-04-10 02:00:00", "", "2026-04-10 03:30:00.000001")     // not yet
	x.schedule(7, friday3, "2026-04-03 03:00:00", "", "2026-04-11 00:00:00")            // that was the last week's
	x.schedule(8, "", "2026-04-03 03:00:00", "", "")                                    // without a schedule
	x.schedule(9, `{"5":"03:31","4":"04:00"}`, "2026-04-09 04:00:00", "2026-04-09", "") // later today
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_node = 'pve3', server_id = 2, claim_owner = ? WHERE service_id = 2", elsewhere)
	before := fmt.Sprint(x.row(1), x.row(2), x.row(3), x.row(5))
	want := `3 2026-04-10T02:00Z 2026-04-10 made 2026-04-10
5 2026-04-10T02:00Z 2026-04-10
1 2026-04-10T03:00Z 2026-04-10
2 2026-04-10T03:00Z 2026-04-10
7 2026-04-10T03:00Z 2026-04-10`
	if got := x.due(now, time.UTC); got != want {
		t.Errorf("due:\n%s\nwant:\n%s", got, want)
	}
	if got := fmt.Sprint(x.row(1), x.row(2), x.row(3), x.row(5)); got != before {
		t.Error("a look has written")
	}
	list, err := x.DueBackups(t.Context(), now, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if d := list[3]; d.Owner != elsewhere || d.ServerID != 2 || d.Node != "pve3" {
		t.Errorf("%+v", d)
	}

	// An hour to the west it is half past two: two o'clock there has only just been, three o'clock was a week ago.
	want = `1 2026-04-03T04:00Z 2026-04-03
7 2026-04-03T04:00Z 2026-04-03
9 2026-04-09T05:00Z 2026-04-09 made 2026-04-09
3 2026-04-10T03:00Z 2026-04-10 made 2026-04-10
5 2026-04-10T03:00Z 2026-04-10
6 2026-04-10T03:00Z 2026-04-10`
	if got := x.due(now, time.FixedZone("west", -60*60)); got != want {
		t.Errorf("an hour to the west:\n%s\nwant:\n%s", got, want)
	}
	// Whatever else is in hand comes first.
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'scheduled_backup' WHERE service_id IN (1, 3, 5)")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'error_restore' WHERE service_id = 7")
	if got := x.due(now, time.UTC); got != "2 2026-04-10T03:00Z 2026-04-10" {
		t.Errorf("at ready alone:\n%s", got)
	}
}

// TestDueBackupsOfOddSchedules: one that cannot be read is said, with what mends it, and keeps no other from its backup; one that
// the PHP module left counts from now on, for nobody knows what was made by it.
func TestDueBackupsOfOddSchedules(t *testing.T) {
	x := newShop(t)
	x.order(1, 2, 3, 4)
	x.schedule(1, `{"5":"03:00"}`, "2026-04-03 03:00:00", "", "")
	x.schedule(2, `{"9":"03:00"}`, "2026-04-03 03:00:00", "", "")
	x.schedule(3, `{"5":"03:00"}`, "", "", "")
	x.schedule(4, `{"5":"03:00"}`, "", "", "")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'reinstall' WHERE service_id = 4")
	now := at("03:30:00")
	got := x.due(now.In(time.FixedZone("", 5*60*60)), time.UTC)
	bad, good, _ := strings.Cut(got, "\n")
	if !strings.HasPrefix(bad, "2: service 2: vm_backup_schedule") || !strings.HasSuffix(bad, "(puqkvm backup schedule clear 2)") || good != "1 2026-04-10T03:00Z 2026-04-10" {
		t.Errorf("due:\n%s", got)
	}
	if x.vm("backup_moment", 3) != "2026-04-10T03:30:00Z" || x.vm("backup_moment IS NULL", 4) != "1" || x.vm("backup_moment", 1) != "2026-04-03T03:00:00Z" {
		t.Errorf("counting from %s; of one that is not at ready from %s", x.vm("backup_moment", 3), x.vm("COALESCE(backup_moment, 'never')", 4))
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'remove' WHERE service_id IN (1, 2)")
	if got := x.due(now.AddDate(0, 0, 6), time.UTC); got != "" {
		t.Errorf("six days later:\n%s", got)
	}
	if got := x.due(now.AddDate(0, 0, 7), time.UTC); got != "3 2026-04-17T03:00Z 2026-04-17" {
		t.Errorf("a week later:\n%s", got)
	}
}

func TestSlotsTaken(t *testing.T) {
	x := newShop(t)
	x.order(1, 2, 3, 4)
	for id, place := range []string{"pve1", "pve1", "pve2", "pve1"} {
		kind := "backup"
		if id == 3 {
			kind = "clone"
		}
		if got, err := x.TakeSlot(t.Context(), x.hold(int64(id)+1), kind, place, 4, 0); err != nil || !got {
			t.Fatal(got, err)
		}
	}
	count := func(server int64, kind, place string, want int) {
		t.Helper()
		if n, err := x.SlotsTaken(t.Context(), server, kind, place); err != nil || n != want {
			t.Errorf("%s slots of %s on server %d: %d, %v; want %d", kind, place, server, n, err, want)
		}
	}
	count(1, "backup", "pve1", 2)
	count(1, "backup", "pve2", 1)
	count(1, "clone", "pve1", 1)
	count(1, "clone", "pve2", 0)
	count(2, "backup", "pve1", 0)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready' WHERE service_id = 1") // its backup is over
	count(1, "backup", "pve1", 1)
	x.db.Exec("DELETE FROM puqProxmoxKVM_vm_info WHERE service_id = 2")
	count(1, "backup", "pve1", 0)
}

func TestWithSnapshots(t *testing.T) {
	x := newShop(t)
	x.order(9, 3, 5, 7)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready', own_snapshots = service_id - 5")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET own_snapshots = 2 WHERE service_id = 3")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'rollback' WHERE service_id = 7")
	if ids, err := x.WithSnapshots(t.Context()); err != nil || fmt.Sprint(ids) != "[3 9]" {
		t.Errorf("%v, %v", ids, err)
	}
}

// laden gives the service's row all that snapshots, backups, images and restores note on it.
func (x *shop) laden(id int64) {
	x.Helper()
	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET own_snapshots = 2, iso_boot = 'ide0 cdn', restore_from = 'from', restore_failed = 1, backup_sent = 'UPID:x',
		backup_moment = '2026-04-10', backup_date = '2026-04-10', backup_after = '2026-04-11', vm_backup_schedule = '{"5":"03:00"}' WHERE service_id = ?`, id)
}

// left is what of that is left.
func (x *shop) left(id int64) string {
	x.Helper()
	return x.vm(`CONCAT_WS('|', own_snapshots, iso_boot, restore_from, restore_failed, backup_sent, COALESCE(DATE(backup_moment), '-'), backup_date, COALESCE(DATE(backup_after), '-'),
		COALESCE(vm_backup_schedule, '-'))`, id)
}

// TestTerminatedForgetsBackups: of the VM that is gone nothing is left, the schedule included.
func TestTerminatedForgetsBackups(t *testing.T) {
	x := newShop(t)
	x.order(7, 8)
	x.put(7, kvm.TEBackupsRemoved, "", "")
	x.laden(7)
	x.laden(8)
	sv := x.hold(7)
	if err := x.Terminated(t.Context(), sv, time.Hour, orderedAt); err != nil {
		t.Fatal(err)
	}
	if got := x.left(7); got != "0||from|0||-||-|-" {
		t.Errorf("left: %s", got)
	}
	if r := sv.Row; r.OwnSnapshots != 0 || r.ISOBoot != "" || r.RestoreFailed || r.BackupSent != "" || !r.BackupMoment.IsZero() || r.BackupDate != "" || !r.BackupAfter.IsZero() {
		t.Errorf("in memory: %+v", r)
	}
	if got := x.left(8); got != `2|ide0 cdn|from|1|UPID:x|2026-04-10|2026-04-10|2026-04-11|{"5":"03:00"}` {
		t.Errorf("another service's: %s", got)
	}
}

// TestNewOrderForgetsBackups: neither the order after a terminate nor the one of a redeploy, whose VM was never backed up, takes
// up what belonged to the former VM. A redeploy keeps the schedule.
func TestNewOrderForgetsBackups(t *testing.T) {
	const want = `0|||0||2026-04-10|2026-04-10|2026-04-11|{"5":"03:00"}`
	x := newShop(t)
	x.order(7, 8)
	x.laden(7)
	x.put(7, kvm.Remove, "", "")
	if _, err := x.Create(t.Context(), 7, orderedAt, nil); err != nil || x.left(7) != want {
		t.Errorf("create: %v, left %s", err, x.left(7))
	}
	x.laden(8)
	x.put(8, kvm.RDRemoved, "", "")
	if err := x.Requeue(t.Context(), x.hold(8), time.Hour, orderedAt); err != nil || x.left(8) != want || x.stands(8) != "creation||0" {
		t.Errorf("redeploy: %v, left %s", err, x.left(8))
	}
}

// TestSetStatusMends: an administrator who says ready says that the VM is whole; any other status does not.
func TestSetStatusMends(t *testing.T) {
	for to, failed := range map[kvm.Status]string{kvm.Ready: "0", kvm.Restore: "1", kvm.Terminate: "1"} {
		x := newShop(t)
		x.order(7)
		x.put(7, kvm.ErrorRestore, "", "")
		x.laden(7)
		sv := x.hold(7)
		if err := x.SetStatus(t.Context(), sv, to, orderedAt); err != nil || x.vm("vm_status", 7) != string(to) || x.vm("restore_failed", 7) != failed || sv.Row.RestoreFailed != (failed == "1") {
			t.Errorf("to %s: %v, %s, failed %s, in memory %v", to, err, x.vm("vm_status", 7), x.vm("restore_failed", 7), sv.Row.RestoreFailed)
		}
	}
}

// TestGiveUp: what failed is named, by whoever gives up, in one entry that belongs to no client.
func TestGiveUp(t *testing.T) {
	x := newShop(t)
	x.order(7)
	for to, what := range map[kvm.Status]string{kvm.ErrorRestore: "restore", kvm.ErrorTerminate: "termination"} {
		x.db.Exec("DELETE FROM tblactivitylog")
		x.put(7, kvm.RSSnapshotsRemoved, "", "")
		sv := x.hold(7)
		sv.Row.RestoreFailed = true
		if err := x.GiveUp(t.Context(), sv, to, what, "storage is\nfull", orderedAt); err != nil || x.stands(7) != string(to)+"||0" || x.vm("restore_failed", 7) != "1" || sv.Row.Status != to {
			t.Errorf("%v, %s, failed %s", err, x.stands(7), x.vm("restore_failed", 7))
		}
		want := "0 VM of service #7: " + what + " FAILED, an administrator must act. Error: storage is"
		if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', userid, description)) FROM tblactivitylog"); !strings.HasPrefix(got, want) || strings.Count(got, "FAILED") != 1 {
			t.Errorf("the activity log says %q", got)
		}
	}
}
