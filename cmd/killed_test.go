package cmd

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// goOn lets the next tick, a new process, go on after a kill.
func (w *world) goOn(id int64, what string) {
	w.t.Helper()
	log := w.next()
	if st := w.status(id); st != kvm.Ready {
		w.t.Errorf("killed at %s: the next tick stops at %s\n%s", what, st, log)
	}
}

// slow is a cluster whose tasks of one kind end when the test moves the clock.
func slow(t *testing.T, m pvesim.Model) (*world, *clock.Fake) {
	fake := clock.NewFake(epoch)
	return newWorld(t, scene{model: &m, clock: fake}), fake
}

// TestKilledWhileATaskRuns kills the process while it waits for a clone or a migration. The next tick finds the task, and
// waits for it too.
func TestKilledWhileATaskRuns(t *testing.T) {
	for name, c := range map[string]struct {
		model pvesim.Model
		kind  string
		at    kvm.Status
	}{
		"clone":     {pvesim.Model{FullClone: time.Minute}, "qmclone", kvm.SetDNS},
		"migration": {pvesim.Model{Migrate: time.Minute}, "qmigrate", kvm.Cloned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, fake := slow(t, c.model)
			w.everyRow()
			w.order(7000)
			asked := func(stage pvesim.Stage) func(pvesim.Request) bool {
				return func(r pvesim.Request) bool {
					return at(stage, "GET", "/status")(r) && strings.Contains(r.Path, ":"+c.kind+":")
				}
			}
			s := w.holdAt("the question about the task", asked(pvesim.Done))
			first := w.start(nil, "cron", "--force")
			s.await(first)
			s.killed(first)
			w.want(7000, c.at)
			w.stillClaimed(7000)

			s = w.holdAt("the question about the same task", asked(pvesim.Arrived))
			second := w.start(nil, "cron", "--force")
			s.await(second)
			fake.Advance(2 * time.Minute)
			s.release()
			if code := second.wait(); code != exitDone {
				t.Fatalf("exit %d\n%s", code, &second.errout)
			}
			w.settle(7000)
			w.cloned(7000)
			if n := w.posts("POST", "/migrate", "target"); len(n) != 1 || n["pve2"] != 1 {
				t.Errorf("migrations: %v", n)
			}
		})
	}
}

// TestKilledBeforeTheAnswer kills the process when Proxmox has begun a task and the process has not seen its UPID. While
// the task runs the next tick waits for its lock, and begins none of its own.
func TestKilledBeforeTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		model pvesim.Model
		row   string
		at    kvm.Status
		moves map[string]int
	}{
		// While its first disk is made, the new VM's configuration has neither our mark nor our name.
		"clone":     {pvesim.Model{LinkedClone: time.Minute, Allocate: time.Minute}, "/clone", kvm.SetDNS, nil},
		"migration": {pvesim.Model{Migrate: time.Minute}, "/migrate", kvm.Cloned, map[string]int{"pve2": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, fake := slow(t, c.model)
			if c.moves != nil {
				w.everyRow()
			}
			w.order(7000)
			s := w.holdAt("the answer", at(pvesim.Done, "POST", c.row))
			first := w.start(nil, "cron", "--force")
			s.await(first)
			s.killed(first)
			w.sim.SetHook(nil)
			w.next()
			w.want(7000, c.at)
			if m := w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = 7000"); !strings.HasPrefix(m, "waiting on VM") || !strings.Contains(m, "locked by Proxmox") {
				t.Errorf("the row says %q", m)
			}
			fake.Advance(2 * time.Minute)
			w.goOn(7000, s.what)
			w.settle(7000)
			w.cloned(7000)
			if n := w.posts("POST", "/migrate", "target"); !maps.Equal(n, c.moves) {
				t.Errorf("migrations: %v, want %v", n, c.moves)
			}
		})
	}
}
