package cmd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// crashing is a pipeline in the crash test.
type crashing struct {
	name string
	// prepare makes the scene, once a world.
	prepare func(w *world)
	// service makes what the order needs: the service, and where it is about a VM that stands, an undisturbed Deploy and what
	// has come to it since. It is no part of the run.
	service func(w *world, id int64)
	// order is the command that queues the work; the service's id follows. Cron does it, in one tick or two.
	order []string
	ticks int
	// settled is the status at which nothing is left to do.
	settled kvm.Status
	// mails is how many mails the customer gets.
	mails int
	// skips is how many rows of a tick have nothing to do, whatever the scene is.
	skips int
	// password: the guest gets one that WHMCS shows; else none is sent, and the one in WHMCS stays.
	password bool
	// kept: the password that the guest is given is the one that it had.
	kept bool
	// after is what follows the service's id in the order; nil = nothing.
	after func(w *world, id int64) []string
	// repeats: the order may be given again, or refused, when its work is done, and the service is settled also before.
	repeats bool
	// gone: there is no VM at the end.
	gone bool
	// holds says what of the work is not as it must be, also where nothing was disturbed; nil = nothing more than end sees.
	holds func(w *world, id int64, was identity) (wrong []string)
	// sampled: of the calls that write, too, only some are killed, unless all is asked for.
	sampled bool
}

// crashKind is a kind of disturbance.
type crashKind string

const (
	failsBefore  crashKind = "fails before"   // the connection is broken, nothing has happened
	failsAfter   crashKind = "fails after"    // it has happened, and the connection is broken before the answer
	cancels      crashKind = "cancel"         // the run's context ends, as at SIGTERM
	killedBefore crashKind = "kill -9 before" // the process is gone, nothing has happened
	killedAfter  crashKind = "kill -9 after"  // it has happened, and the process is gone
)

func (k crashKind) kills() bool { return k == killedBefore || k == killedAfter }

// stage is when the trouble comes.
func (k crashKind) stage() pvesim.Stage {
	if k == failsAfter || k == killedAfter {
		return pvesim.Done
	}
	return pvesim.Arrived
}

// crash is one run: a trouble at a point, perhaps a second one at a later call of the tick that follows, and whether WHMCS
// keeps no trace of its mails.
type crash struct {
	at        point
	kind      crashKind
	then      crashKind // "" = none
	thenAt    int       // the number of its call
	traceless bool
}

// String is what PUQKVM_TEST_CRASH repeats.
func (c crash) String() string {
	text := string(c.kind) + " @ " + c.at.key()
	if c.traceless {
		text += ", no trace"
	}
	if c.then != "" {
		text += fmt.Sprintf(", then %s @ call %d", c.then, c.thenAt)
	}
	return text
}

// crashWorld is a world in which one service after the other is disturbed.
type crashWorld struct {
	*world
	p     *crashing
	calls *calls
	// instant: no task of the cluster outlives the process that began it, so that the next tick has nothing to wait for.
	instant bool
	tables  []dumped
	next    int64
	want    []string // how a service ends that nothing disturbs
	points  []point  // what that one calls
}

// newCrashWorld makes a world and does the work once undisturbed.
func newCrashWorld(t *testing.T, p *crashing, clk clock.Clock, model *pvesim.Model) *crashWorld {
	t.Helper()
	w := &crashWorld{world: newWorld(t, scene{clock: clk, model: model}), p: p, next: 70001, instant: model.LinkedClone == 0 && model.Exact == nil}
	p.prepare(w.world)
	w.calls = w.listen()
	w.tick() // the first start of a task is a statement more
	w.tables = w.crashTables()
	id := w.service()
	was, log := w.identity(id), ""
	for _, c := range w.commands(id) {
		w.calls.begin(c.name, nil)
		log = w.ok(c.args...)
		if n := strings.Count(log, "(skip"); n > p.skips {
			t.Fatalf("%s: %d rows have nothing to do, so nothing is proved of them\n%s", p.name, n, log)
		}
		w.points = append(w.points, w.calls.made()...)
	}
	w.calls.begin("", nil)
	if st := w.status(id); st != p.settled {
		t.Fatalf("%s: undisturbed, the service ends at %s: %s\n%s", p.name, st, w.message(id), log)
	}
	var wrong []string
	if w.want, wrong = w.end(id, was); len(wrong) > 0 || w.sent(id) != was.mails+p.mails {
		t.Fatalf("%s: undisturbed, %v, %d mails\n%s", p.name, wrong, w.sent(id)-was.mails, log)
	}
	return w
}

