package cron

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

func TestProcessWalksInOrder(t *testing.T) {
	y := newYard(t, 7, 3, 5)
	r := y.run(t)
	if r.Processed != 3 || r.Errors != 0 || len(r.Results) != 3 || y.mails != 1 {
		t.Fatalf("%+v, mails delivered %d times", r, y.mails)
	}
	if !slices.Equal(y.did, []int64{7, 3, 5}) {
		t.Fatalf("taken up in the order %v", y.did)
	}
	y.end(t, map[int64]kvm.Status{7: kvm.Ready, 3: kvm.Ready, 5: kvm.Ready})
}

func TestNothingPending(t *testing.T) {
	y := newYard(t)
	if r := y.run(t); r.Processed != 0 || y.mails != 1 {
		t.Fatalf("%+v, mails delivered %d times", r, y.mails)
	}
}

// TestProcessWorksOnSeveral: as many as there are workers are in hand at once and no more, and the results stand in the
// list's order although the services end in another.
func TestProcessWorksOnSeveral(t *testing.T) {
	y := newYard(t, 1, 2, 3, 4, 5, 6, 7)
	y.Workers = 3
	in := make(chan int64, 7)
	out := make(map[int64]chan struct{})
	for _, r := range y.store.rows {
		out[r.ID] = make(chan struct{})
	}
	y.Pipelines[0].Steps[1].Do = func(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
		in <- s.ID
		<-out[s.ID]
		return pipeline.Result{}, nil
	}
	done := make(chan Report)
	go func() {
		r, err := y.Run(t.Context(), &y.log)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	var held []int64
	for range 3 {
		held = append(held, <-in)
	}
	for left := 7; left > 0; left-- {
		select {
		case id := <-in:
			t.Fatalf("service %d was taken up while %v are in hand by 3 workers", id, held)
		default:
		}
		last := held[len(held)-1]
		held = held[:len(held)-1]
		close(out[last])
		if left > 3 {
			held = append(held, <-in)
		}
	}
	r := <-done
	var order []int64
	for _, line := range r.Results {
		order = append(order, line.Service)
	}
	if !slices.Equal(order, []int64{1, 2, 3, 4, 5, 6, 7}) {
		t.Fatalf("results in the order %v", order)
	}
}

// TestWaitingLendsTheWorker: a service that waits for Proxmox keeps no worker from the others, and goes on when one is free.
func TestWaitingLendsTheWorker(t *testing.T) {
	y := newYard(t, 1, 2, 3, 4, 5)
	y.Workers = 2
	var at, most atomic.Int32
	working := func() { most.Store(max(most.Load(), at.Add(1))) }
	all := make(chan struct{})
	var waiting atomic.Int32
	y.Pipelines[0].Steps[1].Do = func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		working()
		defer at.Add(-1)
		return pipeline.Result{}, pipeline.Waiting(ctx, func() error {
			at.Add(-1)
			defer at.Add(1)
			if waiting.Add(1) == 5 {
				close(all)
			}
			<-all
			return nil
		})
	}
	if r := y.run(t); r.Processed != 5 || r.Errors != 0 {
		t.Fatalf("%+v", r)
	}
	if most.Load() > 2 {
		t.Errorf("%d services were worked on at once by 2 workers", most.Load())
	}
}

