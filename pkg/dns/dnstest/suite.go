package dnstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// The zones that a server under test has.
const (
	Zone      = "example.test"
	Reverse4  = "2.0.192.in-addr.arpa"
	Reverse6  = "8.b.d.0.1.0.0.2.ip6.arpa"
	Classless = "128/25.2.0.192.in-addr.arpa"
	Missing   = "nowhere.test"
)

// Server is a provider's server with the zones above, freshly made.
type Server struct {
	Addr   string // host:port, where the proxy goes
	Secret string // what must not stand in any error
	// New makes a provider that talks to the server at addr, with credentials that are right or wrong.
	New func(t *testing.T, addr string, right bool) dns.Provider
	// Put adds a value past the provider, as another user of the zone does.
	Put func(t *testing.T, zone, name string, typ dns.Type, value string)
	// Values are those of name and type, asked past the provider.
	Values func(t *testing.T, zone, name string, typ dns.Type) []string
	// NoClassless: the server has no zone with a name like Classless.
	NoClassless bool
	// Refused makes the server refuse what the edit that it gives asks for, and nothing else.
	Refused func(t *testing.T) dns.Edit
}

// patience is for what must come without delay.
const patience = 20 * time.Second

type suite struct {
	*Server
	t        *testing.T
	provider dns.Provider
}

// Run holds the provider to what dns.Provider promises.
func Run(t *testing.T, s *Server) {
	for name, part := range map[string]func(*suite){
		"set and delete":       (*suite).setAndDelete,
		"foreign values":       (*suite).foreignValues,
		"another's PTR":        (*suite).anothersPTR,
		"many addresses":       (*suite).manyAddresses,
		"many names":           (*suite).manyNames,
		"IPv6":                 (*suite).ipv6,
		"apex":                 (*suite).apex,
		"classless":            (*suite).classless,
		"side by side":         (*suite).sideBySide,
		"cancelled":            (*suite).cancelled,
		"down":                 (*suite).down,
		"silent":               (*suite).silent,
		"slow":                 (*suite).slow,
		"wrong key":            (*suite).wrongKey,
		"no such zone":         (*suite).noSuchZone,
		"one is refused":       (*suite).oneRefused,
		"add before remove":    (*suite).replace,
		"nothing to do":        (*suite).nothing,
		"a zone that is there": (*suite).check,
		"printed":              (*suite).printed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			part(&suite{Server: s, t: t, provider: s.New(t, s.Addr, true)})
		})
	}
}

// apply makes edits so, and wants no error.
func (s *suite) apply(zone string, edits ...dns.Edit) []dns.Outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*patience)
	defer cancel()
	out := s.provider.Apply(ctx, zone, edits)
	if len(out) != len(edits) {
		s.t.Fatalf("%d outcomes for %d edits", len(out), len(edits))
	}
	for i, o := range out {
		if o.Err != nil {
			s.t.Fatalf("%+v: %v", edits[i], o.Err)
		}
	}
	return out
}

// is wants just these values.
func (s *suite) is(zone, name string, typ dns.Type, want ...string) {
	s.t.Helper()
	var got []string
	for _, v := range s.Values(s.t, zone, name, typ) {
		got = append(got, dns.Canonical(typ, v))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Fatalf("%s %s is %v, want %v", name, typ, got, want)
	}
}

func (s *suite) setAndDelete() {
	set := []dns.Edit{{Name: "vm1." + Zone, Type: dns.A, Add: []string{"192.0.2.11"}}}
	for _, changed := range []bool{true, false, false} {
		if out := s.apply(Zone, set...); out[0].Changed != changed {
			s.t.Fatalf("changed %t, want %t", out[0].Changed, changed)
		}
		s.is(Zone, "vm1."+Zone, dns.A, "192.0.2.11")
	}
	remove := dns.Edit{Name: "vm1." + Zone, Type: dns.A, Remove: []string{"192.0.2.11", "192.0.2.99"}}
	for _, changed := range []bool{true, false} {
		if out := s.apply(Zone, remove); out[0].Changed != changed {
			s.t.Fatalf("changed %t, want %t", out[0].Changed, changed)
		}
		s.is(Zone, "vm1."+Zone, dns.A)
	}
}

func (s *suite) foreignValues() {
	name := "vm2." + Zone
	s.Put(s.t, Zone, name, dns.A, "203.0.113.7")
	s.Put(s.t, Zone, name, dns.AAAA, "2001:db8::77")
	s.apply(Zone, dns.Edit{Name: name, Type: dns.A, Add: []string{"192.0.2.12"}})
	s.is(Zone, name, dns.A, "192.0.2.12", "203.0.113.7")
	s.apply(Zone, dns.Edit{Name: name, Type: dns.A, Remove: []string{"192.0.2.12"}}, dns.Edit{Name: name, Type: dns.AAAA, Remove: []string{"2001:db8::12"}})
	s.is(Zone, name, dns.A, "203.0.113.7")
	s.is(Zone, name, dns.AAAA, "2001:db8::77")
}

