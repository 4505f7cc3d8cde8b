package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

func (w *world) mount(id int64, name string) (lifecycle.MountedISO, outcome) {
	w.t.Helper()
	var m lifecycle.MountedISO
	p := w.start(nil)
	return m, p.now(id, p.life.MountISO(name, &m))
}

func (w *world) mounted(id int64, name string) lifecycle.MountedISO {
	w.t.Helper()
	var m lifecycle.MountedISO
	p := w.start(nil)
	if out := p.now(id, p.life.MountISO(name, &m)); !out.Complete {
		w.t.Fatalf("mount of %s: %s", name, out.Message)
	}
	return m
}

func (w *world) unmounted(id int64) lifecycle.MountedISO {
	w.t.Helper()
	var m lifecycle.MountedISO
	p := w.start(nil)
	if out := p.now(id, p.life.UnmountISO(&m)); !out.Complete {
		w.t.Fatalf("unmount: %s", out.Message)
	}
	return m
}

// isoWorld has a service that is ready, stopped, and a few images.
func isoWorld(t *testing.T, version string) (*world, int64) {
	t.Helper()
	w := newWorld(t, version, "iso_storage=shared")
	id := w.order()
	w.reach(id, allRows)
	w.power(id, kvm.Stopped)
	for _, name := range []string{"Debian-12.iso", "Windows-11.iso", "myfile.iso", "with,comma.iso"} {
		if err := w.sim.AddISO("shared", "", name, 4<<20); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []string{"pve1", "pve2"} {
		if err := w.sim.AddISO("local", node, "ours-alone.iso", 4<<20); err != nil {
			t.Fatal(err)
		}
	}
	return w, id
}

func (w *world) isoNote(id int64) string {
	return w.db.Text("SELECT iso_boot FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
}

// TestMountAndUnmount: of a VM that is stopped and of one that runs, with each form of the boot order, the image is in a drive in
// front of all, and afterwards everything is as it was, but for the drive, which is empty.
func TestMountAndUnmount(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w, id := isoWorld(t, version)
		system := w.vm(id).Config["boot"]
		for _, c := range []struct{ boot, first string }{
			{system, "order=ide0;" + strings.TrimPrefix(system, "order=")}, {"order=scsi0;net0", "order=ide0;scsi0;net0"}, {"order=net0;ide0;scsi0", "order=ide0;net0;scsi0"},
			{"cdn", "dcn"}, {"", "dcn"},
		} {
			for _, power := range []kvm.Power{kvm.Stopped, kvm.Running} {
				for _, drive := range []string{"", "none,media=cdrom"} {
					what := fmt.Sprintf("%s, %q, %s, drive %q", version, c.boot, power, drive)
					w.power(id, kvm.Stopped)
					if drive == "" && strings.Contains(c.boot, "ide0") {
						continue // it names what is not there
					}
					w.configure(id, map[string]string{"ide0": drive, "boot": c.boot, "bootdisk": "scsi0"})
					w.power(id, power)
					m := w.mounted(id, "Debian-12.iso")
					want := []string(nil)
					if power == kvm.Running {
						if want = []string{"boot"}; drive == "" {
							want = []string{"boot", "ide0"}
						}
					}
					if m.Slot != "ide0" || m.Volume != "shared:iso/Debian-12.iso" || m.Power != power || !slices.Equal(m.Pending, want) {
						t.Errorf("%s: %+v", what, m)
					}
					if got := w.isoNote(id); got != "ide0 "+c.boot {
						t.Errorf("%s: noted is %q", what, got)
					}
					if again := w.mounted(id, "shared:iso/Debian-12.iso"); again.Slot != "ide0" || !slices.Equal(again.Pending, want) {
						t.Errorf("%s: once more: %+v", what, again)
					}
					if m := w.mounted(id, "Windows-11.iso"); m.Slot != "ide0" || w.isoNote(id) != "ide0 "+c.boot {
						t.Errorf("%s: the next one: %+v, noted %q", what, m, w.isoNote(id))
					}
					w.power(id, kvm.Stopped)
					w.power(id, kvm.Running) // it boots from it
					conf := w.vm(id).Config
					if !strings.HasPrefix(conf["ide0"], "shared:iso/Windows-11.iso,media=cdrom") || conf["boot"] != c.first || len(w.vm(id).Pending) > 0 {
						t.Errorf("%s: drive %s, boot %q, pending %v", what, conf["ide0"], conf["boot"], w.vm(id).Pending)
					}
					w.power(id, power)
					if m := w.unmounted(id); m.Slot != "ide0" || m.Volume != "shared:iso/Windows-11.iso" {
						t.Errorf("%s: unmount: %+v", what, m)
					}
					if conf := w.vm(id).Config; conf["ide0"] != "none,media=cdrom" { // at once
						t.Errorf("%s: after the unmount the drive has %s", what, conf["ide0"])
					}
					w.power(id, kvm.Stopped)
					w.power(id, kvm.Running)
					if conf := w.vm(id).Config; conf["boot"] != c.boot || conf["bootdisk"] != "scsi0" && !strings.HasPrefix(c.boot, "order=") || w.isoNote(id) != "" {
						t.Errorf("%s: after the unmount boot %q, bootdisk %q, noted %q", what, conf["boot"], conf["bootdisk"], w.isoNote(id))
					}
					if _, there := w.vm(id).Config["boot"]; there != (c.boot != "") {
						t.Errorf("%s: the key boot stayed", what)
					}
				}
			}
		}
		if m := w.unmounted(id); m.Volume != "" {
			t.Errorf("%s: with nothing mounted: %+v", version, m)
		}
	}
}

// TestMountCrashes kills the process at each call of a mount and of an unmount: repeated, they end as ever, and the boot order
// that stood before is never lost.
func TestMountCrashes(t *testing.T) {
	t.Parallel()
	w, id := isoWorld(t, "8.4.21")
	for _, power := range []kvm.Power{kvm.Stopped, kvm.Running} {
		for _, drive := range []string{"", "none,media=cdrom"} {
			w.power(id, kvm.Stopped)
			for k, calls := 1, 1; k <= calls; k++ {
				w.configure(id, map[string]string{"ide0": drive, "boot": "order=scsi0;net0"})
				w.power(id, power)
				f := &fuse{at: k}
				p := w.start(f)
				var m lifecycle.MountedISO
				p.now(id, p.life.MountISO("Debian-12.iso", &m))
				if k%2 == 1 { // else it is unmounted without a second try
					w.mounted(id, "Debian-12.iso")
					if got := w.isoNote(id); got != "ide0 order=scsi0;net0" {
						t.Fatalf("killed at %v, mounted again: noted is %q", f.calls, got)
					}
				}
				u := &fuse{at: k}
				p = w.start(u)
				p.now(id, p.life.UnmountISO(&m))
				w.unmounted(id)
				w.power(id, kvm.Stopped)
				w.power(id, kvm.Running)
				w.power(id, kvm.Stopped)
				if conf := w.vm(id).Config; strings.Contains(conf["ide0"], "iso/") || conf["boot"] != "order=scsi0;net0" || w.isoNote(id) != "" {
					t.Fatalf("%s, drive %q, killed at %v and %v: drive %q, boot %q, noted %q", power, drive, f.calls, u.calls, conf["ide0"], conf["boot"], w.isoNote(id))
				}
				if calls = max(calls, k+1); !f.blown() && !u.blown() {
					if k < 8 {
						t.Fatalf("only %d calls", k)
					}
					break
				}
			}
		}
	}
}

// TestMountChoosesTheDrive: the cloud-init drive, disks, and drives with what is no image of the product are never touched.
func TestMountChoosesTheDrive(t *testing.T) {
	t.Parallel()
	w, id := isoWorld(t, "8.4.21")
	cloud := w.vm(id).Config["ide2"]
	if !strings.Contains(cloud, "cloudinit") {
		t.Fatalf("the cloud-init drive is not at ide2: %v", w.vm(id).Config)
	}
	full := map[string]string{"ide0": "local:iso/ours-alone.iso,media=cdrom", "ide1": "local:iso/ours-alone.iso,media=cdrom", "ide3": "cdrom,media=cdrom"}
	for i := range 6 {
		full[fmt.Sprintf("sata%d", i)] = "local:iso/ours-alone.iso,media=cdrom"
	}
	for _, c := range []struct {
		conf map[string]string
		slot string // "" = refused
	}{
		{map[string]string{}, "ide0"},
		{map[string]string{"ide0": "local:iso/ours-alone.iso,media=cdrom"}, "ide1"},
		{map[string]string{"ide0": "cdrom,media=cdrom", "ide1": "local:iso/ours-alone.iso,media=cdrom", "ide3": "none,media=cdrom"}, "ide3"},
		{map[string]string{"ide0": "none,media=cdrom", "sata3": "shared:iso/myfile.iso,media=cdrom"}, "sata3"},
		{full, ""},
	} {
		none := map[string]string{"ide0": "", "ide1": "", "ide3": "", "boot": "order=scsi0"}
		for i := range 6 {
			none[fmt.Sprintf("sata%d", i)] = ""
		}
		w.configure(id, none)
		w.configure(id, c.conf)
		before := w.vm(id).Config
		w.writes()
		m, out := w.mount(id, "Debian-12.iso")
		if c.slot == "" {
			if !errors.Is(out.Err, kvm.ErrRefused) || len(w.writes()) > 0 {
				t.Errorf("every slot is taken: %v", out.Err)
			}
			continue
		}
		if m = w.mounted(id, "Debian-12.iso"); m.Slot != c.slot {
			t.Errorf("%v: it is at %s", c.conf, m.Slot)
		}
		for key, value := range w.vm(id).Config {
			if key != c.slot && key != "boot" && value != before[key] {
				t.Errorf("%v: %s was %q and is %q", c.conf, key, before[key], value)
			}
		}
		w.unmounted(id)
	}
}

// TestMountRefuses: only an image of the product's storage, by its name there.
func TestMountRefuses(t *testing.T) {
	t.Parallel()
	w, id := isoWorld(t, "8.4.21")
	w.writes()
	for _, name := range []string{"", "none.iso", "ours-alone.iso", "local:iso/ours-alone.iso", "../Debian-12.iso", "iso/Debian-12.iso", "shared:iso/../iso/Debian-12.iso", "/mnt/pve/shared/template/iso/Debian-12.iso",
		"Debian-12.iso,size=1", "debian-12.iso", w.vm(id).Disks["scsi0"].ID, "with,comma.iso", "none", "cdrom"} {
		if _, out := w.mount(id, name); !errors.Is(out.Err, kvm.ErrInvalid) {
			t.Errorf("%q: %v", name, out.Err)
		}
	}
	w.product("iso_storage=local-lvm")
	if _, out := w.mount(id, "Debian-12.iso"); !errors.Is(out.Err, kvm.ErrAdmin) || kvm.Hint(out.Err) != "puqkvm product check 1" {
		t.Errorf("a storage for disks alone: %v, hint %q", out.Err, kvm.Hint(out.Err))
	}
	w.product("iso_storage=")
	if _, out := w.mount(id, "Debian-12.iso"); !errors.Is(out.Err, kvm.ErrRefused) || kvm.Hint(out.Err) != "puqkvm product set 1 iso_storage=STORAGE" {
		t.Errorf("no storage: %v, hint %q", out.Err, kvm.Hint(out.Err))
	}
	w.product("iso_storage=shared")
	w.configure(id, map[string]string{"boot": "order=scsi0;" + strings.Repeat("scsi1;", 50) + "net0"})
	if _, out := w.mount(id, "Debian-12.iso"); !errors.Is(out.Err, kvm.ErrRefused) {
		t.Errorf("an order that no note holds: %v", out.Err)
	}
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("sent: %q", writes)
	}
}

