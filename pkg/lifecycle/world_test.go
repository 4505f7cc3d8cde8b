package lifecycle_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/puqkvm/puqkvm/pkg/pve"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/trust"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

const (
	testHash     = "puqkvm-example-cc-encryption-hash-not-a-real-secret-0123456789AB"
	installation = "inst"
	template     = 9000
	client       = 42
	allRows      = 15
)

// The rows of Deploy by number, to walk up to and no further.
const (
	rowIP = iota + 1
	rowDNS
	rowClone
	rowMigrate
	rowCPU
	rowSystemSize
	rowSystemLimits
	rowDisk
	rowDiskSize
	rowDiskLimits
	rowNetwork
	rowFirewall
	rowCloudinit
	rowStart
	rowVerify
)

// world is a WHMCS database and a simulated cluster, with services that are walked as cron walks them.
type world struct {
	t        *testing.T
	clock    *clock.Fake
	db       *whmcstest.DB
	store    *whmcs.Store
	sim      *pvesim.Cluster
	pve      *pvesim.Server
	settings lifecycle.Settings
	timeout  time.Duration // of one request
	hash     string        // cc_encryption_hash that the program was told
	next     int64         // the next service's id

	zones     func(context.Context) ([]dns.Zone, error) // nil = there are none
	moduleLog func(ctx context.Context, action, request, response string)
	onDNS     func(event.DNSChanged)
}

var epoch = time.Date(2026, 4, 10, 1, 49, 18, 0, time.UTC)

// newWorld has two nodes with a template on pve1, product 1 with its settings, and a pool of addresses.
func newWorld(t *testing.T, version string, product ...string) *world {
	t.Helper()
	return newWorldOn(t, version, pvesim.Instant(), product...)
}

