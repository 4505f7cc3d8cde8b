package kvm

import (
	"regexp"
	"strconv"
	"time"
)

// Backup is a backup of a VM on a storage. VMIDs are used again and backups outlive VMs, so its VMID does not say whose it
// is: the configuration inside does.
type Backup struct {
	Volume    string // storage:name
	Storage   string
	Node      string // the node that was asked for it, and sees it
	VMID      int
	Time      time.Time
	Size      int64 // bytes
	Format    string
	Notes     string // of a directory the first line only
	Protected bool
	UUID      string // the SMBIOS UUID inside, "" until it was read, and where there is none
	// Own: our own task made it, or adopt took it over, so it counts and is rotated. It proves nothing.
	Own bool
}

// VolumeVMID is the VMID that the name of a backup carries, 0 = none.
func VolumeVMID(volume string) int {
	m := volumeVMID.FindStringSubmatch(volume)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// storage:backup/vzdump-qemu-100-2026_04_10-01_49_18.vma.zst, and of a backup server storage:backup/vm/100/2026-04-10T01:49:18Z.
var volumeVMID = regexp.MustCompile(`:backup/(?:vzdump-qemu-|vm/)(\d{3,9})[-/]`)

// OwnedBackup is a backup whose ownership was proved. Every call that changes or restores a backup wants one; ProveBackup
// alone makes it.
type OwnedBackup struct {
	b *Backup
}

// Backup is the backup as it was when it was proved.
func (o OwnedBackup) Backup() *Backup { return o.b }

// ProveBackup says that b is row's: the UUID inside is one that the service has or had. It refuses with ErrForeign; the
// message says which.
func ProveBackup(b *Backup, row *Row) (OwnedBackup, error) {
	switch {
	case b == nil:
		return OwnedBackup{}, Errorf(ErrForeign, "no backup was read, so nothing proves that it is this service's")
	case b.UUID == "":
		return OwnedBackup{}, Errorf(ErrForeign, "backup %s: the configuration inside was not read, or has no UUID: nothing proves that it is this service's", b.Volume)
	case !row.HasUUID(b.UUID):
		return OwnedBackup{}, Errorf(ErrForeign, "backup %s is of the VM with the UUID %s, which was never this service's: it is not touched", b.Volume, b.UUID)
	}
	proved := *b
	return OwnedBackup{&proved}, nil
}
