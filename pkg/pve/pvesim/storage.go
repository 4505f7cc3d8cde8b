package pvesim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// Storage is a storage of the cluster (an entry of storage.cfg).
type Storage struct {
	ID      string
	Type    string   // dir, nfs, cifs, cephfs, btrfs, lvm, lvmthin, zfspool, rbd, pbs
	Nodes   []string // where it is; nil means on all nodes
	Shared  bool     // one content for all nodes; true by itself for nfs, cifs, cephfs, rbd, pbs
	Content string   // "images,rootdir"; empty means "images"
	Size    int64    // bytes; 0 means 1 TiB
	Used    int64    // bytes that are taken by other things
	Off     bool     // disabled
	Path    string   // of the directory, in error texts; empty means /var/lib/vz for local, /mnt/pve/ID for others
	Prune   string   // prune-backups of the storage ("keep-last=3,keep-weekly=2"); empty means keep-all=1

	full bool
}

type volumeKey struct {
	storage, node, name string // node is "" on a shared storage; name is what follows "storage:"
}

type volume struct {
	key      volumeKey
	vmid     int
	content  string
	format   string
	size     int64
	used     int64  // what it takes of the storage
	parent   string // the base volume that it is a linked clone of
	contents string // what the cloud-init drive was made of; of a disk, what a test wrote on it
	ctime    int64

	notes     string // of a backup
	protected bool
	archive   *archive
}

func (v *volume) id() string { return v.key.storage + ":" + v.key.name }

// AddStorage adds a storage.
func (c *Cluster) AddStorage(s Storage) {
	c.lock()
	defer c.mu.Unlock()
	if s.Content == "" {
		s.Content = "images"
	}
	if s.Size == 0 {
		s.Size = 1 << 40
	}
	if s.Path == "" {
		s.Path = "/mnt/pve/" + s.ID
		if s.ID == "local" {
			s.Path = "/var/lib/vz"
		}
	}
	s.Shared = s.Shared || slices.Contains([]string{"nfs", "cifs", "cephfs", "rbd", "pbs"}, s.Type)
	c.storages = append(c.storages, &s)
}

// AddISO puts an ISO image on a storage; node may be "" where the storage is shared.
func (c *Cluster) AddISO(storage, node, file string, size int64) error {
	c.lock()
	defer c.mu.Unlock()
	s := c.storage(storage)
	if s == nil || !s.holds("iso") {
		return fmt.Errorf("storage %q holds no ISO images", storage)
	}
	v := &volume{key: s.key(node, "iso/"+file), content: "iso", format: "iso", size: size, used: size, ctime: c.now.Unix()}
	c.volumes[v.key] = v
	return nil
}

// retention is the storage's own prune-backups.
func (s *Storage) retention() string {
	if s.Prune == "" {
		return "keep-all=1"
	}
	return s.Prune
}

func (s *Storage) holds(content string) bool {
	return slices.Contains(strings.Split(s.Content, ","), content)
}
func (s *Storage) on(node string) bool { return s.Nodes == nil || slices.Contains(s.Nodes, node) }
func (s *Storage) files() bool {
	return slices.Contains([]string{"dir", "nfs", "cifs", "cephfs", "btrfs"}, s.Type)
}

func (s *Storage) key(node, name string) volumeKey {
	if s.Shared {
		node = ""
	}
	return volumeKey{s.ID, node, name}
}

