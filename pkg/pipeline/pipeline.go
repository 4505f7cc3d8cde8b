package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// storePatience is how long a write may take whose effect outside has happened already: long enough for a database cluster
// to notice that a node of it died (5 s on Galera), well within the life of a claim.
const storePatience = 15 * time.Second

// Step is a row of a table.
type Step struct {
	Title    string
	From, To kvm.Status
	// OnFail is where the status goes when the row fails; "" = it stays at From.
	OnFail kvm.Status
	// Lasting is where it goes when the row fails so that waiting cannot mend it (kvm.Lasting); "" = as OnFail.
	Lasting kvm.Status
	// Alias: another's word for the status of a row that stands elsewhere in the table. It is not drawn.
	Alias bool
	Do    func(ctx context.Context, s *kvm.Service) (Result, error)
}

// Result is what a row that did not fail has to say.
type Result struct {
	// Note stands in brackets behind the title: "skip — no change".
	Note string
	// Wait names what the row waits on; the status stays.
	Wait string
	// To is where the status moves in place of the step's To: rows between the two have nothing to do.
	To kvm.Status
	// Silent: there was nothing to do, so the row is neither numbered nor printed, and the next one of its status follows.
	Silent bool
	// Commit moves the status together with what belongs into the same transaction. nil = Store.Move.
	Commit func(ctx context.Context) error
}

// Pipeline is a table.
type Pipeline struct {
	Name   string // in the log's block: Deploy
	Action string // in the log's sid line and the stored run: deploy
	Steps  []Step
	// Lines: in place of a block with its rows the log has a line for each thing that the rows say.
	Lines bool
	// Fail moves the status after a row has failed so that waiting cannot mend it; nil = Store.Move.
	Fail func(ctx context.Context, s *kvm.Service, to kvm.Status, message string) error
	// InOrder says that the first row takes what there may be too little of: services pass it one after the other, the
	// oldest order first. It must not wait for anything outside.
	InOrder bool
	// Check looks at the service before its block opens. A reason not to touch it (Proxmox has locked the VM) ends the
	// run without a line.
	Check func(ctx context.Context, s *kvm.Service) (reason string, err error)
}

// row is the index of the first row of status, or -1.
func (p *Pipeline) row(status kvm.Status) int {
	for i := range p.Steps {
		if p.Steps[i].From == status {
			return i
		}
	}
	return -1
}

// Statuses are those at which p has something to do, in order.
func (p *Pipeline) Statuses() []kvm.Status {
	var out []kvm.Status
	for i := range p.Steps {
		if i == 0 || p.Steps[i].From != p.Steps[i-1].From {
			out = append(out, p.Steps[i].From)
		}
	}
	return out
}

// Store is what the engine writes.
type Store interface {
	// Move stores s.Row.Status = to and the row's intents under the claim, ends its open task, and updates s. What run says
	// is stored with it, when run is not nil and has an ID. It is kvm.ErrMoved when the row is no longer at the status that
	// s says, or the claim no longer ours.
	Move(ctx context.Context, s *kvm.Service, to kvm.Status, run *kvm.Run) error
	// RecordRun stores r; the first time it gives it an ID. A run of no or one step that ended like the stored one before
	// it only raises that one's count.
	RecordRun(ctx context.Context, r *kvm.Run) error
}

// Outcome is how a run ended.
type Outcome struct {
	Complete bool
	Silent   bool // nothing was printed
	Err      error
	Message  string // why it stopped, "" = it did not
	// The row that stopped it: where the service stands now, where the row wanted it, and how long it took.
	At, Wanted kvm.Status
	Took       time.Duration
}

// Engine walks tables.
type Engine struct {
	Store Store
	Clock clock.Clock
	// Warn takes what went wrong beside the run: a run that could not be stored, the stack of a panic.
	Warn func(string)
}

