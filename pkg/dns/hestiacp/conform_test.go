package hestiacp

import (
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/dnstest"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	owner    = "alice"
	keyID    = "KEYKEYKEYKEYKEYKEY01"
	ownKey   = "KEYKEYKEYKEYKEYKEY02"
	weakKey  = "KEYKEYKEYKEYKEYKEY03"
	secret   = "s3cret/with+odd=signs~s3cret/with+odd=si"
	password = `pass "word" & <more>`
	legacy   = "legacy/hash+0123456789"
	zone     = dnstest.Zone
	vm       = "vm1." + zone
)

// sim is a HestiaCP with the suite's zones, each with another A record.
func sim(t testing.TB, edit func(*hestiasim.Options)) *hestiasim.Server {
	t.Helper()
	o := hestiasim.Options{Password: password, Hash: legacy, Keys: []hestiasim.Key{
		{ID: keyID, Secret: secret, User: "admin"},
		{ID: ownKey, Secret: secret, User: owner, Commands: []string{hestiasim.List, hestiasim.Add, hestiasim.Delete}},
		{ID: weakKey, Secret: secret, User: owner, Commands: hestiasim.Shipped},
	}}
	if edit != nil {
		edit(&o)
	}
	s, err := hestiasim.Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, name := range []string{zone, dnstest.Reverse4, dnstest.Reverse6} {
		s.AddZone(owner, name)
	}
	s.Put(zone, hestiasim.Record{Record: "www", Type: "A", Value: "203.0.113.1"})
	return s
}

// options log in with the administrator's key.
func options(s *hestiasim.Server) Options {
	return Options{URL: s.URL, User: owner, Key: keyID, Secret: kvm.NewSecret(secret), Trust: trust.Trust{Pins: []string{s.Fingerprint}}}
}

func byHash(s *hestiasim.Server) Options {
	o := options(s)
	o.Key, o.Secret = "", kvm.NewSecret(legacy)
	return o
}

func byPassword(s *hestiasim.Server) Options {
	o := options(s)
	o.Key, o.Admin, o.Secret = "", "admin", kvm.NewSecret(password)
	return o
}

func provider(t testing.TB, o Options) *Provider {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// values are those of name and type, as the zone's rows have them.
func values(s *hestiasim.Server, zone, name string, typ dns.Type) []string {
	var out []string
	for _, r := range s.Records(zone) {
		at := r.Record + "." + zone
		if r.Record == "@" {
			at = zone
		}
		if at == name && r.Type == string(typ) {
			out = append(out, r.Value)
		}
	}
	return out
}

// put adds a record as another writer does. It gives the id.
func put(s *hestiasim.Server, zone, name string, typ dns.Type, value string) int {
	return s.Put(zone, hestiasim.Record{Record: relative(name, zone), Type: string(typ), Value: value})
}

func TestConformance(t *testing.T) {
	s := sim(t, nil)
	dnstest.Run(t, &dnstest.Server{
		Addr: s.Addr, Secret: secret, NoClassless: true,
		New: func(t *testing.T, addr string, right bool) dns.Provider {
			o := options(s)
			o.URL = "https://" + addr
			if !right {
				o.Secret = kvm.NewSecret(strings.ToUpper(secret))
			}
			return provider(t, o)
		},
		Put: func(t *testing.T, zone, name string, typ dns.Type, value string) {
			if typ == dns.PTR {
				value += "."
			}
			put(s, zone, name, typ, value)
		},
		Values: func(t *testing.T, zone, name string, typ dns.Type) []string { return values(s, zone, name, typ) },
		Refused: func(t *testing.T) dns.Edit {
			return dns.Edit{Name: "no--such." + zone, Type: dns.A, Add: []string{"192.0.2.99"}}
		},
	})
	for _, c := range s.Calls() {
		if c.URI != "/api/" || len(c.Numbers) != arguments {
			t.Fatalf("%+v: want all arguments, and nothing in the URL", c)
		}
		if strings.Contains(strings.ToLower(strings.Join(c.Args, " ")), secret) {
			t.Fatalf("%+v: the secret stands in an argument", c)
		}
	}
}