func (s *suite) anothersPTR() {
	name := "13." + Reverse4
	s.Put(s.t, Reverse4, name, dns.PTR, "former-owner.example.net")
	s.apply(Reverse4, dns.Edit{Name: name, Type: dns.PTR, Remove: []string{"vm3." + Zone}})
	s.is(Reverse4, name, dns.PTR, "former-owner.example.net")
	s.apply(Reverse4, dns.Edit{Name: name, Type: dns.PTR, Add: []string{"vm3." + Zone}, Only: true})
	s.is(Reverse4, name, dns.PTR, "vm3."+Zone)
	s.apply(Reverse4, dns.Edit{Name: name, Type: dns.PTR, Remove: []string{"vm3." + Zone}})
	s.is(Reverse4, name, dns.PTR)
}

func (s *suite) manyAddresses() {
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("192.0.2.%d", 40+i))
	}
	name := "vm4." + Zone
	s.apply(Zone, dns.Edit{Name: name, Type: dns.A, Add: all[:12]})
	s.is(Zone, name, dns.A, all[:12]...)
	s.apply(Zone, dns.Edit{Name: name, Type: dns.A, Add: all[8:], Remove: all[:8]})
	s.is(Zone, name, dns.A, slices.Clone(all[8:])...)
	s.apply(Zone, dns.Edit{Name: name, Type: dns.A, Remove: all})
	s.is(Zone, name, dns.A)
}

func (s *suite) manyNames() {
	var set, gone []dns.Edit
	for i := range 12 {
		e := dns.Edit{Name: fmt.Sprintf("%d.%s", 60+i, Reverse4), Type: dns.PTR, Add: []string{"vm5." + Zone}, Only: true}
		set = append(set, e)
		gone = append(gone, dns.Edit{Name: e.Name, Type: dns.PTR, Remove: e.Add})
	}
	s.Put(s.t, Reverse4, set[3].Name, dns.PTR, "former-owner.example.net")
	s.apply(Reverse4, set...)
	for _, e := range set {
		s.is(Reverse4, e.Name, dns.PTR, "vm5."+Zone)
	}
	s.apply(Reverse4, gone...)
	for _, e := range set {
		s.is(Reverse4, e.Name, dns.PTR)
	}
}

func (s *suite) ipv6() {
	name, reverse := "vm6."+Zone, "6.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."+Reverse6
	s.apply(Zone, dns.Edit{Name: name, Type: dns.AAAA, Add: []string{"2001:db8::16", "2001:db8::1:16"}}, dns.Edit{Name: name, Type: dns.A, Add: []string{"192.0.2.16"}})
	s.is(Zone, name, dns.AAAA, "2001:db8::16", "2001:db8::1:16")
	s.is(Zone, name, dns.A, "192.0.2.16")
	if out := s.apply(Zone, dns.Edit{Name: name, Type: dns.AAAA, Add: []string{"2001:db8::16"}}); out[0].Changed {
		s.t.Fatal("an address that is there was set again")
	}
	s.apply(Reverse6, dns.Edit{Name: reverse, Type: dns.PTR, Add: []string{name}, Only: true})
	s.is(Reverse6, reverse, dns.PTR, name)
	s.apply(Reverse6, dns.Edit{Name: reverse, Type: dns.PTR, Remove: []string{name}})
	s.is(Reverse6, reverse, dns.PTR)
}

func (s *suite) apex() {
	s.Put(s.t, Zone, Zone, dns.A, "203.0.113.8")
	s.apply(Zone, dns.Edit{Name: Zone, Type: dns.A, Add: []string{"192.0.2.17"}})
	s.is(Zone, Zone, dns.A, "192.0.2.17", "203.0.113.8")
	s.apply(Zone, dns.Edit{Name: Zone, Type: dns.A, Remove: []string{"192.0.2.17"}})
	s.is(Zone, Zone, dns.A, "203.0.113.8")
}

func (s *suite) classless() {
	if s.NoClassless {
		return
	}
	name := "200." + Classless
	s.apply(Classless, dns.Edit{Name: name, Type: dns.PTR, Add: []string{"vm7." + Zone}, Only: true})
	s.is(Classless, name, dns.PTR, "vm7."+Zone)
}

// sideBySide uses one provider from many sides.
func (s *suite) sideBySide() {
	const many = 8
	var wg sync.WaitGroup
	var want []string
	errs := make(chan error, 3*many)
	for i := range many {
		value := fmt.Sprintf("192.0.2.%d", 80+i)
		want = append(want, value)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.t.Context(), 6*patience)
			defer cancel()
			for _, e := range [][]dns.Edit{
				{{Name: "shared8." + Zone, Type: dns.A, Add: []string{value}}},
				{{Name: fmt.Sprintf("own8-%d.%s", i, Zone), Type: dns.A, Add: []string{value}}},
			} {
				for _, o := range s.provider.Apply(ctx, Zone, e) {
					errs <- o.Err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			s.t.Error(err)
		}
	}
	s.is(Zone, "shared8."+Zone, dns.A, slices.Clone(want)...)
	for i, value := range want {
		s.is(Zone, fmt.Sprintf("own8-%d.%s", i, Zone), dns.A, value)
	}
	s.apply(Zone, dns.Edit{Name: "shared8." + Zone, Type: dns.A, Remove: want[:4]})
	s.is(Zone, "shared8."+Zone, dns.A, slices.Clone(want[4:])...)
}

