package hestiacp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestErrorAfterTheChange: BIND is restarted last, so an exit code comes after the record was written or deleted.
func TestErrorAfterTheChange(t *testing.T) {
	for _, login := range []func(*hestiasim.Server) Options{options, byHash} {
		for _, exit := range []int{20, 2, 1} {
			f := newFixture(t, login)
			f.Fail(hestiasim.Fault{Command: hestiasim.Add, Acts: true, Exit: exit, Output: "Error: 20"})
			f.Fail(hestiasim.Fault{Command: hestiasim.Delete, Acts: true, Exit: exit})
			done(t, f.apply(t, a("192.0.2.1", "")))
			f.is(t, "192.0.2.1")
			done(t, f.apply(t, a("", "192.0.2.1")))
			f.is(t)
			if f.count(hestiasim.Add) != 1 || f.count(hestiasim.Delete) != 1 {
				t.Errorf("exit %d: %+v", exit, f.Calls())
			}
		}
	}
}

// TestErrorWithoutAChange: the same codes where nothing was done.
func TestErrorWithoutAChange(t *testing.T) {
	for _, login := range []func(*hestiasim.Server) Options{options, byHash} {
		f := newFixture(t, login)
		f.Fail(hestiasim.Fault{Command: hestiasim.Add, Exit: 20, Output: "Error: no restart"})
		f.Fail(hestiasim.Fault{Command: hestiasim.Delete, Exit: 20})
		if out := f.apply(t, a("192.0.2.1", "")); out[0].Changed || !errors.Is(out[0].Err, kvm.ErrRefused) || !strings.Contains(out[0].Err.Error(), "exit 20 (restart failed)") {
			t.Errorf("%+v", out)
		}
		put(f.Server, zone, vm, dns.A, "192.0.2.1")
		if out := f.apply(t, a("", "192.0.2.1")); out[0].Changed || !errors.Is(out[0].Err, kvm.ErrRefused) {
			t.Errorf("%+v", out)
		}
		f.is(t, "192.0.2.1")
	}
}

// TestLostAnswers: a request without an answer may have been done. It is looked for, and never sent again.
func TestLostAnswers(t *testing.T) {
	for _, command := range []string{hestiasim.Add, hestiasim.Delete} {
		for _, acts := range []bool{true, false} {
			for _, fault := range []hestiasim.Fault{{Reset: true}, {Status: 502, Body: "<html>"}, {Status: 200, Body: "<html>"}, {Status: 200, Body: "ok 17 done"}} {
				f := newFixture(t, options)
				edits := []dns.Edit{a("192.0.2.1", ""), {Name: "vm2." + zone, Type: dns.A, Add: []string{"192.0.2.2"}}}
				if command == hestiasim.Delete {
					put(f.Server, zone, vm, dns.A, "192.0.2.1")
					put(f.Server, zone, "vm2."+zone, dns.A, "192.0.2.2")
					edits = []dns.Edit{a("", "192.0.2.1"), {Name: "vm2." + zone, Type: dns.A, Remove: []string{"192.0.2.2"}}}
				}
				fault.Command, fault.Acts = command, acts
				f.Fail(fault)
				out := f.apply(t, edits...)
				if acts {
					done(t, out)
					if f.count(command) != 2 {
						t.Errorf("%+v: %+v", fault, f.Calls())
					}
					continue
				}
				want := kvm.ErrUnknown
				if fault.Status == 502 {
					want = kvm.ErrBusy
				}
				for _, o := range out {
					if !errors.Is(o.Err, want) || o.Changed {
						t.Errorf("%+v: %+v, want %v", fault, o, want)
					}
				}
				if f.count(command) != 1 {
					t.Errorf("%+v: %s was sent %d times", fault, command, f.count(command))
				}
			}
		}
	}
}

