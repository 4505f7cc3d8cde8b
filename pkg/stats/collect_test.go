package stats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// fakeStore keeps what it is given.
type fakeStore struct {
	mu      sync.Mutex
	list    []kvm.Metered
	listErr error
	last    map[int64]kvm.Counters
	hours   map[int64]int64 // bytes in
	errs    map[int64]error // of a service's transaction
	purged  time.Time
}

func (s *fakeStore) Metered(context.Context) ([]kvm.Metered, error) { return s.list, s.listErr }

func (s *fakeStore) CountTraffic(_ context.Context, samples []kvm.Sample, count func(*kvm.Counters, kvm.Sample) ([]kvm.HourTraffic, bool)) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, now := range samples {
		if err := s.errs[now.Service]; err != nil {
			return n, err
		}
		var last *kvm.Counters
		if c, found := s.last[now.Service]; found {
			last = &c
		}
		hours, keep := count(last, now)
		if keep {
			continue
		}
		n++
		s.last[now.Service] = now.Counters
		for _, h := range hours {
			s.hours[now.Service] += h.In
		}
	}
	return n, nil
}

func (s *fakeStore) PurgeTraffic(_ context.Context, before time.Time) error {
	s.purged = before
	return s.errs[0]
}

// fakeCluster is a cluster of guests.
type fakeCluster struct {
	guests  map[int]kvm.Traffic
	uuids   map[int]string
	err     error
	panics  bool
	asked   int
	configs []int
}

func (c *fakeCluster) Traffic(context.Context) (map[int]kvm.Traffic, error) {
	c.asked++
	if c.panics {
		panic("odd")
	}
	return c.guests, c.err
}

func (c *fakeCluster) VM(_ context.Context, node string, vmid int) (*kvm.VM, error) {
	c.configs = append(c.configs, vmid)
	if c.uuids[vmid] == "" {
		return nil, kvm.Errorf(kvm.ErrNotHere, "VM %d is not here", vmid)
	}
	return &kvm.VM{VMID: vmid, Node: node, UUID: c.uuids[vmid]}, nil
}

// collection is a collector with one server and, at the beginning, one VM of service 1.
type collection struct {
	*testing.T
	store   *fakeStore
	servers map[int64]*fakeCluster
	clock   *clock.Fake
	said    []string
}

func newCollection(t *testing.T) *collection {
	return &collection{T: t, clock: clock.NewFake(noon),
		store:   &fakeStore{list: []kvm.Metered{{Service: 1, Server: 1, VMID: 101, Name: "vps-1", UUID: "u1", UUIDs: []string{"u0", "u1"}}}, last: map[int64]kvm.Counters{}, hours: map[int64]int64{}, errs: map[int64]error{}},
		servers: map[int64]*fakeCluster{1: {guests: map[int]kvm.Traffic{}, uuids: map[int]string{101: "u1"}}}}
}

// carries says what a guest has carried since its start, minutes ago.
func (c *collection) carries(server int64, vmid, minutes int, in int64) {
	c.servers[server].guests[vmid] = kvm.Traffic{VMID: vmid, Node: "pve1", Name: fmt.Sprintf("vps-%d", vmid-100), Power: kvm.Running, Uptime: time.Duration(minutes) * time.Minute, In: in, Out: in, Known: true}
}

func (c *collection) run(stored, failed int) {
	c.Helper()
	c.said = nil
	k := &Collector{Store: c.store, Clock: c.clock, Cluster: func(_ context.Context, id int64) (Cluster, error) {
		s := c.servers[id]
		if s == nil {
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "there is no server %d", id), "choose one")
		}
		return s, nil
	}}
	n, f, err := k.Run(c.Context(), event.SinkFunc(func(e event.Event) { c.said = append(c.said, e.(event.TaskSaid).Text) }))
	if err != nil || n != stored || f != failed || len(c.said) != failed {
		c.Fatalf("stored %d, failed %d, %v, said %q; want %d and %d", n, f, err, c.said, stored, failed)
	}
	c.clock.Advance(time.Hour)
}

func (c *collection) counted(service, want int64) {
	c.Helper()
	if got := c.store.hours[service]; got != want {
		c.Errorf("service %d: %d bytes counted, want %d", service, got, want)
	}
}

func (c *collection) says(text string) {
	c.Helper()
	if !slices.ContainsFunc(c.said, func(line string) bool { return strings.Contains(line, text) }) {
		c.Errorf("%q is not said in %q", text, c.said)
	}
}

