package pve

import (
	"context"
	"net/http"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Start starts the VM. That it runs already is said by the task (kvm.ErrState from Wait).
func (c *Client) Start(ctx context.Context, o kvm.Owned) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	id, err := c.task(ctx, http.MethodPost, guest(vm, "status", "start"), nil)
	return id, onVM(vm, "starting", err)
}

// Power asks the VM's own node for its power state and lock. A paused VM is running.
func (c *Client) Power(ctx context.Context, o kvm.Owned) (power kvm.Power, lock string, err error) {
	vm := o.VM()
	if vm == nil {
		return "", "", kvm.Errorf(kvm.ErrUnproved, "the power state of a VM whose ownership was not proved is not asked for")
	}
	var data struct {
		Status text `json:"status"`
		Lock   text `json:"lock"`
	}
	if err := c.get(ctx, guest(vm, "status", "current"), nil, &data); err != nil {
		return "", "", onVM(vm, "asking for the power state", err)
	}
	switch p := kvm.Power(data.Status); p {
	case kvm.Running, kvm.Stopped:
		return p, string(data.Lock), nil
	}
	return "", "", kvm.Errorf(kvm.ErrUnreachable, "VM %d on %s: the power state %.40q is not known", vm.VMID, vm.Node, data.Status)
}
