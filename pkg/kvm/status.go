package kvm

import (
	"slices"
	"strings"
)

// Status is vm_status of a service's row. It drives everything: see the tables in package lifecycle.
type Status string

// The statuses of Deploy, each naming the last completed row, and those outside any table.
const (
	Creation                 Status = "creation"
	SetIP                    Status = "set_ip"
	SetDNS                   Status = "set_dns"
	Cloned                   Status = "clone"
	Migrated                 Status = "migrated"
	SetCPURAM                Status = "set_cpu_ram"
	SetSystemDiskSize        Status = "set_system_disk_size"
	SetSystemDiskBandwidth   Status = "set_system_disk_bandwidth"
	SetCreatedAdditionalDisk Status = "set_created_additional_disk"
	SetAdditionalDiskSize    Status = "set_additional_disk_size"
	SetAdditionalDiskLimits  Status = "set_additional_disk_bandwidth"
	SetNetwork               Status = "set_network"
	SetFirewall              Status = "set_firewall"
	SetCloudinit             Status = "set_cloudinit"
	Starting                 Status = "starting"
	Ready                    Status = "ready"
	// Remove: the VM is gone and its things are cleaned up; create makes a new deploy of it.
	Remove Status = "remove"
	// ErrorTerminate: a terminate that an administrator must look at.
	ErrorTerminate Status = "error_terminate"
	// SetDNSRecords: all DNS records are deleted and made anew.
	SetDNSRecords Status = "set_dns_records"
)

// The statuses of Change package, each naming the row to do next.
const (
	ChangePackage           Status = "change_package"
	CPUpdateIP              Status = "cp_update_ip" // the PHP module's word for CPStop
	CPStop                  Status = "cp_stop"
	CPCPURAM                Status = "cp_cpu_ram"
	CPSystemDiskSize        Status = "cp_system_disk_size"
	CPSystemDiskBandwidth   Status = "cp_system_disk_bandwidth"
	CPAdditionalDisk        Status = "cp_additional_disk"
	CPAdditionalDiskSize    Status = "cp_additional_disk_size"
	CPAdditionalDiskLimits  Status = "cp_additional_disk_bandwidth"
	CPNetwork               Status = "cp_network"
	CPFirewall              Status = "cp_firewall"
	CPStart                 Status = "cp_start"
	Reinstall               Status = "reinstall"
	RIChecked               Status = "ri_checked" // the statuses of Reinstall name the last completed row, as those below do
	RISnapshotsRemoved      Status = "ri_snapshots_removed"
	RIStopped               Status = "ri_stopped"
	RIRemoved               Status = "ri_removed"
	RICloned                Status = "ri_clone"
	RIMigrated              Status = "ri_migrated"
	RICPURAM                Status = "ri_cpu_ram"
	RIDNSRemoved            Status = "ri_dns_removed"
	RIDNS                   Status = "ri_dns"
	RISystemDiskSize        Status = "ri_system_disk_size"
	RISystemDiskBandwidth   Status = "ri_system_disk_bandwidth"
	RICreatedAdditionalDisk Status = "ri_created_additional_disk"
	RIAdditionalDiskSize    Status = "ri_additional_disk_size"
	RIAdditionalDiskLimits  Status = "ri_additional_disk_bandwidth"
	RINetwork               Status = "ri_network"
	RIFirewall              Status = "ri_firewall"
	RICloudinit             Status = "ri_cloudinit"
	RIStarting              Status = "ri_starting"
	Terminate               Status = "terminate"
	TEStopped               Status = "te_stopped"
	TEDNSRemoved            Status = "te_dns_removed"
	TERemoved               Status = "te_removed"
	TEBackupsRemoved        Status = "te_backups_removed"
	Redeploy                Status = "redeploy"
	RDStopped               Status = "rd_stopped"
	RDDNSRemoved            Status = "rd_dns_removed"
	RDRemoved               Status = "rd_removed"
	Suspend                 Status = "suspend"
	SUOnBoot                Status = "su_onboot"
	Unsuspend               Status = "unsuspend"
	USOnBoot                Status = "us_onboot"
	USStarting              Status = "us_starting"
	ResetPassword           Status = "reset_password"
	RPCloudinit             Status = "rp_cloudinit"
	RPStop                  Status = "rp_stop"
	RPStopped               Status = "rp_stopped"
	RPStarting              Status = "rp_starting"
	Rollback                Status = "rollback"
	RBChecked               Status = "rb_checked"
	RBStopped               Status = "rb_stopped"
	RBRolledBack            Status = "rb_rolled_back"
	RBCPURAM                Status = "rb_cpu_ram"
	RBSystemDiskSize        Status = "rb_system_disk_size"
	RBSystemDiskBandwidth   Status = "rb_system_disk_bandwidth"
	RBCreatedAdditionalDisk Status = "rb_created_additional_disk"
	RBAdditionalDiskSize    Status = "rb_additional_disk_size"
	RBAdditionalDiskLimits  Status = "rb_additional_disk_bandwidth"
	RBNetwork               Status = "rb_network"
	RBCloudinit             Status = "rb_cloudinit"
	RBStarting              Status = "rb_starting"
	MakeBackup              Status = "backup"
	ScheduledBackup         Status = "scheduled_backup"
	Restore                 Status = "restore"
	RSChecked               Status = "rs_checked"
	RSStopped               Status = "rs_stopped"
	RSSnapshotsRemoved      Status = "rs_snapshots_removed"
	RSRestored              Status = "rs_restored"
	RSCPURAM                Status = "rs_cpu_ram"
	RSSystemDiskSize        Status = "rs_system_disk_size"
	RSSystemDiskBandwidth   Status = "rs_system_disk_bandwidth"
	RSCreatedAdditionalDisk Status = "rs_created_additional_disk"
	RSAdditionalDiskSize    Status = "rs_additional_disk_size"
	RSAdditionalDiskLimits  Status = "rs_additional_disk_bandwidth"
	RSNetwork               Status = "rs_network"
	RSFirewall              Status = "rs_firewall"
	RSCloudinit             Status = "rs_cloudinit"
	RSStarting              Status = "rs_starting"
	// ErrorRestore: a restore has failed, and what the VM holds is not known; a restore or a reinstall mends it.
	ErrorRestore Status = "error_restore"
)

