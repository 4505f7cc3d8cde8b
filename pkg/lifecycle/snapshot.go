package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// Snapshots are those of s's VM, the oldest first.
func (l *Lifecycle) Snapshots(ctx context.Context, s *kvm.Service) ([]kvm.Snapshot, error) {
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return nil, err
	}
	return c.Snapshots(ctx, vm)
}

// TakeSnapshot is a table of one row that begins and ends at ready: a snapshot of ours with the name, unless the package has
// room for no more.
func (l *Lifecycle) TakeSnapshot(name, description string) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		c, vm, err := l.observe(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		vm, list, err := l.settledSnapshots(ctx, c, s, vm)
		if err != nil {
			return pipeline.Result{}, err
		}
		have, quota := len(ours(list)), s.Package.Snapshots
		switch {
		case quota == 0:
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the package of service %d has no snapshots", s.ID), "puqkvm product set %d snapshots=N", s.ProductID)
		case have >= quota:
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has %d of %d snapshots", s.ID, have, quota), "puqkvm snapshot remove %d NAME", s.ID)
		}
		s.Row.OwnSnapshots = have + 1 // noted first, so that one which a killed run has made is found when its time is over
		if err := l.Store.Save(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
		err = l.begin(ctx, s, taskSnapshot, func(ctx context.Context) (kvm.UPID, error) { return c.CreateSnapshot(ctx, vm, name, description) })
		if err == nil {
			err = l.follow(ctx, c, s, taskSnapshot, l.Settings.Wait)
		}
		return pipeline.Result{}, err
	}
	return &pipeline.Pipeline{Name: "Snapshot", Action: "snapshot", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Ready, Title: "Take snapshot", To: kvm.Ready, Do: l.row(do)},
	}}
}

// RemoveSnapshot is a table of one row that begins and ends at ready: the snapshot is gone, whoever has made it.
func (l *Lifecycle) RemoveSnapshot(name string) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		s.Seen = nil // the proof is made right before what destroys
		c, vm, err := l.observe(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		vm, list, err := l.settledSnapshots(ctx, c, s, vm)
		if err != nil {
			return pipeline.Result{}, err
		}
		if !slices.ContainsFunc(list, func(snap kvm.Snapshot) bool { return snap.Name == name }) {
			s.Row.OwnSnapshots = len(ours(list)) // a removal that was cut off has perhaps noted neither this nor its task's end
			if err := l.Store.Save(ctx, s); err != nil {
				return pipeline.Result{}, err
			}
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d has no snapshot %q", s.ID, name), "puqkvm snapshot list %d", s.ID)
		}
		return pipeline.Result{}, l.removeSnapshot(ctx, c, s, vm, list, name)
	}
	return &pipeline.Pipeline{Name: "Snapshot", Action: "snapshot", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Ready, Title: "Remove snapshot", To: kvm.Ready, Do: l.row(do)},
	}}
}

// PruneSnapshots removes the snapshots of ours that are older than the package's lifetime, and says which. The service is at
// ready and held. A VM that Proxmox has locked is left for the next time.
func (l *Lifecycle) PruneSnapshots(ctx context.Context, s *kvm.Service) (removed []string, err error) {
	if s.Problem != nil || ended(s) != "" || s.Package.SnapshotLifetime == 0 {
		return nil, nil
	}
	c, vm, err := l.look(ctx, s)
	if err != nil || vm.VM().Lock != "" {
		return nil, err
	}
	vm, list, err := l.settledSnapshots(ctx, c, s, vm)
	if err != nil {
		return nil, err
	}
	now := l.Clock.Now()
	for _, snap := range ours(list) {
		if end, ok := snap.Expires(s.Package.SnapshotLifetime); !ok || now.Before(end) || snap.State != "" {
			continue
		}
		if len(removed) > 0 { // its removal may have taken long
			if _, vm, err = l.look(ctx, s); err != nil {
				return removed, err
			}
		}
		if err := l.removeSnapshot(ctx, c, s, vm, list, snap.Name); err != nil {
			return removed, err
		}
		removed = append(removed, snap.Name)
	}
	if have := len(ours(list)) - len(removed); have != s.Row.OwnSnapshots || len(removed) > 0 { // the last task has ended
		s.Row.OwnSnapshots = have
		return removed, l.Store.Save(context.WithoutCancel(ctx), s)
	}
	return removed, nil
}

// settledSnapshots are the VM's, the oldest first, when no task of ours is at work on it.
func (l *Lifecycle) settledSnapshots(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned) (kvm.Owned, []kvm.Snapshot, error) {
	vm, err := l.settled(ctx, c, s, vm)
	if err != nil {
		return vm, nil, err
	}
	list, err := c.Snapshots(ctx, vm)
	return vm, list, err
}

// removeSnapshot removes one of list.
func (l *Lifecycle) removeSnapshot(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned, list []kvm.Snapshot, name string) error {
	err := l.begin(ctx, s, taskSnapshot, func(ctx context.Context) (kvm.UPID, error) { return c.DeleteSnapshot(ctx, vm, name) })
	if err == nil {
		err = l.follow(ctx, c, s, taskSnapshot, l.Settings.Wait)
	}
	if err != nil && !errors.Is(err, kvm.ErrNotFound) {
		return fmt.Errorf("snapshot %s: %w", name, err)
	}
	s.Row.OwnSnapshots = len(slices.DeleteFunc(ours(list), func(snap kvm.Snapshot) bool { return snap.Name == name }))
	return nil
}

func ours(list []kvm.Snapshot) []kvm.Snapshot {
	return slices.DeleteFunc(slices.Clone(list), func(snap kvm.Snapshot) bool { return !snap.Ours() })
}