// TestEndsWhileWaiting: when ctx ends during an add there is no time to look, so it stays unknown.
func TestEndsWhileWaiting(t *testing.T) {
	f := newFixture(t, options)
	ctx, cancel := context.WithCancel(t.Context())
	f.Fail(hestiasim.Fault{Command: hestiasim.Add, Acts: true, Hang: true})
	f.On(hestiasim.Changed, func(hestiasim.Call) { cancel() })
	put(f.Server, zone, vm, dns.A, "192.0.2.9")
	out := f.p.Apply(ctx, zone, []dns.Edit{a("192.0.2.1", ""), {Name: "vm2." + zone, Type: dns.A, Add: []string{"192.0.2.2"}}})
	for _, o := range out {
		if !errors.Is(o.Err, kvm.ErrUnknown) || !errors.Is(o.Err, context.Canceled) || o.Changed {
			t.Errorf("%+v", o)
		}
	}
	if len(f.Calls()) != 2 {
		t.Errorf("%+v", f.Calls())
	}
	f.is(t, "192.0.2.9", "192.0.2.1")
	if out := f.apply(t, a("192.0.2.1", "192.0.2.9")); out[0].Err != nil {
		t.Errorf("the turn was not given back, or the record not seen: %+v", out)
	}
	f.is(t, "192.0.2.1")
}

// TestNothingCanBeSeen: after an error of an add the list fails, too.
func TestNothingCanBeSeen(t *testing.T) {
	f := newFixture(t, options)
	f.Fail(hestiasim.Fault{Command: hestiasim.Add, Acts: true, Exit: 20})
	f.Fail(hestiasim.Fault{Command: hestiasim.List, Skip: 1, Times: 2, Status: 503, Body: "later"})
	out := f.apply(t, a("192.0.2.1", ""))
	if err := out[0].Err; !errors.Is(err, kvm.ErrUnknown) || errors.Is(err, kvm.ErrRefused) || !strings.Contains(err.Error(), "exit 20") || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
	f.Fail(hestiasim.Fault{Command: hestiasim.Delete, Acts: true, Exit: 20})
	f.Heal()
	f.Fail(hestiasim.Fault{Command: hestiasim.List, Skip: 1, Status: 503})
	put(f.Server, zone, "vm3."+zone, dns.A, "192.0.2.3")
	out = f.apply(t, a("192.0.2.7", "192.0.2.1")) // the list before the delete fails
	if !errors.Is(out[0].Err, kvm.ErrBusy) || !out[0].Changed || f.count(hestiasim.Delete) != 0 {
		t.Errorf("%+v", out)
	}
}

