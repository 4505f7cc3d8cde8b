package apisim

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// Options say what the stand-in believes.
type Options struct {
	Identifier  string
	Secret      string
	AccessKey   string   // $api_access_key; empty = there is none
	AllowedIPs  []string // the IP list; nil = any address may call
	Templates   []string // the mail templates (of type product) that exist
	Disabled    []string // those of Templates that are switched off
	Departments []string // names of the support departments; the id is the place in the list, from 1
	// Trace is called for each mail that is sent, before the answer, and may write a row like that of tblemails. Its error
	// makes the answer a 500.
	Trace func(ctx context.Context, m Mail) error
	Clock clock.Clock // nil = the wall's
}

// Mail is a mail that was sent.
type Mail struct {
	Action    string // SendEmail or SendAdminEmail
	Template  string // "" for a custom message
	ServiceID int64  // the related id, 0 for SendAdminEmail
	Subject   string // of a custom message
	Message   string
	At        time.Time
}

// Ticket is a ticket that was opened.
type Ticket struct {
	ID         int64
	Department int
	ClientID   int64
	ServiceID  int64
	Subject    string
	Message    string
}

// Activity is an entry of the activity log.
type Activity struct {
	ClientID    int64
	Description string
}

// Server is the stand-in. It is safe for concurrent use.
type Server struct {
	o        Options
	http     *http.Server
	listener net.Listener
	stop     chan struct{}
	closing  sync.Once
	done     chan struct{}

	mu         sync.Mutex
	requests   int
	mails      []Mail
	tickets    []Ticket
	activities []Activity
	faults     []fault
	slow       time.Duration
}

// Start begins to serve on addr, like 127.0.0.1:0. Call Close when done.
func Start(addr string, o Options) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = clock.Wall{}
	}
	s := &Server{o: o, listener: listener, stop: make(chan struct{}), done: make(chan struct{})}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(listener) // ends by Close
	}()
	return s, nil
}

// URL is the address of the stand-in's WHMCS.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/" }

// Close stops serving and ends the calls that hang.
func (s *Server) Close() error {
	s.closing.Do(func() { close(s.stop) })
	err := s.http.Close()
	<-s.done
	return err
}

// Requests is how many requests came in, whatever became of them.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Mails are the mails that were sent so far, oldest first.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.mails...)
}

// Tickets are the tickets that were opened so far, oldest first.
func (s *Server) Tickets() []Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Ticket(nil), s.tickets...)
}

// Activities are the entries of the activity log so far, oldest first.
func (s *Server) Activities() []Activity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Activity(nil), s.activities...)
}
