package pve

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// disk is the proved VM and its disk at slot. A CD or cloud-init drive is none.
func disk(o kvm.Owned, slot string) (*kvm.VM, *kvm.Disk, error) {
	vm, err := target(o)
	if err != nil {
		return nil, nil, err
	}
	d := vm.Disk(slot)
	if d == nil {
		return nil, nil, kvm.Errorf(kvm.ErrInvalid, "VM %d on %s has no disk %q", vm.VMID, vm.Node, slot)
	}
	return vm, d, nil
}

// Resize grows the disk at slot to size GiB, an absolute figure, so that repeating it does nothing. Smaller than it is
// is refused without asking (kvm.ErrPermanent). PVE 7 does it at once and names no task.
func (c *Client) Resize(ctx context.Context, o kvm.Owned, slot string, size int) (kvm.UPID, error) {
	vm, d, err := disk(o, slot)
	if err != nil {
		return "", err
	}
	switch {
	case size < 1:
		return "", kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %s cannot become %d GiB", vm.VMID, vm.Node, slot, size)
	case d.Size > int64(size)*gib:
		return "", kvm.Errorf(kvm.ErrPermanent, "VM %d on %s: %s has %s and cannot shrink to %dG", vm.VMID, vm.Node, slot, formatSize(d.Size), size)
	}
	p := params{"disk": slot, "size": strconv.Itoa(size) + "G"}
	id, err := c.maybeTask(ctx, http.MethodPut, guest(vm, "resize"), withDigest(p, vm))
	return id, onVM(vm, "resizing "+slot, err)
}

// SetLimits sets the throttles of the disk at slot and keeps its volume and all other options. A throttle of 0 is
// removed.
func (c *Client) SetLimits(ctx context.Context, o kvm.Owned, slot string, l kvm.Limits) error {
	vm, _, err := disk(o, slot)
	if err != nil {
		return err
	}
	if l.ReadMBps < 0 || l.WriteMBps < 0 || l.ReadIOPS < 0 || l.WriteIOPS < 0 {
		return kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: the limits of %s must not be negative", vm.VMID, vm.Node, slot)
	}
	d, err := parseDrive(vm.Keys[slot])
	if err != nil {
		return onVM(vm, slot, err)
	}
	d.setLimits(l)
	return onVM(vm, "setting the limits of "+slot, c.do(ctx, http.MethodPut, guest(vm, "config"), withDigest(params{slot: d.String()}, vm)))
}

// AddDisk makes a new volume of size GiB on storage at slot. It is not repeatable: a slot that has a drive is refused
// (kvm.ErrRefused), and after an unknown outcome the caller looks at the configuration and for the task first.
func (c *Client) AddDisk(ctx context.Context, o kvm.Owned, slot, storage string, size int) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	if _, ok := slotOrder(slot); !ok || !namePattern.MatchString(storage) || size < 1 {
		return "", kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: no disk can be made at %q on the storage %q with %d GiB", vm.VMID, vm.Node, slot, storage, size)
	}
	if have, ok := vm.Keys[slot]; ok {
		return "", kvm.Errorf(kvm.ErrRefused, "VM %d on %s: the slot %s has a drive already: %s", vm.VMID, vm.Node, slot, have)
	}
	p := params{slot: fmt.Sprintf("%s:%d", storage, size)}
	id, err := c.maybeTask(ctx, http.MethodPost, guest(vm, "config"), withDigest(p, vm))
	return id, onVM(vm, "adding the disk "+slot, err)
}
