package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// build builds a program as make build does, and gives its path.
func build(b *testing.B, path string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), filepath.Base(path))
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, path)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	return out
}

// processes are runs of a program as processes of their own.
type processes struct {
	wall []time.Duration
	rss  int64         // the most of any, KiB
	cpu  time.Duration // of all together
}

// measure runs the command n times.
func measure(b *testing.B, n int, bare string, env []string, args ...string) processes {
	b.Helper()
	return measureWithin(b, 0, n, bare, env, args...)
}

// measureWithin is measure with a limit for each run (0 = none), after which it is asked to stop.
func measureWithin(b *testing.B, limit time.Duration, n int, bare string, env []string, args ...string) processes {
	b.Helper()
	var p processes
	for range n {
		c := exec.Command(bare, append([]string{"run", limit.String()}, args...)...)
		c.Env = append([]string{"TZ=UTC", "PATH=" + os.Getenv("PATH")}, env...)
		c.Stderr = os.Stderr
		out, err := c.Output()
		if err != nil {
			b.Fatal(err)
		}
		var micros, rss, cpu int64
		if _, err := fmt.Sscan(string(out), &micros, &rss, &cpu); err != nil {
			b.Fatalf("%q: %v", out, err)
		}
		p.wall, p.rss = append(p.wall, time.Duration(micros)*time.Microsecond), max(p.rss, rss)
		p.cpu += time.Duration(cpu) * time.Microsecond
	}
	slices.Sort(p.wall)
	return p
}

func (p processes) min() float64    { return milliseconds(p.wall[0]) }
func (p processes) median() float64 { return milliseconds(p.wall[len(p.wall)/2]) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// report reports figures by unit, and hides the time of the benchmark itself, which says nothing.
func report(b *testing.B, figures map[string]float64) {
	b.ReportMetric(0, "ns/op")
	for unit, f := range figures {
		b.ReportMetric(f, unit)
	}
}

// BenchmarkStartup is the program's size, and what it takes to start and print its version, beside /bin/true.
func BenchmarkStartup(b *testing.B) {
	puqkvm, bare := build(b, module), build(b, module+"/cmd/testdata/bare")
	info, err := os.Stat(puqkvm)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		nothing := measure(b, 30, bare, nil, "/bin/true")
		version := measure(b, 30, bare, nil, puqkvm, "version")
		report(b, map[string]float64{"MB": float64(info.Size()) / 1e6, "ms-min": version.min(), "ms-median": version.median(), "ms-true-median": nothing.median()})
	}
}

// BenchmarkIdleTick is a tick with nothing to do in an installation of 100 000 services, as a process of its own, beside one that
// only connects and asks one question: one task, as each minute has it, and all that are due each five minutes. The hourly one has
// something to do wherever there are VMs: it has a benchmark of its own.
func BenchmarkIdleTick(b *testing.B) {
	puqkvm, bare := build(b, module), build(b, module+"/cmd/testdata/bare")
	w := newWorld(b, scene{})
	w.crowd()
	w.ok("cron") // the first start of a task makes its row
	env := slices.Clone(w.env)
	seen := w.statements()
	w.sim.ResetRequests()
	for b.Loop() {
		w.ok("cron", "--task=processVirtualMachines")
		one := len(seen())
		w.clock.(*clock.Fake).Advance(5 * time.Minute) // then all tasks are due but the hourly one
		w.ok("cron")
		all := len(seen())
		least := measure(b, 10, bare, nil, bare, "select", w.db.DSN)
		tick := measure(b, 10, bare, env, puqkvm, "cron", "--task=processVirtualMachines")
		var ticks processes
		for range 10 {
			w.db.Exec("UPDATE puq_proxmox_kvm_cron_tasks SET started_at = UTC_TIMESTAMP(6) - INTERVAL IF(name = 'collectingStatistics', 0, 10) MINUTE")
			p := measure(b, 1, bare, env, puqkvm, "cron")
			ticks.wall, ticks.rss = append(ticks.wall, p.wall...), max(ticks.rss, p.rss)
		}
		if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_cron_tasks WHERE started_at >= UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE"); n != "6" {
			b.Errorf("%s tasks have run", n)
		}
		slices.Sort(ticks.wall)
		report(b, map[string]float64{"ms-min": tick.min(), "ms-median": tick.median(), "ms-bare-min": least.min(), "ms-bare-median": least.median(), "statements": float64(one), "MB-rss": float64(tick.rss) / 1000,
			"ms-all-min": ticks.min(), "ms-all-median": ticks.median(), "statements-all": float64(all), "MB-rss-all": float64(ticks.rss) / 1000, "pve-requests": float64(len(w.sim.Requests()))})
	}
}

// crowd adds 100 000 services that are ready.
func (w *world) crowd() {
	w.t.Helper()
	w.order(1)
	w.tick()
	w.settle(1)
	digits := "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	number := "100000 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d"
	from := " x, " + strings.Join([]string{digits + " a", digits + " b", digits + " c", digits + " e", digits + " f"}, ", ")
	for table, id := range map[string]string{"tblhosting": "id", "puqProxmoxKVM_vm_info": "service_id"} {
		columns := w.db.Text("SELECT GROUP_CONCAT(COLUMN_NAME) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND COLUMN_NAME <> ?", table, id)
		w.db.Exec("INSERT INTO " + table + " (" + id + ", " + columns + ") SELECT " + number + ", x." + strings.ReplaceAll(columns, ",", ", x.") + " FROM " + table + from + " WHERE x." + id + " = 1")
	}
	if n := w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status = 'ready'"); n != "100001" {
		w.t.Fatalf("%s services are ready", n)
	}
}
