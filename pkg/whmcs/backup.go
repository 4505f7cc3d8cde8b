package whmcs

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Backups are the volumes of the service's journal: backups that our own tasks made of its VM, or that adopt took over, with
// what was read of them. Whether one is still there, and whose VM is inside, Proxmox says.
func (s *Store) Backups(ctx context.Context, service int64) ([]kvm.Backup, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT storage, volume, uuid, made_at, size FROM puq_proxmox_kvm_backups WHERE service_id = ? ORDER BY id`, service)
	if err != nil {
		return nil, fmt.Errorf("backups of service %d: %w", service, err)
	}
	defer rows.Close()
	var out []kvm.Backup
	for rows.Next() {
		b := kvm.Backup{Own: true}
		var made sql.NullTime
		if err := rows.Scan(&b.Storage, &b.Volume, &b.UUID, &made, &b.Size); err != nil {
			return nil, fmt.Errorf("backups of service %d: %w", service, err)
		}
		b.VMID, b.Time = kvm.VolumeVMID(b.Volume), made.Time
		out = append(out, b)
	}
	return out, rows.Err()
}

// NoteBackup puts b into the service's journal, or, when it is there, what was read of it.
func (s *Store) NoteBackup(ctx context.Context, sv *kvm.Service, b kvm.Backup) error {
	for try := 1; ; try++ {
		_, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, uuid, made_at, size, noted_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE uuid = VALUES(uuid), made_at = VALUES(made_at), size = VALUES(size)`,
			sv.ID, sv.Row.ServerID, b.Storage, b.Volume, b.UUID, orNull(b.Time), b.Size)
		if err == nil {
			return nil
		}
		if !notWon(err) && !unknownOutcome(err) || try == writeTries { // a second time it changes nothing
			return fmt.Errorf("note the backup %s of service %d: %w", b.Volume, sv.ID, err)
		}
	}
}

// ForgetBackup takes b, which is gone, out of the service's journal.
func (s *Store) ForgetBackup(ctx context.Context, service int64, b kvm.Backup) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM puq_proxmox_kvm_backups WHERE service_id = ? AND volume = ?`, service, b.Volume)
	if err != nil {
		return fmt.Errorf("backups of service %d: %w", service, err)
	}
	return nil
}

// BackupSchedule is the service's schedule as it is stored, and the last of its moments that was taken up (zero = none).
// kvm.ErrNotFound: there is no row of ours.
func (s *Store) BackupSchedule(ctx context.Context, service int64) (text string, taken time.Time, err error) {
	var stored sql.NullString
	var moment sql.NullTime
	err = s.db.QueryRowContext(ctx, `SELECT vm_backup_schedule, backup_moment FROM puqProxmoxKVM_vm_info WHERE service_id = ?`, service).Scan(&stored, &moment)
	if errors.Is(err, sql.ErrNoRows) {
		return "", time.Time{}, kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "service %d has no VM here", service), "puqkvm create %d", service)
	}
	return stored.String, moment.Time, s.failed(err, "backup schedule of service %d", service)
}

// SetBackupSchedule stores the schedule in the place of was. taken, unless it is zero, is from when on its moments count.
// kvm.ErrBusy: it is no longer was.
func (s *Store) SetBackupSchedule(ctx context.Context, service int64, was string, to kvm.Schedule, taken time.Time) error {
	query, args := `UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = NULLIF(?, '')`, []any{to.String()}
	if !taken.IsZero() {
		query, args = query+`, backup_moment = ?, backup_after = NULL`, append(args, taken.UTC())
	}
	res, err := s.db.ExecContext(ctx, query+` WHERE service_id = ? AND COALESCE(vm_backup_schedule, '') = ?`, append(args, service, was)...)
	if err != nil {
		return s.failed(err, "backup schedule of service %d", service)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return kvm.Errorf(kvm.ErrBusy, "the backup schedule of service %d was changed by somebody else meanwhile; look and try again", service)
	}
	return nil
}

// DueBackups are the services at ready whose schedule has a moment that has passed at now and was not taken up, the earliest
// moment first. Schedules that the PHP module left count from the first time that they are seen: what it has made is not known.
func (s *Store) DueBackups(ctx context.Context, now time.Time, zone *time.Location) ([]kvm.DueBackup, error) {
	fail := func(err error) ([]kvm.DueBackup, error) { return nil, s.failed(err, "backup schedules") }
	rows, err := s.db.QueryContext(ctx, `SELECT service_id, COALESCE(claim_owner, ''), server_id, vm_node, vm_backup_schedule, backup_moment, backup_date, backup_after
		FROM puqProxmoxKVM_vm_info WHERE vm_status = 'ready' AND vm_backup_schedule IS NOT NULL AND vm_backup_schedule <> ''`)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var out []kvm.DueBackup
	var unseen []int64
	for rows.Next() {
		var d kvm.DueBackup
		var text, made string
		var taken, after sql.NullTime
		if err := rows.Scan(&d.Service, &d.Owner, &d.ServerID, &d.Node, &text, &taken, &made, &after); err != nil {
			return fail(err)
		}
		if !taken.Valid {
			unseen = append(unseen, d.Service)
			continue
		}
		schedule, err := kvm.ParseSchedule(text)
		if err != nil {
			d.Err = kvm.WithHint(fmt.Errorf("service %d: %w", d.Service, err), "puqkvm backup schedule clear %d", d.Service)
			out = append(out, d)
			continue
		}
		moment, due, done := schedule.Due(now, zone, taken.Time, made, after.Time)
		if !due {
			continue
		}
		if d.Moment = moment; done {
			d.Made = made
		}
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	for chunk := range slices.Chunk(unseen, 1000) {
		args := []any{now.UTC()}
		for _, id := range chunk {
			args = append(args, id)
		}
		if _, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET backup_moment = ? WHERE service_id IN (`+marks(len(chunk))+`) AND backup_moment IS NULL`, args...); err != nil {
			return fail(err)
		}
	}
	slices.SortFunc(out, func(a, b kvm.DueBackup) int {
		return cmp.Or(a.Moment.Time.Compare(b.Moment.Time), cmp.Compare(a.Service, b.Service))
	})
	return out, nil
}

// SlotsTaken is how many slots of kind at place services hold now.
func (s *Store) SlotsTaken(ctx context.Context, server int64, kind, place string) (int, error) {
	var n int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM puq_proxmox_kvm_slots t JOIN puqProxmoxKVM_vm_info v ON v.service_id = t.service_id
		WHERE t.server_id = ? AND t.node = ? AND t.kind = ? AND v.vm_status = t.vm_status`, server, place, kind).Scan(&n)
	return n, s.failed(err, "%s slots of %s", kind, place)
}
