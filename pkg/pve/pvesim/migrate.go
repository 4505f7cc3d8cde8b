package pvesim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// localVolumes are m's volumes that do not lie on a shared storage, by slot in PVE's order.
func (c *Cluster) localVolumes(m *vm) (slots []string, volumes map[string]*volume) {
	volumes = map[string]*volume{}
	for _, k := range m.disks() {
		v := c.volume(m.node, c.drive(k, m.conf[k])["file"])
		if v != nil && !c.storage(v.key.storage).Shared {
			slots = append(slots, k)
			volumes[k] = v
		}
	}
	return slots, volumes
}

// unavailable are the storages of m that node does not have.
func (c *Cluster) unavailable(m *vm, node string) []string {
	var ids []string
	for _, k := range m.disks() {
		if v := c.volume(m.node, c.drive(k, m.conf[k])["file"]); v != nil {
			if _, err := c.enabled(v.key.storage, node); err != nil && !slices.Contains(ids, v.key.storage) {
				ids = append(ids, v.key.storage)
			}
		}
	}
	return ids
}

// migrateCheck is the check before a migration. It looks at storages only by name, as PVE does.
func (r *request) migrateCheck() (any, error) {
	c := r.c
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	allowed, not := []string{}, object{}
	for _, n := range c.nodes {
		if n.Name == m.node || n.down {
			continue
		}
		if missing := c.unavailable(m, n.Name); len(missing) > 0 {
			not[n.Name] = object{"unavailable_storages": missing}
			continue
		}
		allowed = append(allowed, n.Name)
	}
	disks := []object{}
	slots, volumes := c.localVolumes(m)
	for _, k := range slots {
		v, d := volumes[k], c.drive(k, m.conf[k])
		unused := unusedKey.MatchString(k)
		row := object{"volid": v.id(), "cdrom": flag(isCD(d)), "shared": 0, "is_unused": flag(unused), "is_attached": flag(!unused),
			"is_vmstate": 0, "is_tpmstate": flag(k == "tpmstate0"), "replicate": 1}
		if c.major >= 9 {
			row["is_cloudinit"] = flag(isCloudDrive(d))
		}
		if !unused {
			row["drivename"] = k
			if !isCD(d) {
				row["size"] = v.size
			}
		}
		disks = append(disks, row)
	}
	res := object{"running": flag(m.running), "local_disks": disks, "local_resources": []string{}}
	if c.major >= 8 {
		res["mapped-resources"], res["mapped-resource-info"] = []string{}, object{}
	}
	if c.major >= 9 {
		res["has-dbus-vmstate"] = 1
	}
	if !m.running {
		res["allowed_nodes"], res["not_allowed_nodes"] = allowed, not
	}
	return res, nil
}

// storageMap says to which storage of the target each storage's volumes go.
type storageMap struct {
	identity bool
	all      string
	pairs    map[string]string
}

func (s storageMap) to(id string) string {
	if t, ok := s.pairs[id]; ok {
		return t
	}
	if s.all != "" {
		return s.all
	}
	return id
}

// targetStorage reads and checks the parameter targetstorage.
func (r *request) targetStorage(m *vm, target string) (storageMap, error) {
	c, res := r.c, storageMap{pairs: map[string]string{}}
	missing := func() error {
		if ids := c.unavailable(m, target); len(ids) > 0 {
			return failure("storage '%s' is not available on node '%s'", ids[0], target)
		}
		return nil
	}
	text := r.str("targetstorage")
	if text == "" {
		return res, missing()
	}
	var wanted []string
	for item := range strings.FieldsFuncSeq(text, isListBreak) {
		from, to, pair := strings.Cut(item, ":")
		switch {
		case item == "1":
			res.identity = true
		case pair:
			res.pairs[from] = to
			wanted = append(wanted, to)
		default:
			res.all = item
			wanted = append(wanted, item)
		}
	}
	if !res.identity && !r.may(fmt.Sprintf("/vms/%d", m.vmid), "VM.Config.Disk") {
		return res, denied(fmt.Sprintf("/vms/%d", m.vmid), "VM.Config.Disk")
	}
	for _, id := range wanted {
		s, err := c.enabled(id, target)
		if err != nil {
			return res, err
		}
		if !r.may("/storage/"+id, "Datastore.AllocateSpace") {
			return res, denied("/storage/"+id, "Datastore.AllocateSpace")
		}
		if !s.holds("images") {
			return res, badParam("targetstorage", fmt.Sprintf("storage '%s' does not support vm images", id))
		}
	}
	if res.identity {
		return res, missing()
	}
	return res, nil
}

func (r *request) migrateVM() (any, error) {
	c := r.c
	vmid, node, target := r.vmid(), r.str("node"), r.str("target")
	if target == node {
		return nil, badParam("target", "target is local node.")
	}
	if c.node(target) == nil {
		return nil, failure("no such cluster node '%s'", target)
	}
	if err := r.onlyRoot("force", "migration_type", "migration_network"); err != nil {
		return nil, err
	}
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	if err := m.unlocked(); err != nil {
		return nil, err
	}
	if m.running && !r.boolean("online") {
		return nil, failure("can't migrate running VM without --online")
	}
	to, err := r.targetStorage(m, target)
	if err != nil {
		return nil, err
	}
	return r.fork(node, "qmigrate", strconv.Itoa(vmid), func(o *op) {
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() { r.runMigration(o, to) })
	}).upid, nil
}

