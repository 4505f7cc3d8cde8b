package whmcs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// mailKeyLimit is the width of puq_proxmox_kvm_outbox.mail_key.
const mailKeyLimit = 190

// insertMail puts m for the client into the outbox, due at once, as a part of tx. A second mail with m's key is the same
// mail, and changes nothing.
func insertMail(ctx context.Context, tx *sql.Tx, m kvm.Mail, clientID int64) error {
	switch {
	case m.Key == "" || len(m.Key) > mailKeyLimit || strings.ContainsFunc(m.Key, func(r rune) bool { return r < 0x21 || r > 0x7e }):
		return kvm.Errorf(kvm.ErrInvalid, "mail for service %d: the key %q must be 1 to %d ASCII characters without blanks", m.ServiceID, m.Key, mailKeyLimit)
	case m.Action == "SendEmail" && (m.Template == "" || m.ServiceID <= 0):
		return kvm.Errorf(kvm.ErrInvalid, "mail %s: SendEmail needs a template and a service, got %q and %d", m.Key, m.Template, m.ServiceID)
	case m.Action != "SendEmail" && m.Action != "SendAdminEmail" && m.Action != "OpenTicket":
		return kvm.Errorf(kvm.ErrInvalid, "mail %s: %q is no action that sends mails", m.Key, m.Action)
	}
	params := m.Params
	if params == nil {
		params = map[string]string{}
	}
	text, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("mail %s: params: %w", m.Key, err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_outbox
		(mail_key, service_id, client_id, action, template, params, state, attempts, next_try, trace_after, created_at)
		VALUES (?, ?, ?, ?, ?, ?, 'pending', 0, UTC_TIMESTAMP(6), 0, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE id = id`,
		m.Key, m.ServiceID, clientID, m.Action, m.Template, string(text))
	if err != nil {
		return fmt.Errorf("mail %s into the outbox: %w", m.Key, err)
	}
	return nil
}

// MailState is the state of the entry with this key; kvm.ErrNotFound = there is none.
func (s *Store) MailState(ctx context.Context, key string) (kvm.OutboxState, error) {
	var state string
	err := s.db.QueryRowContext(ctx, `SELECT state FROM puq_proxmox_kvm_outbox WHERE mail_key = ?`, key).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return "", kvm.Errorf(kvm.ErrNotFound, "the outbox has no entry %s", key)
	}
	return kvm.OutboxState(state), s.failed(err, "outbox")
}

// WaitingMails is how many entries of the outbox are neither sent nor failed.
func (s *Store) WaitingMails(ctx context.Context) (int, error) {
	var n int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM puq_proxmox_kvm_outbox WHERE state IN ('pending', 'sending')`).Scan(&n)
	if err != nil {
		return 0, s.failed(err, "outbox")
	}
	return n, nil
}

// dueMails are entries that were due at one look, the oldest first. Whether one still is, the claim's condition decides.
type dueMails struct {
	mu   sync.Mutex
	list []dueMail
}

type dueMail struct {
	kvm.OutboxEntry
	dead    string // the holder of the claim, when that one is certainly dead
	invalid error  // what is wrong with its params
}

// TakeMail claims the oldest entry that is due, for owner and for life; found is false when there is none. An entry that
// somebody claims is free when the claim has ended, and a pending one also when its holder is certainly dead. One at
// sending has to wait for the end, dead holder or not: WHMCS may still be busy with it, and its trace not there yet.
//
// An entry whose params cannot be read is claimed and returned without them, with found true and kvm.ErrInvalid.
func (s *Store) TakeMail(ctx context.Context, owner string, life time.Duration) (e kvm.OutboxEntry, found bool, err error) {
	s.due.mu.Lock()
	defer s.due.mu.Unlock()
	for range writeTries {
		if len(s.due.list) == 0 {
			if s.due.list, err = s.readDue(ctx); err != nil || len(s.due.list) == 0 {
				return kvm.OutboxEntry{}, false, err
			}
		}
		for len(s.due.list) > 0 {
			d := s.due.list[0]
			s.due.list = s.due.list[1:]
			won, err := s.claimMail(ctx, d, owner, life)
			if err != nil {
				return kvm.OutboxEntry{}, false, err
			}
			if won {
				return d.OutboxEntry, true, d.invalid
			}
		}
	}
	return kvm.OutboxEntry{}, false, nil // others are at work on the outbox: the next tick looks again
}

// claimMail claims d as it was seen: whoever had it in hand since has counted an attempt.
func (s *Store) claimMail(ctx context.Context, d dueMail, owner string, life time.Duration) (bool, error) {
	res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_outbox
		SET claim_owner = ?, claim_until = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND
		WHERE id = ? AND state = ? AND attempts = ? AND next_try <= UTC_TIMESTAMP(6)
		AND (claim_owner IS NULL OR claim_until IS NULL OR claim_until < UTC_TIMESTAMP(6) OR (state = 'pending' AND claim_owner = NULLIF(?, '')))`,
		owner, life.Microseconds(), d.ID, string(d.State), d.Attempts, d.dead)
	switch {
	case notWon(err):
		return false, nil
	case unknownOutcome(err):
		var holder sql.NullString
		if err := s.db.QueryRowContext(ctx, `SELECT claim_owner FROM puq_proxmox_kvm_outbox WHERE id = ?`, d.ID).Scan(&holder); err != nil {
			return false, s.failed(err, "outbox: claim entry %d", d.ID)
		}
		return holder.String == owner, nil
	case err != nil:
		return false, s.failed(err, "outbox: claim entry %d", d.ID)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// outboxColumns are read by scanMail, in this order.
const outboxColumns = `id, mail_key, service_id, client_id, action, template, params, state, attempts, trace_after,
	created_at, TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6)), last_error`

// scanMail reads outboxColumns and what else the query has. The error of params that are no JSON is kvm.ErrInvalid.
func scanMail(scan func(...any) error, more ...any) (e kvm.OutboxEntry, invalid, err error) {
	var params, lastError sql.NullString
	var age int64
	err = scan(append([]any{&e.ID, &e.Key, &e.ServiceID, &e.ClientID, &e.Action, &e.Template, &params, &e.State, &e.Attempts, &e.TraceAfter,
		&e.CreatedAt, &age, &lastError}, more...)...)
	if err != nil {
		return e, nil, err
	}
	e.Age, e.LastError = time.Duration(age)*time.Microsecond, lastError.String
	if err := json.Unmarshal([]byte(params.String), &e.Params); err != nil {
		invalid = kvm.Errorf(kvm.ErrInvalid, "outbox: entry %d: params are no JSON object of texts", e.ID)
	}
	return e, invalid, nil
}

// readDue finds the oldest entries that can be claimed.
func (s *Store) readDue(ctx context.Context) ([]dueMail, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+outboxColumns+`, IF(claim_until >= UTC_TIMESTAMP(6), COALESCE(claim_owner, ''), '')
		FROM puq_proxmox_kvm_outbox WHERE state IN ('pending', 'sending') AND next_try <= UTC_TIMESTAMP(6) ORDER BY created_at, id LIMIT 100`)
	if err != nil {
		return nil, s.failed(err, "outbox")
	}
	defer rows.Close()
	var out []dueMail
	for rows.Next() {
		var d dueMail
		var holder string
		if d.OutboxEntry, d.invalid, err = scanMail(rows.Scan, &holder); err != nil {
			return nil, s.failed(err, "outbox")
		}
		if holder == "" || (d.State == kvm.MailPending && ownerDead(holder)) {
			d.dead = holder
			out = append(out, d)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, s.failed(err, "outbox")
	}
	return out, nil
}

// readMail reads the entry that owner has claimed; sql.ErrNoRows when it has not.
func (s *Store) readMail(ctx context.Context, id int64, owner string) (kvm.OutboxEntry, error) {
	e, invalid, err := scanMail(s.db.QueryRowContext(ctx, `SELECT `+outboxColumns+`
		FROM puq_proxmox_kvm_outbox WHERE id = ? AND claim_owner = ? AND claim_until > UTC_TIMESTAMP(6)`, id, owner).Scan)
	if err != nil {
		return e, s.failed(err, "outbox: entry %d", id)
	}
	return e, invalid
}

// BeginMail notes another attempt before it is made and returns the entry with it. The first attempt of unknown outcome
// also notes the highest id of tblemails, above which WHMCS's trace of it must be. It is kvm.ErrMoved when the entry is
// no longer owner's, or not as it was taken.
func (s *Store) BeginMail(ctx context.Context, e kvm.OutboxEntry, owner string) (kvm.OutboxEntry, error) {
	if e.State == kvm.MailPending {
		last, err := s.lastMail(ctx)
		if err != nil {
			return e, err
		}
		e.TraceAfter = last
	}
	for try := 1; ; try++ {
		res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_outbox SET state = 'sending', trace_after = ?, attempts = attempts + 1
			WHERE id = ? AND state = ? AND attempts = ? AND claim_owner = ? AND claim_until > UTC_TIMESTAMP(6)`,
			e.TraceAfter, e.ID, string(e.State), e.Attempts, owner)
		var n int64
		if err == nil {
			n, err = res.RowsAffected()
		}
		switch {
		case err == nil && n == 0 && try == 1:
			return e, kvm.Errorf(kvm.ErrMoved, "outbox: entry %d is no longer ours", e.ID)
		case err == nil && n == 0: // or the statement whose answer was lost did it
			now, err := s.readMail(ctx, e.ID, owner)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return e, err
			}
			if err != nil || now.State != kvm.MailSending || now.Attempts != e.Attempts+1 {
				return e, kvm.Errorf(kvm.ErrMoved, "outbox: entry %d is no longer ours", e.ID)
			}
			return now, nil
		case err == nil:
			e.State = kvm.MailSending
			e.Attempts++
			return e, nil
		case (!notWon(err) && !unknownOutcome(err)) || try == writeTries:
			return e, s.failed(err, "outbox: entry %d", e.ID)
		}
	}
}

