package pvesim

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// answered makes the state such as the answer of a reading call tells it.
func (w *world) answered(x *exchange) {
	path, _ := x.path()
	if x.method() != "GET" || x.status() != 200 || strings.Contains(x.Call, "snapshot=") {
		w.tasksOf(x, path)
		return
	}
	var doc map[string]any
	var rows []map[string]any
	_ = json.Unmarshal(x.Data, &doc) // one of the two fits, or it is neither
	_ = json.Unmarshal(x.Data, &rows)
	_, last, _ := strings.Cut(path, "/firewall/")
	switch {
	case isConfig.MatchString(path):
		w.readConfiguration(x, doc)
	case strings.HasSuffix(path, "/pending"):
		w.readPending(x, rows)
	case strings.HasSuffix(path, "/status/current"):
		w.readStatus(doc)
	case path == "/cluster/resources" || strings.HasSuffix(path, "/qemu"):
		w.readList(x, rows)
	case strings.HasSuffix(path, "/cloudinit"):
		for _, row := range rows {
			w.set(x.vmid(), fmt.Sprint(row["key"]), fmt.Sprint(row["value"]))
		}
	case strings.HasSuffix(path, "/cloudinit/dump"):
		w.readDump(x)
	case strings.HasSuffix(path, "/snapshot"):
		for _, row := range rows {
			if n, ok := row["running"].(float64); ok {
				w.power(x.vmid(), map[float64]kvm.Power{0: kvm.Stopped, 1: kvm.Running}[n])
			}
		}
	case strings.HasSuffix(path, "/migrate"):
		w.readLocalDisks(x)
	case strings.HasSuffix(path, "/extractconfig"):
		w.readArchive(x)
	case strings.Contains(path, "/content/"):
		volid, _ := url.PathUnescape(strings.SplitAfterN(path, "/content/", 2)[1])
		doc["volid"], doc["content"] = volid, "images"
		if owner := volumeOwner.FindStringSubmatch(volid[strings.IndexByte(volid, ':')+1:]); owner != nil {
			w.readVolume(doc, number(owner[1]+owner[2]))
		}
	case strings.HasSuffix(path, "/content"):
		w.readContent(x, rows)
	case strings.Contains(path, "/firewall/"):
		w.readFirewall(x, last, doc, rows)
	default:
		w.tasksOf(x, path)
	}
}

func (w *world) readConfiguration(x *exchange, doc map[string]any) {
	w.c.lock()
	defer w.c.mu.Unlock()
	w.put(x.vmid(), options(doc))
}

func (w *world) readPending(x *exchange, rows []map[string]any) {
	conf, pending := map[string]any{}, map[string]any{}
	removed := []string{}
	for _, row := range rows {
		key := fmt.Sprint(row["key"])
		if v, ok := row["value"]; ok {
			conf[key] = v
		}
		if v, ok := row["pending"]; ok {
			pending[key] = v
		}
		if row["delete"] != nil {
			removed = append(removed, key)
		}
	}
	w.c.lock()
	defer w.c.mu.Unlock()
	m := w.put(x.vmid(), options(conf))
	for k, v := range options(pending) {
		m.pending[k] = change{value: v}
	}
	for _, k := range removed {
		m.pending[k] = change{delete: true}
	}
	if len(m.pending) > 0 && !m.running {
		w.run(m)
	}
}

