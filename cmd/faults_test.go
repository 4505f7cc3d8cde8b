package cmd

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// trouble is a kind of fault: what goes wrong, and what must hold while it lasts.
type trouble struct {
	name  string
	fault pvesim.Fault
	// says is what the struck row's text must say, as an expression.
	says string
	// done: the call has its effect. The run may find that out and go on; what is not repeatable must not be sent again.
	done bool
	// tasks: it happens to the task of a call that answers with a UPID; there is no such cell for other calls.
	tasks bool
	// wide: by its nature it hits all services that use the token or the node. All must be ready when it is over; that the
	// others are not delayed cannot be asked.
	wide bool
	// full: the storage of the struck order (no other order has its disks there) is full from the call on.
	full string
}

// troubles are the columns of the matrix.
var troubles = []trouble{
	{name: "401", fault: pvesim.Fault{Status: 401, Reason: "Authentication failed!"}, says: `401 Authentication failed!`, wide: true},
	{name: "403", fault: pvesim.Fault{Status: 403, Reason: "Permission check failed (/vms/100, VM.Allocate)"}, says: `403 Permission check failed`},
	{name: "lock", fault: pvesim.Fault{Status: 500, Reason: "VM is locked (backup)"}, says: `^waiting on .*VM is locked \(backup\)`},
	{name: "lock file", fault: pvesim.Fault{Status: 500, Reason: "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"}, says: `^waiting on .*got timeout`},
	{name: "quorum", fault: pvesim.Fault{Status: 500, Reason: "cluster not ready - no quorum?"}, says: `no quorum`},
	{name: "595", fault: pvesim.Fault{Status: 595, Reason: "No route to host"}, says: `595 No route to host`},
	{name: "596", fault: pvesim.Fault{Status: 596, Reason: "Connection timed out"}, says: `596 Connection timed out`},
	{name: "596 after", fault: pvesim.Fault{Status: 596, Reason: "Connection timed out", After: true}, says: `596 Connection timed out`, done: true},
	{name: "599", fault: pvesim.Fault{Status: 599, Reason: "Too many redirections"}, says: `599 Too many`},
	{name: "hang", fault: pvesim.Fault{Hang: true}, says: `no answer within`},
	{name: "reset before", fault: pvesim.Fault{ResetBefore: true}, says: `EOF|reset`},
	{name: "reset after", fault: pvesim.Fault{ResetAfter: true}, says: `EOF|reset`, done: true},
	{name: "no JSON", fault: pvesim.Fault{Body: "<html>welcome</html>"}, says: `not what Proxmox answers`, done: true},
	{name: "UPID vanishes", fault: pvesim.Fault{TaskVanishes: true}, says: `no such task`, tasks: true, done: true},
	{name: "worker signalled", fault: pvesim.Fault{TaskKilledAfter: 100 * time.Millisecond}, says: `received interrupt|interrupted by signal`, tasks: true},
	{name: "worker killed", fault: pvesim.Fault{TaskError: "unexpected status"}, says: `unexpected status`, tasks: true},
	{name: "node down", fault: pvesim.Fault{NodeDown: time.Minute, Count: 1}, says: `595 No route to host|unexpected status|status: stopped|is offline|locked by Proxmox|not been seen to end`, wide: true},
	{name: "full dir", full: "dirs", says: `No space left on device`},
	{name: "full lvmthin", full: "thin", says: `free space in thin pool`},
	{name: "full zfs", full: "zfs", says: `out of space`},
}

// faultCell is one call of Deploy and one trouble with it.
type faultCell struct {
	endpoint
	trouble
	skip int // so many of the struck order's calls pass first
}

func (c faultCell) String() string {
	return fmt.Sprintf("%s after %d: %s", c.endpoint, c.skip, c.trouble.name)
}

