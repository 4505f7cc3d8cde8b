package pvesim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// cloneLockWait is how long a clone waits for the locks of source and target.
const cloneLockWait = time.Second

// mayClone is the privilege check of the schema: VM.Clone on the source, VM.Allocate on the new VM or its pool.
func mayClone(r *request) error {
	if err := needs("/vms/{vmid}", "VM.Clone")(r); err != nil {
		return err
	}
	if r.may("/vms/"+r.str("newid"), "VM.Allocate") || r.str("pool") != "" && r.may("/pool/"+r.str("pool"), "VM.Allocate") {
		return nil
	}
	return deniedBare("")
}

// clonePlan is what a clone will make.
type clonePlan struct {
	source *vm // or a snapshot of it
	taken  *snapshot
	newid  int
	node   string // where the new VM ends up
	full   bool
}

func (r *request) cloneVM() (any, error) {
	if _, err := r.planClone(); err != nil {
		return nil, err
	}
	node, vmid := r.str("node"), r.vmid()
	shared := !r.c.vms[vmid].running
	return r.fork(node, "qmclone", strconv.Itoa(vmid), func(o *op) {
		o.acquire(vmLockKey(vmid), shared, cloneLockWait, func() {
			o.acquire(vmLockKey(r.number("newid", 0)), false, cloneLockWait, func() {
				plan, err := r.planClone() // things may have changed since the call
				if err != nil {
					o.fail(err)
					return
				}
				r.runClone(o, plan)
			})
		})
	}).upid, nil
}

// planClone are the checks of a clone, in PVE's order. They run before the UPID and again in the task.
func (r *request) planClone() (clonePlan, error) {
	c := r.c
	node, newid := r.str("node"), r.number("newid", 0)
	p := clonePlan{newid: newid, node: node}
	if err := r.pool(); err != nil {
		return p, err
	}
	target := r.str("target")
	if target != "" && c.node(target) == nil {
		return p, failure("no such cluster node '%s'", target)
	}
	if target == node {
		target = ""
	}
	storage := r.str("storage")
	if storage != "" {
		s, err := c.enabled(storage, node)
		if err != nil {
			return p, err
		}
		if target != "" {
			if _, err := c.enabled(storage, target); err != nil {
				return p, err
			}
			if !s.Shared {
				return p, failure("can't clone to non-shared storage '%s'", storage)
			}
		}
	}
	m := c.vms[r.vmid()]
	if m == nil || m.node != node {
		return p, failure("unable to find configuration file for VM %d on node '%s'", r.vmid(), node)
	}
	if err := m.unlocked(); err != nil {
		return p, err
	}
	p.source, p.full = m, !m.template()
	if name := r.str("snapname"); name != "" {
		s, err := r.snapshotOf(m, name)
		if err != nil {
			return p, err
		}
		p.taken, p.source = s, &vm{vmid: m.vmid, node: m.node, conf: s.conf}
	}
	if r.has("full") {
		p.full = r.boolean("full")
	}
	for _, name := range []string{"storage", "format"} {
		if r.has(name) && !p.full {
			return p, failure("parameter '%s' not allowed for linked clones", name)
		}
	}
	if target != "" {
		p.node = target
	}
	return p, r.planDisks(p, target)
}

// planDisks checks storages, bridges and whether each disk can be cloned as wanted.
func (r *request) planDisks(p clonePlan, target string) error {
	c, m := r.c, p.source
	for _, k := range m.disks() {
		d := c.drive(k, m.conf[k])
		id, _, _ := strings.Cut(d["file"], ":")
		s := c.storage(id)
		if s == nil || unusedKey.MatchString(k) {
			continue
		}
		if target != "" && !s.Shared {
			return failure("can't clone VM to node '%s' (VM uses local storage)", target)
		}
		if isCD(d) && !isCloudDrive(d) {
			continue
		}
		if to := r.str("storage"); to != "" {
			id = to
		}
		if !r.may("/storage/"+id, "Datastore.AllocateSpace") {
			return denied("/storage/"+id, "Datastore.AllocateSpace")
		}
	}
	for k, v := range m.conf {
		if netKey.MatchString(k) {
			net, _ := parseProperties(c.config[k].props, v)
			if err := r.mayUseBridge(net["bridge"], net["tag"]); err != nil {
				return err
			}
		}
	}
	if c.vms[p.newid] != nil {
		return failure("unable to create VM %d: config file already exists", p.newid)
	}
	for _, k := range c.snapshotVolumes(m.conf) {
		file := c.drive(k, m.conf[k])["file"]
		v := c.volume(m.node, file)
		if p.full && v != nil && !c.canCopy(v, r.str("snapname")) {
			return failure("Full clone feature is not supported for '%s' (%s)", file, k)
		}
		if !p.full && (v == nil || !c.canLink(v, r.str("snapname"))) {
			return failure("Linked clone feature is not supported for '%s' (%s)", file, k)
		}
	}
	return nil
}

// canLink says whether a volume can have linked clones: a base on a storage whose plugin can do that, or a snapshot of it
// where the storage keeps snapshots apart.
func (c *Cluster) canLink(v *volume, snapshot string) bool {
	kind := c.storage(v.key.storage).Type
	if snapshot != "" {
		return kind == "lvmthin" || kind == "rbd"
	}
	return kind != "lvm" && strings.Contains(v.key.name[strings.LastIndexByte(v.key.name, '/')+1:], "base-")
}

// canCopy says whether a volume, or what it was at a snapshot, can be copied.
func (c *Cluster) canCopy(v *volume, snapshot string) bool {
	return snapshot == "" || c.storage(v.key.storage).Type != "zfspool"
}

