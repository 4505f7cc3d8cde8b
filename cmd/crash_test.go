package cmd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// seed is of a test that chooses at random: PUQKVM_TEST_SEED, or a new one.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("PUQKVM_TEST_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PUQKVM_TEST_SEED=%d", n)
	return n
}

// TestCrash disturbs a service at every external call of its pipeline, in every way, and lets ticks go on: it ends as one
// that nothing disturbs, and nothing else has changed. Without PUQKVM_SOAK, every call that writes is killed, before and
// after its effect, and the rest is sampled by a printed seed (PUQKVM_TEST_SEED repeats it); of the pipelines after Deploy, which is
// the longest of them and shares their rows, the kills are sampled too, and either those or the other troubles are made. PUQKVM_TEST_CRASH runs those alone whose name begins
// with it.
func TestCrash(t *testing.T) {
	first := seed(t)
	for n, p := range crashTable() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			crashAll(t, p, rand.New(rand.NewPCG(first, uint64(n))), first)
		})
	}
}

// crashRoom is where a part of the crashes runs.
type crashRoom struct {
	name    string
	kills   bool
	busy    bool // Proxmox takes its time while the process is dead
	clock   func() clock.Clock
	model   *pvesim.Model
	crashes []crash
}

func crashAll(t *testing.T, p *crashing, random *rand.Rand, seed uint64) {
	fake := func() clock.Clock { return clock.NewFake(epoch) }
	points := newCrashWorld(t, p, fake(), pvesim.Instant()).points
	if soak() && os.Getenv(crashVar) == "" {
		for _, p := range points {
			t.Log(p)
		}
	}
	// In this process the program and the cluster share a clock that jumps, so the cluster may take its time. A process of
	// its own is on the wall's: it meets a cluster that is instant, and, in the long form, a quick one.
	rooms := []*crashRoom{
		{name: "in process", clock: fake, model: pvesim.SmallMachine()},
		{name: "killed", kills: true, clock: fake, model: pvesim.Instant()},
	}
	if soak() {
		rooms = append(rooms, &crashRoom{name: "killed while Proxmox works", kills: true, busy: true,
			clock: func() clock.Clock { return clock.NewScaled(epoch, processSpeed) }, model: pvesim.SmallMachine()})
	}
	if p.sampled && !soak() { // a world costs more than the few that would be disturbed in it
		one := random.IntN(len(rooms))
		rooms = rooms[one : one+1]
	}
	tally := &crashTally{runs: map[[3]string]int{}, violations: map[[3]string]int{}}
	t.Run("all", func(t *testing.T) {
		for _, room := range rooms {
			room.crashes = chosen(points, room, p.sampled, random)
			share := 2
			if len(room.crashes) < 50 {
				share = 1 // a world costs more than they
			}
			for n := range share {
				var mine []crash
				for i := n; i < len(room.crashes); i += share {
					mine = append(mine, room.crashes[i])
				}
				if len(mine) == 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s %d", room.name, n+1), func(t *testing.T) {
					t.Parallel()
					crashEach(t, p, room, mine, tally, seed)
				})
			}
		}
	})
	t.Log(p.name + "\n" + tally.table(points))
}

// crashesAWorld is how many services are disturbed in one world, whose addresses are not endless.
const crashesAWorld = 100

// crashEach runs crashes one after the other, in one world while all is well.
func crashEach(t *testing.T, p *crashing, room *crashRoom, list []crash, tally *crashTally, seed uint64) {
	var w *crashWorld
	for n, c := range list {
		if w == nil || n%crashesAWorld == 0 {
			w = newCrashWorld(t, p, room.clock(), room.model)
		}
		res := w.crash(c)
		tally.note(c, res)
		if len(res.wrong) > 0 {
			t.Errorf("%s (%s)\n  %s\nalone: %s=%s PUQKVM_TEST_SEED=%d %s='%s' scripts/mariadb.sh run -- go test ./cmd -run 'TestCrash/%s'",
				c, c.at.detail, strings.Join(res.wrong, "\n  "), soakVar, os.Getenv(soakVar), seed, crashVar, c, p.name)
			w = nil // what is left of it is nobody's matter
		}
	}
}

// chosen are the crashes of a room: all of them, or those of every run and a sample; and some of two troubles in two ticks.
// sampled: those of every run are a sample, too.
func chosen(points []point, room *crashRoom, sampled bool, random *rand.Rand) []crash {
	kinds := []crashKind{failsBefore, failsAfter, cancels}
	sample, pairs := 40, 10
	if room.kills {
		kinds, sample, pairs = []crashKind{killedBefore, killedAfter}, 8, 4
	}
	switch {
	case soak() && sampled:
		pairs = 20
	case soak():
		pairs = 200
	case sampled:
		sample, pairs = min(sample, 2), 1
	}
	var always, rest []crash
	for _, at := range points {
		if at.side == toPVE && strings.Contains(at.name, "/tasks/") && at.n > 1 {
			continue // a poll like the first
		}
		if at.command == laterTick && !at.writes {
			continue // of the Deploy that follows, whose own points are all disturbed
		}
		if sampled && room.busy && at.side == toSQL && !at.writes {
			continue // what Proxmox does meanwhile makes no difference
		}
		for _, kind := range kinds {
			c := crash{at: at, kind: kind}
			if room.kills && at.writes {
				always = append(always, c)
			} else {
				rest = append(rest, c)
			}
			if at.side == toAPI && kind.stage() == pvesim.Done {
				c.traceless = true
				always = append(always, c)
			}
		}
	}
	random.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	if sampled && !soak() {
		random.Shuffle(len(always), func(i, j int) { always[i], always[j] = always[j], always[i] })
		always = always[:min(3, len(always))]
	}
	if !soak() {
		rest = rest[:min(sample, len(rest))]
	}
	all := append(always, rest...)
	for range pairs {
		c := all[random.IntN(len(always)+len(rest))]
		c.then, c.thenAt, c.traceless = kinds[random.IntN(len(kinds))], 1+random.IntN(len(points)), false
		all = append(all, c)
	}
	if only := os.Getenv(crashVar); only != "" {
		return slices.DeleteFunc(all, func(c crash) bool { return !strings.HasPrefix(c.String(), only) })
	}
	return all
}
