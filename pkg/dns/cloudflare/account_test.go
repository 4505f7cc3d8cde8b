package cloudflare

import (
	"net/http"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

// TestZoneMadeAnew: the zone was deleted and made anew, and has another id since.
func TestZoneMadeAnew(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		w := newWorld(t, cloudflaresim.Options{Hidden: hidden})
		w.fine(w.apply(set("192.0.2.10")), true)
		w.fine(w.apply(set("192.0.2.10")), false)
		w.DropZone(zone)
		w.AddZone(zone)
		status := "404"
		if hidden {
			status = "403"
		}
		w.wants(0, "GET zones", "GET dns_records", "POST dns_records", "GET dns_records")
		w.fine(w.apply(set("192.0.2.10")), true)
		w.has(vm, dns.A, "192.0.2.10")
		w.wants(4, "GET dns_records "+status, "GET zones", "GET dns_records", "POST dns_records")
		w.Before(func(c cloudflaresim.Call) {
			if c.Method == http.MethodPost && strings.HasSuffix(c.Path, "/batch") {
				w.Before(nil)
				w.DropZone(zone)
				w.AddZone(zone)
			}
		})
		w.fine(w.apply(set("192.0.2.11", "192.0.2.12")), true)
		w.has(vm, dns.A, "192.0.2.11", "192.0.2.12")
		w.DropZone(zone)
		before := len(w.Calls())
		out := w.apply(set("192.0.2.10"), second)
		for _, o := range out {
			w.fails(o.Err, kvm.ErrNotFound, zone, "sees only the zones that it was given")
		}
		w.wants(before, "GET dns_records "+status, "GET zones")
		w.fails(w.p.Check(t.Context(), zone), kvm.ErrNotFound, zone)
	}
}

// TestForget: an id that was looked up meanwhile is not dropped with the old one.
func TestForget(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.p.zones[zone] = "new"
	w.p.forget(zone, "old")
	if id, old, err := w.p.zoneID(t.Context(), zone); id != "new" || !old || err != nil {
		t.Errorf("%q, %t, %v", id, old, err)
	}
}

// TestAccountToken: a token that an account owns is good, though the place that verifies those of users refuses it.
func TestAccountToken(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{Tokens: []cloudflaresim.Token{{Text: token, Account: true, Zones: []string{zone}}}})
	if err := w.p.Check(t.Context(), zone); err != nil {
		t.Error(err)
	}
	w.fine(w.apply(set("192.0.2.10")), true)
	w.wants(0, "GET zones", "GET dns_records", "GET dns_records", "POST dns_records")
	w.AddZone("other.test")
	w.fails(w.p.Check(t.Context(), "other.test"), kvm.ErrNotFound, "other.test")
}

// TestReadOnlyToken: who may read and not write hears which right is missing, after one attempt.
func TestReadOnlyToken(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{Tokens: []cloudflaresim.Token{{Text: token, ReadOnly: true}}})
	for _, o := range w.apply(set("192.0.2.10"), second) {
		w.fails(o.Err, kvm.ErrDenied, zone, "Zone.Zone:Read and Zone.DNS:Edit", "Authentication error (10000)")
	}
	w.wants(0, "GET zones", "GET dns_records", "GET dns_records", "POST batch 403")
	if err := w.p.Check(t.Context(), zone); err != nil {
		t.Errorf("a right that only a change can ask for is missed: %v", err)
	}
	w.Fail(cloudflaresim.Fault{Path: "/dns_records", Status: 403, Code: 10000, Message: "Authentication error"})
	w.fails(w.p.Check(t.Context(), zone), kvm.ErrDenied, zone, "Zone.Zone:Read and Zone.DNS:Edit")
}