func newWorldOn(t *testing.T, version string, model *pvesim.Model, product ...string) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFake(epoch), db: whmcstest.NewDB(t), hash: testHash, next: 5001, timeout: 20 * time.Second,
		settings: lifecycle.Settings{Wait: 300 * time.Second, MigrationEnabled: true, MigrationTimeout: 300 * time.Second, StartWait: 5 * time.Second, ClonesPerNode: 2, ClonesPerStorage: 2}}
	var err error
	if w.sim, err = pvesim.TwoNodes(pvesim.Options{Version: version, Clock: w.clock, Model: model, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	if w.pve, err = w.sim.ServeTLS("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.pve.Close() })
	w.open()
	if _, err := w.store.Migrate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	w.open()
	host, port, err := net.SplitHostPort(w.pve.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := whmcs.NewCipher(kvm.NewSecret(testHash)).Encrypt(kvm.NewSecret(pvesim.TwoNodesSecret))
	if err != nil {
		t.Fatal(err)
	}
	w.db.AddServer(whmcstest.Server{ID: 1, Hostname: host, Port: number, Username: "root@pam!whmcs", EncryptedPassword: secret})
	w.db.AddClient(whmcstest.Client{ID: client})
	w.db.AddProduct(whmcstest.Product{ID: 1})
	w.product("template=9000")
	w.product(product...)
	w.pool("192.0.2.10", "192.0.2.250", "192.0.2.1", 24, "vmbr0", 0)
	return w
}

// open opens the database with the hash that the program was told.
func (w *world) open() {
	w.t.Helper()
	d, err := whmcs.ParseDSN(w.db.DSN)
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := whmcs.Open(w.t.Context(), d, whmcs.Options{EncryptionHash: kvm.NewSecret(w.hash), Clock: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = store
	w.t.Cleanup(func() { _ = store.Close() })
}

// product sets key=value of product 1; an empty value gives the key its default.
func (w *world) product(settings ...string) {
	w.t.Helper()
	was, err := w.store.ProductSettings(w.t.Context(), 1)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := kvm.ParseProduct(was)
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		if err == nil && value == "" {
			err = p.Unset(key)
		} else if err == nil {
			err = p.Set(key, value)
		}
	}
	if err == nil {
		err = p.Check()
	}
	if err == nil {
		err = w.store.SetProductSettings(w.t.Context(), 1, was, p.JSON())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// pool adds a pool of addresses with the DNS server .53 (::53) of its network.
func (w *world) pool(first, last, gateway string, bits int, bridge string, vlan int) {
	w.t.Helper()
	p := kvm.Pool{ServerID: 1, Bridge: bridge, VLAN: vlan, Gateway: addr(gateway), Bits: bits, First: addr(first), Last: addr(last)}
	p.Family, p.DNS1 = kvm.FamilyOf(p.First), addr("192.0.2.53")
	if p.Family == kvm.IPv6 {
		p.DNS1 = addr("2001:db8::53")
	}
	if _, err := w.store.AddPool(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// order adds a service of product 1 and queues its VM.
func (w *world) order() int64 {
	w.t.Helper()
	id := w.next
	w.next++
	w.db.AddService(whmcstest.Service{ID: id, ClientID: client, ProductID: 1, ServerID: 1})
	w.create(id)
	return id
}

func (w *world) create(id int64) {
	w.t.Helper()
	if _, err := w.store.Create(w.t.Context(), id, w.clock.Now(), nil); err != nil {
		w.t.Fatal(err)
	}
}

// process is what dies with a process: clients, what it remembers, its claims.
type process struct {
	w        *world
	owner    string
	life     *lifecycle.Lifecycle
	engine   pipeline.Engine
	fuse     *fuse
	mu       sync.Mutex
	clients  map[int64]*pve.Client // by server; the simulator stands for all of them
	warnings []string
}

// start starts a process; a fuse, if not nil, ends it at a call.
func (w *world) start(f *fuse) *process {
	w.t.Helper()
	owner, err := whmcs.NewOwner()
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{w: w, owner: owner, fuse: f, clients: map[int64]*pve.Client{}}
	var store lifecycle.Store = w.store
	if f != nil {
		store = fusedStore{w.store, f}
	}
	p.life = lifecycle.New(lifecycle.Lifecycle{Store: store, Cluster: p.cluster, Settings: w.settings, Clock: w.clock, Rand: rand.Reader, Installation: installation,
		DNSZones: w.zones, DNS: w.syncer(), ModuleLog: w.moduleLog})
	p.engine = pipeline.Engine{Store: store, Clock: w.clock, Warn: func(text string) { p.warnings = append(p.warnings, text) }}
	return p
}

func (p *process) cluster(ctx context.Context, server int64) (lifecycle.Cluster, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	client := p.clients[server]
	if client == nil {
		s, err := p.w.store.Server(ctx, 1)
		if err != nil {
			return nil, err
		}
		client, err = pve.New(pve.Options{URLs: []string{net.JoinHostPort(s.Address(), strconv.Itoa(s.Port))}, User: s.Username, Secret: s.Password,
			TLS: trust.Trust{Pins: []string{p.w.pve.Fingerprint}}, Timeout: p.w.timeout, Clock: p.w.clock})
		if err != nil {
			return nil, err
		}
		p.clients[server] = client
	}
	if p.fuse != nil {
		return fusedCluster{client, p.fuse}, nil
	}
	return client, nil
}

// outcome is how a run ended and what it said.
type outcome struct {
	pipeline.Outcome
	steps []event.StepEnded
}

// see keeps what a row has said.
func (o *outcome) see(w *world, e event.Event) {
	switch e := e.(type) {
	case event.StepEnded:
		o.steps = append(o.steps, e)
	case event.DNSChanged:
		if w.onDNS != nil {
			w.onDNS(e)
		}
	}
}

// note is what stood in brackets behind a row's title.
func (o outcome) note(title string) string {
	for _, s := range o.steps {
		if s.Title == title {
			return s.Note
		}
	}
	return "(not run)"
}

// run takes the service up as cron does, a minute later, in a process of its own, and walks the rows up to the last.
func (w *world) run(id int64, last int) outcome {
	w.t.Helper()
	return w.start(nil).run(id, last)
}

func (p *process) run(id int64, last int) outcome {
	p.w.t.Helper()
	p.w.clock.Advance(61 * time.Second)
	return p.held(id, func(*kvm.Service) *pipeline.Pipeline {
		table := p.life.Deploy()
		table.Steps = table.Steps[:last]
		return table
	})
}

// service is the service as it is stored.
func (w *world) service(id int64) *kvm.Service {
	w.t.Helper()
	s, err := w.store.Service(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// set changes columns of the service's row behind everybody's back.
func (w *world) set(id int64, columns string, args ...any) {
	w.t.Helper()
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET "+columns+" WHERE service_id = ?", append(args, id)...)
}

// vm is the service's VM as the cluster has it.
func (w *world) vm(id int64) pvesim.VMState {
	w.t.Helper()
	vmid := w.service(id).Row.VMID
	vm, found := w.sim.VM(vmid)
	if !found {
		w.t.Fatalf("service %d: there is no VM %d", id, vmid)
	}
	return vm
}

// title is the row's title.
func title(row int) string {
	return lifecycle.New(lifecycle.Lifecycle{}).Deploy().Steps[row-1].Title
}

// from is the row's status before.
func from(row int) kvm.Status {
	return lifecycle.New(lifecycle.Lifecycle{}).Deploy().Steps[row-1].From
}

// to is the row's status after.
func to(row int) kvm.Status {
	return lifecycle.New(lifecycle.Lifecycle{}).Deploy().Steps[row-1].To
}

// picture is the whole cluster, to compare.
func (w *world) picture() string {
	w.t.Helper()
	firewalls := map[int]pvesim.FirewallState{}
	volumes := map[int][]string{}
	vms := w.sim.VMs()
	for id := range vms {
		firewalls[id], volumes[id] = w.sim.Firewall(id), w.sim.Volumes(id)
	}
	text, err := json.MarshalIndent([]any{vms, firewalls, volumes}, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// writes are the calls since the last look that wanted to change something.
func (w *world) writes() []string {
	var out []string
	for _, e := range w.sim.Requests() {
		if e.Method != "GET" {
			out = append(out, fmt.Sprintf("%s %s", e.Method, e.Path))
		}
	}
	w.sim.ResetRequests()
	return out
}
