package mail

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var (
	errRefused     = kvm.Errorf(kvm.ErrRefused, "Email Template not found")
	errEveryCall   = kvm.Errorf(kvm.ErrRefused, "%w", kvm.Errorf(kvm.ErrAuth, "Invalid IP 192.0.2.1"))
	errUnreachable = kvm.Errorf(kvm.ErrUnreachable, "connection refused")
	errUnknown     = kvm.Errorf(kvm.ErrUnknown, "no answer within 30s")
)

func TestOldestFirstAndOnce(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	if s, f := w.deliver(); s != 3 || f != 0 {
		t.Fatalf("sent %d, failed %d", s, f)
	}
	if s, _ := w.deliver(); s != 0 || !slices.Equal(w.gone, []int64{1, 2, 3}) {
		t.Fatalf("sent %d again; all that left: %v", s, w.gone)
	}
}

func TestNotConfiguredKeepsAndWarnsOnce(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.API = nil
	if s, f := w.deliver(); s != 0 || f != 0 || len(w.warned) != 1 || !strings.HasPrefix(w.warned[0], "2 mails wait") {
		t.Fatalf("%d %d %q", s, f, w.warned)
	}
	w.now.Advance(3 * GiveUp)
	w.API = w
	if s, f := w.deliver(); s != 2 || f != 0 {
		t.Fatalf("after the API was configured: sent %d, failed %d", s, f)
	}
	w.API = nil
	if w.deliver(); len(w.warned) != 1 {
		t.Fatalf("warned of an empty outbox: %q", w.warned)
	}
}

func TestARefusedMailWaitsAndTheOthersGo(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.answers = []error{errRefused}
	if s, _ := w.deliver(); s != 1 || !slices.Equal(w.gone, []int64{2}) {
		t.Fatalf("sent %d: %v", s, w.gone)
	}
	e := w.entries[0]
	if e.State != kvm.MailPending || e.Attempts != 1 || !e.due.Equal(w.now.Now().Add(time.Minute)) || len(w.warned) != 1 {
		t.Fatalf("%+v %q", e, w.warned)
	}
	w.now.Advance(59 * time.Second)
	if s, _ := w.deliver(); s != 0 {
		t.Fatal("sent before its pause was over")
	}
	w.now.Advance(time.Second)
	if s, _ := w.deliver(); s != 1 {
		t.Fatal("not sent when its pause was over")
	}
}

func TestARoundEndsWhenTheNextWouldFareNoBetter(t *testing.T) {
	for _, refusal := range []error{errUnreachable, errUnknown, errEveryCall} {
		w := newWorld(t, 1, 2)
		w.answers = []error{refusal}
		if s, _ := w.deliver(); s != 0 || !slices.Equal(w.calls, []int64{1}) {
			t.Fatalf("%v: sent %d, calls %v", refusal, s, w.calls)
		}
		if s, _ := w.deliver(); s != 1 || !slices.Equal(w.gone, []int64{2}) {
			t.Fatalf("%v: the other mail did not go first the next time: %v", refusal, w.gone)
		}
	}
}

func TestBackOffAndGiveUp(t *testing.T) {
	w := newWorld(t, 1)
	start := w.now.Now()
	var at []time.Duration
	for range 60 {
		w.answers = []error{errRefused}
		_, failed := w.deliver()
		at = append(at, w.now.Now().Sub(start))
		if failed == 1 {
			break
		}
		w.now.Advance(w.entries[0].due.Sub(w.now.Now()))
	}
	minutes := func(d time.Duration) int { return int(d / time.Minute) }
	for i, want := range []int{0, 1, 3, 7, 15, 31, 63, 123, 183} {
		if minutes(at[i]) != want {
			t.Fatalf("attempt %d after %v, want %d minutes (%v)", i+1, at[i], want, at)
		}
	}
	if last := at[len(at)-1]; last != GiveUp || w.entries[0].State != kvm.MailFailed {
		t.Fatalf("the last attempt was at %v, state %s", last, w.entries[0].State)
	}
	if len(w.history) != 1 || !strings.Contains(w.history[0], "service 1") || !strings.Contains(w.history[0], "Email Template not found") {
		t.Fatalf("activity log %q", w.history)
	}
	w.now.Advance(GiveUp)
	if s, f := w.deliver(); s != 0 || f != 0 || len(w.gone) != 0 {
		t.Fatal("a failed mail was taken up again")
	}
}

