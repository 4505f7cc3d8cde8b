package cmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

const (
	// faultSpeed is how much faster than real the cluster of the matrix works; a second of the machine is so many of it.
	faultSpeed = 20
	// hiccup is what a busy machine may add to an order's time, by the cluster's clock; hanging calls take three times
	// that, so an order that waited for another's is still seen.
	hiccup = faultSpeed * time.Second
)

// endpoint is a call of Deploy: a row of the API's table, and whose VM it is about.
type endpoint struct {
	method, pattern string
	whose           string // "own": the order's VM; "template"; "": no VM, so that a fault of it hits every order
}

func (e endpoint) String() string {
	s := e.method + " " + strings.TrimPrefix(e.pattern, "/nodes/{node}")
	switch e.whose {
	case "template":
		s += " (template)"
	case "":
		s += " (no VM)"
	}
	return s
}

// delay is by how much another order was later than in an undisturbed run.
type delay struct {
	by, own time.Duration
	at      string
}

// faultWorld is a world with three kinds of orders: product 1 to 3 are struck, each with its disks on a storage of its
// own, 4 goes to the same node, 5 stays on the other.
type faultWorld struct {
	*world
	next  int64
	calls map[endpoint]int // that one undisturbed struck order makes, how often
	posts map[endpoint]bool
	tasks map[string]int // of an undisturbed struck order, by type
	own   [2]time.Duration
}

var struckProducts = map[string]int64{"": 1, "thin": 1, "dirs": 2, "zfs": 3}

func newFaultWorld(t testing.TB) *faultWorld {
	t.Helper()
	model := pvesim.SmallMachine()
	model.Denied, model.Dial = 500*time.Millisecond, 500*time.Millisecond // or polls of a lost node take the test's time
	model.CopyRate, model.MigrateRate, model.Broadcast = 4<<30, 4<<30, time.Second
	model.BackupRate, model.RestoreRate = 4<<30, 4<<30
	w := &faultWorld{world: newWorld(t, scene{clock: clock.NewScaled(epoch, faultSpeed), model: model}), next: 5001}
	for id, typ := range map[string]string{"dirs": "dir", "thin": "lvmthin", "zfs": "zfspool", "others": "lvmthin"} {
		w.sim.AddStorage(pvesim.Storage{ID: id, Type: typ, Content: "images"})
	}
	rich := []string{"template=9000", "clone_type=full", "node=pve2", "cpu=2", "ram=4", "system_size=20", "system_mbps_rd=100", "additional_size=10",
		"additional_mbps_wr=50", "bandwidth=12", "fw_policy_in=DROP", "main_domain=example.com"}
	for id, settings := range map[int64][]string{
		1: append(slices.Clone(rich), "system_storage=thin"), 2: append(slices.Clone(rich), "system_storage=dirs"), 3: append(slices.Clone(rich), "system_storage=zfs"),
		4: append(slices.Clone(rich), "system_storage=others"),
		5: {"template=9000", "node=pve1", "cpu=2", "ram=4", "system_size=20", "main_domain=example.com"},
	} {
		if id > 1 {
			w.db.AddProduct(whmcstest.Product{ID: id})
		}
		w.ok(append([]string{"product", "set", strconv.FormatInt(id, 10)}, settings...)...)
	}
	for name, value := range map[string]string{"api.heavy_timeout": "3", "cron.wait": "60", "migration.timeout": "60"} {
		w.ok("settings", "set", name, value)
	}
	// Clones inherit the template's firewall, so that each of the firewall's calls is made.
	base := fmt.Sprintf("/nodes/pve1/qemu/%d/firewall", templateVMID)
	for _, c := range []struct {
		path string
		form map[string]string
	}{
		{"/rules", map[string]string{"type": "in", "action": "ACCEPT", "enable": "1"}},
		{"/ipset", map[string]string{"name": "old"}},
		{"/ipset/old", map[string]string{"cidr": "198.51.100.0/24"}},
		{"/ipset", map[string]string{"name": "ipfilter-net0"}},
		{"/ipset/ipfilter-net0", map[string]string{"cidr": "198.51.100.7"}},
	} {
		if err := w.send("POST", base+c.path, c.form); err != nil {
			t.Fatal(err)
		}
	}
	w.record()
	return w
}