// TestBootOrderOfOthers: what an administrator has made of the boot order between mount and unmount stays.
func TestBootOrderOfOthers(t *testing.T) {
	t.Parallel()
	w, id := isoWorld(t, "8.4.21")
	w.configure(id, map[string]string{"boot": "order=scsi0;net0"})
	for theirs, want := range map[string]string{"order=ide0;net0": "order=net0", "order=net0;scsi0": "order=net0;scsi0", "": ""} {
		w.mounted(id, "Debian-12.iso")
		w.configure(id, map[string]string{"boot": theirs})
		w.unmounted(id)
		if got := w.vm(id).Config["boot"]; got != want || w.isoNote(id) != "" {
			t.Errorf("theirs was %q, after the unmount it is %q, noted %q", theirs, got, w.isoNote(id))
		}
		w.configure(id, map[string]string{"boot": "order=scsi0;net0"})
	}
	// Somebody has mounted it, and made no use of it in the order.
	w.configure(id, map[string]string{"ide0": "shared:iso/Debian-12.iso,media=cdrom"})
	if m := w.unmounted(id); m.Volume == "" || w.vm(id).Config["boot"] != "order=scsi0;net0" {
		t.Errorf("another's mount: %+v, boot %s", m, w.vm(id).Config["boot"])
	}
	// Somebody is faster with each of the two calls: both are computed anew, and what that one has left is what comes back.
	for _, calls := range []int{1, 2} {
		n := 0
		w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
			if r.Stage != pvesim.Arrived || r.Method != "PUT" || r.Pattern != configPath {
				return
			}
			if n++; n == calls {
				w.configure(id, map[string]string{"boot": "order=net0;scsi0", "description": fmt.Sprint(n)})
			}
		})
		w.mounted(id, "Debian-12.iso")
		if n != 3 || w.vm(id).Config["boot"] != "order=ide0;net0;scsi0" {
			t.Errorf("overtaken at call %d: %s", calls, w.vm(id).Config["boot"])
		}
		w.sim.SetHook(nil)
		w.unmounted(id)
		if got := w.vm(id).Config["boot"]; got != "order=net0;scsi0" {
			t.Errorf("overtaken at call %d, unmounted: %s", calls, got)
		}
		w.configure(id, map[string]string{"boot": "order=scsi0;net0"})
	}
}

