package whmcs

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func (x *shop) alert(s *Store, status kvm.Status) {
	x.Helper()
	if err := s.Alert(x.Context(), 7, 42, status, "VM of service #7 does not move", time.Date(2026, 4, 10, 5, 0, 0, 0, time.UTC)); err != nil {
		x.Error(err)
	}
}

// told is how many mails and activity-log entries there are.
func (x *shop) told() string {
	x.Helper()
	return x.db.Text("SELECT CONCAT((SELECT COUNT(*) FROM puq_proxmox_kvm_outbox), ' ', (SELECT COUNT(*) FROM tblactivitylog))")
}

// One episode, one mail and one entry: a service that moves and gets stuck again is another episode.
func TestAlert(t *testing.T) {
	x := newShop(t)
	x.order(7)
	x.alert(x.Store, kvm.Cloned) // it is not there any more
	if got := x.told(); got != "0 0" || x.vm("alerted", 7) != "0" {
		t.Fatalf("of a status that has passed: %s", got)
	}
	x.alert(x.Store, kvm.Creation)
	x.alert(x.Store, kvm.Creation)
	if got := x.told(); got != "1 1" || x.vm("alerted", 7) != "1" {
		t.Fatalf("one episode: %s", got)
	}
	if got := x.db.Text("SELECT CONCAT_WS('|', service_id, client_id, action, template, state) FROM puq_proxmox_kvm_outbox"); got != "7|42|SendAdminEmail||pending" {
		t.Errorf("mail: %s", got)
	}
	if got := x.db.Text("SELECT params FROM puq_proxmox_kvm_outbox"); !strings.Contains(got, "VM of service #7 does not move") || !strings.Contains(got, "service 7") {
		t.Errorf("params: %s", got)
	}
	if got := x.db.Text("SELECT CONCAT_WS('|', date, description, userid) FROM tblactivitylog"); got != "2026-04-10 05:00:00|VM of service #7 does not move|42" {
		t.Errorf("activity log: %s", got)
	}
	sv := x.hold(7)
	for _, to := range []kvm.Status{kvm.SetIP, kvm.Creation} {
		if err := x.Move(t.Context(), sv, to, nil); err != nil {
			t.Fatal(err)
		}
	}
	x.alert(x.Store, kvm.Creation)
	if got := x.told(); got != "2 2" {
		t.Errorf("a second episode: %s", got)
	}
}

func TestAlertRace(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		x := newShop(t)
		x.order(7)
		stores := x.others(8, strict)
		together(len(stores), func(i int) { x.alert(stores[i], kvm.Creation) })
		if got := x.told(); got != "1 1" {
			t.Errorf("told: %s", got)
		}
	})
}

// All or nothing: where the activity log cannot be written, nothing says that it was told.
func TestAlertIsOneTransaction(t *testing.T) {
	x := newShop(t)
	x.order(7)
	x.db.Exec("CREATE TRIGGER refuse BEFORE INSERT ON tblactivitylog FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused by the test'")
	err := x.Store.Alert(context.Background(), 7, 42, kvm.Creation, "text", time.Now())
	if err == nil || !strings.Contains(err.Error(), "service 7") || x.told() != "0 0" || x.vm("alerted", 7) != "0" {
		t.Errorf("%v; told %s, flag %s", err, x.told(), x.vm("alerted", 7))
	}
}
