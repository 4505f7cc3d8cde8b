package kvm

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
)
