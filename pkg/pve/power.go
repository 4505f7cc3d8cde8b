package pve

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Start starts the VM. That it runs already is said by the task (kvm.ErrState from Wait).
func (c *Client) Start(ctx context.Context, o kvm.Owned) (kvm.UPID, error) {
	return c.power(ctx, o, "start", "starting", nil)
}

// Shutdown asks the guest to power off, and never forces it. A guest that has not done so after timeout, in whole seconds,
// is said by the task (kvm.ErrState from Wait); until then the task keeps every other change of the VM waiting. A VM that
// is off already is no error.
func (c *Client) Shutdown(ctx context.Context, o kvm.Owned, timeout time.Duration) (kvm.UPID, error) {
	if _, err := target(o); err != nil {
		return "", err
	}
	if timeout < time.Second {
		return "", kvm.Errorf(kvm.ErrInvalid, "a guest is given at least a second to shut down, not %v", timeout)
	}
	seconds := int64((timeout + time.Second - 1) / time.Second)
	return c.power(ctx, o, "shutdown", "shutting down", params{"timeout": strconv.FormatInt(seconds, 10), "forceStop": bit(false)})
}

// Stop switches the VM off at once. Since PVE 8.2 a shutdown that still waits for the guest is ended for it; before, Stop's
// task fails with kvm.ErrBusy while one does. A VM that is off already is no error.
func (c *Client) Stop(ctx context.Context, o kvm.Owned) (kvm.UPID, error) {
	if _, err := target(o); err != nil {
		return "", err
	}
	v, err := c.Version(ctx)
	if err != nil {
		return "", err
	}
	var p params
	if v.AtLeast(8, 2) {
		p = params{"overrule-shutdown": bit(true)}
	}
	return c.power(ctx, o, "stop", "stopping", p)
}

func (c *Client) power(ctx context.Context, o kvm.Owned, verb, doing string, p params) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	id, err := c.task(ctx, http.MethodPost, guest(vm, "status", verb), p)
	return id, onVM(vm, doing, err)
}

// SetOnBoot says whether the VM starts with its node.
func (c *Client) SetOnBoot(ctx context.Context, o kvm.Owned, on bool) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	return onVM(vm, "setting onboot", c.do(ctx, http.MethodPut, guest(vm, "config"), withDigest(params{"onboot": bit(on)}, vm)))
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
