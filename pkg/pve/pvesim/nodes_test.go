package pvesim

import (
	"fmt"
	"testing"
)

// Each node has a template that can be cloned without a copy, on a storage of its own: the same volume names may stand on
// all of them.
func TestNodes(t *testing.T) {
	c, err := Nodes(Options{Model: Instant()}, 8)
	if err != nil {
		t.Fatal(err)
	}
	k := serve(t, c)
	for i := range 8 {
		node, vmid := fmt.Sprintf("pve%d", i+1), 100+i
		k.want("200 OK", "POST", fmt.Sprintf("/nodes/%s/qemu/%d/clone", node, FirstTemplate+i), fmt.Sprintf("newid=%d&full=0", vmid))
		vm, found := c.VM(vmid)
		if !found || vm.Node != node || vm.Disks["scsi0"].Storage != "local" || vm.Disks["scsi0"].Parent == "" || vm.CloudInit != "" {
			t.Errorf("VM %d: %v %+v", vmid, found, vm)
		}
		if got := c.Volumes(vmid); len(got) != 2 {
			t.Errorf("VM %d has %v", vmid, got)
		}
	}
	if n := len(c.VMs()); n != 16 {
		t.Errorf("%d VMs", n)
	}
}
