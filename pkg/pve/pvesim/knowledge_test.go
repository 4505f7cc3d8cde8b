package pvesim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// knowledge is what all recordings of one flavour tell of the cluster on which they were made.
type knowledge struct {
	node     string
	storages map[string]Storage
	seen     []sighting
	places   map[string]place // by case
}

// place is where in the order of all cases one stands.
type place struct {
	group string
	index int
}

// sighting is a VM's configuration as a case has shown it.
type sighting struct {
	group string
	index int
	vmid  int
	conf  map[string]string
}

var (
	pathVMID = regexp.MustCompile(`/qemu/(\d+)(?:/|$)`)
	pathNode = regexp.MustCompile(`^/nodes/([^/]+)`)
	formVMID = regexp.MustCompile(`(?:^|[&?])(?:newid|vmid)=(\d+)`)
	isConfig = regexp.MustCompile(`^/nodes/[^/]+/qemu/\d+/config$`)
)

// vmid is the VM of x's path, or of its form or query where the path has none.
func (x *exchange) vmid() int {
	path, _ := x.path()
	if m := pathVMID.FindStringSubmatch(path); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return x.target()
}

// target is the VMID that x names beside its path: the new VM's.
func (x *exchange) target() int {
	for _, text := range []string{x.Form, x.Call} {
		if m := formVMID.FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1])
			return n
		}
	}
	return 0
}

// learn collects what the cases tell of VMs and storages.
func learn(r *recordings) *knowledge {
	k := &knowledge{node: "pve1", storages: map[string]Storage{}, places: map[string]place{}}
	nodes := map[string]int{}
	for i, c := range r.trials {
		for _, x := range c.steps {
			path, _ := x.path()
			if m := pathNode.FindStringSubmatch(path); m != nil && x.status() == 200 {
				nodes[m[1]]++
			}
			k.learnStorages(path, x)
			var conf map[string]any
			if x.method() == "GET" && isConfig.MatchString(path) && json.Unmarshal(x.Data, &conf) == nil && conf["lock"] != "clone" {
				k.seen = append(k.seen, sighting{c.group(), i, x.vmid(), options(conf)})
			}
		}
	}
	for name, n := range nodes {
		if n > nodes[k.node] {
			k.node = name
		}
	}
	if k.storages["local"].ID == "" {
		k.storages["local"] = Storage{ID: "local", Type: "dir", Content: "images,iso,backup,snippets,rootdir,vztmpl"}
	}
	return k
}

var volumeInText = regexp.MustCompile(`"([a-zA-Z][a-zA-Z0-9_.-]*):\d+/(?:vm|base)-\d+-`)

// learnStorages takes storages from lists of them, and from the volumes in configurations.
func (k *knowledge) learnStorages(path string, x *exchange) {
	var rows []struct {
		Storage, Type, Content, Plugintype, Path string
		Shared                                   int
		Prune                                    string `json:"prune-backups"`
	}
	switch {
	case strings.HasSuffix(path, "/storage") || path == "/cluster/resources":
		_ = json.Unmarshal(x.Data, &rows) // what is no list tells nothing
	case strings.HasPrefix(path, "/storage/"):
		if text, err := json.Marshal([]json.RawMessage{x.Data}); err == nil && x.status() == 200 {
			_ = json.Unmarshal(text, &rows)
		}
	}
	if x.succeeded() {
		for _, m := range storageInForm.FindAllStringSubmatch(x.Form, -1) {
			k.mayHave(m[1] + m[2])
		}
	}
	for _, row := range rows {
		kind := row.Type
		if row.Plugintype != "" {
			kind = row.Plugintype
		}
		if s := k.storages[row.Storage]; row.Storage != "" && (s.Content == "" || row.Path != "" || path != "/storage") {
			if row.Path == "" {
				row.Path = s.Path
			}
			if row.Prune == "" {
				row.Prune = s.Prune
			}
			k.storages[row.Storage] = Storage{ID: row.Storage, Type: kind, Content: row.Content, Shared: row.Shared == 1, Path: row.Path,
				Prune: row.Prune}
		}
	}
	for _, m := range volumeInText.FindAllSubmatch(x.Data, -1) {
		k.mayHave(string(m[1]))
	}
}

// storageInForm is a storage that a call uses: storage=ID, or ID:... as a drive.
var storageInForm = regexp.MustCompile(`(?:^|&)storage=([^&]+)|(?:^|&)(?:scsi|virtio|sata|ide)\d+=([a-zA-Z][a-zA-Z0-9_.-]*)%3A`)

