package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const (
	taskShutdown = "shutdown"
	taskStop     = "stop"
)

// heartbeat is the pause between two lines of a long wait.
const heartbeat = 15 * time.Second

// stopVM stops the VM: it asks the guest, and forces it when that takes too long.
func (l *Lifecycle) stopVM(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if vm, err = l.settled(ctx, c, s, vm, taskShutdown, taskStop); err != nil {
		return pipeline.Result{}, err
	}
	stopped, err := l.halt(ctx, c, s, vm)
	if err == nil && !stopped {
		return skip(noChange)
	}
	return pipeline.Result{}, err
}

// halt stops the VM, and says whether there was anything to do. What counts is the power state, not the end of a task. It
// may take minutes, so that at its end it proves anew that what is stopped there is the service's VM.
func (l *Lifecycle) halt(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned) (stopped bool, err error) {
	power, lock, err := c.Power(ctx, vm)
	if err == nil {
		tell(ctx, "remote status: %s, vmid: %d", power, s.Row.VMID)
	}
	switch {
	case err != nil:
		return false, err
	case power == kvm.Stopped:
		return false, l.endStop(ctx, s)
	case lock != "":
		return false, kvm.Errorf(kvm.ErrBusy, "VM %d: locked by Proxmox (%s)", s.Row.VMID, lock)
	}
	began := l.Clock.Now()
	ended := func(power kvm.Power, err error) (bool, error) {
		if err == nil && power == kvm.Stopped {
			tell(ctx, "stopped after ~%ds", int(l.Clock.Now().Sub(began).Seconds()))
			if err := l.endStop(ctx, s); err != nil {
				return true, err
			}
			_, _, err = l.look(ctx, s)
			return true, err
		}
		return false, err
	}
	if s.Row.TaskKind != taskStop && l.Settings.StopGraceful > 0 {
		if s.Row.TaskKind != taskShutdown {
			err = l.begin(ctx, s, taskShutdown, func(ctx context.Context) (kvm.UPID, error) { return c.Shutdown(ctx, vm, l.Settings.StopGraceful) })
			if err != nil && !errors.Is(err, kvm.ErrState) {
				return false, err
			}
			tell(ctx, "stop request sent")
		}
		power, _, err := l.awaitStop(ctx, c, s, vm, taskShutdown, l.Settings.StopGraceful)
		if err != nil || power == kvm.Stopped {
			return ended(power, err)
		}
	}
	if s.Row.TaskKind != taskStop {
		// The guest had its time, and in that the VMID may have become another VM's.
		if _, vm, err = l.look(ctx, s); err != nil {
			return false, err
		}
		err = l.begin(ctx, s, taskStop, func(ctx context.Context) (kvm.UPID, error) { return c.Stop(ctx, vm) })
		if err != nil && !errors.Is(err, kvm.ErrState) {
			return false, err
		}
		tell(ctx, "it does not shut down: switched off")
	}
	power, why, err := l.awaitStop(ctx, c, s, vm, taskStop, l.Settings.StopForce)
	switch {
	case err != nil || power == kvm.Stopped:
	case why != nil:
		err = fmt.Errorf("VM %d does not stop (status: %s): %w", s.Row.VMID, power, why)
	default:
		err = fmt.Errorf("VM %d does not stop (status: %s)", s.Row.VMID, power)
	}
	return ended(power, err)
}

// tell is pipeline.Say for what only the log of a terminate has.
func tell(ctx context.Context, format string, args ...any) {
	if pipeline.Live(ctx) {
		pipeline.Say(ctx, format, args...)
	}
}

// endStop forgets the task of a VM that is stopped.
func (l *Lifecycle) endStop(ctx context.Context, s *kvm.Service) error {
	if s.Row.TaskKind != taskShutdown && s.Row.TaskKind != taskStop {
		return nil
	}
	s.Row.TaskKind, s.Row.TaskUPID = "", ""
	return l.Store.Save(context.WithoutCancel(ctx), s)
}

// awaitStop waits until the VM is seen stopped, at most for limit, and answers with the last state seen, and
// with why the task of kind failed, if it did. That is followed: it ends when the VM has stopped, or when the guest has not
// heard.
func (l *Lifecycle) awaitStop(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned, kind string, limit time.Duration) (power kvm.Power, why, err error) {
	began := l.Clock.Now()
	for {
		left := limit - l.Clock.Now().Sub(began)
		failed := l.follow(ctx, c, s, kind, max(0, min(heartbeat, left)))
		if errors.Is(failed, kvm.ErrStillRunning) {
			failed = nil
		}
		if failed != nil {
			why = failed
		}
		if ctx.Err() != nil {
			return kvm.Running, why, context.Cause(ctx)
		}
		if power, _, err = c.Power(ctx, vm); err != nil {
			return kvm.Running, why, err
		}
		waited := l.Clock.Now().Sub(began)
		over := s.Row.TaskUPID == "" // ended, so nothing more is to be waited for but a high-availability manager
		switch {
		case power == kvm.Stopped, waited >= limit, over && failed != nil && kind == taskShutdown:
			return power, why, nil
		case over && failed != nil && !errors.Is(failed, kvm.ErrTaskFailed) && !errors.Is(failed, kvm.ErrUnknown):
			return power, why, failed
		case over:
			if err := pipeline.Waiting(ctx, func() error { return l.Clock.Sleep(ctx, powerPoll) }); err != nil {
				return power, why, err
			}
		}
		if !over {
			tell(ctx, "still running, waited %ds / %ds, status: %s", int(waited.Seconds()), int(limit.Seconds()), power)
		}
	}
}
