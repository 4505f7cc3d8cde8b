package pvesim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// levels are where the state before a case comes from. At first a case meets what the cases of its group before it have
// made of the cluster. Where that gives another answer, the state is also taken from the case's outcome (a refusal that
// names a lock means that there was one), and at last from what the answer tells (a configuration that was read). A case
// that needs a later level than before has got worse: testdata has the level of each.
var levels = []string{"", "outcome", "answer"}

// world is the cluster that one group's cases are played on.
type world struct {
	t         *testing.T
	version   string
	known     *knowledge
	c         *Cluster
	clk       *clock.Fake
	server    *httptest.Server
	cookie    *http.Cookie
	csrf      string
	upids     map[string]string // recorded to simulated
	temporary []*op             // end with the case
	touched   map[int]bool      // VMs whose state before the case has been settled
}

const rootToken = "root@pam!test"

func newWorld(t *testing.T, version string, known *knowledge) *world {
	t.Helper()
	w := &world{t: t, version: version, known: known, clk: clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)),
		upids: map[string]string{}}
	model := SmallMachine()
	model.Read, model.Daemon, model.Write, model.Start = 0, 0, 0, 0
	model.FullClone, model.CopyRate = 300*time.Millisecond, 0 // the recorded disks were empty
	c, err := New(Options{Version: version, Clock: w.clk, Model: model, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.c = c
	c.AddNode(Node{Name: known.node, CPUs: 4})
	for _, id := range sortedKeys(known.storages) {
		c.AddStorage(known.storages[id])
	}
	c.AddUser("root@pam", "pvetest")
	c.AddToken(rootToken, "s", false)
	w.server = httptest.NewServer(c.Handler())
	return w
}

// outcome is what came of an exchange.
type outcome struct {
	status int
	reason string
	json   bool
	doc    map[string]any
	text   string
	exit   string
	took   time.Duration
}

// play plays a case with the state that the level gives it, and says in what the answers differ from the recorded ones.
func (w *world) play(c *trial, level string) []string {
	w.touched = map[int]bool{}
	defer w.settle()
	var differences []string
	for i := 0; i < len(c.steps); {
		n := 1
		for i+n < len(c.steps) && sameMoment(c.steps[i], c.steps[i+n]) {
			n++
		}
		together := slices.Clone(c.steps[i : i+n])
		slices.SortStableFunc(together, func(a, b *exchange) int {
			return strings.Compare(fmt.Sprint(a.status(), a.upid()), fmt.Sprint(b.status(), b.upid()))
		})
		outcomes := make([]outcome, n)
		for k, x := range together {
			if k > 0 && x.status() != http.StatusOK {
				w.clk.Advance(w.c.model.Fork + time.Millisecond)
			}
			outcomes[k] = w.do(x, level)
		}
		for k, x := range together {
			w.finish(x, &outcomes[k], i+n == len(c.steps))
			for _, d := range w.compare(x, outcomes[k]) {
				if len(c.steps) > 1 {
					d = x.Call + ": " + d
				}
				differences = append(differences, d)
			}
		}
		w.release()
		i += n
	}
	return differences
}

// sameMoment says whether two steps were made at the same moment: the same change twice.
func sameMoment(a, b *exchange) bool {
	at, _ := a.path()
	other, _ := b.path()
	return a.method() == b.method() && at == other && a.method() == http.MethodPost && (a.Exit != "" || a.status() != 200) &&
		strings.Contains(a.Form, "id=") == strings.Contains(b.Form, "id=") && (b.Exit != "" || b.status() != 200)
}

var upidInPath = regexp.MustCompile(`UPID(?::|%3A)[^/?]*`)

// do makes the call of x.
func (w *world) do(x *exchange, level string) outcome {
	header := w.credentials(x)
	if level != "" {
		w.prepare(x)
	}
	if level == "answer" {
		w.answered(x)
	}
	var got outcome
	for range 6 {
		got = w.send(x, header)
		if got.status != http.StatusForbidden || got.reason == x.reason() || !w.grant(x, got.reason) {
			break
		}
	}
	return got
}

// release ends what was only there for the steps that have been made.
func (w *world) release() {
	w.c.lock()
	defer w.c.mu.Unlock()
	for _, o := range w.temporary {
		o.end(nil)
	}
	w.temporary = nil
}

func (w *world) send(x *exchange, header http.Header) outcome {
	target := upidInPath.ReplaceAllStringFunc(x.url(), func(text string) string {
		recorded, _ := url.PathUnescape(text)
		if mine := w.upids[recorded]; mine != "" {
			return url.PathEscape(mine)
		}
		return text
	})
	if strings.HasSuffix(strings.SplitN(target, "?", 2)[0], "/status") && x.exitStatus() != "" {
		w.settle()
	}
	hr, err := http.NewRequest(x.method(), w.server.URL+target, strings.NewReader(w.body(x)))
	w.must(err)
	hr.Header = header.Clone()
	if x.Type != "" {
		hr.Header.Set("Content-Type", x.Type)
	} else if x.Form != "" {
		hr.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	begun := w.clk.Now()
	res, err := http.DefaultClient.Do(hr)
	w.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	w.must(err)
	got := outcome{status: res.StatusCode, reason: strings.TrimPrefix(res.Status, strconv.Itoa(res.StatusCode)+" "), text: string(text),
		json: strings.HasPrefix(res.Header.Get("Content-Type"), "application/json"), took: w.clk.Now().Sub(begun)}
	if got.json {
		w.must(json.Unmarshal(text, &got.doc))
	}
	return got
}

// exitStatus is the end of a task that x has read.
func (x *exchange) exitStatus() string {
	var status struct{ Exitstatus string }
	if json.Unmarshal(x.Data, &status) != nil {
		return ""
	}
	return status.Exitstatus
}

// finish lets the task of x end, and interrupts it when the recorded one was.
func (w *world) finish(x *exchange, got *outcome, last bool) {
	upid, _ := got.doc["data"].(string)
	if !upidPattern.MatchString(upid) {
		return
	}
	if recorded := x.upid(); recorded != "" {
		w.upids[recorded] = upid
	}
	if x.Exit == "" && !last {
		return
	}
	w.c.lock()
	t := w.c.byUPID[upid]
	w.c.mu.Unlock()
	if interrupted.MatchString(x.Exit) {
		w.clk.Advance(2 * w.c.model.Fork)
		w.c.lock()
		t.interrupt()
		w.c.mu.Unlock()
	}
	w.until(func() bool { return t.ended })
	got.exit = t.exit
}

var interrupted = regexp.MustCompile(`received interrupt|interrupted by signal`)

// settle lets all tasks end.
func (w *world) settle() { w.until(func() bool { return w.c.running == 0 }) }

// stuck is what a simulator does that waits for itself.
type stuck string

// until lets the time pass that it takes for something to be so.
func (w *world) until(so func() bool) {
	for range 100_000 {
		w.c.lock()
		done, next := so(), w.c.untilNext(time.Minute)
		w.c.mu.Unlock()
		if done {
			return
		}
		w.clk.Advance(next)
	}
	panic(stuck("the tasks do not end"))
}

// body is x's body, with the digest that holds now in the place of a recorded one that was good.
func (w *world) body(x *exchange) string {
	if strings.HasPrefix(x.Type, "application/json") || !digestInForm.MatchString(x.Form) || strings.Contains(x.Form, strings.Repeat("0", 40)) {
		return w.password(x)
	}
	w.c.lock()
	defer w.c.mu.Unlock()
	now := ""
	if path, _ := x.path(); strings.Contains(path, "/firewall/") {
		now = (&request{c: w.c, vars: map[string]string{"vmid": strconv.Itoa(x.vmid())}}).firewallOf().digest()
	} else if m := w.c.vms[x.vmid()]; m != nil {
		now = digestOf(m.file())
	}
	return digestInForm.ReplaceAllString(x.Form, "digest="+now)
}

var digestInForm = regexp.MustCompile(`digest=[0-9a-f]{40}`)

// password puts a ticket that is good now in the place of a recorded one.
func (w *world) password(x *exchange) string {
	before, _, found := strings.Cut(x.Form, "password=PVE%3A")
	if !found || x.status() != http.StatusOK {
		return x.Form
	}
	w.login()
	return before + "password=" + url.QueryEscape(w.ticketText())
}

func (w *world) ticketText() string {
	text, _ := url.PathUnescape(w.cookie.Value)
	return text
}