// Run walks s, which the caller has claimed, from its status on, and tells sink. ctx ends it at the next safe point.
func (e *Engine) Run(ctx context.Context, p *Pipeline, s *kvm.Service, sink event.Sink) Outcome {
	first := p.row(s.Row.Status)
	run := &kvm.Run{ServiceID: s.ID, Action: p.Action, From: s.Row.Status, To: s.Row.Status, Started: e.Clock.Now(), Result: kvm.RunOpen}
	if first < 0 {
		return Outcome{Silent: true, At: s.Row.Status, Err: fmt.Errorf("%s has no row for the status %q", p.Name, s.Row.Status)}
	}
	if p.Check != nil {
		reason, err := p.guard(ctx, s)
		if reason != "" || err != nil {
			out := Outcome{Silent: reason != "", Message: reason, At: s.Row.Status, Wanted: p.Steps[first].To, Err: err}
			if err == nil {
				e.record(ctx, run, out)
				return out
			}
			// What could not even be looked at is an error of its first row, and is printed as that.
			return e.walk(ctx, p, s, sink, run, first, err)
		}
	}
	return e.walk(ctx, p, s, sink, run, first, nil)
}

func (p *Pipeline) guard(ctx context.Context, s *kvm.Service) (reason string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.Check(ctx, s)
}

func (e *Engine) walk(ctx context.Context, p *Pipeline, s *kvm.Service, sink event.Sink, run *kvm.Run, first int, failed error) Outcome {
	began := e.Clock.Now()
	at := func() event.At { return event.At{Time: e.Clock.Now()} }
	ctx = withTeller(ctx, teller{sink, e.Clock, s.ID, p.Lines})
	if p.Lines {
		sink.Emit(event.ActionStarted{At: at(), Service: s.ID, Action: p.Action})
	} else {
		sink.Emit(event.BlockStarted{At: at(), Pipeline: p.Name, Service: s.ID, VMID: s.Row.VMID, Status: s.Row.Status})
	}
	out := Outcome{Complete: true}
	for i := first; i >= 0 && out.Complete; i = p.after(i, s.Row.Status) {
		if ctx.Err() != nil {
			out = Outcome{Message: "interrupted", Err: interruption(ctx), At: s.Row.Status, Wanted: p.Steps[i].To}
			break
		}
		out = e.row(ctx, p, &p.Steps[i], s, sink, run, i == len(p.Steps)-1, failed)
		failed = nil
	}
	out.At = s.Row.Status
	if p.Lines {
		sink.Emit(event.ActionEnded{At: at(), Service: s.ID, Action: p.Action, Took: e.Clock.Now().Sub(began), Message: out.Message, Failed: out.Err != nil})
	} else {
		sink.Emit(event.BlockEnded{At: at(), Pipeline: p.Name, Service: s.ID, Status: s.Row.Status, Complete: out.Complete})
	}
	if !errors.Is(out.Err, kvm.ErrMoved) {
		run.To = s.Row.Status
		e.record(ctx, run, out)
	}
	return out
}

// after is the row that follows row i, which has left the service at status; -1 = none. The last row has none.
func (p *Pipeline) after(i int, status kvm.Status) int {
	if i+1 == len(p.Steps) {
		return -1
	}
	if p.Steps[i+1].From == status && !p.Steps[i+1].Alias {
		return i + 1
	}
	return p.row(status)
}

