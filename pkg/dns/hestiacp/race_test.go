package hestiacp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/dnstest"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestTakenID: an add that runs beside another writer's is refused with exit 4, and nothing was written.
func TestTakenID(t *testing.T) {
	for _, times := range []int{1, 99} {
		f := newFixture(t, options)
		var mu sync.Mutex
		f.On(hestiasim.Read, func(hestiasim.Call) {
			mu.Lock()
			defer mu.Unlock()
			if times > 0 {
				times--
				f.Put(zone, foreign)
			}
		})
		out := f.apply(t, a("192.0.2.1", ""))
		if times == 0 {
			done(t, out)
			f.is(t, "192.0.2.1")
			continue
		}
		if !errors.Is(out[0].Err, kvm.ErrRefused) || out[0].Changed || f.count(hestiasim.Add) != attempts {
			t.Errorf("%+v after %d adds", out, f.count(hestiasim.Add))
		}
	}
}

// TestRowsThatMove: a row that always has another id when it is to be deleted is given up.
func TestRowsThatMove(t *testing.T) {
	f := newFixture(t, options)
	id := put(f.Server, zone, vm, dns.A, "192.0.2.1")
	f.On(hestiasim.Arrived, func(c hestiasim.Call) {
		if c.Command == hestiasim.Delete {
			f.Remove(zone, id)
			id = f.Put(zone, hestiasim.Record{ID: id + 1, Record: "vm1", Type: "A", Value: "192.0.2.1"})
		}
	})
	if out := f.apply(t, a("", "192.0.2.1")); !errors.Is(out[0].Err, kvm.ErrBusy) || f.count(hestiasim.Delete) != 1+attempts {
		t.Errorf("%+v after %d deletes", out, f.count(hestiasim.Delete))
	}
}

// TestOneAtATime: adds side by side get one id, so one Apply follows the other.
func TestOneAtATime(t *testing.T) {
	f := newFixture(t, options)
	var mu sync.Mutex
	open, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		open += n
		most = max(most, open)
	}
	held, inside := make(chan struct{}), make(chan struct{}, 8)
	f.On(hestiasim.Checked, func(hestiasim.Call) { count(1); inside <- struct{}{}; <-held })
	f.On(hestiasim.Changed, func(hestiasim.Call) { count(-1) })
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			e := dns.Edit{Name: vm, Type: dns.A, Add: []string{fmt.Sprint("192.0.2.", i)}}
			if out := f.p.Apply(t.Context(), zone, []dns.Edit{e}); out[0].Err != nil {
				t.Error(out[0].Err)
			}
		})
	}
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	out := f.p.Apply(ctx, dnstest.Reverse4, []dns.Edit{a("", "192.0.2.9")}) // there is nothing to do
	if err := out[0].Err; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, kvm.ErrUnreachable) || f.count(hestiasim.List) != 1 {
		t.Errorf("%v after %d lists: want it to wait for its turn, and no longer than it may", err, f.count(hestiasim.List))
	}
	close(held)
	wg.Wait()
	if most != 1 || len(values(f.Server, zone, vm, dns.A)) != 4 {
		t.Errorf("%d adds at once, %+v", most, f.Records(zone))
	}
}
