package cron

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// backups is a Scheduled on nodes with one slot each, which a backup holds while it runs. Each takes a minute of the clock.
type backups struct {
	Scheduled
	store *store
	clock *clock.Fake
	log   log

	mu     sync.Mutex
	made   []string         // node and service, in the order in which they began
	busy   map[string]int   // backups that run, by node
	most   map[string]int   // and how many did at once
	others map[string]bool  // nodes whose slot another process has
	began  map[int64]string // what Begin says: "", "wait …", "no", "error", "moved", "panic"
	passed []int64
}

func newBackups(due ...kvm.DueBackup) *backups {
	b := &backups{store: &store{fail: map[string]error{}}, clock: clock.NewFake(minute), busy: map[string]int{}, most: map[string]int{}, others: map[string]bool{}, began: map[int64]string{}}
	nodes := map[int64]string{}
	for _, d := range due {
		nodes[d.Service] = d.Node
		b.store.rows = append(b.store.rows, &row{Pending: kvm.Pending{ID: d.Service, Status: kvm.Ready}})
	}
	make := func(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
		node := nodes[s.ID]
		b.mu.Lock()
		b.made = append(b.made, fmt.Sprint(node, " ", s.ID))
		b.busy[node]++
		b.most[node] = max(b.most[node], b.busy[node])
		b.mu.Unlock()
		b.clock.Advance(time.Minute)
		b.mu.Lock()
		b.busy[node]--
		b.mu.Unlock()
		return pipeline.Result{}, nil
	}
	pl := &pipeline.Pipeline{Name: "ScheduledBackup", Action: "scheduled_backup", Steps: []pipeline.Step{{From: kvm.ScheduledBackup, Title: "Create backup", To: kvm.Ready, Do: make}}}
	warn := func(string) {}
	b.Scheduled = Scheduled{PerNode: 1, Wait: time.Hour,
		Process: &Process{Store: b.store, Pipelines: []*pipeline.Pipeline{pl}, Clock: b.clock, Owner: "me", Workers: 4, Warn: warn,
			Engine: &pipeline.Engine{Store: b.store, Clock: b.clock, Warn: warn}},
		Due: func(context.Context) ([]kvm.DueBackup, error) { return due, nil },
		Free: func(_ context.Context, _ int64, node string) (int, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.others[node] {
				return 0, nil
			}
			return 1 - b.busy[node], nil
		},
		Begin: func(ctx context.Context, s *kvm.Service, m kvm.Moment) (bool, string, error) {
			switch say := b.began[s.ID]; {
			case say == "no":
				return false, "", nil
			case say == "error":
				return false, "", errGone
			case say == "moved":
				return false, "", kvm.Errorf(kvm.ErrMoved, "somebody else's")
			case say == "panic":
				panic("broken")
			case say != "":
				return false, say, nil
			}
			return true, "", b.store.Move(ctx, s, kvm.ScheduledBackup, nil)
		},
		PassOver: func(_ context.Context, s *kvm.Service, _ kvm.Moment) error {
			b.passed = append(b.passed, s.ID)
			return nil
		}}
	return b
}

func due(node string, service int64) kvm.DueBackup {
	return kvm.DueBackup{Service: service, ServerID: 1, Node: node, Moment: kvm.Moment{Time: minute.Add(-time.Hour), Date: "2026-04-10"}}
}

func (b *backups) tick(t *testing.T) (Report, string) {
	t.Helper()
	report, err := b.Run(t.Context(), &b.log)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range report.Results {
		lines = append(lines, strings.TrimSpace(fmt.Sprint(r.Service, " ", r.Skipped, r.Message)))
	}
	return report, strings.Join(lines, "; ")
}

// TestScheduledOrder: a node makes one at a time, those that are due the longest first, and nodes do not wait for each other.
func TestScheduledOrder(t *testing.T) {
	b := newBackups(due("a", 1), due("b", 2), due("a", 3), due("a", 4), due("b", 5))
	report, lines := b.tick(t)
	if report.Processed != 5 || report.Errors != 0 || lines != "1; 2; 3; 4; 5" {
		t.Errorf("%+v: %s", report, lines)
	}
	for _, node := range []string{"a", "b"} {
		var got []string
		for _, m := range b.made {
			if strings.HasPrefix(m, node) {
				got = append(got, m)
			}
		}
		want := map[string][]string{"a": {"a 1", "a 3", "a 4"}, "b": {"b 2", "b 5"}}[node]
		if diff := cmp.Diff(want, got); diff != "" || b.most[node] != 1 {
			t.Errorf("%s, %d at once: %s", node, b.most[node], diff)
		}
	}
	for _, r := range b.store.rows {
		if r.Status != kvm.Ready || r.Owner != "" {
			t.Errorf("service %d is at %s, held by %q", r.ID, r.Status, r.Owner)
		}
	}
}

