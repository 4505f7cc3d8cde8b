package whmcs

import (
	"context"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// NoteSnapshots notes how many snapshots of ours the service's VM has, or is about to have: so removeOldSnapshots asks Proxmox
// about those VMs alone that have some. The service is the caller's by its claim.
func (s *Store) NoteSnapshots(ctx context.Context, sv *kvm.Service, n int) error {
	_, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET own_snapshots = ? WHERE service_id = ? AND claim_owner = ?`, n, sv.ID, sv.Row.Owner)
	return s.failed(err, "snapshots of service %d", sv.ID)
}

// WithSnapshots are the services at ready whose VMs have snapshots of ours, by id.
func (s *Store) WithSnapshots(ctx context.Context) ([]int64, error) {
	return s.ids(ctx, `SELECT service_id FROM puqProxmoxKVM_vm_info WHERE own_snapshots > 0 AND vm_status = 'ready' ORDER BY service_id`)
}
