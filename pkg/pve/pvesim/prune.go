package pvesim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pruneProps is the property string of prune-backups.
var pruneProps = map[string]*param{
	"keep-all": {Type: "boolean", Optional: true}, "keep-last": {Type: "integer", Optional: true},
	"keep-hourly": {Type: "integer", Optional: true}, "keep-daily": {Type: "integer", Optional: true},
	"keep-weekly": {Type: "integer", Optional: true}, "keep-monthly": {Type: "integer", Optional: true},
	"keep-yearly": {Type: "integer", Optional: true},
}

// periods are the retention rules in the order in which they mark backups, with the name of the period that a moment is in.
var periods = []struct {
	key string
	of  func(t time.Time) string
}{
	{"keep-last", func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }},
	{"keep-hourly", func(t time.Time) string { return t.Format("2006-01-02 15") }},
	{"keep-daily", func(t time.Time) string { return t.Format("2006-01-02") }},
	{"keep-weekly", func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
	{"keep-monthly", func(t time.Time) string { return t.Format("2006-01") }},
	{"keep-yearly", func(t time.Time) string { return t.Format("2006") }},
}

// retention is what a prune-backups string keeps; all is true when that is everything.
func retention(text string) (keep map[string]int, all bool) {
	keep = map[string]int{}
	props, _ := parseProperties(pruneProps, text)
	sum := 0
	for k, v := range props {
		n, _ := strconv.Atoi(v)
		if k == "keep-all" {
			all = all || n == 1
			continue
		}
		keep[k] = n
		sum += n
	}
	return keep, all || sum == 0
}

// limit is how many backups a retention keeps at most, 0 for any number.
func limit(text string) int {
	keep, all := retention(text)
	if all {
		return 0
	}
	sum := 0
	for _, n := range keep {
		sum += n
	}
	return sum
}

// backupsOf are a VM's backups on s, the newest first; vmid 0 stands for all.
func (c *Cluster) backupsOf(s *Storage, node string, vmid int) []*volume {
	var list []*volume
	at := s.key(node, "").node
	for k, v := range c.volumes {
		if k.storage == s.ID && k.node == at && v.content == "backup" && (vmid == 0 || v.vmid == vmid) {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b *volume) int {
		if a.ctime != b.ctime {
			return int(b.ctime - a.ctime)
		}
		return strings.Compare(b.key.name, a.key.name)
	})
	return list
}

// marks says of each of one VM's backups, the newest first, what a retention does: keep, remove, protected.
func marks(list []*volume, text string) map[*volume]string {
	keep, all := retention(text)
	res := map[*volume]string{}
	for _, v := range list {
		if v.protected {
			res[v] = "protected"
		} else if all {
			res[v] = "keep"
		}
	}
	for _, p := range periods {
		had, added := map[string]bool{}, map[string]bool{}
		for _, v := range list {
			if res[v] == "keep" {
				had[p.of(time.Unix(v.ctime, 0).UTC())] = true
			}
		}
		for _, v := range list {
			period := p.of(time.Unix(v.ctime, 0).UTC())
			switch {
			case keep[p.key] == 0 || res[v] != "" || had[period]:
			case added[period]:
				res[v] = "remove"
			case len(added) < keep[p.key]:
				added[period] = true
				res[v] = "keep"
			}
		}
	}
	for _, v := range list {
		if res[v] == "" {
			res[v] = "remove"
		}
	}
	return res
}

// pruneDryRun says what a prune would do.
func (r *request) pruneDryRun() (any, error) {
	rows := []object{}
	err := r.eachGroup(func(s *Storage, list []*volume, mark map[*volume]string) {
		for _, v := range list {
			rows = append(rows, object{"volid": v.id(), "ctime": v.ctime, "mark": mark[v], "type": "qemu", "vmid": v.vmid})
		}
	})
	return rows, err
}

// prune removes what the retention does not keep, in a task.
func (r *request) prune() (any, error) {
	c, at := r.c, "/storage/"+r.str("storage")
	if !r.may(at, "Datastore.Allocate") {
		if !r.may(at, "Datastore.AllocateSpace") || !r.has("vmid") || !r.may("/vms/"+r.str("vmid"), "VM.Backup") {
			return nil, denied(at, "Datastore.Allocate")
		}
	}
	if _, err := c.enabled(r.str("storage"), r.str("node")); err != nil {
		return nil, err
	}
	id := r.str("storage")
	if r.has("vmid") {
		id = r.str("vmid") + "@" + id
	}
	return r.fork(r.str("node"), "prunebackups", id, func(o *op) {
		o.after(o.task.length(c.model.Remove), func() {
			o.commit(func() {
				_ = r.eachGroup(func(s *Storage, list []*volume, mark map[*volume]string) { // the storage was there at the call
					for _, v := range list {
						if mark[v] == "remove" {
							o.logf("removing backup '%s'", v.id())
							delete(c.volumes, v.key)
						}
					}
				})
			})
		})
	}).upid, nil
}

// eachGroup calls do with the backups of each VM that the request names.
func (r *request) eachGroup(do func(s *Storage, list []*volume, mark map[*volume]string)) error {
	s, err := r.c.enabled(r.str("storage"), r.str("node"))
	if err != nil {
		return err
	}
	text := r.str("prune-backups")
	if text == "" {
		text = s.retention()
	}
	if r.str("type") == "lxc" {
		return nil
	}
	groups := map[int][]*volume{}
	var order []int
	for _, v := range r.c.backupsOf(s, r.str("node"), r.vmid()) {
		if groups[v.vmid] == nil {
			order = append(order, v.vmid)
		}
		groups[v.vmid] = append(groups[v.vmid], v)
	}
	slices.Sort(order)
	for _, vmid := range order {
		do(s, groups[vmid], marks(groups[vmid], text))
	}
	return nil
}
