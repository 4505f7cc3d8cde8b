package cmd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// What is aimed at when backups are made by schedule, and old snapshots removed.
const (
	aimBackupRequests   = 10 // to Proxmox for one, besides polls, with a package that is full; backup_calls_test.go lists them
	aimBackupStatements = 20 // for one: 18, and 2 more where the oldest goes
	aimOneTask          = 11 // statements of a tick of one task that has nothing to do
	aimReadSeconds      = 1  // to read all schedules
)

const (
	scheduledVMs      = 100_000
	dueVMs            = 500
	backupsEach       = 2 // of a package
	snapshotVMs       = 10_000
	withSnapshots     = 200
	tooOld            = 100
	listedBackupsOfVM = 10
)

// standing adds n services that are ready, as rows; the first vms of them have VMs, which stand on the world's nodes in turn. Each
// has what schedule gives for it, "" = none, whose moments count from taken on.
func (w *world) standing(n, vms int, schedule func(i int) string, taken time.Time) {
	w.t.Helper()
	nodes := w.sim.Nodes()
	w.db.AddService(whmcstest.Service{ID: farmFirstSID, ClientID: 42, ProductID: 1, ServerID: 1})
	columns := w.db.Text("SELECT GROUP_CONCAT(COLUMN_NAME) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'tblhosting' AND COLUMN_NAME <> 'id'")
	for have := 1; have < n; have *= 2 {
		w.db.Exec("INSERT INTO tblhosting (id, "+columns+") SELECT id + ?, "+columns+" FROM tblhosting WHERE id BETWEEN ? AND ?", have, farmFirstSID, farmFirstSID+min(have, n-have)-1)
	}
	for from := 0; from < n; from += 1000 {
		var rows []string
		for i := from; i < min(n, from+1000); i++ {
			vmid, name, uuid, node := farmFirstVMID+i, fmt.Sprintf("vps-42-%d", farmFirstSID+i), standingUUID(i), nodes[i%len(nodes)].Name
			if i < vms {
				err := w.sim.AddVM(pvesim.VM{VMID: vmid, Node: node, Name: name, Storage: "local", DiskGiB: 1, Running: true, Config: map[string]string{"smbios1": "uuid=" + uuid}})
				if err != nil {
					w.t.Fatal(err)
				}
			}
			text, moment := "NULL", "NULL"
			if s := schedule(i); s != "" {
				text, moment = "'"+s+"'", "'"+taken.UTC().Format(time.DateTime)+"'"
			}
			rows = append(rows, fmt.Sprintf("(%d, %d, '%s', 'ready', 1, '%s', '%s', UTC_TIMESTAMP(6), %s, %s)", farmFirstSID+i, vmid, name, node, uuid, text, moment))
		}
		w.db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_id, vm_name, vm_status, server_id, vm_node, vm_uuid, queued_at, vm_backup_schedule, backup_moment) VALUES " + strings.Join(rows, ", "))
	}
	if got := w.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info v JOIN tblhosting h ON h.id = v.service_id WHERE vm_status = 'ready'"); got != n {
		w.t.Fatalf("%d services are ready, want %d", got, n)
	}
}

func standingUUID(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", i) }

// randomSchedules are schedules of one to seven days, always the same ones.
func randomSchedules() func(int) string {
	r := rand.New(rand.NewPCG(1, 2))
	return func(int) string {
		s := kvm.NoSchedule()
		for range 1 + r.IntN(7) {
			s[r.IntN(7)] = kvm.DayTime(r.IntN(24 * 60))
		}
		return s.String()
	}
}

func noSchedule(int) string { return "" }

// ownBackups gives each of the first n standing VMs backups of its own, the last of yesterday, which the journal knows.
func (w *world) ownBackups(n, each int) {
	w.t.Helper()
	var rows []string
	for i := range n {
		for days := each; days > 0; days-- {
			taken := w.clock.Now().UTC().Truncate(time.Second).AddDate(0, 0, -days)
			volume, err := w.sim.AddBackup("nfs", farmFirstVMID+i, taken)
			if err != nil {
				w.t.Fatal(err)
			}
			list := w.sim.Backups(farmFirstVMID + i)
			rows = append(rows, fmt.Sprintf("(%d, 1, 'nfs', '%s', UTC_TIMESTAMP(6), '%s', '%s', %d)", farmFirstSID+i, volume, standingUUID(i), taken.Format(time.DateTime), list[0].Size))
		}
	}
	if len(rows) > 0 {
		w.db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at, uuid, made_at, size) VALUES " + strings.Join(rows, ", "))
	}
}

