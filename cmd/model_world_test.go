package cmd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// modelSetting is how a world of the model differs from others.
type modelSetting struct {
	instant bool // a task has ended when its UPID arrives
	workers int  // one: the same seed is the same run
	seed    uint64
}

func (s modelSetting) String() string {
	return fmt.Sprintf("instant %v, workers %d", s.instant, s.workers)
}

func modelScene(rng *rand.Rand, number int) modelSetting {
	return modelSetting{instant: number%2 == 0, workers: []int{1, 1, 4, 1}[number/2%4], seed: rng.Uint64()}
}

// modelService is what the model knows of a service beside the row.
type modelService struct {
	id int64
	// uuids are all UUIDs that its VMs ever had; given are those that were its customer's: the service was ready with it.
	uuids, given map[string]bool
	doomed       bool // somebody has asked for something that destroys its VM, since it was last ready
	taken        bool // somebody has taken its VM away by hand
	started      bool // somebody has started its VM by hand
	deleted      bool // it is no longer in WHMCS
	traceless    bool // a mail of it may have left without WHMCS's log showing whose it was
	resets       int  // how often a new password was asked for
	still        int  // for how many ticks in a row without trouble it has not moved
	rotates      bool // backups of it may go: it has a schedule, or somebody has asked for that
	ending       bool // somebody has asked for its end
	back         *modelBack
	contents     string            // of its system disk, when it was last at rest
	snapshots    map[string]string // what was on its system disk then, by name
	made         map[string]int    // scheduled backups, by the moment and by the day
	days         map[string]string // by the moment
}

// model is a world, and what must be true of it.
type model struct {
	*world
	other    *world // the same as another process sees it
	listener *listener
	clk      *clock.Fake
	setting  modelSetting
	mark     string // what our VMs' descriptions begin with
	services map[int64]*modelService
	next     int64
	foreign  map[int]string // somebody else's VMs as they were left, by VMID
	spare    int            // the next VMID for a VM of somebody else's
	faults   []*modelFault
	down     map[string]bool
	noQuorum bool
	held     bool            // a tick is, at one of its calls
	touched  map[int64]bool  // in this step, or in the hand of one that died
	secrets  map[string]bool // all passwords that guests ever had
	orders   []string        // the statuses of each pipeline, in order, joined by blanks
	story    []string
	failures []string
	tally    *modelTally
	archives map[string]*modelArchive // by volume
	byHand   int                      // how many of them somebody has made
	written  int                      // how often a disk was written
	zone     string                   // WHMCS's
	long     int                      // how many calls the last tick made
	phase    string                   // of the end
}

// modelFault is a fault of Proxmox that lasts for some ticks.
type modelFault struct {
	*pvesim.Armed
	ticks int
	name  string
}

// The model's pools are small, so that they are exhausted at times.
var modelPools = [][]string{
	{"--vlan", "0", "--gateway", "192.0.2.1/24", "--first", "192.0.2.10", "--last", "192.0.2.18", "--dns", "192.0.2.53"},
	{"--vlan", "0", "--gateway", "2001:db8::1/64", "--first", "2001:db8::10", "--last", "2001:db8::15"},
	{"--vlan", "20", "--gateway", "198.51.100.1/24", "--first", "198.51.100.10", "--last", "198.51.100.12"},
	{"--vlan", "20", "--gateway", "2001:db8:20::1/64", "--first", "2001:db8:20::10", "--last", "2001:db8:20::12"},
}

// modelServices is how many services there are at once.
const modelServices = 7

func newModel(t *testing.T, s modelSetting, tally *modelTally) *model {
	t.Helper()
	clk, machine := clock.NewFake(epoch), pvesim.Instant()
	if !s.instant {
		machine = pvesim.SmallMachine()
		machine.Denied, machine.Dial = 200*time.Millisecond, 200*time.Millisecond
	}
	m := &model{listener: &listener{}, world: newWorld(t, scene{clock: clk, model: machine, bare: true}), clk: clk, setting: s, services: map[int64]*modelService{}, next: 5501,
		archives: map[string]*modelArchive{}, zone: "Europe/Warsaw", foreign: map[int]string{}, spare: 700, down: map[string]bool{}, touched: map[int64]bool{}, secrets: map[string]bool{}, long: 60, tally: tally}
	m.rand = &lockedRand{src: rand.NewChaCha8([32]byte{byte(s.seed), byte(s.seed >> 8), byte(s.seed >> 16)})}
	m.ok("server", "set", "1", "--fingerprint", m.pve.Fingerprint)
	m.ok("settings", "set", "cron.workers", strconv.Itoa(s.workers))
	m.ok("settings", "set", "cron.wait", "60")
	if err := m.sim.AddTemplate(pvesim.Template{VMID: 9001, Node: "pve1", Name: "ubuntu", Storage: "local-lvm", DiskGiB: 3, CloudInit: true, Cores: 1, Memory: 1024}); err != nil {
		t.Fatal(err)
	}
	m.db.AddEmailTemplate(whmcstest.EmailTemplate{Name: welcomeTemplate}) // serves as that of a new password, too
	m.db.AddProduct(whmcstest.Product{ID: 2})
	m.ok(append([]string{"product", "set", "1", "mail_reset_password=" + welcomeTemplate}, modelProducts["1"]...)...)
	m.ok(append([]string{"product", "set", "2", "mail_reset_password=" + welcomeTemplate}, modelProducts["2"]...)...)
	for _, p := range modelPools {
		m.ok(append([]string{"ippool", "add", "--server", "1"}, p...)...)
	}
	m.withNames(0)
	m.secrets[dnsSecret] = true
	installation := m.db.Text("SELECT value FROM puq_proxmox_kvm_meta WHERE name = 'installation_id'")
	m.mark = strings.TrimSuffix(kvm.Mark(installation, 0), "0")
	for _, p := range lifecycle.New(lifecycle.Lifecycle{}).Pipelines() {
		var list []string
		for _, st := range p.Statuses() {
			list = append(list, string(st))
		}
		m.orders = append(m.orders, strings.Join(list, " "))
	}
	direct := *m.world
	m.other = &direct
	m.listenTo(m.listener)
	for vmid, name := range map[int]string{101: "somebody", 103: "", 900: "else"} {
		m.addForeign(vmid, name)
	}
	for i := range modelServices {
		s := m.addService(1 + int64(i%2))
		if i < modelServices-2 {
			m.story = append(m.story, "    "+m.verb(modelVerb{name: "create"}, s))
		}
	}
	return m
}

