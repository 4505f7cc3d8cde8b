package whmcs

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi/apisim"
)

func TestOutboxInsert(t *testing.T) {
	o := newOutbox(t)
	o.put(71, "ready:71:1")
	o.put(71, "ready:71:1")
	rolledBack := errors.New("rolled back")
	err := o.store.inTx(t.Context(), func(tx *sql.Tx) error {
		m := kvm.Mail{ServiceID: 72, Action: "SendEmail", Template: readyTemplate, Key: "ready:72:1"}
		return errors.Join(insertMail(t.Context(), tx, m, 7), rolledBack)
	})
	if !errors.Is(err, rolledBack) {
		t.Fatal(err)
	}
	o.wantStates("71 pending 0")
	for name, m := range map[string]kvm.Mail{
		"no key":       {ServiceID: 71, Action: "SendEmail", Template: readyTemplate},
		"long key":     {ServiceID: 71, Action: "SendEmail", Template: readyTemplate, Key: strings.Repeat("k", mailKeyLimit+1)},
		"key in UTF-8": {ServiceID: 71, Action: "SendEmail", Template: readyTemplate, Key: "ключ"},
		"no template":  {ServiceID: 71, Action: "SendEmail", Key: "k"},
		"no service":   {Action: "SendEmail", Template: readyTemplate, Key: "k"},
		"no mail":      {ServiceID: 71, Action: "ModuleTerminate", Template: readyTemplate, Key: "k"},
	} {
		if err := o.insert(m, 7); !errors.Is(err, kvm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.wantStates("71 pending 0")
}

func TestOutboxDelivers(t *testing.T) {
	o := newOutbox(t)
	o.put(72, "b")
	o.put(71, "a")
	alert := kvm.Mail{ServiceID: 71, Action: "SendAdminEmail", Key: "alert", Params: map[string]string{"customsubject": "s", "custommessage": "ą\n😀", "type": "system"}}
	if err := o.insert(alert, 7); err != nil {
		t.Fatal(err)
	}
	if n, err := o.store.WaitingMails(t.Context()); n != 3 || err != nil {
		t.Fatalf("%d waiting, %v", n, err)
	}
	o.deliver(3, 0)
	o.deliver(0, 0)
	o.wantStates("72 sent 1, 71 sent 1, 71 sent 1")
	var above int
	if err := o.store.db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM puq_proxmox_kvm_outbox o JOIN tblemails m ON m.id = o.trace_after
		WHERE m.message LIKE CONCAT('%vm', o.service_id, '.%')`).Scan(&above); err != nil || above != 3 {
		t.Fatalf("%d of 3 sent entries end at their own trace, %v", above, err)
	}
	mails := o.sim.Mails()
	if len(mails) != 3 || mails[0].ServiceID != 72 || mails[0].Template != readyTemplate || mails[1].ServiceID != 71 || mails[2].Message != "ą\n😀" {
		t.Fatalf("%+v", mails)
	}
	o.put(71, "a")
	o.deliver(0, 0)
	if n, err := o.store.WaitingMails(t.Context()); n != 0 || err != nil {
		t.Fatalf("%d waiting, %v", n, err)
	}
}

func TestOutboxTakesEachEntryOnce(t *testing.T) {
	o := newOutbox(t)
	const entries, takers = 40, 8
	for i := range entries {
		o.put(71, fmt.Sprintf("mail:%d", i))
	}
	var mu sync.Mutex
	taken := map[int64]int{}
	var wg sync.WaitGroup
	for i := range takers {
		wg.Go(func() {
			for {
				e, found, err := o.store.TakeMail(t.Context(), fmt.Sprintf("taker-%d", i), time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				enough := len(taken) == entries
				if found {
					taken[e.ID]++
				}
				mu.Unlock()
				if !found && enough {
					return
				}
			}
		})
	}
	wg.Wait()
	for id, n := range taken {
		if n != 1 {
			t.Errorf("entry %d was taken %d times", id, n)
		}
	}
	if len(taken) != entries {
		t.Errorf("%d entries were taken, want %d", len(taken), entries)
	}
}

func TestOutboxTakes(t *testing.T) {
	o := newOutbox(t)
	o.put(71, "a")
	take := func(owner string, want bool) kvm.OutboxEntry {
		t.Helper()
		e, found, err := o.store.TakeMail(t.Context(), owner, time.Minute)
		if err != nil || found != want {
			t.Fatalf("%s: found %v, %v", owner, found, err)
		}
		return e
	}
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET created_at = UTC_TIMESTAMP(6) - INTERVAL 2 HOUR, next_try = UTC_TIMESTAMP(6) + INTERVAL 1 MINUTE`)
	take("me", false)
	o.put(72, "b")
	if e := take("you", true); e.Key != "b" {
		t.Fatalf("an entry that is not due stands before the one that is: %+v", e)
	}
	o.exec(`DELETE FROM puq_proxmox_kvm_outbox WHERE mail_key = 'b'`)
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET next_try = UTC_TIMESTAMP(6)`)
	e := take("me", true)
	if e.Age < 2*time.Hour || e.Age > 3*time.Hour || time.Since(e.CreatedAt).Round(time.Hour) != 2*time.Hour {
		t.Fatalf("age %v, created %v", e.Age, e.CreatedAt)
	}
	e.Age, e.CreatedAt = 0, time.Time{}
	want := kvm.OutboxEntry{ID: e.ID, ClientID: 7, State: kvm.MailPending,
		Mail: kvm.Mail{ServiceID: 71, Action: "SendEmail", Template: readyTemplate, Key: "a", Params: map[string]string{}}}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Fatal(diff)
	}
	take("you", false)
	o.later()
	take("you", true)
	if _, err := o.store.BeginMail(t.Context(), e, "me"); !errors.Is(err, kvm.ErrMoved) {
		t.Fatalf("an attempt under a lost claim: %v", err)
	}
	if err := o.store.RetryMail(t.Context(), e, "me", kvm.MailPending, time.Hour, "x"); err != nil {
		t.Fatal(err)
	}
	if err := o.store.FailMail(t.Context(), e, "me", "x", "x", time.Now()); !errors.Is(err, kvm.ErrMoved) {
		t.Fatalf("given up under a lost claim: %v", err)
	}
	o.wantStates("71 pending 0 claimed")

	// Whoever sees that a mail was sent may say so, and the holder's attempt is off.
	if err := o.store.MailSent(t.Context(), e, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := o.store.BeginMail(t.Context(), e, "you"); !errors.Is(err, kvm.ErrMoved) {
		t.Fatalf("an attempt at a sent mail: %v", err)
	}
	o.later()
	take("me", false)
}

func TestOutboxDeadHolder(t *testing.T) {
	o := newOutbox(t)
	o.put(71, "a")
	f := strings.Split(o.Owner, "/")
	f[4] = "1" // this process began at another time, so the holder had its pid before
	dead := strings.Join(f, "/")
	e, found, err := o.store.TakeMail(t.Context(), dead, time.Minute)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if e, found, err = o.store.TakeMail(t.Context(), dead, time.Minute); err != nil || !found {
		t.Fatalf("a pending entry whose holder is dead: %v %v", found, err)
	}
	if _, err = o.store.BeginMail(t.Context(), e, dead); err != nil {
		t.Fatal(err)
	}
	if _, found, err = o.store.TakeMail(t.Context(), o.Owner, time.Minute); err != nil || found {
		t.Fatalf("an entry at sending was taken from its dead holder at once: %v %v", found, err)
	}
	o.put(72, "b")
	if e, found, err = o.store.TakeMail(t.Context(), o.Owner, time.Minute); err != nil || !found || e.Key != "b" {
		t.Fatalf("an entry at sending stands before one that is free: %+v %v %v", e, found, err)
	}
	o.later()
	if e, found, err = o.store.TakeMail(t.Context(), o.Owner, time.Minute); err != nil || !found || e.State != kvm.MailSending || e.Attempts != 1 {
		t.Fatalf("%+v %v %v", e, found, err)
	}
}

func TestOutboxAnswerLost(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  func(*outbox)
		states [2]string // after the first round, and after the second
		mails  int
	}{
		{"done and traced", func(o *outbox) { o.sim.LoseAnswer(1) }, [2]string{"71 sent 1", "71 sent 1"}, 1},
		{"done, then no answer", func(o *outbox) { o.sim.Hang(1, true) }, [2]string{"71 sent 1", "71 sent 1"}, 1},
		{"not done", func(o *outbox) { o.sim.Drop(1) }, [2]string{"71 sending 1", "71 sent 2"}, 1},
		{"done without a trace", func(o *outbox) { o.traces = false; o.sim.LoseAnswer(1) }, [2]string{"71 sending 1", "71 sent 2"}, 2},
		{"logged as failed", func(o *outbox) { o.failed = 1; o.sim.LoseAnswer(1) }, [2]string{"71 sending 1", "71 sent 2"}, 2},
		{"refused", func(o *outbox) { o.sim.Refuse(1, "Sending Failed. Please see documentation.") }, [2]string{"71 pending 1", "71 sent 2"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOutbox(t)
			// A mail of another client, an older one of the same service, and the client's mail of another service.
			o.exec(`INSERT INTO tblemails (userid, subject, message) VALUES (7, 'Your VM vm71.example.com is ready', 'vm71.example.com')`)
			o.put(71, "a")
			tc.fault(o)
			if _, _, err := o.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			o.wantStates(tc.states[0])
			o.exec(`INSERT INTO tblemails (userid, subject, message) VALUES (8, 'Your VM vm71.example.com is ready', 'vm71.example.com'), (7, 'Your VM x is ready', 'vm72.example.com')`)
			o.later()
			if _, _, err := o.Deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			o.wantStates(tc.states[1])
			if len(o.sim.Mails()) != tc.mails {
				t.Fatalf("%d mails, want %d", len(o.sim.Mails()), tc.mails)
			}
		})
	}
}

func TestOutboxEvidence(t *testing.T) {
	o := newOutbox(t)
	o.put(71, "a")
	o.put(71, "b") // the same service's, sent after a's attempt
	o.put(72, "c") // the same client's, sent after it
	o.put(72, "d") // the same client's, being sent
	o.put(81, "e") // another client's
	o.put(72, "f") // sent before
	o.exec(`INSERT INTO tblemails (id, userid, subject, message) VALUES (10, 7, 's10', 'm10'), (11, 7, 's11', 'm11'), (12, 8, 's12', 'm12')`)
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET state = 'sent', trace_after = 12 WHERE mail_key IN ('b', 'c', 'e')`)
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET state = 'sending', trace_after = 3 WHERE mail_key = 'd'`)
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET state = 'sent', trace_after = 10 WHERE mail_key = 'f'`)
	e, _, err := o.store.TakeMail(t.Context(), "me", time.Minute)
	if err != nil || e.Key != "a" {
		t.Fatalf("%+v %v", e, err)
	}
	e.TraceAfter = 10
	got, err := o.store.MailEvidence(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	want := kvm.MailEvidence{
		Templates: []kvm.MailText{{Subject: "Your VM {$service_domain} is ready", Message: "<p>{$service_domain}</p>"}},
		Logged:    []kvm.MailText{{ID: 11, Subject: "s11", Message: "m11"}},
		Domain:    "vm71.example.com", Dedicated: "192.0.2.71", OfService: 1, OfClient: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	e.ServiceID = 9999
	if got, err = o.store.MailEvidence(t.Context(), e); err != nil || got.Domain != "" {
		t.Fatalf("a service that is gone: %+v %v", got, err)
	}
}

// TestOutboxSeveralAnswersLost: each of several mails to one service whose answers are lost is sent once.
func TestOutboxSeveralAnswersLost(t *testing.T) {
	o := newOutbox(t)
	for _, key := range []string{"a", "b", "c"} {
		o.put(71, key)
	}
	o.sim.Drop(3)
	for range 3 {
		o.deliver(0, 0) // a round ends with the first that is not known
	}
	o.later()
	o.sim.LoseAnswer(3)
	o.deliver(3, 0)
	if n := len(o.sim.Mails()); n != 3 {
		t.Errorf("%d mails for three entries", n)
	}
}

// TestOutboxTracesAreOneEntrysEach: WHMCS logs two mails late. The first one's entry, which is found to be sent by it, does
// not take the second one from the other.
func TestOutboxTracesAreOneEntrysEach(t *testing.T) {
	o := newOutbox(t)
	o.traces = false
	for _, key := range []string{"a", "b"} {
		o.put(71, key)
		o.sim.LoseAnswer(1)
		o.deliver(0, 0)
		if err := o.logMail(t.Context(), apisim.Mail{ServiceID: 71}); err != nil {
			t.Fatal(err)
		}
	}
	o.later()
	o.deliver(2, 0)
	if n := len(o.sim.Mails()); n != 2 {
		t.Errorf("%d mails for two entries", n)
	}
}

func TestOutboxKeepsTheFirstUnknownAttempt(t *testing.T) {
	o := newOutbox(t)
	o.exec(`INSERT INTO tblemails (id, userid, subject, message) VALUES (10, 7, 's', 'm')`)
	o.put(71, "a")
	begin := func() kvm.OutboxEntry {
		t.Helper()
		e, _, err := o.store.TakeMail(t.Context(), "me", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if e, err = o.store.BeginMail(t.Context(), e, "me"); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := begin(); e.TraceAfter != 10 || e.Attempts != 1 || e.State != kvm.MailSending {
		t.Fatalf("%+v", e)
	}
	o.exec(`INSERT INTO tblemails (id, userid, subject, message) VALUES (11, 7, 's', 'm')`)
	o.later()
	e := begin()
	if e.TraceAfter != 10 || e.Attempts != 2 {
		t.Fatalf("the second attempt of an unknown outcome: %+v", e)
	}
	if err := o.store.RetryMail(t.Context(), e, "me", kvm.MailPending, -time.Second, "refused"); err != nil {
		t.Fatal(err)
	}
	if e := begin(); e.TraceAfter != 11 || e.Attempts != 3 {
		t.Fatalf("the attempt after a refusal: %+v", e)
	}
}

func TestOutboxGivesUp(t *testing.T) {
	o := newOutbox(t)
	o.put(71, "a")
	o.put(72, "b")
	o.put(81, "c")
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET created_at = UTC_TIMESTAMP(6) - INTERVAL 25 HOUR WHERE mail_key = 'a'`)
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET params = 'secret rubbish' WHERE mail_key = 'b'`)
	o.sim.Refuse(1, "Email Template not found")
	o.deliver(1, 2)
	o.wantStates("71 failed 1, 72 failed 0, 81 sent 1")
	rows, err := o.store.db.QueryContext(t.Context(), `SELECT description, userid FROM tblactivitylog ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var entries []string
	for rows.Next() {
		var text string
		var client int64
		if err := rows.Scan(&text, &client); err != nil {
			t.Fatal(err)
		}
		if client != 0 {
			t.Errorf("client %d can read %q", client, text)
		}
		entries = append(entries, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || !strings.Contains(entries[0], "Email Template not found") || !strings.Contains(entries[1], "no JSON") {
		t.Fatalf("activity log %q", entries)
	}
	if strings.Contains(entries[1], "rubbish") {
		t.Fatalf("shows the params: %q", entries[1])
	}
	o.later()
	o.deliver(0, 0)
}
