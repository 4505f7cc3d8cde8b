package lifecycle

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// StartNow and StopNow are what a customer or a shell asks for and waits for: tables of one row that begin and end at ready.

// StartNow starts the VM and sees it run.
func (l *Lifecycle) StartNow() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Start", Action: "start", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Ready, Title: "Start VM", To: kvm.Ready, Do: l.running(func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
			if s.Row.Suspended {
				return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d is suspended: its VM is not started", s.ID), "puqkvm unsuspend %d", s.ID)
			}
			res, err := l.startVM(ctx, s)
			if err != nil || res.Wait != "" {
				return res, err
			}
			_, err = l.verify(ctx, s)
			return res, err
		})},
	}}
}

// StopNow asks the guest to shut down, and switches the VM off when that takes too long.
func (l *Lifecycle) StopNow() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Stop", Action: "stop", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Ready, Title: "Stop VM", To: kvm.Ready, Do: l.running(l.stopVM)},
	}}
}
