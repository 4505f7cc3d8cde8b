package cloudflare

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// In any five minutes at most burst + 300 s · perSecond = 60 + 1050 = 1110 requests are sent, of the 1200 that Cloudflare
// lets a user have; the rest is for the dashboard. A burst is some fifteen VMs at once, with a forward and a reverse zone.
// Other processes have a pace of their own: what all have used together, Ratelimit says.
const (
	perSecond = 3.5
	burst     = 60
	// spare is how many requests Cloudflare may have left for us when we stop: others use the account, too, and what is under
	// way is not counted yet.
	spare = 2
	// longestHold is the most that an answer can make us wait: Cloudflare's window.
	longestHold = 5 * time.Minute
	// unsaidHold is the wait for a 429 that names none.
	unsaidHold = 30 * time.Second
)

// pace is when requests may be sent.
type pace struct {
	clock   clock.Clock
	limiter *rate.Limiter

	mu    sync.Mutex
	until time.Time // before which Cloudflare wants none
}

func newPace(c clock.Clock) *pace { return &pace{clock: c, limiter: rate.NewLimiter(perSecond, burst)} }

// turn waits until a request may be sent. Errors are those of wait.
func (p *pace) turn(ctx context.Context) error {
	now := p.clock.Now()
	r := p.limiter.ReserveN(now, 1)
	if d := r.DelayFrom(now); d > 0 {
		if err := p.wait(ctx, d, "there were many requests: the next one can be sent in"); err != nil {
			r.CancelAt(now)
			return err
		}
	}
	for d := p.held(); d > 0; d = p.held() {
		if err := p.wait(ctx, d, "it asks to wait"); err != nil {
			return err
		}
	}
	return nil
}

// wait lets d pass by the clock. Where ctx ends before that it does not begin to: kvm.ErrBusy, which names the seconds. When
// ctx ends meanwhile the error is that, and kvm.ErrUnreachable, for nothing was sent.
func (p *pace) wait(ctx context.Context, d time.Duration, why string) error {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d && ctx.Err() == nil { // a deadline is the wall's, whatever the clock is
		return kvm.Errorf(kvm.ErrBusy, "%s %d s, and there is less time", why, seconds(d))
	}
	if err := p.clock.Sleep(ctx, d); err != nil {
		return kvm.Errorf(err, "%w", kvm.Errorf(kvm.ErrUnreachable, "nothing was sent: %v", context.Cause(ctx)))
	}
	return nil
}

func (p *pace) held() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until.Sub(p.clock.Now())
}

// note takes what an answer says of the limit, and gives how long there is to wait.
func (p *pace) note(status int, h http.Header) time.Duration {
	now := p.clock.Now()
	var hold time.Duration
	for _, q := range quotas(strings.Join(h.Values("Ratelimit"), ",")) {
		if q.left <= spare || status == http.StatusTooManyRequests {
			hold = max(hold, q.reset)
		}
	}
	if status == http.StatusTooManyRequests {
		if d, ok := retryAfter(h.Get("Retry-After"), now); ok {
			hold = d
		} else if hold == 0 {
			hold = unsaidHold
		}
		hold = max(hold, time.Second)
	}
	hold = min(hold, longestHold)
	p.mu.Lock()
	defer p.mu.Unlock()
	if end := now.Add(hold); end.After(p.until) {
		p.until = end
	}
	return hold
}

// retryAfter reads the header: seconds, or a date.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	at, err := http.ParseTime(text)
	return at.Sub(now), err == nil
}

// quota is one limit: how many requests are left, and when it is whole again.
type quota struct {
	left  int
	reset time.Duration
}

// quotas reads a Ratelimit header: "default";r=50;t=30, and more behind commas. What it cannot read it leaves out.
func quotas(text string) []quota {
	var out []quota
	for _, item := range fields(text, ',') {
		values := map[string]int{}
		for i, part := range fields(item, ';') {
			key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if n, err := strconv.ParseUint(value, 10, 31); i > 0 && err == nil {
				values[key] = int(n)
			}
		}
		left, hasLeft := values["r"]
		reset, hasReset := values["t"]
		if hasLeft && hasReset {
			out = append(out, quota{left, time.Duration(reset) * time.Second})
		}
	}
	return out
}

// fields cuts text at each sep that is not between quotes.
func fields(text string, sep rune) []string {
	quoted := false
	return strings.FieldsFunc(text, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return c == sep && !quoted
	})
}

// seconds are those of d, rounded up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
