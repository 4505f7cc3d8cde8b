package cmd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestEightProcessesBackUp lets eight processes make the backups of 24 services that are due, again and again until all are made,
// one of the eight killed each time: each service has just one, and no node ever makes two at once.
func TestEightProcessesBackUp(t *testing.T) {
	t.Parallel()
	const processes, services, rounds = 8, 24, 20
	model := pvesim.Instant()
	model.Backup = 20 * time.Second
	w := newWorld(t, scene{model: model, clock: clock.NewScaled(epoch, 40)})
	w.ok("product", "set", "1", "backups=2", "backup_storage=shared", "mail_ready=")
	all := ids(6001, services)
	w.order(all...)
	w.ok("cron", "--force")
	// The processes are on the wall's clock.
	w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = ?, backup_moment = ?", kvm.Schedule{}.String(), time.Now().UTC().AddDate(0, 0, -2))
	for round := 1; w.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE backup_date = '' OR vm_status <> 'ready'") > 0; round++ {
		if round > rounds {
			t.Fatalf("after %d rounds not all are made: %v", rounds, w.rows("SELECT service_id, vm_status, backup_date, COALESCE(message, '') FROM puqProxmoxKVM_vm_info"))
		}
		var eight []*child
		for range processes {
			eight = append(eight, w.start(nil, "cron", "--task=scheduleBackup"))
		}
		var victim *child
		for round <= 3 && victim == nil { // one in the middle of a backup
			owners := w.column("SELECT claim_owner FROM puqProxmoxKVM_vm_info WHERE vm_status = 'scheduled_backup' AND task_upid <> '' AND claim_owner IS NOT NULL")
			for _, c := range eight {
				if len(owners) > 0 && strings.Contains(owners[0], fmt.Sprintf("/%d/", c.Process.Pid)) {
					victim = c
				}
			}
			if err := w.clock.Sleep(t.Context(), time.Second/2); err != nil {
				t.Fatal(err)
			}
		}
		if victim != nil {
			victim.kill()
		}
		for _, c := range eight {
			if code := c.wait(); code != exitDone && c != victim {
				t.Fatalf("exit %d\n%s%s", code, &c.out, &c.errout)
			}
			if log := c.out.String(); strings.Contains(log, "errors: 1") {
				t.Errorf("%s", log)
			}
		}
	}
	for _, id := range all {
		if n := w.did("vzdump", identity{vmid: w.vmid(id)}); n != 1 || w.journal(id) != 1 || len(w.sim.Backups(w.vmid(id))) != 1 {
			t.Errorf("service %d: %d were made, %d are in the journal, %d are there", id, n, w.journal(id), len(w.sim.Backups(w.vmid(id))))
		}
	}
	for node, n := range w.overlap("vzdump") {
		if n > 1 {
			t.Errorf("%d backups at once on %s", n, node)
		}
	}
	w.unclaimed()
}
