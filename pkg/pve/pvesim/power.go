package pvesim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (r *request) power(typ string, worker func(o *op)) (any, error) {
	if err := r.onlyRoot("skiplock", "migratedfrom", "migration_type", "migration_network", "stateuri", "force-cpu", "keepActive"); err != nil {
		return nil, err
	}
	return r.fork(r.str("node"), typ, strconv.Itoa(r.vmid()), worker).upid, nil
}

func (r *request) startVM() (any, error) {
	return r.power("qmstart", func(o *op) {
		o.c.boot(o, r.vmid(), r.str("node"), o.task.length(o.c.model.Boot))
	})
}

// boot is the start of a VM: its checks under the lock, pending changes, the cloud-init drive, QEMU.
func (c *Cluster) boot(o *op, vmid int, node string, length time.Duration) {
	o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
		m, err := c.onNode(vmid, node)
		if err == nil {
			err = c.mayBoot(m, o.skip)
		}
		if err != nil {
			o.fail(err)
			return
		}
		c.applyPending(m)
		if state := m.conf["vmstate"]; m.conf["lock"] == "suspended" {
			o.logf("Resuming suspended VM")
			o.logf("activating and using '%s' as vmstate", state)
		} else if c.generate(m) {
			o.logf("generating cloud-init ISO")
		}
		for _, k := range m.disks() {
			if strings.HasPrefix(k, "scsi") && c.drive(k, m.conf[k])["iothread"] == "1" && m.conf["scsihw"] != "virtio-scsi-single" {
				o.warn("iothread is only valid with virtio disk or virtio-scsi-single controller, ignoring")
			}
		}
		o.after(length, func() {
			o.commit(func() {
				if m.conf["lock"] == "suspended" {
					delete(m.conf, "lock")
					c.dropState(m.node, m.conf)
					o.logf("Resumed VM, removing state")
				}
				if o.task.upLate == 0 {
					c.powerOn(m)
					return
				}
				c.schedule(o.task.upLate, func() {
					if c.vms[vmid] == m && !m.running {
						c.powerOn(m)
					}
				})
			})
		})
	})
}

func (c *Cluster) mayBoot(m *vm, skip bool) error {
	switch {
	case m.template():
		return failure("you can't start a vm if it's a template")
	case !skip && m.conf["lock"] != "suspended" && m.unlocked() != nil:
		return m.unlocked()
	case m.running:
		return failure("VM %d already running", m.vmid)
	}
	if n := c.node(m.node); m.cpus() > n.CPUs {
		return failure("MAX %d vcpus allowed per VM on this node", n.CPUs)
	}
	for part := range strings.SplitSeq(m.conf["cicustom"], ",") {
		if _, volid, ok := strings.Cut(part, "="); ok && c.volume(m.node, volid) == nil {
			return failure("volume '%s' does not exist", volid)
		}
	}
	for _, k := range sortedKeys(m.conf) {
		v := m.conf[k]
		d := c.drive(k, v)
		if driveKey.MatchString(k) && d["file"] != "none" && d["file"] != "cdrom" && c.volume(m.node, d["file"]) == nil {
			return failure("volume '%s' does not exist", d["file"])
		}
		if netKey.MatchString(k) {
			net, _ := parseProperties(c.config[k].props, v)
			if b := net["bridge"]; b != "" && !slices.Contains(c.node(m.node).Bridges, b) {
				if c.major >= 9 {
					return failure("bridge '%s' does not exist", b)
				}
				return failure("start failed: QEMU exited with code 1")
			}
		}
	}
	return nil
}

func (c *Cluster) powerOn(m *vm) {
	c.pid++
	m.running, m.paused, m.since, m.pid = true, false, c.now, c.pid
}

func (m *vm) off() { m.running, m.paused, m.ci = false, false, nil }

func (r *request) stopVM() (any, error) {
	c, vmid := r.c, r.vmid()
	return r.power("qmstop", func(o *op) {
		if r.boolean("overrule-shutdown") {
			for _, t := range c.tasks {
				if t.typ == "qmshutdown" && t.id == strconv.Itoa(vmid) && !t.ended {
					t.interrupt()
					o.logf("overruled qmshutdown tasks: %s", t.upid)
				}
			}
		}
		o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
			m, err := c.onNode(vmid, r.str("node"))
			switch {
			case err != nil:
				o.fail(err)
			case !m.running:
				o.commit(nil)
			case m.unlocked() != nil && !o.skip:
				o.fail(m.unlocked())
			default:
				o.after(o.task.length(c.model.Stop), func() { o.commit(m.off) })
			}
		})
	})
}

