package lifecycle

import (
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// Deploy is the table that makes an order a running VM. A status names the last completed row.
func (l *Lifecycle) Deploy() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Deploy", Action: "deploy", InOrder: true, Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Creation, Title: "Allocate IP", To: kvm.SetIP, Do: l.row(l.allocateIP)},
		{From: kvm.SetIP, Title: "Configure DNS records", To: kvm.SetDNS, Do: l.row(l.configureDNS)},
		{From: kvm.SetDNS, Title: "Clone VM", To: kvm.Cloned, Do: l.row(l.cloneVM)},
		{From: kvm.Cloned, Title: "Migrate to target node", To: kvm.Migrated, Do: l.row(l.migrate)},
		{From: kvm.Migrated, Title: "Set CPU & RAM", To: kvm.SetCPURAM, Do: l.row(l.setCPURAM)},
		{From: kvm.SetCPURAM, Title: "Resize system disk", To: kvm.SetSystemDiskSize, Do: l.row(l.resizeSystemDisk)},
		{From: kvm.SetSystemDiskSize, Title: "Set system disk I/O", To: kvm.SetSystemDiskBandwidth, Do: l.row(l.limitSystemDisk)},
		{From: kvm.SetSystemDiskBandwidth, Title: "Create additional disk", To: kvm.SetCreatedAdditionalDisk, Do: l.row(l.createAdditionalDisk)},
		{From: kvm.SetCreatedAdditionalDisk, Title: "Resize additional disk", To: kvm.SetAdditionalDiskSize, Do: l.row(l.resizeAdditionalDisk)},
		{From: kvm.SetAdditionalDiskSize, Title: "Set additional disk I/O", To: kvm.SetAdditionalDiskLimits, Do: l.row(l.limitAdditionalDisk)},
		{From: kvm.SetAdditionalDiskLimits, Title: "Configure network", To: kvm.SetNetwork, Do: l.row(l.configureNetwork)},
		{From: kvm.SetNetwork, Title: "Configure firewall", To: kvm.SetFirewall, Do: l.row(l.configureFirewall)},
		{From: kvm.SetFirewall, Title: "Configure cloud-init", To: kvm.SetCloudinit, Do: l.row(l.configureCloudInit)},
		{From: kvm.SetCloudinit, Title: "Start VM", To: kvm.Starting, Do: l.row(l.startVM)},
		// A VM that was started and does not run is started again by the next tick.
		{From: kvm.Starting, Title: "Verify running + Email", To: kvm.Ready, OnFail: kvm.SetCloudinit, Do: l.row(l.verifyAndMail)},
	}}
}

// Pipelines are all tables, in no order that matters: no status stands in two of them.
func (l *Lifecycle) Pipelines() []*pipeline.Pipeline {
	return []*pipeline.Pipeline{l.Deploy(), l.ChangePackage(), l.Reinstall(), l.ResetPassword(), l.Suspend(), l.Unsuspend(), l.DNSRecords(), l.Redeploy(),
		l.Rollback(), l.Backup(), l.ScheduledBackup(), l.Restore(), l.Terminate()}
}
