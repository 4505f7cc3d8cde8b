package whmcs

import (
	"context"
	"database/sql"
	"errors"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// traceLimit bounds how many logged mails are looked at: those to one client since an attempt that was made minutes ago.
const traceLimit = 1000

// lastMail is the highest id of tblemails, 0 when it is empty.
func (s *Store) lastMail(ctx context.Context) (int64, error) {
	var id int64
	if err := s.db.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0) FROM tblemails`).Scan(&id); err != nil {
		return 0, s.failed(err, "tblemails")
	}
	return id, nil
}

// MailEvidence gathers what shows whether an attempt of e was successful: the template, what WHMCS has logged for the
// client since, the service's domain and address, and how many other entries may have mails in that log.
func (s *Store) MailEvidence(ctx context.Context, e kvm.OutboxEntry) (kvm.MailEvidence, error) {
	var ev kvm.MailEvidence
	err := s.db.QueryRowContext(ctx, `SELECT COALESCE(domain, ''), COALESCE(dedicatedip, '') FROM tblhosting WHERE id = ?`, e.ServiceID).
		Scan(&ev.Domain, &ev.Dedicated)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return ev, s.failed(err, "trace of mail %d: service %d", e.ID, e.ServiceID)
	}
	if ev.Templates, err = s.mailTexts(ctx, `SELECT 0, subject, message FROM tblemailtemplates WHERE type = 'product' AND name = ?`, e.Template); err != nil {
		return ev, s.failed(err, "trace of mail %d: template", e.ID)
	}
	delivered := ""
	if s.has("tblemails", "failed") {
		delivered = "AND failed = 0 "
	}
	query := `SELECT id, subject, message FROM tblemails WHERE userid = ? AND id > ? ` + delivered + `ORDER BY id LIMIT ?`
	if ev.Logged, err = s.mailTexts(ctx, query, e.ClientID, e.TraceAfter, traceLimit); err != nil {
		return ev, s.failed(err, "trace of mail %d", e.ID)
	}
	// A sent entry has the highest id of the moment when its sending was known, so its own mail is at or below it.
	// Of the service's younger entries without an answer one that is just being sent counts, too.
	err = s.db.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(service_id = ? AND (state = 'sent' OR id < ? OR claim_owner IS NOT NULL AND claim_until > UTC_TIMESTAMP(6))), 0)
		FROM puq_proxmox_kvm_outbox
		WHERE state IN ('sending', 'sent') AND client_id = ? AND template = ? AND id <> ? AND (state = 'sending' OR trace_after > ?)`,
		e.ServiceID, e.ID, e.ClientID, e.Template, e.ID, e.TraceAfter).Scan(&ev.OfClient, &ev.OfService)
	if err != nil {
		return ev, s.failed(err, "trace of mail %d: outbox", e.ID)
	}
	return ev, nil
}

func (s *Store) mailTexts(ctx context.Context, query string, args ...any) ([]kvm.MailText, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var texts []kvm.MailText
	for rows.Next() {
		var t kvm.MailText
		if err := rows.Scan(&t.ID, &t.Subject, &t.Message); err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, rows.Err()
}

// TicketOpened says whether the client has a ticket with e's subject, which no other has. Where the tickets cannot be read
// nothing is known of one.
func (s *Store) TicketOpened(ctx context.Context, e kvm.OutboxEntry) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM tbltickets WHERE userid = ? AND title = ?`, e.ClientID, e.Params["subject"]).Scan(&n)
	if err = s.failed(err, "trace of ticket %d", e.ID); errors.Is(err, kvm.ErrAdmin) {
		return false, nil
	}
	return n > 0, err
}
