package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Leaser keeps other processes and hosts from writing to a server meanwhile.
type Leaser interface {
	// TakeLease takes the lease name for owner, for life from now on; false = somebody else has it. A lease whose owner is
	// dead, or whose life is over, is free.
	TakeLease(ctx context.Context, name, owner string, life time.Duration) (bool, error)
	// DropLease ends it, if it is still owner's.
	DropLease(ctx context.Context, name, owner string) error
}

const (
	// leaseMargin is how much longer a lease lives than the work that it is for.
	leaseMargin = 10 * time.Second
	// leasePoll is how often a lease that somebody else has is asked for.
	leasePoll = 200 * time.Millisecond
	// dropPatience is how long giving a lease back may take.
	dropPatience = 5 * time.Second
)

// Syncer carries operations out. Make it with NewSyncer; it is safe for concurrent use, and one serves a process: it is
// what the process knows of servers that are down.
type Syncer struct {
	o       Options
	mu      sync.Mutex
	servers map[string]*server
}

// Options are what a Syncer needs.
type Options struct {
	Clock clock.Clock
	// Timeout is the longest that a server may take for one Sync, from its turn on.
	Timeout time.Duration
	// Patience is the longest wait for the turn.
	Patience time.Duration
	Lease    Leaser // nil = no other process writes
	Owner    string // of leases
}

// server is what the zones behind one server share.
type server struct {
	turn chan struct{} // holds one: whoever has taken it writes
	mu   sync.Mutex
	down error     // why it is not asked, until then
	till time.Time // by the clock
}

// NewSyncer makes a Syncer.
func NewSyncer(o Options) *Syncer { return &Syncer{o: o, servers: map[string]*server{}} }

// Result is what became of an operation.
type Result struct {
	Operation
	Changed bool
	Err     error // nil = it is as it should be
}

// Sync carries ops out and says what became of each, in their order. It returns when all are done or have failed: at the
// latest Timeout after the turn at the slowest server, or when ctx ends.
func (s *Syncer) Sync(ctx context.Context, ops []Operation) []Result {
	results := make([]Result, len(ops))
	byServer := map[string][]*Result{}
	for i, o := range ops {
		results[i].Operation = o
		if o.Zone.Problem != nil {
			results[i].Err = o.Zone.Problem
			continue
		}
		byServer[o.Zone.Server] = append(byServer[o.Zone.Server], &results[i])
	}
	var wg sync.WaitGroup
	for key, mine := range byServer {
		wg.Go(func() { s.atServer(ctx, key, mine) })
	}
	wg.Wait()
	return results
}

func (s *Syncer) atServer(ctx context.Context, key string, results []*Result) {
	err := s.inTurn(ctx, key, results[0].Zone.OneWriter, func(ctx context.Context) error {
		var dead error
		for _, zone := range byZone(results) {
			if dead != nil {
				failAll(zone, dead)
				continue
			}
			dead = s.inZone(ctx, zone)
		}
		if slices.ContainsFunc(results, func(r *Result) bool { return r.Changed || r.Err == nil }) {
			return nil // it works, though it may be slow
		}
		return dead
	})
	if err != nil {
		failAll(results, err)
	}
}

// byZone groups results, which are one server's, by their zones.
func byZone(results []*Result) [][]*Result {
	var order []int64
	groups := map[int64][]*Result{}
	for _, r := range results {
		if !slices.Contains(order, r.Zone.ID) {
			order = append(order, r.Zone.ID)
		}
		groups[r.Zone.ID] = append(groups[r.Zone.ID], r)
	}
	var out [][]*Result
	for _, id := range order {
		out = append(out, groups[id])
	}
	return out
}

// inZone makes the edits of one zone, and gives the error after which the server is not asked again.
func (s *Syncer) inZone(ctx context.Context, results []*Result) (dead error) {
	zone := results[0].Zone
	ops := make([]*Operation, len(results))
	for i, r := range results {
		ops[i] = &r.Operation
	}
	edits := merge(ops)
	outcomes, err := apply(ctx, zone, edits)
	if err != nil {
		outcomes = FailAll(edits, err)
	}
	for _, r := range results {
		for _, e := range r.edits {
			i := slices.IndexFunc(edits, func(m Edit) bool { return m.Name == e.Name && m.Type == e.Type })
			r.Changed = r.Changed || outcomes[i].Changed
			if r.Err == nil {
				r.Err = outcomes[i].Err
			}
		}
	}
	for _, o := range outcomes {
		if o.Err != nil && Dead(o.Err) {
			return o.Err
		}
	}
	return nil
}

// apply asks the provider. A panic in one is its error.
func apply(ctx context.Context, zone *Zone, edits []Edit) (out []Outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	out = zone.Provider.Apply(ctx, zone.Name, edits)
	if len(out) != len(edits) {
		err = fmt.Errorf("%s gave %d outcomes for %d edits", zone.Kind, len(out), len(edits))
	}
	return out, err
}

func failAll(results []*Result, err error) {
	for _, r := range results {
		r.Err = err
	}
}

// inTurn runs do when nobody else writes to the server, and within Timeout. do's error closes the server for a while. The
// error is why do was not run.
func (s *Syncer) inTurn(ctx context.Context, key string, oneWriter bool, do func(context.Context) error) error {
	srv := s.server(key)
	began := s.o.Clock.Now()
	waiting, cancel := context.WithTimeoutCause(ctx, s.o.Patience, kvm.Errorf(kvm.ErrBusy, "its turn did not come within %v: others are at work there", s.o.Patience))
	defer cancel()
	select {
	case <-srv.turn:
	case <-waiting.Done():
		return context.Cause(waiting)
	}
	defer func() { srv.turn <- struct{}{} }()
	if err := srv.closed(s.o.Clock.Now()); err != nil {
		return err
	}
	if oneWriter && s.o.Lease != nil {
		if err := s.lease(waiting, key, began); err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropPatience)
			defer cancel()
			_ = s.o.Lease.DropLease(ctx, key, s.o.Owner) // else it ends by itself
		}()
	}
	ctx, cancel = context.WithTimeoutCause(ctx, s.o.Timeout, fmt.Errorf("not done within %v (dns.timeout)", s.o.Timeout))
	defer cancel()
	err := do(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		srv.close(err, s.o.Clock.Now().Add(s.o.Timeout))
	}
	return nil
}

// lease waits for the server's lease.
func (s *Syncer) lease(ctx context.Context, key string, began time.Time) error {
	for {
		won, err := s.o.Lease.TakeLease(ctx, key, s.o.Owner, s.o.Timeout+leaseMargin)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case won:
			return nil
		case s.o.Clock.Now().Sub(began) > s.o.Patience: // by the clock, too, which may not be the wall's
			return kvm.Errorf(kvm.ErrBusy, "its turn did not come within %v: another process is at work there", s.o.Patience)
		}
		if err := s.o.Clock.Sleep(ctx, leasePoll); err != nil {
			return context.Cause(ctx)
		}
	}
}

func (s *Syncer) server(key string) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	srv := s.servers[key]
	if srv == nil {
		srv = &server{turn: make(chan struct{}, 1)}
		srv.turn <- struct{}{}
		s.servers[key] = srv
	}
	return srv
}

// closed is why the server is not asked now.
func (v *server) closed(now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down == nil || !now.Before(v.till) {
		return nil
	}
	return fmt.Errorf("not asked again so soon: %w", v.down)
}

func (v *server) close(err error, till time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down, v.till = err, till
}
