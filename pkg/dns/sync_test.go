package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// provider is one in memory. do, if not nil, comes before each Apply.
type provider struct {
	mu    sync.Mutex
	calls []string
	do    func(ctx context.Context, zone string, edits []Edit) []Outcome
	busy  int // Applies under way
	most  int
}

func (p *provider) Apply(ctx context.Context, zone string, edits []Edit) []Outcome {
	p.mu.Lock()
	p.calls = append(p.calls, zone)
	p.busy++
	p.most = max(p.most, p.busy)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.busy--
		p.mu.Unlock()
	}()
	if p.do != nil {
		return p.do(ctx, zone, edits)
	}
	out := make([]Outcome, len(edits))
	for i := range out {
		out[i].Changed = true
	}
	return out
}

func (p *provider) Check(context.Context, string) error { return nil }

func (p *provider) called() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// hangs answers only when ctx ends.
func hangs(ctx context.Context, _ string, edits []Edit) []Outcome {
	<-ctx.Done()
	return FailAll(edits, kvm.Errorf(kvm.ErrUnknown, "no answer: %w", context.Cause(ctx)))
}

// leases are leases in memory.
type leases struct {
	mu      sync.Mutex
	holder  map[string]string
	refused int // so many tries of others fail first
	err     error
	log     []string
}

func (l *leases) TakeLease(_ context.Context, name, owner string, life time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused > 0 {
		l.refused--
		return false, nil
	}
	if l.err != nil || l.holder[name] != "" {
		return false, l.err
	}
	l.holder[name] = owner
	l.log = append(l.log, fmt.Sprintf("take %s %v", name, life))
	return true, nil
}

func (l *leases) DropLease(ctx context.Context, name, owner string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder[name] == owner {
		delete(l.holder, name)
		l.log = append(l.log, "drop "+name)
	}
	return ctx.Err()
}

func newSyncer(l Leaser) *Syncer {
	return NewSyncer(Options{Clock: clock.Wall{}, Timeout: 30 * time.Second, Patience: 5 * time.Minute, Lease: l, Owner: "me"})
}

func zoneAt(id int64, name, server string, p Provider) Zone {
	return Zone{ID: id, Name: name, Kind: "powerdns", Provider: p, Server: server}
}

func results(rs []Result) string {
	var out []string
	for _, r := range rs {
		word := "same"
		switch {
		case r.Err != nil:
			word = "failed"
		case r.Changed:
			word = "changed"
		}
		out = append(out, fmt.Sprintf("%s %d %s", r.Op, r.Zone.ID, word))
	}
	return strings.Join(out, ", ")
}

var vm = []Record{fwd("vm.example.com", "192.0.2.6"), fwd("vm.example.com", "2001:db8::6"), rev("192.0.2.6", "vm.example.com")}

func TestSync(t *testing.T) {
	good, refuses := &provider{}, &provider{do: func(_ context.Context, _ string, edits []Edit) []Outcome {
		out := make([]Outcome, len(edits))
		for i, e := range edits {
			out[i].Changed = true
			if e.Type == AAAA {
				out[i] = Outcome{Err: kvm.Errorf(kvm.ErrRefused, "no IPv6 here")}
			}
		}
		return out
	}}
	odd, panics := &provider{do: func(context.Context, string, []Edit) []Outcome { return nil }}, &provider{do: func(context.Context, string, []Edit) []Outcome { panic("boom") }}
	zones := []Zone{zoneAt(1, "example.com", "a", good), zoneAt(2, "2.0.192.in-addr.arpa", "a", good), zoneAt(3, "example.com", "b", refuses), zoneAt(4, "example.com", "c", odd),
		zoneAt(5, "example.com", "d", panics), {ID: 6, Name: "example.com", Problem: errors.New("its settings are nonsense")}}
	rs := newSyncer(nil).Sync(t.Context(), Plan(zones, vm, nil))
	if got, want := results(rs), "fwd 1 changed, fwd 3 failed, fwd 4 failed, fwd 5 failed, fwd 6 failed, rev 2 changed"; got != want {
		t.Fatalf("%s\nwant %s", got, want)
	}
	for i, word := range map[int]string{1: "no IPv6", 2: "0 outcomes for 2 edits", 3: "panic: boom", 4: "nonsense"} {
		if !strings.Contains(rs[i].Err.Error(), word) {
			t.Errorf("%v, want %s", rs[i].Err, word)
		}
	}
	if got := good.called(); !slices.Equal(got, []string{"example.com", "2.0.192.in-addr.arpa"}) {
		t.Errorf("zones asked in the order %v", got)
	}
}

