package pvesim

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestFingerprintIsTheCertificates(t *testing.T) {
	c, err := TwoNodes(Options{Model: Instant()})
	if err != nil {
		t.Fatal(err)
	}
	server, err := c.ServeTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := tls.Dial("tcp", server.Addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].Raw)
	if want := strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":"); server.Fingerprint != want {
		t.Errorf("fingerprint %s, want %s", server.Fingerprint, want)
	}
}

// TestHeaders: what pveproxy answers itself keeps the connection, what pvedaemon answers has both headers and closes it,
// and so does every error.
func TestHeaders(t *testing.T) {
	_, k := instant(t, Options{})
	for _, call := range []struct {
		method, path, form, line string
		connection               []string
		closed                   bool
	}{
		{"GET", "/version", "", "HTTP/1.1 200 OK", []string{"Keep-Alive"}, false},
		{"GET", "/nodes/pve1/qemu/9000/status/current", "", "HTTP/1.1 200 OK", []string{"close", "Keep-Alive"}, true},
		{"PUT", "/nodes/pve1/qemu/9000/config", "cores=1", "HTTP/1.1 200 OK", []string{"close", "Keep-Alive"}, true},
		{"GET", "/nodes/pve1/qemu/4711/config", "", "HTTP/1.1 500 Configuration file 'nodes/pve1/qemu-server/4711.conf' does not exist", []string{"close"}, true},
		{"POST", "/nodes/pve1/qemu/9000/status/start", "foo=1", "HTTP/1.1 400 Parameter verification failed.", []string{"close"}, true},
	} {
		conn, err := tls.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(k.base, "https://"), "/api2/json"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.request(context.Background(), call.method, call.path, call.form).Write(conn); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		line, err := in.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != call.line {
			t.Errorf("%s %s: %q %v, want %q", call.method, call.path, line, err, call.line)
		}
		var connection []string
		length := 0
		for {
			h, err := in.ReadString('\n')
			if h = strings.TrimSpace(h); h == "" || err != nil {
				break
			}
			if v, ok := strings.CutPrefix(h, "Connection: "); ok {
				connection = append(connection, v)
			}
			_, _ = fmt.Sscanf(h, "Content-Length: %d", &length)
		}
		if fmt.Sprint(connection) != fmt.Sprint(call.connection) {
			t.Errorf("%s %s: Connection %v, want %v", call.method, call.path, connection, call.connection)
		}
		if _, err := in.Discard(length); err != nil {
			t.Errorf("%s %s: body: %v", call.method, call.path, err)
		}
		if call.closed {
			if _, err := in.ReadByte(); err == nil {
				t.Errorf("%s %s: the connection is still open", call.method, call.path)
			}
		}
		_ = conn.Close()
	}
}

// TestMessageByVersion: up to 8.2 an error's text is in the reason phrase alone.
func TestMessageByVersion(t *testing.T) {
	for version, want := range map[string]string{
		"7.4-17": `{"data":null}`, "8.2.4": `{"data":null}`,
		"8.4.21": `{"data":null,"message":"VM 9000 not running\n"}`, "9.2.4": `{"data":null,"message":"VM 9000 not running\n"}`,
	} {
		_, k := instant(t, Options{Version: version})
		if body := k.want("500 VM 9000 not running", http.MethodPost, "/nodes/pve1/qemu/9000/status/reset", ""); body != want {
			t.Errorf("%s: %s, want %s", version, body, want)
		}
	}
}

func TestNewRefusesUnknownVersions(t *testing.T) {
	for _, v := range []string{"6.4-1", "8", "x"} {
		if _, err := New(Options{Version: v}); err == nil {
			t.Errorf("version %q was taken", v)
		}
	}
}

