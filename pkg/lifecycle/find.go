package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// cloneDoubt is how long a clone request without an answer may still be on its way inside of Proxmox: its proxy hands
// nothing on for longer than 30 s. What a node that has hung for minutes makes even later is a VM that nobody starts, with
// our mark on it, under a VMID that rests.
const cloneDoubt = 40 * time.Second

// find is observe for what destroys: the VM with its proof, or gone = it is proved that the service has none. Everything
// else is an error: that nobody can see the VM is no proof. Right before what destroys, s.Seen is nil: the proof is new.
func (l *Lifecycle) find(ctx context.Context, s *kvm.Service) (c Cluster, vm kvm.Owned, gone bool, err error) {
	switch unproved := s.Row.UUID == "" && len(s.Row.UUIDs) == 0; {
	case unproved && s.Row.Legacy:
		return nil, kvm.Owned{}, false, kvm.WithHint(kvm.Errorf(kvm.ErrUnproved, "VM %d: no UUID is stored for this service, so nothing proves that the VM is its own", s.Row.VMID), "puqkvm adopt %d", s.ID)
	case unproved && !s.Row.CloneSent:
		return nil, kvm.Owned{}, true, nil // it never had one
	}
	if c, err = l.cluster(ctx, s); err != nil {
		return nil, kvm.Owned{}, false, err
	}
	switch {
	case s.Row.UUID == "" && !s.Row.CloneSent: // what it had is gone, and nothing new was asked for
		return c, kvm.Owned{}, true, nil
	case s.Row.UUID == "":
		if gone, err = l.resolveClone(ctx, c, s); gone || err != nil {
			return c, kvm.Owned{}, gone, err
		}
	}
	_, vm, err = l.observe(ctx, s)
	switch {
	case errors.Is(err, kvm.ErrNotHere):
		gone, absentErr := l.absent(ctx, c, s)
		if gone || absentErr != nil {
			return c, kvm.Owned{}, gone, absentErr
		}
	case errors.Is(err, kvm.ErrForeign): // which a cluster that is not the VM's own cannot say
		if strange := l.home(ctx, c, s); strange != nil && !errors.Is(strange, kvm.ErrDenied) {
			err = strange
		} else if kvm.Hint(err) == "" {
			err = kvm.WithHint(err, "look for the service's own VM in Proxmox; when it is gone: puqkvm vm forget %d --confirm FORGET", s.ID)
		}
	}
	return c, vm, false, err
}

// absent says whether it is proved that the cluster has no guest of the row's VMID: it is the cluster that the VM was made
// in, it is quorate, and nextid, which sees all guests whatever the token may see, calls the VMID free.
func (l *Lifecycle) absent(ctx context.Context, c Cluster, s *kvm.Service) (bool, error) {
	free, err := c.Free(ctx, s.Row.VMID)
	if err != nil {
		return false, err
	}
	// Asked last: where the node that we talked to has died meanwhile, it is the next one's standing that counts.
	if err := l.home(ctx, c, s); err != nil {
		return false, err
	}
	if free && s.Row.Cluster == "" {
		return false, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "VM %d is not here, and which cluster it was made in is not stored: whether it is gone is not known", s.Row.VMID),
			"look for it in Proxmox; when it is gone: puqkvm vm forget %d --confirm FORGET", s.ID)
	}
	return free, nil
}

// home is an error unless c is, as far as is known, the cluster that s's VM was made in, and quorate: what it says of a VM
// proves nothing else.
func (l *Lifecycle) home(ctx context.Context, c Cluster, s *kvm.Service) error {
	st, err := c.Standing(ctx)
	switch {
	case err != nil:
		return err
	case s.Row.Cluster != "" && st.Cluster != s.Row.Cluster:
		return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "VM %d was made in the cluster %q, and WHMCS server %d leads to %q: whether the VM is gone is not known", s.Row.VMID, s.Row.Cluster, s.Row.ServerID, st.Cluster),
			"give WHMCS server %d its former address again, or, when that cluster is no more: puqkvm vm forget %d --confirm FORGET", s.Row.ServerID, s.ID)
	case !st.Quorate:
		return kvm.Errorf(kvm.ErrUnreachable, "the cluster %q has no quorum: whether VM %d is gone is not known", st.Cluster, s.Row.VMID)
	}
	return nil
}

