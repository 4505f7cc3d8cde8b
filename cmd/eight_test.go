package cmd

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestEightProcesses lets eight processes work on the same 50 services at once, in an installation that no process has
// seen before, until all are ready; and that again and again: 2 rounds, 20 with PUQKVM_SOAK.
func TestEightProcesses(t *testing.T) {
	t.Parallel()
	const processes, services, throttle, ticks = 8, 50, 2, 5
	rounds := 2
	if soak() {
		rounds = 20
	}
	var sum tally
	for round := range rounds {
		t.Run(fmt.Sprintf("round %d", round+1), func(t *testing.T) {
			model := pvesim.SmallMachine()
			model.Exact = map[string]time.Duration{"qmclone": 4 * time.Second}
			w := newWorld(t, scene{model: model, clock: clock.NewScaled(epoch, 40)})
			w.withNames(time.Millisecond)
			all := ids(6001, services)
			w.ok("settings", "set", "cron.workers", "8") // so that four processes cannot take them all
			w.order(all...)
			watch := w.pace()
			complete := 0
			for tick := 1; w.pending() > 0; tick++ {
				if tick > ticks {
					t.Fatalf("after %d ticks %d services are not ready", ticks, w.pending())
				}
				var eight []*child
				for range processes {
					eight = append(eight, w.start(nil, "cron", "--force"))
				}
				var walked []int
				busy := 0
				for _, c := range eight {
					if code := c.wait(); code != exitDone {
						t.Fatalf("exit %d\n%s%s", code, &c.out, &c.errout)
					}
					log := c.out.String()
					if strings.Contains(log, "is no longer ours") {
						t.Errorf("a process has met another one at a service that it had claimed\n%s", log)
					}
					complete += strings.Count(log, "--- Deploy complete: ")
					n := strings.Count(log, "--- Deploy: ")
					walked = append(walked, n)
					busy += min(n, 1)
				}
				t.Logf("tick %d: services of each process: %v", tick, walked)
				if tick == 1 && busy < processes/2 {
					t.Errorf("the eight have not shared the work: %v", walked)
				}
			}
			stall := watch.stop()
			if complete != services {
				t.Errorf("the logs have %d complete deploys of %d services", complete, services)
			}
			w.settle(all...)
			w.unclaimed()
			w.distinct(all)
			w.cloned(all...)
			w.named(all)
			most := 0
			for node, n := range w.overlap("qmclone") {
				if most = max(most, n); n > throttle {
					t.Errorf("%d clones at once on %s, and the throttle is %d", n, node, throttle)
				}
			}
			if most < throttle {
				t.Errorf("%d clones at once: the throttle of %d was never reached", most, throttle)
			}
			sum.add(w, all, stall)
		})
	}
	t.Logf("%d processes, %d rounds: %v", processes, rounds, sum)
}

// tally is what rounds have come to.
type tally struct {
	services, duplicates, lost int
	stall                      time.Duration // the longest time in which no service moved though some were pending
}

func (s tally) String() string {
	return fmt.Sprintf("%d services, %d duplicates, %d lost; no pending service moved for %v at the longest",
		s.services, s.duplicates, s.lost, s.stall.Round(time.Millisecond))
}

// add counts the services of w. A VM, an address or a mail beyond the first is a duplicate, and so is a VMID or an address
// that two services have; a service that is not ready is lost.
func (s *tally) add(w *world, services []int64, stall time.Duration) {
	w.t.Helper()
	s.services += len(services)
	s.stall = max(s.stall, stall)
	s.lost += w.pending()
	for _, query := range []string{
		"SELECT COUNT(*) - COUNT(DISTINCT vm_id) FROM puqProxmoxKVM_vm_info",
		"SELECT COUNT(*) - COUNT(DISTINCT service_id) FROM puq_proxmox_kvm_addresses",
		"SELECT COUNT(*) - COUNT(DISTINCT dedicatedip) FROM tblhosting",
	} {
		s.duplicates += w.number(query)
	}
	s.duplicates += max(0, len(w.sim.VMs())-1-len(services)) // one is the template
	mails := map[int64]int{}
	for _, m := range w.api.Mails() {
		if mails[m.ServiceID]++; mails[m.ServiceID] > 1 {
			s.duplicates++
		}
	}
}

// number is the one number that the query gives.
func (w *world) number(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRowContext(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(fmt.Errorf("%s: %w", query, err))
	}
	return n
}

// pending is how many services are not ready.
func (w *world) pending() int {
	w.t.Helper()
	return w.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status <> 'ready'")
}

// pace watches how the services of an installation move.
type pace struct {
	w    *world
	end  context.CancelFunc
	done chan struct{}
	gap  time.Duration
	err  error
}

// pace begins to watch. The database notes when each service came to its status: when the last of these moments is another
// one, something has moved.
func (w *world) pace() *pace {
	w.t.Helper()
	ctx, end := context.WithCancel(w.t.Context())
	p := &pace{w: w, end: end, done: make(chan struct{})}
	w.t.Cleanup(p.halt)
	go func() {
		defer close(p.done)
		p.err = p.watch(ctx)
	}()
	return p
}

func (p *pace) watch(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last, since := "", time.Now()
	for {
		var moved string
		var pending int
		err := p.w.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(status_since), ''), COALESCE(SUM(vm_status <> 'ready'), 0) FROM puqProxmoxKVM_vm_info").Scan(&moved, &pending)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if now := time.Now(); moved == last && pending > 0 {
			p.gap = max(p.gap, now.Sub(since))
		} else {
			last, since = moved, now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *pace) halt() {
	p.end()
	<-p.done
}

// stop ends the watch, and gives the longest time in which no service moved though some were pending.
func (p *pace) stop() time.Duration {
	p.w.t.Helper()
	if p.halt(); p.err != nil {
		p.w.t.Fatal(p.err)
	}
	return p.gap
}
