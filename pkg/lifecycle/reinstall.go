package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// Reinstall is the table that makes a service's VM anew from a template. Addresses, MAC, VLAN and backups stay, and the
// VMID where nobody else has taken it. A VM that could not be made again is not destroyed.
func (l *Lifecycle) Reinstall() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Reinstall", Action: "reinstall", Check: l.checkLock, Fail: l.backOut, Steps: []pipeline.Step{
		{From: kvm.Reinstall, Title: "Check template and storage", To: kvm.RIChecked, Lasting: kvm.Ready, Do: l.row(l.checkRebuild)},
		{From: kvm.RIChecked, Title: "Remove snapshots", To: kvm.RISnapshotsRemoved, Do: l.row(l.removeSnapshots)},
		{From: kvm.RISnapshotsRemoved, Title: "Stop VM", To: kvm.RIStopped, Do: l.row(l.stopToDestroy)},
		{From: kvm.RIStopped, Title: "Delete VM", To: kvm.RIRemoved, Do: l.row(l.destroyVM)},
		{From: kvm.RIRemoved, Title: "Clone VM", To: kvm.RICloned, Do: l.row(l.cloneVM)},
		{From: kvm.RICloned, Title: "Migrate to target node", To: kvm.RIMigrated, Do: l.row(l.migrate)},
		{From: kvm.RIMigrated, Title: "Set CPU & RAM", To: kvm.RICPURAM, Do: l.row(l.setCPURAM)},
		{From: kvm.RICPURAM, Title: "Delete DNS records", To: kvm.RIDNSRemoved, Do: l.row(l.deleteDNS)},
		{From: kvm.RIDNSRemoved, Title: "Configure DNS records", To: kvm.RIDNS, Do: l.row(l.configureDNS)},
		{From: kvm.RIDNS, Title: "Resize system disk", To: kvm.RISystemDiskSize, Do: l.row(l.resizeSystemDisk)},
		{From: kvm.RISystemDiskSize, Title: "Set system disk I/O", To: kvm.RISystemDiskBandwidth, Do: l.row(l.limitSystemDisk)},
		{From: kvm.RISystemDiskBandwidth, Title: "Create additional disk", To: kvm.RICreatedAdditionalDisk, Do: l.row(l.createAdditionalDisk)},
		{From: kvm.RICreatedAdditionalDisk, Title: "Resize additional disk", To: kvm.RIAdditionalDiskSize, Do: l.row(l.resizeAdditionalDisk)},
		{From: kvm.RIAdditionalDiskSize, Title: "Set additional disk I/O", To: kvm.RIAdditionalDiskLimits, Do: l.row(l.limitAdditionalDisk)},
		{From: kvm.RIAdditionalDiskLimits, Title: "Configure network", To: kvm.RINetwork, Do: l.row(l.configureNetwork)},
		{From: kvm.RINetwork, Title: "Configure firewall", To: kvm.RIFirewall, Do: l.row(l.configureFirewall)},
		{From: kvm.RIFirewall, Title: "Configure cloud-init", To: kvm.RICloudinit, Do: l.row(l.configureCloudInit)},
		{From: kvm.RICloudinit, Title: "Start VM", To: kvm.RIStarting, Do: l.row(l.startVM)},
		{From: kvm.RIStarting, Title: "Verify running + Email", To: kvm.Ready, OnFail: kvm.RICloudinit, Do: l.row(l.verifyAndMail)},
	}}
}

// checkRebuild says whether the VM could be made again: the template is good, and the storage that its copy goes to takes
// disks and has room for it once the old VM is gone. The VM that is to be destroyed is the service's, or gone.
func (l *Lifecycle) checkRebuild(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, vm, gone, err := l.find(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if !gone && vm.VM().Protection {
		return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrPermanent, "VM %d on %s is protected against removal", s.Row.VMID, vm.VM().Node),
			"take the protection off in Proxmox (qm set %d --protection 0), then ask again", s.Row.VMID)
	}
	if c == nil {
		if c, err = l.cluster(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
	}
	tpl, err := l.templates.get(ctx, c, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	disk := tpl.vm.Disk(tpl.vm.SystemSlot)
	storage := disk.Storage
	if s.Package.FullClone && s.Package.System.Storage != "" {
		storage = s.Package.System.Storage
	}
	stores, err := c.Storages(ctx, tpl.vm.Node)
	if err != nil {
		return pipeline.Result{}, err
	}
	i := slices.IndexFunc(stores, func(st kvm.Storage) bool { return st.Name == storage && st.Active && st.Images })
	if i < 0 {
		return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "the storage %s of template %d is not there on %s, not active, or takes no VM disks", storage, tpl.vm.VMID, tpl.vm.Node),
			"puqkvm product check %d", s.ProductID)
	}
	room := stores[i].Avail
	if !gone {
		for _, d := range vm.VM().Disks {
			if d.Storage == storage {
				room += d.Size
			}
		}
	}
	if s.Package.FullClone && room < disk.Size {
		return pipeline.Result{}, kvm.Errorf(kvm.ErrPermanent, "the storage %s has room for %.4g GiB with the old VM gone, and the template's disk has %.4g GiB",
			storage, float64(room)/gib, float64(disk.Size)/gib)
	}
	return pipeline.Result{}, nil
}

// removeSnapshots removes all snapshots, the newest first.
func (l *Lifecycle) removeSnapshots(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	s.Seen = nil // the proof is made right before what destroys
	c, vm, gone, err := l.find(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if gone {
		return skip(noVM)
	}
	if vm, err = l.settled(ctx, c, s, vm); err != nil {
		return pipeline.Result{}, err
	}
	list, err := c.Snapshots(ctx, vm)
	if err != nil {
		return pipeline.Result{}, err
	}
	if len(list) == 0 {
		return skip("skip — none")
	}
	for _, snap := range slices.Backward(list) {
		err := l.begin(ctx, s, taskSnapshot, func(ctx context.Context) (kvm.UPID, error) { return c.DeleteSnapshot(ctx, vm, snap.Name) })
		if err == nil {
			err = l.follow(ctx, c, s, taskSnapshot, l.Settings.Wait)
		}
		if err != nil && !errors.Is(err, kvm.ErrNotFound) {
			return pipeline.Result{}, fmt.Errorf("snapshot %s: %w", snap.Name, err)
		}
		if _, vm, err = l.look(ctx, s); err != nil { // the proof, before the next
			return pipeline.Result{}, err
		}
	}
	return pipeline.Result{}, nil
}
