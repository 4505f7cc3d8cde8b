package whmcs

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// readyMail is a mail that MoveWithMail may be given.
func readyMail(service int64, key string) kvm.Mail {
	return kvm.Mail{ServiceID: service, Action: "SendEmail", Template: readyTemplate, Key: key}
}

func TestSave(t *testing.T) {
	x := newShop(t)
	x.order(7)
	sv := x.hold(7)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET status_since = '2026-01-01', alerted = 1, message = 'm', suspended = 1, queued_at = '2026-01-02'")
	r := &sv.Row
	r.VMID, r.ServerID, r.Node, r.UUID, r.UUIDs, r.MAC = 2003, 5, "pve2", "b", []string{"a", "b"}, "BC:24:11:00:00:01"
	r.CloneSent, r.MigrateTarget, r.DiskSlot, r.ISOBoot, r.PasswordSet, r.TaskKind, r.TaskUPID = true, "pve3", "scsi1", "ide0 cdn", true, "clone", "UPID:x"
	r.Cluster, r.Template, r.OwnSnapshots, r.RestoreFailed, r.BackupSent, r.BackupDate = "prod", 9001, 2, true, "UPID:y", "2026-04-10"
	r.BackupDay = "2026-04-11"
	r.BackupMoment, r.BackupAfter = time.Date(2026, 4, 10, 3, 0, 0, 0, time.UTC), time.Date(2026, 4, 10, 4, 0, 0, 5000, time.UTC)
	for v, i := reflect.ValueOf(*r), 0; i < v.NumField(); i++ {
		switch name := v.Type().Field(i).Name; name {
		case "Suspended", "Noted", "From", "BackupNote", "Legacy", "Message": // which are not written from here
		default:
			if v.Field(i).IsZero() {
				t.Errorf("%s is not tested", name)
			}
		}
	}
	want := *r
	if err := x.Save(t.Context(), sv); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, sv.Row); d != "" {
		t.Error("Save changed what it was given:", d)
	}
	back, err := x.Service(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	want.Since, want.Message, want.Suspended = back.Row.Since, "m", true
	if d := cmp.Diff(want, back.Row); d != "" {
		t.Error(d)
	}
	if x.vm("status_since", 7) != "2026-01-01T00:00:00Z" || x.vm("alerted", 7) != "1" || x.vm("queued_at", 7) != "2026-01-02T00:00:00Z" {
		t.Errorf("the episode changed: %s, %s, %s", x.vm("status_since", 7), x.vm("alerted", 7), x.vm("queued_at", 7))
	}
}

func TestMove(t *testing.T) {
	x := newShop(t)
	x.order(7)
	sv := x.hold(7)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET status_since = '2026-01-01', alerted = 1")
	sv.Row.TaskKind, sv.Row.TaskUPID, sv.Row.Node = "clone", "UPID:x", "pve2"
	if err := x.Move(t.Context(), sv, kvm.Creation, nil); err != nil { // a row that is repeated
		t.Fatal(err)
	}
	if x.vm("status_since", 7) != "2026-01-01T00:00:00Z" || x.vm("alerted", 7) != "1" {
		t.Error("a move to the same status began a new episode")
	}
	if sv.Row.TaskUPID != "" || sv.Row.TaskKind != "" || x.vm("task_upid", 7) != "" || x.vm("task_kind", 7) != "" {
		t.Error("the open task did not end")
	}
	if err := x.Move(t.Context(), sv, kvm.SetIP, nil); err != nil {
		t.Fatal(err)
	}
	if sv.Row.Status != kvm.SetIP || x.vm("vm_status", 7) != "set_ip" || x.vm("vm_node", 7) != "pve2" || x.vm("alerted", 7) != "0" ||
		x.vm("status_since > UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE", 7) != "1" {
		t.Errorf("moved: %v", x.row(7))
	}
}