// TestADeadServerCostsItsTimeoutOnce: the zones of other servers do not wait for it, its own second zone is not tried, and
// services that come within a while do not try it at all.
func TestADeadServerCostsItsTimeoutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, good := &provider{do: hangs}, &provider{}
		zones := []Zone{zoneAt(1, "example.com", "dead", dead), zoneAt(2, "2.0.192.in-addr.arpa", "dead", dead), zoneAt(3, "example.com", "good", good)}
		s := newSyncer(nil)
		began := time.Now()
		rs := s.Sync(t.Context(), Plan(zones, vm, nil))
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("it took %v", took)
		}
		if got := results(rs); got != "fwd 1 failed, fwd 3 changed, rev 2 failed" || len(dead.called()) != 1 {
			t.Fatalf("%s; asked %v", got, dead.called())
		}
		if !strings.Contains(rs[0].Err.Error(), "not done within 30s (dns.timeout)") {
			t.Error(rs[0].Err)
		}
		began = time.Now()
		rs = s.Sync(t.Context(), Plan(zones, vm, nil))
		if took := time.Since(began); took != 0 || len(dead.called()) != 1 || !errors.Is(rs[0].Err, kvm.ErrUnknown) || !strings.Contains(rs[0].Err.Error(), "not asked again so soon") {
			t.Errorf("the next one: %v, asked %v, %v", took, dead.called(), rs[0].Err)
		}
		time.Sleep(30 * time.Second)
		dead.do = nil
		if got := results(s.Sync(t.Context(), Plan(zones, vm, nil))); got != "fwd 1 changed, fwd 3 changed, rev 2 changed" {
			t.Error(got)
		}
	})
}

// TestManyWaitForADeadServerOnce: of those that queue for it one waits for the time-out.
func TestManyWaitForADeadServerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := &provider{do: hangs}
		zones := []Zone{zoneAt(1, "example.com", "dead", dead)}
		s := newSyncer(nil)
		began := time.Now()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { s.Sync(t.Context(), Plan(zones, vm, nil)) })
		}
		wg.Wait()
		if took := time.Since(began); took != 30*time.Second || len(dead.called()) != 1 {
			t.Errorf("it took %v, asked %d times", took, len(dead.called()))
		}
	})
}

// TestABusyServerIsNotADeadOne: each waits for its turn, however long the others take in sum, and none is cut off.
func TestABusyServerIsNotADeadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := &provider{do: func(ctx context.Context, _ string, edits []Edit) []Outcome {
			time.Sleep(20 * time.Second)
			return make([]Outcome, len(edits))
		}}
		zones := []Zone{zoneAt(1, "example.com", "busy", busy)}
		s := newSyncer(nil)
		var wg sync.WaitGroup
		var mu sync.Mutex
		failed := 0
		for range 20 {
			wg.Go(func() {
				for _, r := range s.Sync(t.Context(), Plan(zones, vm, nil)) {
					if r.Err != nil {
						mu.Lock()
						failed++
						mu.Unlock()
						if !errors.Is(r.Err, kvm.ErrBusy) {
							t.Error(r.Err)
						}
					}
				}
			})
		}
		wg.Wait()
		// Fifteen have their turn within the five minutes of Patience, the sixteenth at its very end.
		if busy.most != 1 || failed < 4 || failed > 5 {
			t.Errorf("%d at once, %d of 20 gave up waiting", busy.most, failed)
		}
	})
}

// TestASlowServerIsNotADeadOne: one that has done something before the time was up is asked by the next.
func TestASlowServerIsNotADeadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &provider{do: func(ctx context.Context, _ string, edits []Edit) []Outcome {
			out := hangs(ctx, "", edits)
			out[0] = Outcome{Changed: true}
			return out
		}}
		zones := []Zone{zoneAt(1, "example.com", "slow", slow)}
		s := newSyncer(nil)
		for n := 1; n <= 2; n++ {
			if got := results(s.Sync(t.Context(), Plan(zones, vm, nil))); got != "fwd 1 failed" || len(slow.called()) != n {
				t.Errorf("%s, asked %d times", got, len(slow.called()))
			}
		}
	})
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leases{holder: map[string]string{}, refused: 3}
		p := &provider{}
		zones := []Zone{zoneAt(1, "example.com", "one", p), zoneAt(2, "2.0.192.in-addr.arpa", "free", p)}
		zones[0].OneWriter = true
		s := newSyncer(l)
		began := time.Now()
		if got := results(s.Sync(t.Context(), Plan(zones, vm, nil))); got != "fwd 1 changed, rev 2 changed" {
			t.Fatal(got)
		}
		if took := time.Since(began); took != 3*leasePoll || !slices.Equal(l.log, []string{"take one 40s", "drop one"}) {
			t.Errorf("%v, %v", took, l.log)
		}
		l.holder["one"] = "another"
		began = time.Now()
		rs := s.Sync(t.Context(), Plan(zones[:1], vm, nil))
		if took := time.Since(began); took != 5*time.Minute || !errors.Is(rs[0].Err, kvm.ErrBusy) || len(p.called()) != 2 {
			t.Errorf("while another holds it: %v, %v", took, rs[0].Err)
		}
		l.err = errors.New("the database is gone")
		if rs := s.Sync(t.Context(), Plan(zones[:1], vm, nil)); rs[0].Err == nil || len(p.called()) != 2 {
			t.Errorf("without a database: %v", rs[0].Err)
		}
	})
}

func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{do: hangs}
		zones := []Zone{zoneAt(1, "example.com", "one", p)}
		s := newSyncer(nil)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		began := time.Now()
		if rs := s.Sync(ctx, Plan(zones, vm, nil)); time.Since(began) != time.Second || !errors.Is(rs[0].Err, context.Canceled) {
			t.Errorf("%v, %v", time.Since(began), rs[0].Err)
		}
		p.do = nil
		if got := results(s.Sync(t.Context(), Plan(zones, vm, nil))); got != "fwd 1 changed" {
			t.Errorf("a signal closed the server: %s", got)
		}
	})
}
