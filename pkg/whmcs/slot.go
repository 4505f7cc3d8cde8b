package whmcs

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TakeSlot takes one of n slots of kind at place, or finds that the service holds one; the slot first is tried first. A
// slot counts as free when its service is no longer at the status at which it was taken: then the task that it was for is
// over.
func (s *Store) TakeSlot(ctx context.Context, sv *kvm.Service, kind, place string, n, first int) (bool, error) {
	fail := func(err error) (bool, error) {
		if notWon(err) {
			return false, nil
		}
		return false, fmt.Errorf("%s slot of %s for service %d: %w", kind, place, sv.ID, err)
	}
	take := func(slot int) error {
		_, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_slots (server_id, node, kind, slot, service_id, vm_status, taken_at)
			VALUES (?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6))`, sv.Row.ServerID, place, kind, slot, sv.ID, string(sv.Row.Status))
		return err
	}
	if err := take(first % n); err == nil {
		return true, nil
	} else if !duplicate(err) && !notWon(err) { // several may have been at the same slot: is one ours?
		return fail(err)
	}
	var held int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM puq_proxmox_kvm_slots WHERE service_id = ? AND kind = ? AND server_id = ? AND node = ? AND vm_status = ?`,
		sv.ID, kind, sv.Row.ServerID, place, string(sv.Row.Status)).Scan(&held)
	if err != nil {
		return fail(err)
	}
	if held > 0 {
		return true, nil
	}
	_, err = s.db.ExecContext(ctx, `DELETE t FROM puq_proxmox_kvm_slots t LEFT JOIN puqProxmoxKVM_vm_info v ON v.service_id = t.service_id
		WHERE (t.server_id = ? AND t.node = ? AND t.kind = ? AND COALESCE(v.vm_status, '') <> t.vm_status) OR (t.service_id = ? AND t.kind = ?)`,
		sv.Row.ServerID, place, kind, sv.ID, kind)
	if err != nil {
		return fail(err)
	}
	for i := range n {
		err := take((first + i) % n)
		if err == nil {
			return true, nil
		}
		if !duplicate(err) {
			return fail(err)
		}
	}
	return false, nil
}

// freeTries is how often giving back is tried: where many go for the slots at once, they run into each other.
const freeTries = 5 * writeTries

// FreeSlots gives back what slots the service holds.
func (s *Store) FreeSlots(ctx context.Context, sv *kvm.Service) error {
	for try := 1; ; try++ {
		_, err := s.db.ExecContext(ctx, `DELETE FROM puq_proxmox_kvm_slots WHERE service_id = ?`, sv.ID)
		if err == nil {
			return nil
		}
		if !notWon(err) && !unknownOutcome(err) || try == freeTries {
			return fmt.Errorf("free the slots of service %d: %w", sv.ID, err)
		}
	}
}