// mayHave adds a storage of which nothing but its use is known.
func (k *knowledge) mayHave(id string) {
	if k.storages[id].ID == "" {
		k.storages[id] = Storage{ID: id, Type: "dir", Content: "images,iso,backup,snippets,import"}
	}
}

// options are the options of a configuration that was read.
func options(doc map[string]any) map[string]string {
	conf := map[string]string{}
	for key, v := range doc {
		switch v := v.(type) {
		case string:
			conf[key] = v
		case float64:
			conf[key] = strconv.FormatInt(int64(v), 10)
		}
	}
	delete(conf, "digest")
	if conf["cipassword"] != "" {
		conf["cipassword"] = "$5$salt$hash"
	}
	if conf["vmgenid"] == "REDACTED" {
		conf["vmgenid"] = "fec4cf30-0322-48de-8b39-de6341ef7950"
	}
	return conf
}

// config is what is known of a VM as it was at a case: what its group has shown of it last before, else after, else what
// another group has.
func (k *knowledge) config(vmid int, group string, index int) map[string]string {
	best, rank := map[string]string(nil), 0
	for _, s := range k.seen {
		r := 1
		switch {
		case s.vmid != vmid:
			continue
		case s.group == group && s.index < index:
			r = 3
		case s.group == group && rank != 2:
			r = 2
		}
		if r > rank || r == rank && r != 2 {
			best, rank = s.conf, r
		}
	}
	if best != nil {
		conf := maps.Clone(best)
		delete(conf, "lock")
		return conf
	}
	disk := fmt.Sprintf("local:%d/vm-%d-disk-0.qcow2,size=1G", vmid, vmid)
	return map[string]string{"name": fmt.Sprintf("vm%d", vmid), "memory": "128", "cores": "1", "scsi0": disk, "boot": "order=scsi0",
		"ide2": fmt.Sprintf("local:%d/vm-%d-cloudinit.qcow2,media=cdrom", vmid, vmid), "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
		"smbios1": "uuid=f8def41c-9e33-4656-ba25-f2d1fdc600dd", "vmgenid": "fec4cf30-0322-48de-8b39-de6341ef7950"}
}

// form is x's form decoded.
func (x *exchange) form() url.Values {
	values, _ := url.ParseQuery(x.Form)
	if _, query, found := strings.Cut(x.Call, "?"); found {
		more, _ := url.ParseQuery(query)
		maps.Copy(values, more)
	}
	return values
}

// put makes a VM with a configuration, and the volumes that it names. The cluster's mutex is held.
func (w *world) put(vmid int, conf map[string]string) *vm {
	c := w.c
	m := c.vms[vmid]
	if m == nil {
		m = newVM(vmid, w.known.node)
		c.vms[vmid] = m
	}
	for k, v := range c.volumes {
		if v.vmid == vmid && v.content == "images" && !c.inUse(v) {
			delete(c.volumes, k)
		}
	}
	m.conf, m.pending = maps.Clone(conf), map[string]change{}
	for _, key := range m.disks() {
		w.makeVolume(c.drive(key, conf[key])["file"], conf[key], vmid)
	}
	seen := c.observe(m)
	m.stat = &seen
	return m
}

// volumeOwner is the VM of a volume: that of its directory, where it has one.
var volumeOwner = regexp.MustCompile(`(?:^|/)(\d+)/[^/]+$|^(?:vm|base)-(\d+)-`)

// makeVolume makes the volume of a drive, and its base. The cluster's mutex is held.
func (w *world) makeVolume(volid, drive string, vmid int) {
	c := w.c
	id, name, ok := strings.Cut(volid, ":")
	s := c.storage(id)
	if !ok || s == nil || c.volumes[s.key(w.known.node, name)] != nil {
		return
	}
	v := &volume{key: s.key(w.known.node, name), vmid: vmid, content: "images", format: "raw", size: 1 << 30, ctime: c.now.Unix()}
	if m := volumeOwner.FindAllStringSubmatch(name, 1); m != nil {
		v.vmid = number(m[0][1] + m[0][2])
	} else {
		v.content, v.format, _ = strings.Cut(name, "/")
		v.vmid, v.format = 0, v.content
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 && v.content == "images" {
		v.format = name[i+1:]
	}
	if size := c.drive("scsi0", drive)["size"]; size != "" {
		v.size = parseSize(size)
	} else if strings.Contains(name, "cloudinit") {
		v.size = 4 << 20
	}
	if parts := strings.Split(name, "/"); len(parts) == 4 {
		v.parent = parts[0] + "/" + parts[1]
		w.makeVolume(id+":"+v.parent, drive, 0)
	}
	v.used = v.size
	c.volumes[v.key] = v
}
