package cmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// later is a verb on a service whose VM stands, and which of its calls meet troubles.
type later struct {
	name    string
	prepare func(w *world, id int64)          // nil = nothing
	order   []string                          // nil = cron does it by itself
	after   func(w *world, id int64) []string // what follows the service's id in the order; nil = nothing
	settled kvm.Status
	calls   []string // method and row of the API's table
	// holds says what is not as it must be at the end.
	holds func(w *world, id int64, was identity) (wrong []string)
	// lasts says what is not as it must be at every moment; nil = nothing more than early sees.
	lasts func(w *world, id int64, was identity) (wrong []string)
	// now: the order itself meets the trouble, for it looks at Proxmox or does all its work at once; else the ticks do.
	now bool
	// rests: what fails for good leaves the service where it can be asked for again, and its run says why. It is asked for
	// again when the trouble is over; what cron does by itself, it tries again after an hour.
	rests bool
}

const ownVM = "/nodes/{node}/qemu/{vmid}"

// laterTable has every call of these pipelines that Deploy does not make, and those that mean something else here.
func laterTable() []later {
	return append([]later{
		{name: "terminate", prepare: (*world).deaf, order: []string{"terminate"}, settled: kvm.Remove, holds: (*world).isGone, calls: []string{
			"POST " + ownVM + "/status/shutdown", "POST " + ownVM + "/status/stop", "DELETE " + ownVM, "GET /nodes", "GET /nodes/{node}/storage",
			"GET /nodes/{node}/vzdump/extractconfig", "DELETE /nodes/{node}/storage/{storage}/content/{volume}"}},
		// Somebody has destroyed the VM: that it is gone must be proved.
		{name: "terminate, gone", prepare: (*world).destroyed, order: []string{"terminate"}, settled: kvm.Remove, holds: (*world).isGone, calls: []string{
			"GET /cluster/status", "GET /cluster/nextid", "GET /cluster/resources"}},
		{name: "reinstall", prepare: (*world).snapshotted, order: []string{"reinstall", "--confirm", "REINSTALL"}, settled: kvm.Ready, holds: (*world).anew, calls: []string{
			"GET " + ownVM + "/snapshot", "DELETE " + ownVM + "/snapshot/{snapname}", "DELETE " + ownVM}},
		{name: "redeploy", order: []string{"redeploy", "--confirm", "REDEPLOY"}, settled: kvm.Ready, holds: (*world).anew, calls: []string{"DELETE " + ownVM}},
		{name: "suspend", order: []string{"suspend"}, settled: kvm.Ready, holds: (*world).suspended, calls: []string{"PUT " + ownVM + "/config"}},
		{name: "change-package", prepare: (*world).bigger, order: []string{"change-package"}, settled: kvm.Ready, holds: (*world).grown, calls: []string{"POST " + ownVM + "/status/shutdown"}},
		{name: "reset-password", prepare: (*world).answers, order: []string{"reset-password"}, settled: kvm.Ready, holds: (*world).reset, calls: []string{"POST " + ownVM + "/agent/set-user-password"}},
	}, customerTable()...)
}

// deaf is a service whose guest hears no shutdown, with backups.
func (w *world) deaf(id int64) {
	w.t.Helper()
	w.backedUp(id)
	if err := w.sim.SetDeaf(w.vmid(id), true); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) destroyed(id int64) { w.sim.RemoveVM(w.vmid(id)) }

// snapshotted is a service with a snapshot.
func (w *world) snapshotted(id int64) {
	w.t.Helper()
	if err := w.sim.AddSnapshot(w.vmid(id), "nightly", ""); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) bigger(id int64) {
	w.t.Helper()
	w.db.Exec("UPDATE tblhosting SET packageid = 6 WHERE id = ?", id)
}

func (w *world) answers(id int64) {
	w.t.Helper()
	if err := w.sim.SetGuest(w.vmid(id), &pvesim.Guest{}); err != nil {
		w.t.Fatal(err)
	}
}

// isGone: the VM is gone with its own backups, and WHMCS has been told once.
func (w *world) isGone(id int64, was identity) (wrong []string) {
	told := func(text string) string {
		return w.db.Text("SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE ?", fmt.Sprintf("VM of service #%d%%%s%%", id, text))
	}
	return failing(map[string]bool{
		"its VM is there":                    !w.uuidExists(was.uuid),
		"its addresses are held":             len(w.addresses(id)) == 0,
		"a backup of its own is there":       w.backupsOf(was.vmid, was.uuid) == 0,
		"that it succeeded is not told once": told("terminated successfully") == "1",
		"a failure is told more than once":   told("FAILED") <= "1",
		"its VMID does not rest":             w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_vmids WHERE vmid = ? AND service_id = ? AND state = 'tombstone'", was.vmid, id) == "1",
	})
}

