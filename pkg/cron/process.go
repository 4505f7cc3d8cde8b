package cron

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// The names of the tasks, in their order.
const (
	ProcessTask   = "processVirtualMachines"
	SnapshotTask  = "removeOldSnapshots"
	RestoreTask   = "restoreBackupStatus"
	BackupTask    = "nowBackupStatus"
	ScheduledTask = "scheduleBackup"
)

// TaskOf is the task that works on the services which are going through p.
func TaskOf(p kvm.Phase) string {
	switch p {
	case kvm.PhaseRestore:
		return RestoreTask
	case kvm.PhaseBackup:
		return BackupTask
	case kvm.PhaseScheduled:
		return ScheduledTask
	}
	return ProcessTask
}

// lettingGo is how long the last write about a service may take, whatever became of the tick.
const lettingGo = 15 * time.Second

// Services is what processing needs of the database. See package whmcs for the claim's rules.
type Services interface {
	// Pending lists the services at one of statuses, those under way first, the oldest order first.
	Pending(ctx context.Context, statuses []kvm.Status, stuckAfter time.Duration) ([]kvm.Pending, error)
	Claim(ctx context.Context, service int64, owner, seen string) (bool, error)
	RenewClaims(ctx context.Context, owner string) error
	Release(ctx context.Context, service int64, owner, message string) error
	Service(ctx context.Context, id int64) (*kvm.Service, error)
	// TakeNote moves s to what was noted where that comes before its present row.
	TakeNote(ctx context.Context, s *kvm.Service) error
	// Alert tells the administrator once an episode that the service stays at status.
	Alert(ctx context.Context, service, client int64, status kvm.Status, text string, local time.Time) error
}

// Process walks the pending services through their pipelines.
type Process struct {
	Store      Services
	Pipelines  []*pipeline.Pipeline
	Engine     *pipeline.Engine
	Clock      clock.Clock
	Zone       *time.Location // of WHMCS, for what is written to its activity log
	Owner      string
	Workers    int
	AlertAfter time.Duration
	// Deliver sends the mails that are due. What keeps them from leaving is told by it and stops nothing here.
	Deliver func(ctx context.Context) error
	Warn    func(string)
	// Only, if not 0, is the one service to walk.
	Only int64

	second bool // another Process sends the mails that are due when there is nothing to walk
}

// Of is a Process that walks other pipelines, and sends mails only when it has walked something: else p does.
func (p *Process) Of(pls ...*pipeline.Pipeline) *Process {
	other := *p
	other.Pipelines, other.second = pls, true
	return &other
}

// pipelines are the tables by the statuses at which they have something to do.
type pipelines map[kvm.Status]*pipeline.Pipeline

// inOrder says whether a service at status has to pass its first row after the older ones.
func (t pipelines) inOrder(status kvm.Status) bool {
	return t[status] != nil && t[status].InOrder && t[status].Steps[0].From == status
}

// firstRow tells when the first row of a run is over. New services come one after the other that far, so that the oldest
// order gets the last address.
type firstRow struct {
	event.Sink
	over func()
}

func (f firstRow) Emit(e event.Event) {
	if _, ok := e.(event.StepEnded); ok {
		f.over()
	}
	f.Sink.Emit(e)
}

// result is what became of one service.
type result struct {
	taken bool // claimed and walked
	err   bool
	line  *event.ServiceResult // nil = it prints none
}

// Run is the task.
func (p *Process) Run(ctx context.Context, sink event.Sink) (Report, error) {
	table := pipelines{}
	var statuses []kvm.Status
	for _, pl := range p.Pipelines {
		for _, st := range pl.Statuses() {
			table[st] = pl
			statuses = append(statuses, st)
		}
	}
	list, err := p.Store.Pending(ctx, statuses, p.AlertAfter)
	if err != nil {
		return Report{}, err
	}
	if p.Only != 0 {
		list = only(list, p.Only)
	}
	var report Report
	if len(list) > 0 {
		report = p.walk(ctx, list, table, sink)
	}
	if ctx.Err() == nil && (len(list) > 0 || !p.second) {
		err = p.Deliver(ctx)
	}
	return report, err
}

func only(list []kvm.Pending, id int64) []kvm.Pending {
	for i := range list {
		if list[i].ID == id {
			return list[i : i+1]
		}
	}
	return nil
}

// maxInHand is how many services are in hand at once: those worked on, and those that wait for Proxmox or for a slot.
const maxInHand = 1000

// walk takes the services up in their order. One that only waits lends its worker to the next, so that Proxmox is what
// limits a tick; with one worker a service is finished before the next is begun.
func (p *Process) walk(ctx context.Context, list []kvm.Pending, table pipelines, sink event.Sink) Report {
	held, stop := keep(ctx, p.Store, p.Owner)
	defer stop()
	return reportOf(p.walkHeld(held, list, table, event.NewBlocks(sink, p.inHand(len(list)) == 1)))
}

