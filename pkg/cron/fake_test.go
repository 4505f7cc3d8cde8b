package cron

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

var errGone = errors.New("the database is gone")

// store is the database: rows of services that move like the real ones, claims, and the tasks' starts.
type store struct {
	mu     sync.Mutex
	rows   []*row
	tasks  map[string]kvm.TaskRun
	runs   []kvm.Run
	alerts []string
	fail   map[string]error // by method, or by method and service: "Claim", "Claim 7"
	taken  bool             // another host has claimed every task
	claims []string         // task, interval
}

type row struct {
	kvm.Pending
	noted    kvm.Status
	message  string
	released bool
}

func (s *store) failing(method string, service int64) error {
	if err := s.fail[method]; err != nil {
		return err
	}
	err := s.fail[fmt.Sprintf("%s %d", method, service)]
	if err != nil && err.Error() == "panic" {
		panic("the driver broke")
	}
	return err
}

func (s *store) row(service int64) *row {
	for _, r := range s.rows {
		if r.ID == service {
			return r
		}
	}
	return nil
}

func (s *store) Pending(_ context.Context, statuses []kvm.Status, _ time.Duration) ([]kvm.Pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []kvm.Pending
	for _, r := range s.rows {
		if slices.Contains(statuses, r.Status) {
			out = append(out, r.Pending)
		}
	}
	return out, s.failing("Pending", 0)
}

func (s *store) Claim(_ context.Context, service int64, owner, seen string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing("Claim", service); err != nil {
		return false, err
	}
	r := s.row(service)
	if r.Owner != "" && (r.Owner != "dead" || seen != "dead") {
		return false, nil
	}
	r.Owner = owner
	return true, nil
}

func (s *store) RenewClaims(context.Context, string) error { return nil }

func (s *store) Release(ctx context.Context, service int64, owner, message string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := s.failing("Release", service); err != nil {
		return err
	}
	if r := s.row(service); r.Owner == owner {
		r.Owner, r.message, r.released = "", message, true
	}
	return nil
}

func (s *store) Service(_ context.Context, id int64) (*kvm.Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing("Service", id); err != nil {
		return nil, err
	}
	r := s.row(id)
	return &kvm.Service{ID: id, ClientID: 42, Row: kvm.Row{Status: r.Status, Owner: r.Owner, Message: r.message}}, nil
}

func (s *store) TakeNote(_ context.Context, sv *kvm.Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing("TakeNote", sv.ID); err != nil {
		return err
	}
	if r := s.row(sv.ID); r.noted.Interrupts(r.Status) {
		r.Status, sv.Row.Status, r.noted = r.noted, r.noted, ""
	}
	return nil
}

func (s *store) Alert(_ context.Context, service, client int64, status kvm.Status, text string, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alerts = append(s.alerts, fmt.Sprintf("%d %d %s: %s", service, client, status, text))
	s.row(service).Stuck = false
	return s.failing("Alert", service)
}

func (s *store) Move(_ context.Context, sv *kvm.Service, to kvm.Status, _ *kvm.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.row(sv.ID)
	if r.Status != sv.Row.Status || r.Owner != sv.Row.Owner || r.Owner == "" {
		return kvm.Errorf(kvm.ErrMoved, "service %d is somebody else's", sv.ID)
	}
	r.Status, sv.Row.Status = to, to
	return nil
}

func (s *store) RecordRun(_ context.Context, r *kvm.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ID == 0 {
		r.ID = int64(len(s.runs) + 1)
		s.runs = append(s.runs, kvm.Run{})
	}
	s.runs[r.ID-1] = *r
	return nil
}

func (s *store) TaskRuns(context.Context) (map[string]kvm.TaskRun, error) {
	return s.tasks, s.failing("TaskRuns", 0)
}

func (s *store) ClaimTask(_ context.Context, name, owner string, now time.Time, interval time.Duration) (bool, error) {
	s.claims = append(s.claims, fmt.Sprintf("%s %s %v", name, owner, interval))
	if err := s.failing("ClaimTask", 0); err != nil || s.taken {
		return false, err
	}
	t := s.tasks[name]
	t.Started = now
	s.tasks[name] = t
	return true, nil
}