// snapshots gives each of the first n standing VMs a snapshot of ours: the first old of them one whose time is over, the others one of
// an hour ago.
func (w *world) snapshots(n, old int) {
	w.t.Helper()
	for i := range n {
		taken := w.clock.Now().Add(-time.Hour)
		if i < old {
			taken = taken.AddDate(0, 0, -1)
		}
		if err := w.sim.AddSnapshot(farmFirstVMID+i, kvm.SnapshotName(taken), ""); err != nil {
			w.t.Fatal(err)
		}
	}
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET own_snapshots = own_snapshots + 1 WHERE service_id BETWEEN ? AND ?", farmFirstSID, farmFirstSID+n-1)
}

// fallDue makes the first n standing services have a schedule whose moment of today has passed and was not taken up.
func (w *world) fallDue(n int) {
	w.t.Helper()
	daily := kvm.Schedule{} // at midnight
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = ?, backup_moment = ?, backup_date = '' WHERE service_id BETWEEN ? AND ?", daily.String(), w.clock.Now().UTC().AddDate(0, 0, -2), farmFirstSID, farmFirstSID+n-1)
}

// madeBackups is how many backups Proxmox has made.
func (w *world) madeBackups() (n int) {
	for _, task := range w.sim.Tasks() {
		if task.Type == "vzdump" && task.Exit == "OK" {
			n++
		}
	}
	return n
}

// asked is how many requests Proxmox has had since they were counted last, and how many of them only asked whether a task had ended.
func (w *world) asked() (requests, polls int) {
	for call, n := range w.sim.Counts() {
		if strings.HasSuffix(call, "/tasks/{upid}/status") {
			polls += n
		} else {
			requests += n
		}
	}
	return requests, polls
}

// ranCron is what a tick of one task took, as a process.
type ranCron struct {
	tick                        processes
	statements, requests, polls int
}

func (w *world) ranCron(b *testing.B, p program, task string) ranCron {
	b.Helper()
	w.sim.ResetRequests()
	before := w.questions()
	r := ranCron{tick: measureWithin(b, 0, 1, p.bare, append(p.env, w.env...), p.path, "cron", "--task="+task)}
	r.statements = w.questions() - before
	r.requests, r.polls = w.asked()
	return r
}

// columns are those of a table of ranCrons.
func (r ranCron) columns(done int) []string {
	each := func(n int) string {
		if done == 0 {
			return strconv.Itoa(n)
		}
		return fmt.Sprintf("%d (%.1f each)", n, float64(n)/float64(done))
	}
	return []string{fmt.Sprintf("%.2f", r.tick.wall[0].Seconds()), fmt.Sprintf("%.2f", r.tick.cpu.Seconds()), each(r.requests), each(r.polls), each(r.statements), fmt.Sprintf("%.1f", float64(r.tick.rss)/1000)}
}

func (r ranCron) report(b *testing.B, when string) {
	report(b, map[string]float64{when + "-s": r.tick.wall[0].Seconds(), when + "-cpu-s": r.tick.cpu.Seconds(), when + "-pve-requests": float64(r.requests), when + "-statements": float64(r.statements), when + "-MB": float64(r.tick.rss) / 1000})
}

var ranHead = []string{"WALL s", "CPU s", "PVE REQUESTS", "POLLS", "STATEMENTS", "MB"}

