package cron

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Task is a row of the table of tasks.
type Task struct {
	Name     string
	Interval time.Duration // 0 = switched off
	// Quiet: nothing is printed of it unless it took something up or failed.
	Quiet bool
	Run   func(ctx context.Context, sink event.Sink) (Report, error)
}

// Report is what a task did.
type Report struct {
	Processed int // services that were taken up
	Errors    int
	Results   []event.ServiceResult
}

// Store keeps when tasks ran.
type Store interface {
	// TaskRuns is what is stored of all tasks, by name.
	TaskRuns(ctx context.Context) (map[string]kvm.TaskRun, error)
	// ClaimTask stores now as the task's start where it is still due: false = another host has started it.
	ClaimTask(ctx context.Context, name, owner string, now time.Time, interval time.Duration) (bool, error)
	// FinishTasks stores when tasks ended, and how.
	FinishTasks(ctx context.Context, owner string, ended ...kvm.TaskRun) error
}

// Options choose what a tick runs.
type Options struct {
	Task   string // only this one, whatever its interval
	Force  bool   // all, whatever their intervals
	NoLock bool   // without claiming the start
}

// Cron runs ticks.
type Cron struct {
	Store Store
	Clock clock.Clock
	Owner string // this process's claim token
	Tasks []Task
	Sink  event.Sink
	Warn  func(string)
}

// Tick runs the tasks that are due. An error says that the tick itself or a whole task could not run, which keeps no other
// task from running; what single services met is in the log alone.
func (c *Cron) Tick(ctx context.Context, o Options) error {
	tasks, err := c.chosen(o)
	if err != nil {
		return err
	}
	began := c.Clock.Now()
	last, err := c.Store.TaskRuns(ctx)
	if err != nil {
		return err
	}
	c.Sink.Emit(event.TickStarted{At: event.At{Time: began}})
	var errs []error
	var idle []kvm.TaskRun // stored together: a tick with nothing to do is what runs most
	for _, t := range tasks {
		if ctx.Err() != nil {
			break
		}
		ended, err := c.run(ctx, t, last[t.Name], o)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
		}
		if ended.Name != "" {
			idle = append(idle, ended)
		}
	}
	if len(idle) > 0 {
		errs = append(errs, c.finish(ctx, idle...))
	}
	now := c.Clock.Now()
	c.Sink.Emit(event.TickEnded{At: event.At{Time: now}, Took: now.Sub(began)})
	return errors.Join(errs...)
}

func (c *Cron) chosen(o Options) ([]Task, error) {
	if o.Task == "" {
		return c.Tasks, nil
	}
	i := slices.IndexFunc(c.Tasks, func(t Task) bool { return t.Name == o.Task })
	if i < 0 {
		var names []string
		for _, t := range c.Tasks {
			names = append(names, t.Name)
		}
		return nil, kvm.Errorf(kvm.ErrInvalid, "no task %q; there is %s", o.Task, strings.Join(names, ", "))
	}
	return c.Tasks[i : i+1], nil
}

// Due says whether a task that last started at started is due at now: by whole minutes, as cron counts.
func Due(started, now time.Time, interval time.Duration) bool {
	return started.IsZero() || now.Truncate(time.Minute).Sub(started.Truncate(time.Minute)) >= interval
}

// run runs a task that is due. idle is the end of one that had nothing to do, which is still to be stored; else it has no name.
func (c *Cron) run(ctx context.Context, t Task, last kvm.TaskRun, o Options) (idle kvm.TaskRun, err error) {
	began := c.Clock.Now()
	interval := t.Interval
	switch {
	case o.Task != "" || o.Force:
		interval = 0
	case t.Interval == 0, !Due(last.Started, began, t.Interval):
		return idle, nil
	}
	if !o.NoLock {
		won, err := c.Store.ClaimTask(ctx, t.Name, c.Owner, began, interval)
		if err != nil || !won {
			return idle, err
		}
	}
	head := sync.OnceFunc(func() {
		c.Sink.Emit(event.TaskStarted{At: event.At{Time: began}, Task: t.Name, Interval: t.Interval, Last: last.Finished})
	})
	if !t.Quiet {
		head()
	}
	report, err := c.guarded(ctx, t, event.SinkFunc(func(e event.Event) {
		head()
		c.Sink.Emit(e)
	}))
	if err != nil {
		report.Errors++
	}
	now := c.Clock.Now()
	at := event.At{Time: now}
	ended := kvm.TaskRun{Name: t.Name, Finished: now, Result: fmt.Sprintf("processed: %d, errors: %d", report.Processed, report.Errors)}
	if t.Quiet && report.Processed+report.Errors == 0 {
		return ended, nil
	}
	finished := c.finish(ctx, ended)
	head()
	c.Sink.Emit(event.TaskEnded{At: at, Task: t.Name, Took: now.Sub(began), Processed: report.Processed, Errors: report.Errors})
	for _, r := range report.Results {
		r.At = at
		c.Sink.Emit(r)
	}
	return idle, errors.Join(err, finished)
}

// finish stores the end of tasks.
func (c *Cron) finish(ctx context.Context, ended ...kvm.TaskRun) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return c.Store.FinishTasks(ctx, c.Owner, ended...)
}

func (c *Cron) guarded(ctx context.Context, t Task, sink event.Sink) (r Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.Warn(fmt.Sprintf("%s: panic: %v\n%s", t.Name, p, debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return t.Run(ctx, sink)
}
