package pvesim

import (
	"fmt"
	"strconv"
	"strings"
)

// unlinkDisk takes disks out of the configuration; it is a change of the configuration like another.
func (r *request) unlinkDisk() (any, error) {
	r.vars["delete"] = r.str("idlist")
	return r.updateConfig(true)
}

// moveDisk copies a disk to another storage, or to another format on the same. The old volume becomes unused, or goes
// with delete=1.
func (r *request) moveDisk() (any, error) {
	vmid, node := r.vmid(), r.str("node")
	switch {
	case r.has("storage") && r.has("target-vmid"):
		text := "either set 'storage' or 'target-vmid', but not both"
		return nil, badParams(map[string]string{"storage": text, "target-vmid": text})
	case r.has("target-vmid"):
		return nil, failure("giving a disk to another VM is not part of this simulation")
	case !r.has("storage"):
		text := "both 'storage' and 'target-vmid' missing, either needs to be set"
		return nil, badParams(map[string]string{"storage": text, "target-vmid": text})
	}
	if at := "/storage/" + r.str("storage"); !r.may(at, "Datastore.AllocateSpace") {
		return nil, denied(at, "Datastore.AllocateSpace")
	}
	if _, _, err := r.planMove(); err != nil {
		return nil, err
	}
	return r.fork(node, "qmmove", strconv.Itoa(vmid), func(o *op) {
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
			m, v, err := r.planMove()
			if err != nil {
				o.fail(err)
				return
			}
			r.runMove(o, m, v)
		})
	}).upid, nil
}

// planMove are the checks of a move, in PVE's order.
func (r *request) planMove() (*vm, *volume, error) {
	c, key := r.c, r.str("disk")
	m, err := r.lookup()
	if err != nil {
		return nil, nil, err
	}
	if err := m.unlocked(); err != nil {
		return nil, nil, err
	}
	if d := r.str("digest"); d != "" && d != digestOf(m.file()) {
		return nil, nil, c.changedSince()
	}
	if m.conf[key] == "" {
		return nil, nil, failure("disk '%s' does not exist", key)
	}
	p := c.drive(key, m.conf[key])
	if isCD(p) && !isCloudDrive(p) {
		return nil, nil, failure("you can't move a cdrom")
	}
	id, _, _ := strings.Cut(p["file"], ":")
	s, err := c.enabled(r.str("storage"), m.node)
	if err != nil {
		return nil, nil, err
	}
	v := c.volume(m.node, p["file"])
	if v == nil {
		return nil, nil, failure("volume '%s' does not exist", p["file"])
	}
	if f := r.str("format"); id == s.ID && (f == "" || !s.files() || f == v.format) {
		return nil, nil, failure("you can't move to the same storage with same format")
	}
	if r.boolean("delete") && m.inSnapshot(v.id()) {
		return nil, nil, failure("you can't move a disk with snapshots and delete the source")
	}
	return m, v, nil
}

func (r *request) runMove(o *op, m *vm, v *volume) {
	c, key := r.c, r.str("disk")
	s := c.storage(r.str("storage"))
	format := r.str("format")
	if format == "" {
		format = v.format
	}
	leaf := diskName(v)
	if !isCloudDrive(properties{"file": v.key.name}) {
		leaf = c.freeLeaf(s, m.node, m.vmid)
	}
	var made *volume
	o.undo = func() {
		if made != nil {
			delete(c.volumes, made.key)
		}
	}
	o.logf("create full clone of drive %s (%s)", key, v.id())
	o.acquire(s.lockKey(m.node), false, storageLockWait, func() {
		o.after(c.model.Allocate, func() {
			var err error
			if made, err = c.create(s, m.node, m.vmid, leaf, format, v.size, v.size, nil); err != nil {
				o.fail(fmt.Errorf("storage migration failed: %w", err))
				return
			}
			o.release(s.lockKey(m.node))
			o.after(o.task.length(c.model.FullClone+copying(v.size, c.model.CopyRate)), func() {
				o.commit(func() {
					made.contents = v.contents
					p := c.drive(key, m.conf[key])
					p["file"], p["size"] = made.id(), formatSize(made.size)
					m.conf[key] = printDrive(p)
					if r.boolean("delete") || isCloudDrive(p) {
						delete(c.volumes, v.key)
					} else {
						addUnused(m.conf, v.id())
					}
				})
			})
		})
	})
}
