package pvesim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// configChange is what one PUT or POST config asks for.
type configChange struct {
	set    map[string]string
	del    []string
	revert []string
	force  bool
	digest string
}

// notOptions are parameters of config calls that are no options of the VM.
var notOptions = []string{"node", "vmid", "digest", "skiplock", "force", "delete", "revert", "background_delay",
	"import-working-storage", "start", "pool", "storage", "bwlimit", "ha-managed", "archive", "unique", "live-restore", "idlist"}

// configChange reads the parameters and checks what can be checked without the VM's lock, in PVE's order.
func (r *request) configChange() (configChange, error) {
	ch := configChange{set: map[string]string{}, force: r.boolean("force"), digest: r.str("digest")}
	if err := r.onlyRoot("skiplock"); err != nil {
		return ch, err
	}
	for k, v := range r.vars {
		if !slices.Contains(notOptions, k) {
			ch.set[k] = v
		}
	}
	if v, ok := ch.set["cdrom"]; ok {
		delete(ch.set, "cdrom")
		ch.set["ide2"] = v
	}
	ch.del = strings.FieldsFunc(r.str("delete"), isListBreak)
	ch.revert = strings.FieldsFunc(r.str("revert"), isListBreak)
	if len(ch.set)+len(ch.del)+len(ch.revert) == 0 && r.ep.path != "/nodes/{node}/qemu" {
		return ch, failure("no options specified")
	}
	if keys := ch.set["sshkeys"]; keys != "" && !validKeys(keys) {
		return ch, failure("SSH public key validation error")
	}
	for name, list := range map[string][]string{"delete": ch.del, "revert": ch.revert} {
		for _, k := range list {
			if _, both := ch.set[k]; both {
				return ch, badParam(name, fmt.Sprintf("you can't use '-%s' and -%s %s' at the same time", k, name, k))
			}
			if r.c.config[k] == nil {
				return ch, badParam(name, fmt.Sprintf("unknown option '%s'", k))
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(ch.set)) {
		if err := r.prepare(&ch, k); err != nil {
			return ch, err
		}
	}
	return ch, nil
}

// prepare gives an option's value the form that is stored, and checks the storage that it wants.
func (r *request) prepare(ch *configChange, k string) error {
	c := r.c
	switch {
	case netKey.MatchString(k):
		ch.set[k] = c.printNet(k, ch.set[k])
		p, _ := parseProperties(c.config[k].props, ch.set[k])
		return r.mayUseBridge(p["bridge"], p["tag"])
	case driveKey.MatchString(k):
		p := c.drive(k, ch.set[k])
		if from := p["import-from"]; from != "" {
			if m := newVolume.FindStringSubmatch(p["file"]); m == nil || m[2] != "0" {
				return badParam(k, "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>")
			}
			if strings.HasPrefix(from, "/") && r.who.root() {
				return failure("import-from with a path is not part of this simulation")
			}
		}
		if (strings.HasPrefix(p["file"], "/") || strings.HasPrefix(p["import-from"], "/")) && !r.who.root() {
			return failure("Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 581.")
		}
		storage, isNew := allocates(p["file"])
		if !isNew {
			return nil
		}
		s, err := c.enabled(storage, r.str("node"))
		if err != nil {
			return err
		}
		if !r.may("/storage/"+storage, "Datastore.AllocateSpace") {
			return denied("/storage/"+storage, "Datastore.AllocateSpace")
		}
		if !s.holds("images") {
			return badParam("storage", fmt.Sprintf("storage '%s' does not support vm images", storage))
		}
	case k == "cipassword" && !crypted.MatchString(ch.set[k]):
		salt := c.uuid()[:8]
		sum := sha256.Sum256([]byte(salt + ch.set[k]))
		ch.set[k] = "$5$" + salt + "$" + hex.EncodeToString(sum[:])
	case k == "vmgenid" && ch.set[k] == "1":
		ch.set[k] = c.uuid()
	}
	return nil
}

// crypted are passwords that are hashed already.
var crypted = pattern.New(`^\$(?:[156]|2[ay])(\$.+){2}`)

// mayUseBridge is the check for SDN.Use, which came with 8.
func (r *request) mayUseBridge(bridge, tag string) error {
	if r.c.major < 8 || bridge == "" {
		return nil
	}
	at := "/sdn/zones/localnetwork/" + bridge
	if tag != "" {
		at += "/" + tag
	}
	if !r.may(at, "SDN.Use") {
		return denied(at, "SDN.Use")
	}
	return nil
}

func (r *request) putConfig() (any, error)  { return r.updateConfig(true) }
func (r *request) postConfig() (any, error) { return r.updateConfig(false) }

// updateConfig changes a VM. Lock, digest and options are checked under the VM's file lock before the answer in both
// forms; only the allocation of volumes is left to the task of POST.
func (r *request) updateConfig(sync bool) (any, error) {
	c := r.c
	ch, err := r.configChange()
	if err != nil {
		return nil, err
	}
	vmid, node := r.vmid(), r.str("node")
	if err := r.mayChange(vmid, ch); err != nil {
		return nil, err
	}
	var t *task
	o := &op{c: c}
	o.acquire(vmLockKey(vmid), false, vmLockWait, func() {
		m, err := c.onNode(vmid, node)
		if err == nil {
			err = r.mayUpdate(m, ch)
		}
		if err != nil {
			o.fail(err)
			return
		}
		switch err := c.bootOrder(m, &ch); {
		case sync && err != nil:
			o.fail(err)
		case sync:
			c.apply(o, m, ch)
		default:
			t = c.newTask(node, "qmconfig", strconv.Itoa(vmid), r.who)
			r.arm(t)
			t.logf("update VM %d: %s", vmid, ch.arguments())
			o.hand(t)
			t.after(c.model.Fork, func() {
				if err != nil { // the worker says it
					t.op.fail(err)
					return
				}
				c.apply(t.op, m, ch)
			})
		}
	})
	if err := r.await(o); err != nil || sync {
		return nil, err
	}
	if delay := r.number("background_delay", 0); delay > 0 {
		if done, err := r.awaitFor(t.op, time.Duration(delay)*time.Second); done {
			return nil, err
		}
	}
	return t.upid, nil
}

// arguments are the options as the task's log shows them.
func (ch configChange) arguments() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(ch.set)) {
		value := ch.set[k]
		if k == "cipassword" {
			value = "<hidden>"
		}
		parts = append(parts, "-"+k+" "+value)
	}
	if len(ch.del) > 0 {
		parts = append(parts, "-delete "+strings.Join(ch.del, ","))
	}
	return strings.Join(parts, " ")
}

