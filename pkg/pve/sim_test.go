package pve

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

// simulated is a cluster of two nodes with a local and a shared storage and the template 9000, and a Client with just
// the privileges that the program asks an administrator for.
func simulated(t *testing.T, version string) (*Client, *pvesim.Cluster) {
	t.Helper()
	clk := clock.NewFake(time.Date(2026, 4, 10, 3, 0, 0, 0, time.UTC))
	sim, err := pvesim.New(pvesim.Options{Version: version, Clock: clk, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"pve1", "pve2"} {
		sim.AddNode(pvesim.Node{Name: n})
	}
	sim.AddStorage(pvesim.Storage{ID: "local", Type: "dir", Content: "images,iso,backup"})
	sim.AddStorage(pvesim.Storage{ID: "nfs", Type: "nfs", Content: "images"})
	major := Version{Major: int(version[0] - '0')}
	const token = "whmcs@pve!puqkvm"
	sim.AddToken(token, testSecret, false)
	for _, g := range grants(major) {
		sim.Grant(g.path, "whmcs@pve", g.privileges...)
	}
	sim.AddUser("root@pam", "rootpw")
	server := httptest.NewTLSServer(sim.Handler())
	t.Cleanup(server.Close)
	options := Options{URLs: []string{server.URL}, User: token, Secret: kvm.NewSecret(testSecret), TLS: trust.Trust{Insecure: true}, Clock: clk}
	c, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	options.User, options.Secret = "root@pam", kvm.NewSecret("rootpw") // a ticket login
	root, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		path string
		p    params
	}{
		{"/nodes/pve1/qemu", params{"vmid": "9000", "name": "debian", "memory": "1024", "cores": "1", "scsi0": "nfs:4", "ide2": "nfs:cloudinit",
			"net0": "virtio,bridge=vmbr0", "boot": "order=scsi0", "ciuser": "debian", "searchdomain": "example.test"}},
		{"/nodes/pve1/qemu/9000/template", nil},
	} {
		id, err := root.task(t.Context(), http.MethodPost, step.path, step.p)
		if err == nil {
			err = root.Wait(t.Context(), id, time.Minute)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c, sim
}

// deploy clones the template to vmid and gives the proof of the result.
func deploy(t *testing.T, c *Client, r kvm.CloneRequest) kvm.Owned {
	t.Helper()
	id, err := c.Clone(t.Context(), r)
	wait(t, c, id, err)
	return proof(t, c, r.VMID)
}

func wait(t *testing.T, c *Client, id kvm.UPID, err error) {
	t.Helper()
	if err == nil && id != "" {
		err = c.Wait(t.Context(), id, 10*time.Minute)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func proof(t *testing.T, c *Client, vmid int) kvm.Owned {
	t.Helper()
	place, found, err := c.Place(t.Context(), vmid)
	if err != nil || !found || !place.NodeUp {
		t.Fatalf("VM %d: %+v, %v, %v", vmid, place, found, err)
	}
	vm, err := c.VM(t.Context(), place.Node, vmid)
	if err != nil {
		t.Fatal(err)
	}
	o, err := kvm.Prove(vm, &kvm.Row{VMID: vmid, UUID: vm.UUID})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestDeployOnASimulatedCluster takes a VM through every call that the rows of a deployment make, on each version.
func TestDeployOnASimulatedCluster(t *testing.T) {
	for _, version := range []string{"7.4-17", "8.4.21", "9.2.4"} {
		t.Run(version, func(t *testing.T) {
			c, _ := simulated(t, version)
			ctx := t.Context()
			if free, err := c.Free(ctx, 100); err != nil || !free {
				t.Fatal(free, err)
			}
			if free, err := c.Free(ctx, 9000); err != nil || free {
				t.Fatal(free, err)
			}
			r := kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 100, Name: "vps-1-2", Description: "puqkvm:x:2"}
			o := deploy(t, c, r)
			if vm := o.VM(); vm.Description != r.Description || vm.Name != r.Name || vm.Lock != "" || vm.SystemSlot != "scsi0" || vm.CloudDrive != "ide2" || vm.UUID == "" {
				t.Fatalf("%+v", vm)
			}
			if _, err := c.Clone(ctx, r); !errors.Is(err, kvm.ErrTaken) {
				t.Errorf("a second clone to the id: %v", err)
			}
			mac := o.VM().NIC.MAC

			why, err := c.MigrateCheck(ctx, o, "pve2")
			if err != nil || why != "" {
				t.Fatal(why, err)
			}
			id, err := c.Migrate(ctx, o, "pve2", "")
			wait(t, c, id, err)
			if _, err := c.VM(ctx, "pve1", 100); !errors.Is(err, kvm.ErrNotHere) {
				t.Errorf("the VM on its old node: %v", err)
			}
			if o = proof(t, c, 100); o.VM().Node != "pve2" {
				t.Fatalf("it is on %s", o.VM().Node)
			}

			if err := c.SetCPU(ctx, o, 2, 2048, true); err != nil {
				t.Fatal(err)
			}
			if err := c.SetCPU(ctx, o, 4, 2048, true); !errors.Is(err, kvm.ErrChanged) {
				t.Errorf("a change with an old digest: %v", err)
			}
			o = proof(t, c, 100)
			id, err = c.Resize(ctx, o, "scsi0", 10)
			wait(t, c, id, err)
			o = proof(t, c, 100)
			limits := kvm.Limits{ReadMBps: 50, WriteMBps: 12.5, ReadIOPS: 500, WriteIOPS: 250}
			if err := c.SetLimits(ctx, o, "scsi0", limits); err != nil {
				t.Fatal(err)
			}
			o = proof(t, c, 100)
			id, err = c.AddDisk(ctx, o, "scsi1", "nfs", 3)
			wait(t, c, id, err)
			o = proof(t, c, 100)
			nic := kvm.NIC{Model: "virtio", Bridge: "vmbr0", VLAN: 42, Rate: 12.5, Firewall: true}
			if err := c.SetNIC(ctx, o, nic); err != nil {
				t.Fatal(err)
			}

			f := kvm.Firewall{Enable: true, PolicyIn: "ACCEPT", PolicyOut: "ACCEPT", LogIn: "nolog", LogOut: "info", DHCP: true, NDP: true, MACFilter: true}
			addrs := []netip.Addr{netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("2001:db8::50")}
			if err := c.SetIPSet(ctx, o, "ipfilter-net0", false, nil, addrs[:1]); err != nil {
				t.Fatal(err)
			}
			if err := c.SetIPSet(ctx, o, "ipfilter-net0", false, nil, addrs[:1]); err != nil {
				t.Errorf("a set and an entry that exist: %v", err)
			}
			st, err := c.Firewall(ctx, o, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetIPSet(ctx, o, "ipfilter-net0", true, st.IPSets["ipfilter-net0"], addrs[1:]); err != nil {
				t.Fatal(err)
			}
			if err := c.SetFirewall(ctx, o, f); err != nil {
				t.Fatal(err)
			}
			st, err = c.Firewall(ctx, o, true)
			if err != nil || st.Options != f || len(st.Rules.Rules) != 0 || !slices.Equal(st.IPSets["ipfilter-net0"], []string{"2001:db8::50"}) {
				t.Errorf("%+v, %v", st, err)
			}
			for range 2 {
				if err := c.DeleteIPSet(ctx, o, "ipfilter-net0"); err != nil {
					t.Fatal(err)
				}
			}
			if st, err = c.Firewall(ctx, o, true); err != nil || len(st.IPSets) != 0 {
				t.Errorf("%+v, %v", st, err)
			}

			o = proof(t, c, 100)
			if err := c.SetCloudInit(ctx, o, kvm.CloudInit{User: "bob", Password: kvm.NewSecret("Correct-Horse-16"), DNS: addrs,
				SSHKeys:  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMCYyZwaeGMUOFrhxHVsJ1CxJFXZCXZc6FPJhGWK2Sb me@test\n",
				IPConfig: kvm.IPConfig{Addr4: netip.MustParsePrefix("192.0.2.50/24"), Gateway4: netip.MustParseAddr("192.0.2.1")}}); err != nil {
				t.Fatal(err)
			}
			o = proof(t, c, 100)
			id, err = c.Start(ctx, o)
			wait(t, c, id, err)
			if power, lock, err := c.Power(ctx, o); power != kvm.Running || lock != "" || err != nil {
				t.Errorf("%s, %s, %v", power, lock, err)
			}
			id, err = c.Start(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(ctx, id, time.Minute); !errors.Is(err, kvm.ErrState) {
				t.Errorf("starting a running VM: %v", err)
			}

			vm := o.VM()
			nic.MAC = mac
			want := &kvm.VM{VMID: 100, Node: "pve2", Name: "vps-1-2", Description: "puqkvm:x:2", UUID: vm.UUID, Digest: vm.Digest, Cores: 2, Sockets: 1,
				Memory: 2048, OnBoot: true, Boot: []string{"scsi0"}, SystemSlot: "scsi0", CloudDrive: "ide2", NIC: &nic, CIUser: "bob", Nameservers: addrs, IPConfig: kvm.IPConfig{Addr4: netip.MustParsePrefix("192.0.2.50/24"), Gateway4: netip.MustParseAddr("192.0.2.1")}, Keys: vm.Keys,
				Disks: []kvm.Disk{{Slot: "scsi0", Volume: vm.Disks[0].Volume, Storage: "nfs", Size: 10 << 30, Limits: limits},
					{Slot: "scsi1", Volume: vm.Disks[1].Volume, Storage: "nfs", Size: 3 << 30}}}
			if d := cmp.Diff(want, vm, addresses()); d != "" {
				t.Error(d)
			}
			if _, there := vm.Keys["searchdomain"]; there || vm.Keys["cipassword"] != "**********" || vm.Keys["nameserver"] != "192.0.2.50 2001:db8::50" ||
				vm.Keys["ipconfig0"] != "ip=192.0.2.50/24,gw=192.0.2.1" {
				t.Errorf("%q", vm.Keys)
			}
		})
	}
}

func TestRefusalsOfASimulatedCluster(t *testing.T) {
	for _, version := range []string{"7.4-17", "8.4.21", "9.2.4"} {
		t.Run(version, func(t *testing.T) {
			c, _ := simulated(t, version)
			ctx := t.Context()
			o := deploy(t, c, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 100, Name: "a", Full: true, Storage: "local"})
			ended := func(id kvm.UPID, err error) error {
				if err == nil && id != "" {
					err = c.Wait(ctx, id, time.Minute)
				}
				return err
			}
			for name, c := range map[string]struct {
				err  error
				want error
			}{
				"template missing": {ended(c.Clone(ctx, kvm.CloneRequest{Node: "pve1", Template: 4711, VMID: 101})), kvm.ErrNotHere},
				"storage missing":  {ended(c.AddDisk(ctx, o, "scsi1", "nosuch", 1)), kvm.ErrPermanent},
				"bad VMID":         {ended(c.Clone(ctx, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 5})), kvm.ErrInvalid},
				"bad name":         {ended(c.Clone(ctx, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 101, Name: "a_b"})), kvm.ErrInvalid},
				"own node":         {ended(c.Migrate(ctx, o, "pve1", "")), kvm.ErrInvalid},
				"no such node":     {ended(c.Migrate(ctx, o, "pve7", "")), kvm.ErrPermanent},
				"bad key":          {c.SetCloudInit(ctx, o, kvm.CloudInit{SSHKeys: "no key"}), kvm.ErrInvalid},
			} {
				if !errors.Is(c.err, c.want) {
					t.Errorf("%s: %v, want %v", name, c.err, c.want)
				}
			}
			if vm := proof(t, c, 100).VM(); len(vm.Disks) != 1 {
				t.Errorf("a refused disk is there: %+v", vm.Disks)
			}
		})
	}
}

func TestCheckOfASimulatedCluster(t *testing.T) {
	for _, version := range []string{"7.4-17", "8.4.21", "9.2.4"} {
		c, _ := simulated(t, version)
		var wrong []string
		for _, f := range c.Check(t.Context(), Needs{Storages: []string{"nfs"}, ISOStorage: "local", Template: 9000, Node: "pve2"}) {
			if !f.OK || f.Warning {
				wrong = append(wrong, f.What)
			}
		}
		if len(wrong) > 0 {
			t.Errorf("%s: with the privileges that RoleCommands gives: %s", version, strings.Join(wrong, "; "))
		}
	}
}