func TestCollect(t *testing.T) {
	c := newCollection(t)
	c.carries(1, 101, 30, 10)
	c.carries(1, 900, 30, 99) // a stranger
	c.run(1, 0)
	c.counted(1, 10)
	c.carries(1, 101, 90, 25)
	c.run(1, 0)
	c.counted(1, 25)
	c.carries(1, 101, 20, 5)
	c.run(1, 0)
	c.counted(1, 30)
	if s := c.servers[1]; s.asked != 3 || len(s.configs) != 0 {
		t.Errorf("%d calls, and the configurations of %v", s.asked, s.configs)
	}
	if want := noon.Add(2*time.Hour - kvm.StatisticsKept); !c.store.purged.Equal(want) {
		t.Errorf("purged before %v, want %v", c.store.purged, want)
	}
	c.store.listErr = errors.New("no database")
	if _, _, err := (&Collector{Store: c.store}).Run(t.Context(), nil); !errors.Is(err, c.store.listErr) {
		t.Error(err)
	}
}

// What goes wrong with one server, or with one VM, keeps nothing of the others from being counted, and is told in a line.
func TestCollectGoesOn(t *testing.T) {
	c := newCollection(t)
	for id := int64(2); id <= 6; id++ {
		c.store.list = append(c.store.list, kvm.Metered{Service: id, Server: id, VMID: 100 + int(id), Name: fmt.Sprintf("vps-%d", id), UUID: "u"})
		c.servers[id] = &fakeCluster{guests: map[int]kvm.Traffic{}}
		c.carries(id, 100+int(id), 30, id)
	}
	c.carries(1, 101, 30, 10)
	c.servers[2].err = kvm.Errorf(kvm.ErrUnreachable, "no\nanswer")
	c.servers[3].panics = true
	delete(c.servers, 4)
	c.store.errs[5] = errors.New("no database")
	c.store.errs[0] = errors.New("no purge")
	c.servers[6].guests = map[int]kvm.Traffic{900: {VMID: 900}}
	c.run(1, 6)
	c.counted(1, 10)
	for _, text := range []string{"server 2: no", "server 3: panic: odd", "server 4: there is no server 4 — choose one", "server 5: no database", "no purge", "server 6: the cluster lists none of the services' 1 VMs — give the token VM.Audit on /vms"} {
		c.says(text)
	}
}

// A guest that may be another's is proved first; without a proof it is not counted.
func TestCollectProves(t *testing.T) {
	c := newCollection(t)
	c.carries(1, 101, 30, 10)
	rename := func(name string) {
		g := c.servers[1].guests[101]
		g.Name = name
		c.servers[1].guests[101] = g
	}
	rename("VPS-1")
	c.run(1, 0)
	if n := len(c.servers[1].configs); n != 0 {
		t.Errorf("%d configurations were read", n)
	}
	c.carries(1, 101, 90, 30)
	rename("renamed")
	c.run(1, 0)
	c.counted(1, 30)
	c.carries(1, 101, 150, 500)
	rename("stranger")
	c.servers[1].uuids[101] = "another"
	c.run(0, 1)
	c.says("server 1: service 1: its traffic is not counted: VM 101 on pve1 has the UUID another, which was never this service's")
	c.counted(1, 30)
	c.servers[1].uuids[101] = "u0" // an earlier one of its own, as after a restore
	c.run(1, 0)
	c.carries(1, 101, 160, 600)
	delete(c.servers[1].uuids, 101) // it has moved on meanwhile
	rename("renamed")
	c.run(0, 0)
	c.servers[1].guests[101] = kvm.Traffic{VMID: 101, Name: "vps-1", Container: true, Known: true}
	c.run(0, 1)
	c.says("guest 101 is a container")
	c.servers[1].guests[101] = kvm.Traffic{VMID: 101, Node: "pve1", Name: "vps-1"} // a silent node's
	c.run(0, 0)

	// Two services that name one VMID: who has it is proved.
	c.store.list = append(c.store.list, kvm.Metered{Service: 2, Server: 1, VMID: 101, Name: "vps-1", UUID: "u2"})
	c.servers[1].uuids[101] = "u2"
	c.carries(1, 101, 10, 7)
	c.run(1, 1)
	c.counted(2, 7)
	c.says("service 1: its traffic is not counted")
}
