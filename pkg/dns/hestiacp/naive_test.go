package hestiacp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Each test here is something that HestiaCP does and that a client which does not know it fails by.

// foreign is a row of somebody else's that must never go.
var foreign = hestiasim.Record{Record: "mail", Type: "TXT", Value: "foreign"}

func (f fixture) foreignStays(t *testing.T) {
	t.Helper()
	if !slices.ContainsFunc(f.Records(zone), func(r hestiasim.Record) bool { return r.Value == foreign.Value }) {
		t.Errorf("somebody else's record is gone: %+v", f.Records(zone))
	}
}

// fixture is a stand-in and a provider that talks to it.
type fixture struct {
	*hestiasim.Server
	p *Provider
}

func newFixture(t *testing.T, login func(*hestiasim.Server) Options) fixture {
	s := sim(t, nil)
	return fixture{s, provider(t, login(s))}
}

// apply makes edits so.
func (f fixture) apply(t *testing.T, edits ...dns.Edit) []dns.Outcome {
	t.Helper()
	out := f.p.Apply(t.Context(), zone, edits)
	if len(out) != len(edits) {
		t.Fatalf("%d outcomes", len(out))
	}
	return out
}

// done wants every edit changed, without an error.
func done(t *testing.T, out []dns.Outcome) {
	t.Helper()
	for _, o := range out {
		if o.Err != nil || !o.Changed {
			t.Fatalf("%+v", o)
		}
	}
}

// is wants just these values at vm.
func (f fixture) is(t *testing.T, want ...string) {
	t.Helper()
	if got := values(f.Server, zone, vm, dns.A); !slices.Equal(got, want) {
		t.Errorf("%s is %v, want %v", vm, got, want)
	}
}

// count is how often a command was called.
func (f fixture) count(command string) int {
	n := 0
	for _, c := range f.Calls() {
		if c.Command == command {
			n++
		}
	}
	return n
}

func a(add, remove string) dns.Edit {
	e := dns.Edit{Name: vm, Type: dns.A}
	if add != "" {
		e.Add = []string{add}
	}
	if remove != "" {
		e.Remove = []string{remove}
	}
	return e
}

// TestIDIsUsedAgain: while the new value is added, another writer deletes our old row and adds one, which gets its id.
func TestIDIsUsedAgain(t *testing.T) {
	f := newFixture(t, options)
	old := put(f.Server, zone, vm, dns.A, "192.0.2.1")
	f.On(hestiasim.Arrived, func(c hestiasim.Call) {
		if c.Command == hestiasim.Add {
			f.Remove(zone, old)
			if id := f.Put(zone, foreign); id != old {
				t.Errorf("the id is %d, want %d again", id, old)
			}
		}
	})
	done(t, f.apply(t, a("192.0.2.2", "192.0.2.1")))
	f.foreignStays(t)
	f.is(t, "192.0.2.2")
}

// TestIDIsUsedAgainBetweenDeletes is the same between the deletes of two values.
func TestIDIsUsedAgainBetweenDeletes(t *testing.T) {
	f := newFixture(t, options)
	put(f.Server, zone, vm, dns.A, "192.0.2.1")
	second := put(f.Server, zone, vm, dns.A, "192.0.2.2")
	var once sync.Once
	f.On(hestiasim.Changed, func(hestiasim.Call) {
		once.Do(func() {
			f.Remove(zone, second)
			r := foreign
			r.ID = second
			f.Put(zone, r)
		})
	})
	done(t, f.apply(t, dns.Edit{Name: vm, Type: dns.A, Remove: []string{"192.0.2.1", "192.0.2.2"}}))
	f.foreignStays(t)
	f.is(t)
}

// TestDuplicateIDs: a delete takes every row with the id, and the list has it as one JSON key twice.
func TestDuplicateIDs(t *testing.T) {
	for _, first := range []bool{true, false} { // a map keeps the last of two
		f := newFixture(t, options)
		rows := []hestiasim.Record{{ID: 7, Record: "vm1", Type: "A", Value: "192.0.2.1"}, {ID: 7, Record: "mail", Type: "TXT", Value: "foreign"}}
		if first {
			slices.Reverse(rows)
		}
		for _, r := range rows {
			f.Put(zone, r)
		}
		put(f.Server, zone, vm, dns.A, "192.0.2.1") // once more, with an id of its own
		out := f.apply(t, a("", "192.0.2.1"))
		f.foreignStays(t)
		f.is(t, "192.0.2.1")
		err := out[0].Err
		if !errors.Is(err, kvm.ErrRefused) || !out[0].Changed || f.count(hestiasim.Delete) != 1 {
			t.Fatalf("%+v, %d deletes: want the row with an id of its own deleted, and the other one refused", out, f.count(hestiasim.Delete))
		}
		for _, part := range []string{zone, "id 7", "mail.example.test TXT"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v: want %s in it", err, part)
			}
		}
		if hint := kvm.Hint(err); !strings.Contains(hint, "id 7") || !strings.Contains(hint, "$HESTIA/data/users/alice/dns/example.test.conf") {
			t.Errorf("hint %q", hint)
		}
	}
}