// service is a new one.
func (w *crashWorld) service() int64 {
	id := w.next
	w.next++
	w.calls.begin("", nil)
	w.p.service(w.world, id)
	w.sim.ResetRequests()
	return id
}

// sent is how many mails the service's customer got.
func (w *world) sent(id int64) int {
	n := 0
	for _, m := range w.api.Mails() {
		if m.ServiceID == id {
			n++
		}
	}
	return n
}

// laterTick is the second tick of a service's work.
const laterTick = "cron again"

// work is a command of a service's work; each of two ticks has a name of its own.
type work struct {
	name string
	args []string
}

// commands are what does the service's work: the order, and ticks.
func (w *crashWorld) commands(id int64) []work {
	order := append(slices.Clone(w.p.order), strconv.FormatInt(id, 10))
	if w.p.after != nil {
		order = append(order, w.p.after(w.world, id)...)
	}
	list := []work{{w.p.order[0], order}, {"cron", []string{"cron", "--force"}}}
	if w.p.ticks > 1 {
		list = append(list, work{laterTick, []string{"cron", "--force"}})
	}
	return list
}

// again gives an order again, as one does who saw it fail. What is in hand already may be refused.
func (w *crashWorld) again(id int64, args []string) (wrong []string) {
	w.t.Helper()
	var out, errs string
	var code int
	for range 5 {
		// The claim of the one that was disturbed has run out by now: else the order would be refused, and tell nothing. The database
		// may take its last statement only after that.
		w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE service_id = ? AND claim_owner IS NOT NULL", id)
		if out, errs, code = w.run(args...); code != exitQueued || w.status(id) != kvm.Ready {
			break
		}
	}
	if code == exitDone || code == exitQueued || code == exitRefused && (w.status(id) != kvm.Ready || w.p.repeats) {
		return nil
	}
	return []string{fmt.Sprintf("the order, given again: exit %d\n%s%s", code, out, errs)}
}

// strike runs a command, called name, with a trouble where fits says so. reached = it came to that.
func (w *crashWorld) strike(name string, args []string, kind crashKind, fits func(p point, count int) bool) (reached bool, problem string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	held := newStop(w.t, "")
	var seen atomic.Bool
	w.calls.begin(name, func(call context.Context, stage pvesim.Stage, p point, count int) bool {
		if stage != kind.stage() || !fits(p, count) {
			return false
		}
		switch {
		case seen.Swap(true): // only the first
			return false
		case kind.kills():
			held.hold(call, pvesim.Request{})
			return false
		case kind == cancels:
			cancel()
			return false
		}
		return true
	})
	defer w.calls.begin("", nil)
	if !kind.kills() {
		out, errs, _ := w.runIn(ctx, "", args...) // whatever its code is
		if strings.Contains(out+errs, "panic") {
			problem = "the program panics: " + out + errs
		}
		return seen.Load(), problem
	}
	c := w.start([]string{fmt.Sprintf("%s=%d", atSpeed, processSpeed)}, args...)
	select {
	case <-held.reached:
		held.killed(c)
		return true, ""
	case <-c.done:
		return false, ""
	case <-time.After(patience):
		w.t.Fatalf("puqkvm %s neither came to the point nor ended\n%s%s", strings.Join(args, " "), &c.out, &c.errout)
	}
	return false, ""
}

// processSpeed is how much faster than the wall's the clock of a process is that gets killed.
const processSpeed = 50

// settleLimit is how many ticks a service may need after a disturbance.
const settleLimit = 12

// crashResult is what came of a crash.
type crashResult struct {
	reached bool
	ticks   int // that were needed after the disturbance
	wrong   []string
}