// readStatus takes over what a VM's row tells: name, size, lock, power.
func (w *world) readStatus(row map[string]any) {
	w.c.lock()
	defer w.c.mu.Unlock()
	id := int(row["vmid"].(float64))
	m := w.c.vms[id]
	if m == nil {
		m = w.put(id, map[string]string{})
	}
	take := func(key, option string) {
		if v, ok := row[key]; ok {
			m.conf[option] = fmt.Sprint(v)
		} else {
			delete(m.conf, option)
		}
	}
	take("name", "name")
	take("lock", "lock")
	take("tags", "tags")
	if row["status"] == "unknown" {
		m.conf["name"], m.stat = fmt.Sprintf("vm%d", id), nil
		return
	}
	delete(m.conf, "template")
	if row["template"] == 1.0 {
		m.conf["template"] = "1"
	}
	if m.conf["name"] == fmt.Sprintf("VM %d", id) {
		delete(m.conf, "name")
	}
	for _, key := range []string{"cpus", "maxcpu"} {
		if n, ok := row[key].(float64); ok {
			m.conf["cores"], m.conf["sockets"] = fmt.Sprint(n), "1"
		}
	}
	if n, ok := row["maxmem"].(float64); ok {
		m.conf["memory"] = fmt.Sprint(int64(n) >> 20)
	}
	if _, full := row["qmpstatus"]; full {
		for key, value := range map[string]string{"agent": "1", "serial": "socket"} {
			option := strings.Replace(key, "serial", "serial0", 1)
			if delete(m.conf, option); row[key] != nil {
				m.conf[option] = value
			}
		}
	}
	if n, ok := row["maxdisk"].(float64); ok {
		for _, k := range m.disks() {
			if !isCD(w.c.drive(k, m.conf[k])) {
				delete(m.conf, k)
			}
		}
		if n > 0 {
			m.conf["scsi0"] = fmt.Sprintf("local:%d/vm-%d-disk-0.qcow2,size=%s", id, id, formatSize(int64(n)))
			w.makeVolume(w.c.drive("scsi0", m.conf["scsi0"])["file"], m.conf["scsi0"], id)
		}
	}
	m.off()
	if row["status"] == "running" || row["status"] == "paused" {
		w.nics(m, row)
		w.run(m)
		m.paused = row["qmpstatus"] == "paused"
	}
	seen := w.c.observe(m)
	m.stat = &seen
}

// run makes a VM one that runs. The cluster's mutex is held.
func (w *world) run(m *vm) {
	w.c.generate(m)
	m.running, m.since, m.pid = true, w.c.now, 4711
}

// nics gives a running VM the cards that its row has.
func (w *world) nics(m *vm, row map[string]any) {
	nics, _ := row["nics"].(map[string]any)
	if _, full := row["qmpstatus"]; !full {
		return
	}
	for k := range m.conf {
		if netKey.MatchString(k) {
			delete(m.conf, k)
		}
	}
	for tap := range nics {
		_, n, _ := strings.Cut(strings.TrimPrefix(tap, "tap"), "i")
		m.conf["net"+n] = "virtio=BC:24:11:00:00:0" + n + ",bridge=vmbr0"
	}
}

// readList makes the VMs of a list, and no others.
func (w *world) readList(x *exchange, rows []map[string]any) {
	if strings.Contains(x.Call, "type=storage") || strings.Contains(x.Call, "type=node") {
		return
	}
	listed := map[int]bool{}
	for _, row := range rows {
		if id, ok := row["vmid"].(float64); ok {
			listed[int(id)] = true
			w.readStatus(row)
			w.c.lock()
			if pool, ok := row["pool"].(string); ok {
				w.c.pools[pool] = true
				w.c.vms[int(id)].pool = pool
			}
			w.c.mu.Unlock()
		}
	}
	w.c.lock()
	defer w.c.mu.Unlock()
	for id := range w.c.vms {
		if !listed[id] {
			delete(w.c.vms, id)
		}
	}
}

// readLocalDisks gives a VM the disks that a migration would copy.
func (w *world) readLocalDisks(x *exchange) {
	var doc struct {
		Disks []struct {
			Drivename, Volid string
			Size             int64
			CD               int `json:"cdrom"`
		} `json:"local_disks"`
	}
	if json.Unmarshal(x.Data, &doc) != nil {
		return
	}
	for _, d := range doc.Disks {
		text := d.Volid + ",size=" + formatSize(d.Size)
		if d.CD == 1 {
			text += ",media=cdrom"
		}
		if d.Drivename == "" {
			d.Drivename, text = "unused0", d.Volid
		}
		w.drive(x.vmid(), d.Drivename, text)
	}
}

// readArchive makes the backup that has the configuration that was read.
func (w *world) readArchive(x *exchange) {
	text, volid := "", x.form().Get("volume")
	owner := archiveOwner.FindStringSubmatch(volid)
	if json.Unmarshal(x.Data, &text) != nil || owner == nil {
		return
	}
	conf := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#qmdump#") {
			continue
		}
		if description, found := strings.CutPrefix(line, "#"); found {
			conf["description"] += description + "\n"
		} else if key, value, found := strings.Cut(line, ": "); found {
			conf[key] = value
		}
	}
	w.c.lock()
	w.put(number(owner[1]), conf)
	if v := w.c.volume(w.known.node, volid); v != nil {
		delete(w.c.volumes, v.key)
	}
	w.c.mu.Unlock()
	w.backup(x, volid)
}

