package cloudflare

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestRetryAfter: a 429 is waited for where there is time, with nothing sent meanwhile, else it is told at once.
func TestRetryAfter(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t, cloudflaresim.Options{})
			w.Fail(cloudflaresim.Fault{Method: method, Path: "/dns_records", Status: 429, RetryAfter: 42 * time.Second})
			began := w.clock.Now()
			w.fine(w.apply(set("192.0.2.10")), true)
			w.has(vm, dns.A, "192.0.2.10")
			if took := w.clock.Now().Sub(began); took != 42*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	w := newWorld(t, cloudflaresim.Options{})
	w.Fail(cloudflaresim.Fault{Path: "/dns_records", Status: 429, RetryAfter: 42 * time.Second})
	for range 2 { // the second one is not even sent
		began := w.clock.Now()
		out := w.p.Apply(within(t, 20*time.Second), zone, []dns.Edit{set("192.0.2.10"), second})
		for _, o := range out {
			w.fails(o.Err, kvm.ErrBusy, "42 s", zone)
		}
		w.fails(w.p.Check(within(t, 20*time.Second), zone), kvm.ErrBusy, "42 s", zone)
		if w.clock.Now() != began {
			t.Error("it waited in vain")
		}
		w.wants(0, "GET zones", "GET dns_records 429")
	}
	w.clock.Advance(42 * time.Second)
	w.fine(w.apply(set("192.0.2.10")), true)
}

// TestBlocked: who has sent too much gets nothing for five minutes, and the wait for that is one wait.
func TestBlocked(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.SetLeft(0, time.Second)
	began := w.clock.Now()
	w.fine(w.apply(set("192.0.2.10")), true)
	if took := w.clock.Now().Sub(began); took != 5*time.Minute {
		t.Errorf("it took %v", took)
	}
	w.wants(0, "GET zones 429", "GET zones", "GET dns_records", "POST dns_records")
}

// TestRatelimit: when an answer says that hardly anything is left, nothing is sent until there is more.
func TestRatelimit(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.SetLeft(spare+1, 30*time.Second)
	began := w.clock.Now()
	out := w.p.Apply(within(t, 20*time.Second), zone, []dns.Edit{set("192.0.2.10")})
	w.fails(out[0].Err, kvm.ErrBusy, "30 s", zone)
	if w.clock.Now() != began {
		t.Error("it waited in vain")
	}
	w.wants(0, "GET zones")
	w.fine(w.apply(set("192.0.2.10")), true)
	if took := w.clock.Now().Sub(began); took != 30*time.Second {
		t.Errorf("it took %v", took)
	}
	for range 4 {
		w.SetLeft(1, 10*time.Second)
		w.fine(w.apply(set("192.0.2.10")), false)
	}
	if slices.ContainsFunc(w.Calls(), func(c cloudflaresim.Call) bool { return c.Status != 200 }) {
		t.Errorf("%q", w.sent())
	}
}

// TestPace: in no five minutes are there more requests than Cloudflare lets a user have, with some left for others.
func TestPace(t *testing.T) {
	c := clock.NewFake(time.Unix(0, 0))
	p := newPace(c)
	var sent []time.Time
	for i := range 4000 {
		if i == 2000 {
			c.Advance(10 * time.Minute) // a whole burst is free again
		}
		if err := p.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, c.Now())
	}
	most, from := 0, 0
	for i, at := range sent {
		for at.Sub(sent[from]) >= 5*time.Minute {
			from++
		}
		most = max(most, i-from+1)
	}
	if most > 1111 || most < 1000 {
		t.Errorf("%d requests in five minutes", most)
	}
}

// TestPaceWithoutTime: a request that cannot be sent in time is not sent, and is none that others have to wait for.
func TestPaceWithoutTime(t *testing.T) {
	c := clock.NewFake(time.Unix(0, 0))
	p := newPace(c)
	for range burst {
		if err := p.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		if err := p.turn(within(t, 200*time.Millisecond)); !errors.Is(err, kvm.ErrBusy) {
			t.Fatalf("%v", err)
		}
	}
	if c.Now() != time.Unix(0, 0) {
		t.Error("it waited in vain")
	}
	if err := p.turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := c.Now().Sub(time.Unix(0, 0)); took < 280*time.Millisecond || took > 290*time.Millisecond {
		t.Errorf("the next one waited %v", took)
	}
}

func TestNote(t *testing.T) {
	now := time.Date(2026, 11, 21, 18, 57, 6, 0, time.UTC)
	for _, c := range []struct {
		status           int
		ratelimit, retry string
		want             time.Duration
		anotherLimit     string
	}{
		{status: 200},
		{status: 200, ratelimit: `"default";r=50;t=30`},
		{status: 200, ratelimit: `"default";r=2;t=30`, want: 30 * time.Second},
		{status: 200, ratelimit: `"default";r=0;t=30`, want: 30 * time.Second},
		{status: 200, ratelimit: `"default";r=0;t=0`},
		{status: 200, ratelimit: `"default" ; t=7 ; r=1 `, want: 7 * time.Second},
		{status: 200, ratelimit: `"default"; t=7; r=1`, want: 7 * time.Second},
		{status: 200, ratelimit: `"default";r=50;t=30, "burst";r=1;t=4`, want: 4 * time.Second},
		{status: 200, ratelimit: `"default";r=50;t=30`, anotherLimit: `"burst";r=1;t=4`, want: 4 * time.Second},
		{status: 200, ratelimit: `"a;r=0;t=9,b";r=50;t=30`},
		{status: 200, ratelimit: `"default";r=0;t=999999999`, want: 5 * time.Minute},
		{status: 200, ratelimit: `"default";r=0;t=99999999999999999999`},
		{status: 200, ratelimit: `"default";r=-1;t=30`},
		{status: 200, ratelimit: `r=0;t=30`},
		{status: 429, retry: "17", want: 17 * time.Second},
		{status: 429, retry: "0", want: time.Second},
		{status: 429, retry: "86400", want: 5 * time.Minute},
		{status: 429, retry: now.Add(8 * time.Second).Format(http.TimeFormat), want: 8 * time.Second},
		{status: 429, retry: now.Add(-time.Hour).Format(http.TimeFormat), want: time.Second},
		{status: 429, want: 30 * time.Second},
		{status: 429, ratelimit: `"default";r=0;t=12`, want: 12 * time.Second},
		{status: 429, retry: "soon", ratelimit: `"default";r=9;t=12`, want: 12 * time.Second},
	} {
		p := newPace(clock.NewFake(now))
		h := http.Header{}
		for _, v := range []string{c.ratelimit, c.anotherLimit} {
			if v != "" {
				h.Add("Ratelimit", v)
			}
		}
		h.Set("Retry-After", c.retry)
		if got := p.note(c.status, h); got != c.want || max(p.held(), 0) != c.want {
			t.Errorf("%d %q %q: %v, %v, want %v", c.status, h.Values("Ratelimit"), c.retry, got, p.held(), c.want)
		}
		p.note(http.StatusOK, http.Header{"Ratelimit": {`"default";r=50;t=1`}}) // one that was sent before, and answered after
		if got := max(p.held(), 0); got != c.want {
			t.Errorf("%d %q %q: another answer makes the wait %v", c.status, h.Values("Ratelimit"), c.retry, got)
		}
	}
}
