package pvesim

import "strconv"

// suspendVM pauses the VM, or with todisk=1 saves its memory and switches it off, locked. While the memory is being
// saved the lock is "suspending" and the VM's file lock is free.
func (r *request) suspendVM() (any, error) {
	c := r.c
	if !r.boolean("todisk") {
		return r.whileRunning("qmpause", func(o *op, m *vm) { o.commit(func() { m.paused = true }) })
	}
	return r.whileRunning("qmsuspend", func(o *op, m *vm) {
		storage := r.str("statestorage")
		if storage == "" {
			storage = c.stateStorage(m)
		}
		state, err := c.saveState(m, storage, "suspend-"+c.now.UTC().Format("2006-01-02"))
		if err != nil {
			o.fail(err)
			return
		}
		m.conf["lock"] = "suspending"
		c.runningOptions(m.conf, state)
		o.undo = func() {
			delete(m.conf, "lock")
			c.dropState(m.node, m.conf)
		}
		o.release(vmLockKey(m.vmid))
		o.after(o.task.length(c.model.Snapshot+copying(m.memory(), c.model.StateRate)), func() {
			o.acquire(vmLockKey(m.vmid), false, vmLockWait, func() {
				o.commit(func() {
					m.off()
					m.conf["lock"] = "suspended"
					o.logf("State saved, quitting")
				})
			})
		})
	})
}

// resumeVM lets a paused VM go on. One that was suspended to disk it starts.
func (r *request) resumeVM() (any, error) {
	c := r.c
	if m := c.vms[r.vmid()]; m == nil || m.node != r.str("node") || m.running || m.conf["lock"] != "suspended" {
		return r.whileRunning("qmresume", func(o *op, m *vm) { o.commit(func() { m.paused = false }) })
	}
	if err := r.onlyRoot("skiplock"); err != nil {
		return nil, err
	}
	return r.fork(r.str("node"), "qmresume", strconv.Itoa(r.vmid()), func(o *op) {
		c.boot(o, r.vmid(), r.str("node"), o.task.length(c.model.Boot))
	}).upid, nil
}

// agent says whether the configuration has a guest agent.
func (m *vm) agent() bool {
	p, _ := parseProperties(agentProps, m.conf["agent"])
	return p["enabled"] == "1"
}

var agentProps = map[string]*param{"enabled": {Type: "boolean", DefaultKey: true}}