// TestISOForgotten: the note ends with the VM.
func TestISOForgotten(t *testing.T) {
	t.Parallel()
	w, id := isoWorld(t, "8.4.21")
	w.mounted(id, "Debian-12.iso")
	if w.isoNote(id) == "" {
		t.Fatal("nothing is noted")
	}
	w.set(id, "vm_status = ?", string(kvm.Reinstall))
	p := w.start(nil)
	if out := p.now(id, p.life.Reinstall()); !out.Complete {
		t.Fatal(out.Message)
	}
	if got := w.isoNote(id); got != "" || strings.Contains(fmt.Sprint(w.vm(id).Config), "iso/") {
		t.Errorf("the new VM has the old one's note %q: %v", got, w.vm(id).Config)
	}
}

// TestStartWithoutItsISO: the start of a VM whose image is no more says how to get rid of it.
func TestStartWithoutItsISO(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		w, id := isoWorld(t, version)
		w.configure(id, map[string]string{"ide0": "shared:iso/gone.iso,media=cdrom"})
		p := w.start(nil)
		out := p.now(id, p.life.StartNow())
		if !errors.Is(out.Err, kvm.ErrTaskFailed) || kvm.Hint(out.Err) != fmt.Sprintf("puqkvm iso unmount %d", id) {
			t.Errorf("%s: %v, hint %q", version, out.Err, kvm.Hint(out.Err))
		}
		if m := w.unmounted(id); m.Volume != "shared:iso/gone.iso" {
			t.Errorf("%s: %+v", version, m)
		}
		if out := p.now(id, p.life.StartNow()); !out.Complete {
			t.Errorf("%s: %s", version, out.Message)
		}
		w.set(id, "vm_status = ?", string(kvm.USOnBoot)) // in a pipeline unmount is refused
		w.power(id, kvm.Stopped)
		w.configure(id, map[string]string{"ide0": "shared:iso/gone.iso,media=cdrom"})
		out = p.now(id, p.life.Unsuspend())
		if hint := kvm.Hint(out.Err); !strings.Contains(hint, fmt.Sprintf("qm set %d --ide0 none,media=cdrom", w.service(id).Row.VMID)) {
			t.Errorf("%s: in a pipeline: %v, hint %q", version, out.Err, hint)
		}
	}
}

