package pve

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestParseDrive(t *testing.T) {
	for _, c := range []struct {
		in, out, storage string
		size             int64
		cd, cloudInit    bool
	}{
		{"local-lvm:vm-107-disk-0,size=32G", "local-lvm:vm-107-disk-0,size=32G", "local-lvm", 32 << 30, false, false},
		{"discard=on,file=ceph:vm-5-disk-0,size=2252M,ssd=1,new-key=x=y", "ceph:vm-5-disk-0,discard=on,size=2252M,ssd=1,new-key=x=y", "ceph", 2252 << 20, false, false},
		{"none,media=cdrom", "none,media=cdrom", "", 0, true, false},
		{"cdrom", "cdrom", "", 0, true, false},
		{"local:iso/x.iso,media=cdrom,size=380K", "local:iso/x.iso,media=cdrom,size=380K", "local", 380 << 10, true, false},
		{"ceph-pool:vm-555-cloudinit,media=cdrom", "ceph-pool:vm-555-cloudinit,media=cdrom", "ceph-pool", 0, true, true},
		{"local:110/vm-110-cloudinit.qcow2,media=cdrom", "local:110/vm-110-cloudinit.qcow2,media=cdrom", "local", 0, true, true},
		{"local:cloudinit", "local:cloudinit", "local", 0, false, true},
		{"/dev/sdb,size=3145729K", "/dev/sdb,size=3145729K", "", 3145729 << 10, false, false},
	} {
		d, err := parseDrive(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		size, err := d.size()
		if err != nil || size != c.size || d.storage() != c.storage || d.cd() != c.cd || d.cloudInit() != c.cloudInit || d.String() != c.out {
			t.Errorf("%s: got %s, storage %s, size %d (%v), cd %v, cloud-init %v", c.in, d, d.storage(), size, err, d.cd(), d.cloudInit())
		}
	}
	for _, bad := range []string{"", "size=1G", "a:b,,size=1G", "a:b,size", "a:b,size=", "a:b,size=1G,size=2G", "a:b,file=c:d", "a:b\n,x=1"} {
		if d, err := parseDrive(bad); err == nil {
			t.Errorf("%q was read as %s", bad, d)
		}
	}
}

func TestSetLimitsKeepsTheRest(t *testing.T) {
	d, err := parseDrive("s:v,iops_rd=5,cache=writeback,mbps_wr_max=99,mbps_rd=1.5,size=8G")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.limits(); err != nil || got != (kvm.Limits{ReadMBps: 1.5, ReadIOPS: 5}) {
		t.Fatalf("limits: %+v, %v", got, err)
	}
	d.setLimits(kvm.Limits{ReadMBps: 12.5, WriteIOPS: 500})
	if want := "s:v,cache=writeback,mbps_wr_max=99,mbps_rd=12.5,size=8G,iops_wr=500"; d.String() != want {
		t.Errorf("got  %s\nwant %s", d, want)
	}
}

func TestParseNIC(t *testing.T) {
	for _, c := range []struct {
		in   string
		want kvm.NIC
	}{
		{"virtio=A2:7B:45:48:9C:E5,bridge=vmbr0,tag=103", kvm.NIC{Model: "virtio", MAC: "A2:7B:45:48:9C:E5", Bridge: "vmbr0", VLAN: 103}},
		{"bridge=vmbr1,firewall=1,e1000=bc:24:11:79:62:f8,rate=12.5", kvm.NIC{Model: "e1000", MAC: "bc:24:11:79:62:f8", Bridge: "vmbr1", Rate: 12.5, Firewall: true}},
		{"model=virtio,macaddr=BC:24:11:79:62:F8,firewall=0", kvm.NIC{Model: "virtio", MAC: "BC:24:11:79:62:F8"}},
	} {
		n, err := parseNIC(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got, err := n.kvm(); err != nil || *got != c.want {
			t.Errorf("%s: %+v, %v", c.in, got, err)
		}
	}
	for _, bad := range []string{"", "bridge=vmbr0", "virtio=xx", "nosuch=BC:24:11:79:62:F8", "virtio=BC:24:11:79:62:F8,bridge"} {
		if n, err := parseNIC(bad); err == nil {
			t.Errorf("%q was read as %s", bad, n)
		}
	}
	n, _ := parseNIC("virtio=BC:24:11:79:62:F8,bridge=vmbr0,tag=5,queues=4,link_down=1,rate=3,firewall=1")
	n.merge(kvm.NIC{Bridge: "vmbr7", Rate: 0.5})
	if want := "virtio=BC:24:11:79:62:F8,bridge=vmbr7,queues=4,link_down=1,rate=0.5"; n.String() != want {
		t.Errorf("merge: got  %s\nwant %s", n, want)
	}
}

func TestParseUPID(t *testing.T) {
	const good = "UPID:pve-1:000009FE:0004BB99:6B01CB68:qmclone:121:root@pam!test:"
	u, err := parseUPID(good)
	if err != nil || u.Node != "pve-1" || u.Type != "qmclone" || u.ID != "121" || u.User != "root@pam!test" || u.String() != good {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := parseUPID("UPID:n:000009FE:10004BB99:6B01CB68:vncproxy::root@pam:"); err != nil || u.what() != "the task vncproxy on n" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range []string{"", "OK", good[:len(good)-1], "UPID:../x:000009FE:0004BB99:6B01CB68:a:1:u:", "UPID:n:9FE:0004BB99:6B01CB68:a:1:u:", good + "\n"} {
		if _, err := parseUPID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"32G": 32 << 30, "2252M": 2252 << 20, "380K": 380 << 10, "3145729K": 3145729 << 10, "1.5G": 3 << 29,
		"1073741825": 1<<30 + 1, "0": 0, "2T": 2 << 40} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%s: %d, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "G", "+1G", "-1", "1.G", ".5G", "1g", "1GB", "99999999999999999999", "9999999999T", "1e3", "0x10", "1_0"} {
		if got, err := parseSize(bad); err == nil {
			t.Errorf("%q is %d", bad, got)
		}
	}
	if got := formatSize(3145729 << 10); got != "3145729K" {
		t.Error(got)
	}
}

func TestSlotOrder(t *testing.T) {
	var last int
	for i, s := range []string{"scsi0", "scsi2", "scsi30", "virtio0", "virtio15", "sata5", "ide0", "ide3"} {
		n, ok := slotOrder(s)
		if !ok || i > 0 && n <= last {
			t.Errorf("%s: %d, %v after %d", s, n, ok, last)
		}
		last = n
	}
	for _, bad := range []string{"scsi31", "virtio16", "sata6", "ide4", "scsihw", "efidisk0", "unused0", "scsi01", "net0"} {
		if _, ok := slotOrder(bad); ok {
			t.Errorf("%s is a drive slot", bad)
		}
	}
}

func TestDecodeIsTolerant(t *testing.T) {
	type all struct {
		I []integer
		R []real
		F []flag
		T []text
		D dict[flag]
	}
	var got all
	err := json.Unmarshal([]byte(`{"I":[1,"2",null,3.0,"",true],"R":[1.5,"2.5",null],"F":[1,0,"1","0",true,false,null,""],"T":["a",7,null,true],"D":[]}`), &got)
	want := all{[]integer{1, 2, 0, 3, 0, 1}, []real{1.5, 2.5, 0}, []flag{true, false, true, false, true, false, false, false}, []text{"a", "7", "", "1"}, nil}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	for _, bad := range []string{`{"I":["x"]}`, `{"I":[1.5]}`, `{"R":["NaN"]}`, `{"F":["maybe"]}`, `{"F":[2]}`, `{"T":[{}]}`, `{"T":[[1]]}`, `{"D":[1]}`, `{"D":3}`} {
		if err := json.Unmarshal([]byte(bad), &all{}); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func FuzzDrive(f *testing.F) {
	f.Add("local-lvm:vm-107-disk-0,size=32G,iops_rd=100")
	f.Add("discard=on,file=ceph:vm-5-disk-0,x=a=b")
	f.Add("none,media=cdrom")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDrive(s)
		if err != nil {
			return
		}
		again, err := parseDrive(d.String())
		if err != nil || !reflect.DeepEqual(d, again) {
			t.Fatalf("%q -> %q -> %+v, %v", s, d, again, err)
		}
		l, err := d.limits()
		if err != nil || math.IsNaN(l.ReadMBps) {
			return
		}
		d.setLimits(kvm.Limits{WriteIOPS: 7})
		if third, err := parseDrive(d.String()); err != nil || third.volume != again.volume {
			t.Fatalf("%q lost its volume: %q, %v", s, d, err)
		}
	})
}

func FuzzNIC(f *testing.F) {
	f.Add("virtio=A2:7B:45:48:9C:E5,bridge=vmbr0,tag=103")
	f.Add("bridge=vmbr1,model=e1000,macaddr=bc:24:11:79:62:f8,queues=4")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseNIC(s)
		if err != nil {
			return
		}
		again, err := parseNIC(n.String())
		if err != nil || n.String() != again.String() || n.mac != again.mac || n.model != again.model {
			t.Fatalf("%q -> %q -> %q, %v", s, n, again, err)
		}
		mac := n.mac
		n.merge(kvm.NIC{Bridge: "vmbr9", VLAN: 7})
		if third, err := parseNIC(n.String()); err != nil || third.mac != mac {
			t.Fatalf("%q lost its MAC: %q, %v", s, n, err)
		}
	})
}

