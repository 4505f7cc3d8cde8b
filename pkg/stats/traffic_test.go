package stats

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var noon = time.Date(2026, 4, 10, 12, 0, 0, 0, time.UTC)

func TestAdvance(t *testing.T) {
	at := func(after, uptime time.Duration, in, out int64) kvm.Counters {
		return kvm.Counters{UUID: "a", At: noon.Add(after), Uptime: uptime, In: in, Out: out}
	}
	other := func(c kvm.Counters) kvm.Counters { c.UUID = "b"; return c }
	last := at(0, 10*time.Hour, 1000, 500)
	for name, c := range map[string]struct {
		last    *kvm.Counters
		now     kvm.Counters
		in, out int64
		from    time.Duration
		keep    bool
	}{
		"first, started within the hour": {nil, at(0, 40*time.Minute, 70, 7), 70, 7, -40 * time.Minute, false},
		"first, runs for long":           {nil, at(0, 2*time.Hour, 70, 7), 0, 0, 0, false},
		"first, off":                     {nil, at(0, 0, 0, 0), 0, 0, 0, false},
		"goes on":                        {&last, at(time.Hour, 11*time.Hour, 1600, 510), 600, 10, 0, false},
		"idle":                           {&last, at(time.Hour, 11*time.Hour, 1000, 500), 0, 0, 0, false},
		"again":                          {&last, last, 0, 0, 0, true},
		"too soon to tell":               {&last, at(time.Minute, time.Second, 5, 5), 0, 0, time.Minute, true},
		"older":                          {&last, at(-time.Minute, 9*time.Hour, 900, 400), 0, 0, -time.Minute, true},
		"by a clock that was wrong":      {&last, at(-48*time.Hour, 9*time.Hour, 900, 400), 0, 0, -48 * time.Hour, false},
		"started anew":                   {&last, at(time.Hour, 20*time.Minute, 30, 3), 30, 3, 40 * time.Minute, false},
		"started anew, more than before": {&last, at(time.Hour, 20*time.Minute, 3000, 600), 3000, 600, 40 * time.Minute, false},
		"switched off":                   {&last, at(time.Hour, 0, 0, 0), 0, 0, time.Hour, false},
		"started after it was off":       {new(at(0, 0, 0, 0)), at(time.Hour, 20*time.Minute, 30, 3), 30, 3, 0, false},
		"longer up than before":          {new(at(0, time.Minute, 50, 50)), at(time.Hour, 30*time.Minute, 40, 60), 40, 60, 30 * time.Minute, false},
		"a card was taken out":           {&last, at(time.Hour, 11*time.Hour, 200, 700), 0, 200, 0, false},
		"another VM":                     {&last, other(at(time.Hour, 20*time.Minute, 30, 3)), 30, 3, 40 * time.Minute, false},
		"another VM, which may be known": {&last, other(at(time.Hour, 58*time.Minute, 30, 3)), 0, 0, time.Hour, false},
	} {
		got, keep := Advance(c.last, c.now)
		if got.In != c.in || got.Out != c.out || keep != c.keep || !keep && !got.From.Equal(noon.Add(c.from)) {
			t.Errorf("%s: %+v, keep %v", name, got, keep)
		}
	}
}

// A VM that is started and stopped at random, read at random moments, at times late, twice, or by a node that has heard less,
// is never counted more than it carried. When it ran on between two readings all is counted, else no more is
// lost than was carried between them.
func TestAdvanceNeverCountsTooMuch(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	for range 400 {
		v := newTimeline(r)
		var last *kvm.Counters
		var measured, counted, allowed, lost int64
		for at := int64(r.IntN(3600)) + 300; at < v.length; at += []int64{0, 5, 60, 290, 300, 301, 3600, 3600, 3600, 9000}[r.IntN(10)] + r.Int64N(3) {
			lag := []int64{0, 10, 20, 299}[r.IntN(4)]
			m := at - lag
			now := kvm.Counters{UUID: "a", At: noon.Add(time.Duration(at) * time.Second), Uptime: time.Duration(v.uptime[m]) * time.Second, In: v.in[m], Out: 2 * v.in[m]}
			got, keep := Advance(last, now)
			if got.In < 0 || got.Out != 2*got.In || keep && got.In != 0 {
				t.Fatalf("seed %d: counted %+v, keep %v", seed, got, keep)
			}
			if keep {
				continue
			}
			counted += got.In
			if last == nil {
				allowed, measured, last = v.total[m], m, &now
				lost = v.total[m] - got.In
				continue
			}
			carried := v.total[m] - v.total[measured]
			if v.starts[m] == v.starts[measured] && got.In != carried {
				t.Fatalf("seed %d: %d of %d counted, without a start or an end, from %+v to %+v", seed, got.In, carried, *last, now)
			}
			if got.In > carried {
				t.Fatalf("seed %d: %d of %d counted, from %+v to %+v", seed, got.In, carried, *last, now)
			}
			allowed, lost = allowed+carried, lost+carried-got.In
			measured, last = m, &now
		}
		if counted > allowed || counted+lost != allowed {
			t.Fatalf("seed %d: counted %d of %d, lost %d", seed, counted, allowed, lost)
		}
	}
}

// timeline is the true life of a VM, by the second.
type timeline struct {
	length            int64
	uptime, in, total []int64
	starts            []int // how often it was switched on or off
}

