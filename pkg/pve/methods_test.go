package pve

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Each change as it goes over the wire: the one request, its form, and what comes back.
func TestChangesOnTheWire(t *testing.T) {
	const at = "/nodes/pve1/qemu/110"
	template := strings.Replace(testConfig, `"template":0`, `"template":1`, 1)
	bare := `{"smbios1":"uuid=86c5cc9f-ec8f-48e1-a587-87fd8616737e","digest":"d2"}`
	upid := `"` + testUPID + `"`
	addr := netip.MustParseAddr
	type call func(context.Context, *Client, kvm.Owned) (kvm.UPID, error)
	setCD := func(slot, volume string) call {
		return func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCD(ctx, o, slot, volume)
		}
	}
	setBoot := func(boot kvm.BootOrder) call {
		return func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetBoot(ctx, o, boot)
		}
	}
	for _, c := range []struct {
		name, config string
		call         call
		answer       string
		want         string // the request, form decoded; "" = none
		upid         kvm.UPID
		err          error
	}{
		{"cpu", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCPU(ctx, o, 4, 2048, true)
		}, "null", "PUT " + at + "/config balloon=2048&cores=4&delete=vcpus&digest=d1&memory=2048&onboot=1&sockets=1", "", nil},
		{"cpu of a bare VM", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCPU(ctx, o, 1, 512, false)
		}, "null", "PUT " + at + "/config cores=1&digest=d2&memory=512&onboot=0&sockets=1", "", nil},
		{"no cpu", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCPU(ctx, o, 0, 512, false)
		}, "null", "", "", kvm.ErrInvalid},
		{"changed", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCPU(ctx, o, 4, 8192, true)
		}, "500 checksum missmatch (file change by other user?)", "PUT " + at + "/config cores=4&delete=vcpus&digest=d1&memory=8192&onboot=1&sockets=1", "", kvm.ErrChanged},
		{"template", template, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Resize(ctx, o, "scsi0", 20)
		}, upid, "", "", kvm.ErrPermanent},
		{"resize 8", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Resize(ctx, o, "scsi0", 20)
		}, upid, "PUT " + at + "/resize digest=d1&disk=scsi0&size=20G", testUPID, nil},
		{"resize 7", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Resize(ctx, o, "scsi0", 10)
		}, "null", "PUT " + at + "/resize digest=d1&disk=scsi0&size=10G", "", nil},
		{"shrink", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Resize(ctx, o, "scsi0", 9)
		}, upid, "", "", kvm.ErrPermanent},
		{"resize a CD", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Resize(ctx, o, "ide2", 9)
		}, upid, "", "", kvm.ErrInvalid},
		{"limits", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetLimits(ctx, o, "scsi0", kvm.Limits{ReadMBps: 10, WriteMBps: 2.5, WriteIOPS: 300})
		}, "null", "PUT " + at + "/config digest=d1&scsi0=local:110/vm-110-disk-0.qcow2,discard=on,size=10G,mbps_rd=10,mbps_wr=2.5,iops_wr=300", "", nil},
		{"limits of the cloud-init drive", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetLimits(ctx, o, "ide0", kvm.Limits{ReadMBps: 10})
		}, "null", "", "", kvm.ErrInvalid},
		{"add disk", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.AddDisk(ctx, o, "scsi2", "local", 5)
		}, upid, "POST " + at + "/config digest=d1&scsi2=local:5", testUPID, nil},
		{"add disk over another", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.AddDisk(ctx, o, "scsi1", "local", 5)
		}, upid, "", "", kvm.ErrRefused},
		{"add disk nowhere", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.AddDisk(ctx, o, "scsi31", "local", 5)
		}, upid, "", "", kvm.ErrInvalid},
		{"add disk on no storage's name", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.AddDisk(ctx, o, "scsi2", "local:1,ssd=1,x", 5)
		}, upid, "", "", kvm.ErrInvalid},
		{"net", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetNIC(ctx, o, kvm.NIC{Bridge: "vmbr1", VLAN: 7, Rate: 12.5, Firewall: true})
		}, "null", "PUT " + at + "/config digest=d1&net0=virtio=BC:24:11:79:62:F8,bridge=vmbr1,queues=2,tag=7,rate=12.5,firewall=1", "", nil},
		{"net with a kept MAC", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetNIC(ctx, o, kvm.NIC{Model: "e1000", MAC: "BC:24:11:00:00:01", Bridge: "vmbr1"})
		}, "null", "PUT " + at + "/config digest=d2&net0=e1000=BC:24:11:00:00:01,bridge=vmbr1", "", nil},
		{"net without a MAC", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetNIC(ctx, o, kvm.NIC{Model: "virtio", Bridge: "vmbr1"})
		}, "null", "", "", kvm.ErrInvalid},
		{"net with a bad bridge", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetNIC(ctx, o, kvm.NIC{Bridge: "vmbr1,tag=5"})
		}, "null", "", "", kvm.ErrInvalid},
		{"cloud-init", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCloudInit(ctx, o, kvm.CloudInit{User: "bob", Password: kvm.NewSecret("p+ss w"), SSHKeys: "ssh-rsa AA+/= me@x\r\n\nssh-rsa B\n",
				DNS: []netip.Addr{addr("192.0.2.1"), {}, addr("2001:db8::1")},
				IPConfig: kvm.IPConfig{Addr4: netip.MustParsePrefix("192.0.2.9/24"), Gateway4: addr("192.0.2.1"),
					Addr6: netip.MustParsePrefix("2001:db8::9/64"), Gateway6: addr("2001:db8::1")}})
		}, "null", "PUT " + at + "/config cipassword=p+ss w&ciuser=bob&delete=searchdomain&digest=d1" +
			"&ipconfig0=ip=192.0.2.9/24,gw=192.0.2.1,ip6=2001:db8::9/64,gw6=2001:db8::1&nameserver=192.0.2.1 2001:db8::1" +
			"&sshkeys=ssh-rsa%20AA%2B%2F%3D%20me%40x%0Assh-rsa%20B", "", nil},
		{"cloud-init by DHCP, no password", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCloudInit(ctx, o, kvm.CloudInit{User: "bob", IPConfig: kvm.IPConfig{DHCP4: true, DHCP6: true}})
		}, "null", "PUT " + at + "/config ciuser=bob&digest=d2&ipconfig0=ip=dhcp,ip6=dhcp", "", nil},
		{"cloud-init with nothing to do", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCloudInit(ctx, o, kvm.CloudInit{})
		}, "null", "", "", nil},
		{"cloud-init with a gateway alone", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCloudInit(ctx, o, kvm.CloudInit{IPConfig: kvm.IPConfig{Gateway4: addr("192.0.2.1")}})
		}, "null", "", "", kvm.ErrInvalid},
		{"cloud-init with mixed families", bare, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetCloudInit(ctx, o, kvm.CloudInit{IPConfig: kvm.IPConfig{Addr4: netip.MustParsePrefix("2001:db8::9/64")}})
		}, "null", "", "", kvm.ErrInvalid},
		{"start", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) { return c.Start(ctx, o) },
			upid, "POST " + at + "/status/start", testUPID, nil},
		{"start without a task", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) { return c.Start(ctx, o) },
			"null", "POST " + at + "/status/start", "", kvm.ErrUnknown},
		{"migrate", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Migrate(ctx, o, "pve2", "nfs")
		},
			upid, "POST " + at + "/migrate target=pve2&targetstorage=nfs", testUPID, nil},
		{"migrate, same storage", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Migrate(ctx, o, "pve2", "")
		}, `"OK"`, "POST " + at + "/migrate target=pve2", "", kvm.ErrUnknown},
		{"linked clone", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Clone(ctx, kvm.CloneRequest{Node: "pve1", Template: 110, VMID: 200, Name: "vps", Description: "puqkvm:x:1", Storage: "nfs"})
		}, upid, "POST " + at + "/clone description=puqkvm:x:1&full=0&name=vps&newid=200", testUPID, nil},
		{"full clone", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Clone(ctx, kvm.CloneRequest{Node: "pve1", Template: 110, VMID: 200, Full: true, Storage: "nfs"})
		}, "500 unable to create VM 200: config file already exists", "POST " + at + "/clone full=1&newid=200&storage=nfs", "", kvm.ErrTaken},
		{"shutdown", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Shutdown(ctx, o, 1500*time.Millisecond)
		}, upid, "POST " + at + "/status/shutdown forceStop=0&timeout=2", testUPID, nil},
		{"shutdown without time", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.Shutdown(ctx, o, 0)
		}, upid, "", "", kvm.ErrInvalid},
		{"onboot", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetOnBoot(ctx, o, true)
		}, "null", "PUT " + at + "/config digest=d1&onboot=1", "", nil},
		{"no onboot, changed", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetOnBoot(ctx, o, false)
		}, "500 checksum mismatch (file change by other user?)", "PUT " + at + "/config digest=d1&onboot=0", "", kvm.ErrChanged},
		{"delete", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) { return c.Delete(ctx, o) },
			upid, "DELETE " + at + "?purge=1", testUPID, nil},
		{"delete a running VM", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) { return c.Delete(ctx, o) },
			"500 VM 110 is running - destroy failed", "DELETE " + at + "?purge=1", "", kvm.ErrState},
		{"delete a protected VM", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) { return c.Delete(ctx, o) },
			"500 can't remove VM 110 - protection mode enabled", "DELETE " + at + "?purge=1", "", kvm.ErrPermanent},
		{"delete a template", template, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) { return c.Delete(ctx, o) },
			upid, "", "", kvm.ErrPermanent},
		{"delete a snapshot", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.DeleteSnapshot(ctx, o, "s_1-a")
		}, upid, "DELETE " + at + "/snapshot/s_1-a", testUPID, nil},
		{"delete the snapshot ..", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.DeleteSnapshot(ctx, o, "..")
		}, upid, "", "", kvm.ErrInvalid},
		{"delete the snapshot a b", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.DeleteSnapshot(ctx, o, "a b")
		}, upid, "", "", kvm.ErrInvalid},
		{"delete the snapshot without a name", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return c.DeleteSnapshot(ctx, o, "")
		}, upid, "", "", kvm.ErrInvalid},
		{"password", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetGuestPassword(ctx, o, "bob", kvm.NewSecret("p+ss w&x"))
		}, `{"result":{}}`, "POST " + at + "/agent/set-user-password password=p+ss w&x&username=bob", "", nil},
		{"no password", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetGuestPassword(ctx, o, "bob", kvm.Secret{})
		}, "null", "", "", kvm.ErrInvalid},
		{"password, no answer from the guest", testConfig, func(ctx context.Context, c *Client, o kvm.Owned) (kvm.UPID, error) {
			return "", c.SetGuestPassword(ctx, o, "bob", kvm.NewSecret("secret"))
		}, "500 VM 110 qmp command 'guest-set-user-password' failed - got timeout",
			"POST " + at + "/agent/set-user-password password=secret&username=bob", "", kvm.ErrUnknown},
		{"ISO into the drive", testConfig, setCD("ide2", "shared:iso/b=1.iso"), "null", "PUT " + at + "/config digest=d1&ide2=file=shared:iso/b=1.iso,media=cdrom", "", nil},
		{"ISO into a new drive", bare, setCD("sata0", "local:iso/b.iso"), "null", "PUT " + at + "/config digest=d2&sata0=local:iso/b.iso,media=cdrom", "", nil},
		{"ISO out of the drive", strings.Replace(testConfig, "a.iso,media=cdrom", "a.iso,cache=none,media=cdrom,size=4M", 1), setCD("ide2", ""), "null", "PUT " + at + "/config digest=d1&ide2=none,cache=none,media=cdrom", "", nil},
		{"ISO over the cloud-init drive", testConfig, setCD("ide0", "local:iso/b.iso"), "null", "", "", kvm.ErrRefused},
		{"ISO over a disk", testConfig, setCD("scsi1", ""), "null", "", "", kvm.ErrRefused},
		{"ISO at net0", testConfig, setCD("net0", "local:iso/b.iso"), "null", "", "", kvm.ErrInvalid},
		{"ISO with a comma", testConfig, setCD("ide2", "local:iso/b,size=1.iso"), "null", "", "", kvm.ErrInvalid},
		{"ISO by a path", testConfig, setCD("ide2", "/etc/passwd"), "null", "", "", kvm.ErrInvalid},
		{"ISO outside of its folder", testConfig, setCD("ide2", "local:iso/../snippets/x.iso"), "null", "", "", kvm.ErrInvalid},
		{"a disk as ISO", testConfig, setCD("ide2", "local:110/vm-110-disk-0.qcow2"), "null", "", "", kvm.ErrInvalid},
		{"boot order", testConfig, setBoot("order=ide2;scsi0"), "null", "PUT " + at + "/config boot=order=ide2;scsi0&digest=d1", "", nil},
		{"no boot order", testConfig, setBoot(""), "null", "PUT " + at + "/config delete=boot&digest=d1", "", nil},
		{"boot order that is none", testConfig, setBoot("order=ide2,x=1"), "null", "", "", kvm.ErrInvalid},
		{"nothing proved", testConfig, func(ctx context.Context, c *Client, _ kvm.Owned) (kvm.UPID, error) { return c.Start(ctx, kvm.Owned{}) },
			upid, "", "", kvm.ErrUnproved},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := owned(t, c.config)
			a := script{}
			for _, where := range []string{"PUT /config", "POST /config", "PUT /resize", "POST /status/start", "POST /migrate", "POST /clone",
				"POST /status/shutdown", "DELETE ", "DELETE /snapshot/s_1-a", "POST /agent/set-user-password"} {
				method, rest, _ := strings.Cut(where, " ")
				a[method+" "+at+rest] = []string{c.answer}
			}
			s, client := a.serve(t)
			id, err := c.call(t.Context(), client, o)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || id != c.upid {
				t.Errorf("got %q, %v; want %q, %v", id, err, c.upid, c.err)
			}
			got := ""
			for _, r := range s.requests() {
				head, form, _ := strings.Cut(r, "config ")
				if strings.Contains(r, "/config ") {
					head += "config "
				} else {
					head, form = r, ""
					if i := strings.LastIndex(r, " "); i > strings.Index(r, " ") {
						head, form = r[:i+1], r[i+1:]
					}
				}
				decoded, err := url.QueryUnescape(form)
				if err != nil {
					t.Fatal(err)
				}
				got += head + decoded
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Every method that takes a proof refuses one that nothing was proved for, and changes no template.
func TestNothingIsTouchedWithoutProof(t *testing.T) {
	template := owned(t, `{"smbios1":"uuid=86c5cc9f-ec8f-48e1-a587-87fd8616737e","template":1,"digest":"d1","scsi0":"local:110/base-110-disk-0.qcow2,size=1G"}`)
	s, client := script{}.serve(t)
	all := reflect.TypeFor[*Client]()
	proofs := []reflect.Type{reflect.TypeFor[kvm.Owned](), reflect.TypeFor[kvm.OwnedBackup]()}
	seen := 0
	for i := range all.NumMethod() {
		m := all.Method(i)
		in := []reflect.Value{reflect.ValueOf(client), reflect.ValueOf(t.Context())}
		at := -1
		for k := 2; k < m.Type.NumIn(); k++ {
			if slices.Contains(proofs, m.Type.In(k)) {
				at = k
			}
			in = append(in, reflect.Zero(m.Type.In(k)))
		}
		if at < 0 {
			continue
		}
		seen++
		call := func() error {
			out := m.Func.Call(in)
			err, _ := out[len(out)-1].Interface().(error)
			return err
		}
		before := len(s.requests())
		if err := call(); !errors.Is(err, kvm.ErrUnproved) {
			t.Errorf("%s without a proof: %v", m.Name, err)
		}
		if got := s.requests()[before:]; len(got) > 0 {
			t.Errorf("%s without a proof: %q was sent", m.Name, got)
		}
		if m.Type.In(at) != proofs[0] {
			continue
		}
		in[at] = reflect.ValueOf(template)
		if err := call(); err == nil {
			t.Errorf("%s changed a template", m.Name)
		}
	}
	for _, r := range s.requests() {
		if !strings.HasPrefix(r, "GET ") {
			t.Errorf("of a template: %q was sent", r)
		}
	}
	if seen < 20 {
		t.Errorf("only %d methods take a proof", seen)
	}
}

// A name of dots, from wherever it came, makes no other path of a call's.
func TestNoDotsInAPath(t *testing.T) {
	s, c := script{}.serve(t)
	for _, at := range []string{"/nodes/pve1/qemu/110/snapshot/..", "/nodes/./qemu/110", "/nodes/../qemu/110", "/nodes//qemu/110", "/nodes/pve1/qemu/"} {
		if err := c.do(t.Context(), "DELETE", at, nil); !errors.Is(err, kvm.ErrInvalid) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if got := s.requests(); len(got) > 0 {
		t.Errorf("%q was sent", got)
	}
}

func TestSnapshots(t *testing.T) {
	o := owned(t, testConfig)
	_, c := script{"GET /nodes/pve1/qemu/110/snapshot": {`[
		{"name":"current","description":"You are here!","digest":"d","running":1,"parent":"c"},
		{"name":"c","snaptime":1795279860,"parent":"b","snapstate":"delete","description":""},
		{"name":"b","snaptime":"1795279859","parent":"a","vmstate":1,"description":"two\nlines\n"},
		{"name":"a","snaptime":1795279859,"vmstate":0},
		{"name":"half","snapstate":"prepare"}]`, `[{"name":"current","running":0}]`, `{}`}}.serve(t)
	got, err := c.Snapshots(t.Context(), o)
	at := time.Unix(1795279859, 0).UTC()
	want := []kvm.Snapshot{{Name: "half", State: "prepare"}, {Name: "a", Time: at}, {Name: "b", Time: at, Parent: "a", RAM: true, Description: "two\nlines"},
		{Name: "c", Time: at.Add(time.Second), Parent: "b", State: "delete"}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got, err := c.Snapshots(t.Context(), o); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := c.Snapshots(t.Context(), o); err == nil {
		t.Errorf("an object was taken for %v", got)
	}
}

// The password is in no error and no line of the log, also where Proxmox repeats it.
func TestGuestPasswordIsHidden(t *testing.T) {
	o := owned(t, testConfig)
	const secret = "Corr+ct/Horse 16"
	for _, answer := range []string{"500 Agent error: cannot set " + secret, "400 password=invalid: " + secret} {
		s, _ := script{"POST /nodes/pve1/qemu/110/agent/set-user-password": {answer}}.serve(t)
		var log []string
		c := s.client(t, func(o *Options) { o.Debug = func(line string) { log = append(log, line) } })
		err := c.SetGuestPassword(t.Context(), o, "bob", kvm.NewSecret(secret))
		if err == nil || !strings.Contains(err.Error(), "***") {
			t.Errorf("%s: %v", answer, err)
		}
		for _, text := range append(log, err.Error()) {
			if strings.Contains(text, "Horse") {
				t.Errorf("the password is in %q", text)
			}
		}
		if len(log) == 0 || !strings.Contains(s.requests()[0], "Horse") {
			t.Errorf("%q, %q", log, s.requests())
		}
	}
}

func TestMigrateCheck(t *testing.T) {
	o := owned(t, testConfig)
	for name, c := range map[string]struct{ answer, want string }{
		"fine": {`{"running":0,"local_disks":[{"volid":"local:110/vm-110-disk-0.qcow2","cdrom":0},{"volid":"local:110/vm-110-cloudinit.qcow2","cdrom":1}],
			"local_resources":[],"not_allowed_nodes":{}}`, ""},
		"empty hash as a list": {`{"running":0,"local_disks":[],"local_resources":[],"not_allowed_nodes":[]}`, ""},
		"another storage":      {`{"running":0,"not_allowed_nodes":{"pve2":{"unavailable_storages":["local-lvm"]}}}`, ""},
		"running":              {`{"running":true}`, "it is running"},
		"device and ISO": {`{"running":0,"local_disks":[{"volid":"local:iso/a.iso","cdrom":1}],"local_resources":["hostpci0"]}`,
			"it uses the local resource hostpci0; the image local:iso/a.iso in its CD drive is on a local storage"},
		"high availability": {`{"not_allowed_nodes":{"pve3":{"x":1},"pve2":{"blocking-ha-resources":[{}]}}}`, "blocking ha resources"},
	} {
		s, client := script{"GET /nodes/pve1/qemu/110/migrate": {c.answer}}.serve(t)
		why, err := client.MigrateCheck(t.Context(), o, "pve2")
		if err != nil || why != c.want {
			t.Errorf("%s: %q, %v", name, why, err)
		}
		if got := s.requests()[0]; got != "GET /nodes/pve1/qemu/110/migrate?target=pve2" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
