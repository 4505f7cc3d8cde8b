package pvesim

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// task is what stands behind a UPID.
type task struct {
	*op
	upid       string
	node       string
	typ        string
	id         string
	who        identity
	pid        int
	pstart     int64
	start, end time.Time
	exit       string
	log        []string
	guest      int           // the VM that it works on: a clone's new one
	forced     string        // ends with this instead of OK
	vanished   bool          // nobody finds it
	upLate     time.Duration // until the VM that it starts is seen running
	warnings   int
	ended      bool
}

// fork makes a task of r's caller on node and lets its worker begin after the fork.
func (r *request) fork(node, typ, id string, worker func(o *op)) *task {
	t := r.c.newTask(node, typ, id, r.who)
	r.arm(t)
	t.skip = r.boolean("skiplock")
	t.after(r.c.model.Fork, func() { worker(t.op) })
	return t
}

// arm gives t its VM and what the request's fault has for it.
func (r *request) arm(t *task) {
	t.guest = r.number("newid", r.vmid())
	if r.fault == nil {
		return
	}
	t.forced, t.vanished, t.upLate = r.fault.TaskError, r.fault.TaskVanishes, r.fault.UpLate
	if d := r.fault.TaskKilledAfter; d > 0 {
		r.c.schedule(d, t.interrupt)
	}
}

func (c *Cluster) newTask(node, typ, id string, who identity) *task {
	c.pid++
	t := &task{
		node: node, typ: typ, id: id, who: who, pid: c.pid, start: c.now,
		pstart: int64(c.now.Sub(c.booted)/(10*time.Millisecond)) + bootTicks,
	}
	t.upid = fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:%s:", node, t.pid, t.pstart, c.now.Unix(), typ, id, who)
	t.op = &op{c: c, task: t}
	c.tasks = append(c.tasks, t)
	c.running++
	c.byUPID[t.upid] = t
	return t
}

// bootTicks is the machine's uptime in 1/100 s when the cluster was made, so that pstart looks genuine.
const bootTicks = 120000

// isWarning says whether a task with this exit text did its work.
func isWarning(exit string) bool { return strings.HasPrefix(exit, "WARNINGS: ") }

// warn is a line of the log that makes the task end with WARNINGS where it would have been OK.
func (o *op) warn(text string) {
	if o.task != nil {
		o.logf("WARN: %s", text)
		o.task.warnings++
	}
}

var blanks = pattern.New(`\s+`)

func (t *task) finish(err error) {
	t.ended, t.end = true, t.c.now
	t.c.running--
	if err == nil {
		t.exit = "OK"
		if t.warnings > 0 {
			t.exit = fmt.Sprintf("WARNINGS: %d", t.warnings)
		}
		if isWarning(t.forced) {
			t.exit = t.forced
		}
		t.log = append(t.log, "TASK "+t.exit)
		return
	}
	t.exit = strings.TrimSpace(blanks.ReplaceAllString(err.Error(), " "))
	t.log = append(t.log, "TASK ERROR: "+t.exit)
}

// interrupt is what a DELETE of the task, or a stop with overrule-shutdown, does to it.
func (t *task) interrupt() {
	if t.ended {
		return
	}
	text := "received interrupt"
	switch t.typ {
	case "qmclone":
		text = "clone failed: interrupted by signal"
	case "vzdump":
		text = "interrupted by signal"
	}
	t.fail(errors.New(text))
}

var upidPattern = pattern.New(`^UPID:([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$`)

// findTask is the task of the path's UPID, and an error as PVE words it.
func (r *request) findTask() (*task, error) {
	upid := r.str("upid")
	if !upidPattern.MatchString(upid) {
		return nil, badParam("upid", "unable to parse worker upid")
	}
	t := r.c.byUPID[upid]
	if t == nil || t.vanished || t.node != r.str("node") {
		return nil, badParam("upid", "no such task")
	}
	if t.who.user != r.who.user && !r.may("/nodes/"+t.node, "Sys.Audit") {
		return nil, denied("/nodes/"+t.node, "Sys.Audit")
	}
	return t, nil
}

