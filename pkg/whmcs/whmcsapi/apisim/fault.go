package apisim

import (
	"io"
	"net/http"
	"time"

	"github.com/puqkvm/puqkvm/pkg/hangup"
)

// Always is the number of times of a fault that does not end.
const Always = -1

// fault is what happens to the next requests, in the order in which the faults were asked for.
type fault struct {
	times int // left; Always = does not end
	acts  bool
	do    func(s *Server, w http.ResponseWriter, r *http.Request)
}

func (s *Server) add(times int, acts bool, do func(*Server, http.ResponseWriter, *http.Request)) {
	if times == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fault{times, acts, do})
}

// Refuse lets the next n requests fail with message, as an action of WHMCS does: status 200 and result=error.
func (s *Server) Refuse(n int, message string) { s.RefuseWith(n, http.StatusOK, message) }

// RefuseWith is Refuse with another status, as WHMCS refuses credentials (403) and addresses (400).
func (s *Server) RefuseWith(n, status int, message string) {
	s.add(n, false, func(_ *Server, w http.ResponseWriter, _ *http.Request) {
		answer(w, status, object{"result": "error", "message": message})
	})
}

// Answer lets the next n requests get status and body and nothing else, as from a web server before WHMCS or a PHP that
// died. With acts, WHMCS has done what was asked.
func (s *Server) Answer(n, status int, body string, acts bool) {
	s.add(n, acts, func(_ *Server, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// Hang lets the next n requests wait until the client leaves, or the stand-in closes and resets them. With acts, WHMCS has done what was
// asked, before the wait.
func (s *Server) Hang(n int, acts bool) {
	s.add(n, acts, func(s *Server, w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-s.stop:
			hangup.Reset(w)
		}
	})
}

// LoseAnswer lets the next n requests be done and their connections reset.
func (s *Server) LoseAnswer(n int) {
	s.add(n, true, func(_ *Server, w http.ResponseWriter, _ *http.Request) { hangup.Reset(w) })
}

// Drop lets the next n requests be read and not done, and their connections reset.
func (s *Server) Drop(n int) {
	s.add(n, false, func(_ *Server, w http.ResponseWriter, _ *http.Request) { hangup.Reset(w) })
}

// Slow makes every request take d longer, by the stand-in's clock. 0 ends it.
func (s *Server) Slow(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = d
}

// Heal takes back every fault that was asked for and has not happened.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.slow = nil, 0
}

// next takes the fault for a request, nil when there is none, and how long the request is to take.
func (s *Server) next() (*fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if len(s.faults) == 0 {
		return nil, s.slow
	}
	f := s.faults[0]
	if f.times != Always {
		if s.faults[0].times--; s.faults[0].times == 0 {
			s.faults = s.faults[1:]
		}
	}
	return &f, s.slow
}
