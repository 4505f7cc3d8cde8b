package kvm

import "time"

// Standing is what a cluster says of itself. Without a quorum it changes nothing, and what it says of its VMs proves
// nothing.
type Standing struct {
	// Cluster is the cluster's name; of a node without a cluster "node " and its name.
	Cluster string
	Quorate bool
	Offline []string // the nodes that are known to be offline, by name
}

// Task is a task of Proxmox that runs.
type Task struct {
	UPID    UPID
	Type    string // qmclone, qmdestroy, vzdump, …
	User    string // user@realm or user@realm!token
	Started time.Time
}
