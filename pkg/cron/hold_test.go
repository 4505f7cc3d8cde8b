package cron

import (
	"context"
	"errors"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestHold: a command has a service for itself, or not at all, and lets it go whatever happens. What the row says of its
// last run goes only when the command has done its work.
func TestHold(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		owner   string // who has it before
		fails   string // the method of the store that fails
		do      error
		want    error
		called  bool
		message string // afterwards
	}{
		"done":            {called: true},
		"refused":         {do: broken, want: broken, called: true, message: "waits"},
		"of the dead":     {owner: "dead", called: true},
		"busy":            {owner: "other", want: kvm.ErrBusy, message: "waits"},
		"unreadable":      {fails: "Service", want: errGone, message: "waits"},
		"not to be had":   {fails: "Claim", want: errGone, message: "waits"},
		"not to be freed": {fails: "Release", want: errGone, called: true, message: "waits"},
	} {
		st := &store{rows: []*row{{Pending: kvm.Pending{ID: 7, Status: kvm.Ready, Owner: c.owner}, message: "waits"}}, fail: map[string]error{c.fails: errGone}}
		called := false
		err := Hold(t.Context(), st, "me", 7, func(_ context.Context, s *kvm.Service) error {
			called = true
			if s.Row.Owner != "me" {
				t.Errorf("%s: read under the claim of %q", name, s.Row.Owner)
			}
			return c.do
		})
		r := st.rows[0]
		if !errors.Is(err, c.want) || called != c.called || r.message != c.message {
			t.Errorf("%s: %v, called %v, message %q", name, err, called, r.message)
		}
		if c.called && c.fails == "" && r.Owner != "" {
			t.Errorf("%s: %s holds it still", name, r.Owner)
		}
	}
}
