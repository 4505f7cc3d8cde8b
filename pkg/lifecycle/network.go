package lifecycle

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// configureNetwork makes net0 as the package says. The MAC stays: it is the VM's, or the one kept for it on the row.
func (l *Lifecycle) configureNetwork(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return l.configure(ctx, s, change{kind: taskConfig, what: "net0",
		same: func(vm *kvm.VM) bool { return vm.NIC != nil && *vm.NIC == wantedNIC(s, vm) },
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return "", c.SetNIC(ctx, vm, wantedNIC(s, vm.VM()))
		}})
}

func wantedNIC(s *kvm.Service, vm *kvm.VM) kvm.NIC {
	n := s.Package.Network
	nic := kvm.NIC{Model: "virtio", Bridge: n.Bridge, VLAN: n.VLAN, Rate: n.Bandwidth, Firewall: s.Package.Firewall.Enable}
	if vm.NIC != nil {
		nic.Model, nic.MAC = vm.NIC.Model, vm.NIC.MAC
	}
	if n.Model != "" {
		nic.Model = n.Model
	}
	if s.Row.MAC != "" {
		nic.MAC = s.Row.MAC
	}
	if len(s.Addrs) > 0 {
		nic.Bridge, nic.VLAN = s.Addrs[0].Bridge, s.Addrs[0].VLAN
	}
	return nic
}
