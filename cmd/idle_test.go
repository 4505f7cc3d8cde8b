package cmd

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// statements makes the program talk to the database through a wiretap from now on. What it gives are the statements that
// went by since the last call, those that set a connection up included.
func (w *world) statements() func() []string {
	w.t.Helper()
	tap, env := w.tap()
	w.env = append(w.env, env...)
	var mu sync.Mutex
	var seen []string
	tap.setHook(func(_ context.Context, stage pvesim.Stage, statement string) bool {
		if stage == pvesim.Arrived {
			mu.Lock()
			seen = append(seen, statement)
			mu.Unlock()
		}
		return false
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := seen
		seen = nil
		return out
	}
}

// mostIdleStatements is what a tick of all tasks may ask of the database when there is nothing to do: seven for the tick, two for
// each task, and the end of all.
const mostIdleStatements = 22

// mostWithoutTask is for a tick in which no task is due: every minute, for ever.
const mostWithoutTask = 6

// A tick with nothing to do asks the database a few questions and Proxmox none.
func TestIdleTick(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5546)
	w.tick()
	w.settle(5546)
	seen := w.statements()
	w.sim.ResetRequests()
	before := w.api.Requests()

	w.clock.(*clock.Fake).Advance(5 * time.Minute) // then all tasks are due but the hourly one
	log := w.ok("cron")
	if got := seen(); len(got) == 0 || len(got) > mostIdleStatements {
		t.Errorf("%d statements, want at most %d:\n%s", len(got), mostIdleStatements, strings.Join(got, "\n"))
	}
	if n := len(w.sim.Requests()); n != 0 {
		t.Errorf("%d requests to Proxmox", n)
	}
	if n := w.api.Requests() - before; n != 0 {
		t.Errorf("%d requests to WHMCS's API", n)
	}
	if !strings.Contains(log, "processed: 0, errors: 0") {
		t.Errorf("the tick was not idle:\n%s", log)
	}

	// A tick within the minute, in which no task is due, asks less.
	w.ok("cron")
	if got := seen(); len(got) > mostWithoutTask {
		t.Errorf("%d statements when nothing is due:\n%s", len(got), strings.Join(got, "\n"))
	}
	if w.status(5546) != kvm.Ready {
		t.Errorf("the service is at %s", w.status(5546))
	}
}
