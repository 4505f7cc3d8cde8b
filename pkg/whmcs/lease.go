package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// TakeLease takes the lease name for owner, for life from now on, by the database's clock; false = another has it. A lease
// whose life is over, that was dropped, or whose owner is certainly dead (see NewOwner) is free.
func (s *Store) TakeLease(ctx context.Context, name, owner string, life time.Duration) (bool, error) {
	won, err := s.moveLease(ctx, `owner = ? OR until < UTC_TIMESTAMP(6)`, name, owner, life, owner)
	if won || err != nil {
		return won, err
	}
	var holder string
	err = s.db.QueryRowContext(ctx, `SELECT owner FROM puq_proxmox_kvm_leases WHERE name = ?`, name).Scan(&holder)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_leases (name, owner, until) VALUES (?, ?, UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND)`,
			name, owner, life.Microseconds())
		if duplicate(err) || notWon(err) {
			return false, nil
		}
		return err == nil, s.failed(err, "lease %s", name)
	case err != nil:
		return false, s.failed(err, "lease %s", name)
	case holder != "" && ownerDead(holder):
		return s.moveLease(ctx, `owner = ?`, name, owner, life, holder)
	}
	return false, nil
}

func (s *Store) moveLease(ctx context.Context, where, name, owner string, life time.Duration, args ...any) (bool, error) {
	res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_leases SET owner = ?, until = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND WHERE name = ? AND (`+where+`)`,
		append([]any{owner, life.Microseconds(), name}, args...)...)
	if err != nil {
		if notWon(err) {
			return false, nil
		}
		return false, s.failed(err, "lease %s", name)
	}
	n, err := res.RowsAffected()
	return n == 1, s.failed(err, "lease %s", name)
}

// DropLease ends the lease, if it is owner's.
func (s *Store) DropLease(ctx context.Context, name, owner string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_leases SET owner = '', until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE name = ? AND owner = ?`, name, owner)
	return s.failed(err, "lease %s", name)
}