func TestWhatCanNeverWorkFailsAtOnce(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.entries[0].Template = "unreadable"
	w.answers = []error{kvm.Errorf(kvm.ErrInvalid, "no such action")}
	if s, f := w.deliver(); s != 1 || f != 2 || len(w.history) != 2 || !slices.Equal(w.gone, []int64{3}) {
		t.Fatalf("sent %d, failed %d, %v, %q", s, f, w.gone, w.history)
	}
}

func TestAnAnswerThatWasLost(t *testing.T) {
	w := newWorld(t, 1)
	w.answers, w.deaf = []error{errUnknown}, true
	if s, _ := w.deliver(); s != 1 || w.entries[0].State != kvm.MailSent || len(w.gone) != 1 {
		t.Fatalf("sent %d, %s, left %d times", s, w.entries[0].State, len(w.gone))
	}
}

func TestATraceThatComesLate(t *testing.T) {
	w := newWorld(t, 1)
	w.answers, w.deaf, w.late = []error{errUnknown}, true, true
	if s, _ := w.deliver(); s != 0 || w.entries[0].State != kvm.MailSending {
		t.Fatalf("sent %d, %s", s, w.entries[0].State)
	}
	w.logged, w.backlog = w.backlog, nil
	w.now.Advance(time.Minute)
	if s, _ := w.deliver(); s != 1 || len(w.calls) != 1 {
		t.Fatalf("sent %d with %d calls; the trace was there before the second one", s, len(w.calls))
	}
}

// A refusal of the second attempt says nothing about the first one.
func TestATraceThatComesLaterStill(t *testing.T) {
	w := newWorld(t, 1)
	w.answers, w.deaf, w.late = []error{errUnknown}, true, true
	w.deliver()
	trace := w.backlog
	w.backlog, w.deaf, w.answers = nil, false, []error{errRefused}
	w.now.Advance(time.Minute)
	w.deliver()
	if w.entries[0].State != kvm.MailSending {
		t.Fatalf("state %s", w.entries[0].State)
	}
	w.logged = trace
	w.now.Advance(time.Hour)
	if s, _ := w.deliver(); s != 1 || len(w.gone) != 1 || len(w.calls) != 2 {
		t.Fatalf("sent %d, left WHMCS %d times, %d calls", s, len(w.gone), len(w.calls))
	}
}

func TestUnknownWithoutTraceIsSentAgain(t *testing.T) {
	w := newWorld(t, 1)
	w.answers = []error{errUnknown}
	w.deliver()
	w.now.Advance(time.Minute)
	if s, _ := w.deliver(); s != 1 || len(w.gone) != 1 || len(w.calls) != 2 {
		t.Fatalf("sent %d, left %v, %d calls", s, w.gone, len(w.calls))
	}
}

// The process dies between the POST and the record of it.
func TestAHolderThatDied(t *testing.T) {
	for _, tc := range []struct {
		name         string
		left         bool
		calls, total int
	}{{"after the mail left", true, 1, 1}, {"before", false, 2, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.deaf, w.failing = tc.left, "MailSent"
			if !tc.left {
				w.answers, w.failing = []error{errUnknown}, "MailEvidence"
			}
			if _, _, err := w.Deliver(context.Background()); !errors.Is(err, errDatabase) {
				t.Fatal(err)
			}
			w.failing = ""
			w.Owner = "another"
			if s, _ := w.deliver(); s != 0 {
				t.Fatal("taken while the claim held")
			}
			w.now.Advance(ClaimLife)
			if s, _ := w.deliver(); s != 1 || len(w.calls) != tc.calls || len(w.gone) != tc.total {
				t.Fatalf("sent %d, %d calls, left WHMCS %d times", s, len(w.calls), len(w.gone))
			}
		})
	}
}