// TestConsole: of a VM that runs, of a service that is not suspended, and of none that is not its own.
func TestConsole(t *testing.T) {
	t.Parallel()
	w, id := isoWorld(t, "8.4.21")
	open := func() (kvm.Console, outcome) {
		var c kvm.Console
		p := w.start(nil)
		out := p.now(id, p.life.OpenConsole(&c))
		return c, out
	}
	w.writes()
	if _, out := open(); !errors.Is(out.Err, kvm.ErrRefused) || kvm.Hint(out.Err) != fmt.Sprintf("puqkvm start %d", id) {
		t.Errorf("a VM that is off: %v, hint %q", out.Err, kvm.Hint(out.Err))
	}
	w.power(id, kvm.Running)
	w.set(id, "suspended = 1")
	if _, out := open(); !errors.Is(out.Err, kvm.ErrRefused) || kvm.Hint(out.Err) != fmt.Sprintf("puqkvm unsuspend %d", id) {
		t.Errorf("suspended: %v, hint %q", out.Err, kvm.Hint(out.Err))
	}
	w.set(id, "suspended = 0")
	own := w.vm(id)
	back := w.swap(own.VMID, pvesim.VM{Name: own.Config["name"], Running: true})
	if _, out := open(); !errors.Is(out.Err, kvm.ErrForeign) {
		t.Errorf("another's VM: %v", out.Err)
	}
	if writes := w.writes(); len(writes) > 0 {
		t.Errorf("sent: %q", writes)
	}
	back()
	c, out := open()
	if !out.Complete || c.VMID != own.VMID || c.Ticket.Empty() || c.Port < 5900 {
		t.Errorf("%s: %+v", out.Message, c)
	}
	if writes := w.writes(); len(writes) != 1 || !strings.HasSuffix(writes[0], "/vncproxy") {
		t.Errorf("sent: %q", writes)
	}
}
