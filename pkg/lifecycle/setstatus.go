package lifecycle

import (
	"context"
	"errors"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// settable are the statuses that an administrator may set by hand.
func settable() []kvm.Status {
	return []kvm.Status{kvm.Creation, kvm.SetIP, kvm.ChangePackage, kvm.SetDNSRecords, kvm.Ready, kvm.Terminate, kvm.Remove}
}

// Settable says why no administrator sets the status to by hand, nil = one may.
func Settable(to kvm.Status) error {
	var names []string
	for _, st := range settable() {
		if st == to {
			return nil
		}
		names = append(names, string(st))
	}
	return kvm.Errorf(kvm.ErrInvalid, "the status %q is not set by hand; those that are: %s", to, strings.Join(names, ", "))
}

// MaySet says why the status of s, held by its claim, must not be to, nil = it may. A VM that has passed the gate is on the
// row after it.
func (l *Lifecycle) MaySet(ctx context.Context, s *kvm.Service, to kvm.Status) error {
	if err := Settable(to); err != nil {
		return err
	}
	if s.Row.Status == kvm.Remove {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has no VM any more; a new one is ordered", s.ID), "puqkvm create %d", s.ID)
	}
	switch to {
	case kvm.Creation, kvm.SetIP:
		return l.beforeClone(s, to)
	case kvm.ChangePackage, kvm.SetDNSRecords, kvm.Ready:
		return l.proved(ctx, s, to)
	case kvm.Remove:
		gone, err := l.Gone(ctx, s)
		if err == nil && !gone {
			err = kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "VM %d of service %d is there: remove is for a VM that is proved to be gone", s.Row.VMID, s.ID), "puqkvm terminate %d", s.ID)
		}
		return err
	}
	return nil // terminate looks for itself
}

// Gone says whether it is proved that s has no VM. An error is no proof of anything.
func (l *Lifecycle) Gone(ctx context.Context, s *kvm.Service) (bool, error) {
	s.Seen = nil
	_, _, gone, err := l.find(ctx, s)
	return gone, err
}

// beforeClone refuses what would make a second VM, or one without addresses.
func (l *Lifecycle) beforeClone(s *kvm.Service, to kvm.Status) error {
	fresh := len(s.Row.UUIDs) == 0 || s.Row.Status.Phase() == kvm.PhaseDeploy // else it had a VM, which is being destroyed
	switch {
	case s.Row.Legacy:
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d: the PHP module may have made its VM: %s would make a second one", s.ID, to), "puqkvm adopt %d", s.ID)
	case s.Row.CloneSent || s.Row.UUID != "" || !fresh:
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d: a clone was, or may have been, sent for it: %s would make a second VM", s.ID, to),
			"puqkvm redeploy %d --confirm REDEPLOY destroys the VM and begins again", s.ID)
	case s.Problem != nil:
		return s.Problem
	}
	if v4, v6 := wanted(s.Package.Network); to == kvm.SetIP && !holds(s, v4, v6) {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has not its addresses yet: %s would make a VM without them", s.ID, to), "puqkvm status set %d creation", s.ID)
	}
	return nil
}

// proved passes only with the VM in sight, proved to be the service's, and no task of ours at work on it.
func (l *Lifecycle) proved(ctx context.Context, s *kvm.Service, to kvm.Status) error {
	if s.Row.UUID == "" && len(s.Row.UUIDs) == 0 && !s.Row.Legacy {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has no VM yet that could be at %s", s.ID, to), "puqkvm vm show %d", s.ID)
	}
	c, vm, err := l.look(ctx, s)
	switch {
	case errors.Is(err, kvm.ErrNotHere):
		return kvm.WithHint(kvm.Errorf(kvm.ErrUnknown, "%w", err), "when the VM is gone: puqkvm status set %d remove", s.ID)
	case err != nil:
		return err
	}
	if err := l.follow(ctx, c, s, s.Row.TaskKind, 0); errors.Is(err, kvm.ErrStillRunning) {
		return kvm.Errorf(kvm.ErrBusy, "service %d: %w is at work; try again when it has ended", s.ID, err)
	} else if err != nil && !errors.Is(err, kvm.ErrTaskFailed) && !errors.Is(err, kvm.ErrUnknown) && !errors.Is(err, kvm.ErrChanged) {
		return err
	}
	if s.Row.UUID == "" { // one of its former VMs is back
		s.Row.UUID = vm.VM().UUID
	}
	s.Row.CloneSent = true
	return nil
}
