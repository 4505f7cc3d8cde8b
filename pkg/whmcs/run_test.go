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

// stuckRun is a run that waits at its first row.
func stuckRun(service int64, minute int) *kvm.Run {
	at := time.Date(2026, 4, 10, 3, minute, 0, 1000, time.UTC)
	return &kvm.Run{ServiceID: service, Action: "deploy", Result: kvm.RunWaiting, From: kvm.SetDNS, To: kvm.SetDNS, Message: "waiting on UPID:x", Started: at,
		Ended: at.Add(time.Second), Steps: []kvm.RunStep{{N: 1, Title: "Clone VM", From: kvm.SetDNS, To: kvm.Cloned, Message: "waiting on UPID:x", Took: time.Second}}}
}

func (x *shop) record(runs ...*kvm.Run) {
	x.Helper()
	for _, r := range runs {
		if err := x.RecordRun(x.Context(), r); err != nil {
			x.Fatal(err)
		}
		if r.ID == 0 {
			x.Fatal("the stored run has no id")
		}
	}
}

func (x *shop) runs(service int64) []kvm.Run {
	x.Helper()
	out, err := x.Runs(x.Context(), service)
	if err != nil {
		x.Fatal(err)
	}
	return out
}

// A run is stored as it happens, and is one row.
func TestRecordRun(t *testing.T) {
	x := newShop(t)
	at := time.Date(2026, 4, 10, 5, 0, 0, 0, time.FixedZone("", 7200))
	r := &kvm.Run{ServiceID: 7, Action: "deploy", Result: kvm.RunOpen, From: kvm.Creation, To: kvm.SetIP, Started: at,
		Steps: []kvm.RunStep{{N: 1, Title: "Allocate IP", Note: "skip — DHCP", From: kvm.Creation, To: kvm.SetIP, Took: 1500 * time.Millisecond}}}
	x.record(r)
	first := r.ID
	open := x.runs(7)
	if len(open) != 1 || open[0].Result != kvm.RunOpen || !open[0].Ended.IsZero() {
		t.Fatalf("while it runs: %+v", open)
	}
	r.Steps = append(r.Steps, kvm.RunStep{N: 2, Title: "Clone VM", From: kvm.SetDNS, To: kvm.Cloned, Message: "storage \U0001F600 is full"})
	r.Result, r.Message, r.To, r.Ended = kvm.RunError, "storage is full", kvm.SetDNS, at.Add(time.Minute)
	x.record(r, &kvm.Run{ServiceID: 8, Action: "deploy", Result: kvm.RunSuccess, Started: at})
	if r.ID != first {
		t.Error("the run has another id now")
	}
	want := *r
	want.Repeats, want.Started, want.Ended = 1, at.UTC(), at.Add(time.Minute).UTC()
	if d := cmp.Diff([]kvm.Run{want}, x.runs(7)); d != "" {
		t.Error(d)
	}
	if got := x.runs(9); len(got) != 0 {
		t.Errorf("of a service without one: %+v", got)
	}
}

// A service that waits for a day has one row; whatever differs makes a new one.
func TestRecordRunRepeats(t *testing.T) {
	x := newShop(t)
	x.record(stuckRun(7, 0), stuckRun(8, 0), stuckRun(7, 1), stuckRun(7, 2))
	got := x.runs(7)
	if len(got) != 1 || got[0].Repeats != 3 || got[0].Started.Minute() != 0 || got[0].Ended.Minute() != 2 {
		t.Fatalf("%+v", got)
	}
	if got := x.runs(8); len(got) != 1 || got[0].Repeats != 1 {
		t.Errorf("another service's: %+v", got)
	}
	changes := map[string]func(r *kvm.Run){
		"message": func(r *kvm.Run) { r.Message = "waiting on UPID:y" },
		"case":    func(r *kvm.Run) { r.Message = "waiting on UPID:Y" },
		"action":  func(r *kvm.Run) { r.Action = "change_package" },
		"result":  func(r *kvm.Run) { r.Result = kvm.RunError },
		"from":    func(r *kvm.Run) { r.From = kvm.Cloned },
		"to":      func(r *kvm.Run) { r.To = kvm.SetCloudinit },
	}
	n := 1
	for _, name := range []string{"message", "case", "action", "result", "from", "to"} {
		r := stuckRun(7, 10)
		changes[name](r)
		x.record(r, stuckRun(7, 11), stuckRun(7, 12))
		if n += 2; len(x.runs(7)) != n {
			t.Errorf("%s: %d runs, want %d", name, len(x.runs(7)), n)
		}
		if top := x.runs(7)[0]; top.Repeats != 2 || top.Message != "waiting on UPID:x" {
			t.Errorf("%s: the last one is %+v", name, top)
		}
	}
	for range 2 { // a run that succeeded is never a repetition
		x.record(&kvm.Run{ServiceID: 9, Action: "deploy", Result: kvm.RunSuccess, Started: time.Now()})
	}
	if len(x.runs(9)) != 2 {
		t.Errorf("successes: %+v", x.runs(9))
	}
}

// The last 50 of a service are kept, whatever the others have.
func TestRunsKept(t *testing.T) {
	x := newShop(t)
	x.record(stuckRun(8, 0))
	for i := range 53 {
		r := stuckRun(7, 0)
		r.Message = fmt.Sprint("waiting on ", i)
		x.record(r)
	}
	got := x.runs(7)
	if len(got) != runsKept || got[0].Message != "waiting on 52" || got[runsKept-1].Message != "waiting on 3" {
		t.Errorf("%d runs, from %q to %q", len(got), got[0].Message, got[len(got)-1].Message)
	}
	if len(x.runs(8)) != 1 {
		t.Error("another service's run is gone")
	}
}

