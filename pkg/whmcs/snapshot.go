package whmcs

import "context"

// WithSnapshots are the services at ready whose VMs have snapshots of ours, by id: so that removeOldSnapshots asks Proxmox about
// no others.
func (s *Store) WithSnapshots(ctx context.Context) ([]int64, error) {
	return s.ids(ctx, `SELECT service_id FROM puqProxmoxKVM_vm_info WHERE own_snapshots > 0 AND vm_status = 'ready' ORDER BY service_id`)
}