func TestAClaimThatWasLostBeforeThePost(t *testing.T) {
	w := newWorld(t, 1)
	stolen := w.entries[0]
	w.Store = thief{w, func() { stolen.owner = "another" }}
	if s, f := w.deliver(); s != 0 || f != 0 || len(w.calls) != 0 {
		t.Fatalf("sent %d, failed %d, calls %v", s, f, w.calls)
	}
}

// thief takes an entry away between its claim and the note of the attempt.
type thief struct {
	*world
	steal func()
}

func (s thief) BeginMail(ctx context.Context, e kvm.OutboxEntry, owner string) (kvm.OutboxEntry, error) {
	s.steal()
	return s.world.BeginMail(ctx, e, owner)
}

func TestTheEndOfTheContextStopsBeforeTheNextEntry(t *testing.T) {
	w := newWorld(t, 1, 2)
	ctx, cancel := context.WithCancel(context.Background())
	w.before = cancel
	s, f, err := w.Deliver(ctx)
	if s != 1 || f != 0 || err != nil || w.entries[0].State != kvm.MailSent || len(w.calls) != 1 {
		t.Fatalf("sent %d, failed %d, %v; first %s, %d calls", s, f, err, w.entries[0].State, len(w.calls))
	}
	if s, _, err := w.Deliver(ctx); s != 0 || err != nil {
		t.Fatalf("on an ended context: %d, %v", s, err)
	}
}

func TestOnlyTheDatabaseIsAnError(t *testing.T) {
	for _, method := range []string{"WaitingMails", "TakeMail", "BeginMail", "MailEvidence", "TicketOpened", "MailSent", "RetryMail", "FailMail"} {
		w := newWorld(t, 1)
		w.failing = method
		switch method {
		case "WaitingMails":
			w.API = nil
		case "MailEvidence":
			w.answers = []error{errUnknown}
		case "TicketOpened":
			w.entries[0].Action, w.answers = "OpenTicket", []error{errUnknown}
		case "RetryMail":
			w.answers = []error{errRefused}
		case "FailMail":
			w.answers = []error{kvm.Errorf(kvm.ErrInvalid, "never")}
		}
		if s, f, err := w.Deliver(context.Background()); !errors.Is(err, errDatabase) || s != 0 || f != 0 {
			t.Errorf("%s: sent %d, failed %d, %v", method, s, f, err)
		}
	}
}

func TestAdminMailsLeaveNoTrace(t *testing.T) {
	w := newWorld(t)
	e := w.put(1)
	e.Action, e.Template, e.Params = "SendAdminEmail", "", map[string]string{"customsubject": "service 1 does not move"}
	w.answers, w.deaf, w.failing = []error{errUnknown}, true, "MailEvidence"
	if s, _ := w.deliver(); s != 0 || !strings.Contains(w.warned[0], "service 1 does not move") {
		t.Fatalf("sent %d, %q", s, w.warned)
	}
	w.now.Advance(time.Minute)
	if s, _ := w.deliver(); s != 1 {
		t.Fatalf("sent %d", s)
	}
}

// TestATicketIsOpenedOnce: one whose answer was lost is looked for by its subject.
func TestATicketIsOpenedOnce(t *testing.T) {
	for _, opened := range []bool{true, false} {
		w := newWorld(t)
		e := w.put(1)
		e.Action, e.Template, e.Params = "OpenTicket", "", map[string]string{"subject": "Reverse DNS of 192.0.2.10 (service 1, 2026-04-10 03:00:00)"}
		if w.answers = []error{errUnknown}; opened {
			w.logged = []kvm.MailText{{Subject: e.Params["subject"]}}
		}
		w.deliver()
		w.now.Advance(time.Minute)
		w.deliver()
		if want := map[bool]int{true: 1, false: 2}[opened]; len(w.calls) != want || e.State != kvm.MailSent {
			t.Errorf("opened %t: %d calls, %s", opened, len(w.calls), e.State)
		}
	}
}
