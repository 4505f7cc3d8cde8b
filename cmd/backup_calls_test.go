package cmd

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const (
	nodePath   = "/nodes/{node}"
	backupList = "GET " + nodePath + "/storage/{storage}/content"
	inBackup   = "GET " + nodePath + "/vzdump/extractconfig"
	taskEnd    = "GET " + nodePath + "/tasks/{upid}/status"
	nodeStores = "GET " + nodePath + "/storage"
	allNodes   = "GET /nodes"
)

// callsToBackUp are the requests of one backup, in their order. With full the oldest goes for it: what is inside is read right before.
// GET /nodes and GET /version are made once in a tick, for all VMs; each task takes one poll at least.
func callsToBackUp(full bool) []string {
	calls := []string{
		"GET " + vmPath + "/config", // whose it is, and that nothing has locked it
		nodeStores,                  // that the storage is there
		allNodes, backupList,        // how many there are
	}
	if full {
		calls = append(calls, inBackup, "DELETE "+nodePath+"/storage/{storage}/content/{volume}", taskEnd)
	}
	return append(calls,
		"GET "+nodePath+"/tasks", // the last one of before, by which one whose answer is lost is found
		"GET /version", "POST "+nodePath+"/vzdump", taskEnd,
		"GET "+nodePath+"/tasks/{upid}/log", // the archive's name
		backupList, inBackup)                // what the journal notes
}

// calls are the requests that Proxmox has had, in their order.
func (w *world) calls() (list []string) {
	for _, r := range w.sim.Requests() {
		list = append(list, r.Method+" "+r.Pattern)
	}
	w.sim.ResetRequests()
	return list
}

// newBackupWorld is a cluster whose VMs stand, with a storage for backups.
func newBackupWorld(t testing.TB, c clock.Clock, n, vms int, schedule func(int) string) *world {
	t.Helper()
	w := newWorld(t, scene{clock: c, nodes: farmNodes, bare: true})
	w.sim.AddStorage(pvesim.Storage{ID: "nfs", Type: "nfs", Content: "backup", Shared: true, Size: 64 << 40})
	w.ok("server", "set", "1", "--fingerprint", w.pve.Fingerprint)
	w.ok("product", "set", "1", "template="+strconv.Itoa(pvesim.FirstTemplate), "backups="+strconv.Itoa(backupsEach), "backup_storage=nfs", "snapshots=3", "snapshot_lifetime=1")
	w.standing(n, vms, schedule, w.clock.Now().Add(time.Hour)) // so that no schedule falls due meanwhile
	return w
}

// TestCallsOfBackups: what is asked of Proxmox and of the database for one backup is listed, and is asked once.
func TestCallsOfBackups(t *testing.T) {
	w := newBackupWorld(t, nil, 3, 3, noSchedule)
	w.ownBackups(1, backupsEach)
	seen := w.statements()
	statements := func(args ...string) int {
		w.sim.ResetRequests()
		seen()
		w.ok(args...)
		return len(seen())
	}
	none := statements("cron", "--task=scheduleBackup")
	w.fallDue(2)
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = NULL WHERE service_id = ?", farmFirstSID+1)
	full := statements("cron", "--task=scheduleBackup") - none
	w.wantCalls("a backup for which the oldest goes", callsToBackUp(true))
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = ? WHERE service_id = ?", kvm.Schedule{}.String(), farmFirstSID+1)
	first := statements("cron", "--task=scheduleBackup") - none
	w.wantCalls("a backup for which there is room", callsToBackUp(false))
	if full > oneBackup+2 || first > oneBackup {
		t.Errorf("%d and %d statements, want %d, and 2 more where the oldest goes", full, first, oneBackup)
	}
	w.ok("backup", "create", strconv.Itoa(farmFirstSID+2), "--note", "by hand")
	w.sim.ResetRequests()
	w.ok("cron", "--task=nowBackupStatus")
	w.wantCalls("a backup by hand", callsToBackUp(false))
	if n := w.madeBackups(); n != 3 {
		t.Errorf("%d backups were made", n)
	}
}

// oneBackup is how many statements a tick has more for one backup, the server's row and WHMCS's debug mode included, which are read
// once; the slot, which is taken before the status and made sure of by the row, is three of them.
const oneBackup = 18

func (w *world) wantCalls(what string, want []string) {
	w.t.Helper()
	if got := w.calls(); !slices.Equal(got, want) {
		w.t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCallsOfBackupList: what the journal knows is not read again, however many there are; what it does not know is.
func TestCallsOfBackupList(t *testing.T) {
	w := newBackupWorld(t, nil, 2, 2, noSchedule)
	w.ownBackups(2, 10)
	w.sim.ResetRequests()
	out := w.ok("backup", "list", strconv.Itoa(farmFirstSID))
	if !strings.Contains(out, "backups: 10/2\n") {
		t.Error(out)
	}
	w.wantCalls("a list of ten", []string{allNodes, nodeStores, backupList})
	w.db.Exec("UPDATE puq_proxmox_kvm_backups SET size = size + 1 WHERE service_id = ? ORDER BY id LIMIT 1", farmFirstSID)
	w.ok("backup", "list", strconv.Itoa(farmFirstSID))
	w.wantCalls("a list of ten, one of which is another", []string{allNodes, nodeStores, backupList, inBackup})
}

// TestCallsOfOldSnapshots: Proxmox is asked about VMs that have snapshots of ours, and about no others.
func TestCallsOfOldSnapshots(t *testing.T) {
	w := newBackupWorld(t, nil, 9, 9, noSchedule)
	look := []string{"GET " + vmPath + "/config", "GET " + vmPath + "/snapshot"}
	remove := []string{"DELETE " + vmPath + "/snapshot/{snapname}", taskEnd}
	w.sim.ResetRequests()
	w.ok("cron", "--task=removeOldSnapshots")
	w.wantCalls("none has any", nil)
	w.snapshots(1, 0)
	w.ok("cron", "--task=removeOldSnapshots")
	w.wantCalls("one that is young", look)
	w.snapshots(1, 1)
	w.ok("cron", "--task=removeOldSnapshots")
	w.wantCalls("one that is old", slices.Concat(look, remove))
	w.ok("cron", "--task=removeOldSnapshots")
	w.wantCalls("one that is young is left", look)
	if vm, _ := w.sim.VM(farmFirstVMID); len(vm.Snapshots) != 1 {
		t.Errorf("%d snapshots are left", len(vm.Snapshots))
	}
}
