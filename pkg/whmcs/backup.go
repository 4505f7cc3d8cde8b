package whmcs

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Backups are the volumes of the service's journal: backups that our own tasks made of its VM, or that adopt took over.
// Whether one is still there, and whose VM is inside, Proxmox says.
func (s *Store) Backups(ctx context.Context, service int64) ([]kvm.Backup, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT storage, volume FROM puq_proxmox_kvm_backups WHERE service_id = ? ORDER BY id`, service)
	if err != nil {
		return nil, fmt.Errorf("backups of service %d: %w", service, err)
	}
	defer rows.Close()
	var out []kvm.Backup
	for rows.Next() {
		var b kvm.Backup
		if err := rows.Scan(&b.Storage, &b.Volume); err != nil {
			return nil, fmt.Errorf("backups of service %d: %w", service, err)
		}
		out = append(out, b)
	}
	return out, rows.Err()
}

// ForgetBackup takes b, which is gone, out of the service's journal.
func (s *Store) ForgetBackup(ctx context.Context, service int64, b kvm.Backup) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM puq_proxmox_kvm_backups WHERE service_id = ? AND volume = ?`, service, b.Volume)
	if err != nil {
		return fmt.Errorf("backups of service %d: %w", service, err)
	}
	return nil
}
