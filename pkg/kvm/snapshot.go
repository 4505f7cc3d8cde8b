package kvm

import (
	"strings"
	"time"
)

// snapshotPrefix begins the names of the snapshots that this program makes: those alone count for the quota, and those alone
// are ever removed by age.
const (
	snapshotPrefix = "puqkvm-"
	snapshotTime   = "20060102-150405"
)

// Snapshot is a snapshot of a VM.
type Snapshot struct {
	Name        string
	Description string
	Time        time.Time // when it was taken, zero = not said
	Parent      string    // the snapshot that it builds upon, "" = none
	RAM         bool      // it holds the memory too
	State       string    // delete, prepare: half removed or half made; "" = whole
}

// SnapshotName is the name of a snapshot that is taken at at: puqkvm-20260410-014918, in UTC. Proxmox takes letters, digits, _
// and -, and 40 characters at most.
func SnapshotName(at time.Time) string { return snapshotPrefix + at.UTC().Format(snapshotTime) }

// Ours says whether this program has made the snapshot.
func (s Snapshot) Ours() bool { return strings.HasPrefix(s.Name, snapshotPrefix) }

// Expires is when the snapshot is removed by its age, given the product's lifetime in days; false = never. Its age is by its name,
// which says when it was taken by the clock that asks.
func (s Snapshot) Expires(days int) (time.Time, bool) {
	taken, err := time.Parse(snapshotPrefix+snapshotTime, s.Name)
	if err != nil {
		taken = s.Time
	}
	if days <= 0 || !s.Ours() || taken.IsZero() {
		return time.Time{}, false
	}
	return taken.AddDate(0, 0, days), true
}