func (r *request) shutdownVM() (any, error) {
	return r.power("qmshutdown", func(o *op) {
		o.acquire(vmLockKey(r.vmid()), false, vmLockWait, func() {
			m, err := r.lookup()
			switch {
			case err != nil:
				o.fail(err)
			case !m.running:
				o.commit(nil)
			case m.unlocked() != nil && !o.skip:
				o.fail(m.unlocked())
			default:
				r.powerdown(o, m, func() { o.commit(m.off) })
			}
		})
	})
}

// powerdown asks the guest to power off and goes on when it has, or was forced to. A guest that does not react costs
// the whole timeout, a minute by default, during which the lock is held.
func (r *request) powerdown(o *op, m *vm, then func()) {
	c := r.c
	limit := time.Duration(r.number("timeout", 60)) * time.Second
	length := o.task.length(c.model.Shutdown)
	if !m.deaf && !m.paused && length <= limit {
		o.after(length, then)
		return
	}
	o.after(limit, func() {
		if !r.boolean("forceStop") {
			o.fail(errors.New("VM quit/powerdown failed - got timeout"))
			return
		}
		o.logf("VM still running - terminating now with SIGTERM")
		o.after(c.model.Stop, then)
	})
}

// whileRunning is for calls that a stopped VM refuses at once.
func (r *request) whileRunning(typ string, worker func(o *op, m *vm)) (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	if !m.running {
		return nil, failure("VM %d not running", m.vmid)
	}
	return r.power(typ, func(o *op) {
		o.acquire(vmLockKey(r.vmid()), false, vmLockWait, func() {
			m, err := r.lookup()
			switch {
			case err != nil:
				o.fail(err)
			case m.unlocked() != nil && !o.skip:
				o.fail(m.unlocked())
			case !m.running:
				o.fail(fmt.Errorf("VM %d not running", m.vmid))
			default:
				worker(o, m)
			}
		})
	})
}

// rebootVM powers the guest off and starts it again, and so applies pending changes.
func (r *request) rebootVM() (any, error) {
	c := r.c
	return r.whileRunning("qmreboot", func(o *op, m *vm) {
		r.powerdown(o, m, func() {
			m.off()
			c.applyPending(m)
			c.generate(m)
			o.after(c.model.Boot, func() {
				o.commit(func() { m.running, m.since = true, c.now })
			})
		})
	})
}

func (r *request) resetVM() (any, error) {
	return r.whileRunning("qmreset", func(o *op, m *vm) { o.commit(func() { m.since = r.c.now }) })
}

// statusCurrent is a VM as its node sees it now.
func (r *request) statusCurrent() (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	return r.c.status(m, true), nil
}

// status is a VM's row in the node's list; full adds what only status/current has.
func (c *Cluster) status(m *vm, full bool) object {
	s := c.observe(m)
	row := object{"vmid": m.vmid, "name": s.name, "status": s.power, "cpus": m.cpus(), "maxmem": s.maxMem, "maxdisk": s.maxDisk,
		"disk": 0, "mem": s.mem, "cpu": 0, "uptime": s.uptime, "netin": s.netIn, "netout": s.netOut}
	if !full {
		row["diskread"], row["diskwrite"] = 0, 0
	}
	if c.major >= 9 {
		row["memhost"] = s.mem
	}
	if m.template() {
		row["template"] = 1
	}
	if l := m.conf["lock"]; l != "" {
		row["lock"] = l
	}
	if t := m.conf["tags"]; t != "" {
		row["tags"] = t
	}
	if m.running {
		row["pid"] = m.pid
	}
	for _, kind := range []string{"cpufull", "cpusome", "iofull", "iosome", "memoryfull", "memorysome"} {
		if m.running && c.major >= 9 {
			row["pressure"+kind] = 0
		}
	}
	if !full {
		return row
	}
	row["ha"], row["qmpstatus"] = object{"managed": 0}, s.power
	if m.paused {
		row["qmpstatus"] = "paused"
	}
	if m.agent() {
		row["agent"] = 1
	}
	if m.conf["serial0"] != "" {
		row["serial"] = 1
	}
	if m.running {
		row["diskread"], row["diskwrite"] = 0, 0
		row["running-qemu"], row["running-machine"] = c.qemu(), c.machine()
		row["balloon"], row["ballooninfo"] = s.maxMem, object{"actual": s.maxMem, "max_mem": s.maxMem}
		nics := object{}
		for i := 0; i <= families["net"]; i++ {
			if m.conf[fmt.Sprintf("net%d", i)] != "" {
				nics[fmt.Sprintf("tap%di%d", m.vmid, i)] = object{"netin": 0, "netout": 0}
			}
		}
		if len(nics) > 0 {
			row["nics"] = nics
		}
	}
	return row
}
