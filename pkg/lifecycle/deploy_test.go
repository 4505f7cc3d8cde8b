package lifecycle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var versions = []string{"7.4-17", "8.4.21", "9.2.11"}

// TestDeploy makes a VM of a product that wants everything, on each version of Proxmox, and walks it again.
func TestDeploy(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, version, rich...)
			w.staleFirewall()
			w.writes()
			id := w.order()
			out := w.reach(id, allRows)
			for _, s := range out.steps {
				if s.Note != "" && s.Title != title(rowDNS) {
					t.Errorf("%s (%s) had something to do", s.Title, s.Note)
				}
			}
			w.settled(1, id)
			vmid := w.service(id).Row.VMID
			got := strings.ReplaceAll(strings.Join(w.writes(), "\n"), "/100", "/N")
			want := `POST /nodes/pve1/qemu/9000/clone
POST /nodes/pve1/qemu/N/migrate
PUT /nodes/pve2/qemu/N/config
PUT /nodes/pve2/qemu/N/resize
PUT /nodes/pve2/qemu/N/config
POST /nodes/pve2/qemu/N/config
PUT /nodes/pve2/qemu/N/resize
PUT /nodes/pve2/qemu/N/config
PUT /nodes/pve2/qemu/N/config
DELETE /nodes/pve2/qemu/N/firewall/rules/1
DELETE /nodes/pve2/qemu/N/firewall/rules/0
DELETE /nodes/pve2/qemu/N/firewall/ipset/old
POST /nodes/pve2/qemu/N/firewall/ipset/ipfilter-net0
DELETE /nodes/pve2/qemu/N/firewall/ipset/ipfilter-net0/198.51.100.7
PUT /nodes/pve2/qemu/N/firewall/options
PUT /nodes/pve2/qemu/N/config
POST /nodes/pve2/qemu/N/status/start`
			if vmid != 100 || got != want {
				t.Errorf("VM %d was made by\n%s\nwant\n%s", vmid, got, want)
			}
			c := w.vm(id).Config
			for key, value := range map[string]string{"cores": "2", "sockets": "1", "memory": "4096", "onboot": "1",
				"scsi0":     "local-lvm:vm-100-disk-0,iops_wr=500,mbps_rd=100,size=20G",
				"scsi1":     "shared:100/vm-100-disk-0.raw,mbps_wr=50.5,size=10G",
				"net0":      "virtio=" + w.service(id).Row.MAC + ",bridge=vmbr0,firewall=1,rate=12.5",
				"ipconfig0": "ip=192.0.2.10/24,gw=192.0.2.1", "nameserver": "192.0.2.53", "searchdomain": "example.com",
				"name": "vps-42-5001", "description": kvm.Mark(installation, id)} {
				if c[key] != value {
					t.Errorf("%s: %s, want %s", key, c[key], value)
				}
			}

			// Every row that is walked again finds its work done, and still advances. Those that look it up in the row, or
			// send what cannot be read back, say nothing of it.
			before := w.picture()
			w.set(id, "vm_status = 'creation'")
			out = w.reach(id, allRows)
			for i, s := range out.steps {
				skipped := strings.HasPrefix(s.Note, "skip — ")
				if can := !slices.Contains([]int{rowIP, rowClone, rowMigrate, rowCloudinit, rowVerify}, i+1); skipped != can {
					t.Errorf("repeated: %s (%s)", s.Title, s.Note)
				}
			}
			if writes := w.writes(); len(writes) != 1 || !strings.HasSuffix(writes[0], "/config") {
				t.Errorf("repeated: %v, want the cloud-init keys alone", writes)
			}
			w.settled(1, id)
			if after := w.picture(); strip(after) != strip(before) {
				t.Errorf("the VM was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// strip takes out what a cloud-init PUT changes each time: the password's salt.
func strip(picture string) string {
	var out []string
	for line := range strings.Lines(picture) {
		if !strings.Contains(line, "cipassword") && !strings.Contains(line, "CloudInit") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