// The claim ends with the work, in the same statement: a process that dies right after leaves none.
func TestReadyEndsTheClaim(t *testing.T) {
	for name, move := range map[string]func(x *shop, sv *kvm.Service) error{
		"Move": func(x *shop, sv *kvm.Service) error { return x.Move(x.Context(), sv, kvm.Ready, nil) },
		"MoveWithMail": func(x *shop, sv *kvm.Service) error {
			return x.MoveWithMail(x.Context(), sv, kvm.Ready, readyMail(7, "k"))
		},
	} {
		x := newShop(t)
		x.order(7)
		sv := x.hold(7)
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET message = 'waiting on something'")
		if err := move(x, sv); err != nil {
			t.Fatal(err)
		}
		if sv.Row.Owner != "" || x.vm("COALESCE(claim_owner, 'none')", 7) != "none" || x.vm("COALESCE(claim_until, 'none')", 7) != "none" || x.vm("COALESCE(message, 'none')", 7) != "none" {
			t.Errorf("%s: %v", name, x.row(7))
		}
	}
}

// A row that another process has moved, or whose claim is another's, is kvm.ErrMoved and stays as it is; so does what
// the caller has in memory.
func TestMovedByAnother(t *testing.T) {
	writes := map[string]func(x *shop, sv *kvm.Service) error{
		"Save": func(x *shop, sv *kvm.Service) error { return x.Save(x.Context(), sv) },
		"Move": func(x *shop, sv *kvm.Service) error { return x.Move(x.Context(), sv, kvm.SetIP, nil) },
		"MoveWithMail": func(x *shop, sv *kvm.Service) error {
			return x.MoveWithMail(x.Context(), sv, kvm.SetIP, readyMail(7, "k"))
		},
		"SetPassword": func(x *shop, sv *kvm.Service) error {
			return x.SetPassword(x.Context(), sv, "root", kvm.NewSecret("p"))
		},
		"NextVMID": func(x *shop, sv *kvm.Service) error { return x.NextVMID(x.Context(), sv) },
		"Allocate": func(x *shop, sv *kvm.Service) error {
			return x.Allocate(x.Context(), sv, kvm.SetIP, pickLowest(1, 0))
		},
	}
	x := newShop(t)
	x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.19")
	x.order(7)
	for cause, change := range map[string]string{
		"claim lost":     "UPDATE puqProxmoxKVM_vm_info SET claim_owner = '" + elsewhere + "'",
		"claim given up": "UPDATE puqProxmoxKVM_vm_info SET claim_owner = NULL",
		"status moved":   "UPDATE puqProxmoxKVM_vm_info SET vm_status = 'terminate'",
		"row gone":       "UPDATE puqProxmoxKVM_vm_info SET service_id = 8",
	} {
		for name, write := range writes {
			x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET service_id = 7, vm_status = 'creation', claim_owner = NULL")
			sv := x.hold(7)
			sv.Row.Node, sv.Row.TaskUPID = "pve9", "UPID:y"
			memory := sv.Row
			x.db.Exec(change)
			row, hosting := x.row(7), x.db.Text("SELECT CONCAT_WS('/', username, password, dedicatedip) FROM tblhosting WHERE id = 7")
			if err := write(x, sv); !errors.Is(err, kvm.ErrMoved) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, %s: %v", cause, name, err)
			}
			if d := cmp.Diff(row, x.row(7)); d != "" {
				t.Errorf("%s: %s wrote: %s", cause, name, d)
			}
			if d := cmp.Diff(memory, sv.Row); d != "" {
				t.Errorf("%s: %s changed the caller's row: %s", cause, name, d)
			}
			if now := x.db.Text("SELECT CONCAT_WS('/', username, password, dedicatedip) FROM tblhosting WHERE id = 7"); now != hosting {
				t.Errorf("%s: %s wrote to tblhosting: %s", cause, name, now)
			}
			if n := x.db.Text("SELECT (SELECT COUNT(*) FROM puq_proxmox_kvm_outbox) + (SELECT COUNT(*) FROM puq_proxmox_kvm_addresses) + (SELECT COUNT(*) FROM puq_proxmox_kvm_vmids WHERE vmid <> 100)"); n != "0" {
				t.Errorf("%s: %s left %s rows behind", cause, name, n)
			}
		}
	}
}

