package pvesim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// storageContent lists volumes. Those that the caller may not see are left out without a word.
func (r *request) storageContent() (any, error) {
	node := r.str("node")
	s, err := r.c.enabled(r.str("storage"), node)
	if err != nil {
		return nil, err
	}
	vmid := r.number("vmid", 0)
	rows := []object{}
	at := s.key(node, "").node
	for k, v := range r.c.volumes {
		if k.storage == s.ID && k.node == at && (vmid == 0 || v.vmid == vmid) && (!r.has("content") || r.str("content") == v.content) && r.mayList(v) {
			rows = append(rows, r.c.volumeRow(s, v))
		}
	}
	slices.SortFunc(rows, func(a, b object) int { return strings.Compare(a["volid"].(string), b["volid"].(string)) })
	return rows, nil
}

// mayList is PVE::Storage::check_volume_access.
func (r *request) mayList(v *volume) bool {
	at, guest := "/storage/"+v.key.storage, fmt.Sprintf("/vms/%d", v.vmid)
	switch {
	case r.may(at, "Datastore.Allocate"):
		return true
	case v.content == "images":
		return r.may(at, "Datastore.Audit") && r.may(guest, "VM.Config.Disk")
	case v.content == "backup":
		return r.may(at, "Datastore.AllocateSpace") && r.may(guest, "VM.Backup")
	default:
		return r.may(at, "Datastore.Audit", "Datastore.AllocateSpace")
	}
}

// volumeRow is a volume in the list. A directory shows the first line of a backup's notes only.
func (c *Cluster) volumeRow(s *Storage, v *volume) object {
	row := object{"volid": v.id(), "content": v.content, "format": v.format, "size": v.size, "ctime": v.ctime}
	switch v.content {
	case "images":
		row["vmid"] = v.vmid
		if s.files() {
			row["used"] = v.used
			row["parent"] = nil
		}
		if v.parent != "" {
			row["parent"] = v.parent
			if s.files() {
				row["parent"] = "../" + v.parent // as qemu-img tells it
			}
		}
	case "backup":
		row["vmid"], row["subtype"] = v.vmid, "qemu"
		if v.protected {
			row["protected"] = 1
		}
		notes := v.notes
		if s.files() {
			notes, _, _ = strings.Cut(notes, "\n")
		}
		if notes != "" {
			row["notes"] = notes
		}
	}
	return row
}

var fileVolume = pattern.New(`^(?:\d+/\S+\.(?:raw|qcow2|vmdk)|(?:iso|vztmpl|snippets|import|backup)/[^/]+)$`)

// volumeOf is the volume of the path, nil where there is none, and its storage; the id may lack its storage.
func (r *request) volumeOf() (s *Storage, id string, v *volume, err error) {
	id = r.str("volume")
	if !strings.Contains(id, ":") || r.c.storage(id[:strings.IndexByte(id, ':')]) == nil && r.has("storage") && !volumeID.MatchString(id) {
		id = r.str("storage") + ":" + id
	}
	storage, name, _ := strings.Cut(id, ":")
	if r.has("storage") && storage != r.str("storage") {
		return nil, id, nil, failure("storage ID missmatch (%s != %s)", storage, r.str("storage"))
	}
	s, err = r.c.enabled(storage, r.str("node"))
	if err != nil {
		return nil, id, nil, err
	}
	if s.files() && !fileVolume.MatchString(baseless(name)) {
		return s, id, nil, failure("unable to parse directory volume name '%s'", name)
	}
	return s, id, r.c.volume(r.str("node"), id), nil
}

// baseless is a linked clone's name without that of its base.
func baseless(name string) string {
	if parts := strings.Split(name, "/"); len(parts) == 4 {
		return strings.Join(parts[2:], "/")
	}
	return name
}

// ownerOf is the VM to which a volume of that name belongs, 0 where the name does not say.
func ownerOf(name string) int {
	m := pattern.New(`(?:^|/)(?:vzdump-qemu-|vm-|base-)(\d+)-|^backup/vm/(\d+)/`).FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1] + m[2])
	return n
}

// path is where a storage has a volume.
func (s *Storage) path(name string) string {
	switch dir, leaf, _ := strings.Cut(baseless(name), "/"); {
	case !s.files():
		return fmt.Sprintf("/dev/%s/%s", s.ID, name)
	case dir == "iso":
		return s.Path + "/template/iso/" + leaf
	case dir == "backup":
		return s.Path + "/dump/" + leaf
	case leaf != "" && dir[0] >= '0' && dir[0] <= '9':
		return s.Path + "/images/" + dir + "/" + leaf
	default:
		return s.Path + "/" + baseless(name)
	}
}