// readDump takes over what cloud-init's documents show of the options.
func (w *world) readDump(x *exchange) {
	text := ""
	if json.Unmarshal(x.Data, &text) != nil {
		return
	}
	if _, servers, found := strings.Cut(text, "type: nameserver\n      address:\n"); found && w.option(x.vmid(), "nameserver") == "" {
		w.c.node(w.known.node).Nameservers = strings.FieldsFunc(servers, func(r rune) bool { return strings.ContainsRune(" -'\n", r) })
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		value = strings.Trim(value, "'")
		switch key {
		case "fqdn":
			w.set(x.vmid(), "name", value)
		case "user":
			w.set(x.vmid(), "ciuser", value)
		case "password":
			w.set(x.vmid(), "cipassword", value)
		case "mac_address":
			w.set(x.vmid(), "net0", "virtio="+strings.ToUpper(value)+",bridge=vmbr0")
		case "address":
			w.set(x.vmid(), "ipconfig0", "ip="+value+"/24")
		case "gateway":
			w.set(x.vmid(), "ipconfig0", w.option(x.vmid(), "ipconfig0")+",gw="+value)
		}
	}
}

// readContent makes the volumes of a storage's list, and no others of those that the call could see.
func (w *world) readContent(x *exchange, rows []map[string]any) {
	w.c.lock()
	defer w.c.mu.Unlock()
	for k, v := range w.c.volumes {
		if only := x.target(); (only == 0 || v.vmid == only) && (x.form().Get("content") == "" || x.form().Get("content") == v.content) {
			delete(w.c.volumes, k)
		}
	}
	for _, row := range rows {
		owner, _ := row["vmid"].(float64)
		w.haveVolume(row, int(owner))
	}
}

func (w *world) readVolume(row map[string]any, owner int) {
	w.c.lock()
	defer w.c.mu.Unlock()
	w.haveVolume(row, owner)
}

// haveVolume makes the volume of a row. The cluster's mutex is held.
func (w *world) haveVolume(row map[string]any, owner int) {
	volid := fmt.Sprint(row["volid"])
	w.makeVolume(volid, "", owner)
	if v := w.c.volume(w.known.node, volid); v != nil {
		size, _ := row["size"].(float64)
		v.size, v.used, v.content, v.format = int64(size), int64(size), fmt.Sprint(row["content"]), fmt.Sprint(row["format"])
		if id, ok := row["vmid"].(float64); ok && v.content == "backup" {
			v.vmid = int(id)
			v.notes, _ = row["notes"].(string)
			v.protected = row["protected"] == 1.0
		}
		if row["parent"] == nil {
			v.parent = ""
		}
	}
}

func (w *world) readFirewall(x *exchange, below string, doc map[string]any, rows []map[string]any) {
	w.c.lock()
	defer w.c.mu.Unlock()
	f := w.firewall(x)
	kind, rest, _ := strings.Cut(below, "/")
	switch {
	case kind == "options":
		f.options = options(doc)
	case kind == "rules":
		f.rules = nil
		if doc != nil {
			rows = []map[string]any{doc}
		}
		for _, row := range rows {
			rule := options(row)
			for _, k := range []string{"pos", "ipversion"} {
				delete(rule, k)
			}
			f.rules = append(f.rules, rule)
		}
	case kind == "ipset" && rest == "":
		f.sets = map[string]*ipset{}
		for _, row := range rows {
			comment, _ := row["comment"].(string)
			f.sets[fmt.Sprint(row["name"])] = &ipset{comment: comment}
		}
	case kind == "ipset":
		name, _, _ := strings.Cut(rest, "/")
		if doc != nil {
			rows = []map[string]any{doc}
		}
		set := w.ipset(x, name)
		set.entries = nil
		for _, row := range rows {
			comment, _ := row["comment"].(string)
			set.entries = append(set.entries, entry{cidr: fmt.Sprint(row["cidr"]), comment: comment, nomatch: row["nomatch"] == 1.0})
		}
	}
}