func FuzzUPID(f *testing.F) {
	f.Add("UPID:pve1:000009FE:0004BB99:6B01CB68:resize:121:root@pam!test:")
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := parseUPID(s); err == nil && u.String() != s {
			t.Fatalf("%q became %q", s, u)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"32G", "2252M", "1.5T", "17"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d", s, n)
		}
		if again, err := parseSize(formatSize(n)); err != nil || again != n {
			t.Fatalf("%q: %d -> %s -> %d, %v", s, n, formatSize(n), again, err)
		}
	})
}

func FuzzVM(f *testing.F) {
	f.Add([]byte(`{"scsi0":"a:vm-1-disk-0,size=1G","boot":"order=net0;scsi0","memory":"2048","net0":"virtio=A2:7B:45:48:9C:E5,bridge=vmbr0"}`))
	f.Add([]byte(`{"ide2":"a:vm-1-cloudinit,media=cdrom","bootdisk":"scsi0","boot":"c","memory":512,"template":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var raw map[string]json.RawMessage
		if json.Unmarshal(b, &raw) != nil {
			return
		}
		vm, err := decodeVM("n", 100, raw)
		if err == nil && vm.SystemSlot != "" && vm.Disk(vm.SystemSlot) == nil {
			t.Fatalf("the system disk %s is no disk: %s", vm.SystemSlot, b)
		}
	})
}
