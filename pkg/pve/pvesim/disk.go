package pvesim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// length is how long the task takes after its fork, other being the model's answer.
func (t *task) length(other time.Duration) time.Duration { return t.c.model.length(t.typ, other) }

// resizeDisk is a task from 8 on; 7.4 does it within the call.
func (r *request) resizeDisk() (any, error) {
	c := r.c
	if err := r.onlyRoot("skiplock"); err != nil {
		return nil, err
	}
	vmid, node := r.vmid(), r.str("node")
	work := func(o *op) {
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
			v, size, err := r.planResize()
			if err != nil {
				o.fail(err)
				return
			}
			o.after(c.model.length("resize", c.model.Resize), func() {
				o.commit(func() {
					if size == v.size {
						return
					}
					o.logf("Image resized.")
					m := c.vms[vmid]
					d := c.drive(r.str("disk"), m.conf[r.str("disk")])
					d["size"] = formatSize(size)
					m.conf[r.str("disk")] = printDrive(d)
					v.size = (size + 1023) &^ 1023
					if c.storage(v.key.storage).Type == "lvm" {
						v.used = v.size
					}
				})
			})
		})
	}
	if c.major == 7 {
		o := &op{c: c, skip: r.boolean("skiplock")}
		work(o)
		return nil, r.await(o)
	}
	return r.fork(node, "resize", strconv.Itoa(vmid), work).upid, nil
}

// planResize are the checks under the lock: the volume and its new size.
func (r *request) planResize() (*volume, int64, error) {
	c, key := r.c, r.str("disk")
	m, err := r.lookup()
	if err != nil {
		return nil, 0, err
	}
	if d := r.str("digest"); d != "" && d != digestOf(m.file()) {
		return nil, 0, c.changedSince()
	}
	if err := m.unlocked(); err != nil && !r.boolean("skiplock") {
		return nil, 0, err
	}
	if m.conf[key] == "" {
		return nil, 0, failure("disk '%s' does not exist", key)
	}
	d := c.drive(key, m.conf[key])
	if isCD(d) {
		return nil, 0, failure("you can't resize a cdrom")
	}
	v := c.volume(m.node, d["file"])
	if v == nil {
		return nil, 0, failure("volume '%s' does not exist", d["file"])
	}
	if c.major == 7 && v.format == "qcow2" && len(m.snapshots) > 0 {
		return nil, 0, failure("can't resize volume: %s if snapshot exists", key)
	}
	text, relative := strings.CutPrefix(r.str("size"), "+")
	size := parseSize(text)
	now := v.size
	if d["size"] != "" {
		now = parseSize(d["size"])
	}
	if relative {
		size += now
	}
	switch {
	case size < now:
		return nil, 0, failure("shrinking disks is not supported")
	case size == now:
		return v, v.size, nil
	case strings.Contains(v.key.name, "base-"+strconv.Itoa(v.vmid)+"-") && v.vmid == m.vmid && v.parent == "":
		preallocation := ""
		if c.major >= 9 && v.format == "qcow2" {
			preallocation = "'--preallocation=metadata' "
		}
		return nil, 0, failure("command '/usr/bin/qemu-img resize %s-f %s %s/images/%s %d' failed: exit code 1", preallocation, v.format,
			c.storage(v.key.storage).Path, v.key.name, size)
	}
	if s := c.storage(v.key.storage); s.Type == "lvm" {
		if err := c.room(s, m.node, v.key.name, size-now, 0); err != nil {
			return nil, 0, err
		}
	}
	return v, size, nil
}

// destroyVM removes a VM, its disks and its firewall.
func (r *request) destroyVM() (any, error) {
	c := r.c
	if err := r.onlyRoot("skiplock"); err != nil {
		return nil, err
	}
	vmid, node := r.vmid(), r.str("node")
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	if m.conf["protection"] == "1" {
		return nil, failure("can't remove VM %d - protection mode enabled", vmid)
	}
	if m.running {
		return nil, failure("VM %d is running - destroy failed", vmid)
	}
	return r.fork(node, "qmdestroy", strconv.Itoa(vmid), func(o *op) {
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
			m, err := c.onNode(vmid, node)
			if err == nil {
				err = r.mayDestroy(o, m)
			}
			if err != nil {
				o.fail(err)
				return
			}
			o.after(o.task.length(c.model.Destroy), func() { o.commit(func() { r.destroy(o, m) }) })
		})
	}).upid, nil
}

func (r *request) mayDestroy(o *op, m *vm) error {
	if err := m.unlocked(); err != nil && !o.skip {
		return err
	}
	if m.running {
		return failure("VM %d is running - destroy failed", m.vmid)
	}
	for _, k := range m.disks() {
		if v := r.c.volume(m.node, r.c.drive(k, m.conf[k])["file"]); v != nil && r.c.inUse(v) {
			return failure("base volume '%s' is still in use by linked cloned", v.id())
		}
	}
	return nil
}

