package pve

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// Snapshots are the VM's snapshots, the oldest first. It needs VM.Audit.
func (c *Client) Snapshots(ctx context.Context, o kvm.Owned) ([]kvm.Snapshot, error) {
	vm, err := target(o)
	if err != nil {
		return nil, err
	}
	var rows []struct {
		Name        text    `json:"name"`
		Description text    `json:"description"`
		Time        integer `json:"snaptime"`
		Parent      text    `json:"parent"`
		RAM         flag    `json:"vmstate"`
		State       text    `json:"snapstate"`
	}
	if err := c.get(ctx, guest(vm, "snapshot"), nil, &rows); err != nil {
		return nil, onVM(vm, "listing the snapshots", err)
	}
	var out []kvm.Snapshot
	for _, r := range rows {
		if r.Name == "" || r.Name == "current" { // the last row is the present
			continue
		}
		out = append(out, kvm.Snapshot{Name: string(r.Name), Description: strings.TrimRight(string(r.Description), " \t\r\n"),
			Time: unix(r.Time), Parent: string(r.Parent), RAM: bool(r.RAM), State: string(r.State)})
	}
	slices.SortFunc(out, func(a, b kvm.Snapshot) int { return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Name, b.Name)) })
	return out, nil
}

// unix is a time as Proxmox tells it, zero where it does not.
func unix(seconds integer) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

var snapshotName = pattern.New(`^[A-Za-z][A-Za-z0-9_-]+$`)

// CreateSnapshot takes a snapshot of the VM's disks and configuration, without its memory. kvm.ErrTaken: there is one of that
// name, which the task says, and kvm.ErrPermanent: a storage that takes none.
func (c *Client) CreateSnapshot(ctx context.Context, o kvm.Owned, name, description string) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	if !snapshotName.MatchString(name) || len(name) > 40 {
		return "", kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %.60q cannot be the name of a snapshot", vm.VMID, vm.Node, name)
	}
	p := params{"snapname": name}
	if description != "" {
		p["description"] = description
	}
	id, err := c.task(ctx, http.MethodPost, guest(vm, "snapshot"), p)
	return id, onVM(vm, "taking the snapshot "+name, err)
}

// DeleteSnapshot removes a snapshot; those that build upon it stay. kvm.ErrNotFound: there is none of that name, which the
// task says. One that fails on the way leaves the lock snapshot-delete on the VM, which only an administrator can take
// away.
func (c *Client) DeleteSnapshot(ctx context.Context, o kvm.Owned, name string) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	if !snapshotName.MatchString(name) {
		return "", kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %.60q cannot be the name of a snapshot", vm.VMID, vm.Node, name)
	}
	id, err := c.task(ctx, http.MethodDelete, guest(vm, "snapshot", name), nil)
	return id, onVM(vm, "deleting the snapshot "+name, err)
}

// SnapshotDisks are the disks in the snapshot, without CD drives: kvm.ErrNotFound when there is none of that name.
func (c *Client) SnapshotDisks(ctx context.Context, o kvm.Owned, name string) ([]kvm.Disk, error) {
	vm, err := target(o)
	if err != nil {
		return nil, err
	}
	if !snapshotName.MatchString(name) {
		return nil, kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %.60q cannot be the name of a snapshot", vm.VMID, vm.Node, name)
	}
	what := "reading the snapshot " + name
	var raw map[string]json.RawMessage
	err = c.get(ctx, guest(vm, "snapshot", name, "config"), nil, &raw)
	if says(err, "snapshot '"+name+"' does not exist") {
		return nil, kvm.Errorf(kvm.ErrNotFound, "VM %d on %s has no snapshot %s", vm.VMID, vm.Node, name)
	}
	if err != nil {
		return nil, onVM(vm, what, err)
	}
	then, err := decodeVM(vm.Node, vm.VMID, raw)
	if err != nil {
		return nil, onVM(vm, what, err)
	}
	return then.Disks, nil
}

// Rollback brings the stopped VM's disks and configuration back to the snapshot; its UUID, too, is the one of then. It stays
// stopped. kvm.ErrNotFound: there is none of that name; kvm.ErrPermanent: the storage goes back to its newest alone. The task says
// both. It needs VM.Snapshot or VM.Snapshot.Rollback.
func (c *Client) Rollback(ctx context.Context, o kvm.Owned, name string) (kvm.UPID, error) {
	vm, err := target(o)
	if err != nil {
		return "", err
	}
	if !snapshotName.MatchString(name) {
		return "", kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %.60q cannot be the name of a snapshot", vm.VMID, vm.Node, name)
	}
	id, err := c.task(ctx, http.MethodPost, guest(vm, "snapshot", name, "rollback"), nil)
	return id, onVM(vm, "rolling back to the snapshot "+name, err)
}
