package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const (
	configPath = "/nodes/{node}/qemu/{vmid}/config"
	resizePath = "/nodes/{node}/qemu/{vmid}/resize"
)

// configure changes options of the service's VM behind everybody's back; "" removes one.
func (w *world) configure(id int64, options map[string]string) {
	w.t.Helper()
	if err := w.sim.SetConfig(w.service(id).Row.VMID, options); err != nil {
		w.t.Fatal(err)
	}
}

// TestCPUAndRAM: cores, one socket, no vcpus, memory in MiB, and no onboot yet, in one call; a balloon that would not fit shrinks.
func TestCPUAndRAM(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, "cpu=3", "ram=2")
		id := w.order()
		w.reach(id, rowMigrate)
		w.configure(id, map[string]string{"vcpus": "1", "sockets": "2", "memory": "8192", "balloon": "4096"})
		w.writes()
		w.reach(id, rowCPU)
		c := w.vm(id).Config
		if c["cores"] != "3" || c["sockets"] != "1" || c["vcpus"] != "" || c["memory"] != "2048" || c["balloon"] != "2048" || c["onboot"] != "0" {
			t.Errorf("%s: %v", version, c)
		}
		if writes := w.writes(); len(writes) != 1 {
			t.Errorf("%s: %v", version, writes)
		}
		w.set(id, "vm_status = ?", string(from(rowCPU)))
		if out := w.reach(id, rowCPU); out.note(title(rowCPU)) != "skip — no change" || len(w.writes()) != 0 {
			t.Errorf("%s: repeated: %q", version, out.note(title(rowCPU)))
		}
	}
}

// TestResize: disks grow to the absolute size and never shrink; 7.4 does it at once, later ones by a task.
func TestResize(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version)
		for _, c := range []struct {
			size, scsi0, note string
		}{
			{"system_size=20", "20G", ""},
			{"system_size=", "2G", "skip — no change"},
			{"system_size=2", "2G", "skip — no change"},
			{"system_size=1", "2G", "skip — disks never shrink, scsi0 has 2 GiB"},
		} {
			w.product(c.size)
			id := w.order()
			w.reach(id, rowCPU)
			out := w.reach(id, rowSystemSize)
			if got := w.vm(id).Config["scsi0"]; !strings.HasSuffix(got, ",size="+c.scsi0) || out.note(title(rowSystemSize)) != c.note {
				t.Errorf("%s %s: %s (%s)", version, c.size, got, out.note(title(rowSystemSize)))
			}
			if s := w.service(id); s.Row.TaskUPID != "" {
				t.Errorf("%s %s: the task %s is left open", version, c.size, s.Row.TaskUPID)
			}
		}
		resizes := 0
		for _, task := range w.sim.Tasks() {
			if task.Type == "resize" {
				resizes++
			}
		}
		if want := map[string]int{"7.4-17": 0, "8.4.21": 1, "9.2.11": 1}[version]; resizes != want || w.sim.Counts()["PUT "+resizePath] != 1 {
			t.Errorf("%s: %d calls, %d tasks, want %d", version, w.sim.Counts()["PUT "+resizePath], resizes, want)
		}
	}
}

// TestOddTemplateSize: a template of no whole number of GiB.
func TestOddTemplateSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "system_size=2")
	id := w.order()
	w.reach(id, rowCPU)
	w.call("PUT", fmt.Sprintf("/nodes/pve1/qemu/%d/resize", w.service(id).Row.VMID), "disk", "scsi0", "size", "2252M")
	if out := w.reach(id, rowSystemSize); out.note(title(rowSystemSize)) != "skip — disks never shrink, scsi0 has 2.199 GiB" {
		t.Errorf("%q", out.note(title(rowSystemSize)))
	}
	w.product("system_size=3")
	w.set(id, "vm_status = ?", string(from(rowSystemSize)))
	w.reach(id, rowSystemSize)
	if got := w.vm(id).Config["scsi0"]; !strings.Contains(got, "size=3G") {
		t.Errorf("%s", got)
	}
}

// TestLimitsKeepOptions: setting limits keeps every other option of the drive, and takes away those that are not wanted
// any more.
func TestLimitsKeepOptions(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, "system_mbps_rd=100.5", "system_iops_wr=300")
		id := w.order()
		w.reach(id, rowSystemSize)
		options := "aio=threads,backup=0,cache=writeback,discard=on,iops_rd_max=900,iothread=1,mbps_wr=7,iops_rd=5,serial=ABC,ssd=1"
		was := w.vm(id).Config["scsi0"]
		w.configure(id, map[string]string{"scsi0": was + "," + options})
		w.reach(id, rowSystemLimits)
		got := w.vm(id).Config["scsi0"]
		want := append(strings.Split("aio=threads,backup=0,cache=writeback,discard=on,iops_rd_max=900,iothread=1,serial=ABC,ssd=1,mbps_rd=100.5,iops_wr=300", ","), strings.Split(was, ",")...)
		for _, option := range want {
			if !strings.Contains(","+got+",", ","+option+",") {
				t.Errorf("%s: %s is gone from %s", version, option, got)
			}
		}
		if n := strings.Count(got, ",") + 1; n != len(want) {
			t.Errorf("%s: %s has %d parts, want %d", version, got, n, len(want))
		}
		w.writes()
		w.set(id, "vm_status = ?", string(from(rowSystemLimits)))
		if out := w.reach(id, rowSystemLimits); out.note(title(rowSystemLimits)) != "skip — no change" || len(w.writes()) != 0 {
			t.Errorf("%s: repeated: %q", version, out.note(title(rowSystemLimits)))
		}
	}
}

