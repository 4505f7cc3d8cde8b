package powerdns_test

import (
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/dnstest"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns/pdnstest"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestProvider(t *testing.T) {
	s := pdnstest.New(t)
	for _, zone := range []string{dnstest.Zone, dnstest.Reverse4, dnstest.Reverse6, dnstest.Classless} {
		s.Zone(t, zone, "Native")
	}
	dnstest.Run(t, &dnstest.Server{
		Addr:   s.Addr(),
		Secret: s.Key,
		New: func(t *testing.T, addr string, right bool) dns.Provider {
			key := s.Key
			if !right {
				key = "wrong-" + key
			}
			return provider(t, powerdns.Options{URL: "http://" + addr, Key: kvm.NewSecret(key)})
		},
		Put: func(t *testing.T, zone, name string, typ dns.Type, value string) {
			if typ == dns.PTR {
				value += "."
			}
			s.Put(t, zone, name, string(typ), value)
		},
		Values: func(t *testing.T, _, name string, typ dns.Type) []string { return s.Values(t, name, string(typ)) },
		Refused: func(t *testing.T) dns.Edit {
			s.Put(t, dnstest.Zone, "alias."+dnstest.Zone, "CNAME", "www.example.net.")
			return dns.Edit{Name: "alias." + dnstest.Zone, Type: dns.A, Add: []string{"192.0.2.99"}}
		},
	})
}

func provider(t *testing.T, o powerdns.Options) *powerdns.Provider {
	t.Helper()
	p, err := powerdns.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