// MailSent records that e was sent. Nobody's claim is asked for: a mail that has left is sent, whoever holds its entry,
// and who is about to send it again is stopped by it. Its trace is at or below the id at of tblemails, 0 = the highest one.
func (s *Store) MailSent(ctx context.Context, e kvm.OutboxEntry, at int64) error {
	sent := func(last string, args ...any) error {
		return s.updateMail(ctx, e.ID, `UPDATE puq_proxmox_kvm_outbox SET state = 'sent', sent_at = COALESCE(sent_at, UTC_TIMESTAMP(6)),
			trace_after = GREATEST(trace_after, `+last+`), last_error = NULL, claim_owner = NULL, claim_until = NULL WHERE id = ?`, append(args, e.ID)...)
	}
	if at != 0 {
		return sent(`?`, at)
	}
	err := sent(`(SELECT COALESCE(MAX(m.id), 0) FROM tblemails m)`)
	if err != nil {
		// Less precise for other entries' traces; that this one is sent matters more.
		err = sent(`?`, e.TraceAfter)
	}
	return err
}

// RetryMail gives the entry back in state, due after pause, and notes why. Where it is no longer owner's, nothing happens.
func (s *Store) RetryMail(ctx context.Context, e kvm.OutboxEntry, owner string, state kvm.OutboxState, pause time.Duration, reason string) error {
	return s.updateMail(ctx, e.ID, `UPDATE puq_proxmox_kvm_outbox SET state = ?, next_try = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND,
		last_error = ?, claim_owner = NULL, claim_until = NULL WHERE id = ? AND claim_owner = ? AND state IN ('pending', 'sending')`,
		string(state), pause.Microseconds(), clean(reason), e.ID, owner)
}