// TestAdditionalDisk: the slot is the next one of the system disk's bus, and stored before the volume is made; where no
// storage is set it is the system disk's.
func TestAdditionalDisk(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, "additional_size=5", "clone_type=full", "system_storage=shared")
		id := w.order()
		w.reach(id, rowSystemLimits)
		w.configure(id, map[string]string{"scsi1": "none,media=cdrom"}) // a CD drive fills a slot too
		happened := w.once("POST", configPath, pvesim.Arrived, func() {
			if got := w.db.Text("SELECT disk_slot FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id); got != "scsi2" {
				t.Errorf("%s: at the POST the stored slot is %q", version, got)
			}
		})
		out := w.reach(id, rowDisk)
		vm := w.vm(id)
		if d := vm.Disks["scsi2"]; !happened() || d.Storage != "shared" || d.Size != 1<<30 || out.note(title(rowDisk)) != "" || strings.Contains(vm.Config["boot"], "scsi2") {
			t.Errorf("%s: %+v, boot %s", version, vm.Disks, vm.Config["boot"])
		}
		w.set(id, "vm_status = ?", string(from(rowDisk)))
		w.writes()
		if out := w.reach(id, rowDisk); out.note(title(rowDisk)) != "skip — no change" || len(w.writes()) != 0 {
			t.Errorf("%s: repeated: %q", version, out.note(title(rowDisk)))
		}
		w.reach(id, allRows)
		if d := w.vm(id).Disks["scsi2"]; d.Size != 5<<30 {
			t.Errorf("%s: %+v", version, d)
		}
		w.settled(1, id)
	}
}

// TestAdditionalDiskBus: a virtio system disk gets a virtio sibling.
func TestAdditionalDiskBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "additional_size=5", "additional_storage=shared")
	for i, slot := range []string{"virtio0", "sata0", "ide0"} {
		vmid := 9100 + i
		if err := w.sim.AddTemplate(pvesim.Template{VMID: vmid, Node: "pve1", Name: slot, Storage: "local-lvm", DiskGiB: 2, Slot: slot, CloudInit: true}); err != nil {
			t.Fatal(err)
		}
		w.product(fmt.Sprintf("template=%d", vmid))
		id := w.order()
		w.reach(id, allRows)
		want := strings.Replace(slot, "0", "1", 1)
		if d := w.vm(id).Disks[want]; d.Storage != "shared" || d.Size != 5<<30 || w.service(id).Row.DiskSlot != want {
			t.Errorf("%s: %+v", slot, w.vm(id).Disks)
		}
	}
	// A bus that is full: ide has four slots, of which ide2 is the cloud-init drive.
	w.product("template=9102")
	id := w.order()
	w.reach(id, rowSystemLimits)
	w.configure(id, map[string]string{"ide1": "none,media=cdrom", "ide3": "none,media=cdrom"})
	if out := w.run(id, rowDisk); out.Err == nil || !strings.Contains(out.Message, "every slot of the bus ide is filled") {
		t.Errorf("%+v", out.Outcome)
	}
}

// TestNoAdditionalDisk: a product without one has its rows skipped, and one whose size is set when the row that makes the
// disk has passed does not stop.
func TestNoAdditionalDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	first := w.order()
	out := w.reach(first, rowDiskLimits)
	for _, row := range []int{rowDisk, rowDiskSize, rowDiskLimits} {
		if got := out.note(title(row)); got != "skip — none" {
			t.Errorf("%s (%s)", title(row), got)
		}
	}
	id := w.order()
	w.reach(id, rowDisk)
	w.product("additional_size=5")
	out = w.reach(id, allRows)
	for _, row := range []int{rowDiskSize, rowDiskLimits} {
		if got := out.note(title(row)); got != "skip — none was made" {
			t.Errorf("%s (%s)", title(row), got)
		}
	}
	w.settled(2, id)
}