// modelProducts are the two products as they are at the beginning, and, but for modelLastChange, at the end.
var modelProducts = map[string][]string{
	"1": {"template=9000", "clone_type=linked", "cpu=2", "ram=4", "system_size=4", "additional_size=0", "ipv4=1", "ipv6=0", "bandwidth=0",
		"auto_bridge=on", "vlan=0", "antispoof=on", "main_domain=example.com", "backups=2", "backup_storage=shared", "snapshots=1"},
	"2": {"template=9000", "clone_type=full", "system_storage=local-lvm", "node=pve2", "cpu=1", "ram=2", "system_size=5", "additional_size=2", "ipv4=1", "ipv6=1",
		"bandwidth=12", "auto_bridge=on", "vlan=0", "antispoof=on", "fw_policy_in=DROP", "main_domain=example.com", "backups=2", "backup_storage=shared", "snapshots=1"},
}

// addService adds a service to WHMCS, without an order.
func (m *model) addService(product int64) *modelService {
	m.t.Helper()
	s := &modelService{id: m.next, uuids: map[string]bool{}, given: map[string]bool{}, snapshots: map[string]string{}, made: map[string]int{}, days: map[string]string{}}
	m.next++
	m.db.AddService(whmcstest.Service{ID: s.id, ClientID: 42, ProductID: product, ServerID: 1})
	m.services[s.id] = s
	return s
}

// list are the services in the order of their ids.
func (m *model) list() []*modelService {
	var out []*modelService
	for _, id := range slices.Sorted(maps.Keys(m.services)) {
		out = append(out, m.services[id])
	}
	return out
}

// any is a service chosen by chance.
func (m *model) any(rng *rand.Rand) *modelService {
	list := m.list()
	return list[rng.IntN(len(list))]
}

// addForeign puts a VM of somebody else's into the cluster; false = a tick with several workers was faster with the VMID.
func (m *model) addForeign(vmid int, name string) bool {
	m.t.Helper()
	if err := m.sim.AddVM(pvesim.VM{VMID: vmid, Node: []string{"pve1", "pve2"}[vmid%2], Name: name, Storage: "local-lvm", DiskGiB: 1}); err != nil {
		if m.held && m.setting.workers > 1 {
			return false
		}
		m.t.Fatal(err)
	}
	if err := m.sim.WriteDisk(vmid, "scsi0", "somebody's data"); err != nil {
		m.t.Fatal(err)
	}
	m.foreign[vmid] = m.picture(vmid)
	return true
}

// picture is all that there is to see of a VM.
func (m *model) picture(vmid int) string {
	vm, found := m.sim.VM(vmid)
	return fmt.Sprintf("%v %+v %+v %v", found, vm, m.sim.Firewall(vmid), m.sim.Volumes(vmid))
}

// own are the VMs of services, by service: those with its mark, and those with a UUID that it has or had.
func (m *model) own(vms map[int]pvesim.VMState) map[int64][]pvesim.VMState {
	holder := map[string]int64{}
	for _, s := range m.services {
		for u := range s.uuids {
			holder[u] = s.id
		}
	}
	out := map[int64][]pvesim.VMState{}
	for _, vmid := range slices.Sorted(maps.Keys(vms)) {
		vm := vms[vmid]
		id, known := holder[uuidOf(vm)]
		if text, found := strings.CutPrefix(vm.Config["description"], m.mark); found && !known {
			id, _ = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		}
		if id != 0 {
			out[id] = append(out[id], vm)
		}
	}
	return out
}

// uuidOf is the VM's SMBIOS UUID.
func uuidOf(vm pvesim.VMState) string {
	_, uuid, _ := strings.Cut(vm.Config["smbios1"], "uuid=")
	uuid, _, _ = strings.Cut(uuid, ",")
	return strings.ToLower(uuid)
}

// modelTally counts what was done, in all worlds.
type modelTally struct {
	mu   sync.Mutex
	done map[string]int
	all  int
	sums map[string]int
}

func newModelTally() *modelTally {
	return &modelTally{done: map[string]int{}, sums: map[string]int{}}
}

func (t *modelTally) count(op, said string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all++
	if said != "" {
		t.done[op]++
	}
}

// add counts something else.
func (t *modelTally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums[what]++
}

func (t *modelTally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := fmt.Sprintf("%d steps\n", t.all)
	for _, m := range []map[string]int{t.done, t.sums} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			text += fmt.Sprintf("%6d %s\n", m[k], k)
		}
	}
	return text
}

// complete checks that everything was done at least once, so that nothing is proved by what never happened.
func (t *modelTally) complete(tb testing.TB) {
	tb.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, op := range modelOps() {
		if t.done[op.name] == 0 {
			tb.Errorf("in no step %q was done", op.name)
		}
	}
}
