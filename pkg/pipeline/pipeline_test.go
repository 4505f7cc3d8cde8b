package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// memory is a Store that moves like the real one: only from the status that it has.
type memory struct {
	status kvm.Status
	runs   []kvm.Run
	failAt kvm.Status // a Move to it fails
}

func (m *memory) Move(ctx context.Context, s *kvm.Service, to kvm.Status, run *kvm.Run) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.Row.Status != m.status:
		return kvm.ErrMoved
	case to == m.failAt:
		return errors.New("the database is gone")
	}
	m.status, s.Row.Status = to, to
	if run != nil && run.ID != 0 {
		m.runs[run.ID-1] = *run
	}
	return nil
}

func (m *memory) RecordRun(_ context.Context, r *kvm.Run) error {
	if r.ID == 0 {
		r.ID = int64(len(m.runs) + 1)
		m.runs = append(m.runs, kvm.Run{})
	}
	m.runs[r.ID-1] = *r
	m.runs[r.ID-1].Steps = slices.Clone(r.Steps)
	return nil
}

type world struct {
	store  memory
	clock  *clock.Fake
	engine Engine
	warned []string
	lines  []string
	did    []string
}

func newWorld(status kvm.Status) *world {
	w := &world{store: memory{status: status}, clock: clock.NewFake(time.Unix(0, 0))}
	w.engine = Engine{Store: &w.store, Clock: w.clock, Warn: func(s string) { w.warned = append(w.warned, s) }}
	return w
}

// Emit keeps what a reader would see.
func (w *world) Emit(e event.Event) {
	switch e := e.(type) {
	case event.BlockStarted:
		w.lines = append(w.lines, fmt.Sprintf("start %s", e.Status))
	case event.StepEnded:
		w.lines = append(w.lines, strings.TrimSpace(fmt.Sprintf("%d %s %s->%s %s %s", e.N, e.Title, e.From, e.To, e.Note, e.Message)))
	case event.BlockEnded:
		w.lines = append(w.lines, fmt.Sprintf("end %s %v", e.Status, e.Complete))
	}
}

func (w *world) step(title string, from, to kvm.Status, do func(ctx context.Context, s *kvm.Service) (Result, error)) Step {
	return Step{Title: title, From: from, To: to, Do: func(ctx context.Context, s *kvm.Service) (Result, error) {
		w.did = append(w.did, title)
		w.clock.Advance(time.Second)
		return do(ctx, s)
	}}
}

func fine(context.Context, *kvm.Service) (Result, error) { return Result{}, nil }

func fails(err error) func(context.Context, *kvm.Service) (Result, error) {
	return func(context.Context, *kvm.Service) (Result, error) { return Result{}, err }
}

func (w *world) table(second func(context.Context, *kvm.Service) (Result, error)) *Pipeline {
	return &Pipeline{Name: "Test", Action: "test", Steps: []Step{w.step("One", "a", "b", fine), w.step("Two", "b", "c", second), w.step("Three", "c", "ready", fine)}}
}

func (w *world) run(p *Pipeline, ctx context.Context) Outcome { //nolint:revive // the context varies, the table is the point
	return w.engine.Run(ctx, p, &kvm.Service{ID: 7, Row: kvm.Row{Status: w.store.status}}, w)
}

func TestRunWalksToTheEnd(t *testing.T) {
	w := newWorld("a")
	out := w.run(w.table(func(context.Context, *kvm.Service) (Result, error) { return Result{Note: "skip — no change"}, nil }), context.Background())
	if !out.Complete || out.Message != "" || w.store.status != "ready" {
		t.Fatalf("%+v, at %s", out, w.store.status)
	}
	want := []string{"start a", "1 One a->b", "2 Two b->c skip — no change", "3 Three c->ready", "end ready true"}
	if d := cmp.Diff(want, w.lines); d != "" {
		t.Fatal(d)
	}
	if len(w.store.runs) != 1 || w.store.runs[0].Result != kvm.RunSuccess || len(w.store.runs[0].Steps) != 3 || w.store.runs[0].Steps[1].Took != time.Second {
		t.Fatalf("stored %+v", w.store.runs)
	}
}

func TestRunStopsAndGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(context.Context, *kvm.Service) (Result, error)
		onFail  kvm.Status
		message string
		isErr   bool
		at      kvm.Status
		result  string
	}{
		"error":         {do: fails(errors.New("no such thing")), message: "no such thing", isErr: true, at: "b", result: kvm.RunError},
		"falls back":    {do: fails(errors.New("no such thing")), onFail: "a", message: "no such thing", isErr: true, at: "a", result: kvm.RunError},
		"waits":         {do: func(context.Context, *kvm.Service) (Result, error) { return Result{Wait: "the moon"}, nil }, onFail: "a", message: "waiting on the moon", at: "b", result: kvm.RunWaiting},
		"busy":          {do: fails(kvm.Errorf(kvm.ErrBusy, "VM 5 is locked")), message: "waiting on VM 5 is locked", at: "b", result: kvm.RunWaiting},
		"still running": {do: fails(kvm.Errorf(kvm.ErrStillRunning, "task UPID:x")), message: "waiting on task UPID:x", at: "b", result: kvm.RunWaiting},
		"panic":         {do: func(context.Context, *kvm.Service) (Result, error) { panic("boom") }, message: "panic: boom", isErr: true, at: "b", result: kvm.RunError},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld("a")
			p := w.table(c.do)
			p.Steps[1].OnFail = c.onFail
			out := w.run(p, context.Background())
			if out.Complete || out.Message != c.message || (out.Err != nil) != c.isErr || out.At != c.at || out.Wanted != "c" || out.Took != time.Second {
				t.Fatalf("%+v", out)
			}
			if w.store.status != c.at {
				t.Fatalf("at %s", w.store.status)
			}
			if last := w.lines[len(w.lines)-1]; last != fmt.Sprintf("end %s false", c.at) {
				t.Fatalf("the block ends with %q", last)
			}
			if got := w.store.runs[0]; got.Result != c.result || got.Message != c.message || got.To != c.at {
				t.Fatalf("stored %+v", got)
			}
			w.did = nil
			p.Steps[1] = w.step("Two", "b", "c", fine)
			if out := w.run(p, context.Background()); !out.Complete {
				t.Fatalf("the next run: %+v", out)
			}
			if c.at == "b" && w.did[0] != "Two" {
				t.Fatalf("the next run began with %s", w.did[0])
			}
		})
	}
}

func TestMovedBySomebodyElse(t *testing.T) {
	w := newWorld("a")
	out := w.run(w.table(func(context.Context, *kvm.Service) (Result, error) {
		w.store.status = "elsewhere"
		return Result{}, nil
	}), context.Background())
	if !errors.Is(out.Err, kvm.ErrMoved) || slices.Contains(w.did, "Three") {
		t.Fatalf("%+v after %v", out, w.did)
	}
	if got := w.store.runs[0]; got.Result != kvm.RunOpen {
		t.Fatalf("wrote %+v after the row was lost", got)
	}
}

func TestASignalStopsAtTheNextRow(t *testing.T) {
	w := newWorld("a")
	ctx, cancel := context.WithCancel(context.Background())
	out := w.run(w.table(func(context.Context, *kvm.Service) (Result, error) {
		cancel()
		return Result{}, nil // the effect has happened: its status must be stored all the same
	}), ctx)
	if out.Err != nil || out.Message != "interrupted" || w.store.status != "c" || slices.Contains(w.did, "Three") {
		t.Fatalf("%+v, at %s after %v", out, w.store.status, w.did)
	}
	if w.lines[len(w.lines)-1] != "end c false" {
		t.Fatalf("the block is not closed: %v", w.lines)
	}
}

func TestALostClaimIsAnError(t *testing.T) {
	w := newWorld("a")
	ctx, cancel := context.WithCancelCause(context.Background())
	lost := errors.New("claims lost")
	out := w.run(w.table(func(ctx context.Context, _ *kvm.Service) (Result, error) {
		cancel(lost)
		return Result{}, ctx.Err()
	}), ctx)
	if !errors.Is(out.Err, lost) {
		t.Fatalf("%+v", out)
	}
}

func TestTheStoreFails(t *testing.T) {
	w := newWorld("a")
	w.store.failAt = "c"
	out := w.run(w.table(fine), context.Background())
	if out.Complete || out.Message != "the database is gone" || w.store.status != "b" || slices.Contains(w.did, "Three") {
		t.Fatalf("%+v at %s after %v", out, w.store.status, w.did)
	}
}

