package pvesim

import (
	"maps"
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// VMState is a VM as it is now.
type VMState struct {
	VMID     int
	Node     string
	Config   map[string]string // as in its file, cipassword hashed
	Pending  map[string]string // changes that wait for a restart; "" = is to be deleted
	Lock     string
	Power    kvm.Power
	Paused   bool
	Template bool
	Pool     string
	Disks    map[string]Volume // by slot
	// CloudInit is what was written on the cloud-init drive last, "" = nothing yet.
	CloudInit string
	// Snapshots are its snapshots by name.
	Snapshots map[string]Snapshot
	// Passwords are those that the guest agent has set, by user.
	Passwords map[string]string
}

// Snapshot is a snapshot of a VM.
type Snapshot struct {
	Config      map[string]string
	Description string
	Parent      string // "" = none
	Taken       time.Time
	State       string // "prepare" or "delete" while it is not whole
	Memory      bool
}

// Backup is a backup of a VM.
type Backup struct {
	ID        string // storage:name
	Taken     time.Time
	Size      int64
	Notes     string
	Protected bool
	Config    map[string]string
}

// Volume is a disk.
type Volume struct {
	ID      string // storage:name
	Storage string
	Size    int64
	Parent  string // the base that a linked clone builds upon, "" = none
	// Contents is what WriteDisk wrote on it, or what it was cloned, rolled back or restored from.
	Contents string
}

// FirewallState is a VM's firewall file, which may exist without the VM.
type FirewallState struct {
	Options map[string]string
	IPSets  map[string][]string
	Rules   []map[string]string
}

// TaskState is a task as it is now.
type TaskState struct {
	UPID, Node, Type, ID, User string
	Guest                      int       // the VM that it works on: a clone's new one, while ID is the template's
	Start, End                 time.Time // End is zero while it runs
	Exit                       string    // "" while it runs
	Log                        []string
}

// VMs are all VMs by VMID.
func (c *Cluster) VMs() map[int]VMState {
	c.lock()
	defer c.mu.Unlock()
	res := map[int]VMState{}
	for id, m := range c.vms {
		res[id] = c.state(m)
	}
	return res
}

// VM is one VM; found is false when there is none.
func (c *Cluster) VM(vmid int) (state VMState, found bool) {
	c.lock()
	defer c.mu.Unlock()
	if m := c.vms[vmid]; m != nil {
		return c.state(m), true
	}
	return VMState{}, false
}

func (c *Cluster) state(m *vm) VMState {
	s := VMState{VMID: m.vmid, Node: m.node, Config: maps.Clone(m.conf), Pending: map[string]string{}, Lock: m.conf["lock"],
		Power: kvm.Stopped, Paused: m.paused, Template: m.template(), Pool: m.pool, Disks: map[string]Volume{},
		Snapshots: map[string]Snapshot{}, Passwords: maps.Clone(m.passwords)}
	if m.running {
		s.Power = kvm.Running
	}
	for k, p := range m.pending {
		s.Pending[k] = p.value
	}
	for _, k := range m.disks() {
		d := c.drive(k, m.conf[k])
		v := c.volume(m.node, d["file"])
		if v == nil {
			continue
		}
		disk := Volume{ID: v.id(), Storage: v.key.storage, Size: v.size, Parent: v.parent, Contents: v.contents}
		if isCloudDrive(d) {
			s.CloudInit, disk.Contents = v.contents, ""
		}
		s.Disks[k] = disk
	}
	for name, snap := range m.snapshots {
		s.Snapshots[name] = Snapshot{Config: maps.Clone(snap.conf), Description: snap.description, Parent: snap.conf["parent"],
			Taken: time.Unix(snap.taken, 0), State: snap.state, Memory: snap.conf["vmstate"] != ""}
	}
	return s
}

// Volumes are the ids of all volumes of a VMID on any storage and node, also of those that no configuration names.
func (c *Cluster) Volumes(vmid int) []string {
	c.lock()
	defer c.mu.Unlock()
	var ids []string
	for k, v := range c.volumes {
		if v.vmid == vmid && v.content == "images" {
			id := v.id()
			if k.node != "" {
				id += "@" + k.node
			}
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Backups are all backups of a VMID on any storage and node, the oldest first.
func (c *Cluster) Backups(vmid int) []Backup {
	c.lock()
	defer c.mu.Unlock()
	list := []Backup{}
	for _, v := range c.volumes {
		if v.vmid == vmid && v.archive != nil {
			list = append(list, Backup{ID: v.id(), Taken: time.Unix(v.ctime, 0), Size: v.size, Notes: v.notes, Protected: v.protected,
				Config: maps.Clone(v.archive.conf)})
		}
	}
	slices.SortFunc(list, func(a, b Backup) int { return a.Taken.Compare(b.Taken) })
	return list
}

// Firewall is the firewall file of a VMID.
func (c *Cluster) Firewall(vmid int) FirewallState {
	c.lock()
	defer c.mu.Unlock()
	s := FirewallState{Options: map[string]string{}, IPSets: map[string][]string{}}
	f := c.firewalls[vmid]
	if f == nil {
		return s
	}
	f = f.clone()
	s.Options, s.Rules = f.options, f.rules
	for name, set := range f.sets {
		entries := []string{}
		for _, e := range set.entries {
			entries = append(entries, e.cidr)
		}
		s.IPSets[name] = entries
	}
	return s
}

// Tasks are all tasks, oldest first.
func (c *Cluster) Tasks() []TaskState {
	c.lock()
	defer c.mu.Unlock()
	list := make([]TaskState, 0, len(c.tasks))
	for _, t := range c.tasks {
		list = append(list, TaskState{UPID: t.upid, Node: t.node, Type: t.typ, ID: t.id, Guest: t.guest, User: t.who.String(),
			Start: t.start, End: t.end, Exit: t.exit, Log: slices.Clone(t.log)})
	}
	return list
}

// Settled says whether no task runs.
func (c *Cluster) Settled() bool {
	c.lock()
	defer c.mu.Unlock()
	return c.running == 0
}

// NodeState is a node as it is now.
type NodeState struct {
	Name   string
	Online bool
}

// Nodes are all nodes, in the order in which they were added.
func (c *Cluster) Nodes() []NodeState {
	c.lock()
	defer c.mu.Unlock()
	var list []NodeState
	for _, n := range c.nodes {
		list = append(list, NodeState{n.Name, !n.down})
	}
	return list
}

// Storages are copies of all storages, in the order in which they were added.
func (c *Cluster) Storages() []Storage {
	c.lock()
	defer c.mu.Unlock()
	var list []Storage
	for _, s := range c.storages {
		list = append(list, *s)
	}
	return list
}
