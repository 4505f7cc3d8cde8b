package cmd

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns/pdnstest"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
)

const (
	benchVMs       = 200
	benchAddresses = 64
	benchForward   = "bench.cmd.test"
	benchReverse   = "18.198.in-addr.arpa"
	// hestiaWork is how long a command of the stand-in takes. The real one was seen to need 0.9 s.
	hestiaWork = 5 * time.Millisecond
	// cloudflareSpeed is how much faster than the wall's the clock is by which the limit of Cloudflare's API counts.
	cloudflareSpeed = 100
)

// nameBench is a provider with its server under the benchmark.
type nameBench struct {
	provider  dns.Provider
	oneWriter bool
	clock     clock.Clock
	requests  func() int
	// least is what the server alone needs for so many requests, one after the other or under its limit.
	least func(requests int) time.Duration
}

// BenchmarkDNS sets and removes the names of 200 VMs with an address each, all at once, and of one VM with 64 addresses: what
// that takes beside what the server alone needs for the requests. The lease is the database's.
func BenchmarkDNS(b *testing.B) {
	for name, start := range map[string]func(*testing.B) nameBench{"PowerDNS": benchPowerDNS, "HestiaCP": benchHestiaCP, "Cloudflare": benchCloudflare} {
		b.Run(name, func(b *testing.B) {
			for _, c := range []struct{ vms, addresses int }{{benchVMs, 1}, {1, benchAddresses}} {
				b.Run(fmt.Sprintf("%dVMs-%dAddresses", c.vms, c.addresses), func(b *testing.B) { benchNames(b, start(b), c.vms, c.addresses) })
			}
		})
	}
}

func benchNames(b *testing.B, p nameBench, vms, addresses int) {
	w := newWorld(b, scene{})
	d, err := whmcs.ParseDSN(w.db.DSN)
	if err != nil {
		b.Fatal(err)
	}
	store, err := whmcs.Open(b.Context(), d, whmcs.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	syncer := dns.NewSyncer(dns.Options{Clock: p.clock, Timeout: time.Hour, Patience: time.Hour, Lease: store, Owner: "bench"})
	zones := []dns.Zone{
		{ID: 1, Name: benchForward, Kind: "bench", Provider: p.provider, Server: "bench", OneWriter: p.oneWriter},
		{ID: 2, Name: benchReverse, Kind: "bench", Provider: p.provider, Server: "bench", OneWriter: p.oneWriter},
	}
	records := func(vm int) (out []dns.Record) {
		name := fmt.Sprintf("vm%d.%s", vm, benchForward)
		for n := range addresses {
			a := netip.AddrFrom4([4]byte{198, 18, byte(vm), byte(n)})
			out = append(out, dns.Record{Name: name, Addr: a}, dns.Record{Reverse: true, Name: name, Addr: a})
		}
		return out
	}
	var took time.Duration
	operations, requests := 0, 0
	for b.Loop() {
		before, start := p.requests(), p.clock.Now()
		for _, gone := range []bool{false, true} {
			var wg sync.WaitGroup
			for vm := range vms {
				wg.Go(func() {
					ops := dns.Plan(zones, records(vm), nil)
					if gone {
						ops = dns.Plan(zones, nil, records(vm))
					}
					for _, r := range syncer.Sync(b.Context(), ops) {
						if r.Err != nil || !r.Changed {
							b.Errorf("%s %s: changed %t, %v", r.Op, r.Name, r.Changed, r.Err)
						}
					}
				})
			}
			wg.Wait()
		}
		took += p.clock.Now().Sub(start)
		requests += p.requests() - before
		operations += 2 * vms * (1 + addresses)
	}
	least := p.least(requests)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(least.Seconds(), "s-least")
	b.ReportMetric(took.Seconds()/least.Seconds(), "ratio")
	b.ReportMetric(float64(operations)/took.Seconds(), "operations/s")
	b.ReportMetric(float64(requests)/float64(2*vms), "requests/VM")
}

func benchPowerDNS(b *testing.B) nameBench {
	server := pdnstest.New(b)
	for _, zone := range []string{benchForward, benchReverse} {
		server.Zone(b, zone, "Native")
	}
	var mu sync.Mutex
	n := 0
	front := dnsCounter(b, server.URL, func() {
		mu.Lock()
		defer mu.Unlock()
		n++
	})
	p, err := powerdns.New(powerdns.Options{URL: front, Key: kvm.NewSecret(server.Key)})
	if err != nil {
		b.Fatal(err)
	}
	return nameBench{provider: p, oneWriter: true, clock: clock.Wall{}, requests: func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}, least: func(requests int) time.Duration {
		// As many requests by a bare client, a read and a write in turn, one after the other.
		began := time.Now()
		for i := range requests / 2 {
			path := "/zones/" + benchForward + "."
			server.Call(b, http.MethodGet, path, nil)
			set := pdnstest.RRset{Name: fmt.Sprintf("bare%d.%s.", i%benchVMs, benchForward), Type: "A", TTL: 3600, ChangeType: "REPLACE", Records: []pdnstest.Record{{Content: "198.18.0.1"}}}
			if i >= requests/4 {
				set.ChangeType, set.Records = "DELETE", nil
			}
			server.Call(b, http.MethodPatch, path, map[string]any{"rrsets": []pdnstest.RRset{set}})
		}
		return time.Since(began)
	}}
}

// dnsCounter is an address before a server, which counts requests.
func dnsCounter(b *testing.B, to string, count func()) string {
	return serveLocal(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		out.Header = r.Header.Clone()
		resp, err := http.DefaultClient.Do(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		for key, values := range resp.Header {
			w.Header()[key] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
}

func benchHestiaCP(b *testing.B) nameBench {
	s := startHestia(b, hestiaWork)
	for _, zone := range []string{benchForward, benchReverse} {
		s.AddZone(hestiaOf, zone)
	}
	s.Put(benchForward, hestiasim.Record{Record: "@", Type: "A", Value: "203.0.113.80"})
	p, err := hestiacp.New(hestiacp.Options{URL: s.URL, User: hestiaOf, Key: hestiaKey, Secret: kvm.NewSecret(dnsSecret), Trust: trust.Trust{Pins: []string{s.Fingerprint}}})
	if err != nil {
		b.Fatal(err)
	}
	return nameBench{provider: p, oneWriter: true, clock: clock.Wall{}, requests: func() int { return len(s.Calls()) },
		least: func(requests int) time.Duration { return time.Duration(requests) * hestiaWork }}
}

func benchCloudflare(b *testing.B) nameBench {
	clk := clock.NewScaled(time.Now(), cloudflareSpeed)
	s := startCloudflare(b, clk)
	for _, zone := range []string{benchForward, benchReverse} {
		s.AddZone(zone)
	}
	p, err := cloudflare.New(cloudflare.Options{URL: s.URL, Token: kvm.NewSecret(dnsSecret), Trust: trust.Trust{Pins: []string{s.Fingerprint}}, Clock: clk})
	if err != nil {
		b.Fatal(err)
	}
	return nameBench{provider: p, clock: clk, requests: func() int { return len(s.Calls()) },
		// 1200 requests in five minutes, whoever makes them.
		least: func(requests int) time.Duration { return time.Duration(requests) * 5 * time.Minute / 1200 }}
}
