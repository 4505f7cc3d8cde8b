package cmd

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// quietly says whether the verb may go another way where c strikes, without a word: the power state decides about a stop, not
// the end of its task; a guest whose agent fails is restarted; what is known to be done already is not asked for again; a backup
// that cannot be read is nobody's.
func (c laterCell) quietly() bool {
	return c.done || c.pattern == "/nodes/{node}/vzdump/extractconfig" && (c.fault.Status == 403 || strings.HasPrefix(c.trouble.name, "lock")) || c.fault.NodeDown > 0 || strings.HasSuffix(c.pattern, "/agent/set-user-password") ||
		c.tasks && (strings.HasSuffix(c.pattern, "/status/shutdown") || strings.HasSuffix(c.pattern, "/status/stop"))
}

// left says whether text names what a trouble with a task has left: the lock, or the power state, which is all that is said
// of a forced stop whose task fails.
func (c laterCell) left(text string) bool {
	if c.fault.NodeDown > 0 && strings.Contains(text, "VM is locked (") { // by what has died with the node
		return true
	}
	return c.tasks && (strings.HasSuffix(c.pattern, "/status/stop") && strings.HasSuffix(text, "does not stop (status: running)") ||
		strings.HasSuffix(c.pattern, "/snapshot/{snapname}") && strings.HasSuffix(text, "locked by Proxmox (snapshot-delete)") ||
		strings.HasSuffix(c.pattern, "/rollback") && strings.HasSuffix(text, "locked by Proxmox (rollback)") ||
		strings.HasSuffix(c.pattern, "/vzdump") && strings.Contains(text, "locked by Proxmox (backup)"))
}

// lasting says whether waiting cannot mend the trouble of c, so that a terminate gives up.
func (c laterCell) lasting() bool { return c.fault.Status == 403 }

// meet is one cell.
func (w *laterWorld) meet(c laterCell) {
	w.t.Helper()
	id := w.standing()
	if c.prepare != nil {
		c.prepare(w.world, id)
	}
	m := &meeting{laterWorld: w, c: c, id: id, was: w.identity(id)}
	w.sim.ResetRequests()
	if c.order != nil {
		m.args = w.args(c.later, id)
		if !c.now {
			w.ok(m.args...)
		}
	}
	s := w.strike(c.faultCell, m.was.vmid)
	log := ""
	for n := range 2 {
		if c.now {
			m.asks(fmt.Sprintf("asked for the %d. time", n+1))
		}
		if !c.now || m.asked {
			log = w.tick()
			m.hears(fmt.Sprintf("in tick %d", n+1), m.words())
		}
		for !w.sim.Settled() {
			if err := w.clock.Sleep(w.t.Context(), time.Second); err != nil {
				w.t.Fatal(err)
			}
		}
		m.holdsNow(fmt.Sprintf("after tick %d", n+1))
	}
	if s.hits() == 0 {
		w.t.Errorf("it never struck\n%s", log)
	}
	s.end()
	w.sim.SetHook(nil)
	if c.fault.NodeDown > 0 {
		w.nodesBack()
	}
	if c.fault.NodeDown > 0 || c.tasks {
		m.unlock() // what a worker that died has locked waits for an administrator
	}
	for range 5 {
		ended := len(w.laterEnd(c.later, id, m.was)) == 0
		if w.status(id) == c.settled && w.message(id) == "" && (ended || !c.rests && !c.now) {
			break
		}
		if w.status(id) == kvm.ErrorTerminate || !ended && m.atRest() {
			m.again()
		}
		log = w.tick()
	}
	for _, wrong := range w.laterEnd(c.later, id, m.was) {
		w.t.Error(wrong)
	}
	if w.t.Failed() {
		w.t.Logf("it said %q; the last tick:\n%s", m.said, log)
	}
	w.away(id, m.was)
}

// meeting is one cell on its way.
type meeting struct {
	*laterWorld
	c     laterCell
	id    int64
	was   identity
	args  []string // the order, nil = there is none
	asked bool     // the order was taken
	said  []string
}

// words are what the service says: the message of its row, or of one that is at rest again what its runs have said.
func (m *meeting) words() string {
	text := m.message(m.id)
	if text == "" && m.c.rests {
		text = strings.Join(m.column("SELECT message FROM puq_proxmox_kvm_runs WHERE service_id = ? AND message <> '' ORDER BY id", m.id), "\n")
	}
	return text
}

