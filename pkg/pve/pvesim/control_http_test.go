package pvesim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// board is a control address in use.
type board struct {
	t    *testing.T
	base string
}

func controlled(t *testing.T) (*Cluster, *client, board) {
	t.Helper()
	c, k := instant(t, Options{})
	s, err := c.ServeControl("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return c, k, board{t, "http://" + s.Addr}
}

// ask makes a request and wants this status; it gives the body.
func (b board) ask(want int, method, path, body string, header ...string) string {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		b.t.Fatalf("%s %s %s: %d %v, want %d\n%s", method, path, body, res.StatusCode, err, want, text)
	}
	return string(text)
}

// TestControlFaults: a fault comes, strikes what it names and nothing else, is counted, and goes.
func TestControlFaults(t *testing.T) {
	_, k, b := controlled(t)
	clone := func(status, newid string) {
		t.Helper()
		k.want(status, http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid="+newid)
	}
	if got := b.ask(200, "GET", "/faults", ""); got != "[]\n" {
		t.Errorf("before: %s", got)
	}
	b.ask(200, "POST", "/faults", `{"method":"POST","path":"/nodes/{node}/qemu/{vmid}/clone","guest":101,"count":2,"status":500,"reason":"VM is locked (backup)"}`)
	b.ask(200, "POST", "/faults", `{"path":"/nodes/*/qemu/102/config","status":595,"reason":"No route to host","delay":"1ms"}`)
	clone("200 OK", "102")
	clone("500 VM is locked (backup)", "101")
	k.want("595 No route to host", http.MethodGet, "/nodes/pve1/qemu/102/config", "")
	clone("500 VM is locked (backup)", "101")
	clone("200 OK", "101")
	var list []faultForm
	if err := json.Unmarshal([]byte(b.ask(200, "GET", "/faults", "")), &list); err != nil || len(list) != 2 || list[0].Hits != 2 || list[1].Hits != 1 || list[1].Delay != "1ms" {
		t.Errorf("%v: %+v", err, list)
	}
	b.ask(200, "DELETE", "/faults/2", "")
	k.want("200 OK", http.MethodGet, "/nodes/pve1/qemu/102/config", "")
	b.ask(404, "DELETE", "/faults/2", "")
	b.ask(200, "POST", "/faults", `{"task_error":"unexpected status"}`)
	b.ask(200, "DELETE", "/faults", "")
	clone("200 OK", "103")
	if got := b.ask(200, "GET", "/faults", ""); got != "[]\n" {
		t.Errorf("after: %s", got)
	}
}

// TestControlCluster: nodes, storages, VMs and quorum do as they are told, and the state says so.
func TestControlCluster(t *testing.T) {
	c, k, b := controlled(t)
	if err := c.AddVM(VM{VMID: 200, Node: "pve2", Running: true, Config: map[string]string{"onboot": "1"}}); err != nil {
		t.Fatal(err)
	}
	b.ask(200, "POST", "/nodes/pve2", `{"online":false}`)
	k.want("595 No route to host", http.MethodGet, "/nodes/pve2/qemu/200/config", "")
	var state struct {
		Nodes []struct {
			Node   string
			Online bool
		}
		Storages []struct {
			Storage string
			Full    bool
		}
		VMs []struct {
			VMID  int
			Power kvm.Power
			Lock  string
		}
		Tasks []struct {
			Type, Status string
			VMID         int
		}
	}
	look := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(b.ask(200, "GET", "/state", "")), &state); err != nil {
			t.Fatal(err)
		}
	}
	if look(); len(state.Nodes) != 2 || state.Nodes[1].Online || len(state.VMs) != 2 || state.VMs[0].Power != kvm.Stopped {
		t.Errorf("down: %+v", state)
	}
	b.ask(200, "POST", "/nodes/pve2", `{"online":true}`)
	b.ask(200, "POST", "/vms/200", `{"lock":"backup"}`)
	b.ask(200, "POST", "/storages/local-lvm", `{"full":true}`)
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100&full=1")
	if look(); state.VMs[0].VMID != 200 || state.VMs[0].Power != kvm.Running || state.VMs[0].Lock != "backup" || !state.Storages[1].Full ||
		len(state.Tasks) != 1 || state.Tasks[0].VMID != 100 || !strings.Contains(state.Tasks[0].Status, "free space in thin pool") {
		t.Errorf("booted, locked, full: %+v", state)
	}
	b.ask(200, "POST", "/vms/200", `{"traffic":{"in":1000,"out":50}}`)
	if m := c.vms[200]; m.traffic.in != 1000 || m.traffic.out != 50 {
		t.Errorf("traffic %+v", m.traffic)
	}
	b.ask(200, "POST", "/vms/200", `{"lock":"","power":"stopped"}`)
	b.ask(200, "POST", "/cluster", `{"quorate":false}`)
	k.want("500 cluster not ready - no quorum?", http.MethodPost, "/nodes/pve2/qemu/200/status/start", "")
	b.ask(200, "POST", "/cluster", `{"quorate":true}`)
	k.want("200 OK", http.MethodPost, "/nodes/pve2/qemu/200/status/start", "")
	if look(); state.VMs[0].Power != kvm.Running || state.VMs[0].Lock != "" {
		t.Errorf("at the end: %+v", state)
	}
}