// runMigration moves the VM with its local volumes. A refusal stands in the log; the exit text is the same for all.
func (r *request) runMigration(o *op, to storageMap) {
	c, target := r.c, r.str("target")
	begun := c.now
	note := func(format string, args ...any) {
		o.logf("%s %s", c.now.UTC().Format("2006-01-02 15:04:05"), fmt.Sprintf(format, args...))
	}
	abort := func(err error) {
		note("ERROR: migration aborted (duration %s): %v", hms(c.now.Sub(begun)), err)
		o.fail(errors.New("migration aborted"))
	}
	m, err := r.lookup()
	if err == nil {
		err = m.unlocked()
	}
	if err != nil {
		o.fail(err)
		return
	}
	note("starting migration of VM %d to node '%s' (%s)", m.vmid, target, c.node(target).Address)
	if c.node(target).down {
		//lint:ignore ST1005 PVE's own words
		abort(errors.New("Can't connect to destination address using public key"))
		return
	}
	m.conf["lock"] = "migrate"
	o.undo = func() { delete(m.conf, "lock") }
	size, err := r.scanVolumes(m, to, note)
	if err != nil {
		//lint:ignore ST1005 PVE's own words
		abort(fmt.Errorf("Problem found while scanning volumes - %w", err))
		return
	}
	o.after(o.task.length(c.model.Migrate+copying(size, c.model.MigrateRate)), func() {
		if o.task.forced != "" && !isWarning(o.task.forced) {
			abort(errors.New(o.task.forced))
			return
		}
		moved, err := c.copyVolumes(m, target, to)
		if err != nil {
			abort(fmt.Errorf("storage migration failed: %w", err))
			return
		}
		o.commit(func() {
			renamed := map[string]string{}
			for k, v := range moved {
				d := c.drive(k, m.conf[k])
				delete(c.volumes, c.volume(m.node, d["file"]).key)
				renamed[d["file"]] = v.id()
				d["file"] = v.id()
				m.conf[k] = printDrive(d)
			}
			c.moveSnapshots(m, target, to, renamed)
			delete(m.conf, "lock")
			m.node = target
			note("migration finished successfully (duration %s)", hms(c.now.Sub(begun)))
		})
	})
}

// scanVolumes says how many bytes are to be copied, or why a volume cannot go.
func (r *request) scanVolumes(m *vm, to storageMap, note func(string, ...any)) (size int64, err error) {
	c := r.c
	slots, volumes := c.localVolumes(m)
	var problems []string
	for _, k := range slots {
		v, d := volumes[k], c.drive(k, m.conf[k])
		s, dest := c.storage(v.key.storage), c.storage(to.to(v.key.storage))
		switch {
		case isCD(d) && !isCloudDrive(d):
			problems = append(problems, fmt.Sprintf("can't migrate local cdrom '%s'", v.id()))
		case v.parent != "" && s.Type != "lvmthin":
			base := v.parent[strings.LastIndexByte(v.parent, '/')+1:]
			problems = append(problems, fmt.Sprintf("can't migrate '%s' as it's a clone of '%s'", v.id(), base))
		case m.inSnapshot(v.id()) && m.running:
			problems = append(problems, "online storage migration not possible if snapshot exists")
		case m.inSnapshot(v.id()) && s.Type != "zfspool" && !(s.files() && v.format == "qcow2"):
			problems = append(problems, "non-migratable snapshot exists")
		case m.running && !r.boolean("with-local-disks") && !isCD(d):
			problems = append(problems, "can't live migrate attached local disks without with-local-disks option")
		case c.inUse(v):
			problems = append(problems, fmt.Sprintf("base volume '%s' is still in use by linked cloned", v.id()))
		case (s.Type == "zfspool") != (dest.Type == "zfspool"):
			problems = append(problems, fmt.Sprintf("cannot migrate from storage type '%s' to '%s'", s.Type, dest.Type))
		default:
			attached := "attached"
			if unusedKey.MatchString(k) {
				attached = "unused"
			}
			note("found local disk '%s' (%s)", v.id(), attached)
			size += v.size
		}
	}
	if len(problems) > 0 {
		return 0, errors.New(strings.Join(problems, "\n"))
	}
	return size, nil
}

// copyVolumes makes m's local volumes on target, under the same name where that is free.
func (c *Cluster) copyVolumes(m *vm, target string, to storageMap) (map[string]*volume, error) {
	slots, volumes := c.localVolumes(m)
	moved := map[string]*volume{}
	for _, k := range slots {
		v := volumes[k]
		s := c.storage(to.to(v.key.storage))
		leaf := diskName(v)
		if c.volumes[s.key(target, s.name(m.vmid, leaf, v.format, nil))] != nil {
			leaf = c.freeLeaf(s, target, m.vmid)
		}
		written := v.used
		if v.parent != "" {
			written = v.size
		}
		made, err := c.create(s, target, m.vmid, leaf, v.format, v.size, written, nil)
		if err != nil {
			for _, other := range moved {
				delete(c.volumes, other.key)
			}
			return nil, err
		}
		made.contents = v.contents
		moved[k] = made
	}
	return moved, nil
}

// moveSnapshots takes the saved memories to target and names the volumes in snapshots as they are called there.
func (c *Cluster) moveSnapshots(m *vm, target string, to storageMap, renamed map[string]string) {
	for _, s := range m.snapshots {
		if v := c.volume(m.node, s.conf["vmstate"]); v != nil && v.key.node != "" {
			was := v.id()
			delete(c.volumes, v.key)
			v.key = c.storage(to.to(v.key.storage)).key(target, v.key.name)
			c.volumes[v.key] = v
			renamed[was] = v.id()
		}
		for k, text := range s.conf {
			file, rest, _ := strings.Cut(text, ",")
			if now := renamed[file]; now != "" {
				s.conf[k] = strings.TrimSuffix(now+","+rest, ",")
			}
		}
		for was, now := range renamed {
			if held, ok := s.volumes[was]; ok && was != now {
				delete(s.volumes, was)
				s.volumes[now] = held
			}
		}
	}
}
