package cmd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/cron"
	"github.com/puqkvm/puqkvm/pkg/explain"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/spf13/cobra"
)

func newExplainCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "explain SID", Short: "Say why a service does not move, and the next command to type",
		Long: `Show on one screen what is known of a service: WHMCS's row, ours, the VM as Proxmox has it, its addresses, its mails, its last
run; why it does not move; and the next command to type. It changes nothing. Of a VM that is not proved to be the service's
it shows node, name and UUID alone. A Proxmox that does not answer is given up after api.timeout.

Exit codes: 0 all is well; 10 it moves, or waits for something that will pass; 20 no such service; 30 an administrator must
act; 40 Proxmox or the database could not be reached.`,
		Example: "  puqkvm explain 5546\n  puqkvm explain 5546 --output json", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runExplain(c.Context(), a, id)
		},
	}
}

// explained is `explain`.
type explained struct {
	explain.Facts
	Diagnosis explain.Diagnosis `json:"diagnosis"`
}

func runExplain(ctx context.Context, a *app, id int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	facts, err := a.facts(ctx, id)
	if err != nil {
		return err
	}
	out := explained{*facts, explain.Diagnose(facts)}
	if out.Diagnosis.Class == explain.NoService {
		return kvm.WithHint(out.Diagnosis.Err(), "%s", out.Diagnosis.Next[0].Line)
	}
	a.show(out, func() { a.printExplained(out) })
	if err := out.Diagnosis.Err(); err != nil {
		return errPrinted{err}
	}
	return nil
}

// facts gathers what is known of the service id.
func (a *app) facts(ctx context.Context, id int64) (*explain.Facts, error) {
	sheet, err := a.store.Sheet(ctx, id)
	if err != nil {
		return nil, err
	}
	f := &explain.Facts{Service: id, Addresses: []explain.Address{}, Zones: []string{}, Mails: []explain.Mail{},
		Cluster: explain.Cluster{Offline: []string{}}, VM: explain.VM{Whose: kvm.WhoseNone, Tasks: []explain.Task{}}}
	if sheet.Hosting {
		f.WHMCS = &explain.WHMCS{State: sheet.State, Client: sheet.ClientID, Product: sheet.ProductID, Name: sheet.Product, Module: sheet.Module,
			Ours: sheet.Ours, Server: sheet.ServerID, Domain: sheet.Domain}
	}
	for _, ad := range sheet.Addresses {
		state := ad.State
		if state == "" {
			state = explain.Unclaimed
		}
		f.Addresses = append(f.Addresses, explain.Address{Address: ad.Address, State: state, Bridge: ad.Bridge, VLAN: ad.VLAN, Gateway: ad.Gateway,
			Bits: ad.Bits, Pool: ad.Pool, Other: ad.Other})
	}
	for _, m := range sheet.Mails {
		f.Mails = append(f.Mails, explain.Mail{Name: m.Name, State: m.State, Attempts: m.Attempts, Created: m.Created, Error: m.Error})
	}
	zones, err := a.store.Zones(ctx)
	if err != nil {
		return nil, err
	}
	for _, z := range zones {
		f.Zones = append(f.Zones, z.Name)
	}
	records, err := a.store.DNSRecords(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		switch r.State {
		case kvm.DNSSet:
			f.DNS.Set++
		case kvm.DNSDue:
			f.DNS.Due++
		case kvm.DNSGone:
			f.DNS.Gone++
		}
	}
	s, err := a.store.Service(ctx, id)
	switch {
	case errors.Is(err, kvm.ErrNotFound):
		return f, a.cronFacts(ctx, sheet, f)
	case err != nil:
		return nil, err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return nil, err
	}
	f.Row = rowFacts(s, sheet, l)
	if err := a.cronFacts(ctx, sheet, f); err != nil {
		return nil, err
	}
	runs, err := a.store.Runs(ctx, id)
	switch {
	case err != nil:
		a.warn(err.Error())
	case len(runs) > 0:
		f.LastRun = &runs[0]
	}
	if err := a.poolFacts(ctx, s, f); err != nil {
		return nil, err
	}
	a.liveFacts(ctx, l, s, f)
	return f, nil
}

func (a *app) cronFacts(ctx context.Context, sheet whmcs.Sheet, f *explain.Facts) error {
	runs, err := a.store.TaskRuns(ctx)
	if err != nil {
		return err
	}
	task := cron.ProcessTask
	if f.Row != nil {
		task = cron.TaskOf(f.Row.Phase)
	}
	last := runs[task]
	f.Cron = explain.Cron{Task: task, Interval: int64(a.settings.Intervals[task] / time.Second), Started: last.Started, Result: last.Result}
	if !last.Started.IsZero() {
		f.Cron.Ago = int64(a.Clock.Now().Sub(last.Started) / time.Second)
	}
	if sheet.Addon != nil {
		f.Cron.Addon, f.Cron.Mend = sheet.Addon.Error(), kvm.Hint(sheet.Addon)
	}
	return nil
}

