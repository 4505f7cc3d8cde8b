package kvm

import "time"

// StatisticsKept is how long hourly traffic is kept.
const StatisticsKept = 35 * 24 * time.Hour

// Metered is a service whose VM's traffic is counted: one with a VM that was proved to be its own.
type Metered struct {
	Service int64
	Server  int64 // the tblservers.id whose cluster the VM is in
	VMID    int
	Name    string   // the VM's name
	UUID    string   // its SMBIOS UUID
	UUIDs   []string // every UUID that the service's VM had
}

// Traffic is what a cluster says of a guest's traffic (a row of cluster/resources).
type Traffic struct {
	VMID   int
	Node   string
	Name   string
	Power  Power // "" = not known yet, or not now
	Uptime time.Duration
	In     int64 // bytes since it was started
	Out    int64
	// Known: Uptime, In and Out were said. A new VM, and one whose node is silent, has none.
	Known bool
	// Container: the guest is an LXC container, never a VM of ours.
	Container bool
}

// Counters are a VM's counters as they were read at At.
type Counters struct {
	UUID   string // of the VM
	At     time.Time
	Uptime time.Duration
	In     int64 // bytes since it was started
	Out    int64
}

// Sample is what was read of a service's VM.
type Sample struct {
	Service int64
	Counters
}

// HourTraffic is what a service's VM has received and sent within an hour.
type HourTraffic struct {
	Hour time.Time // its beginning, UTC
	In   int64     // bytes
	Out  int64
}

// Usage is a point of a VM's charts. What Proxmox has no value for is nil: the VM was off, or had not been made.
type Usage struct {
	Time      time.Time
	CPU       *float64 // share of all cores, 0 to 1
	Cores     *float64
	Mem       *float64 // bytes
	MaxMem    *float64
	DiskRead  *float64 // bytes a second
	DiskWrite *float64
	NetIn     *float64
	NetOut    *float64
}

// Timeframes are those that Proxmox has charts of.
func Timeframes() []string { return []string{"hour", "day", "week", "month", "year"} }
