package cloudflare

import (
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/dns/dnstest"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

func TestProvider(t *testing.T) {
	for name, o := range map[string]cloudflaresim.Options{
		"HTTP/2":                   {},
		"HTTP/1.1":                 {HTTP1: true},
		"pages of two":             {PerPage: 2},
		"batches of three":         {BatchLimit: 3},
		"hidden zones, code 81057": {Hidden: true, Exists: 81057},
	} {
		t.Run(name, func(t *testing.T) {
			o.Tokens = []cloudflaresim.Token{{Text: token}}
			sim, err := cloudflaresim.Start("127.0.0.1:0", o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = sim.Close() })
			for _, z := range []string{dnstest.Zone, dnstest.Reverse4, dnstest.Reverse6, dnstest.Classless} {
				sim.AddZone(z)
			}
			dnstest.Run(t, server(sim))
		})
	}
}

// server is sim as the suite wants it.
func server(sim *cloudflaresim.Server) *dnstest.Server {
	put := func(t *testing.T, zone string, r cloudflaresim.Record) {
		t.Helper()
		if _, err := sim.Put(zone, r); err != nil {
			t.Fatal(err)
		}
	}
	return &dnstest.Server{
		Addr:   sim.Addr,
		Secret: token,
		New: func(t *testing.T, addr string, right bool) dns.Provider {
			t.Helper()
			o := Options{URL: "https://" + addr + "/client/v4/", Token: kvm.NewSecret(token), Trust: trust.Trust{Pins: []string{sim.Fingerprint}}}
			if !right {
				o.Token = kvm.NewSecret("another" + token)
			}
			p, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		Put: func(t *testing.T, zone, name string, typ dns.Type, value string) {
			t.Helper()
			put(t, zone, cloudflaresim.Record{Name: name, Type: string(typ), Content: value})
		},
		Values: func(t *testing.T, zone, name string, typ dns.Type) []string {
			t.Helper()
			var out []string
			for _, r := range sim.Records(zone) {
				if r.Name == name && r.Type == string(typ) {
					out = append(out, r.Content)
				}
			}
			return out
		},
		Refused: func(t *testing.T) dns.Edit {
			t.Helper()
			name := "alias." + dnstest.Zone
			put(t, dnstest.Zone, cloudflaresim.Record{Name: name, Type: "CNAME", Content: "elsewhere.example.net"})
			return dns.Edit{Name: name, Type: dns.A, Add: []string{"192.0.2.99"}}
		},
	}
}
