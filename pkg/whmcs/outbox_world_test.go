package whmcs

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/mail"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi/apisim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

const readyTemplate = "puqProxmoxKVM VM is ready"

// outbox is a database with clients 7 and 8 and their services 71, 72 and 81, a stand-in of the WHMCS API on it, and a
// deliverer between them.
type outbox struct {
	*testing.T
	*mail.Deliverer
	store  *Store
	sim    *apisim.Server
	traces bool // whether WHMCS logs what it sends
	failed int  // the column of that name, of what it logs
}

func newOutbox(t *testing.T) *outbox {
	t.Helper()
	store, db := newStore(t)
	o := &outbox{T: t, store: store, traces: true}
	for _, client := range []int64{7, 8} {
		db.AddClient(whmcstest.Client{ID: client})
	}
	for _, service := range []int64{71, 72, 81} {
		db.AddService(whmcstest.Service{ID: service, ClientID: service / 10, Domain: fmt.Sprintf("vm%d.example.com", service), DedicatedIP: fmt.Sprintf("192.0.2.%d", service)})
	}
	db.AddEmailTemplate(whmcstest.EmailTemplate{Name: readyTemplate, Subject: "Your VM {$service_domain} is ready"})
	var err error
	o.sim, err = apisim.Start("127.0.0.1:0", apisim.Options{Identifier: "id", Secret: "secret", Templates: []string{readyTemplate}, Trace: o.trace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.sim.Close() })
	api, err := whmcsapi.New(whmcsapi.Options{URL: o.sim.URL(), Identifier: "id", Secret: kvm.NewSecret("secret"), Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := NewOwner()
	if err != nil {
		t.Fatal(err)
	}
	o.Deliverer = &mail.Deliverer{Store: o.store, API: api, Owner: owner, Clock: clock.Wall{}, Zone: time.UTC, Warn: func(s string) { t.Log(s) }}
	return o
}

// trace logs a mail as WHMCS does, where it does.
func (o *outbox) trace(ctx context.Context, m apisim.Mail) error {
	if !o.traces {
		return nil
	}
	return o.logMail(ctx, m)
}

func (o *outbox) logMail(ctx context.Context, m apisim.Mail) error {
	_, err := o.store.db.ExecContext(ctx, `INSERT INTO tblemails (userid, subject, message, failed)
		SELECT userid, CONCAT('Your VM ', domain, ' is ready'), CONCAT('<p>', domain, '</p>'), ? FROM tblhosting WHERE id = ?`, o.failed, m.ServiceID)
	return err
}

func (o *outbox) exec(query string, args ...any) {
	o.Helper()
	if _, err := o.store.db.ExecContext(o.Context(), query, args...); err != nil {
		o.Fatal(err)
	}
}

// put writes a mail for the service into the outbox.
func (o *outbox) put(service int64, key string) {
	o.Helper()
	m := kvm.Mail{ServiceID: service, Action: "SendEmail", Template: readyTemplate, Key: key}
	if err := o.insert(m, service/10); err != nil {
		o.Fatal(err)
	}
}

func (o *outbox) insert(m kvm.Mail, client int64) error {
	return o.store.inTx(o.Context(), func(tx *sql.Tx) error { return insertMail(o.Context(), tx, m, client) })
}

// deliver runs one round and says how many were sent and given up.
func (o *outbox) deliver(wantSent, wantFailed int) {
	o.Helper()
	sent, failed, err := o.Deliver(o.Context())
	if err != nil || sent != wantSent || failed != wantFailed {
		o.Fatalf("sent %d, failed %d, %v; want %d and %d", sent, failed, err, wantSent, wantFailed)
	}
}

// states are the entries in words, oldest first.
func (o *outbox) states() string {
	o.Helper()
	rows, err := o.store.db.QueryContext(o.Context(), `SELECT service_id, state, attempts, claim_owner IS NOT NULL, sent_at IS NOT NULL FROM puq_proxmox_kvm_outbox ORDER BY id`)
	if err != nil {
		o.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var service, attempts int64
		var state string
		var claimed, dated bool
		if err := rows.Scan(&service, &state, &attempts, &claimed, &dated); err != nil {
			o.Fatal(err)
		}
		text := fmt.Sprintf("%d %s %d", service, state, attempts)
		if claimed {
			text += " claimed"
		}
		if dated != (state == "sent") {
			text += " with a wrong sent_at"
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		o.Fatal(err)
	}
	return strings.Join(out, ", ")
}

func (o *outbox) wantStates(want string) {
	o.Helper()
	if got := o.states(); got != want {
		o.Fatalf("outbox: %s; want %s", got, want)
	}
}

// later lets every pause and every claim be over.
func (o *outbox) later() {
	o.Helper()
	o.exec(`UPDATE puq_proxmox_kvm_outbox SET next_try = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND, claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND`)
}
