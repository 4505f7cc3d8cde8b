package pvesim

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// client calls a served cluster with the token of TwoNodes.
type client struct {
	t    *testing.T
	base string
	http *http.Client
}

// instant is TwoNodes without any delay, served over TLS.
func instant(t *testing.T, opts Options) (*Cluster, *client) {
	t.Helper()
	if opts.Model == nil {
		opts.Model = Instant()
	}
	if opts.Clock == nil {
		opts.Clock = clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	}
	c, err := TwoNodes(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c, serve(t, c)
}

// serve serves c over TLS and gives a client for it.
func serve(t *testing.T, c *Cluster) *client {
	t.Helper()
	server, err := c.ServeTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, base: server.URL + "/api2/json", http: &http.Client{Transport: transport}}
}

func (k *client) request(ctx context.Context, method, path, form string) *http.Request {
	k.t.Helper()
	hr, err := http.NewRequestWithContext(ctx, method, k.base+path, strings.NewReader(form))
	if err != nil {
		k.t.Fatal(err)
	}
	hr.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	hr.Header.Set("Authorization", "PVEAPIToken=root@pam!whmcs="+TwoNodesSecret)
	return hr
}

// do gives the status line and body, or an error where there was no answer.
func (k *client) do(method, path, form string) (status, body string, err error) {
	k.t.Helper()
	res, err := k.http.Do(k.request(context.Background(), method, path, form))
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.Status, string(text), err
}

func (k *client) want(status, method, path, form string) string {
	k.t.Helper()
	got, body, err := k.do(method, path, form)
	if err != nil || got != status {
		k.t.Fatalf("%s %s: %q %v, want %q\n%s", method, path, got, err, status, body)
	}
	return body
}

const clonePath = "/nodes/{node}/qemu/{vmid}/clone"

func TestFaultAnswers(t *testing.T) {
	for _, f := range []struct {
		name   string
		fault  Fault
		status string
		body   string
		vm     bool // the clone happened
	}{
		{"lock", Fault{Status: 500, Reason: "VM is locked (backup)"}, "500 VM is locked (backup)", `{"data":null,"message":"VM is locked (backup)\n"}`, false},
		{"quorum", Fault{Status: 500, Reason: "cluster not ready - no quorum?"}, "500 cluster not ready - no quorum?", `{"data":null,"message":"cluster not ready - no quorum?\n"}`, false},
		{"401", Fault{Status: 401, Reason: "Authentication failed!"}, "401 Authentication failed!", "", false},
		{"403", Fault{Status: 403}, "403 Forbidden", `{"data":null,"message":"Forbidden\n"}`, false},
		{"595", Fault{Status: 595, Reason: "No route to host"}, "595 No route to host", "", false},
		{"596 after", Fault{Status: 596, Reason: "Connection timed out", After: true}, "596 Connection timed out", "", true},
		{"599 after", Fault{Status: 599, After: true}, "599 599", "", true},
		{"no JSON", Fault{Status: 502, Body: "<html>Bad Gateway</html>"}, "502 Bad Gateway", "<html>Bad Gateway</html>", false},
		{"no JSON after", Fault{Body: "oops"}, "200 OK", "oops", true},
	} {
		t.Run(f.name, func(t *testing.T) {
			c, k := instant(t, Options{})
			f.fault.Method, f.fault.Path, f.fault.Count = http.MethodPost, clonePath, 1
			armed := c.AddFault(f.fault)
			if body := k.want(f.status, http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100"); body != f.body {
				t.Errorf("body %q, want %q", body, f.body)
			}
			if _, found := c.VM(100); found != f.vm {
				t.Errorf("VM 100 exists: %v, want %v", found, f.vm)
			}
			if armed.Hits() != 1 {
				t.Errorf("struck %d times", armed.Hits())
			}
			c.RemoveVM(100)
			k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
		})
	}
}

