package hestiasim

import (
	"time"
)

// Always is the number of Times of a fault that does not end.
const Always = -1

// Fault is what happens to requests in place of the right answer.
type Fault struct {
	Command string // that it happens to; "" = every one
	Skip    int    // how many of these go well before
	Times   int    // how many it happens to then; 0 = one
	Acts    bool   // the command does its work, and then it happens
	Exit    int    // the command's exit code; 20 with Acts is a restart of BIND that failed
	Output  string // what the command prints then
	Status  int    // an HTTP status in place of PHP's, with Body
	Body    string
	Hang    bool // no answer until the client leaves or the stand-in closes
	Reset   bool // no answer: the connection is reset
}

// Fail asks for f. Of several faults for a command the first one asked for happens until it is used up.
func (s *Server) Fail(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// Heal takes back every fault that was asked for and has not happened.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault takes the fault for a command, the zero one when there is none.
func (s *Server) fault(command string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		f := &s.faults[i]
		switch {
		case f.Times == 0 || f.Command != "" && f.Command != command:
			continue
		case f.Skip > 0:
			f.Skip--
			return Fault{Acts: true}
		case f.Times != Always:
			f.Times--
		}
		return *f
	}
	return Fault{Acts: true}
}

// Point is a place within a command where a hook may run.
type Point int

// The points.
const (
	Arrived Point = iota // every command: nothing is done yet
	Read                 // add: its id is chosen, and not yet compared with those that are there
	Checked              // add: nobody has its id, and it is not written yet
	Changed              // add and delete: the change is made, and the answer not given
)

// On runs do at a point of every command from now on; nil ends it. do may use the stand-in, and other commands run meanwhile.
func (s *Server) On(p Point, do func(Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if do == nil {
		delete(s.hooks, p)
		return
	}
	s.hooks[p] = do
}

// at runs the hook of a point. The caller holds the lock; it is given up only where there is something to do.
func (s *Server) at(p Point, c Call) {
	do := s.hooks[p]
	work := time.Duration(0)
	if p == Checked || p == Arrived && c.Command != Add {
		work = s.o.Work
	}
	if do == nil && work == 0 {
		return
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	if do != nil {
		do(c)
	}
	if work > 0 {
		timer := time.NewTimer(work)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.stop:
		}
	}
}