// findLate is find that gives a clone which was sent and never seen the time to appear: the request may have got no answer
// because it still waits for its turn.
func (l *Lifecycle) findLate(ctx context.Context, s *kvm.Service) (vm kvm.Owned, gone bool, err error) {
	_, vm, gone, err = l.find(ctx, s)
	if gone && err == nil && s.Row.UUID == "" && s.Row.CloneSent {
		if err := pipeline.Waiting(ctx, func() error { return l.Clock.Sleep(ctx, cloneDoubt) }); err != nil {
			return vm, false, err
		}
		_, vm, gone, err = l.find(ctx, s)
	}
	return vm, gone, err
}

// resolveClone finds out what became of a clone that was sent and never seen through. Ours is taken over: its UUID is
// stored. gone = none of ours is there.
func (l *Lifecycle) resolveClone(ctx context.Context, c Cluster, s *kvm.Service) (gone bool, err error) {
	// How its task ended, if it is known, is seen by what is there.
	if err := l.follow(ctx, c, s, taskClone, l.Settings.Wait); err != nil && !errors.Is(err, kvm.ErrTaskFailed) && !errors.Is(err, kvm.ErrUnknown) {
		return false, err
	}
	if gone, err = l.absent(ctx, c, s); gone || err != nil {
		return gone, err
	}
	vm, err := l.readClone(ctx, c, s)
	switch {
	case errors.Is(err, kvm.ErrForeign): // a container
		return true, nil
	case errors.Is(err, kvm.ErrDenied):
		return false, fmt.Errorf("VM %d exists and cannot be read, so it is not known whether it is our clone: %w", s.Row.VMID, err)
	case err != nil:
		return false, err
	case vm.Lock != "":
		return false, kvm.Errorf(kvm.ErrBusy, "VM %d: locked by Proxmox (%s)", vm.VMID, vm.Lock)
	case vm.Description == kvm.Mark(l.Installation, s.ID):
		if _, err := l.adoptClone(ctx, c, s, vm); err != nil {
			return false, err
		}
		return false, l.Store.Save(ctx, s)
	case vm.Name == s.Row.Name:
		return false, kvm.Errorf(kvm.ErrAdmin, "VM %d on %s has our name %s but not our mark; an administrator must look whose it is", vm.VMID, vm.Node, vm.Name)
	}
	return true, nil // somebody else was faster with the VMID
}

// settle waits for a task that an earlier pipeline has left open, however it ends, also for a backup whose answer was lost.
func (l *Lifecycle) settle(ctx context.Context, c Cluster, s *kvm.Service) error {
	if s.Row.TaskUPID == "" && s.Row.BackupSent != "" {
		if err := l.resolveBackup(ctx, c, s); err != nil {
			return err
		}
	}
	if s.Row.TaskUPID == "" {
		return nil
	}
	kind, id := s.Row.TaskKind, s.Row.TaskUPID
	err := l.follow(ctx, c, s, kind, l.Settings.Wait)
	if kind == taskVzdump && s.Row.TaskUPID == "" { // what it has made is the service's, whatever comes now
		made, noteErr := l.noteBackup(ctx, c, s, kvm.UPID(id))
		if noteErr == nil && !made && errors.Is(err, kvm.ErrUnknown) {
			_, noteErr = l.noteForgotten(ctx, c, s, kvm.UPID(id), func(b kvm.Backup) bool { return b.Time.Sub(kvm.UPID(id).Started()) <= madeAtOnce })
		}
		if noteErr != nil {
			s.Row.TaskKind, s.Row.TaskUPID = kind, id
			return errors.Join(noteErr, l.Store.Save(context.WithoutCancel(ctx), s))
		}
		s.Row.BackupSent = ""
	}
	if errors.Is(err, kvm.ErrTaskFailed) || errors.Is(err, kvm.ErrUnknown) || errors.Is(err, kvm.ErrChanged) {
		err = nil
	}
	if err == nil && s.Row.TaskUPID == "" { // what is asked for next may be refused, and write nothing
		return l.Store.Save(context.WithoutCancel(ctx), s)
	}
	return err
}

// settled is settle for what goes on to touch vm: the wait may have been long, so after one the VM is proved anew. Tasks of
// kinds are left to the caller.
func (l *Lifecycle) settled(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned, kinds ...string) (kvm.Owned, error) {
	open := s.Row.TaskKind
	if s.Row.TaskUPID == "" && s.Row.BackupSent != "" {
		open = taskVzdump
	}
	if s.Row.TaskUPID == "" && s.Row.BackupSent == "" || slices.Contains(kinds, open) {
		return vm, nil
	}
	if err := l.settle(ctx, c, s); err != nil {
		return vm, err
	}
	_, vm, err := l.look(ctx, s)
	return vm, err
}
