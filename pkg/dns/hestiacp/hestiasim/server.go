package hestiasim

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/trust/selfsigned"
)

// Options say what the stand-in believes.
type Options struct {
	Keys       []Key
	Root       string        // the administrator, the one user of the login by password; "" = admin
	Password   string        // Root's; "" = nobody logs in so
	Hash       string        // the legacy API key, 16 characters or more; "" = there is none
	AllowedIPs []string      // API_ALLOWED_IP; nil = any address may call
	Off        bool          // the API is switched off
	AdminsOnly bool          // API_SYSTEM is 1: keys of other users than Root are refused
	Warnings   string        // what PHP prints before an answer to an old login, with a line's end after it
	Work       time.Duration // how long each command takes
}

// Key is an access key.
type Key struct {
	ID       string // 20 letters and digits
	Secret   string // 40 characters
	User     string
	Commands []string // that it may run; nil = all for Root's, none for another user's
}

// The commands that the stand-in knows.
const (
	List   = "v-list-dns-records"
	Add    = "v-add-dns-record"
	Delete = "v-delete-dns-record"
	change = "v-change-dns-record"
)

// Shipped is the permission set update-dns-records that HestiaCP comes with. It can neither add nor delete.
var Shipped = []string{List, change}

// Call is a request that named a command, without what it logged in with.
type Call struct {
	From    string // the client's host:port
	URI     string
	Login   string // access key, hash, password
	Code    bool   // returncode=yes
	Numbers []int  // of the arguments that were given: 1 for arg1
	Command string
	Args    []string // as the command gets them
	Exit    int      // what the command or the login came to
}

// Server is the stand-in. It is safe for concurrent use.
type Server struct {
	URL         string // https://127.0.0.1:port
	Addr        string
	Fingerprint string // SHA-256 of the certificate, AA:BB:…

	o       Options
	http    *http.Server
	stop    chan struct{}
	closing sync.Once
	served  chan struct{}

	mu     sync.Mutex
	users  map[string]bool
	zones  map[string]*zone
	calls  []*Call
	faults []Fault
	hooks  map[Point]func(Call)
}

// Start begins to serve on addr, like 127.0.0.1:0. Call Close when done.
func Start(addr string, o Options) (*Server, error) {
	if o.Root == "" {
		o.Root = "admin"
	}
	cert, fingerprint, err := selfsigned.New("hestiasim", "Hestia Control Panel")
	if err != nil {
		return nil, fmt.Errorf("certificate of the stand-in: %w", err)
	}
	listener, err := tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, fmt.Errorf("stand-in at %s: %w", addr, err)
	}
	s := &Server{
		URL: "https://" + listener.Addr().String(), Addr: listener.Addr().String(), Fingerprint: fingerprint,
		o: o, stop: make(chan struct{}), served: make(chan struct{}),
		users: map[string]bool{o.Root: true}, zones: map[string]*zone{}, hooks: map[Point]func(Call){},
	}
	for _, k := range o.Keys {
		s.users[k.User] = true
	}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // ends by Close
	}()
	return s, nil
}

// Close stops serving and ends the calls that hang.
func (s *Server) Close() error {
	s.closing.Do(func() { close(s.stop) })
	err := s.http.Close()
	<-s.served
	return err
}

// Calls are the requests so far that named a command, oldest first.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		out = append(out, *c)
	}
	return out
}

// Forget empties Calls.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// address is the host that a request came from.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