// hears checks that text, which the service or the order has said, names the trouble.
func (m *meeting) hears(when, text string) {
	m.t.Helper()
	m.said = append(m.said, text)
	says := m.c.says
	if m.c.now {
		says = strings.TrimPrefix(says, "^waiting on .*")
	}
	if !regexp.MustCompile("(?m)"+says).MatchString(text) && !(text == "" && m.c.quietly()) && !m.c.left(text) && !patient(m.c.faultCell, text) {
		m.t.Errorf("%s it is at %s and says %q", when, m.status(m.id), text)
	}
}

// asks gives an order that meets the trouble itself, unless it was taken. One that is refused changes nothing of the status;
// where it may have been done all the same, it may be refused for that.
func (m *meeting) asks(when string) {
	m.t.Helper()
	if m.asked {
		return
	}
	_, errs, code := m.run(m.args...)
	errs = strings.TrimSpace(errs)
	switch {
	case code == exitDone || code == exitQueued && m.status(m.id) != m.c.settled:
		m.asked = true
		if !m.c.quietly() {
			m.t.Errorf("%s it was taken as if there were no trouble", when)
		}
	case code == exitRefused && (m.c.done || m.c.tasks) && len(m.said) > 0:
		m.said = append(m.said, errs)
	default:
		m.hears(when, errs)
	}
}

// holdsNow checks what must hold at every moment.
func (m *meeting) holdsNow(when string) {
	m.t.Helper()
	w, c, st := m.laterWorld, m.c, m.status(m.id)
	wrong := w.early(m.id, m.was)
	if c.lasts != nil {
		wrong = append(wrong, c.lasts(w.world, m.id, m.was)...)
	}
	for _, text := range wrong {
		m.t.Errorf("%s: %s", when, text)
	}
	// Of a VM that is gone nothing may be freed while nobody can prove it.
	if c.later.name == "terminate, gone" && (st == kvm.Remove || len(w.addresses(m.id)) != len(m.was.addresses)) {
		m.t.Errorf("%s: without a proof that its VM is gone it is at %s, with the addresses %v", when, st, w.addresses(m.id))
	}
	givenUp := st == kvm.ErrorTerminate || st == kvm.ErrorRestore || c.rests && st == kvm.Ready && len(w.laterEnd(c.later, m.id, m.was)) > 0
	if givenUp && !c.now && !c.lasting() && !((c.tasks || c.fault.NodeDown > 0) && c.rests) && !(c.order == nil && m.message(m.id) != "") {
		m.t.Errorf("%s: it has given up: %s", when, m.words())
	}
}

// atRest says whether nothing goes on for the service by itself.
func (m *meeting) atRest() bool {
	st := m.status(m.id)
	return (m.c.rests || m.c.now) && (st == kvm.Ready || st == kvm.ErrorRestore)
}

// again does what one does who sees that it was not done, and gives what the answer was: the order is given again. Of what cron
// tries again, the hour passes.
func (m *meeting) again() string {
	m.t.Helper()
	switch {
	case m.status(m.id) == kvm.ErrorTerminate:
		return m.ok("terminate", strconv.FormatInt(m.id, 10))
	case m.args == nil:
		m.db.Exec("UPDATE puqProxmoxKVM_vm_info SET backup_after = backup_after - INTERVAL 1 HOUR WHERE service_id = ?", m.id)
		return ""
	}
	_, errs, code := m.run(m.args...)
	m.said = append(m.said, fmt.Sprintf("again: exit %d %s", code, errs))
	return errs
}

// unlock does what an administrator must after a crash: a task that died with its node has left its lock, for which the node has
// not started the VM. The program must have said that it waits for this lock.
func (m *meeting) unlock() {
	m.t.Helper()
	vm, found := m.sim.VM(m.was.vmid)
	if !found || vm.Lock == "" {
		return
	}
	for _, task := range m.sim.Tasks() {
		if task.Guest == vm.VMID && task.End.IsZero() {
			return // it is at work
		}
	}
	if !m.c.rests && !m.c.now {
		m.faultWorld.unlock(m.id)
		return
	}
	text := ""
	if !m.atRest() {
		m.tick()
		text = m.message(m.id)
	}
	if m.atRest() {
		text += m.again()
		m.tick()
		text += m.message(m.id)
	}
	if !strings.Contains(text, fmt.Sprintf("locked by Proxmox (%s)", vm.Lock)) && !strings.Contains(text, fmt.Sprintf("VM is locked (%s)", vm.Lock)) &&
		!strings.Contains(text, fmt.Sprintf("left the lock %q", vm.Lock)) {
		m.t.Errorf("%q does not name the lock %s", text, vm.Lock)
	}
	if err := m.sim.SetLock(vm.VMID, ""); err != nil {
		m.t.Error(err)
	}
	if vm.Power == kvm.Stopped && m.c.now { // nor has its node started it
		m.ok("start", strconv.FormatInt(m.id, 10))
	}
}
