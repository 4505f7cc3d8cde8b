package cron

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

func TestDue(t *testing.T) {
	at := func(text string) time.Time {
		out, err := time.Parse(time.DateTime, "2026-04-10 "+text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		started, now string
		interval     time.Duration
		want         bool
	}{
		{"03:49:59", "03:50:00", time.Minute, true}, // a minute by the clock's minutes, a second by its seconds
		{"03:49:00", "03:49:59", time.Minute, false},
		{"03:49:30", "03:49:30", time.Minute, false},
		{"03:45:59", "03:50:01", 5 * time.Minute, true},
		{"03:46:00", "03:50:59", 5 * time.Minute, false},
		{"03:00:00", "03:59:59", time.Hour, false},
		{"03:00:59", "04:00:00", time.Hour, true},
		{"03:50:00", "03:49:00", time.Minute, false}, // the clock was set back: it waits, and does not run each minute
	} {
		if got := Due(at(c.started), at(c.now), c.interval); got != c.want {
			t.Errorf("started %s, now %s, every %v: %v", c.started, c.now, c.interval, got)
		}
	}
	if !Due(time.Time{}, at("03:49:00"), time.Hour) {
		t.Error("a task that never ran is not due")
	}
}

// board is a Cron with three tasks: walk each minute, sweep every five, and stats, which is switched off.
type board struct {
	Cron
	store  *store
	log    log
	warned []string
	ran    []string
	do     map[string]func() (Report, error)
}

func newBoard() *board {
	b := &board{store: &store{fail: map[string]error{}, tasks: map[string]kvm.TaskRun{}}, do: map[string]func() (Report, error){}}
	b.Cron = Cron{Store: b.store, Clock: clock.NewFake(minute), Owner: "me", Sink: &b.log, Warn: func(s string) { b.warned = append(b.warned, s) }}
	for _, t := range []struct {
		name  string
		every time.Duration
	}{{"walk", time.Minute}, {"sweep", 5 * time.Minute}, {"stats", 0}} {
		b.Tasks = append(b.Tasks, Task{Name: t.name, Interval: t.every, Run: func(context.Context, event.Sink) (Report, error) {
			b.ran = append(b.ran, t.name)
			if do := b.do[t.name]; do != nil {
				return do()
			}
			return Report{Processed: 1}, nil
		}})
	}
	return b
}

func TestTickRunsWhatIsDue(t *testing.T) {
	b := newBoard()
	b.store.tasks["walk"] = kvm.TaskRun{Started: minute.Add(-time.Minute), Finished: minute.Add(-50 * time.Second)}
	b.store.tasks["sweep"] = kvm.TaskRun{Started: minute.Add(-4 * time.Minute)}
	b.do["walk"] = func() (Report, error) {
		return Report{Processed: 2, Errors: 1, Results: []event.ServiceResult{{Service: 7, Action: "test"}, {Service: 3, Action: "test", Message: "no", From: "a", To: "b"}}}, nil
	}
	if err := b.Tick(t.Context(), Options{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"tick_started", "walk started", "walk ended: 2 processed, 1 errors", "result 7 test  ( -> )", "result 3 test no (a -> b)", "tick_ended"}
	if d := cmp.Diff(want, b.log.lines); d != "" {
		t.Fatal(d)
	}
	if got := b.store.tasks["walk"]; got.Result != "processed: 2, errors: 1" || !got.Started.Equal(minute) || !got.Finished.Equal(minute) {
		t.Fatalf("stored %+v", got)
	}
	if !slices.Equal(b.store.claims, []string{"walk me 1m0s"}) {
		t.Fatalf("claimed %v", b.store.claims)
	}
}

func TestTickOptions(t *testing.T) {
	recently := map[string]kvm.TaskRun{"walk": {Started: minute}, "sweep": {Started: minute}, "stats": {Started: minute}}
	for name, c := range map[string]struct {
		o      Options
		tasks  map[string]kvm.TaskRun
		taken  bool
		ran    []string
		claims []string
	}{
		"none due":             {tasks: recently},
		"never ran":            {tasks: map[string]kvm.TaskRun{}, ran: []string{"walk", "sweep"}, claims: []string{"walk me 1m0s", "sweep me 5m0s"}},
		"another host has it":  {tasks: map[string]kvm.TaskRun{}, taken: true, claims: []string{"walk me 1m0s", "sweep me 5m0s"}},
		"one task":             {o: Options{Task: "sweep"}, tasks: recently, ran: []string{"sweep"}, claims: []string{"sweep me 0s"}},
		"one that is off":      {o: Options{Task: "stats"}, tasks: recently, ran: []string{"stats"}, claims: []string{"stats me 0s"}},
		"forced":               {o: Options{Force: true}, tasks: recently, ran: []string{"walk", "sweep", "stats"}, claims: []string{"walk me 0s", "sweep me 0s", "stats me 0s"}},
		"without lock":         {o: Options{NoLock: true}, tasks: map[string]kvm.TaskRun{}, taken: true, ran: []string{"walk", "sweep"}},
		"without lock, forced": {o: Options{NoLock: true, Force: true}, tasks: recently, taken: true, ran: []string{"walk", "sweep", "stats"}},
		"without lock, no due": {o: Options{NoLock: true}, tasks: recently},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBoard()
			b.store.tasks, b.store.taken = map[string]kvm.TaskRun{}, c.taken
			for k, v := range c.tasks {
				b.store.tasks[k] = v
			}
			if err := b.Tick(t.Context(), c.o); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(b.ran, c.ran) || !slices.Equal(b.store.claims, c.claims) {
				t.Fatalf("ran %v, claimed %v", b.ran, b.store.claims)
			}
			if started := len(slices.DeleteFunc(slices.Clone(b.log.lines), func(s string) bool { return !strings.HasSuffix(s, " started") })); started != len(c.ran) {
				t.Fatalf("the log tells of %d tasks: %v", started, b.log.lines)
			}
		})
	}
}

