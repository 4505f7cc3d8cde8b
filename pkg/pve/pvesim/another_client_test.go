package pvesim_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"github.com/Telmate/proxmox-api-go/proxmox"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestAnotherClient: the typed API of proxmox-api-go, which knows nothing of this simulator, creates a VM over TLS, reads
// it, configures it, starts it, sees it run, stops and deletes it, each time with the simulator's own word on it.
func TestAnotherClient(t *testing.T) {
	for _, version := range []string{"8.4.21", "9.0.11", "9.2.11"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			model := pvesim.Instant()
			model.Boot, model.Stop = 50*time.Millisecond, 50*time.Millisecond // so that it must wait for a task
			sim, err := pvesim.TwoNodes(pvesim.Options{Version: version, Model: model, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			server, err := sim.ServeTLS("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = server.Close() })
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			t.Cleanup(transport.CloseIdleConnections)
			c, err := proxmox.NewClient(server.URL+"/api2/json", &http.Client{Transport: transport}, "", nil, "", 10, false)
			if err != nil {
				t.Fatal(err)
			}
			var id proxmox.ApiTokenID
			if err := id.Parse("root@pam!whmcs"); err != nil {
				t.Fatal(err)
			}
			c.SetAPIToken(id, pvesim.TwoNodesSecret)
			driveIt(t, sim, c)
		})
	}
}

func driveIt(t *testing.T, sim *pvesim.Cluster, c *proxmox.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const vmid = 777
	guests := c.New()
	address := proxmox.IPv4CIDR("192.0.2.10/24")
	gateway := proxmox.IPv4Address("192.0.2.1")
	vm, err := guests.QemuGuest.Create(ctx, proxmox.ConfigQemu{
		ID: ptr(proxmox.GuestID(vmid)), Node: ptr(proxmox.NodeName("pve2")), Name: ptr(proxmox.GuestName("another")),
		CPU:      &proxmox.QemuCPU{Cores: ptr(proxmox.QemuCpuCores(2))},
		Memory:   &proxmox.QemuMemory{CapacityMiB: ptr(proxmox.QemuMemoryCapacity(2048))},
		Networks: proxmox.QemuNetworkInterfaces{0: {Bridge: ptr("vmbr0"), Model: ptr(proxmox.QemuNetworkModelVirtIO), Firewall: ptr(true)}},
		Disks: &proxmox.QemuStorages{
			Scsi: &proxmox.QemuScsiDisks{Disk_0: &proxmox.QemuScsiStorage{Disk: &proxmox.QemuScsiDisk{Storage: "local-lvm", SizeInKibibytes: 4 << 20, Format: proxmox.QemuDiskFormat_Raw, Backup: true}}},
			Ide:  &proxmox.QemuIdeDisks{Disk_2: &proxmox.QemuIdeStorage{CloudInit: &proxmox.QemuCloudInitDisk{Storage: "local-lvm", Format: proxmox.QemuDiskFormat_Raw}}},
		},
		CloudInit: &proxmox.CloudInit{Username: ptr("admin"), UserPassword: ptr("a-password-of-this-test"),
			NetworkInterfaces: proxmox.CloudInitNetworkInterfaces{0: {IPv4: &proxmox.CloudInitIPv4Config{Address: &address, Gateway: &gateway}}}},
	})
	if err != nil {
		t.Fatal("create:", err)
	}
	state, found := sim.VM(vmid)
	if !found || state.Node != "pve2" || state.Config["cores"] != "2" || state.Config["memory"] != "2048" || state.Disks["scsi0"].Size != 4<<30 ||
		state.Config["ipconfig0"] != "gw=192.0.2.1,ip=192.0.2.10/24" && state.Config["ipconfig0"] != "ip=192.0.2.10/24,gw=192.0.2.1" {
		t.Fatalf("created: %t, %+v", found, state)
	}

	if err := guests.QemuGuest.Update(ctx, *vm, false, false, proxmox.ConfigQemu{
		CPU:    &proxmox.QemuCPU{Cores: ptr(proxmox.QemuCpuCores(4))},
		Memory: &proxmox.QemuMemory{CapacityMiB: ptr(proxmox.QemuMemoryCapacity(4096))},
		Disks: &proxmox.QemuStorages{Scsi: &proxmox.QemuScsiDisks{
			Disk_0: &proxmox.QemuScsiStorage{Disk: &proxmox.QemuScsiDisk{Storage: "local-lvm", SizeInKibibytes: 8 << 20, Format: proxmox.QemuDiskFormat_Raw, Backup: true}},
			Disk_1: &proxmox.QemuScsiStorage{Disk: &proxmox.QemuScsiDisk{Storage: "shared", SizeInKibibytes: 1 << 20, Format: proxmox.QemuDiskFormat_Qcow2, Backup: true}}}},
	}); err != nil {
		t.Fatal("configure:", err)
	}
	state, _ = sim.VM(vmid)
	if state.Config["cores"] != "4" || state.Config["memory"] != "4096" || state.Disks["scsi0"].Size != 8<<30 || state.Disks["scsi1"].Size != 1<<30 {
		t.Errorf("configured: %+v", state)
	}

	if err := guests.Guest.Start(ctx, *vm); err != nil {
		t.Fatal("start:", err)
	}
	if state, _ = sim.VM(vmid); state.Power != kvm.Running {
		t.Errorf("started: it is %s", state.Power)
	}
	status, err := vm.GetRawGuestStatus(ctx, c)
	if err != nil || status.GetState() != proxmox.PowerStateRunning {
		t.Errorf("its status: %v, %v", status, err)
	}
	raw, err := proxmox.NewRawConfigQemuFromApi(ctx, vm, c)
	if err != nil {
		t.Fatal("read:", err)
	}
	config, err := raw.Get(*vm)
	if err != nil || *config.CPU.Cores != 4 || *config.Memory.CapacityMiB != 4096 || *config.Name != "another" || config.Disks.Scsi.Disk_1.Disk.Storage != "shared" {
		t.Errorf("read: %+v, %v", config, err)
	}

	if err := guests.Guest.Stop(ctx, *vm, false); err != nil {
		t.Fatal("stop:", err)
	}
	if state, _ = sim.VM(vmid); state.Power != kvm.Stopped {
		t.Errorf("stopped: it is %s", state.Power)
	}
	if err := vm.Delete(ctx, c); err != nil {
		t.Fatal("delete:", err)
	}
	if _, found := sim.VM(vmid); found || len(sim.Volumes(vmid)) != 0 {
		t.Errorf("deleted: it exists %t, with %v", found, sim.Volumes(vmid))
	}
	for _, task := range sim.Tasks() {
		if task.Exit != "OK" {
			t.Errorf("the task %s ended as %q", task.Type, task.Exit)
		}
	}
	if _, err := c.GetVmRefById(ctx, vmid); err == nil {
		t.Error("it is still listed")
	}
}

func ptr[T any](v T) *T { return &v }
