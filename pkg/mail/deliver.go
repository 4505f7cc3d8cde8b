package mail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	// GiveUp is the age at which a mail that cannot be sent has failed.
	GiveUp = 24 * time.Hour
	// ClaimLife is how long the claim on an entry holds: longer than all that is done under it.
	ClaimLife = 2 * time.Minute

	firstPause  = time.Minute
	longestWait = time.Hour
	sendLimit   = 45 * time.Second
	lookLimit   = 10 * time.Second
	recordLimit = 5 * time.Second
)

// Store is the outbox. All of its times are the database's.
type Store interface {
	// WaitingMails is how many entries are neither sent nor failed.
	WaitingMails(ctx context.Context) (int, error)
	// TakeMail claims the oldest entry that is due for owner. found is false when there is none. An entry that was claimed
	// and cannot be read is kvm.ErrInvalid, with found true.
	TakeMail(ctx context.Context, owner string, life time.Duration) (e kvm.OutboxEntry, found bool, err error)
	// BeginMail notes another attempt (state sending) and returns e with it, or is kvm.ErrMoved when e is no longer
	// owner's as it was taken.
	BeginMail(ctx context.Context, e kvm.OutboxEntry, owner string) (kvm.OutboxEntry, error)
	// MailEvidence gathers what shows whether an attempt of e was successful.
	MailEvidence(ctx context.Context, e kvm.OutboxEntry) (kvm.MailEvidence, error)
	// TicketOpened says whether an attempt of e, which opens a ticket, was successful.
	TicketOpened(ctx context.Context, e kvm.OutboxEntry) (bool, error)
	// MailSent records that e was sent, whoever holds it. Its trace is the row of tblemails with the id at or an earlier one;
	// at 0 = it is one of those that are there now.
	MailSent(ctx context.Context, e kvm.OutboxEntry, at int64) error
	// RetryMail gives e back in state, due after pause. Where e is no longer owner's it does nothing.
	RetryMail(ctx context.Context, e kvm.OutboxEntry, owner string, state kvm.OutboxState, pause time.Duration, reason string) error
	// FailMail gives e up and writes text into the activity log, both or neither; or is kvm.ErrMoved.
	FailMail(ctx context.Context, e kvm.OutboxEntry, owner, reason, text string, local time.Time) error
}

// API sends. Its errors carry kvm.ErrUnknown when the mail may have been sent; kvm.ErrUnreachable or kvm.ErrAuth when the
// next mail would fare no better; every other error means that the mail was not sent.
type API interface {
	Send(ctx context.Context, m kvm.Mail) error
}

// Deliverer sends what is in the outbox.
type Deliverer struct {
	Store Store
	API   API            // nil = not configured: the mails wait
	Owner string         // the token under which this process holds claims
	Clock clock.Clock    // for the activity log
	Zone  *time.Location // WHMCS's, for the activity log
	Warn  func(string)   // gets one line for each attempt without success
}

// outcome is what became of an entry; the zero outcome is that it was kept.
type outcome struct {
	sent, failed bool
	halt         bool // the next mail would fare no better
}

// Deliver sends the mails that are due, oldest first, one at a time, until none is left, ctx ends, or WHMCS does not
// answer. It counts those sent and those given up. The error is the database's.
func (d *Deliverer) Deliver(ctx context.Context) (sentCount, failedCount int, err error) {
	if d.API == nil {
		n, err := d.Store.WaitingMails(ctx)
		if err == nil && n > 0 {
			d.Warn(fmt.Sprintf("%d mails wait in the outbox, for the WHMCS API is not configured: set whmcs.api_url, whmcs.api_identifier and whmcs.api_secret", n))
		}
		return 0, 0, err
	}
	for ctx.Err() == nil {
		e, found, err := d.Store.TakeMail(ctx, d.Owner, ClaimLife)
		if ctx.Err() != nil {
			break // an entry that was taken all the same is free again when its claim ends
		}
		if !found || (err != nil && !errors.Is(err, kvm.ErrInvalid)) {
			return sentCount, failedCount, err
		}
		var o outcome
		if err != nil {
			o, err = d.postpone(context.WithoutCancel(ctx), e, e.State, err)
		} else {
			o, err = d.one(context.WithoutCancel(ctx), e)
		}
		if o.sent {
			sentCount++
		}
		if o.failed {
			failedCount++
		}
		if err != nil || o.halt {
			return sentCount, failedCount, err
		}
	}
	return sentCount, failedCount, nil
}

