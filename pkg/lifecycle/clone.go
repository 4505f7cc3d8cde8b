package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const taskClone = "clone"

// vmidTries bounds the walk over VMIDs that others have taken, within one run.
const vmidTries = 100

// cloneVM makes the VM, once. See the package documentation.
func (l *Lifecycle) cloneVM(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, err := l.cluster(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if s.Row.TaskUPID == "" {
		if res, free, err := l.claimVMID(ctx, c, s); err != nil || !free {
			return res, err
		}
		err = l.sendClone(ctx, c, s)
	} else {
		err = l.endClone(ctx, c, s)
	}
	if err != nil {
		return pipeline.Result{}, err
	}
	vm, err := l.readClone(ctx, c, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if vm.Description != kvm.Mark(l.Installation, s.ID) {
		return pipeline.Result{}, fmt.Errorf("VM %d: our clone task ended OK, but the VM does not carry our mark; an administrator must look whose it is", s.Row.VMID)
	}
	s.Fresh = true
	return l.adoptClone(ctx, c, s, vm)
}

// claimVMID sees to it that the row's VMID is free to clone to; when it is our finished clone already it adopts that, and
// its result is the row's.
func (l *Lifecycle) claimVMID(ctx context.Context, c Cluster, s *kvm.Service) (res pipeline.Result, free bool, err error) {
	for range vmidTries {
		free, err := c.Free(ctx, s.Row.VMID)
		if err != nil || free {
			return pipeline.Result{}, free, err
		}
		if s.Row.CloneSent {
			vm, err := l.readClone(ctx, c, s)
			if err == nil && vm.Lock != "" {
				return pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", vm.VMID, vm.Lock)}, false, nil
			}
			if err == nil || errors.Is(err, kvm.ErrDenied) || errors.Is(err, kvm.ErrForeign) {
				// Whosever it is, no clone to it is at work: a slot that an earlier run has left is others' turn.
				err = l.freeSlot(ctx, s, err)
			}
			switch {
			case errors.Is(err, kvm.ErrForeign): // a container
			case errors.Is(err, kvm.ErrDenied):
				// Another's, perhaps; but ours until it is known not to be.
				return res, false, fmt.Errorf("VM %d exists and cannot be read, so it is not known whether it is our clone: %w", s.Row.VMID, err)
			case err != nil:
				return res, false, err
			case vm.Description == kvm.Mark(l.Installation, s.ID), s.Row.UUID != "" && s.Row.HasUUID(vm.UUID): // the latter was adopted
				res, err = l.adoptClone(ctx, c, s, vm)
				return res, false, err
			case vm.Name == s.Row.Name:
				return res, false, kvm.Errorf(kvm.ErrAdmin, "VM %d on %s has our name %s but not our mark; an administrator must look whose it is", vm.VMID, vm.Node, vm.Name)
			}
		}
		if err := l.Store.NextVMID(ctx, s); err != nil {
			return res, false, err
		}
	}
	return res, false, fmt.Errorf("%d VMIDs up to %d are taken by others; raise the product's first_vmid", vmidTries, s.Row.VMID)
}

// readClone reads the VM at the row's VMID, whosever it is.
func (l *Lifecycle) readClone(ctx context.Context, c Cluster, s *kvm.Service) (*kvm.VM, error) {
	s.Seen = nil
	return l.read(ctx, c, s)
}

// sendClone requests the clone, when one of the node's slots is ours, and sees its task through.
func (l *Lifecycle) sendClone(ctx context.Context, c Cluster, s *kvm.Service) error {
	tpl, err := l.templates.get(ctx, c, s)
	if err != nil {
		return err
	}
	leave, err := l.cloneSlots(ctx, s, tpl)
	if err != nil {
		return err
	}
	defer leave()
	r := kvm.CloneRequest{Node: tpl.vm.Node, Template: tpl.vm.VMID, VMID: s.Row.VMID, Name: s.Row.Name,
		Description: kvm.Mark(l.Installation, s.ID), Full: s.Package.FullClone}
	if r.Full {
		r.Storage = s.Package.System.Storage
	}
	if err := l.nameCluster(ctx, c, s); err != nil {
		return l.freeSlot(ctx, s, err)
	}
	s.Row.CloneSent, s.Row.Node = true, ""
	if err := l.Store.Save(ctx, s); err != nil {
		return err
	}
	err = l.begin(ctx, s, taskClone, func(ctx context.Context) (kvm.UPID, error) { return c.Clone(ctx, r) })
	switch {
	case s.Row.TaskUPID != "" && err != nil, errors.Is(err, kvm.ErrUnknown), errors.Is(err, kvm.ErrTaken):
		return err // a clone of ours is or may be running: the slot stays taken until the next run has looked
	case err != nil:
		return l.freeSlot(ctx, s, err)
	}
	return l.endClone(ctx, c, s)
}

// endClone follows the clone's task. When that is over, however it ended, the slot is others' turn; what a failed one has
// left is looked at by the next run.
func (l *Lifecycle) endClone(ctx context.Context, c Cluster, s *kvm.Service) error {
	node := kvm.UPID(s.Row.TaskUPID).Node()
	err := l.follow(ctx, c, s, taskClone, l.Settings.Wait)
	if s.Row.TaskUPID == "" {
		s.Row.Node = node // where it is looked for first
		return l.freeSlot(ctx, s, err)
	}
	return err
}

// slotStorage is the kind of slot that counts clones to a shared storage.
const slotStorage = "storage"

// cloneSlots takes a slot of the template's node and, where the copy goes to a storage that nodes share, one of that:
// Proxmox lets one at a time allocate there, for the whole cluster, and gives those that wait 10 s. The order is always
// the same, so that no two wait for each other.
func (l *Lifecycle) cloneSlots(ctx context.Context, s *kvm.Service, tpl *template) (leave func(), err error) {
	leaveNode, err := l.slot(ctx, s, taskClone, tpl.vm.Node, l.Settings.ClonesPerNode)
	if err != nil {
		return nil, err
	}
	storage := tpl.vm.Disk(tpl.vm.SystemSlot).Storage
	if s.Package.FullClone && s.Package.System.Storage != "" {
		storage = s.Package.System.Storage
	}
	if !tpl.shared[storage] {
		return leaveNode, nil
	}
	leaveStorage, err := l.slot(ctx, s, slotStorage, storage, l.Settings.ClonesPerStorage)
	if err != nil {
		leaveNode()
		return nil, l.freeSlot(ctx, s, err)
	}
	return func() { leaveStorage(); leaveNode() }, nil
}

// freeSlot gives the slots back after err and answers with err, or with what is worse: a lost claim.
func (l *Lifecycle) freeSlot(ctx context.Context, s *kvm.Service, err error) error {
	if freeErr := l.Store.FreeSlots(context.WithoutCancel(ctx), s); freeErr != nil {
		return freeErr
	}
	return err
}

// adoptClone stores the proof of ownership together with the status.
func (l *Lifecycle) adoptClone(ctx context.Context, c Cluster, s *kvm.Service, vm *kvm.VM) (pipeline.Result, error) {
	if vm.Lock != "" {
		return pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", vm.VMID, vm.Lock)}, nil
	}
	if vm.UUID == "" {
		return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "VM %d has no SMBIOS UUID, which proves whose it is", vm.VMID),
			"give the template %d an smbios1 uuid (any change of its options in Proxmox makes one)", templateOf(s))
	}
	if !s.Row.HasUUID(vm.UUID) {
		s.Row.UUIDs = append(s.Row.UUIDs, vm.UUID)
	}
	s.Row.UUID, s.Row.Node = vm.UUID, vm.Node
	if err := l.nameCluster(ctx, c, s); err != nil {
		return pipeline.Result{}, err
	}
	if vm.NIC != nil && s.Row.MAC == "" {
		s.Row.MAC = vm.NIC.MAC
	}
	s.Seen = vm
	return pipeline.Result{}, nil
}

// nameCluster notes which cluster s's VM, which has just been seen or is about to be made, is in: a later proof of its
// absence must come from that one. A token that may not ask leaves it open.
func (l *Lifecycle) nameCluster(ctx context.Context, c Cluster, s *kvm.Service) error {
	name, err := c.ClusterName(ctx)
	if err == nil {
		s.Row.Cluster = name
	}
	if errors.Is(err, kvm.ErrDenied) {
		return nil
	}
	return err
}