// TestExactDurations: on a fake clock that the client alone moves, a run takes what the model says.
func TestExactDurations(t *testing.T) {
	model := Instant()
	model.Exact = map[string]time.Duration{"qmclone": 12 * time.Second, "resize": 3 * time.Second, "qmstart": 5 * time.Second,
		"qmconfig": 2 * time.Second, "qmigrate": 40 * time.Second, "qmdestroy": 4 * time.Second, "qmstop": time.Second, "qmshutdown": 9 * time.Second}
	model.Fork = 20 * time.Millisecond
	clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, k := instant(t, Options{Model: model, Clock: clk})
	begun := clk.Now()
	for _, step := range []struct{ method, path, form, typ string }{
		{"POST", "/nodes/pve1/qemu/9000/clone", "newid=100&full=1", "qmclone"},
		{"POST", "/nodes/pve1/qemu/100/migrate", "target=pve2", "qmigrate"},
		{"PUT", "/nodes/pve2/qemu/100/resize", "disk=scsi0&size=20G", "resize"},
		{"POST", "/nodes/pve2/qemu/100/config", "scsi1=local-lvm:5", "qmconfig"},
		{"POST", "/nodes/pve2/qemu/100/config", "cores=2", "qmconfig"},
		{"POST", "/nodes/pve2/qemu/100/status/start", "", "qmstart"},
		{"POST", "/nodes/pve2/qemu/100/status/shutdown", "", "qmshutdown"},
		{"POST", "/nodes/pve2/qemu/100/status/start", "", "qmstart"},
		{"POST", "/nodes/pve2/qemu/100/status/stop", "", "qmstop"},
		{"DELETE", "/nodes/pve2/qemu/100", "", "qmdestroy"},
	} {
		k.want("200 OK", step.method, step.path, step.form)
		for !c.Settled() {
			clk.Advance(10 * time.Millisecond)
		}
		tasks := c.Tasks()
		last := tasks[len(tasks)-1]
		if last.Type != step.typ || last.Exit != "OK" || last.End.Sub(last.Start) != model.Exact[step.typ] {
			t.Errorf("%s %s: task %s ended %q after %v, want %v", step.method, step.path, last.Type, last.Exit, last.End.Sub(last.Start), model.Exact[step.typ])
		}
	}
	if total, want := clk.Now().Sub(begun), 12+40+3+2+2+5+9+5+1+4; total != time.Duration(want)*time.Second {
		t.Errorf("the run took %v, want %d s", total, want)
	}
	if left := c.Volumes(100); left != nil {
		t.Errorf("volumes %v are left", left)
	}
}

// TestProxyLimit: a call that waits too long answers 596 and has its effect nevertheless.
func TestProxyLimit(t *testing.T) {
	model := Instant()
	model.Allocate = 45 * time.Second
	clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, k := instant(t, Options{Model: model, Clock: clk})
	if err := c.AddVM(VM{VMID: 100, Node: "pve1", Storage: "local-lvm", DiskGiB: 1}); err != nil {
		t.Fatal(err)
	}
	k.want("596 Connection timed out", http.MethodPut, "/nodes/pve1/qemu/100/config", "scsi1=local-lvm:5")
	if vm, _ := c.VM(100); vm.Config["scsi1"] != "" {
		t.Errorf("the disk is there at once: %v", vm.Config)
	}
	clk.Advance(20 * time.Second)
	if vm, _ := c.VM(100); vm.Config["scsi1"] != "local-lvm:vm-100-disk-1,size=5G" {
		t.Errorf("the disk is not there after the limit: %v", vm.Config)
	}
}