// row tries one row, perhaps the table's last; the outcome is complete when the status moved. failed, if any, is the error
// it failed with already.
func (e *Engine) row(ctx context.Context, p *Pipeline, st *Step, s *kvm.Service, sink event.Sink, run *kvm.Run, last bool, failed error) Outcome {
	began, n := e.Clock.Now(), len(run.Steps)+1
	res, err := Result{}, failed
	if err == nil {
		res, err = e.do(ctx, st, s)
	}
	if res.Silent && err == nil {
		return Outcome{Complete: true}
	}
	to := st.To
	if res.To != "" {
		to = res.To
	}
	took, stored := e.Clock.Now().Sub(began), false
	if err == nil && res.Wait == "" {
		if res.Commit != nil {
			err = e.commit(ctx, res.Commit)
			took = e.Clock.Now().Sub(began) // it is a part of the row's work
		} else {
			// The step is stored with the status that it led to: one statement, and neither without the other.
			done := *run
			done.To, done.Steps = to, append(slices.Clone(run.Steps), step(st, n, to, res, took, ""))
			err = e.commit(ctx, func(ctx context.Context) error { return e.Store.Move(ctx, s, to, &done) })
			stored = run.ID != 0
		}
	}
	out := Outcome{Complete: err == nil && res.Wait == "", Wanted: to, Took: took}
	switch {
	case out.Complete:
	case errors.Is(err, kvm.ErrAsked): // the row is done, and the service elsewhere
		out.Message = err.Error()
	case res.Wait != "" && err == nil:
		out.Message = "waiting on " + res.Wait
	case ctx.Err() != nil && !errors.Is(err, kvm.ErrMoved):
		out.Message, out.Err = "interrupted", interruption(ctx)
	case errors.Is(err, kvm.ErrBusy), errors.Is(err, kvm.ErrStillRunning):
		out.Message = "waiting on " + err.Error()
	default:
		out.Message, out.Err = words(err), err
		if moveErr := e.fail(ctx, p, st, s, err, out.Message); moveErr != nil {
			out.Message, out.Err = moveErr.Error(), moveErr
		}
	}
	if !p.Lines {
		sink.Emit(event.StepEnded{At: event.At{Time: e.Clock.Now()}, Service: s.ID, N: n, Title: st.Title, Note: res.Note,
			From: st.From, To: to, Took: took, Message: out.Message})
	}
	run.Steps = append(run.Steps, step(st, n, to, res, took, out.Message))
	if out.Complete {
		run.To = to
		if !stored && !last { // the last row is stored with the run's end
			e.store(ctx, run)
		}
	}
	return out
}

// fail moves the status where the step says that it goes after err.
func (e *Engine) fail(ctx context.Context, p *Pipeline, st *Step, s *kvm.Service, err error, message string) error {
	to := st.OnFail
	lasting := st.Lasting != "" && kvm.Lasting(err)
	if lasting {
		to = st.Lasting
	}
	if to == "" || to == st.From || errors.Is(err, kvm.ErrMoved) {
		return nil
	}
	move := func(ctx context.Context) error { return e.Store.Move(ctx, s, to, nil) }
	if lasting && p.Fail != nil {
		move = func(ctx context.Context) error { return p.Fail(ctx, s, to, message) }
	}
	err = e.commit(ctx, move)
	if errors.Is(err, kvm.ErrAsked) { // what was asked for is the way on
		return nil
	}
	return err
}

func step(st *Step, n int, to kvm.Status, res Result, took time.Duration, message string) kvm.RunStep {
	return kvm.RunStep{N: n, Title: st.Title, Note: res.Note, From: st.From, To: to, Message: message, Took: took}
}

// words are what err says and how to mend it, on one line.
func words(err error) string {
	if hint := kvm.Hint(err); hint != "" {
		return err.Error() + "; mend: " + hint
	}
	return err.Error()
}

func (e *Engine) do(ctx context.Context, st *Step, s *kvm.Service) (res Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			e.Warn(fmt.Sprintf("service %d, %s: panic: %v\n%s", s.ID, st.Title, r, debug.Stack()))
			res, err = Result{}, fmt.Errorf("panic: %v", r)
		}
	}()
	return st.Do(ctx, s)
}

// commit stores the new status. What it is for has happened, so a signal does not stop it.
func (e *Engine) commit(ctx context.Context, store func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	return store(ctx)
}

func (e *Engine) record(ctx context.Context, run *kvm.Run, out Outcome) {
	run.Ended, run.Message = e.Clock.Now(), out.Message
	switch {
	case out.Complete:
		run.Result = kvm.RunSuccess
	case out.Err != nil:
		run.Result = kvm.RunError
	default:
		run.Result = kvm.RunWaiting
	}
	e.store(ctx, run)
}

func (e *Engine) store(ctx context.Context, run *kvm.Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	if err := e.Store.RecordRun(ctx, run); err != nil {
		e.Warn(fmt.Sprintf("service %d: its run is not stored: %v", run.ServiceID, err))
	}
}

// interruption is why ctx ended: nil for a signal, which is no error of the service's, else the cause (a lost claim).
func interruption(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
