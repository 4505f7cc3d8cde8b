package whmcs

import (
	"errors"
	"fmt"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestAskOnAnOlderSchema: between a new program and its migration the verbs of WHMCS are queued all the same, as far as
// nothing has to be noted; the rest says what to type.
func TestAskOnAnOlderSchema(t *testing.T) {
	x := newShop(t)
	x.order(7)
	x.db.Exec("ALTER TABLE puqProxmoxKVM_vm_info DROP COLUMN next_status, DROP COLUMN vm_cluster, DROP COLUMN template")
	x.db.Exec("DROP TABLE puq_proxmox_kvm_backups")
	x.db.Exec("UPDATE puq_proxmox_kvm_meta SET value = '1' WHERE name = 'schema_version'")
	x.Store = openStore(t, x.db)
	if st := x.Opened().Schema; st.OK() || st.QueueErr() != nil || st.Err() == nil {
		t.Fatalf("%+v: %v", st, st.QueueErr())
	}
	set := func(status kvm.Status, owner string) {
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = ?, suspended = 0, claim_owner = NULLIF(?, ''), claim_until = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND WHERE service_id = 7", string(status), owner)
	}
	for _, v := range []kvm.Verb{kvm.VerbSuspend, kvm.VerbUnsuspend, kvm.VerbTerminate, kvm.VerbChangePackage} {
		for _, p := range eachPhase {
			for _, owner := range []string{"", elsewhere} {
				set(p.status, owner)
				before := fmt.Sprint(x.row(7))
				_, err := x.Ask(t.Context(), 7, kvm.Wish{Verb: v})
				d := kvm.Decide(v, p.phase)
				switch {
				case d == kvm.Take && (owner == "" || p.phase == kvm.PhaseReady):
					if err != nil || x.vm("vm_status", 7) != string(v.Status()) || v == kvm.VerbSuspend && x.vm("suspended", 7) != "1" {
						t.Errorf("%s at %s: %v, %s", v, p.status, err, x.vm("vm_status", 7))
					}
				case d == kvm.Take, d == kvm.Note:
					if !errors.Is(err, kvm.ErrBusy) || kvm.Hint(err) != "puqkvm db migrate" || fmt.Sprint(x.row(7)) != before {
						t.Errorf("%s at %s, held by %q: %v", v, p.status, owner, err)
					}
				case fmt.Sprint(x.row(7)) != before:
					t.Errorf("%s at %s wrote", v, p.status)
				}
			}
		}
	}
	set(kvm.Remove, "")
	if sv, err := x.Create(t.Context(), 7, orderedAt, nil); err != nil || sv.Row.VMID != 101 || x.vm("vm_status", 7) != "creation" {
		t.Errorf("a new order of an old row: %v", err)
	}
	x.order(8)
	// What lacks more than that is no older schema.
	x.db.Exec("ALTER TABLE puqProxmoxKVM_vm_info DROP COLUMN suspended")
	if err := openStore(t, x.db).Opened().Schema.QueueErr(); !errors.Is(err, kvm.ErrAdmin) || kvm.Hint(err) != "puqkvm db migrate" {
		t.Errorf("without a column that is needed: %v", err)
	}
}