// mayUpdate are the checks under the lock.
func (r *request) mayUpdate(m *vm, ch configChange) error {
	if ch.digest != "" && ch.digest != digestOf(m.file()) {
		return r.c.changedSince()
	}
	if !r.boolean("skiplock") {
		if err := m.unlocked(); err != nil {
			return err
		}
	}
	for _, k := range ch.del {
		if v := r.c.volume(m.node, r.c.drive(k, m.conf[k])["file"]); v != nil && (ch.force || unusedKey.MatchString(k)) && m.inSnapshot(v.id()) {
			return failure("unable to delete '%s' - volume is still in use (snapshot?)", v.id())
		}
	}
	balloon, _ := strconv.ParseInt(cmp.Or(ch.set["balloon"], m.conf["balloon"]), 10, 64)
	after := &vm{conf: map[string]string{"memory": cmp.Or(ch.set["memory"], m.pending["memory"].value, m.conf["memory"])}}
	if balloon<<20 > after.memory() {
		return failure("balloon value too large (must be smaller than assigned memory)")
	}
	return nil
}

// changedSince is the refusal of a digest.
func (c *Cluster) changedSince() error {
	if c.major == 7 {
		return failure("checksum missmatch (file change by other user?)")
	}
	return failure("checksum mismatch (file change by other user?)")
}

// apply makes the new volumes one after the other, then writes the configuration. A failure frees what it made.
func (c *Cluster) apply(o *op, m *vm, ch configChange) { c.applyThen(o, m, ch, nil, nil) }

// applyThen is apply with something to do after the configuration was written, and something to undo on failure.
func (c *Cluster) applyThen(o *op, m *vm, ch configChange, then, undo func()) {
	var wanted []string
	for _, k := range slices.Sorted(maps.Keys(ch.set)) {
		if driveKey.MatchString(k) {
			wanted = append(wanted, k)
		}
	}
	made := []volumeKey{}
	o.undo = func() {
		for _, k := range made {
			delete(c.volumes, k)
		}
		if undo != nil {
			undo()
		}
	}
	total := time.Duration(len(wanted)) * c.model.Allocate
	if o.task != nil {
		total = c.model.length(o.task.typ, total)
	}
	var next func(i int)
	next = func(i int) {
		if i == len(wanted) {
			o.commit(func() {
				c.write(m, ch)
				if then != nil {
					then()
				}
			})
			return
		}
		k := wanted[i]
		do := func() {
			value, err := c.allocate(m, k, ch.set[k])
			if err != nil {
				o.fail(err)
				return
			}
			if _, isNew := allocates(c.drive(k, ch.set[k])["file"]); isNew {
				made = append(made, c.volume(m.node, c.drive(k, value)["file"]).key)
				o.logf("%s: successfully created disk '%s'", k, value)
			}
			ch.set[k] = value
		}
		storage, isNew := allocates(c.drive(k, ch.set[k])["file"])
		s := c.storage(storage)
		if !isNew || s == nil {
			if do(); !o.done {
				next(i + 1)
			}
			return
		}
		o.acquire(s.lockKey(m.node), false, storageLockWait, func() {
			o.after(total/time.Duration(len(wanted)), func() {
				if do(); !o.done {
					o.release(s.lockKey(m.node))
					next(i + 1)
				}
			})
		})
	}
	if len(wanted) == 0 {
		o.after(total, func() { next(0) })
		return
	}
	next(0)
}
