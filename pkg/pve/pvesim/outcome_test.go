package pvesim

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// succeeded says whether the call, and its task if it had one, did what was asked.
func (x *exchange) succeeded() bool {
	return x.status() == 200 && (x.Exit == "" || x.Exit == "OK" || isWarning(x.Exit))
}

// prepare makes the state before x such as its outcome says that it was. Of a VM that an earlier step of the case was
// about nothing is touched any more.
func (w *world) prepare(x *exchange) {
	path, _ := x.path()
	id := x.vmid()
	if w.touched[id] || w.touched[x.target()] {
		return
	}
	if strings.Contains(path, "/qemu/") && !strings.Contains(path, "/firewall/") {
		w.exist(x, id)
	}
	if x.status() == 200 && x.method() == "POST" && (strings.HasSuffix(path, "/qemu") || strings.HasSuffix(path, "/clone")) {
		w.c.RemoveVM(x.target())
	}
	if x.succeeded() {
		w.possible(x, path, id)
	}
	for _, p := range slices.Concat(premises, background) {
		if m := p.text.FindStringSubmatch(x.story()); m != nil && x.status() != 401 {
			p.hold(w, x, m)
		}
	}
	if id != 0 {
		w.touched[id] = true
	}
	if n := x.target(); n != 0 {
		w.touched[n] = true
	}
}

// possible is what must have been so for a call to succeed.
func (w *world) possible(x *exchange, path string, id int) {
	form := x.form()
	last := path[strings.LastIndexByte(path, '/')+1:]
	changes := x.method() != "GET"
	switch {
	case last == "nextid" && x.target() != 0:
		w.c.RemoveVM(x.target())
	}
	w.named(form)
	w.possibleBefore(x, path, form)
	if pool := form.Get("pool"); pool != "" {
		w.c.AddPool(pool)
	}
	w.possiblePool(x, path, form)
	if disk := form.Get("disk"); last == "resize" {
		w.sized(x, id, disk, form.Get("size"))
	}
	if strings.Contains(path, "/firewall/") {
		w.possibleFirewall(x, path, form)
		return
	}
	if id == 0 || w.c.vms[id] == nil || !changes {
		return
	}
	if !form.Has("lock") && !form.Has("skiplock") && form.Get("delete") != "lock" {
		w.must(w.c.SetLock(id, ""))
	}
	switch {
	case path == fmt.Sprintf("/nodes/%s/qemu/%d", w.known.node, id): // DELETE
		w.power(id, kvm.Stopped)
		w.set(id, "protection", "")
	case last == "start" || last == "template":
		w.power(id, kvm.Stopped)
		w.plain(id)
	case slices.Contains([]string{"suspend", "resume", "reset", "reboot"}, last):
		w.power(id, kvm.Running)
	case last == "clone" && form.Get("full") != "1" && strings.Contains(x.story(), "create linked clone"):
		w.template(id)
	}
}

// named makes the volumes that drives of the form name: other than snippets they must be there.
func (w *world) named(form url.Values) {
	w.c.lock()
	defer w.c.mu.Unlock()
	for key := range form {
		if !driveKey.MatchString(key) {
			continue
		}
		for _, volid := range []string{w.c.drive(key, form.Get(key))["file"], w.c.drive(key, form.Get(key))["import-from"]} {
			if _, isNew := allocates(volid); !isNew && volumeID.MatchString(volid) {
				w.makeVolume(volid, form.Get(key), 0)
			}
		}
	}
}

// possibleFirewall is possible for the firewall's calls.
func (w *world) possibleFirewall(x *exchange, path string, form url.Values) {
	_, below, isSet := strings.Cut(path, "/firewall/ipset/")
	switch {
	case isSet:
		name, _, deep := strings.Cut(below, "/")
		set := w.ipset(x, name)
		if x.method() == "DELETE" && !deep && !form.Has("force") || x.method() == "POST" {
			set.entries = nil
		}
		if deep && x.method() != "DELETE" {
			cidr, _ := url.PathUnescape(below[len(name)+1:])
			set.entries = []entry{{cidr: cidr}}
		}
	case strings.HasSuffix(path, "/firewall/ipset") && x.method() == "POST":
		delete(w.firewall(x).sets, form.Get("name"))
	}
	if _, pos, found := strings.Cut(path, "/firewall/rules/"); found {
		for f := w.firewall(x); len(f.rules) <= number(pos); {
			f.rules = append(f.rules, map[string]string{"type": "in", "action": "ACCEPT", "enable": "0"})
		}
	}
	for _, side := range []string{"source", "dest"} {
		if set, found := strings.CutPrefix(form.Get(side), "+"); found {
			w.ipset(x, set)
		} else if aliasName.MatchString(form.Get(side)) {
			w.alias(x, form.Get(side))
		}
	}
}

