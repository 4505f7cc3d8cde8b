package cmd

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// patience is how long a test waits for something that a process does; only a test that fails waits for so long.
const patience = time.Minute

// child is puqkvm as a process of its own.
type child struct {
	*exec.Cmd
	t           testing.TB
	out, errout bytes.Buffer
	done        chan struct{} // closed when it has ended
	began       time.Time
	took        time.Duration
}

// start starts a process on the wall's clock. Where env names a variable again, the last one counts.
func (w *world) start(env []string, args ...string) *child {
	return w.startTo(nil, env, args...)
}

// startTo is start with another stdout.
func (w *world) startTo(stdout io.Writer, env []string, args ...string) *child {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	c := &child{Cmd: exec.Command(self, args...), t: w.t, done: make(chan struct{}), began: time.Now()}
	c.Env = slices.Concat([]string{asProgram + "=1", "TZ=UTC", "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + w.t.TempDir()}, w.env, env)
	c.Stdout, c.Stderr, c.SysProcAttr = &c.out, &c.errout, w.attr
	if stdout != nil {
		c.Stdout = stdout
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_ = c.Wait() // how it ended is in ProcessState
		c.took = time.Since(c.began)
	}()
	w.t.Cleanup(func() {
		_ = c.Process.Kill()
		<-c.done
	})
	return c
}

// wait waits for the end and gives the exit code, -1 after a signal.
func (c *child) wait() int {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = c.Process.Signal(syscall.SIGQUIT) // its goroutines go to stderr
		<-c.done
		c.t.Fatalf("the process did not end within %v\n%s%s", patience, &c.out, &c.errout)
	}
	if strings.Contains(c.errout.String(), "DATA RACE") {
		c.t.Fatal(&c.errout)
	}
	return c.ProcessState.ExitCode()
}

// kill is kill -9.
func (c *child) kill() {
	c.t.Helper()
	if err := c.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	<-c.done
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		c.t.Fatalf("the process had ended before it was killed: %v\n%s%s", c.ProcessState, &c.out, &c.errout)
	}
}

// next is the next tick: a process that must end well. It gives the log.
func (w *world) next() string {
	w.t.Helper()
	c := w.start(nil, "cron", "--force")
	if code := c.wait(); code != exitDone {
		w.t.Fatalf("cron: exit %d\n%s%s", code, &c.out, &c.errout)
	}
	return c.out.String()
}

// stop is a point at which the world holds one request of the program, until it is let go.
type stop struct {
	t       testing.TB
	what    string
	reached chan pvesim.Request
	gone    chan struct{} // closed when the program has given the request up
	free    chan struct{}
	once    sync.Once
}

func newStop(t testing.TB, what string) *stop {
	s := &stop{t: t, what: what, reached: make(chan pvesim.Request, 1), gone: make(chan struct{}), free: make(chan struct{})}
	t.Cleanup(s.release)
	return s
}

// killed kills c, which is at the stop, and lets the request go when the other side has seen c leave: so it has no effect
// that it has not had yet.
func (s *stop) killed(c *child) {
	s.t.Helper()
	c.kill()
	s.left()
}

// left lets the request of a dead process go.
func (s *stop) left() {
	s.t.Helper()
	select {
	case <-s.gone:
	case <-time.After(patience):
		s.t.Fatalf("nobody saw the process leave at %s", s.what)
	}
	s.release()
}

// release lets the request go.
func (s *stop) release() { s.once.Do(func() { close(s.free) }) }

// hold holds until release.
func (s *stop) hold(ctx context.Context, r pvesim.Request) {
	s.reached <- r
	stop := context.AfterFunc(ctx, func() { close(s.gone) })
	defer stop()
	<-s.free
}

// await waits until c is at the stop.
func (s *stop) await(c *child) pvesim.Request {
	s.t.Helper()
	select {
	case r := <-s.reached:
		return r
	case <-c.done:
		s.t.Fatalf("the process ended before %s\n%s%s", s.what, &c.out, &c.errout)
	case <-time.After(patience):
		s.t.Fatalf("the process never came to %s\n%s%s", s.what, &c.out, &c.errout)
	}
	return pvesim.Request{}
}

// holdAt holds the first request to Proxmox that fits.
func (w *world) holdAt(what string, fits func(pvesim.Request) bool) *stop {
	s := newStop(w.t, what)
	w.holdEach([]*stop{s}, func(_ int, r pvesim.Request) bool { return fits(r) })
	return s
}

// holdEach holds the first request that fits at each of the stops.
func (w *world) holdEach(stops []*stop, fits func(i int, r pvesim.Request) bool) {
	w.sim.SetHook(pick(stops, fits))
}

// pick is a hook that holds the first request that fits at each of the stops.
func pick(stops []*stop, fits func(i int, r pvesim.Request) bool) func(context.Context, pvesim.Request) {
	var mu sync.Mutex
	held := make([]bool, len(stops))
	return func(ctx context.Context, r pvesim.Request) {
		mu.Lock()
		mine := slices.IndexFunc(stops, func(s *stop) bool {
			i := slices.Index(stops, s)
			return !held[i] && fits(i, r)
		})
		if mine >= 0 {
			held[mine] = true
		}
		mu.Unlock()
		if mine >= 0 {
			stops[mine].hold(ctx, r)
		}
	}
}

// at fits a request by its stage, method, and the end of its row of the API's table.
func at(stage pvesim.Stage, method, row string) func(pvesim.Request) bool {
	return func(r pvesim.Request) bool {
		return r.Stage == stage && r.Method == method && strings.HasSuffix(r.Pattern, row)
	}
}