// ordered queues an order of a product.
func (w *faultWorld) ordered(product int64) int64 {
	w.t.Helper()
	id := w.next
	w.next++
	w.db.AddService(whmcstest.Service{ID: id, ClientID: 42, ProductID: product, ServerID: 1})
	w.ok("create", strconv.FormatInt(id, 10))
	return id
}

// of is the endpoint of a request of the order with this VM.
func of(r pvesim.Request, vmid int) (e endpoint, mine bool) {
	e = endpoint{method: r.Method, pattern: r.Pattern}
	switch r.Guest {
	case vmid:
		e.whose = "own"
	case templateVMID:
		e.whose = "template"
	case 0:
	default:
		return e, false
	}
	return e, true
}

// record takes down which calls an undisturbed order makes, and which of them start a task.
func (w *faultWorld) record() {
	w.t.Helper()
	w.calls, w.posts = map[endpoint]int{}, map[endpoint]bool{}
	id := w.ordered(1)
	vmid := w.vmid(id)
	var mu sync.Mutex
	before := 0
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		e, mine := of(r, vmid)
		if !mine {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Stage == pvesim.Arrived {
			w.calls[e]++
			before = len(w.sim.Tasks())
		} else if len(w.sim.Tasks()) > before {
			w.posts[e] = true
		}
	})
	w.tick()
	w.sim.SetHook(nil)
	w.settle(id)
	w.tasks = w.ended(vmid, epoch)
	if len(w.calls) < 15 || len(w.posts) < 4 || w.tasks["qmclone"] != 1 || w.tasks["qmigrate"] != 1 {
		w.t.Fatalf("calls %v\nthat start tasks %v\ntasks %v", w.calls, w.posts, w.tasks)
	}
	w.forget(id)
}

// ended are the tasks of a VM since a moment that did their work, by type. A VMID is used again by later cells.
func (w *faultWorld) ended(vmid int, since time.Time) map[string]int {
	out := map[string]int{}
	for _, t := range w.sim.Tasks() {
		if t.Guest == vmid && t.Exit == "OK" && t.Start.After(since) {
			out[t.Type]++
		}
	}
	return out
}

