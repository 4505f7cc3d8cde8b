package cmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// modelFate is what becomes of a tick at the call at which it is disturbed.
type modelFate string

const (
	goesOn   modelFate = "goes on"
	modelDie modelFate = "kill -9"
)

// disturbance is what befalls a tick: where, what is done by others meanwhile, and how it goes on.
type disturbance struct {
	call   int // the number of the call
	writes bool
	stage  pvesim.Stage
	middle func() // "" = nothing
	fate   modelFate
	fails  bool // the call's connection is broken
	cancel bool
}

// tickOp is a tick that nothing disturbs but the troubles of the cluster.
func (m *model) tickOp(rng *rand.Rand) string {
	return m.relief(rng) + m.tick(nil)
}

// otherTickOp is a tick of another host, in the same minute.
func (m *model) otherTickOp(*rand.Rand) string {
	_, code := m.direct("cron", "--force")
	if code != exitDone {
		m.wrong("G6", "the tick of another host: exit %d", code)
	}
	return fmt.Sprintf("exit %d", code)
}

// relief lets troubles that last end by and by.
func (m *model) relief(rng *rand.Rand) (did string) {
	for _, node := range []string{"pve1", "pve2"} {
		if rng.IntN(3) == 0 && m.down[node] {
			m.up(node)
			did += node + " is up again; "
		}
	}
	if rng.IntN(3) == 0 && m.noQuorum {
		m.noQuorum = false
		m.sim.SetQuorum(true)
		did += "quorum again; "
	}
	for _, s := range m.list() {
		if rng.IntN(4) == 0 && !s.deleted && m.db.Text("SELECT domainstatus FROM tblhosting WHERE id = ?", s.id) != "Active" {
			m.db.Exec("UPDATE tblhosting SET domainstatus = 'Active' WHERE id = ?", s.id)
			did += fmt.Sprintf("%d is Active again; ", s.id)
		}
	}
	return did
}

// disturbedOp is a tick that is disturbed at one of its calls: others do something meanwhile, the call fails before or after
// its effect, the process is stopped, or it dies.
func (m *model) disturbedOp(rng *rand.Rand) string {
	d := &disturbance{call: 1 + rng.IntN(m.long), writes: rng.IntN(2) == 0, stage: []pvesim.Stage{pvesim.Arrived, pvesim.Done}[rng.IntN(2)], fate: goesOn}
	if d.writes {
		d.call = 1 + rng.IntN(max(1, m.long/4))
	}
	kind := "others act in the middle"
	switch rng.IntN(5) {
	case 0:
		d.fails, kind = true, "a call fails"
	case 1:
		d.cancel, kind = true, "stopped by a signal"
	case 2, 3:
		d.fate, kind = modelDie, "kill -9"
	}
	var did []string
	if n := rng.IntN(3); n > 0 || kind == "others act in the middle" {
		d.middle = func() {
			for range max(1, n) {
				op := chooseOp(rng, func(op *modelOp) bool { return op.middle })
				if said := op.do(m, rng); said != "" {
					did = append(did, op.name+": "+said)
				}
			}
			m.look("in the middle of a tick")
		}
	}
	said := m.relief(rng) + m.tick(d)
	m.tally.add("tick: " + kind)
	return fmt.Sprintf("%s at call %d, writes %v, %s; %s; meanwhile %q", kind, d.call, d.writes, d.stage, said, did)
}

// listener is told of each call that a tick makes, and cuts it where it says so.
type listener struct {
	mu   sync.Mutex
	hear func(stage pvesim.Stage, side string, writes bool) (cut bool)
}

func (l *listener) set(hear func(pvesim.Stage, string, bool) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hear = hear
}

func (l *listener) call(stage pvesim.Stage, side string, writes bool) (cut bool) {
	l.mu.Lock()
	hear := l.hear
	l.mu.Unlock()
	return hear != nil && hear(stage, side, writes)
}

// listenTo puts l between the world's program and everything outside.
func (w *world) listenTo(l *listener) {
	w.t.Helper()
	tap, env := w.tap()
	tap.setHook(func(_ context.Context, stage pvesim.Stage, text string) bool {
		return l.call(stage, toSQL, changes(text))
	})
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if l.call(r.Stage, toPVE, r.Method != http.MethodGet) {
			panic(http.ErrAbortHandler) // net/http breaks the connection
		}
	})
	c := &calls{}
	c.begin("", func(_ context.Context, stage pvesim.Stage, _ point, _ int) bool { return l.call(stage, toAPI, true) })
	w.env = append(w.env, append(env, "PUQKVM_WHMCS_API_URL="+w.front(c))...)
}

