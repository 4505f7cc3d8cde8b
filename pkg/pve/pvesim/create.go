package pvesim

import (
	"fmt"
	"strconv"
	"strings"
)

// createVM makes a plain VM. Its configuration exists, locked, before the UPID is given.
func (r *request) createVM() (any, error) {
	c := r.c
	vmid, node := r.vmid(), r.str("node")
	if err := r.pool(); err != nil {
		return nil, err
	}
	if !r.may(fmt.Sprintf("/vms/%d", vmid), "VM.Allocate") && (r.str("pool") == "" || !r.may("/pool/"+r.str("pool"), "VM.Allocate")) &&
		!(r.has("archive") && r.boolean("force") && c.vms[vmid] != nil && r.may(fmt.Sprintf("/vms/%d", vmid), "VM.Backup")) {
		return nil, deniedBare("")
	}
	if r.has("archive") {
		return r.restoreVM()
	}
	ch, err := r.configChange()
	if err != nil {
		return nil, err
	}
	if !r.who.root() {
		for k, v := range ch.set {
			if r.rightsFor(vmid, k, v) == nil {
				return nil, failure("only root can set '%s' config", k)
			}
		}
	}
	if other := c.vms[vmid]; other != nil {
		return nil, failure("unable to create VM %d - VM %d already exists on node '%s'", vmid, vmid, other.node)
	}
	m := newVM(vmid, node)
	m.born = c.now
	m.conf["lock"] = "create"
	c.vms[vmid] = m
	return r.fork(node, "qmcreate", strconv.Itoa(vmid), func(o *op) {
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() { r.build(o, m, ch) })
	}).upid, nil
}

func (r *request) build(o *op, m *vm, ch configChange) {
	c := r.c
	if ch.set["smbios1"] == "" {
		ch.set["smbios1"] = "uuid=" + c.uuid()
	}
	if ch.set["vmgenid"] == "" {
		ch.set["vmgenid"] = c.uuid()
	}
	ch.set["meta"] = fmt.Sprintf("creation-qemu=%s,ctime=%d", c.qemu(), c.now.Unix())
	if ch.set["boot"] == "" {
		ch.set["boot"] = c.defaultBoot(ch)
	}
	c.applyThen(o, m, ch, func() {
		delete(m.conf, "lock")
		m.pool = r.str("pool")
		if r.boolean("start") {
			o.logf("Execute autostart")
			r.autostart(m)
		}
	}, func() { delete(c.vms, m.vmid) })
}

// autostart starts a VM in a task of its own, whose end is nobody's business.
func (r *request) autostart(m *vm) {
	c := r.c
	t := c.newTask(m.node, "qmstart", strconv.Itoa(m.vmid), r.who)
	t.after(c.model.Fork, func() { c.boot(t.op, m.vmid, m.node, t.length(c.model.Boot)) })
}

// defaultBoot is the boot order of a VM for which none was given.
func (c *Cluster) defaultBoot(ch configChange) string {
	var disk, cd, net string
	for _, k := range driveSlots {
		v, ok := ch.set[k]
		switch {
		case !ok || strings.HasPrefix(k, "efi") || strings.HasPrefix(k, "tpm"):
		case isCD(c.drive(k, v)) || newCI.MatchString(v):
			if cd == "" && !newCI.MatchString(v) {
				cd = k
			}
		case disk == "":
			disk = k
		}
	}
	if ch.set["net0"] != "" {
		net = "net0"
	}
	order := strings.Join(strings.Fields(disk+" "+cd+" "+net), ";")
	if order == "" {
		return " "
	}
	return "order=" + order
}

// qemu is the QEMU version that goes with the simulated release.
func (c *Cluster) qemu() string {
	switch c.major {
	case 7:
		return "7.2.0"
	case 8:
		return "9.2.0"
	default:
		return "10.0.2"
	}
}

// machine is the machine type that goes with it.
func (c *Cluster) machine() string {
	return "pc-i440fx-" + c.qemu()[:strings.LastIndexByte(c.qemu(), '.')] + "+pve0"
}
