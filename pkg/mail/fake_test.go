package mail

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const template = "puqProxmoxKVM VM is ready"

// world is an outbox and a WHMCS in memory, on one clock.
type world struct {
	*testing.T
	*Deliverer
	now     *clock.Fake
	entries []*entry
	logged  []kvm.MailText // tblemails of the one client; the id is the place, from 1
	answers []error        // of the next calls of the API
	deaf    bool           // WHMCS sends although the answer is an error, and
	late    bool           // logs it only when the next call comes
	calls   []int64        // services for which the API was called
	gone    []int64        // services whose mail left WHMCS
	backlog []kvm.MailText
	failing string // the Store method that fails
	warned  []string
	history []string // the activity log
	before  func()   // called by the API before anything else
}

type entry struct {
	kvm.OutboxEntry
	due, until time.Time
	owner      string
}

var errDatabase = errors.New("the database is gone")

func newWorld(t *testing.T, services ...int64) *world {
	w := &world{T: t, now: clock.NewFake(time.Date(2026, 4, 10, 3, 0, 0, 0, time.UTC))}
	w.Deliverer = &Deliverer{Store: w, API: w, Owner: "me", Clock: w.now, Zone: time.UTC, Warn: func(s string) { w.warned = append(w.warned, s) }}
	for _, sid := range services {
		w.put(sid)
	}
	return w
}

func (w *world) put(service int64) *entry {
	e := &entry{due: w.now.Now()}
	e.OutboxEntry = kvm.OutboxEntry{
		Mail: kvm.Mail{ServiceID: service, Action: "SendEmail", Template: template},
		ID:   int64(len(w.entries)) + 1, ClientID: 7, State: kvm.MailPending, CreatedAt: w.now.Now(),
	}
	w.entries = append(w.entries, e)
	return e
}

// deliver runs one tick and fails the test on an error.
func (w *world) deliver() (int, int) {
	w.Helper()
	s, f, err := w.Deliver(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	return s, f
}

func domain(service int64) string {
	return map[int64]string{1: "vps-1.example.com", 2: "vps-2.example.com", 3: "vps-3.example.com"}[service]
}

// Send is WHMCS.
func (w *world) Send(ctx context.Context, m kvm.Mail) error {
	if w.before != nil {
		w.before()
	}
	if ctx.Err() != nil {
		return kvm.Errorf(kvm.ErrUnknown, "cut off: %w", ctx.Err())
	}
	w.logged, w.backlog = append(w.logged, w.backlog...), nil
	w.calls = append(w.calls, m.ServiceID)
	var answer error
	if len(w.answers) > 0 {
		answer, w.answers = w.answers[0], w.answers[1:]
	}
	if answer == nil || w.deaf {
		w.gone = append(w.gone, m.ServiceID)
		mail := kvm.MailText{Subject: "Your VM is ready", Message: "<p>" + domain(m.ServiceID) + "</p>"}
		if w.late {
			w.backlog = append(w.backlog, mail)
		} else {
			w.logged = append(w.logged, mail)
		}
	}
	return answer
}

func (w *world) fails(method string) error {
	if w.failing == method {
		return errDatabase
	}
	return nil
}

func (w *world) WaitingMails(context.Context) (n int, err error) {
	for _, e := range w.entries {
		if e.State == kvm.MailPending || e.State == kvm.MailSending {
			n++
		}
	}
	return n, w.fails("WaitingMails")
}

func (w *world) TakeMail(_ context.Context, owner string, life time.Duration) (kvm.OutboxEntry, bool, error) {
	now := w.now.Now()
	for _, e := range w.entries {
		if (e.State != kvm.MailPending && e.State != kvm.MailSending) || e.due.After(now) || e.until.After(now) {
			continue
		}
		e.owner, e.until = owner, now.Add(life)
		e.Age = now.Sub(e.CreatedAt)
		if e.Template == "unreadable" {
			return e.OutboxEntry, true, kvm.Errorf(kvm.ErrInvalid, "params are no JSON")
		}
		return e.OutboxEntry, true, w.fails("TakeMail")
	}
	return kvm.OutboxEntry{}, false, w.fails("TakeMail")
}

func (w *world) BeginMail(_ context.Context, o kvm.OutboxEntry, owner string) (kvm.OutboxEntry, error) {
	e := w.entries[o.ID-1]
	if e.owner != owner || e.Attempts != o.Attempts {
		return o, kvm.Errorf(kvm.ErrMoved, "moved")
	}
	if err := w.fails("BeginMail"); err != nil {
		return o, err
	}
	if e.State == kvm.MailPending {
		e.TraceAfter = int64(len(w.logged))
	}
	e.State = kvm.MailSending
	e.Attempts++
	return e.OutboxEntry, nil
}

func (w *world) MailEvidence(_ context.Context, o kvm.OutboxEntry) (kvm.MailEvidence, error) {
	ev := kvm.MailEvidence{Templates: []kvm.MailText{{Subject: "Your VM is ready", Message: "{$service_domain}"}}, Domain: domain(o.ServiceID)}
	for i, m := range w.logged {
		if m.ID = int64(i) + 1; m.ID > o.TraceAfter {
			ev.Logged = append(ev.Logged, m)
		}
	}
	for _, e := range w.entries {
		if e.ID != o.ID && (e.State == kvm.MailSending || e.State == kvm.MailSent && e.TraceAfter > o.TraceAfter) {
			ev.OfClient++
			if e.ServiceID == o.ServiceID && (e.State == kvm.MailSent || e.ID < o.ID) {
				ev.OfService++
			}
		}
	}
	return ev, w.fails("MailEvidence")
}

func (w *world) TicketOpened(_ context.Context, o kvm.OutboxEntry) (bool, error) {
	for _, m := range w.logged {
		if m.Subject == o.Params["subject"] {
			return true, w.fails("TicketOpened")
		}
	}
	return false, w.fails("TicketOpened")
}

func (w *world) MailSent(ctx context.Context, o kvm.OutboxEntry, at int64) error {
	if err := errors.Join(ctx.Err(), w.fails("MailSent")); err != nil {
		return err
	}
	if at == 0 {
		at = int64(len(w.logged))
	}
	e := w.entries[o.ID-1]
	e.State, e.owner, e.until, e.TraceAfter = kvm.MailSent, "", time.Time{}, max(e.TraceAfter, at)
	return nil
}

func (w *world) RetryMail(_ context.Context, o kvm.OutboxEntry, owner string, state kvm.OutboxState, pause time.Duration, reason string) error {
	if err := w.fails("RetryMail"); err != nil {
		return err
	}
	if e := w.entries[o.ID-1]; e.owner == owner {
		e.State, e.owner, e.until, e.due, e.LastError = state, "", time.Time{}, w.now.Now().Add(pause), reason
	}
	return nil
}

func (w *world) FailMail(_ context.Context, o kvm.OutboxEntry, owner, reason, text string, _ time.Time) error {
	e := w.entries[o.ID-1]
	if e.owner != owner {
		return kvm.Errorf(kvm.ErrMoved, "moved")
	}
	if err := w.fails("FailMail"); err != nil {
		return err
	}
	e.State, e.owner, e.until, e.LastError = kvm.MailFailed, "", time.Time{}, reason
	w.history = append(w.history, text)
	return nil
}