// one sees e through. ctx has no end, so each step sets its own.
func (d *Deliverer) one(ctx context.Context, e kvm.OutboxEntry) (outcome, error) {
	before := e.State
	if before == kvm.MailSending {
		if at, found, err := d.traced(ctx, e); err != nil {
			return outcome{}, err
		} else if found {
			return d.record(ctx, e, at)
		}
	}
	err := within(ctx, recordLimit, func(ctx context.Context) (err error) {
		e, err = d.Store.BeginMail(ctx, e, d.Owner)
		return err
	})
	if errors.Is(err, kvm.ErrMoved) {
		return outcome{}, nil
	}
	if err != nil {
		return outcome{}, fmt.Errorf("mail %d: begin: %w", e.ID, err)
	}
	refusal := within(ctx, sendLimit, func(ctx context.Context) error { return d.API.Send(ctx, e.Mail) })
	switch {
	case refusal == nil:
		return d.record(ctx, e, 0)
	case !errors.Is(refusal, kvm.ErrUnknown):
		// This attempt did nothing; what is not known of an earlier one stays so.
		return d.postpone(ctx, e, before, refusal)
	}
	if at, found, err := d.traced(ctx, e); err != nil {
		return outcome{}, err
	} else if found {
		return d.record(ctx, e, at)
	}
	return d.postpone(ctx, e, kvm.MailSending, refusal)
}

// postpone keeps e for later, or gives it up when it is too old.
func (d *Deliverer) postpone(ctx context.Context, e kvm.OutboxEntry, state kvm.OutboxState, refusal error) (outcome, error) {
	reason := refusal.Error()
	if hint := kvm.Hint(refusal); hint != "" {
		reason += " (" + hint + ")"
	}
	o := outcome{halt: errors.Is(refusal, kvm.ErrUnreachable) || errors.Is(refusal, kvm.ErrUnknown) || errors.Is(refusal, kvm.ErrAuth)}
	if e.Age >= GiveUp || errors.Is(refusal, kvm.ErrInvalid) {
		text := fmt.Sprintf("%s was not sent and is given up after %d attempts: %s", name(e), e.Attempts, reason)
		err := within(ctx, recordLimit, func(ctx context.Context) error {
			return d.Store.FailMail(ctx, e, d.Owner, reason, text, d.Clock.Now().In(d.Zone))
		})
		if errors.Is(err, kvm.ErrMoved) {
			return outcome{}, nil
		}
		if err != nil {
			return outcome{}, fmt.Errorf("mail %d: give up: %w", e.ID, err)
		}
		d.Warn(text)
		o.failed = true
		return o, nil
	}
	pause := Pause(e.Attempts, e.Age)
	d.Warn(fmt.Sprintf("%s was not sent (attempt %d, next in %v): %s", name(e), e.Attempts, pause.Round(time.Second), reason))
	err := within(ctx, recordLimit, func(ctx context.Context) error {
		return d.Store.RetryMail(ctx, e, d.Owner, state, pause, reason)
	})
	if err != nil {
		return outcome{}, fmt.Errorf("mail %d: postpone: %w", e.ID, err)
	}
	return o, nil
}

// Pause is the wait after so many attempts of an entry of that age: a minute, doubled with each attempt, at most an hour,
// and not beyond the moment at which the last attempt is made.
func Pause(attempts int, age time.Duration) time.Duration {
	pause := firstPause
	for range attempts - 1 {
		if pause *= 2; pause >= longestWait {
			pause = longestWait
			break
		}
	}
	return max(min(pause, GiveUp-age), firstPause)
}

// record writes down that e was sent.
func (d *Deliverer) record(ctx context.Context, e kvm.OutboxEntry, at int64) (outcome, error) {
	err := within(ctx, recordLimit, func(ctx context.Context) error { return d.Store.MailSent(ctx, e, at) })
	if err != nil {
		return outcome{}, fmt.Errorf("mail %d was sent, but could not be recorded as sent: %w", e.ID, err)
	}
	return outcome{sent: true}, nil
}

// traced says whether an attempt of e is known to have been successful after all, and where its trace is.
func (d *Deliverer) traced(ctx context.Context, e kvm.OutboxEntry) (at int64, found bool, err error) {
	if e.Action == "OpenTicket" {
		opened := false
		err := within(ctx, lookLimit, func(ctx context.Context) (err error) {
			opened, err = d.Store.TicketOpened(ctx, e)
			return err
		})
		if err != nil {
			return 0, false, fmt.Errorf("ticket %d: look for it: %w", e.ID, err)
		}
		return 0, opened, nil
	}
	if e.Action != "SendEmail" {
		return 0, false, nil // WHMCS keeps none of a mail to administrators
	}
	var evidence kvm.MailEvidence
	err = within(ctx, lookLimit, func(ctx context.Context) (err error) {
		evidence, err = d.Store.MailEvidence(ctx, e)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("mail %d: look for a trace: %w", e.ID, err)
	}
	at, found = Traced(evidence)
	return at, found, nil
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx)
}

// name is e in words.
func name(e kvm.OutboxEntry) string {
	what := e.Template
	if what == "" {
		what = e.Params["customsubject"] + e.Params["subject"]
	}
	return fmt.Sprintf("mail %q (%s, service %d, outbox entry %d)", what, e.Action, e.ServiceID, e.ID)
}