// TestFaultMatrix lets every call of Deploy meet every trouble. Each cell is three orders of one cluster: the struck one,
// one that goes to the same node, one on the other node. While the trouble lasts the struck one waits or errs in words
// that name it, and the others get ready in their own time; when it is over all are ready, with one VM, one address and
// one mail each. By default every call meets one trouble and every trouble one call, by a printed
// seed; PUQKVM_SOAK asks all cells, PUQKVM_TEST_CELL those that an expression matches.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(seed(t), 0))
	const shards = 3
	worlds := make([]*faultWorld, shards)
	for i := range worlds {
		worlds[i] = newFaultWorld(t)
	}
	all := worlds[0].cells(rng)
	chosen := all
	if !soak() {
		chosen = sample(rng, all)
	}
	if text := os.Getenv("PUQKVM_TEST_CELL"); text != "" {
		only := regexp.MustCompile(text)
		chosen = slices.DeleteFunc(slices.Clone(all), func(c faultCell) bool { return !only.MatchString(c.String()) })
	}
	if len(chosen) == 0 {
		t.Fatal("no cell was chosen")
	}
	var mu sync.Mutex
	results := map[string]string{}
	var worst delay
	began := time.Now()
	t.Run("cells", func(t *testing.T) {
		for i, w := range worlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				w.t = t
				w.undisturbed()
				for n := i; n < len(chosen); n += shards {
					c, d := chosen[n], delay{}
					ok := t.Run(c.String(), func(t *testing.T) {
						w.t = t
						if d = w.cell(c); d.by > d.own+hiccup {
							// The machine may have stood still. What is the trouble's own comes again.
							w.undisturbed()
							d = w.cell(c)
						}
						if d.by > d.own+hiccup {
							t.Errorf("an order beside it was %v later; its own work takes %v", d.by, d.own)
						}
					})
					mu.Lock()
					if results[c.key()] = "ok"; !ok {
						results[c.key()] = "FAILED"
					}
					if worst.by < d.by {
						worst = d
					}
					mu.Unlock()
				}
			})
		}
	})
	failed := 0
	for _, r := range results {
		if r != "ok" {
			failed++
		}
	}
	t.Logf("\n%s%d calls, %d troubles, %d cells of %d, %d not as they must be, %v of wall time; the greatest delay of another order: %v (%s), its own work %v",
		drawn(all, results), len(callsOf(all)), len(troubles), len(results), len(all), failed, time.Since(began).Round(time.Second),
		worst.by.Round(time.Millisecond), worst.at, worst.own.Round(time.Millisecond))
}

func (c faultCell) key() string { return c.endpoint.String() + "|" + c.trouble.name }

// sample is a choice in which each call and each trouble stands at least once.
func sample(rng *rand.Rand, all []faultCell) []faultCell {
	shuffled := slices.Clone(all)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	calls, kinds := map[string]int{}, map[string]int{}
	var out []faultCell
	for len(shuffled) > 0 {
		// The cell that is newest in both; of equals the first of the shuffled.
		best := slices.MinFunc(shuffled, func(a, b faultCell) int {
			return cmp.Compare(calls[a.endpoint.String()]+kinds[a.trouble.name], calls[b.endpoint.String()]+kinds[b.trouble.name])
		})
		if calls[best.endpoint.String()] > 0 && kinds[best.trouble.name] > 0 {
			break
		}
		calls[best.endpoint.String()]++
		kinds[best.trouble.name]++
		out = append(out, best)
		shuffled = slices.DeleteFunc(shuffled, func(c faultCell) bool { return c.key() == best.key() })
	}
	return out
}

func callsOf(all []faultCell) []string {
	out := map[string]bool{}
	for _, c := range all {
		out[c.endpoint.String()] = true
	}
	return slices.Sorted(maps.Keys(out))
}

// drawn is the matrix as a table: + held, ! did not, . was not asked this time, blank: there is no such cell.
func drawn(all []faultCell, results map[string]string) string {
	exists := map[string]bool{}
	for _, c := range all {
		exists[c.key()] = true
	}
	var b strings.Builder
	for i, tr := range troubles {
		fmt.Fprintf(&b, "%2d %s", i+1, tr.name)
		if tr.wide {
			b.WriteString(" (hits all services)")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%-64s", "")
	for i := range troubles {
		fmt.Fprintf(&b, "%3d", i+1)
	}
	b.WriteString("\n")
	for _, r := range callsOf(all) {
		fmt.Fprintf(&b, "%-64s", r)
		for _, tr := range troubles {
			key, mark := r+"|"+tr.name, " "
			switch {
			case results[key] == "ok":
				mark = "+"
			case results[key] != "":
				mark = "!"
			case exists[key]:
				mark = "."
			}
			fmt.Fprintf(&b, "%3s", mark)
		}
		b.WriteString("\n")
	}
	return b.String()
}
