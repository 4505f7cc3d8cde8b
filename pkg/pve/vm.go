package pve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// VM reads a configuration with its pending changes merged in. kvm.ErrNotHere: this node has no such VM.
func (c *Client) VM(ctx context.Context, node string, vmid int) (*kvm.VM, error) {
	var raw map[string]json.RawMessage
	if err := c.get(ctx, path("nodes", node, "qemu", vmid, "config"), nil, &raw); err != nil {
		return nil, fmt.Errorf("reading the configuration of VM %d on %s: %w", vmid, node, err)
	}
	vm, err := decodeVM(node, vmid, raw)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of VM %d on %s: %w", vmid, node, err)
	}
	return vm, nil
}

func decodeVM(node string, vmid int, raw map[string]json.RawMessage) (*kvm.VM, error) {
	all, err := keys(raw)
	if err != nil {
		return nil, err
	}
	vm := &kvm.VM{
		VMID:        vmid,
		Node:        node,
		Name:        all["name"],
		Description: strings.TrimRight(all["description"], " \t\r\n"),
		Digest:      all["digest"],
		Lock:        all["lock"],
		CIUser:      all["ciuser"],
		Keys:        all,
	}
	if s, ok := all["smbios1"]; ok {
		p, err := parsePairs(s, "")
		if err != nil {
			return nil, fmt.Errorf("smbios1: %w", err)
		}
		vm.UUID, _ = p.get("uuid")
	}
	numbers := []struct {
		key  string
		none int
		to   *int
	}{{"cores", 1, &vm.Cores}, {"sockets", 1, &vm.Sockets}, {"vcpus", 0, &vm.VCPUs}}
	for _, f := range numbers {
		if *f.to, err = number(all, f.key, f.none); err != nil {
			return nil, err
		}
	}
	if vm.Memory, err = memory(all["memory"]); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		key string
		to  *bool
	}{{"template", &vm.Template}, {"protection", &vm.Protection}, {"onboot", &vm.OnBoot}} {
		if *f.to, err = parseFlag(all[f.key]); err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
	}
	if s, ok := all["net0"]; ok {
		n, err := parseNIC(s)
		if err == nil {
			vm.NIC, err = n.kvm()
		}
		if err != nil {
			return nil, fmt.Errorf("net0: %w", err)
		}
	}
	var plain bool
	vm.IPConfig, plain = parseIPConfig(all["ipconfig0"])
	vm.IPConfigOdd = !plain
	vm.Nameservers, vm.SearchDomain = parseNameservers(all["nameserver"]), all["searchdomain"]
	return vm, drives(vm)
}

func number(all map[string]string, key string, none int) (int, error) {
	s, ok := all[key]
	if !ok {
		return none, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s: %.40q is no whole number", key, s)
	}
	return n, nil
}

// memory is in MiB; since PVE 8 it is a property string whose main key is current. None is Proxmox's default of 512.
func memory(s string) (int64, error) {
	if s == "" {
		return 512, nil
	}
	p, err := parsePairs(s, "current")
	if err != nil {
		return 0, fmt.Errorf("memory: %w", err)
	}
	current, _ := p.get("current")
	n, err := strconv.ParseInt(current, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("memory: %.40q is no whole number", s)
	}
	return n, nil
}

