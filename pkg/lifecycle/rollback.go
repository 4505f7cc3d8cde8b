package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const taskRollback = "rollback"

// Rollback is the table that brings a VM back to a snapshot, makes it what its package says, and starts it. What forbids it, also
// a storage that goes back to its newest snapshot alone, leaves the disks as they are.
func (l *Lifecycle) Rollback() *pipeline.Pipeline {
	at := reapplied{kvm.RBRolledBack, kvm.RBCPURAM, kvm.RBSystemDiskSize, kvm.RBSystemDiskBandwidth, kvm.RBCreatedAdditionalDisk,
		kvm.RBAdditionalDiskSize, kvm.RBAdditionalDiskLimits, kvm.RBNetwork, "", kvm.RBCloudinit, kvm.RBStarting}
	return &pipeline.Pipeline{Name: "Rollback", Action: "rollback", Check: l.check, Steps: append([]pipeline.Step{
		{From: kvm.Rollback, Title: "Check snapshot", To: kvm.RBChecked, Lasting: kvm.Ready, Do: l.row(l.checkSnapshot)},
		{From: kvm.RBChecked, Title: "Stop VM", To: kvm.RBStopped, Do: l.row(l.stopVM)},
		// When it cannot be, the VM is started as it was.
		{From: kvm.RBStopped, Title: "Roll back", To: kvm.RBRolledBack, Lasting: kvm.RBCloudinit, Do: l.row(l.rollBack)},
	}, at.rows(l, pipeline.Step{Title: "Verify VM", Do: l.row(l.verify)})...)}
}

// CheckRollback says whether s's VM can go back to the snapshot: it is there and whole, and no disk would be lost from the VM's
// configuration by it.
func (l *Lifecycle) CheckRollback(ctx context.Context, s *kvm.Service, name string) error {
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return err
	}
	list, err := c.Snapshots(ctx, vm)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(snap kvm.Snapshot) bool { return snap.Name == name })
	switch {
	case i < 0:
		return noSnapshot(s, name)
	case list[i].State != "":
		return kvm.Errorf(kvm.ErrRefused, "the snapshot %s of service %d is not whole (%s)", name, s.ID, list[i].State)
	}
	then, err := c.SnapshotDisks(ctx, vm, name)
	if errors.Is(err, kvm.ErrNotFound) {
		return noSnapshot(s, name)
	}
	if err != nil {
		return err
	}
	var later []string
	for _, d := range vm.VM().Disks {
		if !slices.ContainsFunc(then, func(t kvm.Disk) bool { return t.Slot == d.Slot && t.Volume == d.Volume }) {
			later = append(later, d.Slot)
		}
	}
	if len(later) > 0 {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the disk %s of service %d came after the snapshot %s: the VM would lose it", strings.Join(later, ", "), s.ID, name),
			"detach that disk in Proxmox first, when it is not needed")
	}
	return nil
}

func noSnapshot(s *kvm.Service, name string) error {
	return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d has no snapshot %q", s.ID, name), "puqkvm snapshot list %d", s.ID)
}

func (l *Lifecycle) checkSnapshot(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return pipeline.Result{}, l.CheckRollback(ctx, s, s.Row.From)
}

// rollBack brings the stopped VM back. It may be repeated: nothing has started the VM since.
func (l *Lifecycle) rollBack(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	s.Seen = nil // the proof is made right before what destroys
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	sent := s.Row.TaskUPID != "" && s.Row.TaskKind == taskRollback
	if vm, err = l.settled(ctx, c, s, vm, taskRollback); err != nil {
		return pipeline.Result{}, err
	}
	if !sent {
		// Somebody may have started it meanwhile.
		if _, err := l.halt(ctx, c, s, vm); err != nil {
			return pipeline.Result{}, err
		}
		if _, vm, err = l.look(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
		if lock := vm.VM().Lock; lock != "" {
			return pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", s.Row.VMID, lock)}, nil
		}
		name := s.Row.From
		if err := l.begin(ctx, s, taskRollback, func(ctx context.Context) (kvm.UPID, error) { return c.Rollback(ctx, vm, name) }); err != nil {
			return pipeline.Result{}, err
		}
	}
	err = l.follow(ctx, c, s, taskRollback, l.Settings.Wait)
	if errors.Is(err, kvm.ErrTaskFailed) && !errors.Is(err, kvm.ErrBusy) && !errors.Is(err, kvm.ErrUnknown) {
		err = kvm.Errorf(kvm.ErrPermanent, "snapshot %s: %w", s.Row.From, err)
	}
	if err != nil {
		return pipeline.Result{}, err
	}
	s.Row.ISOBoot = "" // the boot order is the one of then
	_, _, err = l.look(ctx, s)
	return pipeline.Result{}, err
}
