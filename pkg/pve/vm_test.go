package pve

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestVM(t *testing.T) {
	vm := owned(t, testConfig).VM()
	vm.Keys = nil
	want := &kvm.VM{VMID: 110, Node: "pve1", Name: "vps-1-2", Description: "puqkvm:x:2", UUID: "86c5cc9f-ec8f-48e1-a587-87fd8616737e",
		Digest: "d1", Cores: 2, Sockets: 1, VCPUs: 1, Memory: 2048, Boot: []string{"ide2", "scsi0", "net0"}, SystemSlot: "scsi0",
		CloudDrive: "ide0", CDs: []kvm.CD{{Slot: "ide2", Volume: "local:iso/a.iso"}}, CIUser: "old", SearchDomain: "example.test", NIC: &kvm.NIC{Model: "virtio", MAC: "BC:24:11:79:62:F8", Bridge: "vmbr0"},
		Disks: []kvm.Disk{
			{Slot: "scsi0", Volume: "local:110/vm-110-disk-0.qcow2", Storage: "local", Size: 10 << 30, Limits: kvm.Limits{ReadIOPS: 9}},
			{Slot: "scsi1", Volume: "local:110/vm-110-disk-1.qcow2", Storage: "local", Size: 1 << 30},
		}}
	if d := cmp.Diff(want, vm, addresses()); d != "" {
		t.Error(d)
	}
}

func TestVMSystemDiskAndOddConfigurations(t *testing.T) {
	for name, c := range map[string]struct{ config, system, errText string }{
		"boot order":      {`{"boot":"order=virtio1;scsi0","virtio1":"a:v1","scsi0":"a:v0"}`, "virtio1", ""},
		"legacy":          {`{"boot":"cdn","bootdisk":"virtio0","virtio0":"a:v1","scsi0":"a:v0"}`, "virtio0", ""},
		"legacy key":      {`{"boot":"legacy=cdn","bootdisk":"sata0","sata0":"a:v1"}`, "sata0", ""},
		"no order":        {`{"virtio0":"a:v1","sata0":"a:v0"}`, "virtio0", ""},
		"only the net":    {`{"boot":"order=net0","ide0":"a:v1"}`, "ide0", ""},
		"CD in front":     {`{"boot":"order=scsi0;scsi1","scsi0":"none,media=cdrom","scsi1":"a:v1"}`, "scsi1", ""},
		"no disk":         {`{"ide2":"a:vm-1-cloudinit,media=cdrom"}`, "", ""},
		"being cloned":    {`{"lock":"clone","description":" qmclone temporary file","digest":"x"}`, "", ""},
		"pve7 memory":     {`{"memory":1024}`, "", ""},
		"bad drive":       {`{"scsi0":"size=1G"}`, "", "scsi0"},
		"bad size":        {`{"scsi0":"a:b,size=1X"}`, "", "scsi0"},
		"bad net":         {`{"net0":"bridge=vmbr0"}`, "", "net0"},
		"bad memory":      {`{"memory":"lots"}`, "", "memory"},
		"bad cores":       {`{"cores":"two"}`, "", "cores"},
		"bad onboot":      {`{"onboot":"perhaps"}`, "", "onboot"},
		"object in a key": {`{"name":{"a":1}}`, "", "name"},
		"a list":          {`[]`, "", "not what Proxmox answers"},
	} {
		_, client := script{"GET /nodes/pve1/qemu/110/config": {c.config}}.serve(t)
		vm, err := client.VM(t.Context(), "pve1", 110)
		if c.errText == "" && (err != nil || vm.SystemSlot != c.system) {
			t.Errorf("%s: %+v, %v", name, vm, err)
		}
		if c.errText != "" && (err == nil || !strings.Contains(err.Error(), c.errText) || !strings.Contains(err.Error(), "VM 110 on pve1")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, client := script{"GET /nodes/pve1/qemu/110/config": {"500 Configuration file 'nodes/pve1/qemu-server/110.conf' does not exist"}}.serve(t)
	if _, err := client.VM(t.Context(), "pve1", 110); !errors.Is(err, kvm.ErrNotHere) {
		t.Error(err)
	}
}
