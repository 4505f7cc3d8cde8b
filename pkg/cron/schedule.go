package cron

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Scheduled is the task that makes the backups which are due. A service whose backup cannot start yet stays where it is, so that it
// is nobody's hindrance: only when its node has a slot free is it taken up, the one that is due the longest first.
type Scheduled struct {
	// Process walks those that are under way; its one pipeline is that of a scheduled backup.
	Process *Process
	// Due are the services with a moment that has passed, the earliest first.
	Due func(ctx context.Context) ([]kvm.DueBackup, error)
	// Free is how many of the node's slots nobody holds.
	Free func(ctx context.Context, server int64, node string) (int, error)
	// Begin takes the moment up, or says what it waits on; see lifecycle.BeginScheduled.
	Begin func(ctx context.Context, s *kvm.Service, m kvm.Moment) (began bool, why string, err error)
	// PassOver notes that the moment needs no backup.
	PassOver func(ctx context.Context, s *kvm.Service, m kvm.Moment) error
	PerNode  int
	// Wait is for how long new ones are begun in one tick.
	Wait time.Duration
}

// place is a node of a cluster.
type place struct {
	server int64
	node   string
}

// Run is the task. Those under way and the nodes do not wait for each other.
func (t *Scheduled) Run(ctx context.Context, sink event.Sink) (Report, error) {
	p := t.Process
	pl := p.Pipelines[0]
	table := pipelines{}
	for _, st := range pl.Statuses() {
		table[st] = pl
	}
	underWay, err := p.Store.Pending(ctx, pl.Statuses(), p.AlertAfter)
	if err != nil {
		return Report{}, err
	}
	due, err := t.Due(ctx)
	if err != nil || len(underWay)+len(due) == 0 {
		return Report{}, err
	}
	began := p.Clock.Now()
	blocks := event.NewBlocks(sink, len(underWay)+len(due) == 1)
	byPlace, order := map[place][]kvm.DueBackup{}, []place{}
	var results gathered
	for _, d := range due {
		if d.Err != nil {
			results.add(result{taken: true, err: true, line: &event.ServiceResult{Service: d.Service, Action: pl.Action, Message: d.Err.Error(), From: kvm.Ready, To: kvm.ScheduledBackup}})
			continue
		}
		at := place{d.ServerID, d.Node}
		if byPlace[at] == nil {
			order = append(order, at)
		}
		byPlace[at] = append(byPlace[at], d)
	}
	held, stop := keep(ctx, p.Store, p.Owner)
	defer stop()
	var wg sync.WaitGroup
	if len(underWay) > 0 {
		wg.Go(func() {
			for _, r := range p.walkHeld(held, underWay, table, blocks) {
				results.add(r)
			}
		})
	}
	for _, at := range order {
		queue := make(chan kvm.DueBackup, len(byPlace[at]))
		for _, d := range byPlace[at] {
			queue <- d
		}
		close(queue)
		for range max(t.PerNode, 1) {
			wg.Go(func() {
				for d := range queue {
					if held.Err() != nil || p.Clock.Now().Sub(began) >= t.Wait {
						return
					}
					r, full := t.one(held, at, d, blocks)
					results.add(r)
					if full {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	return reportOf(results.sorted()), nil
}

// gathered are results of several goroutines.
type gathered struct {
	mu   sync.Mutex
	list []result
}

func (g *gathered) add(r result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = append(g.list, r)
}

// sorted are the results by service, so that the log does not depend on who was faster.
func (g *gathered) sorted() []result {
	slices.SortStableFunc(g.list, func(a, b result) int {
		if a.line == nil || b.line == nil {
			return 0
		}
		return int(a.line.Service - b.line.Service)
	})
	return g.list
}

// one takes up one service that is due at a node; full = the node has no slot free. Nothing that it meets, a panic included, is
// anybody else's matter.
func (t *Scheduled) one(ctx context.Context, at place, d kvm.DueBackup, blocks *event.Blocks) (res result, full bool) {
	p, pl := t.Process, t.Process.Pipelines[0]
	item := kvm.Pending{ID: d.Service, Status: kvm.Ready, Owner: d.Owner}
	claimed, message := false, ""
	defer func() {
		if r := recover(); r != nil {
			p.Warn(fmt.Sprintf("service %d: panic: %v\n%s", d.Service, r, debug.Stack()))
			res = failed(item, fmt.Errorf("panic: %v", r))
		}
		if claimed {
			p.release(ctx, d.Service, message)
		}
	}()
	if d.Made == "" {
		free, err := t.Free(ctx, at.server, at.node)
		if err != nil || free <= 0 {
			return failedOr(item, err), true
		}
	}
	won, err := p.Store.Claim(ctx, d.Service, p.Owner, d.Owner)
	if err != nil || !won {
		return failedOr(item, err), false
	}
	claimed = true
	s, err := p.Store.Service(ctx, d.Service)
	if err != nil {
		return failed(item, err), false
	}
	s.Row.Owner = p.Owner
	if s.Row.Status != kvm.Ready {
		message = s.Row.Message
		return result{}, false // it was asked for something meanwhile
	}
	if d.Made != "" {
		if err := t.PassOver(ctx, s, d.Moment); err != nil {
			return failed(item, err), false
		}
		return result{taken: true, line: &event.ServiceResult{Service: s.ID, Action: pl.Action, Skipped: "already_done_today, last:" + d.Made}}, false
	}
	began, why, err := t.Begin(ctx, s, d.Moment)
	switch {
	case errors.Is(err, kvm.ErrMoved), errors.Is(err, kvm.ErrAsked):
		claimed = s.Row.Owner != ""
		return result{}, false
	case err != nil:
		message = err.Error() // it stays due, and the row says why
		return failed(item, err), false
	case !began:
		if claimed = s.Row.Owner != ""; why != "" {
			message = "waiting on " + why
		}
		return result{}, false
	}
	block := blocks.Open()
	defer block.Close()
	out := p.Engine.Run(ctx, pl, s, block)
	message, claimed = out.Message, s.Row.Owner != ""
	return resultOf(s, pl, out), false
}

// failedOr is failed, or nothing where err is nil.
func failedOr(item kvm.Pending, err error) result {
	if err == nil {
		return result{}
	}
	return failed(item, err)
}
