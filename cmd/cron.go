package cmd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/cron"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/puqkvm/puqkvm/pkg/stats"
	"github.com/puqkvm/puqkvm/pkg/transcript"
	"github.com/spf13/cobra"
)

func newCronCmd(a *app) *cobra.Command {
	var o cron.Options
	var list bool
	c := &cobra.Command{
		Use:   "cron",
		Short: "Run one tick: every task that is due",
		Long: `Run one tick: every task that is due. The system crontab runs it each minute.

The log goes to stdout, warnings to stderr. Two ticks may run at once, also on several hosts: none waits for another, and
no service is worked on twice.

Exit codes: 0 the tick ran, whatever single services met; else it could not run: 20 bad input or configuration, 30 the
tables need "puqkvm db migrate", 40 the database could not be reached, 1 interrupted or anything else.`,
		Example: `  * * * * * root puqkvm cron >> /var/log/puqkvm.log 2>&1     the crontab's line
  puqkvm cron --list
  puqkvm cron --task=processVirtualMachines`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if list {
				return runCronList(c.Context(), a)
			}
			return runCron(c.Context(), a, o)
		},
	}
	c.Flags().StringVar(&o.Task, "task", "", "run this task alone, whatever its interval")
	c.Flags().BoolVar(&o.Force, "force", false, "run all tasks, whatever their intervals")
	c.Flags().BoolVar(&o.NoLock, "no-lock", false, "do not claim the task's start (the claims of services always hold)")
	c.Flags().BoolVar(&list, "list", false, "show each task's interval, last run, and last result")
	oneOf(c, "task", "force", "list")
	return c
}

func runCron(ctx context.Context, a *app, o cron.Options) error {
	a.stream = true
	if err := a.open(ctx); err != nil {
		return err
	}
	if err := a.store.AddonCron(ctx); err != nil {
		return err
	}
	t, err := a.cron(ctx, 0)
	if err != nil {
		return err
	}
	err = t.Tick(ctx, o)
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// cron is the tick's machinery; only, if not 0, is the one service to walk.
func (a *app) cron(ctx context.Context, only int64) (*cron.Cron, error) {
	p, err := a.process(ctx, only)
	if err != nil {
		return nil, err
	}
	sink := transcript.Sink(a.Stdout, transcript.Text{Zone: a.settings.Zone})
	if a.output == "json" {
		sink = transcript.Sink(a.Stdout, transcript.JSON{})
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return nil, err
	}
	restores, backups, scheduled := p.Of(l.Restore()), p.Of(l.Backup()), a.scheduledBackups(l, p)
	p.Pipelines = slices.DeleteFunc(p.Pipelines, func(pl *pipeline.Pipeline) bool {
		return cron.TaskOf(kvm.Phase(pl.Action)) != cron.ProcessTask
	})
	for _, long := range []*cron.Process{restores, backups} {
		long.AlertAfter = max(long.AlertAfter, longTask)
	}
	every := a.settings.Intervals
	return &cron.Cron{Store: a.store, Clock: a.Clock, Owner: p.Owner, Sink: sink, Warn: a.warn, Tasks: []cron.Task{
		{Name: cron.ProcessTask, Interval: every[cron.ProcessTask], Run: p.Run},
		{Name: cron.SnapshotTask, Interval: every[cron.SnapshotTask], Quiet: true, Run: a.oldSnapshots(l, p.Owner).Run},
		{Name: cron.RestoreTask, Interval: every[cron.RestoreTask], Quiet: true, Run: restores.Run},
		{Name: cron.BackupTask, Interval: every[cron.BackupTask], Quiet: true, Run: backups.Run},
		{Name: cron.ScheduledTask, Interval: every[cron.ScheduledTask], Quiet: true, Run: scheduled.Run},
		{Name: stats.Task, Interval: every[stats.Task], Quiet: true, Run: a.statistics},
	}}, nil
}

// longTask is how long a backup or a restore may take before the administrator is told: what a big disk takes is no standstill.
const longTask = 6 * time.Hour

// scheduledBackups is the task that makes the backups which are due.
func (a *app) scheduledBackups(l *lifecycle.Lifecycle, p *cron.Process) *cron.Scheduled {
	walk := p.Of(l.ScheduledBackup())
	walk.AlertAfter = max(walk.AlertAfter, longTask)
	return &cron.Scheduled{Process: walk, PerNode: a.settings.BackupsPerNode, Wait: a.settings.CronWait, Begin: l.BeginScheduled, PassOver: l.PassOver,
		Due: func(ctx context.Context) ([]kvm.DueBackup, error) {
			return a.store.DueBackups(ctx, a.Clock.Now(), a.settings.Zone)
		},
		Free: func(ctx context.Context, server int64, node string) (int, error) {
			taken, err := a.store.SlotsTaken(ctx, server, lifecycle.BackupSlot, node)
			return a.settings.BackupsPerNode - taken, err
		}}
}

// oldSnapshots is the task that removes snapshots by their age.
func (a *app) oldSnapshots(l *lifecycle.Lifecycle, owner string) *cron.Sweep {
	return &cron.Sweep{Store: a.store, Owner: owner, Workers: a.settings.Workers, Action: "remove_old_snapshots", List: a.store.WithSnapshots,
		Do: func(ctx context.Context, s *kvm.Service, sink event.Sink) (bool, error) {
			removed, err := l.PruneSnapshots(ctx, s)
			for _, name := range removed {
				sink.Emit(event.Said{At: event.At{Time: a.Clock.Now()}, Service: s.ID, Text: "snapshot removed: " + name, Action: true})
			}
			return len(removed) > 0, err
		}}
}

// statistics is the task that counts traffic.
func (a *app) statistics(ctx context.Context, sink event.Sink) (cron.Report, error) {
	c := stats.Collector{Store: a.store, Clock: a.Clock, Cluster: func(ctx context.Context, id int64) (stats.Cluster, error) { return a.client(ctx, id) }}
	stored, failed, err := c.Run(ctx, sink)
	return cron.Report{Processed: stored, Errors: failed}, err
}

type listedTask struct {
	Task     string    `json:"task"`
	Interval int       `json:"interval_minutes"` // 0 = switched off
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Result   string    `json:"result"`
}

func runCronList(ctx context.Context, a *app) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	t, err := a.cron(ctx, 0)
	if err != nil {
		return err
	}
	last, err := a.store.TaskRuns(ctx)
	if err != nil {
		return err
	}
	out := []listedTask{}
	table := rows{head: []string{"TASK", "INTERVAL", "STARTED", "FINISHED", "RESULT"}}
	for _, task := range t.Tasks {
		l := last[task.Name]
		minutes := int(task.Interval / time.Minute)
		out = append(out, listedTask{task.Name, minutes, l.Started, l.Finished, l.Result})
		every := fmt.Sprintf("%dm", minutes)
		if minutes == 0 {
			every = "off"
		}
		table.body = append(table.body, []string{task.Name, every, a.when(l.Started), a.when(l.Finished), dash(l.Result)})
	}
	a.show(out, func() { table.print(a.Stdout) })
	return nil
}
