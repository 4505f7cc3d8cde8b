package kvm

import (
	"strings"
	"testing"
)

func TestBootOrder(t *testing.T) {
	for _, c := range []struct{ boot, first, last BootOrder }{
		{"order=scsi0;net0", "order=ide2;scsi0;net0", "order=scsi0;net0;ide2"},
		{"order=scsi0;ide2;net0", "order=ide2;scsi0;net0", "order=scsi0;ide2;net0"},
		{"order=ide2;scsi0", "order=ide2;scsi0", "order=ide2;scsi0"},
		{"order=", "order=ide2", "order="}, // Proxmox adds to no empty order
		{"", "dcn", ""},
		{"cdn", "dcn", "cdn"},
		{"c", "dc", "c"},
		{"legacy=nd", "dn", "legacy=nd"},
		{"dcn", "dcn", "dcn"},
		{"nonsense", "nonsense", "nonsense"},
		{"order=scsi0,x=1", "order=scsi0,x=1", "order=scsi0,x=1"},
	} {
		if first, last := c.boot.First("ide2"), c.boot.Last("ide2"); first != c.first || last != c.last {
			t.Errorf("%q: first %q, last %q", c.boot, first, last)
		}
		n := ISONote{"ide2", c.boot}
		back, ok := ParseISONote(n.String())
		if !ok || back != n {
			t.Errorf("%q came back as %+v, %t", n.String(), back, ok)
		}
		for _, boot := range []BootOrder{c.boot, c.first, c.last} {
			if got := n.Back(boot); got != c.boot {
				t.Errorf("from %q the mount of %q goes back to %q", boot, c.boot, got)
			}
		}
	}
}

// TestISONoteOfOthersOrder: what somebody else has made of the boot order stays, but for our drive in front.
func TestISONoteOfOthersOrder(t *testing.T) {
	n := ISONote{"ide2", "order=scsi0;net0"}
	for _, c := range []struct{ boot, back BootOrder }{
		{"order=ide2;net0;scsi0", "order=net0;scsi0"},
		{"order=net0;ide2;scsi0", "order=net0;ide2;scsi0"},
		{"order=ide2", "order=ide2"}, // it would boot from nothing
		{"order=net0", "order=net0"},
		{"dcn", "dcn"},
		{"", ""},
	} {
		if got := n.Back(c.boot); got != c.back {
			t.Errorf("%q goes back to %q, want %q", c.boot, got, c.back)
		}
	}
	if n := (ISONote{"ide2", ""}); n.Back("cdn") != "cdn" || n.Back("order=ide2;scsi0") != "order=scsi0" {
		t.Error("of a VM without an order, another's was undone")
	}
	for _, text := range []string{"", "ide2", " cdn"} {
		if n, ok := ParseISONote(text); ok || n != (ISONote{}) {
			t.Errorf("%q reads as %+v", text, n)
		}
	}
	for a, b := range map[BootOrder]BootOrder{"cdn": "legacy=cdn", "order=a;b": "order=a b"} {
		if !a.Same(b) || !b.Same(a) || a.Same("") || a.Same("order=a") {
			t.Errorf("%q and %q", a, b)
		}
	}
}

func FuzzISONote(f *testing.F) {
	f.Add("ide2", "order=scsi0;net0", "order=ide2;scsi0;net0")
	f.Add("sata5", "", "dcn")
	f.Fuzz(func(t *testing.T, slot, boot, now string) {
		if slot == "" || strings.Trim(slot, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return
		}
		n := ISONote{slot, BootOrder(boot)}
		if n.Check() == nil {
			if back, ok := ParseISONote(n.String()); !ok || back != n {
				t.Errorf("%+v came back as %+v", n, back)
			}
		}
		// What a mount makes, in either of its two steps, is undone; and to undo it once more changes nothing.
		if n.Back(n.Boot.First(slot)) != n.Boot || n.Back(n.Boot.Last(slot)) != n.Boot {
			t.Errorf("%+v is not undone", n)
		}
		if once := n.Back(BootOrder(now)); !n.Back(once).Same(once) {
			t.Errorf("%+v: %q, then %q", n, once, n.Back(once))
		}
		if twice := n.Boot.First(slot).First(slot); !twice.Same(n.Boot.First(slot)) {
			t.Errorf("%q first twice is %q", boot, twice)
		}
	})
}

func TestISOGroups(t *testing.T) {
	for name, group := range map[string]string{"Debian-12.5.0-amd64-netinst.iso": "Debian", "Ubuntu-22.04.4-live-server-amd64.iso": "Ubuntu",
		"proxmox-ve_8.1-2.iso": "proxmox", "myfile.iso": OtherISOs, "-x.iso": OtherISOs} {
		if got := (ISO{Name: name}).Group(); got != group {
			t.Errorf("%s is in %s", name, got)
		}
	}
	list := []ISO{{Name: "myfile.iso"}, {Name: "Ubuntu-1.iso"}, {Name: "Debian-2.iso"}, {Name: "ZFS-1.iso"}, {Name: "Debian-1.iso"}, {Name: "a.iso"}}
	SortISOs(list)
	got := ""
	for _, i := range list {
		got += i.Name + " "
	}
	if got != "Debian-1.iso Debian-2.iso Ubuntu-1.iso ZFS-1.iso a.iso myfile.iso " {
		t.Error(got)
	}
}