func (r *request) readVolume() (any, error) {
	s, id, v, err := r.volumeOf()
	switch {
	case err != nil:
		return nil, err
	case v == nil:
		return nil, failure("volume_size_info on '%s' failed", id)
	case !r.mayList(v):
		return nil, denied("/storage/"+s.ID, "Datastore.Allocate")
	}
	row := object{"path": s.path(v.key.name), "size": v.size, "used": v.used, "format": v.format}
	if v.parent != "" {
		row["parent"] = v.parent
	}
	if v.content == "backup" {
		row["notes"], row["protected"] = v.notes, flag(v.protected)
	}
	return row, nil
}

func (r *request) setVolume() (any, error) {
	s, id, v, err := r.volumeOf()
	switch {
	case err != nil:
		return nil, err
	case v == nil:
		return nil, failure("volume '%s' does not exist", id)
	case !r.mayList(v):
		return nil, denied("/storage/"+s.ID, "Datastore.Allocate")
	case r.has("notes") && v.content != "backup":
		return nil, failure("only backups can have notes")
	case r.has("protected") && v.content != "backup":
		return nil, failure("only backups can be protected")
	}
	if r.has("notes") {
		v.notes = r.str("notes")
	}
	if r.has("protected") {
		v.protected = r.boolean("protected")
	}
	return nil, nil
}

// deleteVolume removes a volume in a task. One that is gone already is no error on a directory.
func (r *request) deleteVolume() (any, error) {
	c := r.c
	s, id, _, err := r.volumeOf()
	if err != nil {
		return nil, err
	}
	_, name, _ := strings.Cut(id, ":")
	vmid, at := ownerOf(name), "/storage/"+s.ID
	if !r.may(at, "Datastore.Allocate") {
		if strings.HasPrefix(name, "backup/") && vmid != 0 {
			if !r.may(at, "Datastore.AllocateSpace") {
				return nil, denied(at, "Datastore.AllocateSpace")
			}
			if guest := fmt.Sprintf("/vms/%d", vmid); !r.may(guest, "VM.Backup") {
				return nil, denied(guest, "VM.Backup")
			}
		} else {
			return nil, denied(at, "Datastore.Allocate")
		}
	}
	owner := s.ID
	if vmid != 0 {
		owner = fmt.Sprintf("%d@%s", vmid, s.ID)
	}
	node := r.str("node")
	t := r.fork(node, "imgdel", owner, func(o *op) {
		o.acquire(s.lockKey(node), false, storageLockWait, func() {
			v := c.volume(node, id)
			switch {
			case v == nil && !s.files():
				o.fail(fmt.Errorf("volume '%s' does not exist", id))
				return
			case v == nil:
				o.logf("disk image '%s' does not exist", s.path(name))
			case v.protected:
				o.fail(fmt.Errorf("cannot remove protected volume '%s' on '%s'", name, s.ID))
				return
			case c.inUse(v):
				o.fail(fmt.Errorf("base volume '%s' is still in use by linked cloned", name))
				return
			}
			o.after(o.task.length(c.model.Remove), func() {
				o.commit(func() {
					if v != nil {
						delete(c.volumes, v.key)
					}
					o.logf("Removed volume '%s'", id)
				})
			})
		})
	})
	if delay := r.number("delay", 0); delay > 0 {
		if done, err := r.awaitFor(t.op, time.Duration(delay)*time.Second); done || err != nil {
			return nil, err
		}
	}
	return t.upid, nil
}

// createVolume makes an empty disk image.
func (r *request) createVolume() (any, error) {
	c, file := r.c, r.str("filename")
	s, err := c.enabled(r.str("storage"), r.str("node"))
	if err != nil {
		return nil, err
	}
	leaf, format := file, r.str("format")
	if i := strings.LastIndexByte(file, '.'); i > 0 {
		leaf = file[:i]
		if format == "" {
			format = file[i+1:]
		}
	}
	size := parseSize(r.str("size"))
	if strings.TrimRight(r.str("size"), "MG") == r.str("size") {
		size <<= 10 // a bare number is KiB here
	}
	key := s.key(r.str("node"), s.name(r.vmid(), leaf, format, nil))
	if c.volumes[key] != nil {
		return nil, failure("disk image '%s' already exists", s.path(key.name))
	}
	v, err := c.create(s, r.str("node"), r.vmid(), leaf, format, size, 0, nil)
	if err != nil {
		return nil, err
	}
	return v.id(), nil
}
