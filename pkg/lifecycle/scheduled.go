package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// backupRetry is the pause before a scheduled backup that failed is made again: one that fails late keeps a node busy for hours,
// and others wait for that.
const backupRetry = time.Hour

// scheduledNote begins the note of a scheduled backup; its day follows.
const scheduledNote = "Scheduled backup "

// ScheduledBackup is the table that makes the backup of a schedule's moment.
func (l *Lifecycle) ScheduledBackup() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "ScheduledBackup", Action: "scheduled_backup", Check: l.check, Fail: l.scheduledFailed, Steps: []pipeline.Step{
		{From: kvm.ScheduledBackup, Title: "Create backup", To: kvm.Ready, Lasting: kvm.Ready, Do: l.row(l.backUpScheduled)},
	}}
}

// BeginScheduled takes up the moment m of the schedule of s, which is at ready and held: from here on it is in hand. began is
// false where there is nothing to do, or it cannot start now: then it stays due, and why is what it waits on ("" = nothing).
func (l *Lifecycle) BeginScheduled(ctx context.Context, s *kvm.Service, m kvm.Moment) (began bool, why string, err error) {
	switch {
	case !m.Time.After(s.Row.BackupMoment) && (s.Row.BackupAfter.IsZero() || l.Clock.Now().Before(s.Row.BackupAfter)):
		return false, "", nil // another process was faster
	case m.Date <= s.Row.BackupDate: // so was one with another moment of the day
		return false, "", nil
	case s.Problem != nil:
		return false, "", s.Problem
	case ended(s) != "":
		return false, ended(s), nil
	case s.Package.Backups == 0:
		return false, "", l.passOver(ctx, s, m)
	}
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return false, "", err
	}
	if lock := vm.VM().Lock; lock != "" {
		return false, fmt.Sprintf("VM %d: locked by Proxmox (%s)", s.Row.VMID, lock), nil
	}
	if err := backupStorage(ctx, c, s, vm.VM().Node); err != nil {
		if errors.Is(err, kvm.ErrBusy) {
			return false, err.Error(), nil
		}
		return false, "", err
	}
	write, before := context.WithoutCancel(ctx), s.Row.BackupMoment
	s.Row.SetDoubtful(m.Time.After(before)) // else what an earlier try may have made is this moment's
	s.Row.BackupMoment, s.Row.BackupDay = m.Time, m.Date
	if err := l.Store.Move(write, s, kvm.ScheduledBackup, nil); err != nil {
		return false, "", err
	}
	// A slot is the status's, so it can only be taken now. Of two processes that have both seen it free one goes back: whoever waits
	// for a slot here is in its customer's way.
	taken, err := l.Store.TakeSlot(write, s, BackupSlot, vm.VM().Node, l.Settings.BackupsPerNode, 0)
	if taken || err != nil {
		return taken, "", err
	}
	s.Row.BackupMoment = before
	if err := l.Store.Move(write, s, kvm.Ready, nil); err != nil {
		return false, "", err
	}
	return false, fmt.Sprintf("one of the %d %s slots of %s, which others have in use", l.Settings.BackupsPerNode, BackupSlot, vm.VM().Node), nil
}

// PassOver notes that the moment m of s's schedule needs no backup: the day has one.
func (l *Lifecycle) PassOver(ctx context.Context, s *kvm.Service, m kvm.Moment) error {
	return l.passOver(ctx, s, m)
}

func (l *Lifecycle) passOver(ctx context.Context, s *kvm.Service, m kvm.Moment) error {
	s.Row.BackupMoment, s.Row.BackupAfter = m.Time, time.Time{}
	return l.Store.Save(ctx, s)
}

// backUpScheduled makes the backup of the schedule's moment, for which the oldest goes. Its day has its backup then; one that
// failed is made again later.
func (l *Lifecycle) backUpScheduled(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if s.Package.Backups == 0 && s.Row.TaskUPID == "" && s.Row.BackupSent == "" {
		return skip("skip — the package has no backups")
	}
	res, err := l.makeBackup(ctx, s, scheduledNote+s.Row.BackupDay, l.makeRoom)
	switch {
	case err == nil && res.Wait == "":
		s.Row.BackupDate, s.Row.BackupAfter = s.Row.BackupDay, time.Time{}
	case err != nil && kvm.Lasting(err):
		s.Row.BackupAfter = l.Clock.Now().Add(backupRetry)
	}
	return res, err
}

// scheduledFailed moves the service back and tells the administrator.
func (l *Lifecycle) scheduledFailed(ctx context.Context, s *kvm.Service, to kvm.Status, message string) error {
	return l.Store.GiveUp(ctx, s, to, "scheduled backup", message, l.Clock.Now().In(l.Zone))
}