func (r *request) taskStatus() (any, error) {
	t, err := r.findTask()
	if err != nil {
		return nil, err
	}
	m := object{"upid": t.upid, "node": t.node, "pid": t.pid, "pstart": t.pstart, "starttime": t.start.Unix(),
		"type": t.typ, "id": t.id, "user": t.who.user, "status": "running"}
	if t.who.token != "" {
		m["tokenid"] = t.who.token
	}
	if t.ended {
		m["status"], m["exitstatus"] = "stopped", t.exit
	}
	return m, nil
}

func (r *request) taskLog() (any, error) {
	t, err := r.findTask()
	if err != nil {
		if apiErr := new(apiError); errors.As(err, &apiErr) && apiErr.params["upid"] == "no such task" {
			r.total = 1
			return object{"n": 1, "t": "unable to open file - No such file or directory"}, nil
		}
		return nil, err
	}
	start, limit := r.number("start", 0), r.number("limit", 50)
	rows := []object{}
	for i := start; i < len(t.log) && len(rows) < limit; i++ {
		rows = append(rows, object{"n": i + 1, "t": t.log[i]})
	}
	r.total = len(t.log)
	return rows, nil
}

func (r *request) taskStop() (any, error) {
	t, err := r.findTask()
	if err != nil {
		return nil, err
	}
	if t.who.user != r.who.user && !r.may("/nodes/"+t.node, "Sys.Modify") {
		return nil, denied("/nodes/"+t.node, "Sys.Modify")
	}
	t.interrupt()
	return nil, nil
}

func (r *request) taskList() (any, error) {
	node, source := r.str("node"), r.str("source")
	auditor := r.may("/nodes/"+node, "Sys.Audit")
	rows := []object{}
	for _, t := range slices.Backward(r.c.tasks) {
		if t.vanished || t.node != node || !auditor && t.who.user != r.who.user {
			continue
		}
		if source == "active" && t.ended || (source == "" || source == "archive") && !t.ended || !r.wantsTask(t) {
			continue
		}
		rows = append(rows, t.row())
	}
	sort.SliceStable(rows, func(i, j int) bool { return rows[i]["starttime"].(int64) > rows[j]["starttime"].(int64) })
	r.total = len(rows)
	start, limit := r.number("start", 0), r.number("limit", 50)
	start = min(start, len(rows))
	if limit > 0 {
		rows = rows[:min(len(rows), start+limit)]
	}
	return rows[start:], nil
}

func (r *request) wantsTask(t *task) bool {
	if v := r.str("vmid"); v != "" && t.id != v {
		return false
	}
	if v := r.str("typefilter"); v != "" && t.typ != v {
		return false
	}
	if v := r.str("userfilter"); v != "" && !strings.Contains(strings.ToLower(t.who.String()), strings.ToLower(v)) {
		return false
	}
	if r.has("since") && t.start.Unix() < int64(r.number("since", 0)) || r.has("until") && t.start.Unix() > int64(r.number("until", 0)) {
		return false
	}
	failed := t.ended && t.exit != "OK"
	if r.boolean("errors") && !failed {
		return false
	}
	if v := r.str("statusfilter"); v != "" {
		kind := "error"
		if t.exit == "OK" {
			kind = "ok"
		} else if isWarning(t.exit) {
			kind = "warning"
		}
		return t.ended && slices.Contains(strings.FieldsFunc(v, isListBreak), kind)
	}
	return true
}

// row is t as the task lists show it: other than in its own status, status is the exit text here.
func (t *task) row() object {
	m := object{"upid": t.upid, "node": t.node, "pid": t.pid, "pstart": t.pstart, "starttime": t.start.Unix(),
		"type": t.typ, "id": t.id}
	if !t.ended {
		m["user"], m["status"], m["saved"] = t.who.String(), "RUNNING", "0"
		return m
	}
	m["user"], m["status"], m["endtime"] = t.who.user, t.exit, t.end.Unix()
	if t.who.token != "" {
		m["tokenid"] = t.who.token
	}
	return m
}

func (r *request) clusterTasks() (any, error) {
	rows := []object{}
	perNode := map[string]int{}
	for _, t := range slices.Backward(r.c.tasks) {
		if t.vanished || perNode[t.node] >= 25 || t.who.user != r.who.user && !r.may("/nodes/"+t.node, "Sys.Audit") {
			continue
		}
		perNode[t.node]++
		m := t.row()
		m["saved"] = strconv.Itoa(flag(t.ended))
		delete(m, "pid")
		delete(m, "pstart")
		rows = append(rows, m)
	}
	return rows, nil
}
