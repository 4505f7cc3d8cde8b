package pvesim

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// tasksOf makes the tasks that x is about: the one of its path, or those of the list that was read.
func (w *world) tasksOf(x *exchange, path string) {
	if strings.HasSuffix(path, "/tasks") && x.status() == 200 {
		var rows []map[string]any
		_ = json.Unmarshal(x.Data, &rows)
		w.c.lock()
		defer w.c.mu.Unlock()
		w.c.tasks, w.c.byUPID = nil, map[string]*task{}
		for _, row := range slices.Backward(rows) {
			exit, _ := row["status"].(string)
			if row["endtime"] == nil {
				exit = ""
			}
			w.makeTask(fmt.Sprint(row["upid"]), exit, nil)
		}
		return
	}
	m := upidInPath.FindString(path)
	upid, _ := url.PathUnescape(m)
	if m == "" || strings.Contains(x.story(), "no such task") || strings.Contains(string(x.Data), "unable to open file") {
		return
	}
	var status struct{ Status, Exitstatus string }
	var rows []struct{ T string }
	_ = json.Unmarshal(x.Data, &status)
	_ = json.Unmarshal(x.Data, &rows)
	log, exit := []string{}, status.Exitstatus
	for _, row := range rows {
		log = append(log, row.T)
		if end, found := strings.CutPrefix(row.T, "TASK "); found {
			exit = strings.TrimPrefix(end, "ERROR: ")
		}
	}
	if status.Status == "" && exit == "" && len(rows) == 0 {
		exit, log = "OK", []string{"TASK OK"}
	}
	w.c.lock()
	defer w.c.mu.Unlock()
	w.makeTask(upid, exit, log)
}

// makeTask makes a task with a UPID of its own; one without an exit text runs until the case ends. The cluster's mutex is
// held.
func (w *world) makeTask(upid, exit string, log []string) {
	p := upidPattern.FindStringSubmatch(upid)
	if p == nil {
		return
	}
	user, name, _ := strings.Cut(p[8], "!")
	t := w.c.newTask(p[1], p[6], p[7], identity{user, name})
	delete(w.c.byUPID, t.upid)
	t.upid, t.log = upid, log
	w.c.byUPID[upid] = t
	var begun int64
	_, _ = fmt.Sscanf(p[5], "%X", &begun)
	t.start = time.Unix(begun, 0)
	if exit == "" {
		w.temporary = append(w.temporary, t.op)
		return
	}
	t.done, t.ended, t.exit, t.end = true, true, exit, t.start
	w.c.running--
}