// anew: there is one VM of the service, another one than before, and its customer was told once.
func (w *world) anew(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(w.vmid(id))
	uuid := w.db.Text("SELECT vm_uuid FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
	return failing(map[string]bool{
		"the former VM is there":                      uuid != was.uuid && !w.uuidExists(was.uuid),
		"there is no new one":                         uuid != "" && strings.Contains(vm.Config["smbios1"], uuid),
		"it does not run":                             vm.Power == kvm.Running && vm.Lock == "",
		"it has snapshots":                            len(vm.Snapshots) == 0,
		"its address is not its own":                  len(w.addresses(id)) == 1 && w.guestsWith(w.addresses(id)) == 1,
		fmt.Sprintf("%d mails", w.sent(id)-was.mails): w.sent(id) == was.mails+1,
	})
}

func (w *world) grown(id int64, was identity) (wrong []string) {
	vm, _ := w.sim.VM(w.vmid(id))
	return append(w.same(id, was, kvm.Running, "1"), failing(map[string]bool{"it has not grown": vm.Config["cores"] == "4" && len(vm.Pending) == 0})...)
}

// reset: the guest and cloud-init have the password that WHMCS shows, a new one, and its customer was told once.
func (w *world) reset(id int64, was identity) (wrong []string) {
	shown, last := w.password(id), ""
	for _, r := range w.sim.Requests() {
		if p, has := r.Form["cipassword"]; has && strings.Contains(r.Path, fmt.Sprintf("/qemu/%d/", w.vmid(id))) {
			last = p
		}
	}
	return append(w.told(id, was), failing(map[string]bool{
		"the password is the former one":              shown != was.password,
		"cloud-init has another":                      last == shown,
		fmt.Sprintf("%d mails", w.sent(id)-was.mails): w.sent(id) == was.mails+1,
	})...)
}

// laterCell is one call of a verb and one trouble with it.
type laterCell struct {
	later
	faultCell
}

// laterWorld has services that stand.
type laterWorld struct {
	*faultWorld
	ready []int64
}

func newLaterWorld(t testing.TB) *laterWorld {
	t.Helper()
	w := &laterWorld{faultWorld: newFaultWorld(t)}
	w.db.AddProduct(whmcstest.Product{ID: 6})
	w.ok("product", "set", "6", "template=9000", "node=pve1", "cpu=4", "ram=8", "system_size=20", "main_domain=example.com")
	w.ok("product", "set", "5", "backups=2", "backup_storage=shared", "snapshots=2", "iso_storage=shared")
	if err := w.sim.AddISO("shared", "pve1", laterISO, 4<<20); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"stop.graceful": "20", "stop.force": "20"} {
		w.ok("settings", "set", name, value)
	}
	return w
}

// standing is a service with a running VM.
func (w *laterWorld) standing() int64 {
	w.t.Helper()
	if len(w.ready) == 0 {
		for range 8 {
			w.ready = append(w.ready, w.ordered(5))
		}
		log := w.tick()
		for _, id := range w.ready {
			if st := w.status(id); st != kvm.Ready {
				w.t.Fatalf("service %d is at %s: %s\n%s", id, st, w.message(id), log)
			}
		}
	}
	id := w.ready[0]
	w.ready = w.ready[1:]
	return id
}

// laterCells does each verb once undisturbed, and gives its cells.
func (w *laterWorld) laterCells(rng *rand.Rand) (out []laterCell) {
	w.t.Helper()
	for _, l := range laterTable() {
		id := w.standing()
		if l.prepare != nil {
			l.prepare(w.world, id)
		}
		was := w.identity(id)
		vmid, times, tasks := was.vmid, map[endpoint]int{}, map[endpoint]bool{}
		var mu sync.Mutex
		before := 0
		hear := func() {
			w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
				e, mine := of(r, vmid)
				if !mine {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if r.Stage == pvesim.Arrived {
					times[e]++
					before = len(w.sim.Tasks())
				} else if len(w.sim.Tasks()) > before {
					tasks[e] = true
				}
			})
		}
		w.sim.ResetRequests()
		if l.now {
			hear()
		}
		if l.order != nil {
			w.ok(w.args(l, id)...)
		}
		if hear(); l.now {
			w.sim.SetHook(nil)
		}
		log := w.tick()
		w.sim.SetHook(nil)
		for range 2 {
			if len(w.laterEnd(l, id, was)) > 0 {
				log = w.tick()
			}
		}
		if wrong := w.laterEnd(l, id, was); len(wrong) > 0 {
			w.t.Fatalf("%s, undisturbed: %v\n%s", l.name, wrong, log)
		}
		w.away(id, was)
		for _, call := range l.calls {
			method, pattern, _ := strings.Cut(call, " ")
			found := false
			for _, whose := range []string{"own", ""} {
				e := endpoint{method: method, pattern: pattern, whose: whose}
				if times[e] == 0 {
					continue
				}
				found = true
				for _, tr := range troubles {
					if tr.full != "" || tr.tasks && !tasks[e] || tr.fault.NodeDown > 0 && !strings.HasPrefix(pattern, "/nodes/{node}") {
						continue
					}
					out = append(out, laterCell{l, faultCell{endpoint: e, trouble: tr, skip: rng.IntN((times[e] + 1) / 2)}})
				}
			}
			if !found {
				w.t.Fatalf("%s never calls %s, but %v", l.name, call, times)
			}
		}
	}
	return out
}

// args is the order of l for a service.
func (w *laterWorld) args(l later, id int64) []string {
	out := append(slices.Clone(l.order), strconv.FormatInt(id, 10))
	if l.after != nil {
		out = append(out, l.after(w.world, id)...)
	}
	return out
}

func (w *laterWorld) laterEnd(l later, id int64, was identity) (wrong []string) {
	w.t.Helper()
	if st := w.status(id); st != l.settled {
		return []string{fmt.Sprintf("it is at %s: %s", st, w.message(id))}
	}
	return l.holds(w.world, id, was)
}

// away takes a service away with all that is left of it.
func (w *laterWorld) away(id int64, was identity) {
	w.sim.RemoveVM(was.vmid)
	w.sim.RemoveBackups(was.vmid)
	w.forget(id)
	w.db.Exec("DELETE FROM puq_proxmox_kvm_backups WHERE service_id = ?", id)
}
