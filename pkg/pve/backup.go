package pve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// BackupStorages are the enabled storages that node sees and that may hold backups, also those that are not active now.
// Those that the token may not see (Datastore.Audit or Datastore.AllocateSpace) are missing without an error.
func (c *Client) BackupStorages(ctx context.Context, node string) ([]kvm.Storage, error) {
	return c.storages(ctx, node, "backup")
}

// Backups are the backups on a storage, as node sees it, that were made of a VM with this VMID, the oldest first, with no
// UUID yet. Those that the token may not see are missing without an error: it needs Datastore.AllocateSpace on the storage
// and VM.Backup on the VMID. Proxmox reads the whole storage for it, which may take long.
func (c *Client) Backups(ctx context.Context, node, storage string, vmid int) ([]kvm.Backup, error) {
	var rows []struct {
		Volume    text    `json:"volid"`
		VMID      integer `json:"vmid"`
		Time      integer `json:"ctime"`
		Size      integer `json:"size"`
		Format    text    `json:"format"`
		Notes     text    `json:"notes"`
		Protected flag    `json:"protected"`
	}
	p := params{"content": "backup", "vmid": strconv.Itoa(vmid)}
	if err := c.get(ctx, path("nodes", node, "storage", storage, "content"), p, &rows); err != nil {
		return nil, fmt.Errorf("the backups of VM %d on the storage %s of %s: %w", vmid, storage, node, err)
	}
	var out []kvm.Backup
	for _, r := range rows {
		if int(r.VMID) != vmid || !strings.HasPrefix(string(r.Volume), storage+":") {
			continue
		}
		out = append(out, kvm.Backup{Volume: string(r.Volume), Storage: storage, Node: node, VMID: vmid, Time: unix(r.Time),
			Size: int64(r.Size), Format: string(r.Format), Notes: string(r.Notes), Protected: bool(r.Protected)})
	}
	slices.SortStableFunc(out, func(a, b kvm.Backup) int { return a.Time.Compare(b.Time) })
	return out, nil
}

// Inside reads the configuration in the backup and sets b.UUID, which stays "" where it has none, and with every error:
// kvm.ErrNotFound where b.Node sees no such volume.
func (c *Client) Inside(ctx context.Context, b *kvm.Backup) error {
	b.UUID = ""
	var config text
	err := c.get(ctx, path("nodes", b.Node, "vzdump", "extractconfig"), params{"volume": b.Volume}, &config)
	if err == nil {
		b.UUID, err = archivedUUID(string(config))
	}
	var e *Error
	switch {
	case errors.As(err, &e) && goneVolume.MatchString(e.text()):
		return kvm.Errorf(kvm.ErrNotFound, "there is no backup %s on %s", b.Volume, b.Node)
	case err != nil:
		return fmt.Errorf("reading the configuration in the backup %s: %w", b.Volume, err)
	}
	return nil
}

