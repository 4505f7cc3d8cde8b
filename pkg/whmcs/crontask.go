package whmcs

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TaskRuns is when each cron task last started and finished, and with what result.
func (s *Store) TaskRuns(ctx context.Context) (map[string]kvm.TaskRun, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, started_at, finished_at, COALESCE(result, '') FROM puq_proxmox_kvm_cron_tasks`)
	if err != nil {
		return nil, fmt.Errorf("cron tasks: %w", err)
	}
	defer rows.Close()
	out := map[string]kvm.TaskRun{}
	for rows.Next() {
		var r kvm.TaskRun
		var started, finished sql.NullTime
		if err := rows.Scan(&r.Name, &started, &finished, &r.Result); err != nil {
			return nil, fmt.Errorf("cron tasks: %w", err)
		}
		r.Started, r.Finished = started.Time, finished.Time
		out[r.Name] = r
	}
	return out, rows.Err()
}

// clockTolerance is how far a start may lie in the future, by the clock of a host that is ahead. One beyond that was
// written while a clock was wrong, and must not keep the task from running until then.
const clockTolerance = time.Hour

// ClaimTask stores now as the task's start where by then it is still due; false = another host has started it. With an
// interval of 0 it is always due.
func (s *Store) ClaimTask(ctx context.Context, name, owner string, now time.Time, interval time.Duration) (bool, error) {
	due := now.UTC().Truncate(time.Minute).Add(time.Minute - interval)
	res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_cron_tasks SET started_at = ?, owner = ?
		WHERE name = ? AND (started_at IS NULL OR started_at < ? OR started_at > ? OR ?)`,
		now.UTC(), owner, name, due, now.UTC().Add(clockTolerance), interval <= 0)
	if err == nil {
		if n, rowsErr := res.RowsAffected(); rowsErr == nil && n == 1 {
			return true, nil
		}
		// The first start ever makes the row; of two the unique key lets one win.
		res, err = s.db.ExecContext(ctx, `INSERT IGNORE INTO puq_proxmox_kvm_cron_tasks (name, started_at, owner) VALUES (?, ?, ?)`, name, now.UTC(), owner)
	}
	if notWon(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim the cron task %s: %w", name, err)
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 && interval <= 0 { // forced, and another one's very first start came between
		_, err = s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_cron_tasks SET started_at = ?, owner = ? WHERE name = ?`, now.UTC(), owner, name)
		return err == nil, err
	}
	return n == 1, err
}

// FinishTasks stores when and how tasks ended that owner started. A later start by another is left alone.
func (s *Store) FinishTasks(ctx context.Context, owner string, ended ...kvm.TaskRun) error {
	if len(ended) == 0 {
		return nil
	}
	var names []string
	var args []any
	for _, t := range ended {
		names = append(names, t.Name)
		args = append(args, t.Name, t.Finished.UTC(), t.Result, owner)
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_cron_tasks (name, finished_at, result, owner) VALUES `+
		strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?), ", len(ended)), ", ")+` ON DUPLICATE KEY UPDATE finished_at = VALUES(finished_at), result = VALUES(result)`, args...)
	if err != nil && !notWon(err) {
		return fmt.Errorf("finish the cron task %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}