// updateMail runs a statement that may be repeated, again after a deadlock or a lost connection.
func (s *Store) updateMail(ctx context.Context, id int64, query string, args ...any) error {
	for try := 1; ; try++ {
		_, err := s.db.ExecContext(ctx, query, args...)
		if err == nil {
			return nil
		}
		if (!notWon(err) && !unknownOutcome(err)) || try == writeTries {
			return s.failed(err, "outbox: entry %d", id)
		}
	}
}

// FailMail gives the entry up and writes text into the activity log at local (WHMCS's time), both or neither. It is
// kvm.ErrMoved when the entry is no longer owner's. The log entry belongs to no client, for clients read their own.
func (s *Store) FailMail(ctx context.Context, e kvm.OutboxEntry, owner, reason, text string, local time.Time) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE puq_proxmox_kvm_outbox SET state = 'failed', last_error = ?, claim_owner = NULL, claim_until = NULL
			WHERE id = ? AND claim_owner = ? AND state IN ('pending', 'sending')`, clean(reason), e.ID, owner)
		if err != nil {
			return s.failed(err, "outbox: entry %d", e.ID)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return errors.Join(err, kvm.Errorf(kvm.ErrMoved, "outbox: entry %d is no longer ours", e.ID))
		}
		return insertActivity(ctx, tx, 0, text, local)
	})
}
