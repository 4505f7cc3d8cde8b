package cmd

import (
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestTwoTicksAtOnce lets two processes work on 50 services at once, again and again until all are ready. In the second
// case one of the two is killed in the middle of the first round, and a third begins, as the next minute's does.
func TestTwoTicksAtOnce(t *testing.T) {
	const services, rounds, throttle = 50, 3, 2
	for _, killed := range []bool{false, true} {
		name := "both live"
		if killed {
			name = "one dies"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := pvesim.SmallMachine()
			model.Exact = map[string]time.Duration{"qmclone": 4 * time.Second}
			w := newWorld(t, scene{model: model, clock: clock.NewScaled(epoch, 40)})
			w.next() // of the very first starts of a task only one counts
			all := ids(6001, services)
			w.order(all...)
			for round := 1; ; round++ {
				a, b := w.start(nil, "cron", "--force"), w.start(nil, "cron", "--force")
				living := []*child{a, b}
				if killed && round == 1 {
					w.eventually("the two have cloned a third", func() bool { return len(w.posts("POST", "/clone", "newid")) >= services/3 })
					a.kill()
					living[0] = w.start(nil, "cron", "--force")
				}
				for _, c := range living {
					if code := c.wait(); code != exitDone {
						t.Fatalf("exit %d\n%s%s", code, &c.out, &c.errout)
					}
				}
				walked := []int{strings.Count(a.out.String(), "--- Deploy: "), strings.Count(b.out.String(), "--- Deploy: ")}
				t.Logf("round %d: %d and %d services, %v and %v", round, walked[0], walked[1], a.took, b.took)
				if round == 1 && !killed && (walked[0] < services/10 || walked[1] < services/10) {
					t.Errorf("the two have not shared the work: %v", walked)
				}
				left := w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status <> 'ready'")
				if left == "0" {
					break
				}
				if round == rounds {
					t.Fatalf("after %d rounds %s services are not ready\n%s", round, left, &b.out)
				}
			}
			w.settle(all...)
			w.unclaimed()
			w.distinct(all)
			if !killed { // a dead one's request may never have had an effect, and is then sent again
				w.cloned(all...)
			}
			for node, n := range w.overlap("qmclone") {
				if n > throttle {
					t.Errorf("%d clones at once on %s, and the throttle is %d", n, node, throttle)
				}
				t.Logf("up to %d clones at once on %s", n, node)
			}
		})
	}
}
