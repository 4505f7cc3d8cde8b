package cloudflaresim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/hangup"
)

// Always is the number of times of a fault that does not end.
const Always = -1

// Fault is what happens to requests in place of their answer. One of Hang, Reset, HTML and Status says what.
type Fault struct {
	Method string // "" = any
	Path   string // what the path ends with; "" = any
	Skip   int    // that many such requests pass before
	Times  int    // 0 = once
	Acts   bool   // what was asked for is done, and then it goes wrong

	Hang       bool          // no answer until the client leaves; when the stand-in closes, a reset
	Reset      bool          // the connection, or the stream of HTTP/2, is reset; with Acts the answer is lost
	HTML       bool          // Status with a page of HTML, as from a web server before the API
	Status     int           // an error in Cloudflare's form
	Code       int           // of it; 0 = 971 with 429, else 1000
	Message    string        // of it; "" = the words for Status
	RetryAfter time.Duration // its header; 0 = there is none
}

// Fail asks for a fault. Several happen in the order in which they were asked for.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Times = orElse(f.Times, 1)
	s.faults = append(s.faults, f)
}

// Heal takes back every fault that has not happened.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// next takes the fault for a request.
func (s *Server) next(c Call) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		f := &s.faults[i]
		if f.Method != "" && f.Method != c.Method || !strings.HasSuffix(c.Path, f.Path) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			return Fault{}, false
		}
		out := *f
		if f.Times != Always {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return out, true
	}
	return Fault{}, false
}

// do answers as the fault wants, and gives the status.
func (f Fault) do(s *Server, w http.ResponseWriter, r *http.Request) int {
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.stop.Done():
			hangup.Reset(w)
		}
		return 0
	case f.Reset:
		hangup.Reset(w)
		return 0
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds(f.RetryAfter)))
	}
	if f.HTML {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(f.Status)
		_, _ = fmt.Fprintf(w, "<html><head><title>%d %s</title></head>\n<body>cloudflare</body></html>\n", f.Status, http.StatusText(f.Status))
		return f.Status
	}
	code := 1000
	if f.Status == http.StatusTooManyRequests {
		code = 971
	}
	no := refusal{status: f.Status, code: orElse(f.Code, code), message: orElse(f.Message, http.StatusText(f.Status))}
	write(w, no.status, object{"success": false, "errors": []object{no.shown()}, "messages": []object{}, "result": nil})
	return f.Status
}