// failing is an edit that must fail with one of the sentinels, within patience.
func (s *suite) failing(ctx context.Context, p dns.Provider, zone string, sentinels ...error) {
	s.t.Helper()
	began := time.Now()
	edits := []dns.Edit{{Name: "vm9." + zone, Type: dns.A, Add: []string{"192.0.2.19"}}, {Name: "vm10." + zone, Type: dns.A, Add: []string{"192.0.2.20"}}}
	out := p.Apply(ctx, zone, edits)
	if len(out) != 2 {
		s.t.Fatalf("%d outcomes", len(out))
	}
	for _, o := range out {
		s.told(o.Err, sentinels...)
		if o.Changed {
			s.t.Error("it says that something was changed")
		}
	}
	s.told(p.Check(ctx, zone), sentinels...)
	if took := time.Since(began); took > patience {
		s.t.Errorf("it took %v", took)
	}
}

func (s *suite) told(err error, sentinels ...error) {
	s.t.Helper()
	if err == nil {
		s.t.Fatal("no error")
	}
	if !slices.ContainsFunc(sentinels, func(want error) bool { return errors.Is(err, want) }) {
		s.t.Errorf("%v is none of %v", err, sentinels)
	}
	text := err.Error() + kvm.Hint(err)
	if strings.Contains(text, s.Secret) || strings.ContainsAny(text, "\n\r\t") {
		s.t.Errorf("%q", text)
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	s.failing(ctx, s.provider, Zone, context.Canceled)
	s.is(Zone, "vm9."+Zone, dns.A)
}

func (s *suite) down() {
	proxy := NewProxy(s.t, s.Addr)
	p := s.New(s.t, proxy.Addr(), true)
	proxy.Close()
	s.failing(s.t.Context(), p, Zone, kvm.ErrUnreachable)
}

func (s *suite) silent() {
	proxy := NewProxy(s.t, s.Addr)
	p := s.New(s.t, proxy.Addr(), true)
	proxy.Silence()
	ctx, cancel := context.WithTimeout(s.t.Context(), 300*time.Millisecond)
	defer cancel()
	s.failing(ctx, p, Zone, kvm.ErrUnknown, kvm.ErrUnreachable)
}

func (s *suite) slow() {
	proxy := NewProxy(s.t, s.Addr)
	s.provider = s.New(s.t, proxy.Addr(), true)
	proxy.Slow(100 * time.Millisecond)
	s.apply(Zone, dns.Edit{Name: "vm11." + Zone, Type: dns.A, Add: []string{"192.0.2.21"}})
	s.is(Zone, "vm11."+Zone, dns.A, "192.0.2.21")
}

func (s *suite) wrongKey() {
	s.failing(s.t.Context(), s.New(s.t, s.Addr, false), Zone, kvm.ErrAuth)
}

func (s *suite) noSuchZone() {
	s.failing(s.t.Context(), s.provider, Missing, kvm.ErrNotFound)
}

// oneRefused wants the edits beside one that is refused to be made.
func (s *suite) oneRefused() {
	bad := s.Refused(s.t)
	edits := []dns.Edit{{Name: "vm12." + Zone, Type: dns.A, Add: []string{"192.0.2.22"}}, bad, {Name: "vm13." + Zone, Type: dns.A, Add: []string{"192.0.2.23"}}}
	out := s.provider.Apply(s.t.Context(), Zone, edits)
	if len(out) != 3 || out[0].Err != nil || out[2].Err != nil || !out[0].Changed || !out[2].Changed {
		s.t.Fatalf("%+v", out)
	}
	s.told(out[1].Err, kvm.ErrRefused)
	s.is(Zone, "vm12."+Zone, dns.A, "192.0.2.22")
	s.is(Zone, "vm13."+Zone, dns.A, "192.0.2.23")
}

func (s *suite) replace() {
	name := "vm14." + Zone
	s.apply(Zone, dns.Edit{Name: name, Type: dns.A, Add: []string{"192.0.2.24"}})
	if out := s.apply(Zone, dns.Edit{Name: name, Type: dns.A, Add: []string{"192.0.2.25"}, Remove: []string{"192.0.2.24"}}); !out[0].Changed {
		s.t.Error("it says that nothing was changed")
	}
	s.is(Zone, name, dns.A, "192.0.2.25")
}

func (s *suite) nothing() {
	if out := s.provider.Apply(s.t.Context(), Zone, nil); len(out) != 0 {
		s.t.Fatalf("%+v", out)
	}
}

func (s *suite) check() {
	for _, zone := range []string{Zone, Reverse4, Reverse6} {
		if err := s.provider.Check(s.t.Context(), zone); err != nil {
			s.t.Errorf("%s: %v", zone, err)
		}
	}
}

// printed: whoever prints a provider by mistake prints no secret.
func (s *suite) printed() {
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(format, s.provider); strings.Contains(text, s.Secret) {
			s.t.Errorf("%s prints the secret: %s", format, text)
		}
	}
}
