package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestCountedOnce kills the process that counts traffic, or breaks its connection to the database, before and after each
// statement of the transaction in which it counts. The next one counts what is missing, and nothing twice.
func TestCountedOnce(t *testing.T) {
	const vms, rate = 5, 1_000_000
	fake := clock.NewFake(epoch)
	w := newWorld(t, scene{clock: fake})
	w.metered(vms)
	tap, env := w.tap()
	hours := int64(0)
	counts := func(what string) {
		t.Helper()
		if got, want := w.db.Text("SELECT SUM(in_bytes) FROM puqProxmoxKVM_statistics"), strconv.FormatInt(hours*3600*rate*vms, 10); got != want {
			t.Fatalf("%s: %s bytes are counted of %s", what, got, want)
		}
	}
	hour := func() {
		fake.Advance(time.Hour)
		hours++
		w.hourPassed()
	}
	next := func(env []string) int {
		c := w.start(env, "cron", "--task=collectingStatistics")
		return c.wait()
	}
	hour()
	next(nil)
	counts("the first time")
	for _, statement := range []string{"START TRANSACTION", "SELECT name FROM puq_proxmox_kvm_cron_tasks", "SELECT service_id, vm_uuid, in_bytes",
		"INSERT INTO puq_proxmox_kvm_counters", "INSERT INTO puqProxmoxKVM_statistics", "COMMIT"} {
		for _, stage := range []pvesim.Stage{pvesim.Arrived, pvesim.Done} {
			what := fmt.Sprintf("%s, %v", statement, stage)
			hour()
			s := tap.holdAt(t, what, func(r pvesim.Request) bool { return r.Stage == stage && strings.HasPrefix(r.Path, statement) })
			c := w.start(env, "cron", "--task=collectingStatistics")
			s.await(c)
			s.killed(c)
			next(nil)
			counts("killed at " + what)

			hour()
			var cut atomic.Bool
			tap.setHook(func(_ context.Context, at pvesim.Stage, text string) bool {
				return at == stage && strings.HasPrefix(text, statement) && cut.CompareAndSwap(false, true)
			})
			if code := next(env); code != exitDone || !cut.Load() {
				t.Fatalf("cut at %s: exit %d, cut %v", what, code, cut.Load())
			}
			tap.setHook(nil)
			hour() // had the first not counted, both hours are counted now
			next(nil)
			counts("cut at " + what)
		}
	}
}
