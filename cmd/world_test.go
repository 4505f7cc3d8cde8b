package cmd

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi/apisim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

const (
	// asProgram makes the test binary be puqkvm: for tests that kill it.
	asProgram = "PUQKVM_TEST_AS_PROGRAM"
	// atSpeed gives that program a clock that is so many times as fast as the wall's. No signal but SIGKILL is for it.
	atSpeed = "PUQKVM_TEST_SPEED"
)

// asProfiled makes the test binary, as puqkvm, leave a processor profile at this path and its process id. The benchmark of
// Deploy then measures the test binary instead of the program.
const asProfiled = "PUQKVM_TEST_CPUPROFILE"

func TestMain(m *testing.M) {
	if speed, err := strconv.ParseFloat(os.Getenv(atSpeed), 64); err == nil && os.Getenv(asProgram) != "" {
		os.Exit(Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
			Clock: clock.NewScaled(time.Now(), speed), Rand: crand.Reader}.Run(context.Background()))
	}
	if os.Getenv(asProgram) != "" {
		stop := profile(os.Getenv(asProfiled))
		code := Main()
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// profile writes a processor profile until stop is called; without a path it does nothing.
func profile(path string) (stop func()) {
	if path == "" {
		return func() {}
	}
	f, err := os.Create(fmt.Sprintf("%s.%d", path, os.Getpid()))
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, asProfiled+":", err)
		os.Exit(exitFailed)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}
}

const (
	testHash         = "puqkvm-test-cc-encryption-hash-0123456789abcdefghijklmnopqrstuvwx"
	testAPISecret    = "api-secret-of-the-tests"
	readyTemplate    = "puqProxmoxKVM VM is ready"
	resetTemplate    = "puqProxmoxKVM Reset password"
	restoredTemplate = "puqProxmoxKVM Backup restored"
)

// world is a WHMCS with its database and API, and a simulated cluster, around the program.
type world struct {
	t     testing.TB
	clock clock.Clock
	db    *whmcstest.DB
	sim   *pvesim.Cluster
	pve   *pvesim.Server
	api   *apisim.Server
	env   []string
	rand  *lockedRand
	attr  *syscall.SysProcAttr // of the processes that start starts
	// traceless makes WHMCS keep no trace of the mails that it sends.
	traceless *atomic.Bool
	// names is the DNS server, where there is one; heard is who is told of its calls.
	names *hestiaStandIn
	heard *atomic.Pointer[calls]
}

// lockedRand is a repeatable source for several goroutines.
type lockedRand struct {
	mu  sync.Mutex
	src *rand.ChaCha8
}

func (r *lockedRand) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.src.Read(b)
}

// scene says how a world differs from the usual one.
type scene struct {
	clock   clock.Clock   // nil = a Fake at 2026-04-10 01:49:18 UTC, which is 03:49:18 in Warsaw
	model   *pvesim.Model // nil = pvesim.Instant()
	version string        // of Proxmox VE, "" = 8.4.21
	nodes   int           // of pvesim.Nodes, 0 = pvesim.TwoNodes
	bare    bool          // without server settings, product settings and pools
	php     bool          // with the tables and rows of the PHP module, whose pools are imported
}

// epoch is the moment at which the first of the seeds' transcripts begins.
var epoch = time.Date(2026, 4, 10, 1, 49, 18, 0, time.UTC)