// TestWrongToken: each of the ways in which Cloudflare refuses a token is one.
func TestWrongToken(t *testing.T) {
	for _, c := range []struct {
		token string
		fault cloudflaresim.Fault
		words string
	}{
		{token: strings.Repeat("a", 40), words: "Invalid access token (9109)"},
		{token: "not/a/token", words: "Invalid format for Authorization header (6111)"},
		{token: token, fault: cloudflaresim.Fault{Status: 401, Code: 10000, Message: "Authentication error"}, words: "Authentication error"},
		{token: token, fault: cloudflaresim.Fault{Status: 403, Code: 9109, Message: "Cannot use the access token from location: 192.0.2.1"}, words: "from location: 192.0.2.1"},
		{token: token, fault: cloudflaresim.Fault{Status: 400, Code: 9109, Message: "Invalid access token"}, words: "Invalid access token"},
	} {
		w := newWorld(t, cloudflaresim.Options{})
		p := w.provider(c.token)
		if c.fault.Status != 0 {
			c.fault.Times = cloudflaresim.Always
			w.Fail(c.fault)
		}
		for _, o := range p.Apply(t.Context(), zone, []dns.Edit{set("192.0.2.10"), second}) {
			w.fails(o.Err, kvm.ErrAuth, zone, c.words, "Zone.Zone:Read and Zone.DNS:Edit")
		}
		w.fails(p.Check(t.Context(), zone), kvm.ErrAuth, zone, c.words)
		if len(w.Calls()) != 2 {
			t.Errorf("%q", w.sent())
		}
	}
}

// TestTokenRevoked: the zone's id is known, and the token is good no more.
func TestTokenRevoked(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.fine(w.apply(set("192.0.2.10")), true)
	w.Fail(cloudflaresim.Fault{Times: cloudflaresim.Always, Status: 403, Code: 9109, Message: "Invalid access token"})
	w.fails(w.apply(set("192.0.2.10"))[0].Err, kvm.ErrAuth, zone)
}

// TestSecrets: a server that repeats the token in its answers does not bring it into an error.
func TestSecrets(t *testing.T) {
	for _, status := range []int{200, 400, 401, 403, 404, 429, 500, 503} {
		for _, method := range []string{"GET", "POST"} {
			w := newWorld(t, cloudflaresim.Options{})
			w.Fail(cloudflaresim.Fault{Method: method, Times: cloudflaresim.Always, Status: status, Message: "Bearer " + token + "\r\nis refused"})
			for _, o := range w.apply(set("192.0.2.10"), second) {
				if o.Err == nil {
					t.Fatalf("%d: no error", status)
				}
				w.fails(o.Err, o.Err, "*** is refused")
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	secret := kvm.NewSecret
	for _, o := range []Options{
		{},
		{Token: secret("two words")},
		{Token: secret("tok\nen")},
		{Token: secret("tökén")},
		{Token: secret(token), TTL: -1},
		{Token: secret(token), TTL: 29},
		{Token: secret(token), TTL: 86401},
		{Token: secret(token), URL: "http://api.example.com"},
		{Token: secret(token), URL: "https://api.example.com/?a=b"},
		{Token: secret(token), URL: "api.example.com"},
		{Token: secret(token), Trust: trust.Trust{Pins: []string{"12"}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		} else {
			(&world{T: t}).fails(err, kvm.ErrInvalid, "cloudflare")
		}
	}
	for _, ttl := range []int{0, 1, 30, 300, 86400} {
		if _, err := New(Options{Token: secret(token), TTL: ttl}); err != nil {
			t.Error(err)
		}
	}
}

// TestTTL: the TTL is that of the options, and Cloudflare's word on it is passed on.
func TestTTL(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.p.ttl = 300
	w.fine(w.apply(set("192.0.2.10")), true)
	if r := w.Records(zone)[0]; r.TTL != 300 || r.Proxied {
		t.Errorf("%+v", r)
	}
	w.p.ttl = 30
	w.fails(w.apply(set("192.0.2.11"))[0].Err, kvm.ErrRefused, "Must be between 60 and 86400 seconds")
}
