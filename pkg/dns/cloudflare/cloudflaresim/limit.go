package cloudflaresim

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// window is what a token has used of its limit.
type window struct {
	end  time.Time
	used int
}

// allowance is what an answer says of the limit.
type allowance struct {
	quota, left   int
	window, reset time.Duration
	over          bool
}

// SetLeft makes each token have that many requests left, until reset has passed.
func (s *Server) SetLeft(left int, reset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.o.Tokens {
		s.windows["Bearer "+t.Text] = &window{end: s.o.Clock.Now().Add(reset), used: s.o.Limit - left}
	}
}

// spend counts a request. Whoever has none left has none for a whole window from then on.
func (s *Server) spend(who string) allowance {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Clock.Now()
	w := s.windows[who]
	if w == nil || !now.Before(w.end) {
		w = &window{end: now.Add(s.o.Window)}
		s.windows[who] = w
	}
	w.used++
	if w.used == s.o.Limit+1 {
		w.end = now.Add(s.o.Window)
	}
	return allowance{quota: s.o.Limit, left: max(s.o.Limit-w.used, 0), window: s.o.Window, reset: w.end.Sub(now), over: w.used > s.o.Limit}
}

// write puts the headers of every answer into h.
func (a allowance) write(h http.Header) {
	h.Set("Ratelimit", fmt.Sprintf(`"default";r=%d;t=%d`, a.left, seconds(a.reset)))
	h.Set("Ratelimit-Policy", fmt.Sprintf(`"default";q=%d;w=%d`, a.quota, seconds(a.window)))
	if a.over {
		h.Set("Retry-After", strconv.Itoa(seconds(a.reset)))
	}
}

func (a allowance) refused() *refusal {
	if !a.over {
		return nil
	}
	return &refusal{status: http.StatusTooManyRequests, code: 971, message: "Please wait and consider throttling your request speed"}
}

// seconds are those of d, rounded up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