func (c *Cluster) storage(id string) *Storage {
	for _, s := range c.storages {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// enabled is PVE::Storage::storage_check_enabled: the storage, or why a node cannot use it.
func (c *Cluster) enabled(id, node string) (*Storage, error) {
	s := c.storage(id)
	switch {
	case s == nil:
		return nil, failure("storage '%s' does not exist", id)
	case s.Off:
		return nil, failure("storage '%s' is disabled", id)
	case !s.on(node):
		return nil, failure("storage '%s' is not available on node '%s'", id, node)
	}
	return s, nil
}

// volume is the volume of a volume id as node sees it, or nil.
func (c *Cluster) volume(node, volid string) *volume {
	id, name, ok := strings.Cut(volid, ":")
	s := c.storage(id)
	if !ok || s == nil || !s.on(node) {
		return nil
	}
	return c.volumes[s.key(node, name)]
}

// used is how much of s is taken as node sees it.
func (c *Cluster) used(s *Storage, node string) int64 {
	sum := s.Used
	at := s.key(node, "").node
	for k, v := range c.volumes {
		if k.storage == s.ID && k.node == at {
			sum += v.used
		}
	}
	return sum
}

// room says why size more bytes do not fit, or nil. Only thick LVM sets space aside for what was not written yet.
func (c *Cluster) room(s *Storage, node, leaf string, size, written int64) error {
	if s.files() && size > largestFile {
		return fmt.Errorf("unable to create image: qemu-img: %s/images/%s: The image size is too large for file format 'raw'", s.Path, leaf)
	}
	need := written
	if s.Type == "lvm" {
		need = size
	}
	free := s.Size - c.used(s, node)
	if !s.full && need <= free {
		return nil
	}
	switch s.Type {
	case "lvm":
		//lint:ignore ST1005 LVM's own words
		return fmt.Errorf("lvcreate '%s/%s' error:   Volume group \"%s\" has insufficient free space (%d extents): %d required.",
			s.ID, leaf, s.ID, max(0, free>>22), size>>22)
	case "lvmthin":
		//lint:ignore ST1005 LVM's own words
		return fmt.Errorf("lvcreate '%s/%s' error:   Cannot create new thin volume, free space in thin pool %s/data reached threshold.",
			s.ID, leaf, s.ID)
	case "zfspool":
		return fmt.Errorf("zfs error: cannot create '%s/%s': out of space", s.ID, leaf)
	default:
		return fmt.Errorf("unable to create image: qemu-img: %s/images/%s: No space left on device", s.Path, leaf)
	}
}

// largestFile is what ext4 can hold.
const largestFile = 16 << 40

var diskLeaf = pattern.New(`(?:vm|base)-(\d+)-(?:disk-(\d+)|cloudinit)(?:\.[a-z0-9]+)?$`)

// freeLeaf is the next unused disk name of a VM on s, without suffix.
func (c *Cluster) freeLeaf(s *Storage, node string, vmid int) string {
	taken := map[int]bool{}
	at := s.key(node, "").node
	for k, v := range c.volumes {
		if v.vmid != vmid || k.storage != s.ID || k.node != at {
			continue
		}
		if m := diskLeaf.FindStringSubmatch(k.name); m != nil && m[2] != "" {
			n, _ := strconv.Atoi(m[2])
			taken[n] = true
		}
	}
	n := 0
	for taken[n] {
		n++
	}
	return fmt.Sprintf("vm-%d-disk-%d", vmid, n)
}

// name is how s calls a volume: with directory and suffix on file systems, with its base in front where the storage's
// plugin does that.
func (s *Storage) name(vmid int, leaf, format string, base *volume) string {
	name := leaf
	if s.files() {
		name = fmt.Sprintf("%d/%s.%s", vmid, leaf, format)
	}
	if base != nil && s.Type != "lvmthin" {
		name = base.key.name + "/" + name
	}
	return name
}

// create makes a volume. leaf is its name without suffix, format counts on file systems only.
func (c *Cluster) create(s *Storage, node string, vmid int, leaf, format string, size, written int64, base *volume) (*volume, error) {
	if s.Type == "lvm" || s.Type == "lvmthin" {
		size = (size + 4<<20 - 1) &^ (4<<20 - 1) // whole extents
	}
	if !s.files() || format == "" {
		format = "raw"
	}
	if err := c.room(s, node, s.name(vmid, leaf, format, nil), size, written); err != nil {
		return nil, err
	}
	v := &volume{key: s.key(node, s.name(vmid, leaf, format, base)), vmid: vmid, content: "images", format: format,
		size: size, used: written, ctime: c.now.Unix()}
	if s.Type == "lvm" {
		v.used = size
	}
	if base != nil {
		v.parent = base.key.name
	}
	if c.volumes[v.key] != nil {
		return nil, fmt.Errorf("disk image '%s' already exists", v.id())
	}
	c.volumes[v.key] = v
	return v, nil
}

// inUse says whether a base volume has linked clones.
func (c *Cluster) inUse(v *volume) bool {
	for k, other := range c.volumes {
		if k.storage == v.key.storage && k.node == v.key.node && other.parent != "" && other.parent == v.key.name {
			return true
		}
	}
	return false
}

// lockKey is the lock under which s creates and removes volumes.
func (s *Storage) lockKey(node string) string {
	if s.Shared {
		return "storage-" + s.ID
	}
	return fmt.Sprintf("/var/lock/pve-manager/pve-storage-%s@%s", s.ID, node)
}

// storageRow is s as GET /nodes/{node}/storage shows it.
func (r *request) storageRow(s *Storage, node string) object {
	total, used := s.Size, r.c.used(s, node)
	return object{"storage": s.ID, "type": s.Type, "content": s.Content, "shared": flag(s.Shared), "enabled": flag(!s.Off),
		"active": flag(!s.Off), "total": total, "used": used, "avail": max(0, total-used), "used_fraction": float64(used) / float64(total)}
}

func (r *request) storageList() (any, error) {
	node, target := r.str("node"), r.str("target")
	if target != "" && r.c.node(target) == nil {
		return nil, failure("no such cluster node '%s'", target)
	}
	rows := []object{}
	for _, s := range r.c.storages {
		wanted := strings.FieldsFunc(r.str("content"), isListBreak)
		holds := len(wanted) == 0 || slices.ContainsFunc(wanted, s.holds)
		if !s.on(node) || target != "" && !s.on(target) || !holds || r.has("storage") && r.str("storage") != s.ID ||
			r.boolean("enabled") && s.Off || !r.may("/storage/"+s.ID, "Datastore.Audit", "Datastore.AllocateSpace") {
			continue
		}
		rows = append(rows, r.storageRow(s, node))
	}
	return rows, nil
}

func (r *request) storageStatus() (any, error) {
	s := r.c.storage(r.str("storage"))
	if s == nil || !s.on(r.str("node")) {
		return nil, badParam("storage", "No such storage.")
	}
	row := r.storageRow(s, r.str("node"))
	delete(row, "storage")
	delete(row, "used_fraction")
	return row, nil
}
