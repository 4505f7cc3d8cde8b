package cmd

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// What is aimed at, beside which the figures are printed.
const (
	aimRatio      = 1.15 // of the wall to the lower bound
	aimRequests   = 30   // to Proxmox for a VM, besides polls
	aimStatements = 3    // for a row of Deploy
	aimRSS        = 100  // MB, with 10 000 pending
	aimGrowth     = 1.0  // of processor time for a VM and memory for an order, from 1000 to 10 000
)

// defaults are PUQ's throttles, which the settings have by default, and Proxmox's workers.
var defaults = throttles{clones: 2, requests: 8, daemons: 3}

const deployRows = 15

// drained is what it took to make the orders of a farm ready.
type drained struct {
	wall                        time.Duration // from the start of the first tick to the end of the last; each follows at once
	ticks, left                 int
	requests, polls, statements int
	cpu, simulator              time.Duration // of the program; of the benchmark's process, which is Proxmox and WHMCS
	rss                         int64         // KiB
	others                      float64       // of the machine's processors, 0 to 1: neither the program nor the benchmark
}

// drain runs ticks until all is ready, at most most of them (0 = any number); tick runs one.
func (f *farm) drain(most int, tick func() processes) drained {
	f.t.Helper()
	f.db.SetMaxOpenConns(1) // its own statements are then those of one session
	statements := func() int {
		total := f.number("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'QUESTIONS'")
		return total - f.number("SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'QUESTIONS'")
	}
	f.sim.ResetRequests()
	before, simulator, began := statements(), cpuTime(f.t), f.clock.Now()
	machine, start := busy(f.t), time.Now()
	d, idle := drained{left: f.n}, 0
	for d.left > 0 && (most == 0 || d.ticks < most) {
		p := tick()
		d.ticks++
		d.cpu, d.rss = d.cpu+p.cpu, max(d.rss, p.rss)
		left := f.left()
		if idle++; left < d.left {
			idle = 0
		}
		if d.left = left; idle == 3 {
			f.t.Fatalf("%d orders do not move: %s", left, f.db.Text("SELECT CONCAT(vm_status, ': ', COALESCE(message, '')) FROM puqProxmoxKVM_vm_info WHERE vm_status <> 'ready' LIMIT 1"))
		}
	}
	d.wall, d.simulator = f.clock.Now().Sub(began), cpuTime(f.t)-simulator
	d.others = (busy(f.t) - machine - d.cpu - d.simulator).Seconds() / time.Since(start).Seconds() / float64(runtime.NumCPU())
	d.statements = statements() - before
	for row, count := range f.sim.Counts() {
		if strings.HasSuffix(row, "/tasks/{upid}/status") {
			d.polls += count
		} else {
			d.requests += count
		}
	}
	return d
}

// number is the query's one value.
func (f *farm) number(query string) int {
	f.t.Helper()
	n, err := strconv.Atoi(f.db.Text(query))
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// cpuTime is the processor time that this process has used.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// busy is the time that the machine's processors have worked since it was started, in hundredths of a second.
func busy(t testing.TB) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+nice+system+irq+softirq+steal) * 10 * time.Millisecond
}

// program is the program to measure, what measures it, and its environment.
type program struct {
	path, bare string
	env        []string
}

func newProgram(b *testing.B) program {
	b.Helper()
	p := program{bare: build(b, module+"/cmd/testdata/bare")}
	if path := os.Getenv(asProfiled); path != "" {
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		p.path, p.env = self, []string{asProgram + "=1", asProfiled + "=" + path}
		return p
	}
	p.path = build(b, module)
	return p
}

// cron runs one tick as a process, which is asked to stop after limit (0 = none).
func (p program) cron(b *testing.B, f *farm, limit time.Duration) processes {
	b.Helper()
	return measureWithin(b, limit, 1, p.bare, append(p.env, f.env...), p.path, "cron", "--force")
}

// perNode are the orders by the node of their template.
func (f *farm) perNode() []int {
	counts := make([]int, farmNodes)
	for i := range f.n {
		counts[i%f.products()]++
	}
	return counts
}

// checkNeeds fails when the program did with fewer calls than the lower bound counts: then it is none.
func (f *farm) checkNeeds(chain []need) {
	f.t.Helper()
	least := map[string]int{}
	for _, n := range chain {
		if n.once {
			least[n.call]++
			continue
		}
		least[n.call] += f.n
	}
	counts := f.sim.Counts()
	for call, want := range least {
		if counts[call] < want {
			f.t.Errorf("%d orders took %d of %s, and the lower bound counts %d: mend the table of necessary calls", f.n, counts[call], call, want)
		}
	}
}

// deploy is a case of BenchmarkDeploy.
type deploy struct {
	orders      int
	oneWorker   bool
	oneTemplate bool
	speed       float64 // 0 = the program as a process, in real time; else within this process, on a clock that is so much faster
}

