package cmd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// What is aimed at when the traffic of all VMs of a cluster is counted.
const (
	aimCountRequests   = 1   // to Proxmox
	aimCountStatements = 100 // with 10 000 VMs
)

// metered adds n services whose VMs run on the world's nodes and carry something, without their having been deployed.
func (w *world) metered(n int) {
	w.t.Helper()
	for from := 0; from < n; from += 1000 {
		var rows []string
		for i := from; i < min(n, from+1000); i++ {
			vmid, name := farmFirstVMID+i, fmt.Sprintf("vps-42-%d", farmFirstSID+i)
			nodes := w.sim.Nodes()
			if err := w.sim.AddVM(pvesim.VM{VMID: vmid, Node: nodes[i%len(nodes)].Name, Name: name, Running: true}); err != nil {
				w.t.Fatal(err)
			}
			if err := w.sim.SetTraffic(vmid, 1e6, 1e5); err != nil {
				w.t.Fatal(err)
			}
			rows = append(rows, fmt.Sprintf("(%d, %d, '%s', 'ready', 1, 'uuid-%d', UTC_TIMESTAMP(6))", farmFirstSID+i, vmid, name, i))
		}
		w.db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_id, vm_name, vm_status, server_id, vm_uuid, queued_at) VALUES " + strings.Join(rows, ", "))
	}
}

// hourPassed makes the last count an hour older.
func (w *world) hourPassed() {
	w.t.Helper()
	w.db.Exec("UPDATE puq_proxmox_kvm_counters SET sampled_at = sampled_at - INTERVAL 1 HOUR")
}

// questions is how many statements the database's server has had, but for the test's own.
func (w *world) questions() int {
	w.t.Helper()
	w.db.SetMaxOpenConns(1)
	n := 0
	for i, scope := range []string{"GLOBAL", "SESSION"} {
		q, err := strconv.Atoi(w.db.Text("SELECT VARIABLE_VALUE FROM information_schema." + scope + "_STATUS WHERE VARIABLE_NAME = 'QUESTIONS'"))
		if err != nil {
			w.t.Fatal(err)
		}
		n += q * (1 - 2*i)
	}
	return n
}

// BenchmarkStatistics counts the traffic of all VMs of a cluster: when they are seen for the first time, an hour later, and
// again at once, when there is nothing to count.
func BenchmarkStatistics(b *testing.B) {
	p := newProgram(b)
	table := rows{head: []string{"COUNTED", "VMS", "WALL s", "CPU s", "PVE REQUESTS", "STATEMENTS", "HOURLY ROWS", "MB"},
		body: [][]string{{"aim", "", "", "", fmt.Sprintf("<= %d", aimCountRequests), fmt.Sprintf("<= %d", aimCountStatements), "", fmt.Sprintf("<= %d", aimRSS)}}}
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("VMs=%d", n), func(b *testing.B) {
			for b.Loop() {
				w := newWorld(b, scene{clock: clock.Wall{}, nodes: farmNodes, bare: true})
				w.ok("server", "set", "1", "--fingerprint", w.pve.Fingerprint)
				w.metered(n)
				for _, when := range []string{"first", "an hour later", "again"} {
					if when == "an hour later" {
						w.hourPassed()
					}
					w.sim.ResetRequests()
					before, hours := w.questions(), w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_statistics")
					start := time.Now()
					tick := measureWithin(b, 0, 1, p.bare, append(p.env, w.env...), p.path, "cron", "--task=collectingStatistics")
					wall, statements := time.Since(start), w.questions()-before
					now := w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_statistics")
					table.body = append(table.body, []string{when, strconv.Itoa(n), seconds(wall), seconds(tick.cpu), strconv.Itoa(len(w.sim.Requests())), strconv.Itoa(statements), hours + " to " + now, fmt.Sprintf("%.1f", float64(tick.rss)/1000)})
					report(b, map[string]float64{strings.ReplaceAll(when, " ", "-") + "-s": wall.Seconds(), "statements": float64(statements), "pve-requests": float64(len(w.sim.Requests())), "MB": float64(tick.rss) / 1000})
				}
				if got := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_counters"); got != strconv.Itoa(n) {
					b.Errorf("%s of %d VMs were counted", got, n)
				}
			}
		})
	}
	printTables(os.Stdout, table)
}

// What BenchmarkStatistics measures is what it says, also when the benchmarks are not run; and the statements do not grow
// with the VMs.
func TestStatisticsOfManyVMs(t *testing.T) {
	w := newWorld(t, scene{})
	seen := w.statements()
	w.ok("cron", "--task=collectingStatistics")
	none := len(seen())
	w.metered(300)
	w.ok("cron", "--task=collectingStatistics")
	seen()
	w.clock.(*clock.Fake).Advance(time.Hour)
	w.sim.ResetRequests()
	if out := w.ok("cron", "--task=collectingStatistics"); !strings.Contains(out, "processed: 300, errors: 0") {
		t.Error(out)
	}
	if n := len(seen()); n > none+12 {
		t.Errorf("%d statements, %d without any VM", n, none)
	}
	if n := len(w.sim.Requests()); n != aimCountRequests {
		t.Errorf("%d requests to Proxmox", n)
	}
	if got := w.db.Text("SELECT CONCAT_WS(' ', COUNT(DISTINCT service_id), SUM(in_bytes), SUM(out_bytes)) FROM puqProxmoxKVM_statistics"); got != "300 1080000000000 108000000000" {
		t.Error(got)
	}
}
