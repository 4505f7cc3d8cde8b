package whmcs

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TakeSlot takes one of n slots of kind on node, or finds that the service holds one. A slot counts as free when its
// service is no longer at the status at which it was taken: then the task that it was for is over.
func (s *Store) TakeSlot(ctx context.Context, sv *kvm.Service, kind, node string, n int) (bool, error) {
	fail := func(err error) (bool, error) {
		if notWon(err) {
			return false, nil
		}
		return false, fmt.Errorf("%s slot on node %s for service %d: %w", kind, node, sv.ID, err)
	}
	var held int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM puq_proxmox_kvm_slots WHERE service_id = ? AND kind = ? AND server_id = ? AND node = ? AND vm_status = ?`,
		sv.ID, kind, sv.Row.ServerID, node, string(sv.Row.Status)).Scan(&held)
	if err != nil {
		return fail(err)
	}
	if held > 0 {
		return true, nil
	}
	_, err = s.db.ExecContext(ctx, `DELETE t FROM puq_proxmox_kvm_slots t LEFT JOIN puqProxmoxKVM_vm_info v ON v.service_id = t.service_id
		WHERE (t.server_id = ? AND t.node = ? AND t.kind = ? AND COALESCE(v.vm_status, '') <> t.vm_status) OR (t.service_id = ? AND t.kind = ?)`,
		sv.Row.ServerID, node, kind, sv.ID, kind)
	if err != nil {
		return fail(err)
	}
	for slot := range n {
		_, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_slots (server_id, node, kind, slot, service_id, vm_status, taken_at)
			VALUES (?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6))`, sv.Row.ServerID, node, kind, slot, sv.ID, string(sv.Row.Status))
		if err == nil {
			return true, nil
		}
		if !duplicate(err) {
			return fail(err)
		}
	}
	return false, nil
}

// FreeSlot gives back the service's slot of kind, if it holds one.
func (s *Store) FreeSlot(ctx context.Context, sv *kvm.Service, kind string) error {
	for try := 1; ; try++ {
		_, err := s.db.ExecContext(ctx, `DELETE FROM puq_proxmox_kvm_slots WHERE service_id = ? AND kind = ?`, sv.ID, kind)
		if err == nil {
			return nil
		}
		if !notWon(err) && !unknownOutcome(err) || try == writeTries {
			return fmt.Errorf("free the %s slot of service %d: %w", kind, sv.ID, err)
		}
	}
}