// TestDiskStorages: a storage that is missing or full is an error that names it; it leaves no volume behind, and the row
// is done when it is mended.
func TestDiskStorages(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, "additional_size=5", "additional_storage=nowhere")
		id := w.order()
		out := w.run(id, allRows)
		if !errors.Is(out.Err, kvm.ErrPermanent) || out.At != from(rowDisk) || !strings.Contains(out.Message, "storage 'nowhere' does not exist") {
			t.Errorf("%s: %+v", version, out.Outcome)
		}
		w.product("additional_storage=shared")
		w.sim.SetStorageFull("shared", true)
		out = w.run(id, allRows)
		if !errors.Is(out.Err, kvm.ErrTaskFailed) || out.At != from(rowDisk) || !strings.Contains(out.Message, "No space left on device") {
			t.Errorf("%s: %+v", version, out.Outcome)
		}
		if v := w.sim.Volumes(w.service(id).Row.VMID); len(v) != 2 {
			t.Errorf("%s: %v", version, v)
		}
		w.sim.SetStorageFull("shared", false)
		w.reach(id, allRows)
		w.settled(1, id)
	}
}

// TestSlowDisk: the answer to the new disk's request is lost while the volume is still being made, for longer than the
// lock is waited for. The storage is local: on a shared one PVE aborts such work after a minute. The next ticks wait; there
// is one volume.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		model := pvesim.Instant()
		model.Exact = map[string]time.Duration{"qmconfig": 200 * time.Second}
		w := newWorldOn(t, version, model, "additional_size=5", "additional_storage=local-lvm")
		id := w.order()
		w.reach(id, rowSystemLimits)
		armed := w.sim.AddFault(pvesim.Fault{Method: "POST", Path: configPath, ResetAfter: true})
		if out := w.run(id, rowDisk); out.Complete || !errors.Is(out.Err, kvm.ErrUnknown) {
			t.Errorf("%s: %+v", version, out.Outcome)
		}
		armed.Remove()
		waited := 0
		var out outcome
		for range 6 {
			if out = w.run(id, rowDisk); out.Complete {
				break
			}
			if waited++; out.Err != nil || !strings.Contains(out.Message, "got timeout") {
				t.Errorf("%s: %+v", version, out.Outcome)
			}
		}
		if waited == 0 || !out.Complete {
			t.Errorf("%s: waited %d times, %+v", version, waited, out.Outcome)
		}
		w.reach(id, allRows)
		w.settled(1, id)
	}
}

// TestOvertaken: somebody changes the VM's configuration between our look and our call. The change is computed anew from
// what is there now, and the other's is kept.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w := newWorld(t, version, rich...)
		for row, c := range map[int]call{rowCPU: {"PUT", configPath}, rowSystemLimits: {"PUT", configPath}, rowDisk: {"POST", configPath},
			rowDiskLimits: {"PUT", configPath}, rowNetwork: {"PUT", configPath}, rowCloudinit: {"PUT", configPath}} {
			id := w.order()
			w.reach(id, row-1)
			vmid := w.service(id).Row.VMID
			happened := w.once(c.method, c.pattern, pvesim.Arrived, func() {
				vm := w.state(vmid)
				options := map[string]string{"tags": "overtaken", "scsi0": vm.Config["scsi0"] + ",ssd=1", "net0": vm.Config["net0"] + ",queues=4"}
				if _, filled := vm.Config["scsi1"]; filled {
					options["scsi1"] = vm.Config["scsi1"] + ",ssd=1"
				}
				if err := w.sim.SetConfig(vmid, options); err != nil {
					t.Error(err)
				}
			})
			out := w.run(id, row)
			if !happened() || !out.Complete {
				t.Errorf("%s %s: %+v", version, title(row), out.Outcome)
			}
			w.sim.SetHook(nil)
			config := w.vm(id).Config
			if config["tags"] != "overtaken" || !strings.Contains(config["scsi0"], "ssd=1") || !strings.Contains(config["net0"], "queues=4") {
				t.Errorf("%s %s: the other's change is lost: %v", version, title(row), config)
			}
			w.reach(id, allRows)
		}
	}
}

// TestSlotOvertaken: somebody puts a CD drive at the slot that was chosen. It stays theirs, and the next run takes
// another slot.
func TestSlotOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "additional_size=5", "additional_storage=shared")
	id := w.order()
	w.reach(id, rowSystemLimits)
	vmid := w.service(id).Row.VMID
	happened := w.once("POST", configPath, pvesim.Arrived, func() {
		if err := w.sim.SetConfig(vmid, map[string]string{"scsi1": "none,media=cdrom"}); err != nil {
			t.Error(err)
		}
	})
	out := w.run(id, rowDisk)
	if !happened() || out.Complete || !strings.Contains(out.Message, "scsi1") {
		t.Errorf("%+v", out.Outcome)
	}
	w.sim.SetHook(nil)
	w.reach(id, allRows)
	if vm := w.vm(id); vm.Config["scsi1"] != "none,media=cdrom" || vm.Disks["scsi2"].Size != 5<<30 {
		t.Errorf("%v", vm.Config)
	}
	w.settled(1, id)
}
