package pvesim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// snapshot is a section of a VM's configuration file, and what its volumes held then.
type snapshot struct {
	conf        map[string]string // the options, parent, vmstate
	description string
	taken       int64  // seconds
	order       uint64 // of creation, where the seconds are the same
	state       string // prepare, delete, or "" when it is whole
	volumes     map[string]content
}

// content is what a volume held at a moment.
type content struct {
	size     int64
	contents string
}

// notInSnapshot are options that a snapshot does not have, and a rollback does not touch.
func notInSnapshot(key string) bool {
	return key == "lock" || key == "description" || key == "vmstate" || unusedKey.MatchString(key)
}

// snapshotOf is m's snapshot of that name.
func (r *request) snapshotOf(m *vm, name string) (*snapshot, error) {
	s := m.snapshots[name]
	if s == nil {
		return nil, failure("snapshot '%s' does not exist", name)
	}
	return s, nil
}

// snapshotList has the snapshots and, last, a row for the present state, whose parent is the snapshot it builds upon.
func (r *request) snapshotList() (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	rows := []object{}
	for _, name := range slices.Sorted(maps.Keys(m.snapshots)) {
		s := m.snapshots[name]
		row := object{"name": name, "snaptime": s.taken, "vmstate": flag(s.conf["vmstate"] != ""), "description": s.description}
		if p := s.conf["parent"]; p != "" {
			row["parent"] = p
		}
		if s.state != "" {
			row["snapstate"] = s.state
		}
		rows = append(rows, row)
	}
	current := object{"name": "current", "digest": digestOf(m.file()), "running": flag(m.running), "description": "You are here!"}
	if p := m.conf["parent"]; p != "" {
		current["parent"] = p
	}
	return append(rows, current), nil
}

// snapshotIndex does not look whether there is such a snapshot.
func (r *request) snapshotIndex() (any, error) {
	return []object{{"cmd": "rollback"}, {"cmd": "config"}}, nil
}

func (r *request) snapshotConfig() (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	return r.snapshotDocument(m, r.str("snapname"), object{})
}

// snapshotDocument adds a snapshot's options to doc.
func (r *request) snapshotDocument(m *vm, name string, doc object) (any, error) {
	s, err := r.snapshotOf(m, name)
	if err != nil {
		return nil, err
	}
	for k, v := range s.conf {
		doc[k] = r.c.value(k, v)
	}
	doc["snaptime"] = s.taken
	if s.description != "" {
		doc["description"] = s.description
	}
	if s.state != "" {
		doc["snapstate"] = s.state
	}
	return doc, nil
}

// setSnapshotConfig changes the description, the one thing of a snapshot that can be changed.
func (r *request) setSnapshotConfig() (any, error) {
	o := &op{c: r.c}
	o.acquire(vmLockKey(r.vmid()), false, vmLockWait, func() {
		m, err := r.lookup()
		if err == nil {
			err = m.unlocked()
		}
		if err != nil {
			o.fail(err)
			return
		}
		s, err := r.snapshotOf(m, r.str("snapname"))
		if err != nil {
			o.fail(err)
			return
		}
		o.commit(func() {
			if r.has("description") {
				s.description = trimDescription(r.str("description"))
			}
		})
	})
	return nil, r.await(o)
}

// trimDescription is what QEMU's configuration files make of a description.
func trimDescription(text string) string { return strings.TrimRight(text, " \t\r\n") }

// snapshotVolumes are the disks that take part in snapshots: all but CD-ROMs, cloud-init drives and unused disks.
func (c *Cluster) snapshotVolumes(conf map[string]string) []string {
	var keys []string
	for _, k := range driveSlots {
		if v := conf[k]; v != "" && !isCD(c.drive(k, v)) {
			keys = append(keys, k)
		}
	}
	return keys
}

// canSnapshot says whether a volume's storage can take snapshots of it.
func (c *Cluster) canSnapshot(v *volume) bool {
	s := c.storage(v.key.storage)
	return s.Type != "lvm" && (!s.files() || v.format == "qcow2" || s.Type == "btrfs")
}

// stateStorage is where a VM's memory goes: as it is set, else a shared storage of its disks, else the first of them.
func (c *Cluster) stateStorage(m *vm) string {
	if id := m.conf["vmstatestorage"]; id != "" {
		return id
	}
	first := ""
	for _, k := range c.snapshotVolumes(m.conf) {
		id, _, _ := strings.Cut(c.drive(k, m.conf[k])["file"], ":")
		if s := c.storage(id); s != nil && s.Shared {
			return id
		} else if first == "" {
			first = id
		}
	}
	if first == "" {
		return "local"
	}
	return first
}

// saveState makes the volume that takes the memory of a running VM, twice its size and half a GiB for the devices.
func (c *Cluster) saveState(m *vm, storage, suffix string) (*volume, error) {
	s, err := c.enabled(storage, m.node)
	if err != nil {
		return nil, err
	}
	return c.create(s, m.node, m.vmid, fmt.Sprintf("vm-%d-state-%s", m.vmid, suffix), "raw", 2*m.memory()+500<<20, m.memory()/4, nil)
}

// runningOptions are what goes with a saved memory, so that QEMU is started the same way again.
func (c *Cluster) runningOptions(options map[string]string, state *volume) {
	options["vmstate"], options["runningmachine"], options["runningcpu"] = state.id(), c.machine(), "max"
}

// dropState removes the volume of a saved memory and what goes with it.
func (c *Cluster) dropState(node string, options map[string]string) {
	if v := c.volume(node, options["vmstate"]); v != nil {
		delete(c.volumes, v.key)
	}
	for _, k := range []string{"vmstate", "runningmachine", "runningcpu"} {
		delete(options, k)
	}
}

// inSnapshot says whether a snapshot has the volume.
func (m *vm) inSnapshot(volid string) bool {
	for _, s := range m.snapshots {
		if _, has := s.volumes[volid]; has {
			return true
		}
	}
	return false
}
