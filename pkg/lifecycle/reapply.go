package lifecycle

import (
	"context"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// reapplied are the statuses of a table that makes a VM, whose configuration has come from elsewhere (a backup, a snapshot),
// what its package says, and starts it. Each names the last completed row.
type reapplied struct {
	from, cpuRAM, systemSize, systemLimits, additional, additionalSize, additionalLimits, network kvm.Status
	firewall                                                                                      kvm.Status // "" = what has come has none
	cloudinit, starting                                                                           kvm.Status
}

// rows are the table's, up to the one that sees the VM run, which is last.
func (r reapplied) rows(l *Lifecycle, last pipeline.Step) []pipeline.Step {
	last.From, last.To, last.OnFail = r.starting, kvm.Ready, r.cloudinit
	steps := []pipeline.Step{
		{From: r.from, Title: "Set CPU & RAM", To: r.cpuRAM, Do: l.row(l.setCPURAM)},
		{From: r.cpuRAM, Title: "Resize system disk", To: r.systemSize, Do: l.row(l.resizeSystemDisk)},
		{From: r.systemSize, Title: "Set system disk I/O", To: r.systemLimits, Do: l.row(l.limitSystemDisk)},
		{From: r.systemLimits, Title: "Create additional disk", To: r.additional, Do: l.row(l.createAdditionalDisk)},
		{From: r.additional, Title: "Resize additional disk", To: r.additionalSize, Do: l.row(l.resizeAdditionalDisk)},
		{From: r.additionalSize, Title: "Set additional disk I/O", To: r.additionalLimits, Do: l.row(l.limitAdditionalDisk)},
		{From: r.additionalLimits, Title: "Configure network", To: r.network, Do: l.row(l.configureNetwork)},
	}
	told := r.network
	if r.firewall != "" {
		told = r.firewall
		steps = append(steps, pipeline.Step{From: r.network, Title: "Configure firewall", To: r.firewall, Do: l.row(l.restoreFirewall)})
	}
	return append(steps,
		pipeline.Step{From: told, Title: "Configure cloud-init", To: r.cloudinit, Do: l.row(l.restoreCloudInit)},
		pipeline.Step{From: r.cloudinit, Title: "Start VM", To: r.starting, Do: l.row(l.startVM)},
		last)
}

// restoreFirewall makes the firewall what it was before: a backup brings the one of its day, with the addresses of then. What an
// administrator had in it then stays.
func (l *Lifecycle) restoreFirewall(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return l.makeFirewall(ctx, s, false)
}

// restoreCloudInit tells the guest its name, user, password and addresses as they are stored now: those in a backup or snapshot
// are of another day. It gives onboot back, which the first of the rows took.
func (l *Lifecycle) restoreCloudInit(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if _, _, err := l.observe(ctx, s); err != nil { // see configureCloudInit
		return pipeline.Result{}, err
	}
	password, err := l.Store.Password(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	ci := guest(s)
	ci.Name, ci.Password, ci.OnBoot = s.Row.Name, password, !s.Row.Suspended
	return l.sendCloudInit(ctx, s, ci)
}

// findAdditionalDisk notes at which slot the VM's additional disk is in the configuration that has come: where none was at the
// row's slot then, it is the one disk beside the system's, if there is just one.
func findAdditionalDisk(s *kvm.Service, vm *kvm.VM) {
	if d := vm.Disk(s.Row.DiskSlot); d != nil && d.Slot != vm.SystemSlot {
		return
	}
	s.Row.DiskSlot = ""
	others := slices.DeleteFunc(slices.Clone(vm.Disks), func(d kvm.Disk) bool { return d.Slot == vm.SystemSlot })
	if len(others) == 1 {
		s.Row.DiskSlot = others[0].Slot
	}
}