// TestScheduledWaits: what waits is no error and prints nothing, and stays at ready: a node whose slot another process has is not
// even asked about a second VM; a VM that is locked lets the next one pass.
func TestScheduledWaits(t *testing.T) {
	b := newBackups(due("a", 1), due("a", 2), due("b", 3), due("b", 4), due("b", 5))
	b.others["a"] = true
	b.began[3], b.began[4] = "VM 103: locked by Proxmox (backup)", "moved"
	report, lines := b.tick(t)
	if diff := cmp.Diff([]string{"b 5"}, b.made); diff != "" || report.Processed != 1 || report.Errors != 0 || lines != "5" {
		t.Errorf("%+v, %q: %s", report, lines, diff)
	}
	if got := b.store.row(3).message; got != "waiting on VM 103: locked by Proxmox (backup)" {
		t.Errorf("the row of 3 says %q", got)
	}
	if b.store.row(1).released || b.store.row(2).released {
		t.Error("a service of a busy node was taken up")
	}
}

// TestScheduledSkips: a moment whose day has its backup is passed over, with the line that says so, whatever the node is doing.
func TestScheduledSkips(t *testing.T) {
	d := due("a", 1)
	d.Made = "2026-04-10"
	b := newBackups(d, due("a", 2))
	b.others["a"] = true
	report, lines := b.tick(t)
	if lines != "1 already_done_today, last:2026-04-10" || report.Processed != 1 || len(b.made) != 0 || len(b.passed) != 1 {
		t.Errorf("%+v: %q, made %v, passed over %v", report, lines, b.made, b.passed)
	}
}

// TestScheduledTrouble: what one meets, a panic included, is its own matter; a schedule that cannot be read is an error each time.
func TestScheduledTrouble(t *testing.T) {
	bad := kvm.DueBackup{Service: 1, Err: fmt.Errorf("service 1: it is nonsense")}
	b := newBackups(bad, due("a", 2), due("a", 3), due("a", 4), due("a", 5))
	b.began[2], b.began[3] = "error", "panic"
	b.store.fail["Service 4"] = errGone
	report, lines := b.tick(t)
	if want := "1 service 1: it is nonsense; 2 " + errGone.Error() + "; 3 panic: broken; 4 " + errGone.Error() + "; 5"; lines != want || report.Errors != 4 || report.Processed != 5 {
		t.Errorf("%+v: %q", report, lines)
	}
	for _, r := range b.store.rows {
		if r.Owner != "" {
			t.Errorf("service %d is still held by %s", r.ID, r.Owner)
		}
	}
	b.Due = func(context.Context) ([]kvm.DueBackup, error) { return nil, errGone }
	if _, err := b.Run(t.Context(), &b.log); err == nil {
		t.Error("the list cannot be had, and nobody says so")
	}
}

// TestScheduledEnds: after cron.wait no new one is begun; those under way are walked first of all, whoever began them.
func TestScheduledEnds(t *testing.T) {
	b := newBackups(due("a", 1), due("a", 2), due("a", 3), due("a", 4))
	b.Wait = 2 * time.Minute
	b.tick(t)
	if diff := cmp.Diff([]string{"a 1", "a 2"}, b.made); diff != "" {
		t.Error(diff)
	}
	b.store.row(3).Status = kvm.ScheduledBackup
	b.Due = func(context.Context) ([]kvm.DueBackup, error) { return nil, nil }
	report, lines := b.tick(t)
	if lines != "3" || report.Processed != 1 || b.store.row(3).Status != kvm.Ready {
		t.Errorf("%+v: %q", report, lines)
	}
	if report, lines := b.tick(t); lines != "" || report.Processed != 0 {
		t.Errorf("nothing is due: %+v %q", report, lines)
	}
}

// TestManyDueOnManyNodes: what a tick keeps of those that are due is for each of them once, not for each node.
func TestManyDueOnManyNodes(t *testing.T) {
	const nodes, vms = 200, 100
	var due []kvm.DueBackup
	for i := range nodes * vms {
		due = append(due, kvm.DueBackup{Service: int64(i + 1), ServerID: 1, Node: fmt.Sprint("pve", i%nodes)})
	}
	b := newBackups()
	b.Scheduled.Due = func(context.Context) ([]kvm.DueBackup, error) { return due, nil }
	for i := range nodes {
		b.others[fmt.Sprint("pve", i)] = true
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	report, err := b.Scheduled.Run(t.Context(), &b.log)
	runtime.ReadMemStats(&after)
	if err != nil || report.Processed != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if each := (after.TotalAlloc - before.TotalAlloc) / (nodes * vms); each > 2000 {
		t.Errorf("%d bytes for each that is due", each)
	}
}