var uuidPattern = pattern.New(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// archivedUUID is the SMBIOS UUID of a configuration in a backup, "" where it has none. It stands in the main section, the
// first; [snapshot] and [PENDING] sections follow, and lines with "#" are the VM's description. What is no configuration,
// or names more than one UUID, is an error.
func archivedUUID(config string) (string, error) {
	found, options := "", 0
	for line := range strings.Lines(config) {
		if strings.HasPrefix(line, "[") {
			break
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		options++
		if key != "smbios1" {
			continue
		}
		p, err := parsePairs(strings.TrimSpace(value), "")
		if err != nil {
			return "", fmt.Errorf("smbios1: %w", err)
		}
		uuid, ok := p.get("uuid")
		switch {
		case !ok:
		case !uuidPattern.MatchString(uuid):
			return "", fmt.Errorf("smbios1: %.60q is no UUID", uuid)
		case found != "" && !strings.EqualFold(found, uuid):
			return "", fmt.Errorf("smbios1: it names two UUIDs, %s and %s", found, uuid)
		default:
			found = uuid
		}
	}
	if options == 0 {
		return "", errors.New("it is empty, or no configuration")
	}
	return found, nil
}

// DeleteBackup removes a backup. One that is gone already is no error, neither here nor to Wait. kvm.ErrPermanent: it is
// protected. The UPID is "" where nothing is left to wait for.
func (c *Client) DeleteBackup(ctx context.Context, o kvm.OwnedBackup) (kvm.UPID, error) {
	b := o.Backup()
	switch {
	case b == nil:
		return "", kvm.Errorf(kvm.ErrUnproved, "a backup whose ownership was not proved is not touched")
	case !strings.HasPrefix(b.Volume, b.Storage+":") || strings.Contains(b.Volume, ".."):
		return "", kvm.Errorf(kvm.ErrInvalid, "%.80q cannot be a backup on the storage %s", b.Volume, b.Storage)
	}
	id, err := c.maybeTask(ctx, http.MethodDelete, path("nodes", b.Node, "storage", b.Storage, "content", b.Volume), nil)
	var e *Error
	switch {
	case errors.As(err, &e) && goneVolume.MatchString(e.text()):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("deleting the backup %s: %w", b.Volume, err)
	}
	return id, nil
}

// Backup starts a backup of the VM to storage, with a note of one line. Proxmox removes no other backup for it (remove=0) and
// mails nobody. A node does one job at a time, so that the task may wait for long before it begins.
//
// kvm.ErrNotHere: the VM is on another node, for which Proxmox answers "OK" and does nothing. What else forbids it, the task says:
// a lock, a storage that is missing or full.
func (c *Client) Backup(ctx context.Context, o kvm.Owned, storage, note string) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	p := params{"vmid": strconv.Itoa(vm.VMID), "storage": storage, "mode": "snapshot", "compress": "zstd", "remove": "0"}
	if note != "" {
		p["notes-template"] = noteTemplate(note)
	}
	version, err := c.Version(ctx)
	if err != nil {
		return "", onVM(vm, "backing up", err)
	}
	if version.AtLeast(8, 1) { // else the cluster's notification targets would be told of each
		p["notification-mode"] = "legacy-sendmail"
	}
	a, err := c.call(ctx, http.MethodPost, path("nodes", vm.Node, "vzdump"), p)
	if err != nil {
		return "", onVM(vm, "backing up", err)
	}
	var id text
	if err := json.Unmarshal(a.Data, &id); err == nil && id == "OK" {
		return "", kvm.Errorf(kvm.ErrNotHere, "VM %d is not on %s any more: Proxmox backed nothing up", vm.VMID, vm.Node)
	}
	if _, err := parseUPID(string(id)); err != nil {
		return "", kvm.Errorf(kvm.ErrUnknown, "backing VM %d on %s up: the answer names no task", vm.VMID, vm.Node)
	}
	return kvm.UPID(id), nil
}

// noteTemplate is note as a template that gives just that: "{{" would begin a variable, also what is left of three braces.
func noteTemplate(note string) string {
	note = strings.NewReplacer(`\`, `\\`, "\r", " ", "\n", " ").Replace(note)
	for strings.Contains(note, "{{") {
		note = strings.ReplaceAll(note, "{{", "{ {")
	}
	return note
}

// madeArchive is the line of a backup's log that names its archive. What a client has typed stands in another line of it.
var madeArchive = pattern.New(`^INFO: creating (?:vzdump|Proxmox Backup Server) archive '([^']+)'`)

// BackupMade is the name that the backup task's volume has on its storage, by the task's log: a volume is storage:name.
// kvm.ErrNotFound: the log names none.
func (c *Client) BackupMade(ctx context.Context, id kvm.UPID) (name string, err error) {
	u, err := parseUPID(string(id))
	if err != nil {
		return "", err
	}
	lines, _, err := c.log(ctx, path("nodes", u.Node, "tasks", id, "log"), 0, logLines)
	if err != nil {
		return "", fmt.Errorf("the log of %s: %w", u.what(), err)
	}
	if name = archiveNamed(lines); name == "" {
		return "", kvm.Errorf(kvm.ErrNotFound, "the log of %s names no archive", u.what())
	}
	return name, nil
}

// archiveNamed is the name of the volume that a backup's log names first, "" where it names none.
func archiveNamed(log []string) string {
	for _, line := range log {
		if m := madeArchive.FindStringSubmatch(line); m != nil {
			if strings.HasPrefix(m[1], "vm/") { // a backup server's, which is no file
				return "backup/" + m[1]
			}
			return "backup/" + m[1][strings.LastIndex(m[1], "/")+1:]
		}
	}
	return ""
}

// Restore puts what is in the backup in the place of the stopped VM's configuration and disks: UUID, MAC, description and
// cloud-init come from it, snapshots are lost, disks that it does not have become unused ones. The VM stays stopped.
//
// kvm.ErrState: it runs. kvm.ErrBusy: it is locked. Each may be said at once or by the task. One that fails on the way leaves a VM
// whose disks are not whole; the same request may be sent again then.
func (c *Client) Restore(ctx context.Context, o kvm.Owned, archive kvm.OwnedBackup) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	b := archive.Backup()
	if b == nil {
		return "", kvm.Errorf(kvm.ErrUnproved, "a backup whose ownership was not proved is not restored")
	}
	id, err := c.task(ctx, http.MethodPost, path("nodes", vm.Node, "qemu"), params{"vmid": strconv.Itoa(vm.VMID), "archive": b.Volume, "force": bit(true)})
	return id, onVM(vm, "restoring "+b.Volume, err)
}
