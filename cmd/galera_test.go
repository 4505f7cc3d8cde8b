//go:build galera

package cmd

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestGalera is three hosts, each with a Galera node and a cron process that knows this node alone, and 200 orders. On the
// way a node is killed -9 while its host has work in hand, comes back and joins again; then the cron process of another host
// is killed -9, also with work in hand. scripts/galera.sh starts the nodes.
func TestGalera(t *testing.T) {
	const services, throttle = 200, 2
	model := pvesim.SmallMachine()
	model.Exact = map[string]time.Duration{"qmclone": 4 * time.Second}
	w := newWorld(t, scene{model: model, clock: clock.NewScaled(epoch, 10)})
	hosts := newHosts(w)
	one, two, three := hosts[0], hosts[1], hosts[2]
	all := ids(6001, services)
	w.order(all...)
	w.attr = ownPIDs(t)

	watch := w.pace()
	a, b, c := one.cron(), two.cron(), three.cron()
	w.eventually("each host has work in hand, and a tenth is cloned", func() bool {
		return w.clonesSent() >= services/10 && len(two.held(b)) > 0 && len(three.held(c)) > 0
	})
	inHand := two.held(b)
	lostNode := two.orphan(b, "database node 2 is killed", two.kill)
	t.Logf("the process on node 2: exit %d after %v, %s", long(b), lostNode.since(), lastLine(&b.errout))
	if code := b.ProcessState.ExitCode(); code != exitUnknown {
		t.Errorf("the process whose database died: exit %d, want %d\n%s", code, exitUnknown, &b.errout)
	}
	deaf := two.cron()
	if code := long(deaf); code != exitUnknown || strings.Contains(deaf.out.String(), "Deploy") {
		t.Errorf("a process whose database is dead: exit %d, want %d\n%s%s", code, exitUnknown, &deaf.out, &deaf.errout)
	}

	two.start()
	w.eventually("node 2 has joined again", two.synced)
	t.Logf("node 2 was a member again %v after its death", lostNode.since())
	b = two.cron()
	// What the others have in hand, and what the dead one's claims still hold, host 2 leaves alone: it may have none.
	w.eventually("host 3 has work in hand", func() bool { return len(three.held(c)) > 0 })
	inHand = append(inHand, three.held(c)...)
	lostProcess := three.orphan(c, "cron process 3 is killed", c.kill)
	w.crontab(hosts, a, b)
	stall := watch.stop()

	var sum tally
	sum.add(w, all, stall)
	first := one.world().state()
	for _, h := range hosts {
		at := h.world()
		at.settle(all...)
		at.unclaimed()
		at.distinct(all)
		if diff := changed(first, at.state()); len(diff) > 0 {
			t.Errorf("node %d and node 1 differ in %d rows, such as\n%s", h.n, len(diff), diff[0])
		}
	}
	posts := w.posts("POST", "/clone", "newid")
	for _, id := range all { // a dead process's request may never have had an effect, and is then sent again
		if n := posts[strconv.Itoa(w.vmid(id))]; n != 1 && !slices.Contains(inHand, id) {
			t.Errorf("service %d: %d clone requests", id, n)
		}
	}
	for node, n := range w.overlap("qmclone") {
		if n > throttle {
			t.Errorf("%d clones at once on %s, and the throttle is %d", n, node, throttle)
		}
		t.Logf("up to %d clones at once on %s", n, node)
	}
	t.Logf("3 hosts: %v", sum)
	for _, o := range []*orphans{lostNode, lostProcess} {
		t.Logf("%s: %d services in hand; the last of them was in another's hand after %v", o.what, o.n, o.taken(t).Round(time.Millisecond))
	}
}

// host is a machine: a database node, and processes that are sent to it.
type host struct {
	w    *world
	n    int // of its node, from 1
	dir  string
	env  []string
	node *sql.DB
	dead string // the token of its dead process
}

func newHosts(w *world) []*host {
	w.t.Helper()
	dsns := strings.Fields(os.Getenv("PUQKVM_TEST_GALERA"))
	if len(dsns) != 3 {
		w.t.Fatalf("PUQKVM_TEST_GALERA names %d nodes and not 3: run make galera", len(dsns))
	}
	var out []*host
	for i, dsn := range dsns {
		h := &host{w: w, n: i + 1, dir: os.Getenv("PUQKVM_TEST_GALERA_DIR")}
		var err error
		if h.env, err = surroundings(dsn+w.db.Name, testHash, w.api.URL(), "puqkvm", testAPISecret); err != nil {
			w.t.Fatal(err)
		}
		if h.node, err = sql.Open("mysql", dsn+w.db.Name+"?wsrep_sync_wait=1"); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = h.node.Close() })
		out = append(out, h)
	}
	return out
}

// world is the installation as this host's node has it.
func (h *host) world() *world {
	w, db := *h.w, *h.w.db
	db.DB = h.node
	w.db = &db
	return &w
}

// cron starts a tick on the host.
func (h *host) cron() *child {
	h.w.t.Helper()
	return h.w.start(h.env, "cron", "--force")
}

// owner is a pattern of the token under which the running process claims. A namespace's number is given again after its end,
// so a dead process's token may fit too.
func (h *host) owner(c *child) string {
	h.w.t.Helper()
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.Process.Pid))
	if err != nil {
		h.w.t.Fatal(err)
	}
	pid := c.Process.Pid
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own != space {
		pid = 1
	}
	return fmt.Sprintf("%%/%s/%d/%%", strings.Trim(strings.TrimPrefix(space, "pid:"), "[]"), pid)
}

// held are the services that the running process has claimed, as node 1 sees it.
func (h *host) held(c *child) []int64 {
	h.w.t.Helper()
	select {
	case <-c.done:
		h.w.t.Fatalf("the process of host %d has ended already\n%s%s", h.n, &c.out, &c.errout)
	default:
	}
	var out []int64
	for _, id := range h.w.column("SELECT service_id FROM puqProxmoxKVM_vm_info WHERE claim_owner LIKE ? AND claim_owner <> ?", h.owner(c), h.dead) {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			h.w.t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// kill is kill -9 of the host's database node.
func (h *host) kill() {
	h.w.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, strconv.Itoa(h.n), "pid"))
	if err != nil {
		h.w.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		h.w.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.w.t.Fatal(err)
	}
}

// start starts the host's database node again.
func (h *host) start() {
	h.w.t.Helper()
	pipe, err := os.OpenFile(filepath.Join(h.dir, "life"), os.O_WRONLY, 0)
	if err != nil {
		h.w.t.Fatal(err)
	}
	defer func() { _ = pipe.Close() }()
	if _, err := fmt.Fprintf(pipe, "start %d\n", h.n); err != nil {
		h.w.t.Fatal(err)
	}
}

// synced says whether the host's node is a full member of the cluster.
func (h *host) synced() bool {
	var name, state string
	err := h.node.QueryRowContext(h.w.t.Context(), "SHOW STATUS LIKE 'wsrep_local_state_comment'").Scan(&name, &state)
	return err == nil && state == "Synced"
}
