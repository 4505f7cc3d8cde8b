package whmcs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// runsKept is how many runs of a service are stored.
const runsKept = 50

// RecordRun stores r, the first time as a new row. A run that stopped just as the stored one before it did (same statuses,
// same message) only raises that one's count: a service that waits for a day has one row, not 1440.
func (s *Store) RecordRun(ctx context.Context, r *kvm.Run) error {
	steps, err := json.Marshal(r.Steps)
	if err != nil {
		return fmt.Errorf("run of service %d: %w", r.ServiceID, err)
	}
	if r.ID != 0 {
		if r.Result == kvm.RunError || r.Result == kvm.RunWaiting {
			if merged, err := s.mergeRun(ctx, r); merged || err != nil {
				return s.runWritten(r, err)
			}
		}
		o, err := runBeside(r)
		if err != nil {
			return err
		}
		return s.runWritten(r, s.execOnce(ctx, `UPDATE puq_proxmox_kvm_runs r SET `+o.set+` WHERE r.id = ?`, append(o.setArgs, r.ID)...))
	}
	if len(r.Steps) <= 1 && r.Result != kvm.RunSuccess && r.Result != kvm.RunOpen {
		var last int64
		err := s.db.QueryRowContext(ctx, `SELECT id FROM puq_proxmox_kvm_runs WHERE service_id = ? ORDER BY id DESC LIMIT 1`, r.ServiceID).Scan(&last)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("run of service %d: %w", r.ServiceID, err)
		}
		res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_runs SET repeats = repeats + 1, ended_at = ?
			WHERE id = ? AND action = ? AND result = ? AND from_status = ? AND to_status = ? AND message = ?`,
			nullTime(r.Ended), last, r.Action, r.Result, string(r.From), string(r.To), clean(r.Message))
		if err != nil {
			return fmt.Errorf("run of service %d: %w", r.ServiceID, err)
		}
		if n, err := res.RowsAffected(); err == nil && n == 1 {
			r.ID = last
			return nil
		}
	}
	res, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_runs
		(service_id, action, result, from_status, to_status, message, repeats, started_at, ended_at, steps) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)`,
		r.ServiceID, r.Action, r.Result, string(r.From), string(r.To), clean(r.Message), r.Started.UTC(), nullTime(r.Ended), string(steps))
	if err != nil {
		return fmt.Errorf("run of service %d: %w", r.ServiceID, err)
	}
	if r.ID, err = res.LastInsertId(); err != nil {
		return fmt.Errorf("run of service %d: %w", r.ServiceID, err)
	}
	return s.runWritten(r, s.trimRuns(ctx, r.ServiceID))
}

// runBeside writes what r says to its stored row.
func runBeside(r *kvm.Run) (beside, error) {
	steps, err := json.Marshal(r.Steps)
	if err != nil {
		return beside{}, fmt.Errorf("run of service %d: %w", r.ServiceID, err)
	}
	return beside{join: `LEFT JOIN puq_proxmox_kvm_runs r ON r.id = ?`, joinArgs: []any{r.ID},
		set:     `r.result = ?, r.to_status = ?, r.message = ?, r.ended_at = ?, r.steps = ?`,
		setArgs: []any{r.Result, string(r.To), clean(r.Message), nullTime(r.Ended), string(steps)}}, nil
}

// mergeRun raises the count of the stored run before r where that ended just as r has, and takes r's own row away.
func (s *Store) mergeRun(ctx context.Context, r *kvm.Run) (bool, error) {
	var before int64
	err := s.db.QueryRowContext(ctx, `SELECT id FROM puq_proxmox_kvm_runs WHERE service_id = ? AND id < ? ORDER BY id DESC LIMIT 1`, r.ServiceID, r.ID).Scan(&before)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_runs SET repeats = repeats + 1, ended_at = ?
		WHERE id = ? AND action = ? AND result = ? AND from_status = ? AND to_status = ? AND message = ?`,
		nullTime(r.Ended), before, r.Action, r.Result, string(r.From), string(r.To), clean(r.Message))
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return false, err
	}
	own := r.ID
	r.ID = before
	return true, s.execOnce(ctx, `DELETE FROM puq_proxmox_kvm_runs WHERE id = ?`, own)
}

func (s *Store) runWritten(r *kvm.Run, err error) error {
	if err != nil {
		return fmt.Errorf("run of service %d: %w", r.ServiceID, err)
	}
	return nil
}

// trimRuns deletes the service's runs but the last runsKept.
func (s *Store) trimRuns(ctx context.Context, service int64) error {
	var oldest int64
	err := s.db.QueryRowContext(ctx, `SELECT id FROM puq_proxmox_kvm_runs WHERE service_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?`, service, runsKept).Scan(&oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.execOnce(ctx, `DELETE FROM puq_proxmox_kvm_runs WHERE service_id = ? AND id <= ?`, service, oldest)
}

func (s *Store) execOnce(ctx context.Context, query string, args ...any) error {
	_, err := s.db.ExecContext(ctx, query, args...)
	return err
}

// Runs are the service's stored runs, the latest first.
func (s *Store) Runs(ctx context.Context, service int64) ([]kvm.Run, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, action, result, from_status, to_status, message, repeats, started_at, ended_at, steps
		FROM puq_proxmox_kvm_runs WHERE service_id = ? ORDER BY id DESC`, service)
	if err != nil {
		return nil, fmt.Errorf("runs of service %d: %w", service, err)
	}
	defer rows.Close()
	var out []kvm.Run
	for rows.Next() {
		r := kvm.Run{ServiceID: service}
		var from, to, message, steps sql.NullString
		var ended sql.NullTime
		if err := rows.Scan(&r.ID, &r.Action, &r.Result, &from, &to, &message, &r.Repeats, &r.Started, &ended, &steps); err != nil {
			return nil, fmt.Errorf("runs of service %d: %w", service, err)
		}
		if r.Result == kvm.RunOpen && len(out) > 0 { // a later one began, and no two run at once
			r.Result = kvm.RunCut
		}
		r.From, r.To, r.Message, r.Ended = kvm.Status(from.String), kvm.Status(to.String), message.String, ended.Time
		if steps.String != "" {
			if err := json.Unmarshal([]byte(steps.String), &r.Steps); err != nil {
				return nil, fmt.Errorf("runs of service %d: puq_proxmox_kvm_runs.steps of id %d: %w", service, r.ID, err)
			}
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func nullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC()
}
