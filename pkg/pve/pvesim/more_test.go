package pvesim

import (
	"maps"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// stage is a cluster of TwoNodes with VM 100 on pve1 at local-lvm, running.
func stage(t *testing.T, version string, model *Model) *scene {
	t.Helper()
	s := &scene{t: t, who: "root@pam!whmcs=" + TwoNodesSecret, version: version, clk: clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))}
	c, err := TwoNodes(Options{Version: version, Clock: s.clk, Model: model, Seed: 1})
	s.must(err)
	s.c = c
	s.must(c.AddVM(VM{VMID: 100, Node: "pve1", Name: "web", Storage: "local-lvm", DiskGiB: 1, CloudInit: true, Memory: 256, Running: true}))
	s.server = httptest.NewServer(c.Handler())
	t.Cleanup(s.server.Close)
	return s
}

func TestSnapshotsAndBackupsInspected(t *testing.T) {
	s := stage(t, "8.4.21", Instant())
	s.must(s.c.WriteDisk(100, "scsi0", "one"))
	s.play(`POST /nodes/pve1/qemu/100/snapshot snapname=s1&description=first`)
	s.play(`POST /nodes/pve1/vzdump vmid=100&storage=local&compress=zstd`)
	s.must(s.c.WriteDisk(100, "scsi0", "two"))
	s.play(`POST /nodes/pve1/vzdump vmid=100&storage=local&compress=zstd`)
	m, _ := s.c.VM(100)
	if snap := m.Snapshots["s1"]; snap.Description != "first" || snap.State != "" || snap.Memory || snap.Config["name"] != "web" || !snap.Taken.Equal(s.clk.Now()) {
		t.Errorf("snapshot %+v", snap)
	}
	backups := s.c.Backups(100)
	if len(backups) != 2 || backups[0].ID == backups[1].ID || backups[0].Config["name"] != "web" {
		t.Fatalf("backups %+v", backups)
	}
	s.must(s.c.SetPower(100, kvm.Stopped))
	for i, want := range []string{"one", "two"} {
		s.play(`POST /nodes/pve1/qemu vmid=100&force=1&archive=` + backups[i].ID)
		if m, _ := s.c.VM(100); m.Disks["scsi0"].Contents != want || m.Lock != "" || len(m.Snapshots) != 0 {
			t.Errorf("after the restore of %s: %+v", backups[i].ID, m)
		}
	}
	s.c.RemoveVM(100)
	if got := s.c.Backups(100); len(got) != 2 {
		t.Errorf("the backups went with the VM: %v", got)
	}
	if err := s.c.WriteDisk(100, "scsi0", "x"); err == nil {
		t.Error("a disk of no VM was written")
	}
}

// TestAddedBackgrounds makes a snapshot and a backup without a call, and uses them by calls.
func TestAddedBackgrounds(t *testing.T) {
	s := stage(t, "8.4.21", Instant())
	s.must(s.c.SetPower(100, kvm.Stopped))
	s.must(s.c.WriteDisk(100, "scsi0", "one"))
	s.must(s.c.AddSnapshot(100, "auto", "nightly"))
	id, err := s.c.AddBackup("local", 100, time.Date(2026, 11, 1, 3, 0, 5, 0, time.UTC))
	s.must(err)
	if id != "local:backup/vzdump-qemu-100-2026_11_01-03_00_05.vma.zst" {
		t.Error(id)
	}
	s.must(s.c.WriteDisk(100, "scsi0", "two"))
	s.play(`POST /nodes/pve1/qemu/100/snapshot/auto/rollback`)
	if m, _ := s.c.VM(100); m.Disks["scsi0"].Contents != "one" {
		t.Errorf("after the rollback: %+v", m.Disks)
	}
	s.play(`POST /nodes/pve1/qemu vmid=101&unique=1&archive=` + id)
	before, _ := s.c.VM(100)
	after, found := s.c.VM(101)
	if !found || after.Disks["scsi0"].Contents != "one" || after.Config["net0"] == before.Config["net0"] || after.Config["smbios1"] == before.Config["smbios1"] {
		t.Errorf("restored as unique: %+v", after)
	}
	if _, err := s.c.AddBackup("local-lvm", 100, time.Now()); err == nil {
		t.Error("a storage that holds no backups took one")
	}
	if err := s.c.AddSnapshot(4711, "x", ""); err == nil {
		t.Error("no VM got a snapshot")
	}
}

