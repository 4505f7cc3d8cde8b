package pve

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// ISOs are the images on a storage as node sees it, sorted (kvm.SortISOs). Those that the token may not see (Datastore.Audit or
// Datastore.AllocateSpace) are missing without an error. kvm.ErrAdmin: node has no such storage for images, or the token may not
// see it; kvm.ErrUnreachable: it is not active there.
func (c *Client) ISOs(ctx context.Context, node, storage string) ([]kvm.ISO, error) {
	stores, err := c.storages(ctx, node, "iso")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(stores, func(s kvm.Storage) bool { return s.Name == storage })
	switch {
	case i < 0:
		return nil, kvm.Errorf(kvm.ErrAdmin, "there is no storage %q for ISO images on %s that %s can see", storage, node, c.user)
	case !stores[i].Active:
		return nil, kvm.Errorf(kvm.ErrUnreachable, "the storage %s of the ISO images is not active on %s", storage, node)
	}
	var rows []struct {
		Volume text    `json:"volid"`
		Size   integer `json:"size"`
		Time   integer `json:"ctime"`
	}
	if err := c.get(ctx, path("nodes", node, "storage", storage, "content"), params{"content": "iso"}, &rows); err != nil {
		return nil, fmt.Errorf("the ISO images on the storage %s of %s: %w", storage, node, err)
	}
	out := []kvm.ISO{}
	for _, r := range rows {
		if name, ok := isoName(string(r.Volume), storage); ok {
			out = append(out, kvm.ISO{Volume: string(r.Volume), Name: name, Size: int64(r.Size), Time: unix(r.Time)})
		}
	}
	kvm.SortISOs(out)
	return out, nil
}

// isoName is the file's name of an image on storage; ok is false for a volume that is none.
func isoName(volume, storage string) (name string, ok bool) {
	name, ok = strings.CutPrefix(volume, storage+":iso/")
	return name, ok && name != "" && !strings.Contains(name, "/") && !hasControl(name)
}

// SetCD puts volume into the CD drive at slot, which it makes where there is none; "" takes out what is in it and leaves the
// drive. Of a VM that runs only the medium of a drive that it has changes at once. What else is at slot stays: kvm.ErrRefused.
//
// Proxmox puts a drive that the boot order in force does not have at its end, whatever else the same call says of the order, and
// in no order that can be relied on. So [Client.SetBoot] is a call of its own, after this one (PVE::API2::Qemu, update_vm_api).
func (c *Client) SetCD(ctx context.Context, o kvm.Owned, slot, volume string) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	d := drive{}
	have, filled := vm.Keys[slot]
	if _, ok := slotOrder(slot); !ok {
		return kvm.Errorf(kvm.ErrInvalid, "VM %d on %s has no slot %q", vm.VMID, vm.Node, slot)
	}
	if filled {
		if d, err = parseDrive(have); err != nil {
			return onVM(vm, slot, err)
		}
		if !d.cd() || d.cloudInit() {
			return kvm.Errorf(kvm.ErrRefused, "VM %d on %s: at the slot %s is no CD drive for images: %s", vm.VMID, vm.Node, slot, have)
		}
	}
	d.volume = emptyDrive
	if volume != "" {
		d.volume = volume
		if storage, _, _ := strings.Cut(volume, ":"); !imageVolume(volume, storage) {
			return kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %.80q cannot be mounted: it is no ISO image, or its name has a comma in it", vm.VMID, vm.Node, volume)
		}
	}
	d.options.set("size", "") // of the former medium
	d.options.set("media", "cdrom")
	return onVM(vm, "setting the CD drive "+slot, c.do(ctx, http.MethodPut, guest(vm, "config"), withDigest(params{slot: d.String()}, vm)))
}

// imageVolume says whether volume is an ISO image on storage that a drive string can hold.
func imageVolume(volume, storage string) bool {
	_, ok := isoName(volume, storage)
	return ok && namePattern.MatchString(storage) && !strings.ContainsAny(volume, ",\\") && !strings.Contains(volume, "..")
}

var bootPattern = pattern.New(`^(?:order=(?:[a-z]+[0-9]+(?:[; ]+[a-z]+[0-9]+)*)?|(?:legacy=)?[acdn]{1,4})$`)

// SetBoot writes the boot order; "" removes the key. A VM that runs takes it when it is stopped and started.
func (c *Client) SetBoot(ctx context.Context, o kvm.Owned, boot kvm.BootOrder) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	p := params{"boot": string(boot)}
	switch {
	case boot == "":
		p = params{"delete": "boot"}
	case !bootPattern.MatchString(string(boot)):
		return kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %.80q cannot be a boot order", vm.VMID, vm.Node, string(boot))
	}
	return onVM(vm, "setting the boot order", c.do(ctx, http.MethodPut, guest(vm, "config"), withDigest(p, vm)))
}

// Pending are the keys of the VM's configuration that change when it is stopped and started, sorted.
func (c *Client) Pending(ctx context.Context, o kvm.Owned) ([]string, error) {
	vm, err := target(o)
	if err != nil {
		return nil, err
	}
	var rows []struct {
		Key     text    `json:"key"`
		Pending *text   `json:"pending"`
		Delete  integer `json:"delete"`
	}
	if err := c.get(ctx, guest(vm, "pending"), nil, &rows); err != nil {
		return nil, onVM(vm, "asking for pending changes", err)
	}
	out := []string{}
	for _, r := range rows {
		if r.Pending != nil || r.Delete != 0 {
			out = append(out, string(r.Key))
		}
	}
	slices.Sort(out)
	return out, nil
}