func TestMoveWithMail(t *testing.T) {
	x := newShop(t)
	x.order(7)
	sv := x.hold(7)
	bad := readyMail(7, "")
	if err := x.MoveWithMail(t.Context(), sv, kvm.SetIP, bad); !errors.Is(err, kvm.ErrInvalid) || x.vm("vm_status", 7) != "creation" || sv.Row.Status != kvm.Creation {
		t.Errorf("a mail without a key: %v, at %s", err, x.vm("vm_status", 7))
	}
	sv.Row.TaskUPID = "UPID:x"
	if err := x.MoveWithMail(t.Context(), sv, kvm.SetIP, readyMail(7, "ready:7:1")); err != nil {
		t.Fatal(err)
	}
	if sv.Row.Status != kvm.SetIP || sv.Row.TaskUPID != "" {
		t.Errorf("%+v", sv.Row)
	}
	// The same mail once more, as a run that was killed after the move would put it.
	if err := x.MoveWithMail(t.Context(), sv, kvm.Ready, readyMail(7, "ready:7:1")); err != nil {
		t.Fatal(err)
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', service_id, client_id, action, template, state, attempts)) FROM puq_proxmox_kvm_outbox"); got != "7 42 SendEmail "+readyTemplate+" pending 0" {
		t.Errorf("outbox: %s", got)
	}
	if x.vm("vm_status", 7) != "ready" {
		t.Errorf("at %s", x.vm("vm_status", 7))
	}
}

func TestSetPassword(t *testing.T) {
	x := newShop(t)
	x.order(7, 8)
	sv := x.hold(7)
	for _, engine := range []string{"InnoDB", "MyISAM"} {
		x.db.Exec("ALTER TABLE tblhosting ENGINE=" + engine)
		x.db.Exec("UPDATE tblhosting SET username = '', password = ''")
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET password_set = 0")
		sv.Row.PasswordSet, sv.Username = false, ""
		secret := kvm.NewSecret(`p"ä'\x`)
		if err := x.SetPassword(t.Context(), sv, "ada", secret); err != nil {
			t.Fatal(err)
		}
		stored := x.db.Text("SELECT password FROM tblhosting WHERE id = 7")
		if stored == "" || strings.Contains(stored, secret.Reveal()) {
			t.Errorf("%s: stored as %q", engine, stored)
		}
		if back, err := x.Password(t.Context(), sv); err != nil || back.Reveal() != secret.Reveal() {
			t.Errorf("%s: came back as another one: %v", engine, err)
		}
		if !sv.Row.PasswordSet || sv.Username != "ada" || x.vm("password_set", 7) != "1" || x.db.Text("SELECT username FROM tblhosting WHERE id = 7") != "ada" {
			t.Errorf("%s: flag %v, user %s", engine, sv.Row.PasswordSet, sv.Username)
		}
		if got := x.db.Text("SELECT CONCAT(username, password) FROM tblhosting WHERE id = 8"); got != "" {
			t.Errorf("%s: another service has %q", engine, got)
		}
		x.db.Exec("UPDATE tblhosting SET password = 'bm8gY2lwaGVyIHRleHQ=' WHERE id = 7")
		if _, err := x.Password(t.Context(), sv); err == nil || !strings.Contains(err.Error(), "service 7") {
			t.Errorf("%s: nonsense decrypts: %v", engine, err)
		}
	}
}

// Where the password cannot be written, the row does not say that it was.
func TestSetPasswordIsOneTransaction(t *testing.T) {
	x := newShop(t)
	x.order(7)
	sv := x.hold(7)
	x.db.Exec("CREATE TRIGGER refuse BEFORE UPDATE ON tblhosting FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused by the test'")
	err := x.SetPassword(t.Context(), sv, "ada", kvm.NewSecret("hidden-password"))
	if err == nil || strings.Contains(err.Error(), "hidden-password") || x.vm("password_set", 7) != "0" || sv.Row.PasswordSet || sv.Username != "" {
		t.Errorf("%v, flag %s", err, x.vm("password_set", 7))
	}
}
