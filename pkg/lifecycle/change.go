package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// ChangePackage is the table that makes a VM what its package has become. A status names the row to do next.
func (l *Lifecycle) ChangePackage() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "ChangePackage", Action: "change_package", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.ChangePackage, Title: "Update IP + DNS + Firewall", To: kvm.CPStop, Do: l.row(l.updateAddresses)},
		{From: kvm.CPStop, Title: "Stop VM", To: kvm.CPCPURAM, Do: l.row(l.stopVM)},
		{From: kvm.CPUpdateIP, Title: "Stop VM", To: kvm.CPCPURAM, Alias: true, Do: l.row(l.stopVM)},
		{From: kvm.CPCPURAM, Title: "Set CPU & RAM", To: kvm.CPSystemDiskSize, Do: l.row(l.changeCPURAM)},
		{From: kvm.CPSystemDiskSize, Title: "Resize system disk", To: kvm.CPSystemDiskBandwidth, Do: l.row(l.resizeSystemDisk)},
		{From: kvm.CPSystemDiskBandwidth, Title: "Set system disk I/O", To: kvm.CPAdditionalDisk, Do: l.row(l.limitSystemDisk)},
		{From: kvm.CPAdditionalDisk, Title: "Create additional disk", To: kvm.CPAdditionalDiskSize, Do: l.row(l.createAdditionalDisk)},
		{From: kvm.CPAdditionalDiskSize, Title: "Resize additional disk", To: kvm.CPAdditionalDiskLimits, Do: l.row(l.resizeAdditionalDisk)},
		{From: kvm.CPAdditionalDiskLimits, Title: "Set additional disk I/O", To: kvm.CPNetwork, Do: l.row(l.limitAdditionalDisk)},
		{From: kvm.CPNetwork, Title: "Configure network", To: kvm.CPFirewall, Do: l.row(l.changeNetwork)},
		{From: kvm.CPFirewall, Title: "Configure firewall", To: kvm.CPStart, Do: l.row(l.reapplyFirewall)},
		{From: kvm.CPStart, Title: "Start VM", To: kvm.CPStart, OnFail: kvm.CPFirewall, Do: l.row(l.startUnlessRunning)},
		{From: kvm.CPStart, Title: "Verify VM", To: kvm.Ready, OnFail: kvm.CPFirewall, Do: l.row(l.verifyChange)},
	}}
}

// updateAddresses claims what the package has more, lets what it has less leave, and tells the firewall. The VM may use an
// address that leaves until its change is through: only then is it given back.
func (l *Lifecycle) updateAddresses(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, _, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if err := l.settle(ctx, c, s); err != nil {
		return pipeline.Result{}, err
	}
	v4, v6 := wanted(s.Package.Network)
	if !holds(s, v4, v6) {
		// The addresses come first, and the status stays: it moves with the last of the three.
		err := l.Store.Allocate(ctx, s, s.Row.Status, func(pools []kvm.Pool, taken map[netip.Addr]struct{}) (kvm.Allotment, error) {
			return allot(s, pools, taken, v4, v6)
		})
		if err != nil {
			return pipeline.Result{}, err
		}
	}
	dns, err := l.configureDNS(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if _, err := l.makeFirewall(ctx, s, false); err != nil {
		return pipeline.Result{}, err
	}
	if dns.Note != "" && dns.Note != noZone && dns.Note != noChange {
		return pipeline.Result{Note: "DNS: " + dns.Note}, nil
	}
	return pipeline.Result{}, nil
}

// holds says whether s has just so many addresses.
func holds(s *kvm.Service, v4, v6 int) bool {
	for _, c := range s.Addrs {
		if kvm.FamilyOf(c.Addr) == kvm.IPv4 {
			v4--
		} else {
			v6--
		}
	}
	return v4 == 0 && v6 == 0
}

// changeCPURAM is setCPURAM for a VM that has been given to its customer: whether it starts with its node stays.
func (l *Lifecycle) changeCPURAM(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	p := s.Package
	return l.configure(ctx, s, change{kind: taskConfig, what: "CPU and RAM",
		same: func(vm *kvm.VM) bool {
			return vm.Cores == p.CPU && vm.Sockets == 1 && vm.VCPUs == 0 && vm.Memory == int64(p.RAM)
		},
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCPU(ctx, vm, p.CPU, int64(p.RAM), vm.VM().OnBoot)
		}})
}

// changeNetwork makes net0 as the package says, and tells the guest its first addresses where they have changed.
func (l *Lifecycle) changeNetwork(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	nic, err := l.configureNetwork(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	_, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if vm.VM().CloudDrive == "" { // nothing would reach the guest
		return nic, nil
	}
	ci := guest(s)
	ci.User = vm.VM().CIUser // what an administrator has set stays
	ci.SSHKeys, _ = publicKeys(s.SSHKeys)
	addresses, err := l.configure(ctx, s, change{kind: taskConfig, what: "the guest's addresses",
		same: func(vm *kvm.VM) bool {
			return !vm.IPConfigOdd && vm.IPConfig == ci.IPConfig && slices.Equal(vm.Nameservers, ci.DNS) && vm.SearchDomain == ci.Search
		},
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCloudInit(ctx, vm, ci)
		}})
	if err != nil {
		return pipeline.Result{}, err
	}
	if nic.Note == noChange {
		return addresses, nil
	}
	return nic, nil
}

// startUnlessRunning is no row of a VM that runs. One that does not come up in time is an error in words that the PHP
// module's users know, and the next tick repeats what could have kept it.
func (l *Lifecycle) startUnlessRunning(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if s.Row.Suspended {
		return skip(suspended)
	}
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if s.Row.TaskUPID == "" {
		power, _, err := c.Power(ctx, vm)
		if err != nil || power == kvm.Running {
			return pipeline.Result{Silent: err == nil}, err
		}
	}
	res, err := l.startVM(ctx, s)
	if errors.Is(err, kvm.ErrTaskFailed) {
		err = fmt.Errorf("%w %w", notRunning(kvm.Stopped), err)
	}
	if err != nil || res.Wait != "" {
		return res, err
	}
	power, err := l.awaitPower(ctx, c, vm, kvm.Running, l.Settings.StartWait)
	if err == nil && power != kvm.Running {
		err = notRunning(power)
	}
	return pipeline.Result{}, err
}

// verifyChange sees the VM as it should be, and gives back the addresses that it has no more.
func (l *Lifecycle) verifyChange(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	res, err := l.verify(ctx, s)
	if err != nil || len(s.Leaving) == 0 {
		return res, err
	}
	rest := l.Settings.Quarantine
	if f := s.Package.Firewall; f.AntiSpoof && f.Enable && !s.Package.Network.DHCP() {
		rest = time.Duration(0) // the firewall keeps the VM from using them
	}
	res.Commit = func(ctx context.Context) error { return l.Store.MoveLeaving(ctx, s, kvm.Ready, rest) }
	return res, nil
}

// verify sees the VM run. While the service is suspended it sees it stopped, and stops one that was started before the flag
// was set: what else waits for the end of this run, the suspend itself, would wait for ever.
func (l *Lifecycle) verify(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if s.Row.Suspended {
		_, err := l.halt(ctx, c, s, vm)
		return pipeline.Result{}, err
	}
	power, err := l.awaitPower(ctx, c, vm, kvm.Running, l.Settings.StartWait)
	if err == nil && power != kvm.Running {
		err = notRunning(power)
	}
	return pipeline.Result{}, err
}
