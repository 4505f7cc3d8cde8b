package cmd

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// life is what is measured of the VMs that stand.
type life struct {
	name    string
	asked   kvm.Status
	done    kvm.Status
	rows    int
	prepare func(f *farm)
	chain   func(m *pvesim.Model) []need
	check   func(f *farm)
}

// lives are a package change that changes RAM alone, and the end.
func lives() []life {
	return []life{
		{name: "change", asked: kvm.ChangePackage, done: kvm.Ready, rows: 12, chain: neededForRAM, prepare: moreRAM, check: checkRAM},
		{name: "terminate", asked: kvm.Terminate, done: kvm.Remove, rows: 5, chain: neededToTerminate, prepare: func(*farm) {}, check: checkGone},
	}
}

const moreMemory = 8 // GiB

func moreRAM(f *farm) {
	for i := range f.products() {
		f.ok("product", "set", strconv.Itoa(i+1), fmt.Sprintf("ram=%d", moreMemory))
	}
}

func checkRAM(f *farm) {
	f.t.Helper()
	good := 0
	for _, vm := range f.sim.VMs() {
		if vm.Config["memory"] == strconv.Itoa(moreMemory<<10) && vm.Power == kvm.Running && !vm.Template {
			good++
		}
	}
	if good != f.n {
		f.t.Errorf("%d of %d VMs run with %d GiB", good, f.n, moreMemory)
	}
}

func checkGone(f *farm) {
	f.t.Helper()
	if n := len(f.sim.VMs()); n != farmNodes {
		f.t.Errorf("%d VMs are left beside the templates", n-farmNodes)
	}
	for what, check := range map[string]struct{ query, want string }{
		"addresses":  {"SELECT COUNT(*) FROM puq_proxmox_kvm_addresses", "0"},
		"tombstones": {"SELECT COUNT(*) FROM puq_proxmox_kvm_vmids WHERE state = 'tombstone'", strconv.Itoa(f.n)},
		"log":        {"SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE '%terminated successfully%'", strconv.Itoa(f.n)},
		"claims":     {"SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE claim_owner IS NOT NULL", "0"},
	} {
		if got := f.db.Text(check.query); got != check.want {
			f.t.Errorf("%s: %s, want %s", what, got, check.want)
		}
	}
}

// neededForRAM are the calls that a change of RAM alone needs: the firewall is re-applied, so it is looked at, the VM is
// stopped, changed, started, and seen running.
func neededForRAM(m *pvesim.Model) []need {
	read := func(call string) need { return need{call: "GET " + vmPath + call, service: m.Read} }
	return []need{
		read("/config"),
		read("/firewall/options"), read("/firewall/rules"), read("/firewall/ipset"), read("/firewall/ipset/{name}"),
		{call: "POST " + vmPath + "/status/shutdown", service: m.Start, served: own, task: m.Fork + m.Shutdown},
		{call: "PUT " + vmPath + "/config", service: m.Write, served: own},
		read("/config"),
		{call: "POST " + vmPath + "/status/start", service: m.Start, served: own, task: m.Fork + m.Boot},
		{call: "GET " + vmPath + "/status/current", service: m.Daemon, served: own},
	}
}

// neededToTerminate are the calls that an end needs: whose VM it is is read twice, at first and right before it is destroyed.
func neededToTerminate(m *pvesim.Model) []need {
	read := need{call: "GET " + vmPath + "/config", service: m.Read}
	return []need{
		read,
		{call: "POST " + vmPath + "/status/shutdown", service: m.Start, served: own, task: m.Fork + m.Shutdown},
		read,
		{call: "DELETE " + vmPath, service: m.Start, served: own, task: m.Fork + m.Destroy},
	}
}

// standing is a farm whose orders are ready, on a Proxmox that took no time for it and takes model's from now on.
func standing(b testing.TB, n int, tick func(*farm) processes) (*farm, *pvesim.Model) {
	b.Helper()
	model := pvesim.Instant()
	f := newFarm(b, scene{model: model, clock: clock.Wall{}}, n, false)
	f.drain(0, func() processes { return tick(f) })
	*model = *pvesim.SmallMachine()
	return f, model
}

// live asks for l of all services of f, and lets ticks do it.
func (f *farm) live(l life, model *pvesim.Model, tick func() processes) (drained, []term) {
	f.t.Helper()
	l.prepare(f)
	f.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = ?, status_since = UTC_TIMESTAMP(6)", string(l.asked))
	f.done = l.done
	d := f.drain(0, tick)
	chain := l.chain(model)
	f.checkNeeds(chain)
	l.check(f)
	return d, lowerBound(chain, model.Daemon, f.perNode(), defaults)
}

// BenchmarkLife is what happens to VMs that stand, all at once, on eight nodes: against the lower bound.
func BenchmarkLife(b *testing.B) {
	p := newProgram(b)
	type figure struct {
		drained
		term
		life
		n int
	}
	var figures []figure
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			for b.Loop() {
				tick := func(f *farm) processes { return p.cron(b, f, 0) }
				f, model := standing(b, n, tick)
				for _, l := range lives() {
					d, terms := f.live(l, model, func() processes { return tick(f) })
					best := terms[len(terms)-1]
					if d.wall < best.bound {
						b.Errorf("%v is less than the lower bound %v", d.wall, best.bound)
					}
					figures = append(figures, figure{d, best, l, n})
					report(b, map[string]float64{l.name + "-s": d.wall.Seconds(), l.name + "-ratio": d.wall.Seconds() / best.bound.Seconds()})
				}
			}
		})
	}
	table := rows{head: []string{"WHAT", "SERVICES", "WALL s", "BOUND s", "RATIO", "TICKS", "REQUESTS/VM", "POLLS/VM", "STATEMENTS/ROW", "CPU s", "OTHERS %", "MB", "THE BOUND IS OF"}}
	for _, f := range figures {
		n := float64(f.n)
		table.body = append(table.body, []string{f.life.name, strconv.Itoa(f.n), seconds(f.wall), seconds(f.bound), fmt.Sprintf("%.2f", f.wall.Seconds()/f.bound.Seconds()), strconv.Itoa(f.ticks),
			fmt.Sprintf("%.1f", float64(f.requests)/n), fmt.Sprintf("%.1f", float64(f.polls)/n), fmt.Sprintf("%.2f", float64(f.statements)/n/float64(f.rows)),
			seconds(f.cpu), percent(f.others), fmt.Sprintf("%.1f", float64(f.rss)/1000), f.term.name})
	}
	printTables(os.Stdout, table)
}

func printTables(w io.Writer, tables ...rows) {
	for _, t := range tables {
		if len(t.body) > 0 {
			fmt.Fprintln(w)
			t.print(w)
		}
	}
}

// What BenchmarkLife measures is what it says, also when the benchmarks are not run.
func TestLives(t *testing.T) {
	f, model := standing(t, farmNodes+1, func(f *farm) processes { f.tick(); return processes{} })
	*model = *pvesim.Instant()
	for _, l := range lives() {
		d, _ := f.live(l, model, func() processes { f.tick(); return processes{} })
		if d.left != 0 || d.requests < f.n*len(l.chain(model)) {
			t.Errorf("%s: %+v", l.name, d)
		}
	}
}
