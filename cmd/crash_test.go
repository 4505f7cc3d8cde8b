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
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
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

// crashTable are the pipelines that the crash test disturbs. One joins by a line.
func crashTable() []*crashing {
	return []*crashing{
		// One row has nothing to do: no DNS provider is served yet.
		{name: "Deploy", prepare: everyDeployRow, service: (*world).richService, order: []string{"create"}, settled: kvm.Ready, mails: 1, skips: 1},
	}
}

// everyDeployRow makes each row of Deploy do something: a full clone, which goes on to another node, two disks with
// limits, addresses of both families, and what the template's firewall must not leave to the VM.
func everyDeployRow(w *world) {
	w.t.Helper()
	w.everyRow()
	w.ok("product", "set", "1", "first_vmid=20000", "ipv4=2", "ipv6=1")
	w.ok("ippool", "add", "--server", "1", "--gateway", "2001:db8::1/64", "--first", "2001:db8::10", "--last", "2001:db8::ffff")
	const firewall = "/nodes/pve1/qemu/9000/firewall"
	for _, call := range []struct {
		method, path string
		form         map[string]string
	}{
		{"POST", firewall + "/rules", map[string]string{"type": "in", "action": "ACCEPT", "enable": "1", "comment": "stale"}},
		{"POST", firewall + "/ipset", map[string]string{"name": "old"}},
		{"POST", firewall + "/ipset/old", map[string]string{"cidr": "198.51.100.0/24"}},
		{"POST", firewall + "/ipset", map[string]string{"name": "ipfilter-net0"}},
		{"POST", firewall + "/ipset/ipfilter-net0", map[string]string{"cidr": "198.51.100.7"}},
		{"PUT", firewall + "/options", map[string]string{"policy_out": "REJECT", "radv": "1"}},
		{"POST", "/nodes/pve1/qemu", map[string]string{"vmid": "20002", "name": "somebody-elses", "memory": "512", "smbios1": "uuid=5ad5ad5a-0000-4000-8000-00000000beef"}},
	} {
		if err := w.send(call.method, call.path, call.form); err != nil {
			w.t.Fatal(err)
		}
	}
}

// richService is a service with all that a customer can give it.
func (w *world) richService(id int64) {
	w.t.Helper()
	w.service(id)
	w.db.AddCustomField(whmcstest.CustomField{ProductID: 1, Name: "SSH Key", ServiceID: id, Value: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtJ0kX0bQb7q0vB0gq8nF2QmW8rJ4l5rM3cY9p1Zs7d ada@example.com"})
}

// TestCrash disturbs a service at every external call of its pipeline, in every way, and lets ticks go on: it ends as one
// that nothing disturbs, and nothing else has changed. Without PUQKVM_SOAK, every call that writes is killed, before and
// after its effect, and the rest is sampled by a printed seed (PUQKVM_TEST_SEED repeats it). PUQKVM_TEST_CRASH runs those
// alone whose name begins with it.
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
		rooms = append(rooms, &crashRoom{name: "killed while Proxmox works", kills: true,
			clock: func() clock.Clock { return clock.NewScaled(epoch, processSpeed) }, model: pvesim.SmallMachine()})
	}
	tally := &crashTally{runs: map[[3]string]int{}, violations: map[[3]string]int{}}
	t.Run("all", func(t *testing.T) {
		for _, room := range rooms {
			room.crashes = chosen(points, room.kills, random)
			const share = 2
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
	t.Log("\n" + tally.table(points))
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
func chosen(points []point, kills bool, random *rand.Rand) []crash {
	kinds := []crashKind{failsBefore, failsAfter, cancels}
	sample, pairs := 40, 10
	if kills {
		kinds, sample, pairs = []crashKind{killedBefore, killedAfter}, 8, 4
	}
	if soak() {
		pairs = 200
	}
	var always, rest []crash
	for _, at := range points {
		if at.side == toPVE && strings.Contains(at.name, "/tasks/") && at.n > 1 {
			continue // a poll like the first
		}
		for _, kind := range kinds {
			c := crash{at: at, kind: kind}
			if kills && at.writes {
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
