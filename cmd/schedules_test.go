package cmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// schedules is a world of VMs with schedules, in which things go wrong.
type schedules struct {
	*world
	rng  *rand.Rand
	ids  []int64
	seen map[int64]map[string]string // service -> volume of ours -> its note: all that there ever were
	kept map[int64][]string          // service -> backups that nobody of us may remove: another's, and protected ones
	most map[int64]int               // service -> how many counted when it was at rest last
	room map[int64]int               // service -> the most that its package had since then
	step int
	did  []string
}

// TestSchedules plays random schedules, ticks at random times, changes of the zone, of the package and of the schedule, backups by hand,
// locks, full storages, lost answers, tasks that fail, that are killed or that nobody knows, and ticks that are cut off. No day has two
// scheduled backups of a VM; after a tick no VM has more than its package, or than it had before; what is another's or protected
// stays, and is another's never shown.
func TestSchedules(t *testing.T) {
	t.Parallel()
	worlds, steps := 2, 50
	if soak() {
		worlds, steps = 40, 500
	}
	base := seed(t)
	for n := range worlds {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			m := newSchedules(t, rand.New(rand.NewPCG(base, uint64(n))))
			for m.step = range steps {
				m.play()
				if m.check(); t.Failed() {
					t.Fatalf("PUQKVM_TEST_SEED=%d, step %d; the last:\n%s", base, m.step, strings.Join(m.did[max(0, len(m.did)-12):], "\n"))
				}
			}
			made := 0
			for _, all := range m.seen {
				made += len(all)
			}
			if t.Logf("%d backups", made); made < steps/5 {
				t.Errorf("%d backups were made in %d steps", made, steps)
			}
		})
	}
}

func newSchedules(t *testing.T, rng *rand.Rand) *schedules {
	model := pvesim.Instant()
	model.Backup = 30 * time.Second
	m := &schedules{world: newWorld(t, scene{model: model}), rng: rng, seen: map[int64]map[string]string{}, kept: map[int64][]string{}, most: map[int64]int{}, room: map[int64]int{}}
	m.ok("product", "set", "1", "backups=2", "backup_storage=shared", "mail_ready=")
	m.ok("settings", "set", "cron.wait", "20")
	m.ids = ids(6001, 5)
	m.order(m.ids...)
	m.tick()
	for i, id := range m.ids {
		m.ok("backup", "schedule", "set", strconv.FormatInt(id, 10), "--days", "all")
		vmid := m.vmid(id)
		vm, _ := m.sim.VM(vmid)
		m.seen[id], m.room[id] = map[string]string{}, 2
		// The former customer of the VMID had some; the last service has one that is protected too.
		for days := range 2 {
			m.must(m.sim.SetConfig(vmid, map[string]string{"smbios1": "uuid=" + somebodysUUID}))
			volume, err := m.sim.AddBackup("shared", vmid, epoch.AddDate(-1, 0, -days))
			m.must(err)
			m.kept[id] = append(m.kept[id], volume)
		}
		m.must(m.sim.SetConfig(vmid, map[string]string{"smbios1": vm.Config["smbios1"]}))
		if i == len(m.ids)-1 {
			m.ok("backup", "create", strconv.FormatInt(id, 10), "--wait")
			volume := m.db.Text("SELECT volume FROM puq_proxmox_kvm_backups WHERE service_id = ?", id)
			m.must(m.send("PUT", "/nodes/pve1/storage/shared/content/"+volume, map[string]string{"protected": "1"}))
			m.kept[id] = append(m.kept[id], volume)
		}
	}
	return m
}

func (m *schedules) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *schedules) say(format string, args ...any) {
	m.did = append(m.did, fmt.Sprintf("%d, %s: ", m.step, m.clock.Now().Format(time.DateTime))+fmt.Sprintf(format, args...))
}

func (m *schedules) any() (int64, string) {
	id := m.ids[m.rng.IntN(len(m.ids))]
	return id, strconv.FormatInt(id, 10)
}

// play lets something happen, and then time go on and a tick come, in which something may go wrong.
func (m *schedules) play() {
	m.t.Helper()
	id, sid := m.any()
	switch m.rng.IntN(14) {
	case 0, 1, 2:
		var days []string
		for _, day := range []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} {
			if m.rng.IntN(3) > 0 {
				days = append(days, fmt.Sprintf("%s=%02d:%02d", day, m.rng.IntN(24), m.rng.IntN(60)))
			}
		}
		if len(days) > 0 {
			m.say("schedule of %s: %s", sid, strings.Join(days, ","))
			m.run("backup", "schedule", "set", sid, "--days", strings.Join(days, ",")) // refused where the package has none
		}
	case 3:
		zone := []string{"UTC", "Europe/Warsaw", "America/New_York", "Asia/Kolkata"}[m.rng.IntN(4)]
		m.say("zone %s", zone)
		m.ok("settings", "set", "timezone", zone)
	case 4:
		n := []int{0, 1, 2, 2, 3, 3}[m.rng.IntN(6)]
		m.say("package: %d", n)
		m.ok("product", "set", "1", fmt.Sprintf("backups=%d", n))
	case 5:
		m.say("by hand: %s", sid)
		m.run("backup", "create", sid)
	case 6:
		if vm, _ := m.sim.VM(m.vmid(id)); m.sim.Settled() && vm.Lock == "" {
			m.say("lock of %s", sid)
			m.must(m.sim.SetLock(m.vmid(id), "backup"))
			defer func() { m.must(m.sim.SetLock(m.vmid(id), "")) }()
		}
	case 7:
		m.say("full")
		m.sim.SetStorageFull("shared", true)
		defer m.sim.SetStorageFull("shared", false)
	}
	m.clock.(*clock.Fake).Advance(time.Duration(m.rng.IntN(10*60)) * time.Minute)
	for range 1 + m.rng.IntN(3) {
		m.clock.(*clock.Fake).Advance(5 * time.Minute)
		m.troubled()
	}
}

