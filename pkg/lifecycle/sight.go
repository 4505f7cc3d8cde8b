package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Sight is what Proxmox says of a service's VM, for a person to read. Nothing may be decided by it: who changes a VM looks
// again, through the gate.
type Sight struct {
	Standing kvm.Standing // of the cluster, zero where it has not said
	Whose    kvm.Whose
	Node     string // where the cluster has the guest of the service's VMID, "" = nowhere, or not known
	NodeUp   bool
	// VM is the configuration that was read, nil = none was. Of one that is not the service's no more than node, name and
	// UUID may be shown.
	VM    *kvm.VM
	Power kvm.Power // of one that is the service's, "" = not known
	// Err says why Whose is unknown, foreign or unproved.
	Err error
}

// Sight looks at s's VM, and changes nothing.
func (l *Lifecycle) Sight(ctx context.Context, s *kvm.Service) Sight {
	see := Sight{Whose: kvm.WhoseUnknown}
	c, err := l.cluster(ctx, s)
	if err != nil {
		see.Err = err
		return see
	}
	if see.Standing, err = c.Standing(ctx); err != nil && !errors.Is(err, kvm.ErrDenied) {
		see.Err = err
		return see
	}
	if s.Row.Status == kvm.Remove || s.Row.UUID == "" && !s.Row.CloneSent { // also where an earlier one has been destroyed
		see.Whose, see.Err = kvm.WhoseNone, err
		return see
	}
	place, found, err := c.Place(ctx, s.Row.VMID)
	if err != nil {
		see.Err = err
		return see
	}
	if found {
		see.Node, see.NodeUp = place.Node, place.NodeUp
		if place.Container {
			see.Whose = kvm.WhoseForeign
			see.Err = kvm.Errorf(kvm.ErrForeign, "guest %d on %s is a container, not a VM of this service", s.Row.VMID, place.Node)
			return see
		}
		see.VM, err = c.VM(ctx, place.Node, s.Row.VMID)
		if err == nil {
			return l.recognise(ctx, c, s, see)
		}
	}
	if found && !errors.Is(err, kvm.ErrNotHere) {
		see.Err = err
		return see
	}
	gone, err := l.absent(ctx, c, s)
	switch {
	case err != nil:
		see.Err = err
	case gone:
		see.Whose, see.Node = kvm.WhoseAbsent, ""
	default:
		see.Err = kvm.WithHint(kvm.Errorf(kvm.ErrDenied, "the cluster has a guest %d that the token may not see", s.Row.VMID),
			"give the token VM.Audit on /vms/%d", s.Row.VMID)
	}
	return see
}

// recognise says whose the VM is that was read, and reads the power state of s's own.
func (l *Lifecycle) recognise(ctx context.Context, c Cluster, s *kvm.Service, see Sight) Sight {
	if s.Row.UUID == "" && !s.Row.Legacy { // a clone whose end nobody has seen yet
		if see.Whose = kvm.WhoseMaking; see.VM.Description == kvm.Mark(l.Installation, s.ID) {
			see.Whose = kvm.WhoseOwn
		}
		return see
	}
	vm, err := kvm.Prove(see.VM, &s.Row)
	switch {
	case errors.Is(err, kvm.ErrUnproved):
		see.Whose, see.Err = kvm.WhoseUnproved, err
	case err != nil:
		see.Whose, see.Err = kvm.WhoseForeign, err
	default:
		see.Whose = kvm.WhoseOwn
		if see.Power, _, err = c.Power(ctx, vm); err != nil {
			see.Err = fmt.Errorf("the power state of VM %d: %w", s.Row.VMID, err)
		}
	}
	return see
}

// Allots says whether the addresses that s lacks could be taken from pools: kvm.ErrExhausted with the pools and how full
// they are, nil = they could, or it lacks none.
func Allots(s *kvm.Service, pools []kvm.Pool, taken map[netip.Addr]struct{}) error {
	v4, v6 := wanted(s.Package.Network)
	if holds(s, v4, v6) {
		return nil
	}
	_, err := allot(s, pools, taken, v4, v6)
	return err
}
