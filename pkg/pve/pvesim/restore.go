package pvesim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// restoreVM makes a VM of a backup, or with force=1 puts it in the place of one that is there. What the VM's state
// forbids shows in the task; that it exists or is locked shows at once.
func (r *request) restoreVM() (any, error) {
	c, vmid, node := r.c, r.vmid(), r.str("node")
	if id := r.str("storage"); id != "" && !r.may("/storage/"+id, "Datastore.AllocateSpace") {
		return nil, denied("/storage/"+id, "Datastore.AllocateSpace")
	}
	for _, k := range sortedKeys(r.vars) {
		if driveKey.MatchString(k) {
			return nil, badParam(k, "option conflicts with option 'archive'")
		}
	}
	v := c.volume(node, r.str("archive"))
	switch {
	case v == nil:
		return nil, failure("volume '%s' does not exist", r.str("archive"))
	case v.archive == nil:
		return nil, failure("Cannot restore from '%s' - content type isn't 'backup'", v.id())
	case !r.mayList(v):
		return nil, denied("/storage/"+v.key.storage, "Datastore.Allocate")
	}
	ch := configChange{set: map[string]string{}}
	for k, value := range r.vars {
		if !slices.Contains(notOptions, k) {
			ch.set[k] = value
		}
	}
	for _, k := range sortedKeys(ch.set) {
		if err := r.prepare(&ch, k); err != nil {
			return nil, err
		}
	}
	if err := r.mayChange(vmid, ch); err != nil {
		return nil, err
	}
	m := c.vms[vmid]
	switch {
	case m != nil && (!r.boolean("force") || m.node != node):
		return nil, failure("unable to restore VM %d - VM %d already exists on node '%s'", vmid, vmid, m.node)
	case m != nil && m.unlocked() != nil:
		return nil, failure("unable to restore VM %d - %v", vmid, m.unlocked())
	case m == nil:
		m = newVM(vmid, node)
		m.born = c.now
		c.vms[vmid] = m
	}
	m.conf["lock"] = "create"
	return r.fork(node, "qmrestore", strconv.Itoa(vmid), func(o *op) {
		o.undo = func() { // the rest is not cleaned up
			if c.vms[vmid] == m {
				delete(m.conf, "lock")
			}
		}
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
			if m.conf["protection"] == "1" {
				o.fail(fmt.Errorf("unable to restore VM %d - - protection mode enabled", vmid))
				return
			}
			if m.running {
				o.fail(fmt.Errorf("unable to restore VM %d - vm is running", vmid))
				return
			}
			r.restore(o, m, v, ch)
		})
	}).upid, nil
}

// restore makes the volumes, which takes the place of the VM's own at the same slots, and reads the archive into them.
// One that fails leaves the VM without those disks.
func (r *request) restore(o *op, m *vm, v *volume, ch configChange) {
	c := r.c
	a := v.archive
	o.logf("restore vma archive: %s", v.id())
	for _, k := range driveSlots {
		p := c.drive(k, m.conf[k])
		if _, replaced := a.disks[k]; !replaced && !isCloudDrive(p) {
			continue
		}
		old := c.volume(m.node, p["file"])
		switch {
		case old == nil || old.vmid != m.vmid:
		case c.inUse(old):
			o.logf("base volume '%s' is still in use by linked cloned", old.id())
		default:
			delete(c.volumes, old.key)
		}
	}
	for _, s := range m.snapshots {
		c.dropState(m.node, s.conf)
	}
	conf, made, size, err := r.restoreDisks(o, m, a)
	unlock := o.undo
	o.undo = func() {
		for _, v := range made {
			delete(c.volumes, v.key)
		}
		unlock()
	}
	if err != nil {
		o.fail(err)
		return
	}
	maps.Copy(conf, ch.set)
	o.after(o.task.length(c.model.Restore+copying(size, c.model.RestoreRate)), func() {
		o.commit(func() {
			o.logf("rescan volumes...")
			if a.firewall != nil {
				c.firewalls[m.vmid] = a.firewall.clone()
			}
			m.conf, m.pending, m.snapshots = conf, map[string]change{}, map[string]*snapshot{}
			if r.has("pool") {
				m.pool = r.str("pool")
			}
			c.rescan(m)
			if conf["template"] == "1" {
				delete(conf, "template")
				c.convert(m, "")
			}
			if r.boolean("start") {
				o.logf("Execute autostart")
				r.autostart(m)
			}
		})
	})
}

// restoreDisks makes the archive's volumes and the configuration that names them. MAC addresses and the UUID stay as they
// were unless unique=1.
func (r *request) restoreDisks(o *op, m *vm, a *archive) (conf map[string]string, made []*volume, size int64, err error) {
	c := r.c
	conf = maps.Clone(a.conf)
	if conf["vmgenid"] != "" {
		conf["vmgenid"] = c.uuid()
	}
	if r.boolean("unique") {
		conf["smbios1"] = uuidPart.ReplaceAllString(conf["smbios1"], "uuid="+c.uuid())
		for k, v := range conf {
			if netKey.MatchString(k) {
				net, _ := parseProperties(c.config[k].props, v)
				conf[k] = strings.Replace(v, net["macaddr"], c.mac(), 1)
			}
		}
	}
	for _, k := range driveSlots {
		p := c.drive(k, conf[k])
		d, kept := a.disks[k]
		cloud := isCloudDrive(p)
		if conf[k] == "" || isCD(p) && !cloud {
			continue
		}
		if !kept && !cloud { // it was not in the backup
			delete(conf, k)
			continue
		}
		leaf := ""
		if cloud {
			id, _, _ := strings.Cut(p["file"], ":")
			d = archived{storage: id, format: "qcow2", content: content{size: 4 << 20}}
			leaf = fmt.Sprintf("vm-%d-cloudinit", m.vmid)
		}
		id := r.str("storage")
		if id == "" {
			id = d.storage
		}
		s, err := c.enabled(id, m.node)
		if err != nil {
			return conf, made, size, err
		}
		if !r.may("/storage/"+id, "Datastore.AllocateSpace") {
			return conf, made, size, denied("/storage/"+id, "Datastore.AllocateSpace")
		}
		if leaf == "" {
			leaf = c.freeLeaf(s, m.node, m.vmid)
		}
		v, err := c.create(s, m.node, m.vmid, leaf, d.format, d.size, d.size, nil)
		if err != nil {
			return conf, made, size, err
		}
		o.logf("new volume ID is '%s'", v.id())
		made, size = append(made, v), size+d.size
		v.contents = d.contents
		if p["file"] = v.id(); !cloud {
			p["size"] = formatSize(v.size)
		}
		conf[k] = printDrive(p)
	}
	return conf, made, size, nil
}

// rescan gives the VM's volumes that its configuration does not name an unusedN each.
func (c *Cluster) rescan(m *vm) {
	own := c.ownVolumes(m)
	var found []string
	for key, v := range c.volumes {
		if v.vmid == m.vmid && v.content == "images" && (key.node == "" || key.node == m.node) && !own[v.id()] && !cloudDrive.MatchString(key.name) {
			found = append(found, v.id())
		}
	}
	slices.Sort(found)
	for _, id := range found {
		addUnused(m.conf, id)
	}
}