func rowFacts(s *kvm.Service, sheet whmcs.Sheet, l *lifecycle.Lifecycle) *explain.Row {
	r := s.Row
	out := &explain.Row{Status: r.Status, Phase: r.Status.Phase(), Next: nextRow(l, r.Status), Since: r.Since, Seconds: int64(sheet.Age / time.Second),
		Suspended: r.Suspended, Noted: r.Noted, VMID: r.VMID, Name: r.Name, Server: r.ServerID, Cluster: r.Cluster, Node: r.Node, UUID: r.UUID,
		Earlier: []string{}, Legacy: r.Legacy, MAC: r.MAC, Template: r.Template, TaskKind: r.TaskKind, Task: kvm.UPID(r.TaskUPID), Message: r.Message}
	for _, u := range r.UUIDs {
		if !strings.EqualFold(u, r.UUID) {
			out.Earlier = append(out.Earlier, u)
		}
	}
	if out.Template == 0 {
		out.Template = s.Package.Template
	}
	if s.Problem != nil {
		out.Problem, out.Mend = s.Problem.Error(), kvm.Hint(s.Problem)
	}
	if h := sheet.Holder; h != nil {
		out.Holder = &explain.Holder{Host: h.Host, PID: h.PID, Alive: h.Holds(), Left: max(0, int64(h.Left/time.Second))}
	}
	return out
}

// nextRow is the title of the row that status waits for.
func nextRow(l *lifecycle.Lifecycle, status kvm.Status) string {
	for _, p := range l.Pipelines() {
		for _, st := range p.Steps {
			if st.From == status {
				return st.Title
			}
		}
	}
	return ""
}

// poolFacts tries whether the pools have what the next row will take from them, and takes nothing.
func (a *app) poolFacts(ctx context.Context, s *kvm.Service, f *explain.Facts) error {
	if s.Row.Status != kvm.Creation && s.Row.Status != kvm.ChangePackage || s.Problem != nil {
		return nil
	}
	pools, taken, err := a.store.PoolsWithTaken(ctx, s.Row.ServerID)
	if err == nil {
		err = lifecycle.Allots(s, pools, taken)
	}
	if errors.Is(err, kvm.ErrUnreachable) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		f.NoAddress = err.Error()
	}
	return nil
}

const (
	tasksShown = 3
	linesShown = 3
)

// liveFacts asks Proxmox, for no longer than one request may take. What it does not say is an error among the facts.
func (a *app) liveFacts(ctx context.Context, l *lifecycle.Lifecycle, s *kvm.Service, f *explain.Facts) {
	if s.Row.Status == kvm.Remove {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.settings.APITimeout)
	defer cancel()
	see := l.Sight(ctx, s)
	v := &f.VM
	v.Whose, v.Node, v.Power = see.Whose, see.Node, see.Power
	failed := func(err error) {
		if err != nil && v.Err == nil {
			v.Err, v.Error, v.Mend = err, err.Error(), kvm.Hint(err)
		}
	}
	failed(see.Err)
	if see.Standing.Cluster != "" {
		f.Cluster = explain.Cluster{Name: see.Standing.Cluster, Quorate: &see.Standing.Quorate, Offline: append([]string{}, see.Standing.Offline...)}
	}
	if see.Node != "" {
		v.NodeOnline = &see.NodeUp
	}
	if see.VM != nil {
		v.Name, v.UUID = see.VM.Name, see.VM.UUID
	}
	if v.Whose == kvm.WhoseForeign {
		others, err := a.store.ServicesOf(ctx, v.UUID)
		if err != nil {
			a.warn(err.Error())
		}
		v.Others = slices.DeleteFunc(others, func(id int64) bool { return id == s.ID })
	}
	if v.Whose == kvm.WhoseOwn {
		v.Lock, v.Protection = see.VM.Lock, see.VM.Protection
	}
	if see.Standing.Cluster == "" {
		return // nobody there to ask for tasks
	}
	server := s.Row.ServerID
	if server == 0 {
		server = s.ServerID
	}
	if v.Whose == kvm.WhoseOwn {
		failed(a.taskFacts(ctx, server, s.Row.VMID, v))
	}
	if s.Row.TaskUPID != "" {
		a.openTask(ctx, server, kvm.UPID(s.Row.TaskUPID), v)
	}
}

// taskFacts reads the tasks of the service's own VM that run.
func (a *app) taskFacts(ctx context.Context, server int64, vmid int, v *explain.VM) error {
	c, err := a.client(ctx, server)
	if err != nil {
		return err
	}
	tasks, err := c.Running(ctx, v.Node, vmid)
	if err != nil {
		return err
	}
	for i, t := range tasks {
		task := explain.Task{UPID: t.UPID, Type: t.Type, User: t.User, Started: t.Started, State: explain.TaskRunning, Log: []string{}}
		if i < tasksShown {
			if log, err := c.TaskLog(ctx, t.UPID, linesShown); err == nil { // a log that cannot be read is not shown
				task.Log = log
			}
		}
		v.Tasks = append(v.Tasks, task)
	}
	return nil
}

// openTask looks how the row's own task is.
func (a *app) openTask(ctx context.Context, server int64, id kvm.UPID, v *explain.VM) {
	v.Open = &explain.Task{UPID: id, State: explain.TaskUnknown, Log: []string{}}
	if f := strings.Split(string(id), ":"); len(f) > 5 {
		v.Open.Type = f[5]
	}
	for _, t := range v.Tasks {
		if t.UPID == id {
			*v.Open = t
			return
		}
	}
	c, err := a.client(ctx, server)
	if err != nil {
		return
	}
	log, err := c.TaskLog(ctx, id, linesShown)
	if err != nil {
		return
	}
	v.Open.Log = log
	switch err := c.Wait(ctx, id, 0); {
	case err == nil, errors.Is(err, kvm.ErrTaskFailed):
		v.Open.State = explain.TaskEnded
	case errors.Is(err, kvm.ErrStillRunning):
		v.Open.State = explain.TaskRunning
	}
}
