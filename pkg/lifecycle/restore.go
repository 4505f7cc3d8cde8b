package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const taskRestore = "restore"

// Restore is the table that puts a backup in the place of the VM, makes it what its package says, and starts it. What can be seen
// to fail is refused while the VM runs; what is refused later, before anything was restored, leaves the VM as it was, but for its
// snapshots; one that fails on the way ends at error_restore.
func (l *Lifecycle) Restore() *pipeline.Pipeline {
	at := reapplied{kvm.RSRestored, kvm.RSCPURAM, kvm.RSSystemDiskSize, kvm.RSSystemDiskBandwidth, kvm.RSCreatedAdditionalDisk,
		kvm.RSAdditionalDiskSize, kvm.RSAdditionalDiskLimits, kvm.RSNetwork, kvm.RSFirewall, kvm.RSCloudinit, kvm.RSStarting}
	return &pipeline.Pipeline{Name: "Restore", Action: "restore", Check: l.checkToRestore, Fail: l.restoreFailed, Steps: append([]pipeline.Step{
		{From: kvm.Restore, Title: "Check backup", To: kvm.RSChecked, Lasting: kvm.Ready, Do: l.row(l.checkBackup)},
		{From: kvm.RSChecked, Title: "Stop VM", To: kvm.RSStopped, Do: l.row(l.stopVM)},
		{From: kvm.RSStopped, Title: "Remove snapshots", To: kvm.RSSnapshotsRemoved, Do: l.row(l.removeSnapshots)},
		{From: kvm.RSSnapshotsRemoved, Title: "Restore backup", To: kvm.RSRestored, Lasting: kvm.ErrorRestore, Do: l.row(l.restoreBackup)},
	}, at.rows(l, pipeline.Step{Title: "Verify running + Email", Do: l.row(l.verifyRestored)})...)}
}

// checkToRestore is check, but for the row that restores: it knows what a lock means that its own task has left. What else is
// wrong with the VM, that it is gone perhaps, the first row says, and goes back.
func (l *Lifecycle) checkToRestore(ctx context.Context, s *kvm.Service) (string, error) {
	switch s.Row.Status {
	case kvm.RSSnapshotsRemoved:
		return "", nil
	case kvm.Restore:
		return l.checkLock(ctx, s)
	}
	return l.check(ctx, s)
}

// restoreFailed goes where an administrator or the customer chooses what becomes of the VM, when it is not whole; else back.
func (l *Lifecycle) restoreFailed(ctx context.Context, s *kvm.Service, to kvm.Status, message string) error {
	if to != kvm.ErrorRestore {
		return l.backOut(ctx, s, to, message)
	}
	if !s.Row.RestoreFailed {
		to = kvm.Ready
	}
	return l.Store.GiveUp(ctx, s, to, "restore", message, l.Clock.Now().In(l.Zone))
}

// backOut is the Fail of what is refused at its first row: the service goes back to where it was.
func (l *Lifecycle) backOut(ctx context.Context, s *kvm.Service, to kvm.Status, _ string) error {
	if s.Row.RestoreFailed {
		to = kvm.ErrorRestore
	}
	return l.Store.Move(ctx, s, to, nil)
}

// CheckRestore says whether the backup can be put in the place of s's VM: it is the service's own, on a storage that the VM's node
// sees.
func (l *Lifecycle) CheckRestore(ctx context.Context, s *kvm.Service, volume string) error {
	c, vm, gone, err := l.find(ctx, s)
	switch {
	case err != nil:
		return err
	case gone:
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has no VM that a backup could be restored over", s.ID), "puqkvm reinstall %d --confirm REINSTALL, then restore", s.ID)
	case vm.VM().Protection:
		return kvm.WithHint(kvm.Errorf(kvm.ErrPermanent, "VM %d on %s is protected against removal", s.Row.VMID, vm.VM().Node),
			"take the protection off in Proxmox (qm set %d --protection 0), then ask again", s.Row.VMID)
	}
	_, err = l.toRestore(ctx, c, s, vm.VM().Node, volume)
	return err
}

// toRestore is the backup with its proof, read anew at node.
func (l *Lifecycle) toRestore(ctx context.Context, c Cluster, s *kvm.Service, node, volume string) (kvm.OwnedBackup, error) {
	b, err := l.archive(ctx, c, s, volume)
	if err != nil {
		return kvm.OwnedBackup{}, err
	}
	if b.Node != node {
		return kvm.OwnedBackup{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the backup %s is on %s, and VM %d on %s, which does not see it", volume, b.Node, s.Row.VMID, node),
			"bring the VM to %s in Proxmox first", b.Node)
	}
	if err := c.Inside(ctx, &b); err != nil {
		return kvm.OwnedBackup{}, err
	}
	return kvm.ProveBackup(&b, &s.Row)
}

func (l *Lifecycle) checkBackup(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return pipeline.Result{}, l.CheckRestore(ctx, s, s.Row.From)
}

// restoreBackup puts the backup in the place of the stopped VM. A request whose answer was lost may be sent again: what it does
// ends the same, and while it is at work the VM is locked. As long as none was sent (RestoreFailed) the disks are whole: what is
// refused for good then leaves the VM started as it was.
func (l *Lifecycle) restoreBackup(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	res, err := l.restoreFrom(ctx, s)
	switch {
	case !kvm.Lasting(err), s.Row.RestoreFailed:
		return res, err
	case errors.Is(err, kvm.ErrForeign), errors.Is(err, kvm.ErrUnproved): // then nothing is known of the service's own
		s.Row.RestoreFailed = true
		return res, err
	}
	rests := ""
	if started, err := l.startVM(ctx, s); err != nil || started.Wait != "" {
		rests = fmt.Sprintf(", and that it does not run (puqkvm start %d)", s.ID)
	}
	return res, fmt.Errorf("nothing was restored, and VM %d is as it was, but for its snapshots%s: %w", s.Row.VMID, rests, err)
}