// TestNewServicesComeInTheirOrder: of new services the oldest order passes its first row first, however many workers there
// are; a service under way holds none of them up.
func TestNewServicesComeInTheirOrder(t *testing.T) {
	y := newYard(t, 1, 2, 3, 4, 5, 6, 7, 8)
	y.Workers = 8
	y.store.rows[0].Status = "b"
	others := make(chan struct{})
	y.Pipelines[0].Steps[1].Do = func(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
		if s.ID == 1 {
			<-others
		}
		if s.ID == 8 {
			close(others)
		}
		return pipeline.Result{}, nil
	}
	if r := y.run(t); r.Processed != 8 || r.Errors != 0 {
		t.Fatalf("%+v", r)
	}
	if !slices.Equal(y.did, []int64{2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("the first rows were done in the order %v", y.did)
	}
}

// TestPassedOver: what another process holds is not waited for and counts for nothing; what a dead one held is taken.
func TestPassedOver(t *testing.T) {
	y := newYard(t, 1, 2, 3)
	y.store.rows[0].Owner, y.store.rows[2].Owner = "another", "dead"
	r := y.run(t)
	if r.Processed != 2 || r.Errors != 0 || len(r.Results) != 2 || !slices.Equal(y.did, []int64{2, 3}) {
		t.Fatalf("%+v after %v", r, y.did)
	}
	if slices.Contains(y.log.lines, "block 1") || y.store.rows[0].Owner != "another" || y.store.rows[0].released {
		t.Fatalf("the service of another process was touched: %v", y.log.lines)
	}
	y.end(t, map[int64]kvm.Status{1: "a", 2: kvm.Ready, 3: kvm.Ready})
}

// TestFinishedMeanwhile: between the list and the claim another process has brought the service to its end.
func TestFinishedMeanwhile(t *testing.T) {
	y := newYard(t, 1, 2)
	y.rows(func(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
		if s.ID == 1 {
			y.store.mu.Lock()
			y.store.rows[1].Status = kvm.Ready
			y.store.mu.Unlock()
		}
		return pipeline.Result{}, nil
	})
	if r := y.run(t); r.Processed != 1 || r.Errors != 0 || len(r.Results) != 1 {
		t.Fatalf("%+v", r)
	}
	y.end(t, map[int64]kvm.Status{1: kvm.Ready, 2: kvm.Ready})
}

// TestOneBadServiceStopsNoOther is guarantee G6 for what one service can meet.
func TestOneBadServiceStopsNoOther(t *testing.T) {
	broken := errors.New("panic")
	for name, c := range map[string]struct {
		fail    map[string]error
		do      func(context.Context, *kvm.Service) (pipeline.Result, error)
		message string // on the service's row
		line    string
		claimed bool // it could not be let go
	}{
		"claim fails":    {fail: map[string]error{"Claim 2": errGone}, line: "result 2 claim the database is gone (a -> a)"},
		"claim panics":   {fail: map[string]error{"Claim 2": broken}, line: "result 2 claim panic: the driver broke (a -> a)"},
		"loading fails":  {fail: map[string]error{"Service 2": errGone}, message: "the database is gone", line: "result 2 claim the database is gone (a -> a)"},
		"loading panics": {fail: map[string]error{"Service 2": broken}, message: "panic: the driver broke", line: "result 2 claim panic: the driver broke (a -> a)"},
		"release fails":  {fail: map[string]error{"Release 2": errGone}, line: "result 2 test no such thing (a -> b)", claimed: true},
		"row fails":      {message: "no such thing", line: "result 2 test no such thing (a -> b)"},
		"row panics": {do: func(context.Context, *kvm.Service) (pipeline.Result, error) { panic("boom") },
			message: "panic: boom", line: "result 2 test panic: boom (a -> b)"},
	} {
		for _, workers := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d workers", name, workers), func(t *testing.T) {
				y := newYard(t, 1, 2, 3)
				y.Workers = workers
				if c.fail != nil {
					y.store.fail = c.fail
				}
				y.rows(func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
					switch {
					case s.ID != 2:
						return pipeline.Result{}, nil
					case c.do != nil:
						return c.do(ctx, s)
					}
					return pipeline.Result{}, errors.New("no such thing")
				})
				r := y.run(t)
				for _, line := range r.Results {
					y.log.Emit(line)
				}
				if r.Processed != 3 || r.Errors != 1 || !slices.Contains(y.log.lines, c.line) || y.mails != 1 {
					t.Fatalf("%+v, mails delivered %d times\n%s", r, y.mails, strings.Join(y.log.lines, "\n"))
				}
				bad := y.store.row(2)
				if bad.message != c.message {
					t.Errorf("the row says %q, want %q", bad.message, c.message)
				}
				if c.claimed {
					if bad.Owner != "me" || len(y.warned) != 1 {
						t.Errorf("claimed by %q, warned %q", bad.Owner, y.warned)
					}
					bad.Owner = ""
				}
				if strings.Contains(c.line, "panic") && (len(y.warned) != 1 || !strings.Contains(y.warned[0], "goroutine")) {
					t.Errorf("no stack of the panic was told: %q", y.warned)
				}
				y.end(t, map[int64]kvm.Status{1: kvm.Ready, 2: "a", 3: kvm.Ready})
			})
		}
	}
}

func TestListFails(t *testing.T) {
	y := newYard(t, 1)
	y.store.fail["Pending"] = errGone
	if _, err := y.Run(t.Context(), &y.log); !errors.Is(err, errGone) || len(y.did) != 0 {
		t.Fatalf("%v after %v", err, y.did)
	}
}

