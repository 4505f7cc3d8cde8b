package cloudflare

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	token = "cfut_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_ab"
	zone  = "example.test"
	vm    = "vm1.example.test"
)

// world is a stand-in with one zone and a provider that talks to it. Both go by one clock, which moves when somebody waits.
type world struct {
	*testing.T
	*cloudflaresim.Server
	clock *clock.Fake
	p     *Provider
}

func newWorld(t *testing.T, o cloudflaresim.Options) *world {
	t.Helper()
	w := &world{T: t, clock: clock.NewFake(time.Date(2026, 11, 21, 18, 57, 6, 0, time.UTC))}
	if o.Tokens == nil {
		o.Tokens = []cloudflaresim.Token{{Text: token}}
	}
	o.Clock = w.clock
	s, err := cloudflaresim.Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.AddZone(zone)
	w.Server, w.p = s, nil
	w.p = w.provider(token)
	return w
}

func (w *world) provider(token string) *Provider {
	w.Helper()
	p, err := New(Options{URL: w.URL, Token: kvm.NewSecret(token), Trust: trust.Trust{Pins: []string{w.Fingerprint}}, Clock: w.clock})
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// put adds a record past the provider.
func (w *world) put(r cloudflaresim.Record) string {
	w.Helper()
	id, err := w.Put(zone, r)
	if err != nil {
		w.Fatal(err)
	}
	return id
}

// apply makes edits so in the zone.
func (w *world) apply(edits ...dns.Edit) []dns.Outcome {
	w.Helper()
	return w.p.Apply(w.Context(), zone, edits)
}

// fine wants no error, and what each edit says of a change.
func (w *world) fine(out []dns.Outcome, changed ...bool) {
	w.Helper()
	for i, o := range out {
		if o.Err != nil || o.Changed != changed[i] {
			w.Errorf("edit %d: changed %t, want %t; %v", i, o.Changed, changed[i], o.Err)
		}
	}
	if len(out) != len(changed) {
		w.Errorf("%d outcomes, want %d", len(out), len(changed))
	}
}

// fails wants the sentinel and the words in err.
func (w *world) fails(err, sentinel error, words ...string) {
	w.Helper()
	if !errors.Is(err, sentinel) {
		w.Fatalf("%v is not %v", err, sentinel)
	}
	text := err.Error() + " | " + kvm.Hint(err)
	for _, word := range words {
		if !strings.Contains(text, word) {
			w.Errorf("%q does not say %q", text, word)
		}
	}
	if strings.Contains(text, token) || strings.ContainsAny(text, "\r\n") {
		w.Errorf("%q", text)
	}
}

// has wants just these values of a name and type.
func (w *world) has(name string, typ dns.Type, want ...string) {
	w.Helper()
	var got []string
	for _, r := range w.Records(zone) {
		if r.Name == name && r.Type == string(typ) {
			got = append(got, r.Content)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("%s %s is %v, want %v", name, typ, got, want)
	}
}

// sent are the requests so far, as "POST batch 201" or "GET dns_records": method, last part of the path, and the status
// where it is not 200 (0 = no answer).
func (w *world) sent() []string {
	var out []string
	for _, c := range w.Calls() {
		text := c.Method + " " + c.Path[strings.LastIndex(c.Path, "/")+1:]
		if c.Method == "DELETE" {
			text = c.Method
		}
		switch c.Status {
		case 200:
		case 0:
			text += " lost"
		default:
			text += " " + strconv.Itoa(c.Status)
		}
		out = append(out, text)
	}
	return out
}

// wants the requests to be these, without those that were sent before.
func (w *world) wants(before int, want ...string) {
	w.Helper()
	if got := w.sent()[before:]; !slices.Equal(got, want) {
		w.Errorf("sent %q, want %q", got, want)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func set(values ...string) dns.Edit { return dns.Edit{Name: vm, Type: dns.A, Add: values} }
