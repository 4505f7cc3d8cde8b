package cmd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/rogpeppe/go-internal/testscript"
)

// What the stand-ins of DNS providers believe.
const (
	dnsSecret = "0123456789abcdef0123456789abcdef01234567"
	hestiaKey = "ABCDEFGHIJ0123456789"
	hestiaOf  = "dnsowner" // who has the zones
)

// dnsStandIn is a DNS provider's stand-in.
type dnsStandIn interface {
	addZone(name string)
	put(zone, name, typ, value string) error
	records(zone string) []string
	hang()
	refuse()
	Heal()
	address() (url, pin string)
}

type hestiaStandIn struct{ *hestiasim.Server }

// startHestia starts one in which a command takes work: adds that run side by side get one id then.
func startHestia(t testing.TB, work time.Duration) hestiaStandIn {
	t.Helper()
	s, err := hestiasim.Start("127.0.0.1:0", hestiasim.Options{Keys: []hestiasim.Key{{ID: hestiaKey, Secret: dnsSecret, User: hestiaOf,
		Commands: []string{hestiasim.List, hestiasim.Add, hestiasim.Delete}}}, Work: work})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return hestiaStandIn{s}
}

func (h hestiaStandIn) addZone(name string)      { h.AddZone(hestiaOf, name) }
func (h hestiaStandIn) hang()                    { h.Fail(hestiasim.Fault{Times: hestiasim.Always, Hang: true}) }
func (h hestiaStandIn) address() (_, pin string) { return h.URL, h.Fingerprint }

func (h hestiaStandIn) refuse() {
	for _, c := range []string{hestiasim.Add, hestiasim.Delete} {
		h.Fail(hestiasim.Fault{Command: c, Times: hestiasim.Always, Exit: 8, Output: "Error: DNS records limit is reached"})
	}
}

func (h hestiaStandIn) put(zone, name, typ, value string) error {
	h.Put(zone, hestiasim.Record{Record: name, Type: typ, Value: value})
	return nil
}

func (h hestiaStandIn) records(zone string) (out []string) {
	for _, r := range h.Records(zone) {
		if r.Type != "NS" {
			out = append(out, r.Record+" "+r.Type+" "+r.Value)
		}
	}
	return out
}

type cloudflareStandIn struct{ *cloudflaresim.Server }

func startCloudflare(t testing.TB, c clock.Clock) cloudflareStandIn {
	t.Helper()
	s, err := cloudflaresim.Start("127.0.0.1:0", cloudflaresim.Options{Tokens: []cloudflaresim.Token{{Text: dnsSecret}}, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return cloudflareStandIn{s}
}

func (c cloudflareStandIn) addZone(name string) { c.AddZone(name) }
func (c cloudflareStandIn) hang() {
	c.Fail(cloudflaresim.Fault{Times: cloudflaresim.Always, Hang: true})
}
func (c cloudflareStandIn) address() (_, pin string) { return c.URL, c.Fingerprint }

func (c cloudflareStandIn) refuse() {
	for _, m := range []string{"POST", "DELETE"} {
		c.Fail(cloudflaresim.Fault{Method: m, Times: cloudflaresim.Always, Status: 400, Code: 9005, Message: "Content for A record is invalid."})
	}
}

func (c cloudflareStandIn) put(zone, name, typ, value string) error {
	_, err := c.Put(zone, cloudflaresim.Record{Name: name, Type: typ, Content: value})
	return err
}

func (c cloudflareStandIn) records(zone string) (out []string) {
	for _, r := range c.Records(zone) {
		out = append(out, r.Name+" "+r.Type+" "+r.Content)
	}
	return out
}

func (s *script) dns(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "dns KIND ZONE... | put KIND ZONE NAME TYPE VALUE | records KIND ZONE | hang KIND | refuse KIND | heal KIND"
	want(ts, neg, args, 2, usage)
	if s.names == nil {
		s.names = map[string]dnsStandIn{}
	}
	of := func() dnsStandIn {
		p := s.names[args[1]]
		if p == nil {
			ts.Fatalf("there is no %s", args[1])
		}
		return p
	}
	switch args[0] {
	case "put":
		want(ts, neg, args, 6, usage)
		ts.Check(of().put(args[2], args[3], args[4], args[5]))
	case "records":
		want(ts, neg, args, 3, usage)
		list := of().records(args[2])
		slices.Sort(list)
		for _, line := range list {
			fmt.Fprintln(ts.Stdout(), line)
		}
	case "hang":
		of().hang()
	case "refuse":
		of().refuse()
	case "heal":
		of().Heal()
	default:
		var p dnsStandIn
		switch args[0] {
		case "hestiacp":
			p = startHestia(s.t, 0)
		case "cloudflare":
			p = startCloudflare(s.t, s.w.clock)
		default:
			ts.Fatalf("usage: %s", usage)
		}
		for _, zone := range args[1:] {
			p.addZone(zone)
		}
		s.names[args[0]] = p
		url, pin := p.address()
		ts.Setenv(strings.ToUpper(args[0])+"_URL", url)
		ts.Setenv(strings.ToUpper(args[0])+"_PIN", pin)
	}
}

func (s *script) tickets(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "tickets N")
	list := s.w.api.Tickets()
	if len(list) != number(ts, args[0]) {
		ts.Fatalf("%d tickets: %+v", len(list), list)
	}
	if len(list) > 0 {
		t := list[len(list)-1]
		fmt.Fprintf(ts.Stdout(), "department %d client %d service %d: %s\n%s\n", t.Department, t.ClientID, t.ServiceID, t.Subject, t.Message)
	}
}