func TestDeliverFails(t *testing.T) {
	y := newYard(t, 1)
	y.Deliver = func(context.Context) error { return errGone }
	r, err := y.Run(t.Context(), &y.log)
	if !errors.Is(err, errGone) || r.Processed != 1 || r.Errors != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	y.end(t, map[int64]kvm.Status{1: kvm.Ready})
}

func TestOnly(t *testing.T) {
	y := newYard(t, 1, 2, 3)
	y.Only = 2
	if r := y.run(t); r.Processed != 1 || !slices.Equal(y.did, []int64{2}) {
		t.Fatalf("%+v after %v", r, y.did)
	}
	y.end(t, map[int64]kvm.Status{1: "a", 2: kvm.Ready, 3: "a"})
	y.Only = 9
	if r := y.run(t); r.Processed != 0 || !slices.Equal(y.did, []int64{2}) {
		t.Fatalf("%+v after %v", r, y.did)
	}
}

// TestAlert: a service that is stuck and still stands where it stood is told of; one that moved is not.
func TestAlert(t *testing.T) {
	y := newYard(t, 1, 2, 3)
	for _, r := range y.store.rows {
		r.Stuck = r.ID != 3
	}
	y.rows(func(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
		if s.ID == 2 {
			return pipeline.Result{}, nil
		}
		return pipeline.Result{}, errors.New("no such thing")
	})
	y.store.fail["Alert 1"] = errGone
	y.run(t)
	want := "1 42 a: VM of service #1 does not move: at a for more than 15m0s. no such thing"
	if !slices.Equal(y.store.alerts, []string{want}) {
		t.Fatalf("alerts %q", y.store.alerts)
	}
	if !slices.Equal(y.warned, []string{errGone.Error()}) {
		t.Fatalf("warned %q", y.warned)
	}
	y.run(t)
	if len(y.store.alerts) != 1 {
		t.Fatalf("the second tick tells again: %q", y.store.alerts)
	}
}

// TestLockedIsSilent: a service whose VM Proxmox has locked is counted and not printed; its row says why.
func TestLockedIsSilent(t *testing.T) {
	y := newYard(t, 1, 2)
	y.Pipelines[0].Check = func(_ context.Context, s *kvm.Service) (string, error) {
		if s.ID == 1 {
			return "waiting on VM 101: locked by Proxmox (backup)", nil
		}
		return "", nil
	}
	r := y.run(t)
	if r.Processed != 2 || r.Errors != 0 || len(r.Results) != 1 || r.Results[0].Service != 2 {
		t.Fatalf("%+v", r)
	}
	if slices.Contains(y.log.lines, "block 1") {
		t.Fatalf("the locked service has a block: %v", y.log.lines)
	}
	if m := y.store.row(1).message; m != "waiting on VM 101: locked by Proxmox (backup)" {
		t.Fatalf("its row says %q", m)
	}
	y.end(t, map[int64]kvm.Status{1: "a", 2: kvm.Ready})
}

// TestASignal: what is in hand ends its row and lets go, what is not is not begun, and no mail is sent any more.
func TestASignal(t *testing.T) {
	y := newYard(t, 1, 2, 3)
	ctx, cancel := context.WithCancel(t.Context())
	y.rows(func(context.Context, *kvm.Service) (pipeline.Result, error) {
		cancel()
		return pipeline.Result{}, nil
	})
	r, err := y.Run(ctx, &y.log)
	if err != nil || r.Errors != 0 || y.mails != 0 || !slices.Equal(y.did, []int64{1}) {
		t.Fatalf("%+v, %v, did %v, mails delivered %d times", r, err, y.did, y.mails)
	}
	if last := y.log.lines[len(y.log.lines)-1]; last != "end 1 false" {
		t.Fatalf("the block is not closed: %v", y.log.lines)
	}
	y.end(t, map[int64]kvm.Status{1: "b", 2: "a", 3: "a"})
}

// TestAPanicBesideARow: also when the row was long left, a panic of the machinery is that service's error alone.
func TestAPanicBesideARow(t *testing.T) {
	y := newYard(t, 1, 2)
	r, err := y.Run(t.Context(), event.SinkFunc(func(e event.Event) {
		if end, ok := e.(event.BlockEnded); ok && end.Service == 1 {
			panic("the log broke")
		}
	}))
	if err != nil || r.Processed != 2 || r.Errors != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	y.end(t, map[int64]kvm.Status{1: kvm.Ready, 2: kvm.Ready})
}