// Phase is what a service is going through: the action of the pipeline that its status belongs to, or one of those below.
type Phase string

// The phases. Those of pipelines are spelled as their actions.
const (
	PhaseNone           Phase = "none" // there is no row
	PhaseDeploy         Phase = "deploy"
	PhaseChangePackage  Phase = "change_package"
	PhaseReinstall      Phase = "reinstall"
	PhaseTerminate      Phase = "terminate"
	PhaseRedeploy       Phase = "redeploy"
	PhaseSuspend        Phase = "suspend"
	PhaseUnsuspend      Phase = "unsuspend"
	PhaseResetPassword  Phase = "reset_password"
	PhaseSetDNS         Phase = "set_dns_records"
	PhaseRollback       Phase = "rollback"
	PhaseBackup         Phase = "backup"
	PhaseScheduled      Phase = "scheduled_backup"
	PhaseRestore        Phase = "restore"
	PhaseErrorRestore   Phase = "error_restore"
	PhaseReady          Phase = "ready"
	PhaseRemove         Phase = "remove"
	PhaseErrorTerminate Phase = "error_terminate"
	PhaseUnknown        Phase = "unknown" // a status that is none of ours
)

// Phases are all phases, in the order in which they are shown.
func Phases() []Phase {
	return []Phase{PhaseNone, PhaseDeploy, PhaseReady, PhaseChangePackage, PhaseReinstall, PhaseResetPassword, PhaseSuspend, PhaseUnsuspend,
		PhaseSetDNS, PhaseRollback, PhaseBackup, PhaseScheduled, PhaseRestore, PhaseErrorRestore, PhaseRedeploy, PhaseTerminate, PhaseErrorTerminate, PhaseRemove, PhaseUnknown}
}

// Phase is what a service at s is going through.
func (s Status) Phase() Phase {
	switch s {
	case ChangePackage, Reinstall, Terminate, Redeploy, Suspend, Unsuspend, ResetPassword, SetDNSRecords, Ready, Remove, ErrorTerminate,
		Rollback, MakeBackup, ScheduledBackup, Restore, ErrorRestore:
		return Phase(s)
	}
	if slices.Contains([]Status{Creation, SetIP, SetDNS, Cloned, Migrated, SetCPURAM, SetSystemDiskSize, SetSystemDiskBandwidth,
		SetCreatedAdditionalDisk, SetAdditionalDiskSize, SetAdditionalDiskLimits, SetNetwork, SetFirewall, SetCloudinit, Starting}, s) {
		return PhaseDeploy
	}
	prefix, _, cut := strings.Cut(string(s), "_")
	if phase, known := map[string]Phase{"cp": PhaseChangePackage, "ri": PhaseReinstall, "te": PhaseTerminate, "rd": PhaseRedeploy,
		"su": PhaseSuspend, "us": PhaseUnsuspend, "rp": PhaseResetPassword,
		"rb": PhaseRollback, "rs": PhaseRestore}[prefix]; cut && known {
		return phase
	}
	return PhaseUnknown
}

// Interrupts says whether a service that is about to move to the status to goes to noted instead, which was asked for
// meanwhile: a terminate ends every other pipeline, a change of package begins its own anew. What else is noted waits for
// the end of the run.
func (noted Status) Interrupts(to Status) bool {
	switch noted {
	case Terminate:
		return to.Phase() != PhaseTerminate && to != Remove && to != ErrorTerminate
	case ChangePackage:
		return to.Phase() == PhaseChangePackage
	}
	return false
}