// TestDuplicateIDsOfOneValue: where every row with the id must go, the delete is what is wanted.
func TestDuplicateIDsOfOneValue(t *testing.T) {
	f := newFixture(t, options)
	for range 2 {
		f.Put(zone, hestiasim.Record{ID: 7, Record: "vm1", Type: "A", Value: "192.0.2.1"})
	}
	done(t, f.apply(t, a("", "192.0.2.1")))
	f.is(t)
	if n := f.count(hestiasim.Delete); n != 1 {
		t.Errorf("%d deletes", n)
	}
}

// TestAllArguments: HestiaCP lets arguments move up that come after an absent one.
func TestAllArguments(t *testing.T) {
	for name, login := range map[string]func(*hestiasim.Server) Options{"key": options, "hash": byHash, "password": byPassword} {
		f := newFixture(t, login)
		done(t, f.apply(t, a("192.0.2.1", "")))
		done(t, f.apply(t, a("", "192.0.2.1")))
		if err := f.p.Check(t.Context(), zone); err != nil {
			t.Error(err)
		}
		want := map[string]string{
			listRecords:  "[alice example.test json      ]",
			addRecord:    "[alice example.test vm1 A 192.0.2.1    3600]",
			deleteRecord: "[alice example.test 4      ]",
		}
		for i, c := range f.Calls() {
			if !slices.Equal(c.Numbers, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}) || i < 4 && fmt.Sprint(c.Args) != want[c.Command] {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}

// TestAddIsNoSet: HestiaCP takes the same record again, so what is there in any spelling must be seen.
func TestAddIsNoSet(t *testing.T) {
	f := newFixture(t, options)
	for _, r := range []hestiasim.Record{
		{Record: "vm1." + zone + ".", Type: "A", Value: "192.0.2.1"},
		{Record: "VM1", Type: "AAAA", Value: "2001:DB8:0::1"},
		{Record: zone + ".", Type: "A", Value: "192.0.2.2"},
		{Record: "ptr", Type: "PTR", Value: "VM1.Example.Test."},
	} {
		f.Put(zone, r)
	}
	out := f.apply(t, a("192.0.2.1", ""), dns.Edit{Name: vm, Type: dns.AAAA, Add: []string{"2001:db8::1"}}, dns.Edit{Name: zone, Type: dns.A, Add: []string{"192.0.2.2"}},
		dns.Edit{Name: "ptr." + zone, Type: dns.PTR, Add: []string{vm}, Only: true})
	for _, o := range out {
		if o.Err != nil || o.Changed {
			t.Errorf("%+v", o)
		}
	}
	if len(f.Calls()) != 1 {
		t.Errorf("%+v: want one list", f.Calls())
	}
}

// TestEveryRowOfAValueGoes: what was added twice is there twice.
func TestEveryRowOfAValueGoes(t *testing.T) {
	f := newFixture(t, options)
	for range 3 {
		put(f.Server, zone, vm, dns.A, "192.0.2.1")
	}
	done(t, f.apply(t, a("", "192.0.2.1")))
	f.is(t)
}

// TestConnections: an add on a connection that the server has just closed would be lost, or done.
func TestConnections(t *testing.T) {
	f := newFixture(t, options)
	done(t, f.apply(t, a("192.0.2.1", "")))
	done(t, f.apply(t, a("192.0.2.2", "192.0.2.1")))
	seen := map[string]bool{}
	for _, c := range f.Calls() {
		seen[c.From] = true
	}
	if len(seen) != len(f.Calls()) {
		t.Errorf("%d connections for %d calls", len(seen), len(f.Calls()))
	}
}

// TestOddTexts: what stands in a zone does not break an error's line.
func TestOddTexts(t *testing.T) {
	f := newFixture(t, options)
	id := f.Put(zone, hestiasim.Record{Record: "7", Type: "PTR", Value: `a\nb\u0007`})
	f.Put(zone, hestiasim.Record{ID: id, Record: `x\ny`, Type: `T\nX`, Value: "foreign"})
	out := f.apply(t, dns.Edit{Name: "7." + zone, Type: dns.PTR, Add: []string{vm}, Only: true})
	if err := out[0].Err; !errors.Is(err, kvm.ErrRefused) || strings.ContainsAny(err.Error()+kvm.Hint(err), "\n\a") {
		t.Errorf("%q (%q)", err, kvm.Hint(err))
	}
	f.foreignStays(t)
}
