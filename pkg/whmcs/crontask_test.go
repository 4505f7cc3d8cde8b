package whmcs

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// at is a time on the tests' day.
func at(clock string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", "2026-04-10 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

// Intervals count whole minutes of the host's clock.
func TestClaimTask(t *testing.T) {
	x := newShop(t)
	for _, c := range []struct {
		started, now string
		minutes      int
		want         bool
	}{
		{"", "03:00:00", 5, true},
		{"03:00:00", "03:00:59", 1, false},
		{"03:00:59", "03:01:00", 1, true},
		{"03:00:00", "03:04:59", 5, false},
		{"03:00:59", "03:05:00", 5, true},
		{"02:00:30", "03:00:00", 60, true},
		{"02:01:00", "03:00:59", 60, false},
		{"03:00:00", "03:00:00", 0, true}, // --force
		{"03:00:30", "03:00:10", 1, false},
		{"03:02:00", "03:00:00", 1, false}, // a host whose clock is two minutes behind
		{"03:30:00", "03:00:00", 0, true},  // --force of such a host
		{"09:00:00", "03:00:00", 1, true},  // a clock was wrong by hours once: the task does not rest until then
	} {
		x.db.Exec("DELETE FROM puq_proxmox_kvm_cron_tasks")
		if c.started != "" {
			x.db.Exec("INSERT INTO puq_proxmox_kvm_cron_tasks (name, started_at, owner) VALUES ('t', ?, 'before')", at(c.started))
		}
		won, err := x.ClaimTask(t.Context(), "t", "me", at(c.now), time.Duration(c.minutes)*time.Minute)
		if err != nil || won != c.want {
			t.Errorf("%+v: %v, %v", c, won, err)
		}
		owner, started := "before", c.started
		if c.want {
			owner, started = "me", c.now
		}
		if got := x.db.Text("SELECT CONCAT_WS(' ', owner, TIME(started_at)) FROM puq_proxmox_kvm_cron_tasks"); !strings.HasPrefix(got, owner+" "+started) {
			t.Errorf("%+v: stored %s", c, got)
		}
	}
}

// The clock's zone does not matter.
func TestClaimTaskZone(t *testing.T) {
	x := newShop(t)
	east := at("03:00:00").In(time.FixedZone("", 5*3600))
	if won, err := x.ClaimTask(t.Context(), "t", "me", east, time.Minute); err != nil || !won {
		t.Fatal(won, err)
	}
	if won, err := x.ClaimTask(t.Context(), "t", "me", at("03:00:30"), time.Minute); err != nil || won {
		t.Errorf("twice in one minute: %v, %v", won, err)
	}
}

// Eight hosts start a task at once, the first time ever and then each minute: one runs it.
func TestClaimTaskRace(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		x := newShop(t)
		stores := x.others(8, strict)
		for round := range 50 {
			var winners atomic.Int32
			together(len(stores), func(i int) {
				won, err := stores[i].ClaimTask(t.Context(), "t", fmt.Sprint("host", i), at("03:00:00").Add(time.Duration(round)*time.Minute+time.Duration(i)*time.Second), time.Minute)
				if err != nil {
					t.Error(err)
				}
				if won {
					winners.Add(1)
				}
			})
			if winners.Load() != 1 {
				t.Fatalf("minute %d: %d hosts run the task", round, winners.Load())
			}
		}
	})
}

func TestTaskRuns(t *testing.T) {
	x := newShop(t)
	if _, err := x.ClaimTask(t.Context(), "a", "me", at("03:00:01"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := x.FinishTasks(t.Context(), "me", kvm.TaskRun{Name: "a", Finished: at("03:00:05"), Result: "processed: 1, errors: 0"}); err != nil {
		t.Fatal(err)
	}
	if err := x.FinishTasks(t.Context(), "me", kvm.TaskRun{Name: "b", Finished: at("03:00:06"), Result: "processed: 0, errors: 0"}); err != nil { // --no-lock
		t.Fatal(err)
	}
	x.db.Exec("INSERT INTO puq_proxmox_kvm_cron_tasks (name) VALUES ('c')")
	want := map[string]kvm.TaskRun{
		"a": {Name: "a", Started: at("03:00:01"), Finished: at("03:00:05"), Result: "processed: 1, errors: 0"},
		"b": {Name: "b", Finished: at("03:00:06"), Result: "processed: 0, errors: 0"},
		"c": {Name: "c"},
	}
	got, err := x.TaskRuns(t.Context())
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
	// A start that came after ours is left alone by our end.
	if won, err := x.ClaimTask(t.Context(), "a", "another", at("03:01:00"), time.Minute); err != nil || !won {
		t.Fatal(won, err)
	}
	if err := x.FinishTasks(t.Context(), "me", kvm.TaskRun{Name: "a", Finished: at("03:01:30"), Result: "processed: 2, errors: 0"}); err != nil {
		t.Fatal(err)
	}
	if got := x.db.Text("SELECT CONCAT_WS(' ', owner, TIME(started_at), TIME(finished_at)) FROM puq_proxmox_kvm_cron_tasks WHERE name = 'a'"); got != "another 03:01:00.000000 03:01:30.000000" {
		t.Errorf("stored: %s", got)
	}
}