func (r *request) destroy(o *op, m *vm) {
	c := r.c
	for id := range c.ownVolumes(m) {
		delete(c.volumes, c.volume(m.node, id).key)
	}
	if r.boolean("destroy-unreferenced-disks") {
		for key, v := range c.volumes {
			if v.vmid == m.vmid && v.content == "images" && (key.node == "" || key.node == m.node) {
				delete(c.volumes, key)
			}
		}
	}
	if r.boolean("purge") {
		o.logf("purging VM %d from related configurations..", m.vmid)
	}
	delete(c.vms, m.vmid)
	delete(c.firewalls, m.vmid)
}

// ownVolumes are the volumes that m's configuration names, its snapshots included, and that are its own.
func (c *Cluster) ownVolumes(m *vm) map[string]bool {
	own := map[string]bool{}
	add := func(options map[string]string) {
		ids := []string{options["vmstate"]}
		for k, v := range options {
			if driveKey.MatchString(k) || unusedKey.MatchString(k) {
				ids = append(ids, c.drive(k, v)["file"])
			}
		}
		for _, id := range ids {
			if v := c.volume(m.node, id); v != nil && v.vmid == m.vmid {
				own[id] = true
			}
		}
	}
	add(m.conf)
	for _, s := range m.snapshots {
		add(s.conf)
	}
	return own
}

var vmLeaf = pattern.New(`vm-(\d+-disk-\d+)`)

// makeTemplate turns a stopped VM into a template: its disks become bases.
func (r *request) makeTemplate() (any, error) {
	c := r.c
	vmid, node := r.vmid(), r.str("node")
	check := func() (*vm, error) {
		m, err := r.lookup()
		switch {
		case err != nil:
			return nil, err
		case m.unlocked() != nil:
			return nil, m.unlocked()
		case len(m.snapshots) > 0:
			return nil, failure("unable to create template, because VM contains snapshots")
		case m.template() && !r.has("disk"):
			return nil, failure("you can't convert a template to a template")
		case m.running:
			return nil, failure("you can't convert a VM to template if VM is running")
		}
		if d := r.str("disk"); d != "" && m.conf[d] == "" {
			return nil, failure("unable to find disk '%s'", d)
		}
		return m, nil
	}
	if _, err := check(); err != nil {
		return nil, err
	}
	return r.fork(node, "qmtemplate", strconv.Itoa(vmid), func(o *op) {
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
			m, err := check()
			if err != nil {
				o.fail(err)
				return
			}
			o.after(o.task.length(c.model.Convert), func() { o.commit(func() { c.convert(m, r.str("disk")) }) })
		})
	}).upid, nil
}

// convert makes m's disks bases, or just the one of a slot.
func (c *Cluster) convert(m *vm, only string) {
	m.conf["template"] = "1"
	for _, k := range m.disks() {
		d := c.drive(k, m.conf[k])
		v := c.volume(m.node, d["file"])
		if v == nil || isCD(d) || unusedKey.MatchString(k) || only != "" && only != k || v.parent != "" {
			continue
		}
		delete(c.volumes, v.key)
		v.key.name = vmLeaf.ReplaceAllString(v.key.name, "base-$1")
		c.volumes[v.key] = v
		d["file"] = v.id()
		m.conf[k] = printDrive(d)
	}
}

// feature says whether a VM can be cloned without a copy, copied, or snapshotted, by what its disks' storages can do.
func (r *request) feature() (any, error) {
	c := r.c
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	snapname := r.str("snapname")
	conf := m.conf
	if snapname != "" {
		s, err := r.snapshotOf(m, snapname)
		if err != nil {
			return nil, err
		}
		conf = s.conf
	}
	has := true
	nodes := []string{}
	for _, n := range c.nodes {
		nodes = append(nodes, n.Name)
	}
	for _, k := range c.snapshotVolumes(conf) {
		v := c.volume(m.node, c.drive(k, conf[k])["file"])
		if v == nil {
			continue
		}
		switch r.str("feature") {
		case "clone":
			has = has && c.canLink(v, snapname)
		case "copy":
			has = has && c.canCopy(v, snapname)
		case "snapshot":
			has = has && c.canSnapshot(v)
		}
		if !c.storage(v.key.storage).Shared {
			nodes = []string{m.node}
		}
	}
	return object{"hasFeature": flag(has), "nodes": nodes}, nil
}

// diskName is a volume's last part without directories: what it is called on another node.
func diskName(v *volume) (leaf string) {
	leaf = v.key.name[strings.LastIndexByte(v.key.name, '/')+1:]
	if i := strings.LastIndexByte(leaf, '.'); i > 0 {
		leaf = leaf[:i]
	}
	return leaf
}

// hms is a duration as migration logs show it.
func hms(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}
