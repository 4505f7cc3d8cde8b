package pvesim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// vzdumpDefaults are the settings of a job for which none are given.
func (r *request) vzdumpDefaults() (any, error) {
	c := r.c
	row := object{"all": 0, "bwlimit": 0, "compress": "0", "ionice": 7, "lockwait": 180, "mailnotification": "always",
		"mode": "snapshot", "pigz": 0, "prune-backups": "keep-all=1", "quiet": 0, "remove": 1, "stdexcludes": 1, "stop": 0,
		"stopwait": 10, "zstd": 1}
	if c.major >= 8 {
		row["fleecing"], row["notification-mode"] = object{"enabled": 0}, "auto"
		row["performance"] = object{"max-workers": 16, "pbs-entries-max": 1048576}
	}
	if c.major == 8 {
		row["notification-policy"] = "always"
	}
	if id := r.str("storage"); id != "" {
		s := c.storage(id)
		if s == nil {
			return nil, failure("storage '%s' does not exist", id)
		}
		if !r.may("/storage/"+id, "Datastore.Audit", "Datastore.AllocateSpace") {
			return nil, denied("/storage/"+id, "Datastore.Audit", "Datastore.AllocateSpace")
		}
		row["storage"], row["prune-backups"] = id, s.retention()
		if s.files() {
			row["dumpdir"] = s.Path + "/dump"
		}
	}
	return row, nil
}

// job is a backup of one or more VMs to one storage.
type job struct {
	r       *request
	o       *op
	vmids   []int
	storage *Storage
	keep    string // the retention
	failed  bool
	abort   func(err error) // undoes what the VM at hand has at this moment
}

// vzdump backs VMs up. A node runs one job at a time; another one waits for it. VMs of other nodes are left out, and where
// none is left the answer is "OK" instead of a UPID. With stop=1 the job that runs is aborted first.
func (r *request) vzdump() (any, error) {
	c, node := r.c, r.str("node")
	if err := r.checkJob(); err != nil {
		return nil, err
	}
	var vmids []int
	if r.boolean("all") || r.has("exclude") {
		out := strings.FieldsFunc(r.str("exclude"), isListBreak)
		for _, m := range c.sortedVMs() {
			if m.node == node && !slices.Contains(out, strconv.Itoa(m.vmid)) {
				vmids = append(vmids, m.vmid)
			}
		}
	} else if pool := r.str("pool"); pool != "" {
		for _, m := range c.sortedVMs() {
			if m.node == node && m.pool == pool {
				vmids = append(vmids, m.vmid)
			}
		}
	} else {
		for _, text := range strings.FieldsFunc(r.str("vmid"), isListBreak) {
			n, _ := strconv.Atoi(text)
			if m := c.vms[n]; (m == nil || m.node == node) && !slices.Contains(vmids, n) {
				vmids = append(vmids, n)
			}
		}
	}
	if l := c.locks["vzdump@"+node]; r.boolean("stop") && l != nil {
		for _, running := range slices.Collect(maps.Keys(l.holders)) { // the next job takes the lock, and goes on
			running.task.interrupt()
		}
	}
	if len(vmids) == 0 {
		return "OK", nil
	}
	slices.Sort(vmids)
	id := ""
	if len(vmids) == 1 {
		id = strconv.Itoa(vmids[0])
	}
	return r.fork(node, "vzdump", id, func(o *op) {
		minutes, late := r.number("lockwait", 180), "- got timeout"
		if minutes == 0 {
			late = "(wait = 0)"
		}
		o.lock(claim{key: "vzdump@" + node, limit: time.Duration(minutes) * time.Minute,
			waiting: "INFO: trying to get global lock - waiting...", given: "INFO: got global lock",
			lateText: "can't acquire lock '/var/run/vzdump.lock' " + late,
			then:     func() { (&job{r: r, o: o, vmids: vmids}).begin() }})
	}).upid, nil
}

// checkJob is what is checked before the UPID.
func (r *request) checkJob() error {
	for _, other := range []string{"all", "exclude", "pool"} {
		if r.has("vmid") && (other == "all" && r.boolean(other) || other != "all" && r.has(other)) {
			return badParam(other, "option conflicts with option 'vmid'")
		}
	}
	if strings.Contains(r.str("notes-template"), "\n") {
		return badParam("notes-template", "contains a line feed")
	}
	if !r.has("vmid") && !r.boolean("all") && !r.has("exclude") && !r.has("pool") && !r.boolean("stop") {
		return badParam("vmid", "property is missing")
	}
	for _, k := range []string{"dumpdir", "script", "tmpdir", "job-id"} {
		if r.has(k) && !r.who.root() {
			return badParam(k, "Only root may set this option.")
		}
	}
	for _, k := range []string{"bwlimit", "ionice", "performance"} {
		if r.has(k) && !r.may("/", "Sys.Modify") {
			return denied("/", "Sys.Modify")
		}
	}
	if id := r.str("storage"); id != "" {
		if !r.may("/storage/"+id, "Datastore.AllocateSpace") {
			return denied("/storage/"+id, "Datastore.AllocateSpace")
		}
		if r.has("prune-backups") && !r.may("/storage/"+id, "Datastore.Allocate") {
			return denied("/storage/"+id, "Datastore.Allocate")
		}
	}
	return nil
}

// begin is the job once it has the node's lock.
func (j *job) begin() {
	r, o, c := j.r, j.o, j.r.c
	id := r.str("storage")
	if id == "" {
		id = "local"
	}
	s, err := c.enabled(id, r.str("node"))
	if err != nil {
		o.fail(fmt.Errorf("could not activate storage '%s': %w", id, err))
		return
	}
	if !s.holds("backup") {
		o.fail(fmt.Errorf("could not get storage information for '%s': can't use storage '%s' for backups - wrong content type", id, id))
		return
	}
	j.storage, j.keep = s, s.retention()
	if text := r.str("prune-backups"); text != "" {
		j.keep = text
	}
	for _, vmid := range j.vmids {
		if guest := fmt.Sprintf("/vms/%d", vmid); c.vms[vmid] != nil && !r.may(guest, "VM.Backup") {
			o.fail(denied(guest, "VM.Backup"))
			return
		}
	}
	o.undo = func() {
		if j.abort != nil {
			j.abort(errors.New("interrupted by signal"))
			o.logf("ERROR: Backup job failed - interrupted by signal")
		}
	}
	o.logf("INFO: starting new backup job: vzdump %s", r.arguments())
	j.next(0)
}

// arguments are the parameters as the job's log shows them.
func (r *request) arguments() string {
	text := r.str("vmid")
	for _, k := range sortedKeys(r.vars) {
		value := r.vars[k]
		if strings.ContainsAny(value, " {") {
			value = "'" + value + "'"
		}
		if k != "vmid" {
			text += " --" + k + " " + value
		}
	}
	return strings.TrimSpace(text)
}

// next backs up the i-th VM and goes on from there.
func (j *job) next(i int) {
	o := j.o
	if i == len(j.vmids) {
		j.abort = nil
		if j.failed {
			o.logf("INFO: Backup job finished with errors")
			text := "job errors"
			if forced := o.task.forced; forced != "" && !isWarning(forced) {
				text = forced
			}
			o.fail(errors.New(text))
			return
		}
		o.logf("INFO: Backup job finished successfully")
		o.commit(nil)
		return
	}
	d := &dump{job: j, vmid: j.vmids[i], begun: o.c.now, done: func() { j.next(i + 1) }}
	j.abort = d.interrupted
	d.run()
}
