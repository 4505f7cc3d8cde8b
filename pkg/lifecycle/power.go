package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const taskStart = "start"

// powerPoll is the pause between two looks at a VM that must come up.
const powerPoll = time.Second

// notRunning is the message that the PHP module's users know.
func notRunning(p kvm.Power) error {
	//lint:ignore ST1005 the wording is the log's
	return fmt.Errorf("VM failed to start (status: %s). Will retry.", p)
}

// startVM starts the VM. The task's end does not decide: a start can fail and the VM run all the same.
func (l *Lifecycle) startVM(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if s.Row.Suspended {
		return skip(suspended)
	}
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	failed := l.follow(ctx, c, s, taskStart, l.Settings.Wait)
	if errors.Is(failed, kvm.ErrStillRunning) || ctx.Err() != nil {
		return pipeline.Result{}, failed
	}
	if !s.Fresh || failed != nil {
		power, lock, err := c.Power(ctx, vm)
		switch {
		case err != nil:
			return pipeline.Result{}, err
		case power == kvm.Running:
			return skip(noChange)
		case lock != "":
			return pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", s.Row.VMID, lock)}, nil
		case failed != nil:
			return pipeline.Result{}, withoutISO(s, vm.VM(), failed)
		}
	}
	err = l.begin(ctx, s, taskStart, func(ctx context.Context) (kvm.UPID, error) { return c.Start(ctx, vm) })
	if err == nil {
		err = l.follow(ctx, c, s, taskStart, l.Settings.Wait)
	}
	if err != nil && !errors.Is(err, kvm.ErrStillRunning) && ctx.Err() == nil {
		if power, _, look := c.Power(ctx, vm); look == nil && power == kvm.Running {
			err = nil
		}
	}
	return pipeline.Result{}, withoutISO(s, vm.VM(), err)
}

// awaitPower looks until the VM is in the state want, at most for limit; it answers with the last state seen.
func (l *Lifecycle) awaitPower(ctx context.Context, c Cluster, vm kvm.Owned, want kvm.Power, limit time.Duration) (kvm.Power, error) {
	until := l.Clock.Now().Add(limit)
	for {
		power, _, err := c.Power(ctx, vm)
		if err != nil || power == want || !l.Clock.Now().Before(until) {
			return power, err
		}
		if err := pipeline.Waiting(ctx, func() error { return l.Clock.Sleep(ctx, powerPoll) }); err != nil {
			return power, err
		}
	}
}

// verifyAndMail sees the VM run, and puts the mail into the outbox together with the status.
func (l *Lifecycle) verifyAndMail(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if res, err := l.verify(ctx, s); err != nil {
		return res, err
	}
	if s.Package.MailReady == "" {
		return pipeline.Result{Note: "no e-mail: the product names none"}, nil
	}
	mail := kvm.Mail{ServiceID: s.ID, Action: "SendEmail", Template: s.Package.MailReady, Key: fmt.Sprintf("ready:%d:%s", s.ID, s.Row.UUID)}
	return pipeline.Result{Commit: func(ctx context.Context) error { return l.Store.MoveWithMail(ctx, s, kvm.Ready, mail) }}, nil
}

// Live is the VM and its power state as Proxmox has them now, through the gate.
func (l *Lifecycle) Live(ctx context.Context, s *kvm.Service) (*kvm.VM, kvm.Power, error) {
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return nil, "", err
	}
	power, _, err := c.Power(ctx, vm)
	return vm.VM(), power, err
}