// cells is the whole matrix.
func (w *faultWorld) cells(rng *rand.Rand) []faultCell {
	var out []faultCell
	for e, times := range w.calls {
		for _, tr := range troubles {
			if tr.tasks && !w.posts[e] {
				continue
			}
			out = append(out, faultCell{endpoint: e, trouble: tr, skip: rng.IntN((times + 1) / 2)})
		}
	}
	slices.SortFunc(out, func(a, b faultCell) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// undisturbed takes the others' time from a run without trouble.
func (w *faultWorld) undisturbed() {
	w.t.Helper()
	struck, others := w.ordered(1), [2]int64{w.ordered(4), w.ordered(5)}
	began := w.clock.Now()
	w.tick()
	w.settle(struck, others[0], others[1])
	for i, id := range others {
		w.own[i] = w.readyAt(id).Sub(began)
	}
	w.forget(struck, others[0], others[1])
}

// readyAt is when the service's last run ended, by the program's clock.
func (w *faultWorld) readyAt(id int64) time.Time {
	w.t.Helper()
	text := w.db.Text("SELECT COALESCE(MAX(ended_at), '') FROM puq_proxmox_kvm_runs WHERE service_id = ?", id)
	at, err := time.Parse("2006-01-02 15:04:05.999999", text)
	if err != nil {
		w.t.Fatalf("service %d: its run ended at %q", id, text)
	}
	return at
}

// forget takes services away with all that was made for them, so that a world serves many cells.
func (w *faultWorld) forget(ids ...int64) {
	w.t.Helper()
	for _, id := range ids {
		w.sim.RemoveVM(w.vmid(id))
		for _, table := range []string{"puqProxmoxKVM_vm_info", "puq_proxmox_kvm_addresses", "puq_proxmox_kvm_vmids", "puq_proxmox_kvm_slots", "puq_proxmox_kvm_runs", "puq_proxmox_kvm_outbox"} {
			w.db.Exec("DELETE FROM "+table+" WHERE service_id = ?", id)
		}
		w.db.Exec("DELETE FROM tblhosting WHERE id = ?", id)
	}
}

// strike is a trouble in place.
type strike struct {
	hits func() int
	sent func() int // how often the struck order made the call
	end  func()
}

// strike puts c's trouble in place for the order with this VM.
func (w *faultWorld) strike(c faultCell, vmid int) strike {
	var mu sync.Mutex
	sent := 0
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		e, mine := of(r, vmid)
		if !mine || e != c.endpoint || r.Stage != pvesim.Arrived {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		sent++
		if c.full != "" && sent > c.skip {
			w.sim.SetStorageFull(c.full, true)
		}
	})
	s := strike{sent: func() int {
		mu.Lock()
		defer mu.Unlock()
		return sent
	}}
	if c.full != "" {
		s.hits = func() int { return max(0, s.sent()-c.skip) }
		s.end = func() {
			w.sim.SetHook(nil)
			w.sim.SetStorageFull(c.full, false)
		}
		return s
	}
	f := c.fault
	f.Method, f.Path, f.Skip = c.method, c.pattern, c.skip
	f.Guest = map[string]int{"own": vmid, "template": templateVMID}[c.whose]
	armed := w.sim.AddFault(f)
	s.hits, s.end = armed.Hits, armed.Remove
	return s
}

// cell is one cell. It gives the greatest delay of another order.
func (w *faultWorld) cell(c faultCell) (worst delay) {
	w.t.Helper()
	wrong := w.t.Errorf
	struck, others := w.ordered(struckProducts[c.full]), [2]int64{w.ordered(4), w.ordered(5)}
	ids := []int64{struck, others[0], others[1]}
	vmid := w.vmid(struck)
	s := w.strike(c, vmid)
	wide := c.wide || c.whose != "own"

	began := w.clock.Now()
	log := w.tick()
	if s.hits() == 0 {
		wrong("it never struck\n%s", log)
	}
	said := []string{w.message(struck)}
	for i, id := range others {
		switch {
		case wide && !(c.whose == "own" && c.fault.NodeDown > 0 && i == 1 && w.on(vmid) == "pve2"):
		case w.status(id) != kvm.Ready:
			wrong("service %d beside it is at %s: %s", id, w.status(id), w.message(id))
		default:
			if by := w.readyAt(id).Sub(began) - w.own[i]; by > worst.by {
				worst = delay{by, w.own[i], c.String()}
			}
		}
	}
	// A quarter of an hour later it is still there.
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET status_since = status_since - INTERVAL 16 MINUTE WHERE vm_status <> 'ready'")
	was := w.status(struck)
	for !w.sim.Settled() { // what was begun has ended when the next minute's tick comes
		if err := w.clock.Sleep(w.t.Context(), time.Second); err != nil {
			w.t.Fatal(err)
		}
	}
	w.tick()
	said = append(said, w.message(struck))
	words := regexp.MustCompile(c.says)
	quiet := c.done || harmless(c)
	for i, text := range said {
		if !words.MatchString(text) && !(quiet && text == "") && !patient(c, text) {
			wrong("in tick %d it says %q", i+1, text)
		}
	}
	alerts := w.db.Text("SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE ?", fmt.Sprintf("%%service #%d %%", struck))
	if stuck := w.status(struck) == was && was != kvm.Ready && !strings.HasPrefix(said[1], "waiting on VM "); stuck && alerts != "1" {
		wrong("%s alerts although it has stood at %s: %s", alerts, was, said[1])
	}
	for _, id := range others {
		if !wide && w.db.Text("SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE ?", fmt.Sprintf("%%service #%d %%", id)) != "0" {
			wrong("service %d beside it has an alert", id)
		}
	}

	s.end()
	if c.fault.NodeDown > 0 {
		w.nodesBack()
		for _, id := range ids {
			w.unlock(id)
		}
	}
	for range 4 {
		log = w.tick()
		if !slices.ContainsFunc(ids, func(id int64) bool { return w.status(id) != kvm.Ready }) {
			break
		}
	}
	w.sim.SetHook(nil)
	if w.vmid(struck) != vmid {
		wrong("its VM is %d, and was to be %d", w.vmid(struck), vmid)
	}
	if limit := w.calls[c.endpoint]; c.done && c.method == "POST" && w.posts[c.endpoint] && s.sent() > limit {
		wrong("it was sent %d times instead of %d", s.sent(), limit)
	}
	w.settle(ids...)
	w.whole(c, vmid, began)
	if w.t.Failed() {
		w.t.Logf("it said %q; the last tick:\n%s", said, log)
	}
	w.forget(ids...)
	return worst
}

// on is the node that a VM is on, "" = there is none.
func (w *faultWorld) on(vmid int) string {
	vm, _ := w.sim.VM(vmid)
	return vm.Node
}

// harmless: what an order need not notice. A storage list that cannot be had of a node is no reason to stop (the node is
// then no place for the VM), nor is the end of a start's task, for the VM's power state decides.
func harmless(c faultCell) bool {
	if strings.HasSuffix(c.pattern, "/cluster/status") && c.trouble.name == "403" { // a token that may not ask leaves the cluster's name open
		return true
	}
	return c.full != "" || strings.HasSuffix(c.pattern, "/storage") || strings.HasSuffix(c.pattern, "/tasks/{upid}/status") ||
		strings.HasSuffix(c.pattern, "/migrate") && (c.full != "" || c.fault.NodeDown > 0) || c.fault.NodeDown > 0
}

// patient: a task whose state cannot be asked for is waited for, by name.
func patient(c faultCell, text string) bool {
	return strings.HasSuffix(c.pattern, "/tasks/{upid}/status") && strings.HasPrefix(text, "waiting on ") && strings.Contains(text, "task UPID:")
}

// nodesBack waits until a node that was down for a minute has booted.
func (w *faultWorld) nodesBack() {
	w.t.Helper()
	if err := w.clock.Sleep(w.t.Context(), time.Minute); err != nil {
		w.t.Fatal(err)
	}
}

// unlock does what an administrator must after a crash: a task that died with its node has left its lock, and a clone its
// half. The program must have said that it waits for this lock.
func (w *faultWorld) unlock(id int64) {
	w.t.Helper()
	vmid := w.vmid(id)
	vm, found := w.sim.VM(vmid)
	if !found || vm.Lock == "" {
		return
	}
	for _, task := range w.sim.Tasks() {
		if task.Guest == vmid && task.End.IsZero() {
			return // it is at work
		}
	}
	w.tick()
	if want := fmt.Sprintf("locked by Proxmox (%s)", vm.Lock); !strings.Contains(w.message(id), want) {
		w.t.Errorf("service %d: %q does not name the lock %s", id, w.message(id), vm.Lock)
	}
	if vm.Lock == "clone" {
		w.sim.RemoveVM(vmid)
	} else if err := w.sim.SetLock(vmid, ""); err != nil {
		w.t.Error(err)
	}
}

// whole checks that a struck VM is all that its product says, made once, with nothing beside it.
func (w *faultWorld) whole(c faultCell, vmid int, began time.Time) {
	w.t.Helper()
	vm, found := w.sim.VM(vmid)
	if !found {
		return // settle has said so
	}
	if have := w.sim.Volumes(vmid); len(have) != len(vm.Disks) || len(have) != 3 {
		w.t.Errorf("the volumes %v for the disks %v", have, vm.Disks)
	}
	done := w.ended(vmid, began)
	for typ, n := range w.tasks {
		if done[typ] > n && !(c.fault.NodeDown > 0) {
			w.t.Errorf("%d tasks %s did their work instead of %d", done[typ], typ, n)
		}
	}
	for k, want := range map[string]string{"cores": "2", "memory": "4096", "onboot": "1"} {
		if vm.Config[k] != want {
			w.t.Errorf("%s is %q", k, vm.Config[k])
		}
	}
	for slot, want := range map[string]int64{"scsi0": 20, "scsi1": 10} {
		if vm.Disks[slot].Size != want<<30 {
			w.t.Errorf("%s has %d bytes", slot, vm.Disks[slot].Size)
		}
	}
	addr, _, _ := strings.Cut(strings.TrimPrefix(vm.Config["ipconfig0"], "ip="), "/")
	if addr == "" || !strings.Contains(vm.CloudInit, addr) || len(vm.Pending) != 0 {
		w.t.Errorf("the guest was told %q, its address is %s, pending %v", vm.CloudInit, addr, vm.Pending)
	}
	fw := w.sim.Firewall(vmid)
	if len(fw.Rules) != 0 || len(fw.IPSets) != 1 || !slices.Equal(fw.IPSets["ipfilter-net0"], []string{addr}) || fw.Options["policy_in"] != "DROP" || fw.Options["enable"] != "1" {
		w.t.Errorf("its firewall is %+v", fw)
	}
}
