package lifecycle

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const (
	taskConfig = "config"
	taskResize = "resize"
	taskDisk   = "disk"
)

const (
	noAdditional = "skip — none"
	// The package wants one that it did not want when its row passed. WHMCS asks for the change of package by itself.
	notMade = "skip — none was made"
)

const gib = 1 << 30

// newDiskSize is the size in GiB with which the additional disk is made; the next row grows it.
const newDiskSize = 1

// setCPURAM also keeps the VM from starting with its node: one that did so half configured would take its first boot
// without addresses and password, and be taken for started. The last row before the start gives onboot back.
func (l *Lifecycle) setCPURAM(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	p := s.Package
	told := func(vm *kvm.VM) bool { return !s.Row.Suspended && s.Row.PasswordSet && vm.CIUser == s.Username }
	return l.configure(ctx, s, change{kind: taskConfig, what: "CPU and RAM",
		same: func(vm *kvm.VM) bool {
			return vm.Cores == p.CPU && vm.Sockets == 1 && vm.VCPUs == 0 && vm.Memory == int64(p.RAM) && (!vm.OnBoot || told(vm))
		},
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCPU(ctx, vm, p.CPU, int64(p.RAM), false)
		}})
}

func (l *Lifecycle) resizeSystemDisk(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	slot, err := l.systemSlot(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	return l.resize(ctx, s, slot, s.Package.System.Size)
}

func (l *Lifecycle) limitSystemDisk(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	slot, err := l.systemSlot(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	return l.limit(ctx, s, slot, s.Package.System.Limits)
}

func (l *Lifecycle) resizeAdditionalDisk(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	switch {
	case s.Package.Additional.Size == 0:
		return skip(noAdditional)
	case s.Row.DiskSlot == "":
		return skip(notMade)
	}
	return l.resize(ctx, s, s.Row.DiskSlot, s.Package.Additional.Size)
}

func (l *Lifecycle) limitAdditionalDisk(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	switch {
	case s.Package.Additional.Size == 0:
		return skip(noAdditional)
	case s.Row.DiskSlot == "":
		return skip(notMade)
	}
	return l.limit(ctx, s, s.Row.DiskSlot, s.Package.Additional.Limits)
}

func (l *Lifecycle) systemSlot(ctx context.Context, s *kvm.Service) (string, error) {
	_, vm, err := l.observe(ctx, s)
	if err != nil {
		return "", err
	}
	if vm.VM().SystemSlot == "" {
		return "", kvm.WithHint(fmt.Errorf("VM %d has no disk in its boot order", s.Row.VMID), "set the boot order of VM %d in Proxmox", s.Row.VMID)
	}
	return vm.VM().SystemSlot, nil
}

// resize grows the disk at slot to size GiB. A disk never shrinks.
func (l *Lifecycle) resize(ctx context.Context, s *kvm.Service, slot string, size int) (pipeline.Result, error) {
	_, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	disk := vm.VM().Disk(slot)
	switch {
	case disk == nil:
		return pipeline.Result{}, fmt.Errorf("VM %d has no disk at %s", s.Row.VMID, slot)
	case size != 0 && disk.Size > int64(size)*gib && s.Row.TaskUPID == "":
		return skip(fmt.Sprintf("skip — disks never shrink, %s has %.4g GiB", slot, float64(disk.Size)/gib))
	}
	return l.configure(ctx, s, change{kind: taskResize, what: fmt.Sprintf("the size of %s", slot),
		same: func(vm *kvm.VM) bool {
			d := vm.Disk(slot)
			return size == 0 || d != nil && d.Size >= int64(size)*gib
		},
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return c.Resize(ctx, vm, slot, size)
		}})
}

func (l *Lifecycle) limit(ctx context.Context, s *kvm.Service, slot string, want kvm.Limits) (pipeline.Result, error) {
	return l.configure(ctx, s, change{kind: taskConfig, what: fmt.Sprintf("the limits of %s", slot),
		same: func(vm *kvm.VM) bool {
			d := vm.Disk(slot)
			return d != nil && d.Limits == want
		},
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return "", c.SetLimits(ctx, vm, slot, want)
		}})
}

// createAdditionalDisk stores the slot before the volume is made: a run that comes back finds it filled, or makes it.
// The request carries the configuration's digest, so that of two that overlap one is refused.
func (l *Lifecycle) createAdditionalDisk(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	plan := s.Package.Additional
	if plan.Size == 0 {
		return skip(noAdditional)
	}
	_, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	system := vm.VM().Disk(vm.VM().SystemSlot)
	if system == nil {
		return pipeline.Result{}, fmt.Errorf("VM %d has no system disk", s.Row.VMID)
	}
	_, filled := vm.VM().Keys[s.Row.DiskSlot]
	if s.Row.DiskSlot == "" || filled && vm.VM().Disk(s.Row.DiskSlot) == nil { // somebody's CD drive was faster
		if s.Row.DiskSlot, err = nextSlot(vm.VM()); err != nil {
			return pipeline.Result{}, err
		}
		if err := l.Store.Save(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
	}
	storage := plan.Storage
	if storage == "" {
		storage = system.Storage
	}
	return l.configure(ctx, s, change{kind: taskDisk, what: fmt.Sprintf("the new disk at %s", s.Row.DiskSlot),
		same: func(vm *kvm.VM) bool { return vm.Disk(s.Row.DiskSlot) != nil },
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			return c.AddDisk(ctx, vm, s.Row.DiskSlot, storage, newDiskSize)
		}})
}

// slotCount is how many drives a bus takes.
var slotCount = map[string]int{"ide": 4, "sata": 6, "scsi": 31, "virtio": 16}

// nextSlot is the first empty slot of the system disk's bus, pending changes counted as filled.
func nextSlot(vm *kvm.VM) (string, error) {
	bus := strings.TrimRight(vm.SystemSlot, "0123456789")
	for i := range slotCount[bus] {
		slot := bus + strconv.Itoa(i)
		if _, filled := vm.Keys[slot]; !filled {
			return slot, nil
		}
	}
	return "", fmt.Errorf("VM %d: every slot of the bus %s is filled", vm.VMID, bus)
}
