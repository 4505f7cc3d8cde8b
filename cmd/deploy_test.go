package cmd

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// masked makes a log comparable with another run's: runs of blanks are one, clock times and durations are masked, also one
// that the seeds leave out ("[ ... ]"), and so are the ports of servers on this machine.
func masked(log string) []string {
	ports := regexp.MustCompile(`\b127\.0\.0\.1:\d+`)
	blanks := regexp.MustCompile(`[ \t]+`)
	times := regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`)
	durations := regexp.MustCompile(`\b\d+\.\d+s`)
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
		line = strings.TrimSpace(blanks.ReplaceAllString(line, " "))
		line = durations.ReplaceAllString(times.ReplaceAllString(line, "TIME"), "N.NNs")
		line = ports.ReplaceAllString(line, "127.0.0.1:PORT")
		line = strings.ReplaceAll(line, "[ ... ]", "[N.NNs]")
		out = append(out, strings.ReplaceAll(line, " [N.NNs]", "[N.NNs]"))
	}
	return out
}

func golden(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../testdata/golden/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDeployTranscript reproduces the log of the seeds: a service that stands at clone is walked to ready, while another
// one's VM is locked by a backup.
func TestDeployTranscript(t *testing.T) {
	model := pvesim.SmallMachine()
	model.Exact = map[string]time.Duration{"qmigrate": 30 * time.Second, "qmconfig": 3 * time.Second, "resize": time.Second, "qmstart": 8 * time.Second}
	w := newWorld(t, scene{model: model, clock: clock.NewFake(epoch.Add(-time.Hour))})
	w.ok("product", "set", "1", "clone_type=full", "system_storage=local-lvm", "node=pve2", "first_vmid=2002", "additional_size=10",
		"system_mbps_rd=100", "additional_mbps_wr=50", "bandwidth=12")
	w.order(5546, 5547)
	w.stopAtClone(t, 5546, 5547)
	if err := w.sim.SetLock(w.vmid(5547), "backup"); err != nil {
		t.Fatal(err)
	}
	w.db.Exec("UPDATE puq_proxmox_kvm_cron_tasks SET started_at = '2026-04-10 01:34:00', finished_at = '2026-04-10 01:34:00'")
	fake := w.clock.(*clock.Fake)
	fake.Advance(epoch.Sub(fake.Now()))
	began := fake.Now()

	log := w.ok("cron")
	got, want := masked(log), masked(golden(t, "deploy.log"))
	for i := range max(len(got), len(want)) {
		g, x := "(no line)", "(no line)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			x = want[i]
		}
		if g != x {
			t.Errorf("line %d\n got %s\nwant %s", i+1, g, x)
		}
	}
	w.checkDurations(t, log, fake.Now().Sub(began), map[string]time.Duration{
		"Migrate to target node": 30 * time.Second, "Create additional disk": 3 * time.Second, "Start VM": 8 * time.Second})
	if st := w.status(5547); st != kvm.Cloned {
		t.Errorf("the locked VM's service moved to %s", st)
	}
	if m := w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = 5547"); !strings.Contains(m, "locked by Proxmox (backup)") {
		t.Errorf("the locked VM's message is %q", m)
	}
}

// checkDurations holds the printed durations against the clock: the rows' sum is the block, no row is shorter than what
// the simulator's model gives it, nor a poll longer.
func (w *world) checkDurations(t *testing.T, log string, took time.Duration, least map[string]time.Duration) {
	t.Helper()
	row := regexp.MustCompile(`^\[\+\] +\d+\. (.*?) +success .*\[(\d+\.\d+)s\]$`)
	var sum time.Duration
	for _, line := range strings.Split(log, "\n") {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		d, err := time.ParseDuration(m[2] + "s")
		if err != nil {
			t.Fatal(err)
		}
		sum += d
		if min, ok := least[m[1]]; ok && (d < min || d > min+min/4+3*time.Second) {
			t.Errorf("%s took %v, and its task takes %v", m[1], d, min)
		}
	}
	total := regexp.MustCompile(`Cron End \((\d+\.\d)s total\)`).FindStringSubmatch(log)
	if total == nil {
		t.Fatal("no end of the log")
	}
	end, err := time.ParseDuration(total[1] + "s")
	if err != nil {
		t.Fatal(err)
	}
	if d := took - end; d < -100*time.Millisecond || d > 100*time.Millisecond {
		t.Errorf("the log says %v, the clock %v", end, took)
	}
	if sum > end+time.Second || sum < end/2 {
		t.Errorf("the rows took %v of %v", sum, end)
	}
}

// stopAtClone walks services until they stand at clone, and no further: the question before the migration is refused.
func (w *world) stopAtClone(t *testing.T, ids ...int64) {
	t.Helper()
	status := kvm.Cloned
	refusal := w.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/nodes/{node}/qemu/{vmid}/migrate", Status: 500, Reason: "not now"})
	w.tick()
	refusal.Remove()
	for _, id := range ids {
		if st := w.status(id); st != status {
			t.Fatalf("service %d is at %s, want %s: %s", id, st, status, w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id))
		}
	}
}

// TestTwentyBlocks deploys 20 services at once: each block is whole and none stands twice.
func TestTwentyBlocks(t *testing.T) {
	model := pvesim.SmallMachine()
	w := newWorld(t, scene{model: model, clock: clock.NewScaled(epoch, 100)})
	var ids []int64
	for id := int64(6001); id <= 6020; id++ {
		ids = append(ids, id)
	}
	w.order(ids...)
	log := w.tick()
	head := regexp.MustCompile(`^--- Deploy: service=(\d+) vm=\d+ status=creation ---$`)
	seen := map[string]bool{}
	lines := strings.Split(log, "\n")
	for i := 0; i < len(lines); i++ {
		m := head.FindStringSubmatch(lines[i])
		if m == nil {
			if strings.HasPrefix(lines[i], "[+]") || strings.HasPrefix(lines[i], "---") {
				t.Fatalf("line %d stands outside any block: %s", i+1, lines[i])
			}
			continue
		}
		if seen[m[1]] {
			t.Fatalf("service %s has two blocks", m[1])
		}
		seen[m[1]] = true
		for n := 1; n <= 15; n++ {
			i++
			if !strings.HasPrefix(lines[i], fmt.Sprintf("[+] %2d. ", n)) {
				t.Fatalf("block of service %s, row %d: %s", m[1], n, lines[i])
			}
		}
		i++
		if lines[i] != fmt.Sprintf("--- Deploy complete: service=%s status=ready ---", m[1]) {
			t.Fatalf("block of service %s ends with %s", m[1], lines[i])
		}
	}
	if len(seen) != len(ids) {
		t.Fatalf("%d blocks for %d services:\n%s", len(seen), len(ids), log)
	}
	w.settle(ids...)
}
