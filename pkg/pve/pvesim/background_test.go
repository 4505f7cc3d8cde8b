package pvesim

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// background are the texts of outcomes that name snapshots, backups, the guest agent or where a disk is.
var background = []premise{
	{regexp.MustCompile(`snapshot name '([^']+)' already used`), func(w *world, x *exchange, m []string) { w.snapshot(x.vmid(), m[1]) }},
	{regexp.MustCompile(`snapshot '([^']+)' does not exist`), func(w *world, x *exchange, m []string) {
		if state, _ := w.c.VM(x.vmid()); state.Snapshots[m[1]].Taken != (time.Time{}) {
			w.c.lock()
			defer w.c.mu.Unlock()
			w.c.forgetSnapshot(w.c.vms[x.vmid()], m[1])
		}
	}},
	{regexp.MustCompile(`VM contains snapshots`), func(w *world, x *exchange, _ []string) { w.snapshot(x.vmid(), "before") }},
	{regexp.MustCompile(`No QEMU guest agent configured`), func(w *world, x *exchange, _ []string) {
		w.set(x.vmid(), "agent", "")
	}},
	{regexp.MustCompile(`QEMU guest agent is not running|guest-ping' failed`), func(w *world, x *exchange, _ []string) {
		w.power(x.vmid(), kvm.Running)
		w.set(x.vmid(), "agent", "1")
	}},
	{regexp.MustCompile(`VM \d+ is not running`), option("agent", "1")},
	{regexp.MustCompile(`move to the same storage`), func(w *world, x *exchange, _ []string) { w.diskOn(x, x.form().Get("storage")) }},
	{regexp.MustCompile(`INFO: status = (running|stopped)`), func(w *world, x *exchange, m []string) { w.power(x.vmid(), kvm.Power(m[1])) }},
	{regexp.MustCompile(`saving VM state`), power(kvm.Running)},
}

var snapshotInPath = regexp.MustCompile(`/qemu/\d+/snapshot/([^/]+)`)

// possibleBefore is what must have been so for a call about snapshots, backups or disks to succeed.
func (w *world) possibleBefore(x *exchange, path string, form url.Values) {
	id := x.vmid()
	if strings.HasSuffix(path, "/vzdump") && x.method() == "POST" {
		w.exist(x, id)
		w.unlock(id)
	}
	for _, volid := range []string{form.Get("archive"), form.Get("volume")} {
		if volid != "" {
			w.backup(x, volid)
		}
	}
	if w.c.vms[id] == nil {
		return
	}
	name := form.Get("snapname")
	if m := snapshotInPath.FindStringSubmatch(path); m != nil {
		name = m[1]
	}
	switch {
	case strings.HasSuffix(path, "/snapshot") && x.method() == "POST":
		w.plain(id)
		w.forget(id, name)
	case name != "" && !strings.HasSuffix(path, "/"+name):
		w.snapshot(id, name)
	case name != "" && x.method() == "DELETE":
		w.snapshot(id, name)
	case strings.HasSuffix(path, "/move_disk"):
		w.diskOn(x, "local")
	case strings.HasSuffix(path, "/vncproxy"):
		w.power(id, kvm.Running)
	case strings.HasSuffix(path, "/snapshot") && x.method() == "GET":
		w.listed(x)
	}
}

func (w *world) unlock(id int) {
	if w.c.vms[id] != nil {
		w.must(w.c.SetLock(id, ""))
	}
}

// snapshot gives a VM a snapshot of that name, if it has none.
func (w *world) snapshot(id int, name string) {
	if m := w.c.vms[id]; m != nil && m.snapshots[name] == nil {
		w.must(w.c.AddSnapshot(id, name, ""))
	}
}

func (w *world) forget(id int, name string) {
	w.c.lock()
	defer w.c.mu.Unlock()
	if m := w.c.vms[id]; m != nil && m.snapshots[name] != nil {
		w.c.forgetSnapshot(m, name)
	}
}

// listed gives a VM the snapshots of a list that was read.
func (w *world) listed(x *exchange) {
	var rows []struct {
		Name, Parent string
		Vmstate      int
	}
	if json.Unmarshal(x.Data, &rows) != nil {
		return
	}
	for _, row := range rows {
		if row.Name != "current" {
			w.snapshot(x.vmid(), row.Name)
		}
	}
	w.c.lock()
	defer w.c.mu.Unlock()
	m := w.c.vms[x.vmid()]
	for name := range m.snapshots {
		if !slices.ContainsFunc(rows, func(row struct {
			Name, Parent string
			Vmstate      int
		}) bool {
			return row.Name == name
		}) {
			w.c.forgetSnapshot(m, name)
		}
	}
	set := func(options map[string]string, key, value string) {
		if options[key] = value; value == "" {
			delete(options, key)
		}
	}
	for _, row := range rows {
		if s := m.snapshots[row.Name]; s != nil {
			set(s.conf, "parent", row.Parent)
			set(s.conf, "vmstate", map[int]string{1: "local:1/state.raw"}[row.Vmstate])
			s.description = ""
		} else {
			set(m.conf, "parent", row.Parent)
		}
	}
}

var archiveOwner = regexp.MustCompile(`vzdump-qemu-(\d+)-(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)`)

// backup puts a backup of that name on its storage, made of what is known of its VM.
func (w *world) backup(x *exchange, volid string) {
	m := archiveOwner.FindStringSubmatch(volid)
	storage, _, _ := strings.Cut(volid, ":")
	if m == nil || w.c.volume(w.known.node, volid) != nil {
		return
	}
	taken, err := time.Parse("2006_01_02-15_04_05", m[2])
	w.must(err)
	w.exist(x, number(m[1]))
	_, err = w.c.AddBackup(storage, number(m[1]), taken)
	w.must(err)
}

// diskOn puts the disk that x moves on a storage.
func (w *world) diskOn(x *exchange, storage string) {
	id, key := x.vmid(), x.form().Get("disk")
	was := w.option(id, key)
	from, _, _ := strings.Cut(was, ":")
	if was != "" && from != storage {
		w.drive(id, key, storage+was[len(from):])
	}
}
