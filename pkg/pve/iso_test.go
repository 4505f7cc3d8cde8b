package pve

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

func TestCDs(t *testing.T) {
	_, c := script{"GET /nodes/pve1/qemu/110/config": {`{"scsi3":"none1:iso/a.iso,media=cdrom","sata0":"none","ide3":"cdrom","ide2":"file=a:iso/x.iso,media=cdrom,size=1M",
		"ide0":"a:vm-110-cloudinit,media=cdrom","scsi0":"a:disk"}`}}.serve(t)
	vm, err := c.VM(t.Context(), "pve1", 110)
	if err != nil {
		t.Fatal(err)
	}
	want := []kvm.CD{{Slot: "ide2", Volume: "a:iso/x.iso"}, {Slot: "ide3", Volume: "cdrom"}, {Slot: "scsi3", Volume: "none1:iso/a.iso"}, {Slot: "sata0"}}
	if d := cmp.Diff(want, vm.CDs); d != "" {
		t.Error(d)
	}
	if vm.CD("sata0") == nil || vm.CD("ide0") != nil || !vm.CDs[0].Of("a") || vm.CDs[0].Of("") || vm.CDs[1].Of("cdrom") {
		t.Error("a drive is taken for another")
	}
}

// TestISOsOfOdd: a storage that is away, and volumes that are no image of it.
func TestISOsOfOdd(t *testing.T) {
	_, c := script{"GET /nodes/pve1/storage": {`[{"storage":"nfs","active":0,"content":"iso"}]`}}.serve(t)
	_, err := c.ISOs(t.Context(), "pve1", "nfs")
	is(t, "a storage that is away", err, kvm.ErrUnreachable)
	_, c = script{"GET /nodes/pve1/storage": {`[{"storage":"nfs","active":1,"content":"iso"}]`}, "GET /nodes/pve1/storage/nfs/content": {`[{"volid":"nfs:iso/a.iso","size":"7"},
		{"volid":"nfs:iso/"},{"volid":"nfs:iso/b/c.iso"},{"volid":"other:iso/d.iso"},{"volid":"nfs:110/vm-110-disk-0.qcow2"},{"volid":"nfs:iso/e\u001b.iso"}]`}}.serve(t)
	list, err := c.ISOs(t.Context(), "pve1", "nfs")
	if err != nil || len(list) != 1 || list[0] != (kvm.ISO{Volume: "nfs:iso/a.iso", Name: "a.iso", Size: 7}) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestISOsOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx := t.Context()
		for _, name := range []string{"myfile.iso", "Debian-12.iso"} {
			must(t, sim.AddISO("local", "pve1", name, 800))
		}
		list, err := c.ISOs(ctx, "pve1", "local")
		if err != nil || len(list) != 2 || list[0].Volume != "local:iso/Debian-12.iso" || list[0].Size != 800 || list[0].Time.IsZero() || list[1].Name != "myfile.iso" {
			t.Fatalf("%+v, %v", list, err)
		}
		if list, err := c.ISOs(ctx, "pve2", "local"); err != nil || len(list) != 0 {
			t.Errorf("on the other node: %+v, %v", list, err)
		}
		_, err = c.ISOs(ctx, "pve1", "nfs") // which holds no images
		is(t, "a storage for disks alone", err, kvm.ErrAdmin)
		_, err = c.ISOs(ctx, "pve1", "none")
		is(t, "no storage", err, kvm.ErrAdmin)

		// Proxmox puts the new drive at the end of the order by itself, and the order in front of it is a call of its own.
		must(t, c.SetCD(ctx, o, "ide0", list[0].Volume))
		is(t, "a mount with an old digest", c.SetCD(ctx, o, "ide0", ""), kvm.ErrChanged)
		o = proof(t, c, 100)
		if got := o.VM().BootOrder(); got != "order=scsi0;ide0" {
			t.Errorf("after the mount the order is %s", got)
		}
		must(t, c.SetBoot(ctx, o, "order=ide0;scsi0"))
		o = proof(t, c, 100)
		if err := c.SetBoot(ctx, o, "order=ide0;scsi7"); err == nil || !strings.Contains(err.Error(), "device 'scsi7' does not exist") {
			t.Errorf("an order with what is not there: %v", err)
		}
		is(t, "an image that is not there", c.SetCD(ctx, o, "ide0", "local:iso/none.iso"), kvm.ErrPermanent)
		if pending, err := c.Pending(ctx, o); err != nil || len(pending) != 0 {
			t.Errorf("pending of a stopped VM: %v, %v", pending, err)
		}

		// Of a VM that runs a medium changes at once, the order and a new drive later.
		must(t, sim.SetPower(100, kvm.Running))
		must(t, c.SetCD(ctx, o, "ide0", ""))
		o = proof(t, c, 100)
		must(t, c.SetCD(ctx, o, "ide3", list[1].Volume))
		o = proof(t, c, 100)
		must(t, c.SetBoot(ctx, o, "order=scsi0"))
		o = proof(t, c, 100)
		pending, err := c.Pending(ctx, o)
		if err != nil || !slices.Equal(pending, []string{"boot", "ide3"}) {
			t.Errorf("pending: %v, %v", pending, err)
		}
		if vm := o.VM(); vm.CD("ide0").Volume != "" || vm.CD("ide3").Volume != list[1].Volume || vm.BootOrder() != "order=scsi0" {
			t.Errorf("%+v, boot %s", vm.CDs, vm.BootOrder())
		}
		must(t, sim.SetPower(100, kvm.Stopped))
		must(t, c.SetBoot(ctx, o, ""))
		if o = proof(t, c, 100); o.VM().BootOrder() != "" {
			t.Errorf("the order that was removed is %s", o.VM().BootOrder())
		}
		p := poor(t, c, sim)
		is(t, "a mount without the privilege", p.SetCD(ctx, o, "ide0", list[0].Volume), kvm.ErrDenied)
		if sum := c.Check(ctx, Needs{ISOStorage: "nfs"}); !slices.ContainsFunc(sum, func(f Finding) bool { return !f.OK && strings.Contains(f.What, "content iso") }) {
			t.Errorf("the check of a storage without images: %+v", sum)
		}
	})
}

func TestConsoleOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx := t.Context()
		must(t, sim.SetPower(100, kvm.Running))
		got, err := c.Console(ctx, o)
		must(t, err)
		if got.Node != "pve1" || got.VMID != 100 || got.Port != 5900 || got.User != "whmcs@pve!puqkvm" || got.Password.Empty() || !strings.HasPrefix(got.Ticket.Reveal(), got.Password.Reveal()) {
			t.Errorf("%+v", got)
		}
		if got.Token.Reveal() != "whmcs@pve!puqkvm="+testSecret || !got.Cookie.Empty() || !got.CSRF.Empty() {
			t.Error("the credentials are not the token's")
		}
		u, err := url.Parse(got.URL.Reveal())
		if err != nil || u.Scheme != "wss" || u.Host != c.trip.hosts[0] || u.Path != "/api2/json/nodes/pve1/qemu/100/vncwebsocket" ||
			u.Query().Get("port") != "5900" || u.Query().Get("vncticket") != got.Ticket.Reveal() {
			t.Errorf("%s, %v", got.URL.Reveal(), err)
		}
		for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
			for _, secret := range []kvm.Secret{got.Ticket, got.Token, got.URL, got.Password} {
				if text := fmt.Sprintf(form, got); strings.Contains(text, secret.Reveal()) || strings.Contains(text, testSecret) {
					t.Errorf("%s shows a secret: %s", form, text)
				}
			}
		}
		root, err := New(Options{URLs: c.trip.hosts, User: "root@pam", Secret: kvm.NewSecret("rootpw"), TLS: trust.Trust{Insecure: true}, Clock: c.clock})
		must(t, err)
		if got, err = root.Console(ctx, o); err != nil || got.User != "root@pam" || !got.Token.Empty() || !strings.HasPrefix(got.Cookie.Reveal(), "PVE:root@pam:") || got.CSRF.Empty() {
			t.Errorf("by a login: %+v, %v", got, err)
		}
		p := poor(t, c, sim)
		_, err = p.Console(ctx, o)
		is(t, "without the privilege", err, kvm.ErrDenied)
	})
	o := owned(t, testConfig)
	for answer, want := range map[string]error{`{"port":"5901","ticket":"PVEVNC:a b+/=::x&y","user":"u"}`: nil, `{"port":"5901"}`: kvm.ErrUnknown, `{"port":"x","ticket":"t"}`: kvm.ErrUnreachable,
		`{"ticket":"t"}`: kvm.ErrUnknown, "500 no such VM": kvm.ErrNotHere} {
		s, c := script{"POST /nodes/pve1/qemu/110/vncproxy": {answer}}.serve(t)
		got, err := c.Console(t.Context(), o)
		is(t, answer, err, want)
		if want == nil && (got.Password.Reveal() != "PVEVNC:a b+/=::x&y" || !strings.HasSuffix(got.URL.Reveal(), "?port=5901&vncticket=PVEVNC%3Aa+b%2B%2F%3D%3A%3Ax%26y")) {
			t.Errorf("%s: %s", got.Password.Reveal(), got.URL.Reveal())
		}
		if requests := s.requests(); len(requests) != 1 || requests[0] != "POST /nodes/pve1/qemu/110/vncproxy websocket=1" {
			t.Errorf("%q", requests)
		}
	}
}

func FuzzImageVolume(f *testing.F) {
	f.Add("local:iso/a.iso")
	f.Add("local:iso/../x,media=disk")
	f.Fuzz(func(t *testing.T, volume string) {
		storage, _, _ := strings.Cut(volume, ":")
		if !imageVolume(volume, storage) {
			return
		}
		d, err := parseDrive(drive{volume: volume, options: pairs{{"media", "cdrom"}}}.String())
		if err != nil || d.volume != volume || !d.cd() || len(d.options) != 1 {
			t.Errorf("%q reads as %+v, %v", volume, d, err)
		}
	})
}