func TestUnknownTask(t *testing.T) {
	b := newBoard()
	err := b.Tick(t.Context(), Options{Task: "sweeep"})
	if !errors.Is(err, kvm.ErrInvalid) || !strings.Contains(err.Error(), `"sweeep"`) || !strings.Contains(err.Error(), "walk, sweep, stats") {
		t.Fatal(err)
	}
	if len(b.ran) != 0 || len(b.log.lines) != 0 {
		t.Fatalf("ran %v, logged %v", b.ran, b.log.lines)
	}
}

// TestOneBadTaskStopsNoOther: a task that fails or panics is an error of the tick, and the others run all the same.
func TestOneBadTaskStopsNoOther(t *testing.T) {
	for name, do := range map[string]func() (Report, error){
		"fails":  func() (Report, error) { return Report{Processed: 1}, errGone },
		"panics": func() (Report, error) { panic(errGone) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBoard()
			b.do["walk"] = do
			err := b.Tick(t.Context(), Options{})
			if err == nil || !strings.Contains(err.Error(), "walk: ") || !strings.Contains(err.Error(), errGone.Error()) {
				t.Fatalf("the tick says %v", err)
			}
			if !slices.Equal(b.ran, []string{"walk", "sweep"}) || b.log.lines[len(b.log.lines)-1] != "tick_ended" {
				t.Fatalf("ran %v, logged %v", b.ran, b.log.lines)
			}
			if got := b.store.tasks["walk"].Result; !strings.HasSuffix(got, "errors: 1") {
				t.Fatalf("stored %q", got)
			}
			if stack := name == "panics"; stack != (len(b.warned) == 1 && strings.Contains(b.warned[0], "goroutine")) {
				t.Fatalf("warned %q", b.warned)
			}
		})
	}
}

func TestStoreFailsAtEachCall(t *testing.T) {
	for method, c := range map[string]struct{ ran, logged string }{
		"TaskRuns":    {"[]", "[]"},
		"ClaimTask":   {"[]", "[tick_started tick_ended]"},
		"FinishTasks": {"[walk sweep]", "[tick_started walk started walk ended: 1 processed, 0 errors sweep started sweep ended: 1 processed, 0 errors tick_ended]"},
	} {
		t.Run(method, func(t *testing.T) {
			b := newBoard()
			b.store.fail[method] = errGone
			if err := b.Tick(t.Context(), Options{}); !errors.Is(err, errGone) {
				t.Fatalf("the tick says %v", err)
			}
			if fmt.Sprint(b.ran) != c.ran || fmt.Sprint(b.log.lines) != c.logged {
				t.Fatalf("ran %v, logged %v", b.ran, b.log.lines)
			}
		})
	}
}

// TestTickAndASignal: the task in hand ends and is stored as ended, the next is not begun, the log is closed.
func TestTickAndASignal(t *testing.T) {
	b := newBoard()
	ctx, cancel := context.WithCancel(t.Context())
	b.do["walk"] = func() (Report, error) {
		cancel()
		return Report{Processed: 1}, nil
	}
	if err := b.Tick(ctx, Options{}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.ran, []string{"walk"}) || b.store.tasks["walk"].Finished.IsZero() || b.log.lines[len(b.log.lines)-1] != "tick_ended" {
		t.Fatalf("ran %v, stored %+v, logged %v", b.ran, b.store.tasks["walk"], b.log.lines)
	}
}

// TestQuietTask: a quiet task prints nothing unless it took something up, said something, or failed; that it ran is stored all the
// same, with others that had nothing to do in one write.
func TestQuietTask(t *testing.T) {
	for name, c := range map[string]struct {
		report  Report
		err     error
		says    bool
		printed bool
	}{
		"nothing to do": {},
		"took one up":   {report: Report{Processed: 1}, printed: true},
		"met an error":  {report: Report{Errors: 1}, printed: true},
		"failed":        {err: errGone, printed: true},
		"says a thing":  {report: Report{Processed: 1}, says: true, printed: true},
	} {
		b := newBoard()
		b.Tasks[0].Quiet, b.Tasks[1].Quiet = true, true
		b.do["sweep"] = func() (Report, error) { return Report{}, nil }
		run := b.Tasks[0].Run
		b.do["walk"] = func() (Report, error) { return c.report, c.err }
		b.Tasks[0].Run = func(ctx context.Context, sink event.Sink) (Report, error) {
			if c.says {
				sink.Emit(event.Said{Text: "hello"})
			}
			return run(ctx, sink)
		}
		if err := b.Tick(t.Context(), Options{}); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
		lines := strings.Join(b.log.lines, "\n")
		if got := strings.Contains(lines, "walk started") && strings.Contains(lines, "walk ended"); got != c.printed || strings.Contains(lines, "sweep") {
			t.Errorf("%s: logged\n%s", name, lines)
		}
		if c.says && strings.Index(lines, "walk started") > strings.Index(lines, "said") {
			t.Errorf("%s: logged\n%s", name, lines)
		}
		for _, task := range []string{"walk", "sweep"} {
			if b.store.tasks[task].Finished.IsZero() {
				t.Errorf("%s: that %s ended is not stored", name, task)
			}
		}
	}
}
