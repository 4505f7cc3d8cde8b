package cmd

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
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

// goOn lets the next tick, a new process, go on after a kill.
func (w *world) goOn(id int64, what string) {
	w.t.Helper()
	log := w.next()
	if st := w.status(id); st != kvm.Ready {
		w.t.Errorf("killed at %s: the next tick stops at %s\n%s", what, st, log)
	}
}

// wide lets a process work on as many services at once as a test holds up in it.
func (w *world) wide() {
	w.t.Helper()
	w.ok("settings", "set", "cron.workers", "32")
	w.ok("settings", "set", "pve.requests_per_cluster", "32")
	w.ok("settings", "set", "pve.clones_per_node", "32")
}

// killedEach holds a process at all of the stops, one a service, kills it, and lets the next tick go on.
func (w *world) killedEach(env []string, stops []*stop, services []int64) {
	w.t.Helper()
	c := w.start(env, "cron", "--force")
	for _, s := range stops {
		s.await(c)
	}
	c.kill()
	for i, s := range stops {
		s.left()
		w.stillClaimed(services[i])
	}
	log := w.next()
	for i, id := range services {
		if st := w.status(id); st != kvm.Ready {
			w.t.Errorf("killed at %s: the next tick stops at %s: %s", stops[i].what, st, w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id))
		}
	}
	if w.t.Failed() {
		w.t.Log(log)
	}
}

// TestKilledAtEveryWrite kills the process at each request of a deployment that changes something in Proxmox, once before
// it has its effect and once after. So many services are in hand at once that each of them is held at one of these points.
func TestKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.everyRow()
	w.wide()
	w.order(7000)
	var mu sync.Mutex
	var writes []string
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if r.Method != "GET" && r.Stage == pvesim.Arrived {
			mu.Lock()
			defer mu.Unlock()
			writes = append(writes, r.Method+" "+r.Pattern)
		}
	})
	w.next()
	w.settle(7000)
	if len(writes) < 14 {
		t.Fatalf("only %d writes: %v", len(writes), writes)
	}
	services := ids(7001, 2*len(writes))
	w.order(services...)
	var stops []*stop
	vmid, seen := map[string]int{}, make([]int, len(services))
	for i, id := range services {
		stops = append(stops, newStop(t, fmt.Sprintf("write %d (%s), %s", i/2+1, writes[i/2], []pvesim.Stage{pvesim.Arrived, pvesim.Done}[i%2])))
		vmid[strconv.Itoa(w.vmid(id))] = i
	}
	w.holdEach(stops, func(i int, r pvesim.Request) bool {
		of := strconv.Itoa(r.VMID)
		if to, ok := r.Form["newid"]; ok {
			of = to
		}
		if n, ok := vmid[of]; !ok || n != i || r.Method == "GET" || r.Stage != []pvesim.Stage{pvesim.Arrived, pvesim.Done}[i%2] {
			return false
		}
		seen[i]++
		return seen[i] == i/2+1
	})
	w.killedEach(nil, stops, services)
	w.settle(append(services, 7000)...)
	w.distinct(append(services, 7000))
}

// TestKilledBetweenRows kills the process when the database has been told to store a row's status, and the process does not
// know that it has. Rows that come soon after one another share a process; the first alone is held in a lock of the process.
func TestKilledBetweenRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.everyRow()
	w.wide()
	tap, env := w.tap()
	var all []int64
	for _, rows := range [][]kvm.Status{
		{kvm.SetIP},
		{kvm.SetDNS, kvm.Cloned, kvm.Migrated, kvm.SetCPURAM, kvm.SetSystemDiskSize},
		{kvm.SetSystemDiskBandwidth, kvm.SetCreatedAdditionalDisk, kvm.SetAdditionalDiskSize, kvm.SetAdditionalDiskLimits, kvm.SetNetwork},
		{kvm.SetFirewall, kvm.SetCloudinit, kvm.Starting, kvm.Ready},
	} {
		services := ids(int64(7000+len(all)), len(rows))
		all = append(all, services...)
		w.order(services...)
		var stops []*stop
		for _, to := range rows {
			stops = append(stops, newStop(t, "the move to "+string(to)))
		}
		tap.holdEach(stops, func(i int, r pvesim.Request) bool {
			return r.Stage == pvesim.Done && strings.HasPrefix(r.Path, "UPDATE puqProxmoxKVM_vm_info v ") &&
				strings.Contains(r.Path, "v.vm_status = '"+string(rows[i])+"', v.vm_id") && strings.Contains(r.Path, fmt.Sprintf("WHERE v.service_id = %d AND", services[i]))
		})
		w.killedEach(env, stops, services)
	}
	w.settle(all...)
	w.distinct(all)
	w.cloned(all...)
}