func TestCheckStopsWithoutALine(t *testing.T) {
	w := newWorld("b")
	p := w.table(fine)
	p.Check = func(context.Context, *kvm.Service) (string, error) {
		return "waiting on VM 5: locked by Proxmox (backup)", nil
	}
	out := w.run(p, context.Background())
	if !out.Silent || out.Err != nil || len(w.lines) != 0 || len(w.did) != 0 {
		t.Fatalf("%+v %v %v", out, w.lines, w.did)
	}
	if got := w.store.runs[0]; got.Result != kvm.RunWaiting || got.Message != out.Message {
		t.Fatalf("stored %+v", got)
	}
	p.Check = func(context.Context, *kvm.Service) (string, error) { return "", errors.New("nobody answers") }
	out = w.run(p, context.Background())
	if out.Silent || out.Message != "nobody answers" || len(w.did) != 0 || !slices.Contains(w.lines, "1 Two b->c  nobody answers") {
		t.Fatalf("%+v %q %v", out, w.lines, w.did)
	}
}

func TestCommitMovesInPlaceOfTheStore(t *testing.T) {
	w := newWorld("b")
	out := w.run(w.table(func(_ context.Context, s *kvm.Service) (Result, error) {
		return Result{Commit: func(ctx context.Context) error { return w.store.Move(ctx, s, "c", nil) }}, nil
	}), context.Background())
	if !out.Complete || w.store.status != "ready" {
		t.Fatalf("%+v at %s", out, w.store.status)
	}
}

func TestRowsThatSkip(t *testing.T) {
	same := func(do func(context.Context, *kvm.Service) (Result, error)) *Pipeline {
		w := newWorld("a")
		return &Pipeline{Name: "Test", Action: "test", Steps: []Step{w.step("One", "a", "b", fine), {Title: "Old word", From: "old", To: "c", Alias: true, Do: fine},
			w.step("Two", "b", "b", do), w.step("Three", "b", "c", fine), w.step("Four", "c", "ready", fine)}}
	}
	for name, c := range map[string]struct {
		from kvm.Status
		do   func(context.Context, *kvm.Service) (Result, error)
		want []string
	}{
		"two rows of a status": {"a", fine, []string{"start a", "1 One a->b", "2 Two b->b", "3 Three b->c", "4 Four c->ready", "end ready true"}},
		"silent": {"a", func(context.Context, *kvm.Service) (Result, error) { return Result{Silent: true}, nil },
			[]string{"start a", "1 One a->b", "2 Three b->c", "3 Four c->ready", "end ready true"}},
		"to another status": {"b", func(context.Context, *kvm.Service) (Result, error) { return Result{To: "c"}, nil },
			[]string{"start b", "1 Two b->c", "2 Four c->ready", "end ready true"}},
		"another's word": {"old", fine, []string{"start old", "1 Old word old->c", "2 Four c->ready", "end ready true"}},
	} {
		w := newWorld(c.from)
		if out := w.run(same(c.do), context.Background()); !out.Complete {
			t.Errorf("%s: %+v", name, out)
		}
		if d := cmp.Diff(c.want, w.lines); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	w := newWorld("ready")
	out := w.run(&Pipeline{Name: "Test", Action: "test", Steps: []Step{w.step("One", "ready", "ready", fine)}}, context.Background())
	if !out.Complete || len(w.did) != 1 {
		t.Errorf("one row that leaves the status: %+v after %v", out, w.did)
	}
}

func TestALastingFailure(t *testing.T) {
	for _, lasting := range []bool{true, false} {
		w := newWorld("a")
		p := w.table(fails(kvm.Errorf(kvm.ErrBusy, "soon")))
		if lasting {
			p = w.table(fails(kvm.Errorf(kvm.ErrPermanent, "never")))
		}
		p.Steps[1].Lasting = "lost"
		told := ""
		p.Fail = func(ctx context.Context, s *kvm.Service, to kvm.Status, message string) error {
			told = message
			return w.store.Move(ctx, s, to, nil)
		}
		w.run(p, context.Background())
		if want := map[bool]string{true: "lost never", false: "b "}[lasting]; string(w.store.status)+" "+told != want {
			t.Errorf("at %s, told %q, want %q", w.store.status, told, want)
		}
	}
}

func TestAskedForSomethingElse(t *testing.T) {
	w := newWorld("a")
	out := w.run(w.table(func(_ context.Context, s *kvm.Service) (Result, error) {
		return Result{Commit: func(context.Context) error {
			w.store.status, s.Row.Status = "terminate", "terminate"
			return kvm.Errorf(kvm.ErrAsked, "stopped here: terminate was asked for")
		}}, nil
	}), context.Background())
	if out.Complete || out.Err != nil || out.At != "terminate" || w.lines[len(w.lines)-1] != "end terminate false" || slices.Contains(w.did, "Three") {
		t.Fatalf("%+v %v", out, w.lines)
	}
	if got := w.store.runs[0]; got.Result != kvm.RunWaiting {
		t.Fatalf("stored %+v", got)
	}
}