// crash disturbs a new service, ticks until it has settled, and compares.
func (w *crashWorld) crash(c crash) (res crashResult) {
	w.t.Helper()
	id := w.service()
	was := w.identity(id)
	before := w.others(w.tables, id, was.vmid)
	left := w.p.ticks // that the work may still need
	early := func(when string) {
		for _, text := range w.early(id, was) {
			res.wrong = append(res.wrong, when+": "+text)
		}
	}
	w.traceless.Store(c.traceless)
	defer w.traceless.Store(false)
	for i, cmd := range w.commands(id) {
		if cmd.name != c.at.command {
			w.ok(cmd.args...)
			continue
		}
		var problem string
		if res.reached, problem = w.strike(cmd.name, cmd.args, c.kind, func(p point, _ int) bool { return p.key() == c.at.key() }); problem != "" {
			res.wrong = append(res.wrong, problem)
		}
		early("after the trouble")
		if i == 0 {
			res.wrong = append(res.wrong, w.again(id, cmd.args)...)
		} else {
			left -= i - 1
		}
		break
	}
	if !res.reached {
		res.wrong = append(res.wrong, "the run never came to it")
	}
	mailed := c.at.side == toAPI && c.kind.stage() == pvesim.Done
	if c.then != "" {
		var mail atomic.Bool
		if _, problem := w.strike("cron", []string{"cron", "--force"}, c.then, func(p point, count int) bool {
			if count == c.thenAt && p.side == toAPI {
				mail.Store(true)
			}
			return count == c.thenAt
		}); problem != "" {
			res.wrong = append(res.wrong, problem)
		}
		early("after the second trouble")
		mailed = mailed || mail.Load()
	}
	for ; res.ticks < settleLimit && (!w.done(id) || w.p.repeats && res.ticks < 2); res.ticks++ {
		if res.ticks > 0 {
			w.minute()
		}
		out, errs, code := w.run("cron", "--force")
		if code != exitDone {
			res.wrong = append(res.wrong, fmt.Sprintf("the tick after it: exit %d\n%s%s", code, out, errs))
		}
		early(fmt.Sprintf("after tick %d", res.ticks+1))
		if st := w.status(id); res.ticks == left-1 && c.kind.kills() && w.instant && st != w.p.settled {
			res.wrong = append(res.wrong, fmt.Sprintf("the %d next ticks do not go on at once, they leave it at %s: %s", left, st, w.message(id)))
		}
	}
	if st := w.status(id); st != w.p.settled {
		res.wrong = append(res.wrong, fmt.Sprintf("after %d ticks it is at %s: %s", res.ticks, st, w.message(id)))
	} else {
		w.minutesLater(1)
		// What is wrong in DNS stops no run: it is told, and this mends it.
		if out, errs, code := w.run("dns", "sync", strconv.FormatInt(id, 10)); code != exitDone {
			res.wrong = append(res.wrong, fmt.Sprintf("dns sync: exit %d\n%s%s", code, out, errs))
		}
		lines, wrong := w.end(id, was)
		res.wrong = append(append(res.wrong, wrong...), changed(w.want, lines)...)
	}
	if n := w.sent(id) - was.mails; n != w.p.mails && (n != w.p.mails+1 || !mailed || !c.traceless) {
		res.wrong = append(res.wrong, fmt.Sprintf("%d mails", n))
	}
	res.wrong = append(res.wrong, changed(before, w.others(w.tables, id, was.vmid, w.vmid(id)))...)
	return res
}

// done says that nothing is left to do for the service, and nobody holds it.
func (w *crashWorld) done(id int64) bool {
	return w.status(id) == w.p.settled && w.sim.Settled() &&
		w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE service_id = ? AND claim_owner IS NOT NULL AND claim_until > UTC_TIMESTAMP(6)", id) == "0" &&
		w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_outbox WHERE service_id = ? AND state <> 'sent'", id) == "0"
}

// minute lets a minute pass for what the database keeps of claims and pauses, and for the cluster; on a clock that runs by
// itself no longer than the cluster is at work.
func (w *crashWorld) minute() {
	w.t.Helper()
	if f, ok := w.clock.(*clock.Fake); ok {
		f.Advance(time.Minute)
	} else {
		for end := w.clock.Now().Add(time.Minute); !w.sim.Settled() && w.clock.Now().Before(end); {
			if err := w.clock.Sleep(w.t.Context(), time.Second); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.minutesLater(1)
	w.db.Exec("UPDATE puq_proxmox_kvm_outbox SET next_try = next_try - INTERVAL 1 MINUTE WHERE state <> 'sent'")
}

const (
	// soakVar, where it is set, asks for everything.
	soakVar = "PUQKVM_SOAK"
	// crashVar is the begin of the names of the crashes that alone are to be run.
	crashVar = "PUQKVM_TEST_CRASH"
)

func soak() bool { return os.Getenv(soakVar) != "" }