func TestResets(t *testing.T) {
	for _, after := range []bool{false, true} {
		c, k := instant(t, Options{})
		c.AddFault(Fault{Method: http.MethodPost, Path: clonePath, ResetBefore: !after, ResetAfter: after, Count: 1})
		if status, _, err := k.do(http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100"); err == nil {
			t.Errorf("after=%v: got an answer %q", after, status)
		}
		if _, found := c.VM(100); found != after {
			t.Errorf("after=%v: VM 100 exists: %v", after, found)
		}
		if n := c.Counts()["POST "+clonePath]; n != 1 {
			t.Errorf("after=%v: the call came %d times", after, n)
		}
	}
}

func TestHangEndsWithTheClient(t *testing.T) {
	c, k := instant(t, Options{})
	c.AddFault(Fault{Method: http.MethodPost, Path: "/nodes/*/qemu/9000/clone", Hang: true})
	ctx, cancel := context.WithCancel(context.Background())
	arrived := make(chan struct{})
	c.SetHook(func(_ context.Context, r Request) {
		if r.Stage == Arrived && r.Method == http.MethodPost {
			close(arrived)
		}
	})
	ended := make(chan error, 1)
	go func() {
		_, err := k.http.Do(k.request(ctx, http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100"))
		ended <- err
	}()
	<-arrived
	cancel()
	if err := <-ended; err == nil {
		t.Error("a hanging call was answered")
	}
	if _, found := c.VM(100); found {
		t.Error("a hanging call had an effect")
	}
}

func TestHookSeesEffectBeforeTheAnswer(t *testing.T) {
	c, k := instant(t, Options{})
	var seen []string
	c.SetHook(func(_ context.Context, r Request) {
		_, found := c.VM(100)
		seen = append(seen, string(r.Stage)+map[bool]string{true: " VM", false: " no VM"}[found]+" "+r.Form["newid"])
	})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
	if got := strings.Join(seen, ", "); got != "arrived no VM 100, done VM 100" {
		t.Errorf("the hook saw %s", got)
	}
}

func TestTaskFaults(t *testing.T) {
	c, k := instant(t, Options{})
	c.AddFault(Fault{Path: clonePath, TaskError: "clone failed: copy failed", Count: 1})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
	if _, found := c.VM(100); found || len(c.Volumes(100)) > 0 {
		t.Errorf("a failed clone left %v", c.Volumes(100))
	}
	tasks := c.Tasks()
	if exit := tasks[len(tasks)-1].Exit; exit != "clone failed: copy failed" {
		t.Errorf("the task ended with %q", exit)
	}
	c.AddFault(Fault{Path: clonePath, TaskVanishes: true, Count: 1})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
	tasks = c.Tasks()
	upid := tasks[len(tasks)-1].UPID
	body := k.want("400 Parameter verification failed.", http.MethodGet, "/nodes/pve1/tasks/"+url.PathEscape(upid)+"/status", "")
	if !strings.Contains(body, "no such task") {
		t.Errorf("a vanished task answers %s", body)
	}
	if _, found := c.VM(100); !found {
		t.Error("the vanished clone did not happen")
	}
	c.AddFault(Fault{Path: "/nodes/{node}/qemu/{vmid}/status/start", TaskError: "WARNINGS: 1", VMID: 100, Count: 1})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/status/start", "")
	tasks = c.Tasks()
	if last := tasks[len(tasks)-1]; last.Exit != "WARNINGS: 1" || last.Log[len(last.Log)-1] != "TASK WARNINGS: 1" {
		t.Errorf("a start with warnings ended as %q, %q", last.Exit, last.Log)
	}
	if vm, _ := c.VM(100); vm.Power != "running" {
		t.Errorf("after a start with warnings the VM is %s", vm.Power)
	}
}

func TestFaultChoosesRequests(t *testing.T) {
	c, k := instant(t, Options{Seed: 7})
	c.AddFault(Fault{Path: "/version", Status: 500, Skip: 1, Count: 1})
	for i, want := range []string{"200 OK", "500 Internal Server Error", "200 OK"} {
		if status, _, err := k.do(http.MethodGet, "/version", ""); status != want || err != nil {
			t.Errorf("call %d: %q %v, want %q", i, status, err, want)
		}
	}
	armed := c.AddFault(Fault{Path: "/nodes", Status: 500, Rate: 0.5})
	for range 100 {
		_, _, _ = k.do(http.MethodGet, "/nodes", "")
	}
	if n := armed.Hits(); n < 30 || n > 70 {
		t.Errorf("a rate of a half struck %d of 100", n)
	}
	armed.Remove()
	k.want("200 OK", http.MethodGet, "/nodes", "")
}

func TestCrashLeavesALockedVM(t *testing.T) {
	model := Instant()
	model.Exact = map[string]time.Duration{"qmclone": time.Minute}
	clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, k := instant(t, Options{Model: model, Clock: clk})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
	clk.Advance(10 * time.Second)
	c.CrashNode("pve1")
	k.want("595 No route to host", http.MethodGet, "/nodes/pve1/qemu/100/config", "")
	clk.Advance(time.Hour)
	c.SetNodeDown("pve1", false)
	if vm, _ := c.VM(100); vm.Lock != "clone" {
		t.Errorf("after a crash: %v", vm)
	}
	if task := c.Tasks()[0]; task.Exit != "unexpected status" {
		t.Errorf("the task of a crashed node ended with %q", task.Exit)
	}
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=101")
}

func TestRequestLogKeepsSecretsAndOrder(t *testing.T) {
	c, k := instant(t, Options{LogLimit: 3})
	k.want("200 OK", http.MethodPut, "/nodes/pve1/qemu/9000/config", "cipassword=geheim")
	log := c.Requests()
	if e := log[len(log)-1]; e.Form["cipassword"] != "geheim" || e.User != "root@pam!whmcs" || e.Status != 200 || e.Pattern != "/nodes/{node}/qemu/{vmid}/config" {
		t.Errorf("log entry %+v", e)
	}
	vm, _ := c.VM(9000)
	if p := vm.Config["cipassword"]; !strings.HasPrefix(p, "$5$") || strings.Contains(p, "geheim") {
		t.Errorf("stored password %q", p)
	}
	for range 20 {
		k.want("200 OK", http.MethodGet, "/version", "")
	}
	if n := len(c.Requests()); n != 3 {
		t.Errorf("%d requests are kept, want 3", n)
	}
	if n := c.Counts()["GET /version"]; n != 20 {
		t.Errorf("counted %d", n)
	}
}

func TestBodies(t *testing.T) {
	c, k := instant(t, Options{})
	send := func(kind, body string) (string, string) {
		hr := k.request(context.Background(), http.MethodPut, "/nodes/pve1/qemu/9000/config", body)
		hr.Header.Set("Content-Type", kind)
		res, err := k.http.Do(hr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var text bytes.Buffer
		_, _ = text.ReadFrom(res.Body)
		return res.Status, text.String()
	}
	if status, body := send("application/json", `{"onboot":true,"cores":2,"name":"json"}`); status != "200 OK" || body != `{"data":null}` {
		t.Errorf("JSON: %s %s", status, body)
	}
	if vm, _ := c.VM(9000); vm.Config["onboot"] != "1" || vm.Config["cores"] != "2" || vm.Config["name"] != "json" {
		t.Errorf("JSON stored %v", vm.Config)
	}
	if status, body := send("application/json", `{"onboot":`); !strings.HasPrefix(status, "500 malformed JSON string") || strings.HasPrefix(body, "{") {
		t.Errorf("broken JSON: %s %s", status, body)
	}
	if status, _ := send("text/plain", "cores=1"); status != "506 upload 'Content-Type 'text/plain' not implemented" {
		t.Errorf("text: %s", status)
	}
}