func newTimeline(r *rand.Rand) *timeline {
	v := &timeline{length: 30_000}
	running, starts, up, in, total, rate := true, 0, int64(r.IntN(100_000)), int64(0), int64(0), int64(100)
	in = up * 50
	total = in
	for range v.length {
		if r.IntN(2500) == 0 {
			running = !running
			starts, up, in = starts+1, 0, 0
			rate = r.Int64N(500)
		} else if r.IntN(4000) == 0 && running { // a reboot from outside
			starts, up, in = starts+1, 0, 0
		}
		if running {
			up, in, total = up+1, in+rate, total+rate
		}
		v.uptime, v.in, v.total, v.starts = append(v.uptime, up), append(v.in, in), append(v.total, total), append(v.starts, starts)
	}
	return v
}

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		from, to time.Duration // after noon
		in, out  int64
		want     map[time.Duration][2]int64
	}{
		"nothing":         {0, time.Hour, 0, 0, map[time.Duration][2]int64{}},
		"an hour":         {2 * time.Second, time.Hour + 5*time.Second, 600, 60, map[time.Duration][2]int64{0: {600, 60}}},
		"over the border": {45 * time.Minute, 105 * time.Minute, 600, 60, map[time.Duration][2]int64{0: {150, 15}, time.Hour: {450, 45}}},
		"odd":             {0, 3 * time.Hour, 100, 1, map[time.Duration][2]int64{0: {33, 0}, time.Hour: {33, 0}, 2 * time.Hour: {34, 1}}},
		"a moment":        {20 * time.Minute, 20*time.Minute + time.Second, 5, 6, map[time.Duration][2]int64{0: {5, 6}}},
		"backwards":       {time.Hour, 0, 5, 6, map[time.Duration][2]int64{0: {5, 6}}},
	} {
		got := map[time.Duration][2]int64{}
		for _, h := range Split(noon.Add(c.from), noon.Add(c.to), c.in, c.out) {
			got[h.Hour.Sub(noon)] = [2]int64{h.In, h.Out}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v", name, got)
		}
		for h, want := range c.want {
			if got[h] != want {
				t.Errorf("%s: hour %v: %v, want %v", name, h, got[h], want)
			}
		}
	}
}

// What is split is no more and no less than what there was, however long the interval, and stays within it.
func TestSplitKeepsTheSum(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 2))
	for range 5000 {
		from := noon.Add(time.Duration(r.Int64N(int64(72 * time.Hour))))
		to := from.Add(time.Duration(r.Int64N(int64(time.Hour) << r.IntN(12))))
		in, out := r.Int64N(1<<uint(1+r.IntN(60))), r.Int64N(1000)
		var sumIn, sumOut int64
		hours := Split(from, to, in, out)
		for _, h := range hours {
			if h.In < 0 || h.Out < 0 || h.Hour.Before(from.Truncate(time.Hour)) || h.Hour.After(to) || h.Hour != h.Hour.Truncate(time.Hour) || h.Hour.Location() != time.UTC {
				t.Fatalf("seed %d: %v to %v: %+v", seed, from, to, h)
			}
			sumIn, sumOut = sumIn+h.In, sumOut+h.Out
		}
		if sumIn != in || sumOut != out || len(hours) > mostPieces+1 {
			t.Fatalf("seed %d: %v to %v: %d hours, %d of %d, %d of %d", seed, from, to, len(hours), sumIn, in, sumOut, out)
		}
	}
}

func TestMonths(t *testing.T) {
	hour := func(text string, in int64) kvm.HourTraffic {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return kvm.HourTraffic{Hour: at.UTC(), In: in, Out: 10 * in}
	}
	for _, c := range []struct {
		zone, now  string
		hours      []kvm.HourTraffic
		this, last int64
		from       string
		since      string // of the last month
	}{
		{"Europe/Warsaw", "2026-04-10T03:49:18Z", []kvm.HourTraffic{hour("2026-03-31T21:00:00Z", 1), hour("2026-03-31T22:00:00Z", 2), hour("2026-04-10T03:00:00Z", 4)}, 6, 1,
			"2026-04-01T00:00:00+02:00", "2026-03-06T04:49:18+01:00"},
		{"UTC", "2026-03-02T00:00:00Z", []kvm.HourTraffic{hour("2026-01-31T23:00:00Z", 8), hour("2026-02-28T23:00:00Z", 1), hour("2026-03-01T00:00:00Z", 2)}, 2, 1,
			"2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		// Midnight in India is at 18:30 UTC: the hour from 18:00 on belongs to the month that it begins in.
		{"Asia/Kolkata", "2026-04-10T00:00:00Z", []kvm.HourTraffic{hour("2026-03-31T18:00:00Z", 1), hour("2026-03-31T19:00:00Z", 2)}, 2, 1,
			"2026-04-01T00:00:00+05:30", "2026-03-06T05:30:00+05:30"},
		{"UTC", "2026-01-31T12:00:00Z", []kvm.HourTraffic{hour("2025-12-31T23:00:00Z", 1), hour("2026-01-01T00:00:00Z", 2)}, 2, 1,
			"2026-01-01T00:00:00Z", "2025-12-27T12:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		this, last := Months(now, zone, c.hours)
		if this.In != c.this || this.Out != 10*c.this || last.In != c.last || this.From.Format(time.RFC3339) != c.from || last.Since.Format(time.RFC3339) != c.since || this.Since != this.From || last.Until != this.From {
			t.Errorf("%s in %s: %+v\nlast %+v", c.now, c.zone, this, last)
		}
	}
}