// TestWorkers: pvedaemon serves three calls at once on a node, the others wait; pveproxy's own answers do not.
func TestWorkers(t *testing.T) {
	model := Instant()
	model.Daemon = 300 * time.Millisecond
	_, k := instant(t, Options{Model: model, Clock: clock.Wall{}})
	begun := time.Now()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if status, _, err := k.do(http.MethodGet, "/nodes/pve1/qemu/9000/status/current", ""); status != "200 OK" {
				t.Errorf("%q %v", status, err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(begun); d < 600*time.Millisecond {
		t.Errorf("six calls of 300 ms took %v with three workers", d)
	}
}

// TestManyClients: 50 clients that work at once end with 50 whole VMs, each with its own address and identity.
func TestManyClients(t *testing.T) {
	clk := clock.NewScaled(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC), 200)
	model := SmallMachine()
	model.Allocate /= 4 // 50 at once must not wait 10 s for the storage
	c, k := instant(t, Options{Clock: clk, Model: model})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			vmid := 100 + i
			k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", fmt.Sprintf("newid=%d&name=vm%d", vmid, vmid))
			for vm, _ := c.VM(vmid); vm.Lock != "" || vm.VMID == 0; vm, _ = c.VM(vmid) {
				if err := clk.Sleep(context.Background(), time.Second); err != nil {
					t.Error(err)
				}
			}
			path := fmt.Sprintf("/nodes/pve1/qemu/%d", vmid)
			k.want("200 OK", http.MethodPut, path+"/config", "cores=2&memory=1024")
			k.want("200 OK", http.MethodPut, path+"/resize", "disk=scsi0&size=10G")
			k.want("200 OK", http.MethodPost, path+"/firewall/ipset", "name=ipfilter-net0")
			k.want("200 OK", http.MethodPost, path+"/status/start", "")
			k.want("200 OK", http.MethodGet, "/cluster/resources", "")
		})
	}
	wg.Wait()
	for !c.Settled() {
		if err := clk.Sleep(context.Background(), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for id, vm := range c.VMs() {
		if id == 9000 {
			continue
		}
		if vm.Power != "running" || vm.Lock != "" || !strings.HasSuffix(vm.Config["scsi0"], "size=10G") {
			t.Errorf("%v %v", vm, vm.Config)
		}
		for _, k := range []string{"net0", "smbios1", "vmgenid", "scsi0"} {
			if other := seen[vm.Config[k]]; other != 0 {
				t.Errorf("VMs %d and %d share %s", id, other, vm.Config[k])
			}
			seen[vm.Config[k]] = id
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d values of 50 VMs, want 200", len(seen))
	}
}

// TestSeedRepeats: the same calls with the same seed make the same identities, another seed makes others.
func TestSeedRepeats(t *testing.T) {
	configs := map[uint64][]string{}
	for _, seed := range []uint64{1, 1, 2} {
		c, k := instant(t, Options{Seed: seed})
		k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100")
		vm, _ := c.VM(100)
		configs[seed] = append(configs[seed], vm.Config["smbios1"]+vm.Config["net0"])
	}
	if configs[1][0] != configs[1][1] || configs[1][0] == configs[2][0] {
		t.Errorf("identities %v", configs)
	}
}

// TestInspection: what the cluster shows a test of its VMs.
func TestInspection(t *testing.T) {
	c, k := instant(t, Options{})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100&name=web")
	k.want("200 OK", http.MethodPut, "/nodes/pve1/qemu/100/config", "ciuser=debian&ipconfig0=ip%3D192.0.2.5/24")
	k.want("200 OK", http.MethodPut, "/nodes/pve1/qemu/100/firewall/options", "enable=1")
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/status/start", "")
	vm, found := c.VM(100)
	if !found || vm.Power != kvm.Running || vm.Node != "pve1" || vm.Disks["scsi0"].Parent != "base-9000-disk-0" || vm.Disks["scsi0"].Size != 2<<30 {
		t.Errorf("%+v", vm)
	}
	for _, want := range []string{"hostname: web\n", "user: debian\n", "address: '192.0.2.5'"} {
		if !strings.Contains(vm.CloudInit, want) {
			t.Errorf("the cloud-init drive has no %q:\n%s", want, vm.CloudInit)
		}
	}
	if err := c.MoveVM(100, "pve2"); err != nil {
		t.Fatal(err)
	}
	k.want("500 Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist", http.MethodGet, "/nodes/pve1/qemu/100/config", "")
	k.want("200 OK", http.MethodPut, "/nodes/pve2/qemu/100/config", "memory=2048")
	if vm, _ := c.VM(100); vm.Node != "pve2" || vm.Pending["memory"] != "2048" || vm.Disks["scsi0"].ID != "local-lvm:vm-100-disk-0" {
		t.Errorf("%+v", vm)
	}
	c.RemoveVM(100)
	if f := c.Firewall(100); len(f.Options) > 0 || c.Volumes(100) != nil {
		t.Errorf("a removed VM left %v %v", f, c.Volumes(100))
	}
	if err := c.SetLock(100, "backup"); err == nil {
		t.Error("a lock was set on no VM")
	}
	if err := c.AddVM(VM{VMID: 100, Node: "pve1", Name: "foreign"}); err != nil {
		t.Error(err)
	}
	if err := c.AddVM(VM{VMID: 100, Node: "pve1", Name: "twice"}); err == nil {
		t.Error("a VMID was taken twice")
	}
}
