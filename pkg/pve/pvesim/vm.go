package pvesim

import (
	"crypto/sha1" // the digest of PVE's configuration files
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// vm is a VM with its configuration file.
type vm struct {
	vmid    int
	node    string
	conf    map[string]string
	pending map[string]change
	pool    string
	running bool
	// container: it is an LXC container, of which only the VMID and the row in the cluster's list are here.
	container bool
	paused    bool
	since     time.Time         // when it was started
	pid       int               // of QEMU
	ci        map[string]string // the cloud-init keys as the drive was made of them, while it runs
	deaf      bool              // the guest does not react to a shutdown
	stat      *stat             // as pvestatd told the cluster last; nil: not yet
	born      time.Time         // when it was made

	snapshots map[string]*snapshot
	guest     *Guest            // nil: nothing answers in it
	passwords map[string]string // that were set by the guest agent
	traffic   traffic
}

type change struct {
	value  string
	delete bool
}

func newVM(vmid int, node string) *vm {
	return &vm{vmid: vmid, node: node, conf: map[string]string{}, pending: map[string]change{},
		snapshots: map[string]*snapshot{}, passwords: map[string]string{}}
}

func (m *vm) template() bool { return m.conf["template"] == "1" }

// name is the VM's name as the API shows it.
func (m *vm) name() string {
	if n := m.conf["name"]; n != "" {
		return n
	}
	return fmt.Sprintf("VM %d", m.vmid)
}

func (m *vm) memory() int64 {
	current, _, _ := strings.Cut(strings.TrimPrefix(m.conf["memory"], "current="), ",")
	n, err := strconv.ParseInt(current, 10, 64)
	if err != nil {
		n = 512
	}
	return n << 20
}

func (m *vm) cpus() int {
	number := func(key string) int {
		if n, err := strconv.Atoi(m.conf[key]); err == nil {
			return n
		}
		return 1
	}
	if m.conf["vcpus"] != "" {
		return number("vcpus")
	}
	return number("cores") * number("sockets")
}

// file is the configuration file's text.
func (m *vm) file() string {
	var b strings.Builder
	writeOptions(&b, m.conf["description"], m.conf)
	if len(m.pending) > 0 {
		b.WriteString("\n[PENDING]\n")
		for _, k := range slices.Sorted(maps.Keys(m.pending)) {
			if p := m.pending[k]; p.delete {
				fmt.Fprintf(&b, "delete: %s\n", k)
			} else {
				fmt.Fprintf(&b, "%s: %s\n", k, p.value)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.snapshots)) {
		s := m.snapshots[name]
		fmt.Fprintf(&b, "\n[%s]\n", name)
		writeOptions(&b, s.description, s.conf)
		fmt.Fprintf(&b, "snaptime: %d\n", s.taken)
		if s.state != "" {
			fmt.Fprintf(&b, "snapstate: %s\n", s.state)
		}
	}
	return b.String()
}

// writeOptions writes a section of a configuration file.
func writeOptions(b *strings.Builder, description string, options map[string]string) {
	for line := range strings.Lines(description) {
		b.WriteString("#" + strings.TrimSuffix(line, "\n") + "\n")
	}
	for _, k := range slices.Sorted(maps.Keys(options)) {
		if k != "description" {
			fmt.Fprintf(b, "%s: %s\n", k, options[k])
		}
	}
}

func digestOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// lookup is the VM of the path on the node of the path.
func (r *request) lookup() (*vm, error) {
	return r.c.onNode(r.vmid(), r.str("node"))
}

func (c *Cluster) onNode(vmid int, node string) (*vm, error) {
	m := c.vms[vmid]
	if m == nil || m.node != node || m.container {
		return nil, failure("Configuration file 'nodes/%s/qemu-server/%d.conf' does not exist", node, vmid)
	}
	return m, nil
}

// unlocked is PVE::QemuConfig->check_lock.
func (m *vm) unlocked() error {
	if l := m.conf["lock"]; l != "" {
		return failure("VM is locked (%s)", l)
	}
	return nil
}

// onlyRoot refuses options that only root@pam with a ticket may use.
func (r *request) onlyRoot(names ...string) error {
	for _, n := range names {
		if r.has(n) && !r.who.root() {
			return badParam(n, "Only root may use this option.")
		}
	}
	return nil
}

// value is a configuration value with the JSON type that the API gives it: integers and booleans are numbers. Memory is
// a property string, and so a string, from 8 on.
func (c *Cluster) value(key, text string) any {
	if key == "cipassword" {
		return "**********"
	}
	if p := c.config[key]; p != nil && (p.Type == "integer" || p.Type == "boolean") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	}
	if key == "description" {
		return strings.TrimRight(text, " \t\r\n")
	}
	return text
}

// readConfig is GET config: with the pending changes, or without them by current=1.
func (r *request) readConfig() (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	doc := object{"digest": digestOf(m.file())}
	if name := r.str("snapshot"); name != "" {
		return r.snapshotDocument(m, name, doc)
	}
	for k, v := range m.conf {
		doc[k] = r.c.value(k, v)
	}
	if !r.boolean("current") {
		for k, p := range m.pending {
			if p.delete {
				delete(doc, k)
			} else {
				doc[k] = r.c.value(k, p.value)
			}
		}
	}
	return doc, nil
}

func (r *request) pendingConfig() (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	rows := []object{{"key": "digest", "value": digestOf(m.file())}}
	for k, v := range m.conf {
		row := object{"key": k, "value": r.c.value(k, v)}
		if p, ok := m.pending[k]; ok && p.delete {
			row["delete"] = 1
		} else if ok {
			row["pending"] = r.c.value(k, p.value)
		}
		rows = append(rows, row)
	}
	for k, p := range m.pending {
		if _, ok := m.conf[k]; !ok && !p.delete {
			rows = append(rows, object{"key": k, "pending": r.c.value(k, p.value)})
		}
	}
	return rows, nil
}