// TestControlRequests: the log is told without secrets, and can be emptied.
func TestControlRequests(t *testing.T) {
	_, k, b := controlled(t)
	const secret = "the-password-of-this-test"
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
	k.want("200 OK", http.MethodPut, "/nodes/pve1/qemu/100/config", "ciuser=me&cipassword="+secret)
	text := b.ask(200, "GET", "/requests", "")
	if strings.Contains(text, secret) || !strings.Contains(text, `"cipassword": "***"`) || !strings.Contains(text, `"ciuser": "me"`) || !strings.Contains(text, `"newid": "100"`) {
		t.Errorf("the log: %s", text)
	}
	if last := b.ask(200, "GET", "/requests?limit=1", ""); strings.Contains(last, "newid") || !strings.Contains(last, "ciuser") {
		t.Errorf("the last: %s", last)
	}
	b.ask(200, "DELETE", "/requests", "")
	if got := b.ask(200, "GET", "/requests", ""); got != "[]\n" {
		t.Errorf("emptied: %s", got)
	}
}

// TestControlRefuses: bad input is refused whole, in words that tell how to mend it, and changes nothing.
func TestControlRefuses(t *testing.T) {
	c, _, b := controlled(t)
	before := b.ask(200, "GET", "/state", "")
	for _, x := range []struct {
		code               int
		method, path, body string
		says               string
	}{
		{400, "POST", "/faults", ``, "the body is empty"},
		{400, "POST", "/faults", `{}`, "it does nothing: give status"},
		{400, "POST", "/faults", `[{"status":500}]`, "the body: "},
		{400, "POST", "/faults", `{"status":500}{"status":500}`, "one request sets one thing"},
		{400, "POST", "/faults", `{"status":500,"resaon":"x"}`, `unknown field \"resaon\"`},
		{400, "POST", "/faults", `{"status":"500"}`, "the body: "},
		{400, "POST", "/faults", `{"status":99}`, "status 99: it is 200 to 599"},
		{400, "POST", "/faults", `{"status":600}`, "status 600"},
		{400, "POST", "/faults", `{"status":500,"hang":true}`, "status or body, hang: a fault does one of them"},
		{400, "POST", "/faults", `{"reason":"why","hang":true}`, "reason and after go with a status"},
		{400, "POST", "/faults", `{"status":500,"reason":"a\r\nSet-Cookie: b"}`, "it is one line"},
		{400, "POST", "/faults", `{"status":500,"method":"PATCH"}`, "it is GET, POST, PUT or DELETE"},
		{400, "POST", "/faults", `{"status":500,"path":"/nodes/{node}/lxc"}`, "the simulator has no such call"},
		{400, "POST", "/faults", `{"status":500,"method":"GET","path":"/nodes/{node}/qemu/{vmid}/clone"}`, "no such call by GET"},
		{400, "POST", "/faults", `{"status":500,"path":"nodes"}`, "a path below /api2/json"},
		{400, "POST", "/faults", `{"status":500,"path":"/nodes/[a"}`, "a path below /api2/json"},
		{400, "POST", "/faults", `{"status":500,"rate":1.5}`, "it is a probability"},
		{400, "POST", "/faults", `{"status":500,"count":-1}`, "count -1: it is 0 or more"},
		{400, "POST", "/faults", `{"node_down":"60"}`, `node_down \"60\": it is a time like`},
		{400, "POST", "/faults", `{"task_killed_after":"-2s"}`, "it is a time like"},
		{400, "POST", "/faults", `{"id":7,"status":500}`, "are told, not set"},
		{404, "DELETE", "/faults/one", ``, `there is no fault \"one\"`},
		{404, "POST", "/nodes/pve9", `{"online":false}`, `there is no node \"pve9\"; there is [\"pve1\" \"pve2\"]`},
		{400, "POST", "/nodes/pve1", `{}`, `\"online\" is missing`},
		{404, "POST", "/storages/none", `{"full":true}`, `there is no storage \"none\"`},
		{400, "POST", "/storages/shared", `{"full":1}`, "the body: "},
		{400, "POST", "/vms/many", `{"lock":"backup"}`, "is no VMID"},
		{404, "POST", "/vms/100", `{"lock":"backup"}`, "there is no such VM"},
		{400, "POST", "/vms/9000", `{"lock":"mine"}`, "Proxmox VE has"},
		{400, "POST", "/vms/9000", `{"power":"on"}`, `it is \"running\" or \"stopped\"`},
		{400, "POST", "/vms/9000", `{"power":"running","lock":"backup"}`, "is a template"},
		{400, "POST", "/vms/9000", `{"traffic":{"in":-1}}`, "are bytes a second"},
		{400, "POST", "/cluster", `{}`, `\"quorate\" is missing`},
		{400, "GET", "/requests?limit=0", ``, "it is a number from 1 on"},
		{404, "GET", "/nothing", ``, "GET / tells which there are"},
		{404, "PUT", "/faults", `{"status":500}`, "GET / tells which there are"},
	} {
		if got := b.ask(x.code, x.method, x.path, x.body); !strings.Contains(got, x.says) {
			t.Errorf("%s %s %s: %s does not say %s", x.method, x.path, x.body, got, x.says)
		}
	}
	// A page of another origin in a browser on the same machine.
	b.ask(403, "POST", "/nodes/pve1", `{"online":false}`, "Origin", "https://example.com")
	if after := b.ask(200, "GET", "/state", ""); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	if got := b.ask(200, "GET", "/faults", ""); got != "[]\n" {
		t.Errorf("faults: %s", got)
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "[::]:0", "example.com:0", "8007", ""} {
		if s, err := c.ServeControl(addr); err == nil {
			_ = s.Close()
			t.Errorf("it serves at %q", addr)
		} else if addr != "" && !strings.Contains(err.Error(), fmt.Sprintf("%q", addr)) {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

// TestControlHelp: the manual names every call and every field, so that none is hidden.
func TestControlHelp(t *testing.T) {
	_, _, b := controlled(t)
	help := b.ask(200, "GET", "/", "")
	all, err := json.Marshal(faultForm{1, 1, "m", "p", 1, 1, 1, 1, 1, 1, "r", true, "b", "d", true, true, true, "t", true, "k", "u", "n"})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(all, &fields); err != nil || len(fields) != 22 {
		t.Fatalf("%v: %v", err, fields)
	}
	words := strings.FieldsFunc(help, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r == '/') })
	for name := range fields {
		if name != "id" && name != "hits" && !slices.Contains(words, name) {
			t.Errorf("%s is not in the manual", name)
		}
	}
	for _, call := range []string{"/faults", "/nodes/NAME", "/storages/ID", "/vms/VMID", "/cluster", "/state", "/requests"} {
		if !slices.Contains(words, call) {
			t.Errorf("%s is not in the manual", call)
		}
	}
}
