package pvesim

import (
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var errNoVM = errors.New("there is no such VM")

// change does something to a VM.
func (c *Cluster) change(vmid int, do func(m *vm)) error {
	c.lock()
	defer c.mu.Unlock()
	m := c.vms[vmid]
	if m == nil {
		return fmt.Errorf("VM %d: %w", vmid, errNoVM)
	}
	do(m)
	return nil
}

// SetLock sets or with "" clears a VM's lock, as a backup or an administrator would.
func (c *Cluster) SetLock(vmid int, lock string) error {
	return c.change(vmid, func(m *vm) {
		if m.conf["lock"] = lock; lock == "" {
			delete(m.conf, "lock")
		}
	})
}

// SetPower switches a VM on or off.
func (c *Cluster) SetPower(vmid int, p kvm.Power) error {
	return c.change(vmid, func(m *vm) {
		if p != kvm.Running {
			m.off()
			return
		}
		c.applyPending(m)
		c.generate(m)
		c.powerOn(m)
	})
}

// SetConfig changes options of a VM behind everybody's back; "" removes one.
func (c *Cluster) SetConfig(vmid int, options map[string]string) error {
	return c.change(vmid, func(m *vm) {
		for k, v := range options {
			if m.conf[k] = v; v == "" {
				delete(m.conf, k)
			}
		}
	})
}

// SetDeaf makes a VM's guest ignore shutdowns.
func (c *Cluster) SetDeaf(vmid int, deaf bool) error {
	return c.change(vmid, func(m *vm) { m.deaf = deaf })
}

// RemoveVM takes a VM away with its disks and firewall, as if it had never been. Its backups stay.
func (c *Cluster) RemoveVM(vmid int) {
	c.lock()
	defer c.mu.Unlock()
	for k, v := range c.volumes {
		if v.vmid == vmid && v.content == "images" {
			delete(c.volumes, k)
		}
	}
	delete(c.vms, vmid)
	delete(c.firewalls, vmid)
}

// RemoveBackups takes all backups of a VMID away, as if they had never been.
func (c *Cluster) RemoveBackups(vmid int) {
	c.lock()
	defer c.mu.Unlock()
	for k, v := range c.volumes {
		if v.vmid == vmid && v.archive != nil {
			delete(c.volumes, k)
		}
	}
}

// MoveVM puts a VM on another node, as a high-availability manager or administrator would.
func (c *Cluster) MoveVM(vmid int, node string) error {
	return c.change(vmid, func(m *vm) {
		for id := range c.ownVolumes(m) {
			if v := c.volume(m.node, id); v.key.node != "" {
				delete(c.volumes, v.key)
				v.key.node = node
				c.volumes[v.key] = v
			}
		}
		m.node = node
	})
}

// SetNodeDown makes a node unreachable (595) or reachable again; its VMs and tasks go on.
func (c *Cluster) SetNodeDown(name string, down bool) {
	c.lock()
	defer c.mu.Unlock()
	if n := c.node(name); n != nil {
		n.down = down
	}
}

// CrashNode makes a node unreachable and ends all that ran there: VMs are off, tasks end as "unexpected status" and put
// nothing back, so that a clone leaves its locked configuration behind.
func (c *Cluster) CrashNode(name string) {
	c.lock()
	defer c.mu.Unlock()
	if n := c.node(name); n != nil {
		c.crash(n)
	}
}

func (c *Cluster) crash(n *node) {
	n.down = true
	for _, t := range c.tasks {
		if t.node == n.Name {
			t.kill()
		}
	}
	for _, m := range c.vms {
		if m.node == n.Name {
			m.off()
		}
	}
}

// BootNode lets a node that has crashed come up: it is reachable again, and starts its VMs that have onboot=1 and no lock.
func (c *Cluster) BootNode(name string) {
	c.lock()
	defer c.mu.Unlock()
	if n := c.node(name); n != nil {
		c.comeUp(n)
	}
}

func (c *Cluster) comeUp(n *node) {
	if !n.down {
		return
	}
	n.down = false
	for _, m := range c.vms {
		if m.node == n.Name && m.conf["onboot"] == "1" && m.conf["lock"] == "" && !m.template() && !m.running {
			c.applyPending(m)
			c.generate(m)
			c.powerOn(m)
		}
	}
}

// crashFor crashes the node of r and boots it when d has passed.
func (c *Cluster) crashFor(r *request, d time.Duration) {
	guest := r.guest()
	c.lock()
	defer c.mu.Unlock()
	n := c.node(r.str("node"))
	if m := c.vms[guest]; n == nil && m != nil {
		n = c.node(m.node)
	}
	if n == nil || n.down {
		return
	}
	c.crash(n)
	c.schedule(d, func() { c.comeUp(n) })
}

// KillTask ends a task's worker without a chance to put anything back.
func (c *Cluster) KillTask(upid string) error {
	c.lock()
	defer c.mu.Unlock()
	t := c.byUPID[upid]
	if t == nil {
		return fmt.Errorf("task %s: there is no such task", upid)
	}
	t.kill()
	return nil
}

func (t *task) kill() {
	if !t.ended {
		t.undo = nil
		t.fail(errors.New("unexpected status"))
		t.log = t.log[:len(t.log)-1] // nobody wrote the last line
	}
}

// ForgetTask makes a task one that no call finds.
func (c *Cluster) ForgetTask(upid string) {
	c.lock()
	defer c.mu.Unlock()
	if t := c.byUPID[upid]; t != nil {
		t.vanished = true
	}
}

// SetQuorum makes the cluster lose its quorum or find it again.
func (c *Cluster) SetQuorum(quorate bool) {
	c.lock()
	defer c.mu.Unlock()
	c.quorumLost = !quorate
}

// SetStorageFull makes a storage refuse new volumes.
func (c *Cluster) SetStorageFull(id string, full bool) {
	c.lock()
	defer c.mu.Unlock()
	if s := c.storage(id); s != nil {
		s.full = full
	}
}

// SetStorageSize sets how many bytes a storage has.
func (c *Cluster) SetStorageSize(id string, bytes int64) {
	c.lock()
	defer c.mu.Unlock()
	if s := c.storage(id); s != nil {
		s.Size = bytes
	}
}

// SetDatacenterFirewall sets the datacenter's firewall options (enable, policy_in, ...); "" removes one.
func (c *Cluster) SetDatacenterFirewall(options map[string]string) {
	c.lock()
	defer c.mu.Unlock()
	for k, v := range options {
		if c.dcFirewall[k] = v; v == "" {
			delete(c.dcFirewall, k)
		}
	}
}

// AddPool adds a pool.
func (c *Cluster) AddPool(id string) {
	c.lock()
	defer c.mu.Unlock()
	c.pools[id] = true
}

// WriteDisk writes something on the disk at a slot, by which one can see later what a snapshot or a backup brought back.
func (c *Cluster) WriteDisk(vmid int, slot, contents string) error {
	c.lock()
	defer c.mu.Unlock()
	m := c.vms[vmid]
	if m == nil {
		return fmt.Errorf("VM %d: %w", vmid, errNoVM)
	}
	v := c.volume(m.node, c.drive(slot, m.conf[slot])["file"])
	if v == nil {
		return fmt.Errorf("VM %d has no disk at %s", vmid, slot)
	}
	v.contents = contents
	return nil
}

// AddSnapshot gives a VM a snapshot of its present options and disks, as if it had been taken now.
func (c *Cluster) AddSnapshot(vmid int, name, description string) error {
	return c.change(vmid, func(m *vm) {
		s := c.newSnapshot(m, description)
		for _, k := range c.snapshotVolumes(m.conf) {
			if v := c.volume(m.node, c.drive(k, m.conf[k])["file"]); v != nil {
				s.volumes[v.id()] = contentOf(v)
			}
		}
		s.state, m.snapshots[name], m.conf["parent"] = "", s, name
	})
}

// AddBackup puts a backup of a VM as it is now on a storage, named and dated as if it had been taken at that moment.
func (c *Cluster) AddBackup(storage string, vmid int, taken time.Time) (volid string, err error) {
	c.lock()
	defer c.mu.Unlock()
	m, s := c.vms[vmid], c.storage(storage)
	switch {
	case m == nil:
		return "", fmt.Errorf("VM %d: %w", vmid, errNoVM)
	case s == nil || !s.holds("backup"):
		return "", fmt.Errorf("storage %q holds no backups", storage)
	}
	content, size, _, err := c.archiveOf(m)
	if err != nil {
		return "", err
	}
	v := &volume{vmid: vmid, content: "backup", format: s.archiveFormat("zstd"), size: size, used: size, ctime: taken.Unix(), archive: content}
	v.key = s.key(m.node, s.archiveName(vmid, taken, v.format))
	c.volumes[v.key] = v
	return v.id(), nil
}
