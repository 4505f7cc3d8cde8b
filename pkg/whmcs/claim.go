package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-sql-driver/mysql"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ClaimLife is how long a claim holds without being renewed. The holder renews it every quarter of that.
const ClaimLife = 60 * time.Second

// Pending lists the services at one of statuses: those under way first, then the new ones, each the oldest order first.
// What another process holds and is at work on is left out, so that a tick beside a busy one costs nothing. stuckAfter is
// for kvm.Pending.Stuck.
func (s *Store) Pending(ctx context.Context, statuses []kvm.Status, stuckAfter time.Duration) ([]kvm.Pending, error) {
	args := []any{int64(stuckAfter / time.Second), int64(2 * ClaimLife / time.Second)}
	for _, st := range statuses {
		args = append(args, string(st))
	}
	args = append(args, string(kvm.Creation))
	rows, err := s.db.QueryContext(ctx, `SELECT service_id, vm_status, COALESCE(claim_owner, ''),
		COALESCE(alerted = 0 AND status_since < UTC_TIMESTAMP(6) - INTERVAL ? SECOND, 0),
		COALESCE(claim_until BETWEEN UTC_TIMESTAMP(6) AND UTC_TIMESTAMP(6) + INTERVAL ? SECOND, 0)
		FROM puqProxmoxKVM_vm_info WHERE vm_status IN (`+marks(len(statuses))+`)
		ORDER BY vm_status = ?, queued_at, service_id`, args...)
	if err != nil {
		return nil, fmt.Errorf("pending services: %w", err)
	}
	defer rows.Close()
	var out []kvm.Pending
	dead := map[string]bool{"": true}
	for rows.Next() {
		var p kvm.Pending
		var held bool
		if err := rows.Scan(&p.ID, &p.Status, &p.Owner, &p.Stuck, &held); err != nil {
			return nil, fmt.Errorf("pending services: %w", err)
		}
		if _, known := dead[p.Owner]; !known {
			dead[p.Owner] = ownerDead(p.Owner)
		}
		if held && !dead[p.Owner] {
			continue
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// Claim takes the service for owner. It is won when nobody holds it, when the holder (seen, as the list gave it) has
// fallen silent, or when the holder is certainly dead; an end that lies further ahead than any holder sets it is nonsense,
// and holds nothing. The holder of a claim alone writes the service's row.
func (s *Store) Claim(ctx context.Context, service int64, owner, seen string) (bool, error) {
	dead := ""
	if seen != "" && ownerDead(seen) {
		dead = seen
	}
	res, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info
		SET claim_owner = ?, claim_until = UTC_TIMESTAMP(6) + INTERVAL ? SECOND
		WHERE service_id = ? AND (claim_owner IS NULL OR claim_until IS NULL OR claim_until < UTC_TIMESTAMP(6)
			OR claim_until > UTC_TIMESTAMP(6) + INTERVAL ? SECOND OR claim_owner = NULLIF(?, ''))`,
		owner, int64(ClaimLife/time.Second), service, int64(2*ClaimLife/time.Second), dead)
	if notWon(err) {
		return false, nil
	}
	if unknownOutcome(err) {
		var holder sql.NullString
		err = s.db.QueryRowContext(ctx, `SELECT claim_owner FROM puqProxmoxKVM_vm_info WHERE service_id = ?`, service).Scan(&holder)
		if err == nil {
			return holder.String == owner, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("claim service %d: %w", service, err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// renewAtOnce is how many claims one statement renews.
const renewAtOnce = 100

// RenewClaims makes all claims of owner hold for another ClaimLife. Rows are written by their keys: a condition on
// claim_owner alone would lock every row of the table, and wait for any transaction that hangs on one of them. Where one
// of many cannot be had, each is tried by itself.
func (s *Store) RenewClaims(ctx context.Context, owner string) error {
	held, err := s.heldBy(ctx, owner)
	for chunk := range slices.Chunk(held, renewAtOnce) {
		if s.renew(ctx, owner, chunk) == nil {
			continue
		}
		for i := range chunk {
			err = errors.Join(err, s.renew(ctx, owner, chunk[i:i+1]))
		}
	}
	if err != nil {
		return fmt.Errorf("renew claims: %w", err)
	}
	return nil
}

func (s *Store) renew(ctx context.Context, owner string, services []int64) error {
	args := []any{int64(ClaimLife / time.Second)}
	for _, id := range services {
		args = append(args, id)
	}
	_, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) + INTERVAL ? SECOND
		WHERE service_id IN (`+marks(len(services))+`) AND claim_owner = ?`, append(args, owner)...)
	return err
}

// heldBy are the services that owner claims.
func (s *Store) heldBy(ctx context.Context, owner string) ([]int64, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT service_id FROM puqProxmoxKVM_vm_info WHERE claim_owner = ?`, owner)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, rows.Err()
}

// Release gives up owner's claim on the service and notes why its run stopped, "" = it did not.
func (s *Store) Release(ctx context.Context, service int64, owner, message string) error {
	for try := 1; ; try++ {
		_, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET claim_owner = NULL, claim_until = NULL, message = NULLIF(?, '')
			WHERE service_id = ? AND claim_owner = ?`, clean(message), service, owner)
		if err == nil {
			return nil
		}
		if !notWon(err) && !unknownOutcome(err) || try == writeTries {
			return fmt.Errorf("release service %d: %w", service, err)
		}
	}
}

// writeTries is how often a conditional write is sent that a deadlock or a lost connection has stopped.
const writeTries = 5

// notWon: the server has rolled the statement back because somebody else was at the same row (1020, 1205, 1213), or the
// node is no part of the cluster now (1047, 1180).
func notWon(err error) bool {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Number {
	case 1020, 1205, 1213, 1047, 1180:
		return true
	}
	return false
}

// unknownOutcome: the connection broke, so the statement may have been done or not.
func unknownOutcome(err error) bool {
	return errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, sql.ErrConnDone)
}

// duplicate: a unique key holds the value already.
func duplicate(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && e.Number == 1062
}

// clean makes text fit for a message column: one line of at most 2000 characters, none above U+FFFF.
func clean(text string) string {
	r := []rune(strings.Join(strings.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }), " "))
	if len(r) > 2000 {
		r = r[:2000]
	}
	for i := range r {
		if r[i] > 0xFFFF {
			r[i] = 0xFFFD
		}
	}
	return string(r)
}
