package pvesim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// dump is the backup of one VM.
type dump struct {
	*job
	vmid   int
	vm     *vm
	begun  time.Time
	locked bool   // the VM's lock "backup" is ours
	after  func() // what the VM needs when it is over: to run again
	done   func()
}

func (d *dump) say(format string, args ...any) { d.o.logf("INFO: "+format, args...) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// run locks the VM, which fails when it is locked already.
func (d *dump) run() {
	c := d.o.c
	m := c.vms[d.vmid]
	if m == nil {
		d.fail(fmt.Errorf("unable to find VM '%d'", d.vmid))
		return
	}
	d.vm = m
	state := "stopped"
	if m.running {
		state = "running"
	}
	d.say("Starting Backup of VM %d (qemu)", m.vmid)
	d.say("Backup started at %s", stamp(c.now))
	d.say("status = %s", state)
	if n := limit(d.keep); n > 0 && d.r.str("remove") == "0" && !d.r.boolean("protected") {
		kept := 0
		for _, v := range c.backupsOf(d.storage, m.node, m.vmid) {
			kept += flag(!v.protected)
		}
		if kept >= n {
			//lint:ignore ST1005 PVE's own words
			d.fail(fmt.Errorf("There is a max backup limit of %d enforced by the target storage or the vzdump parameters. "+
				"Either increase the limit or delete old backups.", n))
			return
		}
	}
	d.o.lock(claim{key: vmLockKey(m.vmid), limit: vmLockWait, late: d.fail, then: func() {
		defer d.o.release(vmLockKey(m.vmid))
		if err := m.unlocked(); err != nil {
			d.fail(err)
			return
		}
		m.conf["lock"], d.locked = "backup", true
		d.prepare()
	}})
}

// prepare brings the VM into the state in which it is read: in stop mode it is shut down and started again, in suspend
// mode paused, in snapshot mode it goes on.
func (d *dump) prepare() {
	c, m := d.o.c, d.vm
	mode := "stop"
	if m.running {
		mode = d.r.str("mode")
		if mode == "" {
			mode = "snapshot"
		}
	}
	d.say("backup mode: %s", mode)
	d.say("ionice priority: 7")
	d.say("VM Name: %s", m.name())
	for _, k := range driveSlots {
		if v := m.conf[k]; v != "" && !isCD(c.drive(k, v)) {
			p := c.drive(k, v)
			if p["backup"] == "0" {
				d.say("exclude disk '%s' '%s' (backup=no)", k, p["file"])
			} else {
				d.say("include disk '%s' '%s' %s", k, p["file"], p["size"])
			}
		}
	}
	for _, k := range unusedSlots {
		if v := m.conf[k]; v != "" {
			d.say("skip unused drive '%s' (not included into backup)", v)
		}
	}
	switch {
	case !m.running:
		d.archive(func() {
			d.say("starting kvm to execute backup task")
			if c.generate(m) {
				d.o.logf("generating cloud-init ISO")
			}
		}, func() { d.say("stopping kvm after backup task") })
	case mode == "stop":
		d.say("stopping virtual guest")
		if m.deaf {
			d.o.after(time.Duration(d.r.number("stopwait", 10))*time.Minute, func() {
				d.fail(errors.New("VM quit/powerdown failed - got timeout"))
			})
			return
		}
		d.o.after(c.model.Shutdown, func() {
			m.off()
			d.after = func() { c.powerOn(m) }
			d.o.after(c.model.Boot, func() {
				c.applyPending(m)
				c.generate(m)
				d.archive(func() {
					d.say("starting kvm to execute backup task")
					c.powerOn(m)
					d.after = nil
					d.say("resuming VM again after %d seconds", int((c.model.Shutdown + c.model.Boot).Seconds()))
				}, nil)
			})
		})
	case mode == "suspend":
		d.say("suspending guest")
		m.paused, d.after = true, func() { m.paused = false }
		d.o.after(c.model.Stop, func() {
			d.archive(func() {
				d.after()
				d.after = nil
				d.say("resuming VM again after %d seconds", int(c.model.Stop.Seconds()))
			}, nil)
		})
	default:
		d.archive(func() { d.say("resuming VM again") }, nil)
	}
}

// archive reads the disks as they are now and has the archive when that is over.
func (d *dump) archive(started, ended func()) {
	c, m, begun := d.o.c, d.vm, d.o.c.now
	content, size, written, err := c.archiveOf(m)
	if err != nil {
		d.fail(err)
		return
	}
	format := d.storage.archiveFormat(d.r.str("compress"))
	name, at := d.name(format)
	kind, target := "vzdump", d.storage.path(name)
	if d.storage.Type == "pbs" {
		kind, target = "Proxmox Backup Server", strings.TrimPrefix(name, "backup/")
	}
	d.say("creating %s archive '%s'", kind, target)
	d.say("started backup task '%s'", c.uuid())
	started()
	d.o.after(d.o.task.length(c.model.Backup+copying(size, c.model.BackupRate)), func() {
		v := &volume{key: d.storage.key(m.node, name), vmid: m.vmid, content: "backup", format: format, size: written + 4096,
			ctime: at.Unix(), archive: content}
		if d.storage.Type == "pbs" {
			v.size = size
		}
		v.used = v.size
		if err := c.room(d.storage, m.node, name, v.size, v.used); err != nil {
			d.o.logf("zstd: error 25 : Write error : No space left on device (cannot write compressed block)")
			d.fail(errors.New("vma_queue_write: write error - Broken pipe"))
			return
		}
		if text := d.o.task.forced; text != "" && !isWarning(text) {
			d.fail(errors.New(text))
			return
		}
		c.volumes[v.key] = v
		d.say("transferred %.2f GiB in %d seconds", float64(size)/(1<<30), int(c.now.Sub(begun).Seconds()))
		if ended != nil {
			ended()
		}
		if d.storage.Type != "pbs" {
			d.say("archive file size: %dKB", v.size>>10)
		}
		d.finish(v)
	})
}

// name is the archive's name and its moment, which has a second of its own.
func (d *dump) name(format string) (string, time.Time) {
	for at := d.begun.UTC().Truncate(time.Second); ; at = at.Add(time.Second) {
		taken := func(v *volume) bool { return v.ctime == at.Unix() }
		if !slices.ContainsFunc(d.o.c.backupsOf(d.storage, d.vm.node, d.vmid), taken) {
			return d.storage.archiveName(d.vmid, at, format), at
		}
	}
}

// finish adds notes and protection, removes what the retention does not keep, and frees the VM.
func (d *dump) finish(v *volume) {
	c, m := d.o.c, d.vm
	if text := d.r.str("notes-template"); text != "" {
		d.say("adding notes to backup")
		v.notes = strings.NewReplacer("{{cluster}}", c.opts.Name, "{{guestname}}", m.name(), "{{node}}", m.node,
			"{{vmid}}", fmt.Sprint(m.vmid), `\\`, `\`, `\n`, "\n").Replace(text)
	}
	if d.r.boolean("protected") {
		d.say("marking backup as protected")
		v.protected = true
	}
	if d.r.str("remove") != "0" && limit(d.keep) > 0 {
		d.say("prune older backups with retention: %s", d.keep)
		pruned, list := 0, c.backupsOf(d.storage, m.node, m.vmid)
		mark := marks(list, d.keep)
		for _, old := range list {
			if mark[old] == "remove" {
				d.say("removing backup '%s'", old.id())
				delete(c.volumes, old.key)
				pruned++
			}
		}
		d.say("pruned %d backup(s)", pruned)
	}
	d.unlock()
	d.say("Finished Backup of VM %d (%s)", d.vmid, hms(c.now.Sub(d.begun)))
	d.say("Backup finished at %s", stamp(c.now))
	d.done()
}

// unlock frees the VM and lets it run again.
func (d *dump) unlock() {
	if d.locked {
		delete(d.vm.conf, "lock")
		d.locked = false
	}
	if d.after != nil {
		d.after()
		d.after = nil
	}
}

// fail ends the backup of this VM; the job goes on with the next one.
func (d *dump) fail(err error) {
	d.failed = true
	d.interrupted(err)
	d.done()
}

func (d *dump) interrupted(err error) {
	d.unlock()
	d.o.logf("ERROR: Backup of VM %d failed - %v", d.vmid, err)
	d.say("Failed at %s", stamp(d.o.c.now))
}
