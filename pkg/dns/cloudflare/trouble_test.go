package cloudflare

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// second is a second edit, which makes a batch.
var second = dns.Edit{Name: "vm2." + zone, Type: dns.A, Add: []string{"192.0.2.20"}}

// TestUnclearWrite: what was sent and has no answer, or a 5xx, is looked for before it is sent again.
func TestUnclearWrite(t *testing.T) {
	for name, f := range map[string]cloudflaresim.Fault{
		"lost answer": {Reset: true},
		"500":         {Status: 500, Code: 10001, Message: "Internal error"},
		"502":         {Status: 502, HTML: true},
		"524":         {Status: 524, HTML: true},
		"hang":        {Hang: true},
		"200, no API": {Status: 200, HTML: true},
	} {
		for _, acts := range []bool{true, false} {
			for _, http1 := range []bool{true, false} {
				for _, many := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s, done %t, HTTP/1.1 %t, batch %t", name, acts, http1, many), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, cloudflaresim.Options{HTTP1: http1})
						f := f
						f.Method, f.Acts = "POST", acts
						if f.Hang {
							w.p.patience = time.Second
						}
						w.Fail(f)
						began := w.clock.Now()
						edits, changed, path, lists := []dns.Edit{set("192.0.2.10", "192.0.2.11"), second}, []bool{true, true}, "batch", []string{"GET dns_records", "GET dns_records"}
						if !many {
							edits, changed, path, lists = []dns.Edit{set("192.0.2.10")}, []bool{true}, "dns_records", lists[:1]
						}
						w.fine(w.apply(edits...), changed...)
						w.has(vm, dns.A, edits[0].Add...)
						if took := w.clock.Now().Sub(began); took != backoff {
							t.Errorf("it looked after %v", took)
						}
						status := fmt.Sprint(" ", f.Status)
						if f.Status == 0 {
							status = " lost"
						}
						post := "POST " + path
						want := append([]string{"GET zones"}, lists...)
						want = append(append(want, strings.TrimSuffix(post+status, " 200")), lists...)
						if !acts {
							want = append(want, post)
						}
						w.wants(0, want...)
					})
				}
			}
		}
	}
}

// TestWriteStaysUnclear: it ends, says that it may have been done, and the edits behind fare as the one that failed.
func TestWriteStaysUnclear(t *testing.T) {
	for _, c := range []struct {
		fault cloudflaresim.Fault
		want  error
	}{
		{cloudflaresim.Fault{Reset: true}, kvm.ErrUnknown},
		{cloudflaresim.Fault{Status: 503, HTML: true}, kvm.ErrBusy},
	} {
		w := newWorld(t, cloudflaresim.Options{})
		c.fault.Method, c.fault.Times = "POST", cloudflaresim.Always
		w.Fail(c.fault)
		out := w.apply(dns.Edit{Name: vm, Type: dns.A, Add: addresses(0, 150)}, dns.Edit{Name: "vm2." + zone, Type: dns.A, Add: addresses(0, 150)})
		for _, o := range out {
			w.fails(o.Err, c.want, zone)
			if o.Changed {
				t.Error("it says that something was changed")
			}
		}
		if got := len(w.Calls()); got != 1+3*rounds {
			t.Errorf("%d requests: %q", got, w.sent())
		}
	}
}

// TestUnclearDeletion: a DELETE without answer is looked for as well.
func TestUnclearDeletion(t *testing.T) {
	for _, acts := range []bool{true, false} {
		w := newWorld(t, cloudflaresim.Options{})
		w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.10"})
		w.Fail(cloudflaresim.Fault{Method: "DELETE", Reset: true, Acts: acts})
		w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Remove: []string{"192.0.2.10"}}), true)
		w.has(vm, dns.A)
	}
}

// TestRead: a GET is tried again, and not for ever.
func TestRead(t *testing.T) {
	for _, f := range []cloudflaresim.Fault{{Status: 502, HTML: true}, {Hang: true}, {Status: 200, HTML: true}} {
		t.Run(fmt.Sprintf("%d, hang %t", f.Status, f.Hang), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cloudflaresim.Options{})
			if f.Hang {
				w.p.patience = time.Second
			}
			f.Method, f.Times = "GET", tries-1
			w.Fail(f)
			w.fine(w.apply(set("192.0.2.10")), true)
			f.Times = cloudflaresim.Always
			w.Fail(f)
			before := len(w.Calls())
			out := w.apply(set("192.0.2.11"))
			if got := len(w.Calls()) - before; out[0].Err == nil || !dns.Dead(out[0].Err) || got != tries {
				t.Errorf("%d requests, %v", got, out[0].Err)
			}
		})
	}
}

// TestCancelledWhileUnclear: the edit that was sent says that it may have been done, the other one that it was not.
func TestCancelledWhileUnclear(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.Fail(cloudflaresim.Fault{Method: "POST", Hang: true, Times: cloudflaresim.Always})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.Before(func(c cloudflaresim.Call) {
		if c.Method == "POST" {
			cancel()
		}
	})
	out := w.p.Apply(ctx, zone, []dns.Edit{set("192.0.2.10")})
	w.fails(out[0].Err, kvm.ErrUnknown, vm)
	w.fails(out[0].Err, context.Canceled)
	w.wants(0, "GET zones", "GET dns_records", "POST dns_records lost")
}

// TestDead: after what no edit can be made against nothing more is sent, and each says so.
func TestDead(t *testing.T) {
	for _, c := range []struct {
		fault cloudflaresim.Fault
		want  error
		words string
	}{
		{cloudflaresim.Fault{Status: 401, Code: 10000, Message: "Authentication error"}, kvm.ErrAuth, "Zone.DNS:Edit"},
		{cloudflaresim.Fault{Status: 403, Code: 10000, Message: "Authentication error"}, kvm.ErrDenied, "Zone.Zone:Read and Zone.DNS:Edit for this zone"},
		{cloudflaresim.Fault{Status: 429, Times: tries, RetryAfter: time.Second}, kvm.ErrBusy, "it asks to wait 1 s"},
	} {
		w := newWorld(t, cloudflaresim.Options{})
		w.fine(w.apply(set("192.0.2.1")), true)
		w.DropZone(zone) // the id is not an old one, which would be looked up again
		w.AddZone(zone)
		w.p.forget(zone, w.p.zones[zone])
		c.fault.Method = "POST"
		w.Fail(c.fault)
		before := len(w.Calls())
		out := w.apply(dns.Edit{Name: vm, Type: dns.A, Add: addresses(0, 150)}, dns.Edit{Name: "vm2." + zone, Type: dns.A, Add: addresses(0, 150)})
		for _, o := range out {
			w.fails(o.Err, c.want, zone, c.words)
		}
		if out[0].Err.Error() != out[1].Err.Error() {
			t.Errorf("%v, %v", out[0].Err, out[1].Err)
		}
		if got, want := len(w.Calls())-before, 3+max(c.fault.Times, 1); got != want {
			t.Errorf("%d requests, want %d: %q", got, want, w.sent())
		}
	}
}
