package kvm

import "time"

// OutboxState is the state of an entry of the outbox.
type OutboxState string

// The states of an entry.
const (
	// MailPending: to be sent. No attempt can have reached WHMCS's mail server.
	MailPending OutboxState = "pending"
	// MailSending: an attempt was begun, and how it ended is not known. Look for a trace of it before another one.
	MailSending OutboxState = "sending"
	MailSent    OutboxState = "sent"
	MailFailed  OutboxState = "failed" // given up; it is in the activity log
)

// OutboxEntry is a Mail in the outbox.
type OutboxEntry struct {
	Mail
	ID         int64
	ClientID   int64 // tblhosting.userid of the service
	State      OutboxState
	Attempts   int           // that were begun
	TraceAfter int64         // the highest tblemails.id before the first attempt whose outcome is not known
	CreatedAt  time.Time     // UTC, by the database's clock
	Age        time.Duration // since CreatedAt, by the database's clock when the entry was taken
	LastError  string
}

// MailEvidence is what the database knows about an entry whose attempt had no clear answer.
type MailEvidence struct {
	Templates []MailText // the template's rows, one a language; none = there is no such template (any more)
	Logged    []MailText // what WHMCS logged as sent to the client since TraceAfter
	Domain    string     // tblhosting.domain
	Dedicated string     // tblhosting.dedicatedip
	// How many other entries of the same template may have a mail among Logged: those sent since TraceAfter, and those
	// being sent. Of the same client (that includes the service's), and of the same service: there those whose outcome is not
	// known, either, count only if they are older. Mails of one template to one service say the same, so that of several
	// entries without an answer the oldest has the first of them.
	OfService, OfClient int
}

// MailText is the subject and the message of a template or of a mail, as the tables have them (HTML).
type MailText struct {
	ID               int64 // of tblemails; 0 for a template
	Subject, Message string
}