// inHand is how many of n services are in hand at once.
func (p *Process) inHand(n int) int {
	if p.Workers <= 1 {
		return 1
	}
	return min(maxInHand, n)
}

// walkHeld is walk where the claims are kept by the caller: held ends when they could not be.
func (p *Process) walkHeld(held context.Context, list []kvm.Pending, table pipelines, blocks *event.Blocks) []result {
	workers, inHand := make(chan struct{}, max(p.Workers, 1)), p.inHand(len(list))
	working := held
	if cap(workers) > 1 {
		working = pipeline.WithWorkers(held, workers)
	}
	results := make([]result, len(list))
	places := make(chan struct{}, inHand)
	var before chan struct{} // closed when the new service before has begun
	var wg sync.WaitGroup
	for i, item := range list {
		places <- struct{}{}
		begun := func() {}
		if table.inOrder(item.Status) {
			if before != nil {
				<-before
			}
			mine := make(chan struct{})
			before, begun = mine, sync.OnceFunc(func() { close(mine) })
		}
		workers <- struct{}{}
		if held.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { begun(); <-workers; <-places }()
			results[i] = p.one(working, item, i, table, blocks, begun)
		})
	}
	wg.Wait()
	return results
}

// reportOf sums results up.
func reportOf(results []result) (report Report) {
	for _, r := range results {
		if r.taken {
			report.Processed++
		}
		if r.err {
			report.Errors++
		}
		if r.line != nil {
			report.Results = append(report.Results, *r.line)
		}
	}
	return report
}

// one claims and walks one service, the one at order in the list, and calls begun when its first row is over. Nothing that
// it meets, a panic included, is anybody else's matter.
func (p *Process) one(ctx context.Context, item kvm.Pending, order int, table pipelines, blocks *event.Blocks, begun func()) (res result) {
	claimed, message := false, ""
	defer func() {
		if r := recover(); r != nil {
			p.Warn(fmt.Sprintf("service %d: panic: %v\n%s", item.ID, r, debug.Stack()))
			message = fmt.Sprintf("panic: %v", r)
			res = failed(item, errors.New(message))
		}
		if claimed {
			p.release(ctx, item.ID, message)
		}
	}()
	won, err := p.Store.Claim(ctx, item.ID, p.Owner, item.Owner)
	if err != nil {
		return failed(item, err)
	}
	if !won {
		return result{}
	}
	claimed = true
	s, err := p.Store.Service(ctx, item.ID)
	if err != nil {
		message = err.Error()
		return failed(item, err)
	}
	s.Row.Owner, s.Order = p.Owner, order
	if err := p.Store.TakeNote(ctx, s); err != nil {
		message = err.Error()
		return failed(item, err)
	}
	pl := table[s.Row.Status]
	if pl == nil {
		return result{} // it was finished between the list and the claim
	}
	block := blocks.Open()
	defer block.Close()
	out := p.Engine.Run(ctx, pl, s, firstRow{block, begun})
	message, claimed = out.Message, s.Row.Owner != "" // a service that is ready has been let go
	if item.Stuck && !out.Complete && s.Row.Status == item.Status {
		p.alert(ctx, s, out.Message)
	}
	return resultOf(s, pl, out)
}

// resultOf is what became of s by a run of pl.
func resultOf(s *kvm.Service, pl *pipeline.Pipeline, out pipeline.Outcome) result {
	res := result{taken: true, err: out.Err != nil}
	if !out.Silent {
		line := event.ServiceResult{Service: s.ID, Action: pl.Action}
		if !out.Complete {
			line.Message, line.From, line.To, line.Took = out.Message, out.At, out.Wanted, out.Took
		}
		res.line = &line
	}
	return res
}

// release gives the claim up, also when ctx has ended.
func (p *Process) release(ctx context.Context, service int64, message string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lettingGo)
	defer cancel()
	if err := p.Store.Release(ctx, service, p.Owner, message); err != nil {
		p.Warn(err.Error())
	}
}

func (p *Process) alert(ctx context.Context, s *kvm.Service, message string) {
	text := fmt.Sprintf("VM of service #%d does not move: at %s for more than %s. %s", s.ID, s.Row.Status, p.AlertAfter, message)
	if err := p.Store.Alert(ctx, s.ID, s.ClientID, s.Row.Status, text, p.Clock.Now().In(p.Zone)); err != nil {
		p.Warn(err.Error())
	}
}

// failed is a service that could not even be taken up.
func failed(item kvm.Pending, err error) result {
	if errors.Is(err, context.Canceled) {
		return result{}
	}
	return result{taken: true, err: true, line: &event.ServiceResult{Service: item.ID, Action: "claim", Message: err.Error(), From: item.Status, To: item.Status}}
}
