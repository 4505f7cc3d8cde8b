package lifecycle

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// Suspend is the table that keeps a VM from running. The flag on the row is set by whoever asked.
func (l *Lifecycle) Suspend() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Suspend", Action: "suspend", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Suspend, Title: "Keep off when the node starts", To: kvm.SUOnBoot, Do: l.running(l.setOnBoot)},
		{From: kvm.SUOnBoot, Title: "Stop VM", To: kvm.Ready, Do: l.running(l.stopVM)},
	}}
}

// Unsuspend is the table that undoes Suspend. The VM runs after it.
func (l *Lifecycle) Unsuspend() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Unsuspend", Action: "unsuspend", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Unsuspend, Title: "Start with the node", To: kvm.USOnBoot, Do: l.running(l.setOnBoot)},
		{From: kvm.USOnBoot, Title: "Start VM", To: kvm.USStarting, Do: l.running(l.startVM)},
		{From: kvm.USStarting, Title: "Verify VM", To: kvm.Ready, OnFail: kvm.USOnBoot, Do: l.running(l.verify)},
	}}
}

// DNSRecords is the table that makes all DNS records anew.
func (l *Lifecycle) DNSRecords() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "DNS", Action: "set_dns_records", Steps: []pipeline.Step{
		{From: kvm.SetDNSRecords, Title: "Configure DNS records", To: kvm.Ready, Do: l.row(l.renewDNS)},
	}}
}

// running is row for what needs nothing of the product: a VM can be suspended whatever has become of that.
func (l *Lifecycle) running(do func(ctx context.Context, s *kvm.Service) (pipeline.Result, error)) func(context.Context, *kvm.Service) (pipeline.Result, error) {
	return func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		if wait := ended(s); wait != "" {
			return pipeline.Result{Wait: wait}, nil
		}
		return do(ctx, s)
	}
}

// setOnBoot says whether the VM starts with its node, as the suspended flag has it.
func (l *Lifecycle) setOnBoot(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	want := !s.Row.Suspended
	return l.configure(ctx, s, change{kind: taskConfig, what: "onboot",
		same: func(vm *kvm.VM) bool { return vm.OnBoot == want },
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return "", c.SetOnBoot(ctx, vm, want)
		}})
}
