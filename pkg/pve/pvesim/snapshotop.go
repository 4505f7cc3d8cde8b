package pvesim

import (
	"maps"
	"strconv"
	"strings"
)

// createSnapshot takes a snapshot. The VM's file lock is held at the beginning and at the end only; in between the lock
// "snapshot" in the configuration keeps others away.
func (r *request) createSnapshot() (any, error) {
	c, name := r.c, r.str("snapname")
	if name == "current" || strings.EqualFold(name, "pending") {
		return nil, failure("unable to use snapshot name '%s' (reserved name)", name)
	}
	if _, err := r.lookup(); err != nil {
		return nil, err
	}
	return r.fork(r.str("node"), "qmsnapshot", strconv.Itoa(r.vmid()), func(o *op) {
		o.acquire(vmLockKey(r.vmid()), false, vmLockWait, func() {
			m, err := r.lookup()
			if err == nil {
				err = c.maySnapshot(m, name)
			}
			if err != nil {
				o.fail(err)
				return
			}
			r.takeSnapshot(o, m, name)
		})
	}).upid, nil
}

// maySnapshot are the checks under the lock, in PVE's order.
func (c *Cluster) maySnapshot(m *vm, name string) error {
	if m.template() {
		return failure("you can't take a snapshot if it's a template")
	}
	if err := m.unlocked(); err != nil {
		return err
	}
	if m.snapshots[name] != nil {
		return failure("snapshot name '%s' already used", name)
	}
	for _, k := range c.snapshotVolumes(m.conf) {
		if v := c.volume(m.node, c.drive(k, m.conf[k])["file"]); v == nil || !c.canSnapshot(v) {
			return failure("snapshot feature is not available")
		}
	}
	return nil
}

// newSnapshot is a snapshot that has just been begun.
func (c *Cluster) newSnapshot(m *vm, description string) *snapshot {
	c.seq++
	s := &snapshot{conf: maps.Clone(m.conf), description: trimDescription(description), taken: c.now.Unix(), order: c.seq,
		state: "prepare", volumes: map[string]content{}}
	maps.DeleteFunc(s.conf, func(k, _ string) bool { return notInSnapshot(k) })
	return s
}

func (r *request) takeSnapshot(o *op, m *vm, name string) {
	c := r.c
	s := c.newSnapshot(m, r.str("description"))
	length := o.task.length(c.model.Snapshot)
	memory := r.boolean("vmstate") && m.running
	if memory {
		state, err := c.saveState(m, c.stateStorage(m), name)
		if err != nil {
			o.fail(err)
			return
		}
		c.runningOptions(s.conf, state)
		o.logf("saving VM state and RAM using storage '%s'", state.key.storage)
		length += copying(m.memory(), c.model.StateRate)
	} else if m.running && m.agent() && m.guest == nil {
		o.logf("QEMU Guest Agent is not running - VM %d qmp command 'guest-ping' failed - got timeout", m.vmid)
		length += c.model.AgentWait
	}
	m.snapshots[name], m.conf["lock"] = s, "snapshot"
	o.undo = func() {
		c.dropState(m.node, s.conf)
		delete(m.snapshots, name)
		delete(m.conf, "lock")
	}
	o.release(vmLockKey(m.vmid))
	o.after(length, func() {
		if memory {
			o.logf("completed saving the VM state in %ds, saved %.2f MiB", int(length.Seconds()), float64(m.memory())/4/(1<<20))
		}
		for _, k := range c.snapshotVolumes(m.conf) {
			if v := c.volume(m.node, c.drive(k, m.conf[k])["file"]); v != nil {
				o.logf("snapshotting 'drive-%s' (%s)", k, v.id())
				s.volumes[v.id()] = contentOf(v)
			}
		}
		o.acquire(vmLockKey(m.vmid), false, vmLockWait, func() {
			o.commit(func() {
				s.state, m.conf["parent"] = "", name
				delete(m.conf, "lock")
			})
		})
	})
}

// deleteSnapshot removes a snapshot; what built upon it builds upon its parent then. One that fails on the way leaves
// the lock and the unfinished state behind, as in PVE.
func (r *request) deleteSnapshot() (any, error) {
	c, name := r.c, r.str("snapname")
	return r.fork(r.str("node"), "qmdelsnapshot", strconv.Itoa(r.vmid()), func(o *op) {
		o.acquire(vmLockKey(r.vmid()), false, vmLockWait, func() {
			m, err := r.lookup()
			if err == nil && m.template() {
				err = failure("you can't delete a snapshot if vm is a template")
			}
			if err == nil {
				err = m.unlocked()
			}
			s := (*snapshot)(nil)
			if err == nil {
				s, err = r.snapshotOf(m, name)
			}
			if err != nil {
				o.fail(err)
				return
			}
			m.conf["lock"], s.state = "snapshot-delete", "delete"
			o.release(vmLockKey(m.vmid))
			o.after(o.task.length(c.model.DeleteSnapshot), func() {
				o.acquire(vmLockKey(m.vmid), false, vmLockWait, func() { o.commit(func() { c.forgetSnapshot(m, name) }) })
			})
		})
	}).upid, nil
}