// troubled says whether the cluster has a trouble that may be everybody's.
func (m *model) troubled() bool {
	return len(m.faults) > 0 || m.noQuorum || m.down["pve1"] || m.down["pve2"]
}

// tick is a tick in the next minute. It sees to it that what it leaves can be taken up by the next.
func (m *model) tick(d *disturbance) string {
	m.t.Helper()
	calm := d == nil && !m.troubled()
	m.clk.Advance(time.Minute)
	m.minutesLater(1)
	m.db.Exec("UPDATE puq_proxmox_kvm_outbox SET next_try = next_try - INTERVAL 10 MINUTE WHERE state <> 'sent'")
	m.bury() // what the last statement of a dead tick has claimed: the database may have been at it when the tick was over
	before, since := m.statuses(), m.since()
	clear(m.touched)
	out, errs, code, hurt, reached := m.disturb(d)
	m.said([]string{"cron"}, out+errs)
	if strings.Contains(out+errs, "panic") {
		m.wrong("panic", "%s", out+errs)
	}
	if code != exitDone && !hurt {
		m.wrong("G6", "the tick ends with exit %d\n%s%s", code, out, errs)
	}
	left := m.bury()
	if d == nil && len(left) > 0 {
		m.wrong("claim", "the tick is over, and the claims of services %v are not let go", left)
	}
	for _, id := range left {
		m.touched[id] = true // it was in another's hand, perhaps in that of the tick before, whose last statement came late
	}
	for _, f := range m.faults {
		if f.ticks--; f.ticks <= 0 {
			f.Remove()
		}
	}
	m.faults = slices.DeleteFunc(m.faults, func(f *modelFault) bool { return f.ticks <= 0 })
	m.progress(before, since, calm, hurt)
	if d != nil && !reached {
		return fmt.Sprintf("exit %d, not reached; %s", code, m.summary(before))
	}
	return fmt.Sprintf("exit %d; %s", code, m.summary(before))
}

// summary is which services have moved, and why others have not.
func (m *model) summary(before map[int64]kvm.Status) string {
	var out []string
	for _, row := range m.rows("SELECT service_id, vm_status, COALESCE(message, '') FROM puqProxmoxKVM_vm_info ORDER BY service_id") {
		var id int64
		_, _ = fmt.Sscan(row[0], &id)
		switch was := string(before[id]); {
		case row[1] != was:
			out = append(out, fmt.Sprintf("%s %s>%s", row[0], was, row[1]))
		case pending(kvm.Status(row[1])):
			out = append(out, fmt.Sprintf("%s %s=", row[0], row[1]))
		default:
			continue
		}
		if row[2] != "" {
			out[len(out)-1] += " (" + row[2] + ")"
		}
	}
	return strings.Join(out, ", ")
}