func TestRunsNullsAndNonsense(t *testing.T) {
	x := newShop(t)
	x.db.Exec("INSERT INTO puq_proxmox_kvm_runs (service_id, started_at, message, ended_at, steps) VALUES (7, '2026-01-01', NULL, NULL, NULL)")
	if got := x.runs(7); len(got) != 1 || got[0].Message != "" || !got[0].Ended.IsZero() || got[0].Steps != nil || got[0].Repeats != 1 {
		t.Errorf("%+v", got)
	}
	x.db.Exec("UPDATE puq_proxmox_kvm_runs SET steps = '{'")
	if _, err := x.Runs(t.Context(), 7); err == nil || !strings.Contains(err.Error(), "puq_proxmox_kvm_runs.steps of id 1") {
		t.Errorf("%v", err)
	}
}

// A move stores the run's step with the status, or neither; a run that was trimmed away, or not stored yet, stops no move.
func TestMoveStoresTheStep(t *testing.T) {
	x := newShop(t)
	x.order(7)
	sv := x.hold(7)
	r := &kvm.Run{ServiceID: 7, Action: "deploy", Result: kvm.RunOpen, From: kvm.Creation, To: kvm.Creation, Started: time.Now()}
	x.record(r)
	step := func(to kvm.Status) *kvm.Run {
		next := *r
		next.To, next.Steps = to, append(next.Steps, kvm.RunStep{N: len(next.Steps) + 1, Title: "row", From: sv.Row.Status, To: to})
		return &next
	}
	*r = *step(kvm.SetIP)
	if err := x.Move(t.Context(), sv, kvm.SetIP, r); err != nil {
		t.Fatal(err)
	}
	if got := x.runs(7); len(got) != 1 || got[0].To != kvm.SetIP || len(got[0].Steps) != 1 || got[0].Steps[0].To != kvm.SetIP {
		t.Errorf("after the move: %+v", got)
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = '" + elsewhere + "' WHERE service_id = 7")
	if err := x.Move(t.Context(), sv, kvm.SetDNS, step(kvm.SetDNS)); !errors.Is(err, kvm.ErrMoved) {
		t.Errorf("without the claim: %v", err)
	}
	if got := x.runs(7); got[0].To != kvm.SetIP || len(got[0].Steps) != 1 {
		t.Errorf("a move that was not ours stored its step: %+v", got)
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = NULL WHERE service_id = 7")
	x.db.Exec("DELETE FROM puq_proxmox_kvm_runs")
	sv = x.hold(7)
	if err := x.Move(t.Context(), sv, kvm.SetDNS, r); err != nil || x.vm("vm_status", 7) != "set_dns" {
		t.Errorf("with its run gone: %v", err)
	}
}

// What is read once for many services is read again in time, and what another process claims counts at once.
func TestAllocateLooksAgain(t *testing.T) {
	x := newShop(t)
	x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.13")
	x.order(1, 2, 3, 4)
	allocate := func(id int64) error {
		return x.Allocate(t.Context(), x.hold(id), kvm.SetIP, pickLowest(1, 0))
	}
	if err := allocate(1); err != nil {
		t.Fatal(err)
	}
	// Another process takes one, and somebody types one into another service.
	x.db.Exec("INSERT INTO puq_proxmox_kvm_addresses (address, service_id, state, claimed_at) VALUES ('192.0.2.11', 90, 'claimed', '2026-01-01')")
	x.db.Exec("UPDATE tblhosting SET dedicatedip = '192.0.2.12' WHERE id = 4")
	if err := allocate(2); err != nil {
		t.Fatal(err)
	}
	// There is none left, until the first look's is given back.
	third := x.hold(3)
	if err := x.Allocate(t.Context(), third, kvm.SetIP, pickLowest(1, 0)); !errors.Is(err, kvm.ErrExhausted) {
		t.Fatalf("with no address left: %v", err)
	}
	x.db.Exec("DELETE FROM puq_proxmox_kvm_addresses WHERE service_id = 90")
	if err := x.Allocate(t.Context(), third, kvm.SetIP, pickLowest(1, 0)); err != nil {
		t.Fatal(err)
	}
	// What stands in its own row is the service's.
	if err := allocate(4); err != nil {
		t.Fatal(err)
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', address, service_id) ORDER BY address) FROM puq_proxmox_kvm_addresses"); got !=
		"192.0.2.10 1,192.0.2.11 3,192.0.2.12 4,192.0.2.13 2" {
		t.Errorf("claims: %s", got)
	}
}

// A run whose process died does not say for ever that it is running.
func TestARunThatWasCutOff(t *testing.T) {
	x := newShop(t)
	open := func() *kvm.Run {
		return &kvm.Run{ServiceID: 7, Action: "deploy", Result: kvm.RunOpen, From: kvm.Creation, To: kvm.SetIP, Started: time.Now()}
	}
	x.record(open(), open())
	if got := x.runs(7); len(got) != 2 || got[0].Result != kvm.RunOpen || got[1].Result != kvm.RunCut {
		t.Errorf("%+v", got)
	}
}