// troubled is a tick, perhaps with a trouble.
func (m *schedules) troubled() {
	m.t.Helper()
	const vzdump, remove = "/nodes/{node}/vzdump", "/nodes/{node}/storage/{storage}/content/{volume}"
	faults := []pvesim.Fault{
		{Method: "POST", Path: vzdump, ResetAfter: true}, {Method: "POST", Path: vzdump, ResetBefore: true},
		{Method: "POST", Path: vzdump, Status: 500, Reason: "VM is locked (snapshot)"}, {Method: "POST", Path: vzdump, Status: 596, Reason: "Broken pipe", After: true},
		{Method: "POST", Path: vzdump, TaskError: "job errors"}, {Method: "POST", Path: vzdump, TaskKilledAfter: 10 * time.Second},
		{Method: "POST", Path: vzdump, TaskVanishes: true},
		{Method: "DELETE", Path: remove, ResetAfter: true}, {Method: "DELETE", Path: remove, Status: 500, Reason: "got timeout"},
		{Method: "GET", Path: "/nodes/{node}/tasks/{upid}/status", Status: 599, Reason: "Too many redirections"},
		{Method: "GET", Path: "/nodes/{node}/tasks/{upid}/log", Status: 500, Reason: "oops"},
		{Method: "GET", Path: "/nodes/{node}/vzdump/extractconfig", Status: 500, Reason: "got timeout"},
	}
	var armed *pvesim.Armed
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch m.rng.IntN(3) {
	case 0:
		f := faults[m.rng.IntN(len(faults))]
		f.Count = 1
		armed = m.sim.AddFault(f)
		m.say("fault: %+v", f)
	case 1:
		var calls atomic.Int64
		last := int64(m.rng.IntN(60))
		m.sim.SetHook(func(context.Context, pvesim.Request) {
			if calls.Add(1) >= last {
				cancel()
			}
		})
		m.say("cut off at call %d", last)
	}
	out, errs, _ := m.runIn(ctx, "", "cron", "--task=scheduleBackup")
	m.run("cron", "--task=nowBackupStatus")
	m.sim.SetHook(nil)
	if armed != nil {
		armed.Remove()
	}
	m.say("tick:\n%s%s", out, errs)
	m.minutesLater(1)
}

// check asks for what is promised.
func (m *schedules) check() {
	m.t.Helper()
	for _, id := range m.ids {
		sid, vmid := strconv.FormatInt(id, 10), m.vmid(id)
		uuid := m.db.Text("SELECT vm_uuid FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
		there, dates := map[string]bool{}, map[string]string{}
		for _, b := range m.sim.Backups(vmid) {
			there[b.ID] = true
			if strings.Contains(b.Config["smbios1"], uuid) {
				m.seen[id][b.ID] = b.Notes
			}
		}
		for volume, note := range m.seen[id] {
			date, scheduled := strings.CutPrefix(note, "Scheduled backup ")
			if !scheduled {
				continue
			}
			date = date[:len(time.DateOnly)]
			if other, twice := dates[date]; twice {
				m.t.Errorf("service %d: %s has two scheduled backups, %s and %s", id, date, other, volume)
			}
			dates[date] = volume
		}
		for _, volume := range m.kept[id] {
			if !there[volume] {
				m.t.Errorf("service %d: %s is gone", id, volume)
			}
		}
		quota := m.quota()
		m.room[id] = max(m.room[id], quota)
		if st := m.status(id); st != "ready" {
			continue
		}
		counted := m.column("SELECT volume FROM puq_proxmox_kvm_backups WHERE service_id = ?", id)
		counted = slices.DeleteFunc(counted, func(volume string) bool { return !there[volume] })
		if len(counted) > max(m.room[id], m.most[id]) {
			m.t.Errorf("service %d has %d of %d backups, and had %d", id, len(counted), m.room[id], m.most[id])
		}
		m.most[id], m.room[id] = len(counted), quota
		if shown := m.ok("backup", "list", sid); slices.ContainsFunc(m.kept[id][:2], func(volume string) bool { return strings.Contains(shown, volume) }) {
			m.t.Errorf("service %d is shown another's backup:\n%s", id, shown)
		}
	}
}

// quota is what the package has.
func (m *schedules) quota() int {
	m.t.Helper()
	var n int
	if _, err := fmt.Sscanf(m.ok("product", "show", "1")[strings.Index(m.ok("product", "show", "1"), "backups"):], "backups %d", &n); err != nil {
		m.t.Fatal(err)
	}
	return n
}
