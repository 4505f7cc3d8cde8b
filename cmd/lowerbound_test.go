package cmd

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// daemon is whose pvedaemon serves a call.
type daemon int

const (
	proxy daemon = iota // pveproxy answers by itself
	own                 // the VM's node
	entry               // the node that the client talks to, here the first
)

// need is a call that an order cannot do without, and what the VM then waits for.
type need struct {
	row     int // of Deploy
	call    string
	service time.Duration // from the request to its answer
	served  daemon
	task    time.Duration // what its task takes; one status call sees it end, and is under way when it does
	storage time.Duration // for how long it holds the storage's lock
	clone   bool          // it holds one of the node's clone slots until its task ends
	once    bool          // made once for all VMs
}

// took is how long the VM waits for n: the status call overlaps with the task.
func (n need) took(status time.Duration) time.Duration {
	if n.task == 0 {
		return n.service
	}
	return n.service + max(n.task, status)
}

// requests is for how long n holds request slots.
func (n need) requests(status time.Duration) time.Duration {
	if n.task == 0 {
		return n.service
	}
	return n.service + status
}

// necessary are the calls that an order of the farm needs, in their order: the writes of each row, each with the one read
// after it that shows the row's effect and is where the next row starts from. It is written down from the rows and from
// what Proxmox does, not from what the program sends; BenchmarkDeploy fails where the program does with less.
func necessary(m *pvesim.Model) []need {
	config := func(row int) need { return need{row: row, call: "GET " + vmPath + "/config", service: m.Read} }
	put := func(row int) need {
		return need{row: row, call: "PUT " + vmPath + "/config", service: m.Write, served: own}
	}
	firewall := func(call string) need {
		return need{row: 12, call: call, service: m.Write, served: entry}
	}
	resize := func(row int) need {
		return need{row: row, call: "PUT " + vmPath + "/resize", service: m.Start, served: own, task: m.Fork + m.Resize}
	}
	return []need{
		{row: 3, call: "GET /cluster/resources", service: m.Read, once: true}, // where the template is
		{row: 3, call: "GET /cluster/nextid", service: m.Read},                // whether the VMID is free
		{row: 3, call: "POST " + vmPath + "/clone", service: m.Start, served: own, task: m.Fork + m.LinkedClone, storage: min(m.Allocate, m.LinkedClone), clone: true},
		config(3),
		put(5), config(5),
		resize(6), config(6),
		put(7), config(7),
		{row: 8, call: "POST " + vmPath + "/config", service: m.Start, served: own, task: m.Fork + m.Allocate, storage: m.Allocate},
		config(8),
		resize(9), config(9),
		put(10), config(10),
		put(11), config(11),
		// What the template's firewall, or one left under the VMID, would leave to the VM.
		{row: 12, call: "GET " + vmPath + "/firewall/ipset", service: m.Read},
		{row: 12, call: "GET " + vmPath + "/firewall/rules", service: m.Read},
		firewall("POST " + vmPath + "/firewall/ipset"),
		firewall("POST " + vmPath + "/firewall/ipset/{name}"), firewall("POST " + vmPath + "/firewall/ipset/{name}"),
		firewall("PUT " + vmPath + "/firewall/options"),
		{row: 12, call: "GET " + vmPath + "/firewall/ipset/{name}", service: m.Read},
		put(13), config(13),
		{row: 14, call: "POST " + vmPath + "/status/start", service: m.Start, served: own, task: m.Fork + m.Boot},
		{row: 15, call: "GET " + vmPath + "/status/current", service: m.Daemon, served: own},
	}
}

const vmPath = "/nodes/{node}/qemu/{vmid}"

// throttles are what may go on at once.
type throttles struct {
	clones   int // per node
	requests int // per cluster
	daemons  int // workers of pvedaemon, per node
}

// term is a lower bound, and of what.
type term struct {
	name  string
	bound time.Duration
}