// TestNothingWasSent: an add that reached nobody has changed nothing, whether the zone can be listed or not.
func TestNothingWasSent(t *testing.T) {
	f := newFixture(t, options)
	b := &batch{Provider: f.p, zone: zone, edits: []dns.Edit{a("192.0.2.1", "")}, out: make([]dns.Outcome, 1)}
	if err := b.list(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.Provider = provider(t, options(f.Server)) // without the connection of before
	b.addAll(t.Context())
	if err := b.out[0].Err; !errors.Is(err, kvm.ErrUnreachable) || errors.Is(err, kvm.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// TestFullZone: after the first refusal for the limit or a suspension, the others are not tried.
func TestFullZone(t *testing.T) {
	for _, prepare := range []func(fixture){
		func(f fixture) { f.Limit(zone, 4) },
		func(f fixture) { f.Suspend(zone, true) },
	} {
		f := newFixture(t, options)
		put(f.Server, zone, vm, dns.A, "192.0.2.9")
		prepare(f)
		out := f.apply(t, dns.Edit{Name: vm, Type: dns.A, Add: []string{"192.0.2.1", "192.0.2.2"}, Remove: []string{"192.0.2.9"}},
			dns.Edit{Name: "vm2." + zone, Type: dns.A, Add: []string{"192.0.2.3"}}, dns.Edit{Name: "www." + zone, Type: dns.A, Remove: []string{"203.0.113.1"}})
		for _, o := range out[:2] {
			if !errors.Is(o.Err, kvm.ErrRefused) || o.Changed {
				t.Errorf("%+v", o)
			}
		}
		if f.count(hestiasim.Add) != 1 || out[2].Err != nil {
			t.Errorf("%d adds, %+v", f.count(hestiasim.Add), out)
		}
		f.is(t, "192.0.2.9") // a name is never left without any value
	}
}

// TestSuspendedRow: it is not served, so it is no value that is there; and it goes with the others.
func TestSuspendedRow(t *testing.T) {
	f := newFixture(t, options)
	f.Put(zone, hestiasim.Record{Record: "vm1", Type: "A", Value: "192.0.2.1", Suspended: true})
	done(t, f.apply(t, a("192.0.2.1", "")))
	f.is(t, "192.0.2.1", "192.0.2.1")
	done(t, f.apply(t, a("", "192.0.2.1")))
	f.is(t)
}

// TestLastA: HestiaCP keeps the last A record of a zone, by whatever login.
func TestLastA(t *testing.T) {
	for _, login := range []func(*hestiasim.Server) Options{options, byHash} {
		f := newFixture(t, login)
		put(f.Server, zone, vm, dns.AAAA, "2001:db8::1")
		out := f.apply(t, dns.Edit{Name: "www." + zone, Type: dns.A, Remove: []string{"203.0.113.1"}}, dns.Edit{Name: vm, Type: dns.AAAA, Remove: []string{"2001:db8::1"}})
		if !errors.Is(out[0].Err, kvm.ErrRefused) || !strings.Contains(kvm.Hint(out[0].Err), "last A record") || out[0].Changed || out[1].Err != nil || !out[1].Changed {
			t.Errorf("%+v", out)
		}
	}
}

// TestPTR: HestiaCP puts a final dot behind the value.
func TestPTR(t *testing.T) {
	f := newFixture(t, options)
	const reverse = "2.0.192.in-addr.arpa"
	e := dns.Edit{Name: "7." + reverse, Type: dns.PTR, Add: []string{vm}, Only: true}
	for _, changed := range []bool{true, false} {
		if out := f.p.Apply(t.Context(), reverse, []dns.Edit{e}); out[0].Err != nil || out[0].Changed != changed {
			t.Errorf("%+v", out)
		}
		if got := values(f.Server, reverse, e.Name, dns.PTR); !slices.Equal(got, []string{vm + "."}) {
			t.Errorf("%v", got)
		}
	}
	if out := f.p.Apply(t.Context(), reverse, []dns.Edit{{Name: e.Name, Type: dns.PTR, Remove: e.Add}}); out[0].Err != nil || len(values(f.Server, reverse, e.Name, dns.PTR)) != 0 {
		t.Errorf("%+v", out)
	}
}

// TestSpellingOfAZone: HestiaCP's DOMAIN is compared as it is typed, and takes no slash.
func TestSpellingOfAZone(t *testing.T) {
	f := newFixture(t, options)
	f.AddZone(owner, "Other.Test")
	e := dns.Edit{Name: "vm1.other.test", Type: dns.A, Add: []string{"192.0.2.1"}}
	if out := f.p.Apply(t.Context(), "other.test", []dns.Edit{e}); !errors.Is(out[0].Err, kvm.ErrNotFound) || !strings.Contains(kvm.Hint(out[0].Err), "capitals") {
		t.Errorf("%+v", out)
	}
	done(t, f.p.Apply(t.Context(), "Other.Test", []dns.Edit{e}))
	if rows := f.Records("Other.Test"); rows[2].Record != "vm1" {
		t.Errorf("%+v", rows)
	}
	const dashed = "128-255.2.0.192.in-addr.arpa"
	f.AddZone(owner, dashed)
	done(t, f.p.Apply(t.Context(), dashed, []dns.Edit{{Name: "200." + dashed, Type: dns.PTR, Add: []string{vm}, Only: true}}))
	if err := f.p.Check(t.Context(), "128/25.2.0.192.in-addr.arpa"); !errors.Is(err, kvm.ErrRefused) || !strings.Contains(kvm.Hint(err), dashed) {
		t.Errorf("%v (%s)", err, kvm.Hint(err))
	}
}