func newWorld(t testing.TB, s scene) *world {
	t.Helper()
	if s.clock == nil {
		s.clock = clock.NewFake(epoch)
	}
	if s.model == nil {
		s.model = pvesim.Instant()
	}
	var content []whmcstest.Option
	if s.php {
		content = append(content, whmcstest.WithPHPTables())
	}
	w := &world{t: t, clock: s.clock, db: whmcstest.NewDB(t, content...), rand: &lockedRand{src: rand.NewChaCha8([32]byte{1})}, traceless: new(atomic.Bool), heard: new(atomic.Pointer[calls])}
	var err error
	options := pvesim.Options{Version: s.version, Clock: s.clock, Model: s.model, Seed: 1}
	if s.nodes == 0 {
		w.sim, err = pvesim.TwoNodes(options)
	} else {
		w.sim, err = pvesim.Nodes(options, s.nodes)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.sim.SetDatacenterFirewall(map[string]string{"enable": "1", "policy_in": "DROP"})
	if w.pve, err = w.sim.ServeTLS("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.pve.Close() })
	w.api, err = apisim.Start("127.0.0.1:0", apisim.Options{Identifier: "puqkvm", Secret: testAPISecret, Templates: []string{readyTemplate, resetTemplate, restoredTemplate, welcomeTemplate}, Departments: []string{"Support", "Network"},
		Trace: func(ctx context.Context, m apisim.Mail) error {
			if m.ServiceID == 0 || w.traceless.Load() { // WHMCS keeps no copy of what it sends to its administrators
				return nil
			}
			var domain string
			if err := w.db.QueryRowContext(ctx, "SELECT domain FROM tblhosting WHERE id = ?", m.ServiceID).Scan(&domain); err != nil {
				return err
			}
			_, err := whmcstest.AddEmail(ctx, w.db, whmcstest.Email{ClientID: 42, Subject: m.Template, Message: "<p>" + domain + "</p>"})
			return err
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.api.Close() })
	if w.env, err = surroundings(w.db.DSN, testHash, w.api.URL(), "puqkvm", testAPISecret); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "PUQKVM_CONFIG=", "HOME="+t.TempDir())
	host, port, err := net.SplitHostPort(w.pve.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	w.db.AddServer(whmcstest.Server{ID: 1, Name: "cluster", Hostname: host, Port: number, Username: "root@pam!whmcs", EncryptedPassword: w.encrypt(pvesim.TwoNodesSecret)})
	w.db.AddClient(whmcstest.Client{ID: 42})
	w.db.AddProduct(whmcstest.Product{ID: 1})
	w.db.AddEmailTemplate(whmcstest.EmailTemplate{Name: readyTemplate})
	w.db.AddEmailTemplate(whmcstest.EmailTemplate{Name: resetTemplate})
	w.db.AddEmailTemplate(whmcstest.EmailTemplate{Name: restoredTemplate})
	w.ok("db", "migrate")
	w.ok("settings", "set", "timezone", "Europe/Warsaw")
	if s.bare {
		return w
	}
	w.ok("server", "set", "1", "--fingerprint", w.pve.Fingerprint)
	w.ok("product", "set", "1", "template=9000", "cpu=2", "ram=4", "system_size=20", "main_domain=example.com")
	if s.php {
		return w
	}
	w.ok("ippool", "add", "--server", "1", "--gateway", "192.0.2.1/24", "--first", "192.0.2.10", "--last", "192.0.2.250", "--dns", "192.0.2.53")
	return w
}

// encrypt is WHMCS's cipher with the test's key.
func (w *world) encrypt(text string) string {
	w.t.Helper()
	out, err := whmcs.NewCipher(kvm.NewSecret(testHash)).Encrypt(kvm.NewSecret(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// run runs a command in this process, on the world's clock.
func (w *world) run(args ...string) (stdout, stderr string, code int) {
	return w.runIn(context.Background(), "", args...)
}

func (w *world) runIn(ctx context.Context, stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = Program{Args: args, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Environ: w.env, Clock: w.clock, Rand: w.rand}.Run(ctx)
	return out.String(), errs.String(), code
}

// ok runs a command that must be done or queued, and gives its stdout.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	out, errs, code := w.run(args...)
	if code != exitDone && code != exitQueued {
		w.t.Fatalf("puqkvm %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// order adds a service of product 1 and queues its VM.
func (w *world) order(ids ...int64) {
	w.t.Helper()
	for _, id := range ids {
		w.db.AddService(whmcstest.Service{ID: id, ClientID: 42, ProductID: 1, ServerID: 1})
		w.ok("create", strconv.FormatInt(id, 10))
	}
}

// tick runs cron in the next minute, and gives the log.
func (w *world) tick() string {
	w.t.Helper()
	if f, ok := w.clock.(*clock.Fake); ok {
		f.Advance(time.Minute)
	}
	return w.ok("cron", "--force")
}

// status is the service's vm_status.
func (w *world) status(id int64) kvm.Status {
	w.t.Helper()
	return kvm.Status(w.db.Text("SELECT vm_status FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id))
}

// vmid is the service's VMID.
func (w *world) vmid(id int64) int {
	w.t.Helper()
	n, err := strconv.Atoi(w.db.Text("SELECT vm_id FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// process starts puqkvm as a process of its own, on the wall's clock. Its stdout and stderr go to out.
func (w *world) process(out *bytes.Buffer, args ...string) *exec.Cmd {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append([]string{asProgram + "=1", "TZ=UTC", "PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + filepath.Join(w.t.TempDir())}, w.env...)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// settle checks what every end has in common: each service is ready, has one running VM that is its own, one address
// set, one mail, and nothing is left over.
func (w *world) settle(ids ...int64) {
	w.t.Helper()
	vms := w.sim.VMs()
	if n := len(vms) - 1; n != len(ids) { // the template is one
		w.t.Errorf("%d VMs for %d services", n, len(ids))
	}
	owner := map[int]int64{}
	mails := map[int64]int{}
	for _, m := range w.api.Mails() {
		if m.Template == readyTemplate {
			mails[m.ServiceID]++
		}
	}
	for _, id := range ids {
		if st := w.status(id); st != kvm.Ready {
			w.t.Errorf("service %d is at %s: %s", id, st, w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id))
			continue
		}
		vmid := w.vmid(id)
		if other, taken := owner[vmid]; taken {
			w.t.Errorf("VM %d belongs to services %d and %d", vmid, other, id)
		}
		owner[vmid] = id
		vm := vms[vmid]
		uuid := w.db.Text("SELECT vm_uuid FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
		if uuid == "" || !strings.Contains(vm.Config["smbios1"], uuid) || vm.Power != kvm.Running || vm.Lock != "" {
			w.t.Errorf("service %d: VM %d is %s, lock %q, %s, want UUID %s", id, vmid, vm.Power, vm.Lock, vm.Config["smbios1"], uuid)
		}
		addr := w.db.Text("SELECT GROUP_CONCAT(address) FROM puq_proxmox_kvm_addresses WHERE service_id = ?", id)
		if addr == "" || strings.Contains(addr, ",") || addr != w.db.Text("SELECT dedicatedip FROM tblhosting WHERE id = ?", id) || !strings.Contains(vm.Config["ipconfig0"], "ip="+addr+"/") {
			w.t.Errorf("service %d: claimed %q, in WHMCS %q, in the guest %q", id, addr, w.db.Text("SELECT dedicatedip FROM tblhosting WHERE id = ?", id), vm.Config["ipconfig0"])
		}
		if mails[id] != 1 {
			w.t.Errorf("service %d: %d mails", id, mails[id])
		}
	}
	for what, query := range map[string]string{
		"claims of services": "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE claim_owner IS NOT NULL AND claim_until > UTC_TIMESTAMP(6)",
		"slots":              "SELECT COUNT(*) FROM puq_proxmox_kvm_slots",
		"open tasks":         "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE task_upid <> ''",
		"unsent mails":       "SELECT COUNT(*) FROM puq_proxmox_kvm_outbox WHERE state <> 'sent'",
	} {
		if n := w.db.Text(query); n != "0" {
			w.t.Errorf("%s left: %s", what, n)
		}
	}
}