// lowerBound is the least time in which Proxmox can bring up perNode[i] VMs on its node i, each needing chain. Each term
// holds by itself, and the last is the largest.
//
// For one VM it is the chain's length. For a thing that all share (the clone slots of a node, the request slots, the
// workers of a node's pvedaemon, a storage's lock), take any stretch of the chain: no VM is in it before the way to the
// stretch has passed, none after what is left is only the way from it, and between these two moments the thing serves the
// stretches of all VMs. So
//
//	way to the stretch + use of the thing by all VMs in it / how many it serves at once + way from the stretch
//
// and the stretch that gives the most counts. Within a stretch of one call whole calls are shared out: 3 clones in 2 slots
// take as long as 4.
func lowerBound(chain []need, status time.Duration, perNode []int, limit throttles) []term {
	total := 0
	for _, n := range perNode {
		total += n
	}
	if total == 0 {
		return []term{{"nothing to do", 0}}
	}
	most := slices.Max(perNode)
	own := func(n need) time.Duration {
		var d time.Duration
		if n.served == own {
			d = n.service
		}
		if n.task > 0 {
			d += status
		}
		return d
	}
	at := func(node int) func(need) time.Duration {
		return func(n need) time.Duration {
			d := time.Duration(perNode[node]) * own(n)
			if n.served == entry && node == 0 {
				d += time.Duration(total) * n.service
			}
			return d
		}
	}
	alike := func(count int, hold func(need) time.Duration) func(need) time.Duration {
		return func(n need) time.Duration { return time.Duration(count) * hold(n) }
	}
	slot := func(n need) time.Duration {
		if !n.clone {
			return 0
		}
		return n.service + n.task
	}
	lock := func(n need) time.Duration { return n.storage }
	requests := func(n need) time.Duration { return n.requests(status) }
	var daemons time.Duration
	for node := range perNode {
		daemons = max(daemons, stretch(chain, status, limit.daemons, at(node)))
	}
	terms := []term{
		{fmt.Sprintf("clone slots of a node: %d clones, %d at once", most, limit.clones),
			max(stretch(chain, status, limit.clones, alike(most, slot)), whole(chain, status, limit.clones, most, slot))},
		{fmt.Sprintf("requests: %d VMs, %d at once", total, limit.requests), stretch(chain, status, limit.requests, alike(total, requests))},
		{fmt.Sprintf("pvedaemon of a node: %d workers", limit.daemons), daemons},
		{"a storage's lock", stretch(chain, status, 1, alike(most, lock))},
		{"one VM, its calls and tasks one after the other", length(chain, status)},
	}
	slices.SortStableFunc(terms, func(a, b term) int { return int(a.bound - b.bound) })
	return terms
}

// length is how long one VM takes for the chain.
func length(chain []need, status time.Duration) (d time.Duration) {
	for _, n := range chain {
		d += n.took(status)
	}
	return d
}

// stretch is the largest bound of any stretch of the chain; use is for how long all VMs together hold the thing for a call.
func stretch(chain []need, status time.Duration, atOnce int, use func(need) time.Duration) (bound time.Duration) {
	for i := range chain {
		var sum time.Duration
		for j := i; j < len(chain); j++ {
			if !chain[j].once {
				sum += use(chain[j])
			}
			if sum > 0 {
				bound = max(bound, length(chain[:i], status)+sum/time.Duration(atOnce)+length(chain[j+1:], status))
			}
		}
	}
	return bound
}

// whole is the bound of the stretches of one call, of which count are shared out whole.
func whole(chain []need, status time.Duration, atOnce, count int, hold func(need) time.Duration) (bound time.Duration) {
	for i, n := range chain {
		if d := hold(n); d > 0 {
			turns := (count + atOnce - 1) / atOnce
			bound = max(bound, length(chain[:i], status)+time.Duration(turns)*d+length(chain[i+1:], status))
		}
	}
	return bound
}

