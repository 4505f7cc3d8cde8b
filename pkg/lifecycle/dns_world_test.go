package lifecycle_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// memoryDNS is a DNS server in memory, a provider of every zone that it is asked for.
type memoryDNS struct {
	mu     sync.Mutex
	values map[string][]string // by name and type
	err    error               // of every edit
	hang   bool                // it answers when ctx ends
	writes int
}

func newMemoryDNS() *memoryDNS { return &memoryDNS{values: map[string][]string{}} }

func (m *memoryDNS) Apply(ctx context.Context, _ string, edits []dns.Edit) []dns.Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hang {
		<-ctx.Done()
		return dns.FailAll(edits, kvm.Errorf(kvm.ErrUnknown, "no answer: %w", context.Cause(ctx)))
	}
	out := make([]dns.Outcome, len(edits))
	for i, e := range edits {
		if out[i].Err = m.err; m.err != nil {
			continue
		}
		key := e.Name + " " + string(e.Type)
		add, remove := e.Plan(m.values[key])
		m.values[key] = append(slices.DeleteFunc(m.values[key], func(v string) bool { return slices.Contains(remove, v) }), add...)
		if len(m.values[key]) == 0 {
			delete(m.values, key)
		}
		out[i].Changed = len(add)+len(remove) > 0
		if out[i].Changed {
			m.writes++
		}
	}
	return out
}

func (m *memoryDNS) Check(context.Context, string) error { return nil }

// put is a value that somebody else has put there.
func (m *memoryDNS) put(name string, typ dns.Type, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := name + " " + string(typ)
	m.values[key] = append(m.values[key], value)
}

// all is everything, a name and type a line.
func (m *memoryDNS) all() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		v := slices.Clone(m.values[key])
		slices.Sort(v)
		out = append(out, key+" "+strings.Join(v, " "))
	}
	return strings.Join(out, "\n")
}

func (m *memoryDNS) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// zoned is a world whose processes write to zones of two servers in memory: example.com and the reverse zones are at one,
// example.com at the other, too.
type zoned struct {
	*world
	first, second *memoryDNS
	events        []event.DNSChanged
	summaries     []string
}

// withDNS gives the world zones. The product's VMs get names in example.com.
func withDNS(w *world) *zoned {
	z := &zoned{world: w, first: newMemoryDNS(), second: newMemoryDNS()}
	zones := []dns.Zone{
		{ID: 1, Name: "example.com", Kind: "powerdns", Provider: z.first, Server: "first"},
		{ID: 2, Name: "2.0.192.in-addr.arpa", Kind: "powerdns", Provider: z.first, Server: "first"},
		{ID: 3, Name: "8.b.d.0.1.0.0.2.ip6.arpa", Kind: "powerdns", Provider: z.first, Server: "first"},
		{ID: 4, Name: "example.com", Kind: "cloudflare", Provider: z.second, Server: "second"},
	}
	w.zones = func(context.Context) ([]dns.Zone, error) { return zones, nil }
	w.moduleLog = func(_ context.Context, action, request, response string) {
		z.summaries = append(z.summaries, action+"\n"+request+"\n"+response)
	}
	w.onDNS = func(e event.DNSChanged) { z.events = append(z.events, e) }
	w.product("main_domain=example.com")
	return z
}

// syncer is a process's.
func (w *world) syncer() *dns.Syncer {
	return dns.NewSyncer(dns.Options{Clock: clock.Wall{}, Timeout: 200 * time.Millisecond, Patience: time.Minute, Lease: w.store, Owner: "test"})
}

// told are the operations since the last time, a line each.
func (z *zoned) told() string {
	var out []string
	for _, e := range z.events {
		word := "OK"
		if e.Error != "" {
			word = "ERR"
		}
		out = append(out, fmt.Sprintf("%s %s [%s] %s %s %s", e.Op, word, e.Provider, e.Zone, e.Host, strings.Join(e.Addrs, ",")))
	}
	z.events = nil
	return strings.Join(out, "\n")
}

// noted are the records of the journal, a line each.
func (w *world) noted(id int64) string {
	w.t.Helper()
	return w.db.Text("SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(' ', kind, name, address, state) ORDER BY kind, name, address SEPARATOR '\n'), '') FROM puq_proxmox_kvm_dns_records WHERE service_id = ?", id)
}
