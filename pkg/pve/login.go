package pve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// A ticket lives for 2 h. It is renewed well before, so that none ends while a request is on its way.
const ticketAge = 90 * time.Minute

// refusalAge is how long a refused login is remembered, so that many services of one tick do not look like an attack.
const refusalAge = time.Minute

// refusal401 remembers that the token was refused: each 401 costs 3 s, and many of them look like an attack.
type refusal401 struct {
	mu  sync.Mutex
	err error
	at  time.Time
}

// recent is the refusal, if it is not older than refusalAge.
func (r *refusal401) recent(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil || now.Sub(r.at) >= refusalAge {
		return nil
	}
	return r.err
}

// note keeps err if it is a refusal.
func (r *refusal401) note(err error, now time.Time) {
	if !errors.Is(err, kvm.ErrAuth) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.at = err, now
}

// ticket is what signs requests after a login with a password. It is not changed once made.
type ticket struct {
	value, csrf string
	at          time.Time
}

type login struct {
	gate    chan struct{} // holds one: whoever takes it may log in
	now     *ticket
	refused error
	at      time.Time // of the refusal
}

func newLogin() *login { return &login{gate: make(chan struct{}, 1)} }

// ticket gives a ticket that is young enough and is not bad, the one that Proxmox has just refused. Of many callers one
// logs in and the others wait for it.
func (c *Client) ticket(ctx context.Context, bad *ticket) (*ticket, error) {
	l := c.login
	select {
	case l.gate <- struct{}{}:
		defer func() { <-l.gate }()
	case <-ctx.Done():
		return nil, &Error{Method: http.MethodPost, Path: "/access/ticket", Message: ctx.Err().Error(), cause: ctx.Err(), kind: kvm.ErrUnreachable}
	}
	now := c.clock.Now()
	if l.now != nil && l.now != bad && now.Sub(l.now.at) < ticketAge {
		return l.now, nil
	}
	if l.refused != nil && now.Sub(l.at) < refusalAge {
		return nil, l.refused
	}
	t, err := c.logIn(ctx)
	l.refused = nil
	if errors.Is(err, kvm.ErrAuth) {
		l.refused, l.at = err, now
	}
	if err == nil {
		t.at, l.now = now, t
	}
	return t, err
}

func (c *Client) logIn(ctx context.Context) (*ticket, error) {
	const path = "/access/ticket"
	a, err := c.once(ctx, http.MethodPost, path, params{"username": c.user, "password": c.secret.Reveal()}, nil)
	switch {
	case errors.Is(err, kvm.ErrUnknown): // a login changes nothing
		return nil, kvm.Errorf(kvm.ErrUnreachable, "logging in as %s: %w", c.user, onlyText{err})
	case err != nil:
		return nil, err
	}
	var data struct {
		Ticket  text `json:"ticket"`
		CSRF    text `json:"CSRFPreventionToken"`
		NeedTFA flag `json:"NeedTFA"`
	}
	if err := json.Unmarshal(a.Data, &data); err != nil || data.Ticket == "" {
		return nil, kvm.Errorf(kvm.ErrUnreachable, "POST %s: the answer has no ticket", path)
	}
	if bool(data.NeedTFA) || strings.HasPrefix(string(data.Ticket), "PVE:!tfa!") {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAuth, "POST %s: the user %s needs a second factor", path, c.user),
			"use an API token: it needs none")
	}
	return &ticket{value: string(data.Ticket), csrf: string(data.CSRF)}, nil
}

// onlyText keeps an error's words and drops its sentinel, for a caller that knows better.
type onlyText struct{ err error }

func (o onlyText) Error() string { return o.err.Error() }