// TestKilledAtStatements kills the process at statements that change something in the database, chosen at random, before
// the server gets them or after it has carried them out.
func TestKilledAtStatements(t *testing.T) {
	const worlds, points = 2, 4 // a deployment mostly waits, so two at once; points in each
	first := seed(t)
	for n := range worlds {
		t.Run(fmt.Sprintf("world %d", n+1), func(t *testing.T) {
			t.Parallel()
			killAtStatements(t, rand.New(rand.NewPCG(first, uint64(n))), points)
		})
	}
}

func killAtStatements(t *testing.T, random *rand.Rand, points int) {
	w := newWorld(t, scene{})
	w.everyRow()
	tap, env := w.tap()
	// The very first start of a task takes a statement more than those that are counted on below.
	if c := w.start(env, "cron", "--force"); c.wait() != exitDone {
		t.Fatal(&c.errout)
	}
	all := []int64{7000}
	w.order(7000)
	var mu sync.Mutex
	var statements []string
	tap.setHook(func(_ context.Context, stage pvesim.Stage, text string) {
		if stage == pvesim.Arrived && changes(text) {
			mu.Lock()
			defer mu.Unlock()
			statements = append(statements, strings.Join(strings.Fields(text), " "))
		}
	})
	if c := w.start(env, "cron", "--force"); c.wait() != exitDone {
		t.Fatal(&c.errout)
	}
	w.settle(all...)
	if len(statements) < 40 {
		t.Fatalf("only %d statements: %q", len(statements), statements)
	}
	for i := range points {
		id, k := int64(7001+i), random.IntN(len(statements))
		stage := []pvesim.Stage{pvesim.Arrived, pvesim.Done}[random.IntN(2)]
		all = append(all, id)
		w.order(id)
		seen := 0
		s := tap.holdAt(t, fmt.Sprintf("statement %d of %d (%.100s), %s", k+1, len(statements), statements[k], stage), func(r pvesim.Request) bool {
			if r.Stage != stage || !changes(r.Path) {
				return false
			}
			seen++
			return seen == k+1
		})
		c := w.start(env, "cron", "--force")
		s.await(c)
		s.killed(c)
		w.goOn(id, s.what)
	}
	w.minutesLater(3) // the claim on a mail whose sending was begun ends by itself alone
	w.next()
	w.settle(all...)
	w.distinct(all)
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

// TestKilledBetweenPasswordAndCloudInit: the password that WHMCS shows is the one that the guest gets, also when the
// process dies between the two.
func TestKilledBetweenPasswordAndCloudInit(t *testing.T) {
	for _, stage := range []pvesim.Stage{pvesim.Arrived, pvesim.Done} {
		t.Run(string(stage), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scene{})
			w.order(7000)
			s := w.holdAt("the cloud-init request", func(r pvesim.Request) bool { return r.Stage == stage && r.Form["cipassword"] != "" })
			c := w.start(nil, "cron", "--force")
			sent := s.await(c)
			s.killed(c)
			stored := func() (user, password string) {
				secret, err := whmcs.NewCipher(kvm.NewSecret(testHash)).Decrypt(w.db.Text("SELECT password FROM tblhosting WHERE id = 7000"))
				if err != nil {
					t.Fatal(err)
				}
				return w.db.Text("SELECT username FROM tblhosting WHERE id = 7000"), secret.Reveal()
			}
			user, password := stored()
			if user == "" || user != sent.Form["ciuser"] || password != sent.Form["cipassword"] {
				t.Fatalf("stored %s %s, sent %s %s", user, password, sent.Form["ciuser"], sent.Form["cipassword"])
			}
			w.goOn(7000, s.what)
			if u, p := stored(); u != user || p != password {
				t.Errorf("stored %s %s before the kill, %s %s after", user, password, u, p)
			}
			for _, r := range w.sim.Requests() {
				if p, ok := r.Form["cipassword"]; ok && p != password {
					t.Errorf("the guest got the password %s, WHMCS shows %s", p, password)
				}
			}
			w.settle(7000)
		})
	}
}

// TestKilledWhileMailing: WHMCS has sent the mail, and the process dies before it hears of it.
func TestKilledWhileMailing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	w.api.Hang(1, true)
	c := w.start(nil, "cron", "--force")
	w.eventually("the mail is sent", func() bool { return len(w.api.Mails()) == 1 })
	c.kill()
	w.next() // WHMCS may still be busy with it: it is not sent again now
	w.minutesLater(3)
	w.next()
	w.settle(7000)
}