// sized makes a disk that the resize of x can grow, or that it leaves as it is.
func (w *world) sized(x *exchange, id int, key, size string) {
	text := w.option(id, key)
	if text == "" {
		text = fmt.Sprintf("local:%d/vm-%d-disk-9.qcow2,size=1G", id, id)
	}
	if !strings.HasPrefix(size, "+") {
		n := parseSize(size)
		if strings.Contains(x.story(), "Image resized.") {
			n /= 2
		}
		d := w.c.drive(key, text)
		d["size"] = formatSize(n)
		text = printDrive(d)
	}
	w.drive(id, key, text)
}

// drive puts a drive with its volume at a slot.
func (w *world) drive(id int, key, text string) {
	w.c.lock()
	defer w.c.mu.Unlock()
	d := w.c.drive(key, text)
	if old := w.c.volume(w.known.node, d["file"]); old != nil {
		delete(w.c.volumes, old.key)
	}
	w.makeVolume(d["file"], text, id)
	w.c.vms[id].conf[key] = text
}

// exist makes a VM as it is known, if there is none.
func (w *world) exist(x *exchange, id int) {
	w.c.lock()
	defer w.c.mu.Unlock()
	if id == 0 || w.c.vms[id] != nil {
		return
	}
	at := w.known.places[x.Case]
	w.put(id, w.known.config(id, at.group, at.index))
}

// must gives up on a case of which no state can be made.
func (w *world) must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *world) set(id int, key, value string) {
	if w.c.vms[id] != nil {
		w.must(w.c.SetConfig(id, map[string]string{key: value}))
	}
}

func (w *world) option(id int, key string) string {
	if m := w.c.vms[id]; m != nil {
		return m.conf[key]
	}
	return ""
}

func (w *world) power(id int, p kvm.Power) {
	if m := w.c.vms[id]; m != nil && m.running != (p == kvm.Running) {
		w.must(w.c.SetPower(id, p))
	}
}

// hold keeps a file lock for as long as the case lasts.
func (w *world) hold(key string) {
	w.c.lock()
	defer w.c.mu.Unlock()
	o := &op{c: w.c}
	o.acquire(key, false, time.Hour, func() {})
	w.temporary = append(w.temporary, o)
}

// template and plain make a VM a template or none.
func (w *world) template(id int) {
	w.c.lock()
	defer w.c.mu.Unlock()
	if m := w.c.vms[id]; m != nil && !m.template() {
		m.off()
		w.c.convert(m, "")
	}
}

func (w *world) plain(id int) {
	w.c.lock()
	defer w.c.mu.Unlock()
	m := w.c.vms[id]
	if m == nil || !m.template() {
		return
	}
	conf := maps.Clone(m.conf)
	delete(conf, "template")
	for k, v := range conf {
		if driveKey.MatchString(k) {
			conf[k] = strings.Replace(v, "/base-", "/vm-", 1)
		}
	}
	w.put(id, conf)
}

// lack makes a VM name a volume that is not there.
func (w *world) lack(x *exchange, volid string) {
	if strings.Contains(x.Form, url.QueryEscape(volid)) {
		return
	}
	key, value := "scsi0", volid
	switch {
	case strings.Contains(volid, ":snippets/"):
		key, value = "cicustom", "user="+volid
	case strings.Contains(volid, ":iso/"):
		key, value = "ide3", volid+",media=cdrom"
	}
	named := false
	w.c.lock()
	if m := w.c.vms[x.vmid()]; m != nil {
		for _, v := range m.conf {
			named = named || strings.Contains(v, volid)
		}
	}
	if v := w.c.volume(w.known.node, volid); v != nil {
		delete(w.c.volumes, v.key)
	}
	w.c.mu.Unlock()
	if !named {
		w.set(x.vmid(), key, value)
	}
}

// firewall is the firewall that x is about, to be changed.
func (w *world) firewall(x *exchange) *firewall {
	f := w.c.firewalls[x.vmid()]
	if f == nil {
		f = newFirewall()
		w.c.firewalls[x.vmid()] = f
	}
	return f
}

func (w *world) alias(x *exchange, name string) {
	w.firewall(x).aliases[strings.ToLower(name)] = alias{name: name, cidr: "192.0.2.1"}
}

// possiblePool is possible for the calls that are about pools.
func (w *world) possiblePool(x *exchange, path string, form url.Values) {
	pool, inPath := strings.CutPrefix(path, "/pools/")
	if !inPath {
		pool = form.Get("poolid")
	}
	if !strings.HasPrefix(path, "/pools") || pool == "" {
		return
	}
	w.c.AddPool(pool)
	w.c.lock()
	defer w.c.mu.Unlock()
	if x.method() == "POST" {
		delete(w.c.pools, pool)
	}
	for _, m := range w.c.vms {
		if m.pool == pool && x.method() != "GET" {
			m.pool = ""
		}
	}
}

func (w *world) ipset(x *exchange, name string) *ipset {
	f := w.firewall(x)
	if f.sets[name] == nil {
		f.sets[name] = &ipset{}
	}
	return f.sets[name]
}