// runClone makes the clone. For as long as the first volume is being made the new configuration is a place holder, then
// it is whole but locked.
func (r *request) runClone(o *op, p clonePlan) {
	c := r.c
	m := newVM(p.newid, p.source.node)
	m.born = c.now
	m.conf["lock"], m.conf["description"] = "clone", " qmclone temporary file"
	c.vms[p.newid] = m
	if fw := c.firewalls[p.source.vmid]; fw != nil {
		c.firewalls[p.newid] = fw.clone()
	}
	var made []volumeKey
	o.undo = func() {
		for _, k := range made {
			delete(c.volumes, k)
		}
		delete(c.vms, p.newid)
		delete(c.firewalls, p.newid)
	}
	length := o.task.length(r.cloneLength(p))
	first := min(length, c.model.Allocate)
	key := r.cloneLock(p)
	o.acquire(key, false, storageLockWait, func() {
		o.after(first, func() {
			conf, err := r.cloneConfig(o, p, &made)
			if err != nil {
				o.fail(fmt.Errorf("clone failed: %w", err))
				return
			}
			m.conf = conf
			m.conf["lock"] = "clone"
			o.release(key)
			o.after(length-first, func() {
				o.commit(func() {
					delete(m.conf, "lock")
					m.node, m.pool = p.node, r.str("pool")
				})
			})
		})
	})
}

// cloneLock is the lock of the storage that gets the new disks.
func (r *request) cloneLock(p clonePlan) string {
	id := r.str("storage")
	for _, k := range p.source.disks() {
		if id == "" && !isCD(r.c.drive(k, p.source.conf[k])) {
			id, _, _ = strings.Cut(p.source.conf[k], ":")
		}
	}
	if s := r.c.storage(id); s != nil {
		return s.lockKey(p.source.node)
	}
	return "storage-none"
}

func (r *request) cloneLength(p clonePlan) time.Duration {
	if !p.full {
		return r.c.model.LinkedClone
	}
	var size int64
	for _, k := range p.source.disks() {
		d := r.c.drive(k, p.source.conf[k])
		if v := r.c.volume(p.source.node, d["file"]); v != nil && !isCD(d) && !unusedKey.MatchString(k) {
			size += v.size
		}
	}
	return r.c.model.FullClone + copying(size, r.c.model.CopyRate)
}

var uuidPart = pattern.New(`uuid=[0-9a-fA-F-]*`)

// cloneConfig is the configuration of the clone, for which it makes the volumes.
func (r *request) cloneConfig(o *op, p clonePlan, made *[]volumeKey) (map[string]string, error) {
	c := r.c
	conf := maps.Clone(p.source.conf)
	maps.DeleteFunc(conf, func(k, _ string) bool {
		return unusedKey.MatchString(k) || slices.Contains([]string{"template", "lock", "parent", "vmstate", "runningmachine", "runningcpu"}, k)
	})
	conf["name"] = "Copy-of-VM-" + p.source.conf["name"]
	if p.source.conf["name"] == "" {
		conf["name"] = fmt.Sprintf("Copy-of-VM-%d", p.source.vmid)
	}
	for _, k := range []string{"name", "description"} {
		if r.has(k) {
			conf[k] = r.str(k)
		}
	}
	uuid := "uuid=" + c.uuid()
	if old := conf["smbios1"]; uuidPart.MatchString(old) {
		conf["smbios1"] = uuidPart.ReplaceAllString(old, uuid)
	} else {
		conf["smbios1"] = strings.Trim(uuid+","+old, ",")
	}
	if conf["vmgenid"] != "" {
		conf["vmgenid"] = c.uuid()
	}
	for k, v := range conf {
		if netKey.MatchString(k) {
			net, _ := parseProperties(c.config[k].props, v)
			conf[k] = strings.Replace(v, net["macaddr"], c.mac(), 1)
		}
	}
	for _, k := range p.source.disks() {
		d := c.drive(k, conf[k])
		v := c.volume(p.source.node, d["file"])
		if v == nil || isCD(d) && !isCloudDrive(d) || conf[k] == "" {
			continue
		}
		if p.taken != nil {
			if was, has := p.taken.volumes[v.id()]; has {
				then := *v
				then.size, then.contents = was.size, was.contents
				v = &then
			}
		}
		copied, err := r.cloneDisk(o, p, k, v)
		if err != nil {
			return nil, err
		}
		*made = append(*made, copied.key)
		if !isCloudDrive(d) {
			copied.contents = v.contents
		}
		d["file"], d["size"] = copied.id(), formatSize(copied.size)
		conf[k] = printDrive(d)
	}
	return conf, nil
}

// cloneDisk makes one disk of the clone: a copy, or for a linked clone one that builds upon the template's. The
// cloud-init drive is always a copy.
func (r *request) cloneDisk(o *op, p clonePlan, key string, v *volume) (*volume, error) {
	c := r.c
	s, format := c.storage(v.key.storage), v.format
	if id := r.str("storage"); id != "" {
		s = c.storage(id)
	}
	if f := r.str("format"); f != "" {
		format = f
	}
	cloud := isCloudDrive(properties{"file": v.key.name})
	leaf := fmt.Sprintf("vm-%d-cloudinit", p.newid)
	if !cloud {
		leaf = c.freeLeaf(s, p.source.node, p.newid)
	}
	if p.full || cloud {
		o.logf("create full clone of drive %s (%s)", key, v.id())
		return c.create(s, p.source.node, p.newid, leaf, format, v.size, v.used, nil)
	}
	o.logf("create linked clone of drive %s (%s)", key, v.id())
	if s.files() {
		format = "qcow2"
	}
	return c.create(s, p.source.node, p.newid, leaf, format, v.size, 0, v)
}
