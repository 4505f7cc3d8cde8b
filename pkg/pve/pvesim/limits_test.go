package pvesim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// slow is TwoNodes, in which a new volume takes that long, with VM 100 on pve1 and 200 on pve2.
func slow(t *testing.T, allocate time.Duration, workers int) (*Cluster, *client, *clock.Fake) {
	t.Helper()
	model := Instant()
	model.Allocate, model.Workers = allocate, workers
	clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, k := instant(t, Options{Model: model, Clock: clk})
	for id, node := range map[int]string{100: "pve1", 101: "pve1", 200: "pve2"} {
		if err := c.AddVM(VM{VMID: id, Node: node, Storage: "local-lvm", DiskGiB: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return c, k, clk
}

// ends is how the newest task of a type ended, after as long as that took.
func ends(t *testing.T, c *Cluster, clk *clock.Fake, typ string) (exit string, took time.Duration) {
	t.Helper()
	var last TaskState
	for range 10_000 {
		for _, task := range c.Tasks() {
			if task.Type == typ {
				last = task
			}
		}
		if last.Exit != "" {
			return last.Exit, last.End.Sub(last.Start)
		}
		clk.Advance(100 * time.Millisecond)
	}
	t.Fatalf("no %s ends", typ)
	return "", 0
}

// TestStorageLock: one new volume at a time on a storage; who waits 10 s for that fails. A local storage has a lock on
// each node, a shared one a single lock, which is tried again each second and held for a minute at most.
func TestStorageLock(t *testing.T) {
	for _, test := range []struct {
		name, storage, other string
		hold                 time.Duration
		first, second        string
		elsewhere            string
	}{
		{"local", "local-lvm", "local-lvm", 40 * time.Second, "OK",
			"can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout", "OK"},
		{"shared", "shared", "shared", 40 * time.Second, "OK",
			"cfs-lock 'storage-shared' error: got lock request timeout", "cfs-lock 'storage-shared' error: got lock request timeout"},
		{"shared too long", "shared", "local-lvm", 61 * time.Second, "cfs-lock 'storage-shared' error: got lock timeout - aborting command",
			"cfs-lock 'storage-shared' error: got lock request timeout", "OK"},
		{"short enough", "shared", "shared", 4 * time.Second, "OK", "OK", "OK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, k, clk := slow(t, test.hold, 0)
			k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/config", "scsi1="+test.storage+":1")
			k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/101/config", "scsi1="+test.storage+":1")
			k.want("200 OK", http.MethodPost, "/nodes/pve2/qemu/200/config", "scsi1="+test.other+":1")
			for !c.Settled() {
				clk.Advance(100 * time.Millisecond)
			}
			for i, want := range []string{test.first, test.second, test.elsewhere} {
				task := c.Tasks()[i]
				if task.Exit != want {
					t.Errorf("task %d ended with %q, want %q", i, task.Exit, want)
				}
				if took := task.End.Sub(task.Start).Round(time.Second); strings.Contains(want, "timeout") && !strings.Contains(want, "aborting") && took != 10*time.Second {
					t.Errorf("task %d waited %v for the lock, want 10 s", i, took)
				}
			}
			if vm, _ := c.VM(101); (vm.Config["scsi1"] != "") != (test.second == "OK") || len(c.Volumes(101)) != len(vm.Disks) {
				t.Errorf("VM 101 has %v and volumes %v", vm.Config, c.Volumes(101))
			}
		})
	}
}

// TestCloneLock: a clone waits one second for the locks of source and target, everything else ten for a VM's.
func TestCloneLock(t *testing.T) {
	c, k, clk := slow(t, 40*time.Second, 0)
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/config", "scsi1=shared:1")
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/clone", "newid=102&full=1")
	locked := "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
	if exit, took := ends(t, c, clk, "qmclone"); exit != locked || took != time.Second {
		t.Errorf("a clone of a locked VM ended with %q after %v", exit, took)
	}
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/status/start", "")
	if exit, took := ends(t, c, clk, "qmstart"); exit != locked || took != 10*time.Second {
		t.Errorf("a start of a locked VM ended with %q after %v", exit, took)
	}
	begun := clk.Now()
	k.want("500 "+locked, http.MethodPut, "/nodes/pve1/qemu/100/config", "cores=2")
	if took := clk.Now().Sub(begun).Round(time.Second); took != 10*time.Second {
		t.Errorf("a change of a locked VM was refused after %v", took)
	}
}

// TestAbandonedWorker: a call that took longer than pveproxy waits keeps its worker until it is done. Who waits for that
// worker longer than 30 s is served too, but told nothing better than 596.
func TestAbandonedWorker(t *testing.T) {
	for _, test := range []struct {
		allocate time.Duration
		second   string
	}{
		{50 * time.Second, "200 OK"},
		{100 * time.Second, "596 Connection timed out"},
	} {
		t.Run(fmt.Sprint(test.allocate), func(t *testing.T) {
			c, k, clk := slow(t, test.allocate, 1)
			begun := clk.Now()
			k.want("596 Connection timed out", http.MethodPut, "/nodes/pve1/qemu/100/config", "scsi1=local-lvm:1")
			if took := clk.Now().Sub(begun).Round(time.Second); took != 30*time.Second {
				t.Errorf("answered after %v", took)
			}
			k.want("200 OK", http.MethodGet, "/nodes/pve1/qemu/100/config", "") // pveproxy's own
			k.want("200 OK", http.MethodGet, "/nodes/pve2/qemu/200/status/current", "")
			if took := clk.Now().Sub(begun).Round(time.Second); took != 30*time.Second {
				t.Errorf("calls that need no worker of the node waited until %v", took)
			}
			k.want(test.second, http.MethodPut, "/nodes/pve1/qemu/101/config", "cores=2")
			if took := clk.Now().Sub(begun).Round(time.Second); took != test.allocate {
				t.Errorf("the second call was answered after %v", took)
			}
			if vm, _ := c.VM(101); vm.Config["cores"] != "2" {
				t.Error("the second call had no effect")
			}
			k.want("200 OK", http.MethodGet, "/nodes/pve1/qemu/100/status/current", "")
			if took := clk.Now().Sub(begun).Round(time.Second); took != test.allocate {
				t.Errorf("a third call waited until %v", took)
			}
		})
	}
}