// drives sorts the drives into disks, CD drives and the cloud-init drive, and finds the system disk.
func drives(vm *kvm.VM) error {
	var slots []string
	for key := range vm.Keys {
		if _, ok := slotOrder(key); ok {
			slots = append(slots, key)
		}
	}
	slices.SortFunc(slots, func(a, b string) int {
		x, _ := slotOrder(a)
		y, _ := slotOrder(b)
		return x - y
	})
	for _, slot := range slots {
		d, err := parseDrive(vm.Keys[slot])
		if err != nil {
			return fmt.Errorf("%s: %w", slot, err)
		}
		switch {
		case d.cloudInit():
			vm.CloudDrive = slot
		case d.cd():
			cd := kvm.CD{Slot: slot}
			if d.volume != emptyDrive {
				cd.Volume = d.volume
			}
			vm.CDs = append(vm.CDs, cd)
		default:
			disk := kvm.Disk{Slot: slot, Volume: d.volume, Storage: d.storage()}
			if disk.Size, err = d.size(); err == nil {
				disk.Limits, err = d.limits()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", slot, err)
			}
			vm.Disks = append(vm.Disks, disk)
		}
	}
	ide := slices.IndexFunc(vm.CDs, func(cd kvm.CD) bool { return strings.HasPrefix(cd.Slot, "ide") })
	if ide > 0 { // Proxmox itself goes through ide first
		vm.CDs = slices.Concat(vm.CDs[ide:], vm.CDs[:ide])
	}
	vm.Boot = bootOrder(vm.Keys["boot"])
	vm.SystemSlot = systemSlot(vm)
	return nil
}

// bootOrder are the devices of boot: order=a;b. The older form (boot: cdn) names none.
func bootOrder(s string) []string {
	p, err := parsePairs(s, "legacy")
	if err != nil {
		return nil
	}
	order, ok := p.get("order")
	if !ok {
		return nil
	}
	return strings.FieldsFunc(order, func(r rune) bool { return r == ';' })
}

// systemSlot is the slot of the first disk in the boot order; without one the legacy bootdisk, else the first slot of
// the buses in the order in which Proxmox itself chooses.
func systemSlot(vm *kvm.VM) string {
	for _, slot := range slices.Concat(vm.Boot, []string{vm.Keys["bootdisk"], "scsi0", "virtio0", "sata0", "ide0"}) {
		if vm.Disk(slot) != nil {
			return slot
		}
	}
	return ""
}

// Clone starts the clone of a template on the template's own node. Only this task's OK, and then the mark, prove that
// the VM is ours: Proxmox may answer two clones to one id with a task each. kvm.ErrTaken: the id is in use.
func (c *Client) Clone(ctx context.Context, r kvm.CloneRequest) (kvm.UPID, error) {
	p := params{"newid": strconv.Itoa(r.VMID), "full": bit(r.Full)}
	if r.Name != "" {
		p["name"] = r.Name
	}
	if r.Description != "" {
		p["description"] = r.Description
	}
	if r.Full && r.Storage != "" { // Proxmox refuses a storage with a linked clone
		p["storage"] = r.Storage
	}
	id, err := c.task(ctx, http.MethodPost, path("nodes", r.Node, "qemu", r.Template, "clone"), p)
	if err != nil {
		return "", fmt.Errorf("cloning template %d on %s to VM %d: %w", r.Template, r.Node, r.VMID, err)
	}
	return id, nil
}

// SetCPU sets cores, one socket, memory (MiB) and onboot in one call, and removes vcpus. A balloon above the new memory
// is lowered to it, since Proxmox would refuse the memory otherwise.
func (c *Client) SetCPU(ctx context.Context, o kvm.Owned, cores int, memory int64, onboot bool) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	if cores < 1 || memory < 16 {
		return kvm.Errorf(kvm.ErrInvalid, "VM %d: %d cores and %d MiB are less than Proxmox allows (1, 16)", vm.VMID, cores, memory)
	}
	p := params{"cores": strconv.Itoa(cores), "sockets": "1", "memory": strconv.FormatInt(memory, 10), "onboot": bit(onboot)}
	if _, ok := vm.Keys["vcpus"]; ok {
		p["delete"] = "vcpus"
	}
	balloon, err := number(vm.Keys, "balloon", 0)
	if err != nil {
		return onVM(vm, "setting CPU and memory", err)
	}
	if int64(balloon) > memory {
		p["balloon"] = p["memory"]
	}
	return onVM(vm, "setting CPU and memory", c.do(ctx, http.MethodPut, guest(vm, "config"), withDigest(p, vm)))
}