func (l *Lifecycle) restoreFrom(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	s.Seen = nil // the proof is made right before what destroys
	c, vm, gone, err := l.find(ctx, s)
	if err == nil && gone {
		err = unrestored(s, errors.New("there is no VM any more"))
	}
	if err != nil {
		return pipeline.Result{}, err
	}
	if vm, err = l.settled(ctx, c, s, vm, taskRestore); err != nil {
		return pipeline.Result{}, err
	}
	archive, err := l.toRestore(ctx, c, s, vm.VM().Node, s.Row.From)
	if err != nil && s.Row.TaskUPID == "" {
		return pipeline.Result{}, err
	}
	if s.Row.TaskUPID == "" && vm.VM().Lock != "" {
		if res, err := l.runningRestore(ctx, c, s, vm.VM()); err != nil || res.Wait != "" {
			return res, err
		}
	}
	if s.Row.TaskUPID == "" {
		if _, err := l.halt(ctx, c, s, vm); err != nil { // somebody may have started it meanwhile
			return pipeline.Result{}, err
		}
		if _, vm, err = l.look(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
		if err := l.sendRestore(ctx, c, s, vm, archive); err != nil {
			return pipeline.Result{}, err
		}
	}
	err = l.follow(ctx, c, s, taskRestore, l.Settings.Wait)
	switch {
	case s.Row.TaskUPID != "":
		return pipeline.Result{}, err // it has not ended, or nobody knows
	case errors.Is(err, kvm.ErrBusy), errors.Is(err, kvm.ErrState): // it has not begun
		return pipeline.Result{}, err
	case err != nil:
		return pipeline.Result{}, unrestored(s, err)
	}
	if _, vm, err = l.look(ctx, s); err != nil {
		return pipeline.Result{}, err
	}
	s.Row.UUID, s.Row.RestoreFailed, s.Row.OwnSnapshots, s.Row.ISOBoot = vm.VM().UUID, false, 0, ""
	findAdditionalDisk(s, vm.VM())
	return pipeline.Result{}, nil
}

// sendRestore requests the restore from Proxmox. That the disks may not be whole is stored before; it is taken back where the
// request was refused, and none was ever sent.
func (l *Lifecycle) sendRestore(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned, archive kvm.OwnedBackup) error {
	first := !s.Row.RestoreFailed
	if first {
		s.Row.RestoreFailed = true
		if err := l.Store.Save(ctx, s); err != nil {
			return err
		}
	}
	err := l.begin(ctx, s, taskRestore, func(ctx context.Context) (kvm.UPID, error) { return c.Restore(ctx, vm, archive) })
	if err == nil || !first || s.Row.TaskUPID != "" || errors.Is(err, kvm.ErrUnknown) {
		return err
	}
	s.Row.RestoreFailed = false
	if saveErr := l.Store.Save(context.WithoutCancel(ctx), s); saveErr != nil {
		return saveErr
	}
	return err
}

// runningRestore looks for the task that has locked the VM to be restored: ours is taken over, an administrator's is waited for. A
// lock that nothing is at work under was left by a task that died.
func (l *Lifecycle) runningRestore(ctx context.Context, c Cluster, s *kvm.Service, vm *kvm.VM) (pipeline.Result, error) {
	wait := pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", s.Row.VMID, vm.Lock)}
	tasks, err := c.Running(ctx, vm.Node, s.Row.VMID)
	if err != nil || vm.Lock != "create" {
		return wait, err
	}
	own, err := c.OwnTasks(ctx, vm.Node, s.Row.VMID, "qmrestore")
	if err != nil {
		return wait, err
	}
	i := slices.IndexFunc(tasks, func(t kvm.Task) bool {
		return slices.ContainsFunc(own, func(o kvm.Task) bool { return o.UPID == t.UPID })
	})
	switch {
	case i >= 0:
		s.Row.TaskKind, s.Row.TaskUPID = taskRestore, string(tasks[i].UPID)
		return pipeline.Result{}, l.Store.Save(ctx, s)
	case len(tasks) > 0:
		return wait, nil
	}
	s.Row.RestoreFailed = true
	return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrPermanent, "VM %d: a restore has died and left the lock %q", s.Row.VMID, vm.Lock),
		"on %s: qm unlock %d; then restore again, or reinstall", vm.Node, s.Row.VMID)
}

// unrestored is why a restore that had begun has failed, and the ways out.
func unrestored(s *kvm.Service, err error) error {
	s.Row.RestoreFailed = true
	return kvm.WithHint(kvm.Errorf(kvm.ErrPermanent, "VM %d was not restored, and its disks are not whole: %w", s.Row.VMID, err),
		"puqkvm backup restore %d VOLID --confirm RESTORE, or puqkvm reinstall %d --confirm REINSTALL", s.ID, s.ID)
}

// verifyRestored sees the VM run, and puts the mail into the outbox together with the status.
func (l *Lifecycle) verifyRestored(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return l.verifyAndTell(ctx, s, "restored", s.Package.MailBackupRestored)
}
