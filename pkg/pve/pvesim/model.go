package pvesim

import "time"

// Model is how long things take. A zero duration takes no time.
type Model struct {
	// Read is a GET that pveproxy answers itself, Daemon one that pvedaemon answers, Write a change without a task, Start
	// a call that answers with a UPID. Each is slept before the call has its effect.
	Read, Daemon, Write, Start time.Duration
	// Denied is the delay before a 401, Dial the one before a 595 from a node that is down.
	Denied, Dial time.Duration
	// Fork is what passes between the UPID and the worker's first step. Two clones to one VMID that arrive within it
	// both get a UPID, and one task fails.
	Fork time.Duration
	// Allocate is how long a new volume holds its storage's lock.
	Allocate time.Duration
	// LinkedClone is a whole linked clone; a full one takes FullClone plus its disks at CopyRate.
	LinkedClone, FullClone time.Duration
	// Migrate is an offline migration without disks; local disks add their size at MigrateRate.
	Migrate time.Duration
	// CopyRate and MigrateRate are bytes a second; 0 copies at once.
	CopyRate, MigrateRate int64
	// Boot is a start task, Shutdown what a guest needs to power off, Stop a forced stop, Resize, Destroy and Convert
	// (to a template) their tasks.
	Boot, Shutdown, Stop, Resize, Destroy, Convert time.Duration
	// Snapshot, Rollback and DeleteSnapshot are their tasks; a saved memory adds its size at StateRate.
	Snapshot, Rollback, DeleteSnapshot time.Duration
	// Backup is a backup without disks, which add their size at BackupRate; Restore and RestoreRate likewise.
	Backup, Restore time.Duration
	// StateRate, BackupRate and RestoreRate are bytes a second; 0 takes no time.
	StateRate, BackupRate, RestoreRate int64
	// Remove is the removal of a volume.
	Remove time.Duration
	// AgentWait is how long the guest agent is waited for.
	AgentWait time.Duration
	// Console is how long a console waits for somebody to look at it.
	Console time.Duration
	// Cloudinit is a regeneration of the cloud-init drive.
	Cloudinit time.Duration
	// Broadcast is how often pvestatd tells the cluster of names, power states and usage; 0 tells at once.
	Broadcast time.Duration
	// Exact is, by task type (qmclone, qmigrate, resize, qmconfig, qmstart, ...), how long such a task takes when it
	// need not wait for a lock, Fork included. It overrides the above.
	Exact map[string]time.Duration
	// Workers is how many calls pvedaemon serves at once on each node; 0 means 3, as in PVE.
	Workers int
}

// SmallMachine is a Model with the times of a small machine: two cores, one SSD.
func SmallMachine() *Model {
	return &Model{
		Read: 15 * time.Millisecond, Daemon: 40 * time.Millisecond, Write: 80 * time.Millisecond, Start: 90 * time.Millisecond,
		Denied: 3 * time.Second, Dial: 3 * time.Second,
		Fork: 20 * time.Millisecond, Allocate: 200 * time.Millisecond,
		LinkedClone: time.Second, FullClone: time.Second, CopyRate: 200 << 20,
		Migrate: 2 * time.Second, MigrateRate: 100 << 20,
		Boot: 2500 * time.Millisecond, Shutdown: 6 * time.Second, Stop: time.Second,
		Resize: 300 * time.Millisecond, Destroy: 700 * time.Millisecond, Convert: 300 * time.Millisecond,
		Snapshot: 300 * time.Millisecond, Rollback: 300 * time.Millisecond, DeleteSnapshot: 250 * time.Millisecond, StateRate: 400 << 20,
		Backup: 2500 * time.Millisecond, BackupRate: 200 << 20, Restore: time.Second, RestoreRate: 200 << 20,
		Remove: 100 * time.Millisecond, AgentWait: 3 * time.Second, Console: 10 * time.Second,
		Cloudinit: 150 * time.Millisecond, Broadcast: 10 * time.Second,
	}
}

// Instant is a Model in which nothing takes time: a task has ended when its UPID arrives.
func Instant() *Model { return &Model{} }

// length is how long a task of this type takes after the fork, other being the model's own answer.
func (m *Model) length(typ string, other time.Duration) time.Duration {
	if d, ok := m.Exact[typ]; ok {
		return max(0, d-m.Fork)
	}
	return other
}

// copying is how long size bytes take at rate.
func copying(size, rate int64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(size) / float64(rate) * float64(time.Second))
}