func (s *store) FinishTasks(ctx context.Context, _ string, ended ...kvm.TaskRun) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := s.failing("FinishTasks", 0); err != nil {
		return err
	}
	for _, e := range ended {
		t := s.tasks[e.Name]
		t.Finished, t.Result = e.Finished, e.Result
		s.tasks[e.Name] = t
	}
	return nil
}

// minute is the moment of the tests: 30 s into a minute.
var minute = time.Date(2026, 4, 10, 3, 49, 30, 0, time.UTC)

// log keeps events as words.
type log struct {
	mu    sync.Mutex
	lines []string
}

// Emit keeps e.
func (l *log) Emit(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := e.Name()
	switch e := e.(type) {
	case event.TaskStarted:
		line = fmt.Sprintf("%s started", e.Task)
	case event.TaskEnded:
		line = fmt.Sprintf("%s ended: %d processed, %d errors", e.Task, e.Processed, e.Errors)
	case event.BlockStarted:
		line = fmt.Sprintf("block %d", e.Service)
	case event.StepEnded:
		line = fmt.Sprintf("step %d %s", e.Service, e.Message)
	case event.BlockEnded:
		line = fmt.Sprintf("end %d %v", e.Service, e.Complete)
	case event.ServiceResult:
		line = fmt.Sprintf("result %d %s %s (%s -> %s)", e.Service, e.Action, e.Message, e.From, e.To)
	}
	l.lines = append(l.lines, line)
}

// yard is a Process on a fake database, with a table of two rows: a -> b -> ready.
type yard struct {
	*Process
	store  *store
	log    log
	mu     sync.Mutex
	warned []string
	did    []int64 // services whose first row ran, in order
	mails  int
}

func newYard(t *testing.T, services ...int64) *yard {
	t.Helper()
	y := &yard{store: &store{fail: map[string]error{}, tasks: map[string]kvm.TaskRun{}}}
	for _, id := range services {
		y.store.rows = append(y.store.rows, &row{Pending: kvm.Pending{ID: id, Status: "a"}})
	}
	c := clock.NewFake(minute)
	warn := func(text string) {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.warned = append(y.warned, text)
	}
	y.Process = &Process{Store: y.store, Clock: c, Zone: time.UTC, Owner: "me", Workers: 1, AlertAfter: 15 * time.Minute, Warn: warn,
		Engine:  &pipeline.Engine{Store: y.store, Clock: c, Warn: warn},
		Deliver: func(context.Context) error { y.mails++; return nil }}
	y.rows(func(context.Context, *kvm.Service) (pipeline.Result, error) { return pipeline.Result{}, nil })
	return y
}

// rows makes the table, whose first row does do.
func (y *yard) rows(do func(context.Context, *kvm.Service) (pipeline.Result, error)) {
	y.Pipelines = []*pipeline.Pipeline{{Name: "Test", Action: "test", InOrder: true, Steps: []pipeline.Step{
		{Title: "One", From: "a", To: "b", Do: func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
			y.mu.Lock()
			y.did = append(y.did, s.ID)
			y.mu.Unlock()
			return do(ctx, s)
		}},
		{Title: "Two", From: "b", To: kvm.Ready, Do: func(context.Context, *kvm.Service) (pipeline.Result, error) { return pipeline.Result{}, nil }},
	}}}
}

func (y *yard) run(t *testing.T) Report {
	t.Helper()
	r, err := y.Run(t.Context(), &y.log)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// end checks where each service stands, and that no claim is left.
func (y *yard) end(t *testing.T, want map[int64]kvm.Status) {
	t.Helper()
	for _, r := range y.store.rows {
		if r.Status != want[r.ID] {
			t.Errorf("service %d is at %s (%s), want %s", r.ID, r.Status, r.message, want[r.ID])
		}
		if r.Owner == "me" {
			t.Errorf("service %d is still claimed", r.ID)
		}
	}
}