func (c *Cluster) forgetSnapshot(m *vm, name string) {
	s := m.snapshots[name]
	c.dropState(m.node, s.conf)
	delete(m.snapshots, name)
	delete(m.conf, "lock")
	relink := func(options map[string]string) {
		if options["parent"] != name {
			return
		}
		if options["parent"] = s.conf["parent"]; s.conf["parent"] == "" {
			delete(options, "parent")
		}
	}
	relink(m.conf)
	for _, other := range m.snapshots {
		relink(other.conf)
	}
}

// rollback puts back options and disks. A running VM is stopped, and runs afterwards only when the snapshot has its
// memory or start=1 was given. One that fails on the way leaves the lock "rollback" behind, as in PVE.
func (r *request) rollback() (any, error) {
	c, name := r.c, r.str("snapname")
	return r.fork(r.str("node"), "qmrollback", strconv.Itoa(r.vmid()), func(o *op) {
		o.acquire(vmLockKey(r.vmid()), false, vmLockWait, func() {
			m, err := r.lookup()
			s := (*snapshot)(nil)
			if err == nil {
				s, err = r.mayRollback(m, name)
			}
			if err != nil {
				o.fail(err)
				return
			}
			length := o.task.length(c.model.Rollback)
			if m.running {
				length += c.model.Stop
				m.off()
			}
			m.conf["lock"] = "rollback"
			o.release(vmLockKey(m.vmid))
			o.after(length, func() {
				o.acquire(vmLockKey(m.vmid), false, vmLockWait, func() { r.finishRollback(o, m, s) })
			})
		})
	}).upid, nil
}

// mayRollback are the checks under the lock, in PVE's order. ZFS goes back to its newest snapshot only.
func (r *request) mayRollback(m *vm, name string) (*snapshot, error) {
	if m.template() {
		return nil, failure("you can't rollback if vm is a template")
	}
	s, err := r.snapshotOf(m, name)
	if err != nil {
		return nil, err
	}
	for _, k := range r.c.snapshotVolumes(s.conf) {
		v := r.c.volume(m.node, r.c.drive(k, s.conf[k])["file"])
		if v == nil || r.c.storage(v.key.storage).Type != "zfspool" {
			continue
		}
		for _, other := range m.snapshots {
			if _, has := other.volumes[v.id()]; has && other.order > s.order {
				return nil, failure("can't rollback, '%s' is not most recent snapshot on '%s'", name, v.id())
			}
		}
	}
	if s.state != "" {
		return nil, failure("unable to rollback to incomplete snapshot (snapstate = %s)", s.state)
	}
	return s, m.unlocked()
}

func (r *request) finishRollback(o *op, m *vm, s *snapshot) {
	c := r.c
	back := func() {
		r.c.restoreSnapshot(m, s, r.str("snapname"))
		if r.boolean("start") && !m.running && s.conf["vmstate"] == "" {
			r.autostart(m)
		}
	}
	if s.conf["vmstate"] == "" {
		o.commit(back)
		return
	}
	o.after(c.model.Boot, func() {
		o.commit(func() {
			back()
			if c.generate(m) {
				o.logf("generating cloud-init ISO")
			}
			c.powerOn(m)
		})
	})
}

// restoreSnapshot puts back the options and the volumes' contents. A disk that came after the snapshot becomes unused.
func (c *Cluster) restoreSnapshot(m *vm, s *snapshot, name string) {
	conf := maps.Clone(s.conf)
	for _, k := range []string{"vmstate", "runningmachine", "runningcpu"} {
		delete(conf, k)
	}
	for k, v := range m.conf {
		if k != "lock" && notInSnapshot(k) {
			conf[k] = v
		}
	}
	conf["parent"] = name
	kept := map[string]bool{}
	for _, k := range driveSlots {
		kept[c.drive(k, conf[k])["file"]] = true
	}
	for _, k := range c.snapshotVolumes(m.conf) {
		if file := c.drive(k, m.conf[k])["file"]; !kept[file] {
			addUnused(conf, file)
		}
	}
	for _, k := range unusedSlots {
		if kept[conf[k]] {
			delete(conf, k) // it is attached again
		}
	}
	m.conf, m.pending = conf, map[string]change{}
	for id, was := range s.volumes {
		if v := c.volume(m.node, id); v != nil {
			v.size, v.contents = was.size, was.contents
		}
	}
}

// addUnused gives a volume the first free unusedN.
func addUnused(conf map[string]string, volid string) {
	for _, slot := range unusedSlots {
		if conf[slot] == "" {
			conf[slot] = volid
			return
		}
	}
}
