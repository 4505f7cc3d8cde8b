package lifecycle

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// OpenConsole is a table of one row that begins and ends at ready: the VM's console is open for one connection, which out is
// told. Nothing is changed.
func (l *Lifecycle) OpenConsole(out *kvm.Console) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		if s.Row.Suspended {
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d is suspended: it has no console", s.ID), "puqkvm unsuspend %d", s.ID)
		}
		c, vm, err := l.observe(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		power, _, err := c.Power(ctx, vm)
		if err != nil {
			return pipeline.Result{}, err
		}
		if power != kvm.Running {
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "VM %d is %s: only one that runs has a console", s.Row.VMID, power), "puqkvm start %d", s.ID)
		}
		*out, err = c.Console(ctx, vm)
		return pipeline.Result{}, err
	}
	return &pipeline.Pipeline{Name: "Console", Action: "console", Check: l.check, Steps: []pipeline.Step{{From: kvm.Ready, Title: "Open console", To: kvm.Ready, Do: l.row(do)}}}
}
