package pvesim

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// login posts a password, or a ticket in its place, and gives the ticket.
func login(t *testing.T, c *Cluster, password string) string {
	t.Helper()
	form := url.Values{"username": {"root@pam"}, "password": {password}}
	hr := httptest.NewRequest(http.MethodPost, "/api2/json/access/ticket", strings.NewReader(form.Encode()))
	hr.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, hr)
	var doc struct{ Data struct{ Ticket string } }
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Data.Ticket
}

// TestTicketRenewal: a ticket is a password for the next one while it lives, two hours.
func TestTicketRenewal(t *testing.T) {
	clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, err := TwoNodes(Options{Clock: clk, Model: Instant()})
	if err != nil {
		t.Fatal(err)
	}
	first := login(t, c, "secret")
	if !strings.HasPrefix(first, "PVE:root@pam:") {
		t.Fatalf("ticket %q", first)
	}
	clk.Advance(110 * time.Minute)
	second := login(t, c, first)
	if second == "" || second == first {
		t.Fatalf("renewed ticket %q", second)
	}
	clk.Advance(time.Hour)
	if got := login(t, c, first); got != "" {
		t.Errorf("an old ticket gave %q", got)
	}
	if got := login(t, c, second); got == "" {
		t.Error("the renewed ticket does not live two hours")
	}
	if got := login(t, c, "wrong"); got != "" {
		t.Errorf("a wrong password gave %q", got)
	}
}

// TestOldAuthTexts: before the texts were made one, the reason said what was wrong.
func TestOldAuthTexts(t *testing.T) {
	for _, old := range []bool{true, false} {
		clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
		c, err := TwoNodes(Options{Clock: clk, Model: Instant(), OldAuthTexts: old})
		if err != nil {
			t.Fatal(err)
		}
		c.AddToken("audit@pve!tz", "s", false)
		c.ExpireToken("audit@pve!tz", clk.Now())
		c.AddToken("gone@pve!t1", "s", false)
		c.DisableUser("gone@pve")
		server := httptest.NewServer(c.Handler())
		defer server.Close()
		for header, want := range map[string]string{
			"PVEAPIToken=root@pam!whmcs=wrong": "invalid token value!",
			"PVEAPIToken=root@pam!nosuch=s":    "no such token 'nosuch' for user 'root@pam'",
			"PVEAPIToken=root@pam!whmcs":       "no tokenid specified",
			"PVEAPIToken=ghost@pve!x=s":        "no such user ('ghost@pve')",
			"PVEAPIToken=audit@pve!tz=s":       "token 'tz' access expired",
			"PVEAPIToken=gone@pve!t1=s":        "user 'gone@pve' is disabled",
			"Bearer abc":                       "No ticket",
		} {
			if !old && want != "No ticket" {
				want = "Authentication failed!"
			}
			hr, err := http.NewRequest(http.MethodGet, server.URL+"/api2/json/version", nil)
			if err != nil {
				t.Fatal(err)
			}
			hr.Header.Set("Authorization", header)
			if r := send(t, hr); r.status != http.StatusUnauthorized || r.reason != want {
				t.Errorf("old=%v %s: %d %s, want %s", old, header, r.status, r.reason, want)
			}
		}
	}
}

// TestGrantsReplaceThoseAbove: the grant of a deeper path counts instead of what is inherited, and a token with its own
// rights has no more than its user.
func TestGrantsReplaceThoseAbove(t *testing.T) {
	c, err := New(Options{Model: Instant()})
	if err != nil {
		t.Fatal(err)
	}
	c.AddUser("u@pve", "p")
	c.AddToken("u@pve!sep", "s", true)
	c.AddToken("u@pve!same", "s", false)
	c.Grant("/vms", "u@pve", "VM.Audit", "VM.Clone")
	c.Grant("/vms/100", "u@pve", "VM.PowerMgmt")
	c.Grant("/vms", "u@pve!sep", "VM.Clone", "VM.Allocate")
	c.lock()
	defer c.mu.Unlock()
	for _, want := range []struct {
		who  identity
		at   string
		have string
	}{
		{identity{"u@pve", ""}, "/vms/101", "VM.Audit VM.Clone"},
		{identity{"u@pve", ""}, "/vms/100", "VM.PowerMgmt"},
		{identity{"u@pve", "same"}, "/vms/100", "VM.PowerMgmt"},
		{identity{"u@pve", "sep"}, "/vms/101", "VM.Clone"},
		{identity{"u@pve", "sep"}, "/vms/100", ""},
		{identity{"u@pve", ""}, "/storage/local", ""},
	} {
		if got := strings.Join(c.privileges(want.who, want.at), " "); got != want.have {
			t.Errorf("%v at %s: %q, want %q", want.who, want.at, got, want.have)
		}
	}
}