// send makes a request to Proxmox as somebody else would.
func (w *world) send(method, path string, form map[string]string) error {
	body := url.Values{}
	for k, v := range form {
		body.Set(k, v)
	}
	r, err := http.NewRequest(method, "https://"+w.pve.Addr+"/api2/json"+path, strings.NewReader(body.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "PVEAPIToken=root@pam!whmcs="+pvesim.TwoNodesSecret)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, answer.Status)
	}
	return nil
}

// minutesLater makes what the database keeps of claims as old as if n minutes had passed.
func (w *world) minutesLater(n int) {
	w.t.Helper()
	for _, table := range []string{"puqProxmoxKVM_vm_info", "puq_proxmox_kvm_outbox"} {
		w.db.Exec("UPDATE "+table+" SET claim_until = claim_until - INTERVAL ? MINUTE WHERE claim_until IS NOT NULL", n)
	}
	w.db.Exec("UPDATE puq_proxmox_kvm_leases SET until = until - INTERVAL ? MINUTE", n)
}

// eventually waits until what is so.
func (w *world) eventually(what string, so func() bool) {
	w.t.Helper()
	w.eventuallyWithin(patience, what, so)
}

// eventuallyWithin is eventually with another patience.
func (w *world) eventuallyWithin(patience time.Duration, what string, so func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !so() {
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("it never came about that %s", what)
		}
	}
}

// posts are the requests of the log that fit, by the value of key.
func (w *world) posts(method, row, key string) map[string]int {
	out := map[string]int{}
	for _, r := range w.sim.Requests() {
		if r.Method == method && strings.HasSuffix(r.Pattern, row) {
			out[r.Form[key]]++
		}
	}
	return out
}

// cloned checks that the log has exactly one clone request for each service's VM and no other.
func (w *world) cloned(ids ...int64) {
	w.t.Helper()
	posts := w.posts("POST", "/clone", "newid")
	for _, id := range ids {
		vmid := strconv.Itoa(w.vmid(id))
		if posts[vmid] != 1 {
			w.t.Errorf("service %d: VM %s was cloned %d times", id, vmid, posts[vmid])
		}
		delete(posts, vmid)
	}
	if len(posts) != 0 {
		w.t.Errorf("cloned and no service's: %v", posts)
	}
}

// distinct checks that no two services share what is one service's alone.
func (w *world) distinct(services []int64) {
	w.t.Helper()
	for _, query := range []string{
		"SELECT COUNT(DISTINCT address) FROM puq_proxmox_kvm_addresses",
		"SELECT COUNT(DISTINCT dedicatedip) FROM tblhosting WHERE dedicatedip <> ''",
		"SELECT COUNT(DISTINCT vm_id) FROM puqProxmoxKVM_vm_info",
		"SELECT COUNT(DISTINCT vm_uuid) FROM puqProxmoxKVM_vm_info",
		"SELECT COUNT(DISTINCT vm_net0_mac) FROM puqProxmoxKVM_vm_info",
		"SELECT COUNT(DISTINCT service_id) FROM puq_proxmox_kvm_outbox",
	} {
		if n := w.db.Text(query); n != strconv.Itoa(len(services)) {
			w.t.Errorf("%s: %s for %d services", query, n, len(services))
		}
	}
}

// overlap is the greatest number of tasks of a type that ran at once on a node.
func (w *world) overlap(typ string) map[string]int {
	return w.overlapBy(typ, func(t pvesim.TaskState) string { return t.Node })
}

// overlapBy is overlap among the tasks of one key.
func (w *world) overlapBy(typ string, key func(pvesim.TaskState) string) map[string]int {
	type edge struct {
		at   time.Time
		step int
	}
	edges := map[string][]edge{}
	for _, task := range w.sim.Tasks() {
		if task.Type != typ {
			continue
		}
		end := task.End
		if end.IsZero() {
			end = w.clock.Now().Add(time.Hour)
		}
		edges[key(task)] = append(edges[key(task)], edge{task.Start, 1}, edge{end, -1})
	}
	out := map[string]int{}
	for node, list := range edges {
		slices.SortFunc(list, func(a, b edge) int {
			if c := a.at.Compare(b.at); c != 0 {
				return c
			}
			return a.step - b.step // an end before a begin of the same moment
		})
		n := 0
		for _, e := range list {
			n += e.step
			out[node] = max(out[node], n)
		}
	}
	return out
}

// unclaimed checks that no claim of a service is left, held or ended.
func (w *world) unclaimed() {
	w.t.Helper()
	if n := w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE claim_owner IS NOT NULL"); n != "0" {
		w.t.Errorf("%s claims were not let go", n)
	}
}

// stillClaimed checks that the dead process's claim would hold for longer than a test may take, so that a next tick that
// goes on at once has not waited for its end.
func (w *world) stillClaimed(id int64) {
	w.t.Helper()
	left := w.db.Text("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), claim_until) FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	if n, err := strconv.Atoi(left); err != nil || n < 30 {
		w.t.Fatalf("the claim of the dead process on service %d lasts %q s", id, left)
	}
}

// everyRow gives the product something to do in each row of Deploy.
func (w *world) everyRow() {
	w.t.Helper()
	w.ok("product", "set", "1", "clone_type=full", "system_storage=local-lvm", "node=pve2", "additional_size=10",
		"system_mbps_rd=100", "additional_mbps_wr=50", "bandwidth=12")
}

func (w *world) want(id int64, want kvm.Status) {
	w.t.Helper()
	if st := w.status(id); st != want {
		w.t.Fatalf("service %d is at %s, want %s: %s", id, st, want, w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id))
	}
}

func ids(first int64, n int) []int64 {
	var out []int64
	for i := range n {
		out = append(out, first+int64(i))
	}
	return out
}
