package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// The sides that the program calls.
const (
	toSQL = "sql"
	toPVE = "pve"
	toAPI = "api" // WHMCS's
	toDNS = "dns" // HestiaCP's API
)

// point is one external call of a command: the n-th of its name, so that it is found again in another run, whose polls and
// times are others.
type point struct {
	command string // the program's: create, cron
	side    string
	name    string
	n       int
	writes  bool
	detail  string // a statement's begin, for the reader alone
}

// key names the point.
func (p point) key() string { return fmt.Sprintf("%s: %s %s #%d", p.command, p.side, p.name, p.n) }

func (p point) String() string {
	if p.detail == "" {
		return p.key()
	}
	return p.key() + " (" + p.detail + ")"
}

// calls stands between the program and everything outside, and numbers what the program asks of it.
type calls struct {
	mu      sync.Mutex
	command string
	seen    map[string]int
	list    []point
	open    map[context.Context]point // by the connection or the request
	hit     hit
}

// hit is told of a call when it arrives, the count-th of its command, and when it is done. It may hold it. cut = the
// connection is broken: at Arrived before the call has any effect, at Done before the program has its answer.
type hit func(ctx context.Context, stage pvesim.Stage, p point, count int) (cut bool)

// begin numbers the calls of the program's next command anew.
func (c *calls) begin(command string, h hit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.command, c.hit, c.list = command, h, nil
	c.seen, c.open = map[string]int{}, map[context.Context]point{}
}

// made are the calls since begin.
func (c *calls) made() []point {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]point(nil), c.list...)
}

// reach is a call at a stage; the rest describes it.
func (c *calls) reach(ctx context.Context, stage pvesim.Stage, side, name, detail string, writes bool) (cut bool) {
	c.mu.Lock()
	p, known := c.open[ctx]
	switch {
	case stage == pvesim.Arrived:
		key := side + " " + name
		c.seen[key]++
		p = point{command: c.command, side: side, name: name, n: c.seen[key], writes: writes, detail: detail}
		c.list = append(c.list, p)
		c.open[ctx] = p
	case known:
		delete(c.open, ctx)
	default: // of a command before
		c.mu.Unlock()
		return false
	}
	h, count := c.hit, len(c.list)
	c.mu.Unlock()
	return h != nil && h(ctx, stage, p, count)
}

// listen puts calls between the world's program, in this process or its own, and everything outside.
func (w *world) listen() *calls {
	w.t.Helper()
	c := &calls{}
	c.begin("", nil)
	w.heard.Store(c)
	tap, env := w.tap()
	tap.setHook(func(ctx context.Context, stage pvesim.Stage, text string) bool {
		return c.reach(ctx, stage, toSQL, statementName(text), statementDetail(text), changes(text))
	})
	w.sim.SetHook(func(ctx context.Context, r pvesim.Request) {
		if c.reach(ctx, r.Stage, toPVE, requestName(r), "", r.Method != http.MethodGet) {
			panic(http.ErrAbortHandler) // net/http breaks the connection
		}
	})
	w.env = append(w.env, append(env, "PUQKVM_WHMCS_API_URL="+w.front(c))...)
	return c
}

// front is an address before WHMCS's API.
func (w *world) front(c *calls) (url string) {
	w.t.Helper()
	return w.before(toAPI, w.api, func() *calls { return c }, "action", func(string) bool { return true })
}

// before is an address before a server, whose calls are reached: they have their name in the field of the form.
func (w *world) before(side string, server http.Handler, of func() *calls, field string, writes func(name string) bool) (url string) {
	w.t.Helper()
	return serveLocal(w.t, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err != nil || r.ParseForm() != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c, name := of(), r.PostForm.Get(field)
		if c != nil && c.reach(r.Context(), pvesim.Arrived, side, name, "", writes(name)) || r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		if c != nil && c.reach(r.Context(), pvesim.Done, side, name, "", writes(name)) {
			panic(http.ErrAbortHandler)
		}
		for key, values := range answer.Header() {
			out.Header()[key] = values
		}
		out.WriteHeader(answer.Code)
		_, _ = out.Write(answer.Body.Bytes())
	})) + "/"
}

// serveLocal serves on a free port of this machine until the test ends.
func serveLocal(t testing.TB, handler http.Handler) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: handler}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l) // ends by Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return "http://" + l.Addr().String()
}

// statementName is a statement's verb and its first table, brackets aside.
func statementName(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	verb, _, _ := strings.Cut(text, " ")
	if strings.HasPrefix(text, "START TRANSACTION") {
		return "START TRANSACTION"
	}
	inner := regexp.MustCompile(`\([^()]*\)`)
	for bare := inner.ReplaceAllString(text, ""); bare != text; bare = inner.ReplaceAllString(text, "") {
		text = bare
	}
	if m := regexp.MustCompile("\\b(?:FROM|INTO|UPDATE) `?([A-Za-z_][A-Za-z0-9_.]*)").FindStringSubmatch(text); m != nil {
		return verb + " " + m[1]
	}
	return verb
}

// statementDetail is a statement without its values, cut.
func statementDetail(text string) string {
	text = regexp.MustCompile(`'(?:[^'\\]|\\.)*'`).ReplaceAllString(strings.Join(strings.Fields(text), " "), "?")
	if len(text) > 90 {
		text = text[:90] + "…"
	}
	return text
}

// requestName is a request's row of the API's table, and of a question about a task its type.
func requestName(r pvesim.Request) string {
	name := r.Method + " " + r.Pattern
	if r.Pattern == "" {
		name = r.Method + " " + r.Path
	}
	if _, upid, found := strings.Cut(r.Path, "/tasks/UPID:"); found {
		if f := strings.Split(upid, ":"); len(f) > 4 {
			name += " " + f[4]
		}
	}
	return name
}

// TestCallsAreNamed: the names are what a point is found by again.
func TestCallsAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"SELECT COUNT(*) FROM puq_proxmox_kvm_slots WHERE x = 1":          "SELECT puq_proxmox_kvm_slots",
		"INSERT INTO puq_proxmox_kvm_outbox\n\t\t(mail_key) VALUES ('a')": "INSERT puq_proxmox_kvm_outbox",
		"UPDATE puqProxmoxKVM_vm_info SET\n a = 'FROM x'":                 "UPDATE puqProxmoxKVM_vm_info",
		"DELETE t FROM puq_proxmox_kvm_slots t LEFT JOIN b v ON 1":        "DELETE puq_proxmox_kvm_slots",
		"SELECT a, (SELECT MAX(b) FROM c WHERE d IN ('e')) FROM f":        "SELECT f",
		"START TRANSACTION": "START TRANSACTION", "COMMIT": "COMMIT", "SET a = 1": "SET", "COMMAND 0x0e": "COMMAND",
	} {
		if got := statementName(text); got != want {
			t.Errorf("%q is named %q, want %q", text, got, want)
		}
	}
	task := pvesim.Request{Method: "GET", Pattern: "/nodes/{node}/tasks/{upid}/status", Path: "/nodes/pve1/tasks/UPID:pve1:0000A:0000B:0000C:qmclone:9000:root@pam!x:/status"}
	if got := requestName(task); got != "GET /nodes/{node}/tasks/{upid}/status qmclone" {
		t.Error(got)
	}
}