// BenchmarkScheduled is a tick of scheduleBackup among many schedules: one in which nothing is due, which reads them all, and one
// with backups to be made on a Proxmox that takes no time, each of a VM whose package is full, so that the oldest goes. It fails
// when one that is due is not made.
func BenchmarkScheduled(b *testing.B) {
	p := newProgram(b)
	table := rows{head: append([]string{"SCHEDULES", "DUE", "MADE"}, ranHead...), body: [][]string{
		{"aim", "0", "", fmt.Sprintf("<= %d", aimReadSeconds), "", "0", "0", fmt.Sprintf("<= %d", aimOneTask), fmt.Sprintf("<= %d", aimRSS)},
		{"aim", "", "all", "", "", fmt.Sprintf("<= %d each", aimBackupRequests), "", fmt.Sprintf("<= %d each", aimBackupStatements), fmt.Sprintf("<= %d", aimRSS)}}}
	for b.Loop() {
		w := newBackupWorld(b, clock.Wall{}, scheduledVMs, dueVMs, randomSchedules())
		w.ownBackups(dueVMs, backupsEach)
		w.ok("cron", "--task=scheduleBackup") // the first start of a task makes its row
		for _, due := range []int{0, dueVMs} {
			w.fallDue(due)
			r := w.ranCron(b, p, "scheduleBackup")
			made := w.madeBackups()
			if made != due || w.number("SELECT COUNT(*) FROM puq_proxmox_kvm_backups") != dueVMs*backupsEach {
				b.Errorf("%d of %d that were due were made", made, due)
			}
			table.body = append(table.body, append([]string{strconv.Itoa(scheduledVMs), strconv.Itoa(due), strconv.Itoa(made)}, r.columns(made)...))
			r.report(b, fmt.Sprintf("due=%d", due))
		}
	}
	printTables(os.Stdout, table)
}

// BenchmarkOldSnapshots is a tick of removeOldSnapshots among many VMs of which a few have snapshots of ours, half of them too old,
// and the next one, which finds nothing to remove. It fails when a snapshot is left that is too old, or one is gone that is not.
func BenchmarkOldSnapshots(b *testing.B) {
	p := newProgram(b)
	table := rows{head: append([]string{"VMS", "WITH SNAPSHOTS", "REMOVED"}, ranHead...), body: [][]string{
		{"aim", "", "", "", "", "only for those with snapshots", "", "", fmt.Sprintf("<= %d", aimRSS)}}}
	for b.Loop() {
		w := newBackupWorld(b, clock.Wall{}, snapshotVMs, snapshotVMs, noSchedule)
		w.snapshots(withSnapshots, tooOld)
		w.ok("cron", "--task=nowBackupStatus") // connects once, so that what is measured does not
		for _, old := range []int{tooOld, 0} {
			with := w.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE own_snapshots > 0")
			r := w.ranCron(b, p, "removeOldSnapshots")
			for _, e := range w.sim.Requests() {
				if vmid, err := strconv.Atoi(strings.Split(e.Path+"///////", "/")[4]); err == nil && vmid >= farmFirstVMID+withSnapshots {
					b.Fatalf("%s %s", e.Method, e.Path)
				}
			}
			table.body = append(table.body, append([]string{strconv.Itoa(snapshotVMs), strconv.Itoa(with), strconv.Itoa(old)}, r.columns(0)...))
			r.report(b, fmt.Sprintf("old=%d", old))
		}
		left := 0
		for _, vm := range w.sim.VMs() {
			left += len(vm.Snapshots)
		}
		if left != withSnapshots-tooOld || w.number("SELECT SUM(own_snapshots) FROM puqProxmoxKVM_vm_info") != left {
			b.Errorf("%d snapshots are left, want %d", left, withSnapshots-tooOld)
		}
	}
	printTables(os.Stdout, table)
}

// BenchmarkBackupList lists the backups of a VM, all of its own, which the journal knows: nothing of what is inside is read again.
func BenchmarkBackupList(b *testing.B) {
	p := newProgram(b)
	w := newBackupWorld(b, clock.Wall{}, farmNodes, farmNodes, noSchedule)
	w.ownBackups(farmNodes, listedBackupsOfVM)
	for b.Loop() {
		const runs = 10
		w.sim.ResetRequests()
		list := measure(b, runs, p.bare, append(p.env, w.env...), p.path, "backup", "list", strconv.Itoa(farmFirstSID))
		requests, _ := w.asked()
		report(b, map[string]float64{"ms-min": list.min(), "ms-median": list.median(), "pve-requests": float64(requests) / runs, "extractconfig": float64(w.sim.Counts()[inBackup]) / runs, "MB": float64(list.rss) / 1000})
	}
}