func (d deploy) String() string {
	s := fmt.Sprintf("orders=%d", d.orders)
	if d.oneTemplate {
		s += ",templates=1"
	}
	if d.oneWorker {
		s += ",workers=1"
	}
	if d.speed != 0 {
		s += fmt.Sprintf(",clock=%gx", d.speed)
	}
	return s
}

// deploys are the cases: every number of orders, all orders on one node, and one worker. One worker takes minutes for 100
// orders; there the clock runs faster, and the program's own work counts for that much more.
var deploys = []deploy{
	{orders: 1}, {orders: 10}, {orders: 100}, {orders: 1000}, {orders: 20, oneTemplate: true},
	{orders: 1, oneWorker: true}, {orders: 10, oneWorker: true}, {orders: 100, oneWorker: true, speed: 5},
}

// BenchmarkDeploy is orders that become running VMs on eight nodes, in one run: against the lower bound, and against one
// worker. It fails when an order does not end as one running VM with its addresses and its mail.
func BenchmarkDeploy(b *testing.B) {
	p := newProgram(b)
	results, bounds := map[deploy]drained{}, map[deploy][]term{}
	for _, c := range deploys {
		b.Run(c.String(), func(b *testing.B) {
			for b.Loop() {
				var clk clock.Clock = clock.Wall{}
				if c.speed != 0 {
					clk = clock.NewScaled(epoch, c.speed)
				}
				model := pvesim.SmallMachine()
				f := newFarm(b, scene{model: model, clock: clk}, c.orders, c.oneTemplate)
				if c.oneWorker {
					f.ok("settings", "set", "cron.workers", "1")
				}
				d := f.drain(0, func() processes {
					if c.speed != 0 {
						f.tick()
						return processes{}
					}
					return p.cron(b, f, 0)
				})
				chain := necessary(model)
				terms := lowerBound(chain, model.Daemon, f.perNode(), defaults)
				f.settleFarm()
				f.checkNeeds(chain)
				bound := terms[len(terms)-1].bound
				if d.wall < bound {
					b.Errorf("%v is less than the lower bound %v", d.wall, bound)
				}
				results[c], bounds[c] = d, terms
				report(b, map[string]float64{"s": d.wall.Seconds(), "s-bound": bound.Seconds(), "ratio": d.wall.Seconds() / bound.Seconds()})
			}
		})
	}
	printDeploys(os.Stdout, results, bounds)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

func percent(share float64) string { return fmt.Sprintf("%.0f", 100*share) }

func printDeploys(w io.Writer, results map[deploy]drained, bounds map[deploy][]term) {
	table := rows{head: []string{"DEPLOY", "WALL s", "BOUND s", "RATIO", "TICKS", "REQUESTS/VM", "POLLS/VM", "STATEMENTS/ROW", "CPU s", "SIMULATOR'S CPU s", "OTHERS %", "MB", "THE BOUND IS OF"}}
	table.body = append(table.body, []string{"aim", "", "", fmt.Sprintf("<= %.2f", aimRatio), "", fmt.Sprintf("<= %d", aimRequests), "", fmt.Sprintf("<= %d", aimStatements)})
	terms := rows{head: []string{"LOWER BOUND", "s", "OF"}}
	faster := rows{head: []string{"AGAINST ONE WORKER", "1 WORKER s", "16 WORKERS s", "TIMES FASTER"}}
	for _, c := range deploys {
		d, done := results[c]
		if !done {
			continue
		}
		own, n := []string{"-", "-", "-", "-"}, float64(c.orders)
		if c.speed == 0 {
			own = []string{seconds(d.cpu), seconds(d.simulator), percent(d.others), fmt.Sprintf("%.1f", float64(d.rss)/1000)}
		}
		best := bounds[c][len(bounds[c])-1]
		table.body = append(table.body, append([]string{c.String(), seconds(d.wall), seconds(best.bound), fmt.Sprintf("%.2f", d.wall.Seconds()/best.bound.Seconds()), strconv.Itoa(d.ticks),
			fmt.Sprintf("%.1f", float64(d.requests)/n), fmt.Sprintf("%.1f", float64(d.polls)/n), fmt.Sprintf("%.2f", float64(d.statements)/n/deployRows)}, append(own, best.name)...))
		if !c.oneWorker {
			for _, t := range bounds[c] {
				terms.body = append(terms.body, []string{c.String(), seconds(t.bound), t.name})
			}
			continue
		}
		if all, also := results[deploy{orders: c.orders}]; also {
			faster.body = append(faster.body, []string{c.String(), seconds(d.wall), seconds(all.wall), fmt.Sprintf("%.1f", d.wall.Seconds()/all.wall.Seconds())})
		}
	}
	printTables(w, table, terms, faster)
	fmt.Fprintln(w, "\nOTHERS: of the machine's processors, the database's server and whatever else ran. clock=5x: within the benchmark's")
	fmt.Fprintln(w, "process, and what the program and the simulator work themselves counts five times: more, where others work too.")
}