func TestGuestAnswers(t *testing.T) {
	s := stage(t, "9.2.11", Instant())
	s.must(s.c.SetConfig(100, map[string]string{"agent": "1"}))
	s.must(s.c.SetGuest(100, &Guest{Users: []string{"admin"},
		Interfaces: []Interface{{Name: "ens18", MAC: "BC:24:11:00:00:01", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}}}}))
	s.play(`GET /nodes/pve1/qemu/100/agent/network-get-interfaces`)
	cards, _ := s.last.data.(map[string]any)["result"].([]any)
	if len(cards) != 1 || cards[0].(map[string]any)["name"] != "ens18" || cards[0].(map[string]any)["hardware-address"] != "bc:24:11:00:00:01" {
		t.Errorf("cards %v", s.last.data)
	}
	s.play(`POST /nodes/pve1/qemu/100/agent/set-user-password username=admin&password=hunter22`)
	s.play(`POST /nodes/pve1/qemu/100/agent/set-user-password username=root&password=hunter22`)
	if s.last.status != 500 {
		t.Errorf("a user who does not exist got a password: %d", s.last.status)
	}
	if m, _ := s.c.VM(100); !maps.Equal(m.Passwords, map[string]string{"admin": "hunter22"}) {
		t.Errorf("passwords %v", m.Passwords)
	}
}

// TestTraffic sees what a VM carries in its status, the cluster's list and its charts, and that it starts anew with the VM.
func TestTraffic(t *testing.T) {
	for version, points := range map[string]int{"8.4.21": 70, "9.2.11": 59} {
		s := stage(t, version, Instant())
		s.must(s.c.SetTraffic(100, 1000, 50))
		s.clk.Advance(10 * time.Minute)
		s.play(`GET /nodes/pve1/qemu/100/status/current`)
		status := s.last.data.(map[string]any)
		if status["netin"] != 600000.0 || status["netout"] != 30000.0 {
			t.Errorf("%s: carried %v and %v", version, status["netin"], status["netout"])
		}
		s.play(`GET /nodes/pve1/qemu/100/rrddata timeframe=hour`)
		rows := s.last.data.([]any)
		filled := slices.IndexFunc(rows, func(row any) bool { return row.(map[string]any)["netin"] == 1000.0 })
		last := rows[len(rows)-1].(map[string]any)
		if len(rows) != points || filled < 0 || rows[filled].(map[string]any)["time"] != 1795276800.0 || last["netout"] != 50.0 || last["maxcpu"] != 1.0 {
			t.Errorf("%s: %d points, first filled %d, last %v", version, len(rows), filled, last)
		}
		// Another rate counts from then on.
		s.must(s.c.SetTraffic(100, 10, 0))
		s.clk.Advance(time.Minute)
		s.play(`GET /nodes/pve1/qemu/100/status/current`)
		if status = s.last.data.(map[string]any); status["netin"] != 600600.0 || status["netout"] != 30000.0 {
			t.Errorf("%s: carried %v and %v", version, status["netin"], status["netout"])
		}
		s.must(s.c.SetPower(100, kvm.Stopped))
		s.must(s.c.SetPower(100, kvm.Running))
		s.play(`GET /cluster/resources type=vm`)
		for _, row := range s.last.data.([]any) {
			if r := row.(map[string]any); r["vmid"] == 100.0 && r["netin"] != 0.0 {
				t.Errorf("%s: after a start %v", version, r["netin"])
			}
		}
	}
}

// TestTimes are those of a small machine, as the recordings have them.
func TestTimes(t *testing.T) {
	model := SmallMachine()
	model.Read, model.Daemon, model.Start = 0, 0, 0 // the clock stands still while the test calls
	s := stage(t, "8.4.21", model)
	took := func(call string, least, most time.Duration) {
		t.Helper()
		s.play(call)
		if !strings.HasPrefix(s.upid, "UPID:") || s.last.body["exit"] != "OK" {
			t.Fatalf("%s: %v", call, s.last.body)
		}
		for _, task := range s.c.Tasks() {
			if d := task.End.Sub(task.Start); task.UPID == s.upid && (d < least || d > most) {
				t.Errorf("%s took %v", call, d)
			}
		}
	}
	took(`POST /nodes/pve1/qemu/100/snapshot snapname=s1`, 200*time.Millisecond, time.Second)
	took(`POST /nodes/pve1/qemu/100/snapshot snapname=s2&vmstate=1`, 600*time.Millisecond, 2*time.Second)
	took(`POST /nodes/pve1/vzdump vmid=100&storage=local`, 3*time.Second, 12*time.Second)
}