func TestLowerBound(t *testing.T) {
	const s = time.Second
	clone := need{call: "clone", service: s, served: own, task: 9 * s, storage: 2 * s, clone: true}
	task := need{call: "task", service: s, served: own, task: 9 * s}
	put := need{call: "put", service: 2 * s, served: own}
	fire := need{call: "firewall", service: s, served: entry}
	find := need{call: "find", service: s, once: true}
	wide := throttles{clones: 100, requests: 100, daemons: 100}
	with := func(set func(*throttles)) throttles {
		limit := wide
		set(&limit)
		return limit
	}
	for _, c := range []struct {
		name    string
		chain   []need
		status  time.Duration
		perNode []int
		limit   throttles
		want    time.Duration
	}{
		{"nothing", []need{put}, 0, []int{0, 0}, wide, 0},
		{"one VM: calls and tasks one after the other", []need{find, clone, put}, s, []int{1}, wide, 1*s + 10*s + 2*s},
		{"a status call that takes longer than its task", []need{{service: s, task: s}}, 3 * s, []int{1}, wide, 1*s + 3*s},
		{"three clones in two slots take two turns", []need{find, clone, put}, 0, []int{3}, with(func(l *throttles) { l.clones = 2 }), 1*s + 20*s + 2*s},
		{"the fullest node counts", []need{clone, put}, 0, []int{1, 4, 2}, with(func(l *throttles) { l.clones = 2 }), 20*s + 2*s},
		{"requests: each task is asked for once", []need{clone}, s, []int{10, 10}, with(func(l *throttles) { l.requests = 1 }), 20 * 2 * s},
		{"requests: before the first put is a task", []need{task, put}, 0, []int{4, 4}, with(func(l *throttles) { l.requests = 4 }), 10*s + 4*s},
		{"requests: after the last put is a task", []need{put, task}, 0, []int{4, 4}, with(func(l *throttles) { l.requests = 4 }), 4*s + 10*s},
		{"requests: all of them", []need{task, put}, 0, []int{50, 50}, with(func(l *throttles) { l.requests = 4 }), 75 * s},
		{"requests: what is made once is made once", []need{find, put}, 0, []int{8}, with(func(l *throttles) { l.requests = 2 }), 1*s + 8*s},
		{"workers of the fullest node", []need{put}, 0, []int{2, 30}, with(func(l *throttles) { l.daemons = 3 }), 20 * s},
		{"workers of the node that is asked carry all firewalls", []need{fire, put}, 0, []int{3, 3, 3}, with(func(l *throttles) { l.daemons = 3 }), 3*s + 2*s},
		{"workers: its own work and all firewalls", []need{put, fire}, 0, []int{6, 6}, with(func(l *throttles) { l.daemons = 3 }), 4*s + 4*s},
		{"storage: one volume at a time", []need{clone, put}, 0, []int{40}, wide, 80*s + 2*s},
	} {
		terms := lowerBound(c.chain, c.status, c.perNode, c.limit)
		if got := terms[len(terms)-1]; got.bound != c.want {
			t.Errorf("%s: %v, want %v, of %v", c.name, got.bound, c.want, terms)
		}
	}
}

// The chain of an order is what a small machine takes, added up by hand: 28 calls, of which 5 start tasks, besides what is made once.
func TestNecessary(t *testing.T) {
	m := pvesim.SmallMachine()
	chain := necessary(m)
	reads, writes, starts := 2+9+3, 5+4, 5 // resources and nextid, config, the firewall; config, the firewall's
	calls := time.Duration(reads)*m.Read + m.Daemon + time.Duration(writes)*m.Write + time.Duration(starts)*m.Start
	tasks := 5*m.Fork + m.LinkedClone + 2*m.Resize + m.Allocate + m.Boot
	if got := length(chain, m.Daemon); got != calls+tasks {
		t.Errorf("%v, want %v + %v", got, calls, tasks)
	}
}