// disturb runs a tick with d. hurt: it may end as it likes.
func (m *model) disturb(d *disturbance) (out, errs string, code int, hurt, reached bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	var made, written int
	var struck, dead, held bool
	holding, free := make(chan struct{}), make(chan struct{})
	m.listener.set(func(stage pvesim.Stage, side string, writes bool) (cut bool) {
		mu.Lock()
		if dead && !held {
			mu.Unlock()
			return true
		}
		if stage == pvesim.Arrived && !held {
			made++
			if writes {
				written++
			}
		}
		n := made
		if d != nil && d.writes {
			n = written
		}
		if d == nil || held || struck || stage != d.stage || n < d.call || d.writes && !writes {
			mu.Unlock()
			return false
		}
		struck = true
		if d.middle != nil && side == toPVE { // a statement that is held may hold others
			held = true
			mu.Unlock()
			close(holding)
			<-free
			mu.Lock()
			held = false
		}
		defer mu.Unlock()
		hurt = d.fails && side != toPVE || d.cancel || d.fate == modelDie
		if d.cancel {
			cancel()
		}
		if d.fate == modelDie {
			dead = true
			cancel()
			return true
		}
		return d.fails
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		out, errs, code = m.runIn(ctx, "", "cron", "--force")
	}()
	select {
	case <-holding:
		m.held = true
		d.middle()
		m.held = false
		close(free)
		<-done
	case <-done:
	}
	m.listener.set(nil)
	mu.Lock()
	defer mu.Unlock()
	if d == nil && made > 40 {
		m.long = made
	}
	return out, errs, code, hurt, struck
}

// bury makes the claims that a dead tick has left look as what they would be if it had been a process of its own, and
// says whose they were.
func (m *model) bury() (left []int64) {
	m.t.Helper()
	for _, row := range m.rows("SELECT service_id, claim_owner FROM puqProxmoxKVM_vm_info WHERE claim_owner IS NOT NULL") {
		if f := strings.Split(row[1], "/"); len(f) == 6 && f[4] != "1" {
			id, err := strconv.ParseInt(row[0], 10, 64)
			if err != nil {
				m.t.Fatal(err)
			}
			left = append(left, id)
			f[4] = "1" // no process of this pid began then
			m.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = ? WHERE service_id = ?", strings.Join(f, "/"), row[0])
		}
	}
	m.db.Exec("UPDATE puq_proxmox_kvm_outbox SET claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE claim_until IS NOT NULL")
	return left
}

// statuses are those of all services.
func (m *model) statuses() map[int64]kvm.Status {
	out := map[int64]kvm.Status{}
	for _, row := range m.rows("SELECT service_id, vm_status FROM puqProxmoxKVM_vm_info") {
		var id int64
		_, _ = fmt.Sscan(row[0], &id)
		out[id] = kvm.Status(row[1])
	}
	return out
}

// since is when each service has reached its status.
func (m *model) since() map[int64]string {
	out := map[int64]string{}
	for _, row := range m.rows("SELECT service_id, COALESCE(status_since, '') FROM puqProxmoxKVM_vm_info") {
		var id int64
		_, _ = fmt.Sscan(row[0], &id)
		out[id] = row[1]
	}
	return out
}

// pending says whether cron has something to do for a service at this status.
func pending(s kvm.Status) bool {
	switch s.Phase() {
	case kvm.PhaseReady, kvm.PhaseRemove, kvm.PhaseErrorTerminate, kvm.PhaseErrorRestore, kvm.PhaseUnknown:
		return false
	}
	return true
}

// modelPatience is how many calm ticks a service without trouble of its own may stay where it is.
const modelPatience = 4

// exhaustedWords is how a service says that the pools have too few addresses.
var exhaustedWords = regexp.MustCompile(`not enough|free|exhausted`)

// progress checks that each service which has something to do has moved or says why not, and that those which have no
// trouble do move.
func (m *model) progress(before map[int64]kvm.Status, since map[int64]string, calm, hurt bool) {
	now, reached, vms := m.statuses(), m.since(), m.sim.VMs()
	own := m.own(vms)
	for _, s := range m.list() {
		was, is := before[s.id], now[s.id]
		// One that came to its end and was noted for the same again stands where it stood, and has moved.
		if !pending(is) || was != is || since[s.id] != reached[s.id] || m.touched[s.id] || hurt {
			s.still = 0
			continue
		}
		message := m.message(s.id)
		if message == "" {
			m.wrong("G7", "service %d stays at %s and does not say why", s.id, is)
		}
		if !calm || m.excused(s, is, own, message) {
			s.still = 0
			continue
		}
		if s.still++; s.still >= modelPatience {
			m.wrong("G6", "service %d has no trouble and stays at %s for %d ticks: %s; its VM was taken by hand %v, deleted %v, VMs %d", s.id, is, s.still, message, s.taken, s.deleted, len(own[s.id]))
		}
	}
}

// excused says whether a service has a trouble of its own, for which nothing moves it.
func (m *model) excused(s *modelService, is kvm.Status, own map[int64][]pvesim.VMState, message string) bool {
	row := m.rows("SELECT v.vm_id, v.vm_uuid, COALESCE(h.domainstatus, ''), v.vm_name FROM puqProxmoxKVM_vm_info v LEFT JOIN tblhosting h ON h.id = v.service_id WHERE v.service_id = ?", s.id)[0]
	var vmid int
	_, _ = fmt.Sscan(row[0], &vmid)
	if _, foreign := m.foreign[vmid]; foreign && row[1] != "" || foreign && strings.Contains(message, "has our name") {
		return true // its VM was taken away, and the VMID is somebody else's
	}
	if len(own[s.id]) > 0 && own[s.id][0].Lock != "" {
		return true
	}
	if row[2] != "Active" && is.Phase() != kvm.PhaseTerminate && strings.Contains(message, "WHMCS") {
		return true
	}
	if s.taken && row[1] != "" && len(own[s.id]) == 0 {
		return true
	}
	return m.scarce() && exhaustedWords.MatchString(message) && (is == kvm.Creation || is == kvm.ChangePackage)
}

// scarce says whether a pool has so few addresses left that a service may have to wait.
func (m *model) scarce() bool {
	return m.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses") > "0"
}
