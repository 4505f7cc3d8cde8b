package cloudflaresim

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/trust/selfsigned"
)

// Cloudflare's own numbers.
const (
	defaultLimit      = 1200
	defaultWindow     = 5 * time.Minute
	defaultPerPage    = 5_000_000
	defaultBatchLimit = 200
	defaultExists     = 81058
)

// Options say what the stand-in believes. What is zero is as at Cloudflare.
type Options struct {
	Tokens     []Token       // who may call
	Clock      clock.Clock   // nil = the wall's
	Limit      int           // requests that a token has in Window; 0 = 1200
	Window     time.Duration // 0 = five minutes
	PerPage    int           // the most records that a page holds, whatever is asked for; 0 = 5 000 000
	BatchLimit int           // operations in a batch; 0 = 200
	Quota      int           // records that a zone may hold; 0 = as many as there are
	Exists     int           // code of the error for a record that is there already; 0 = 81058, else 81057
	Hidden     bool          // a zone that does not exist is answered 403, as one that the token may not see
	HTTP1      bool          // HTTP/2 is not offered
}

// Token is an API token.
type Token struct {
	Text     string
	Account  bool     // owned by an account, not by a user
	Zones    []string // names of the zones that it was given; nil = all
	ReadOnly bool     // it has Zone.Zone:Read and Zone.DNS:Read, and not Zone.DNS:Edit
}

// Server is the stand-in. It is safe for concurrent use.
type Server struct {
	URL         string // of the API: https://127.0.0.1:port/client/v4
	Addr        string // host:port
	Fingerprint string // SHA-256 of the certificate, AA:BB:…
	o           Options
	http        *http.Server
	stop        context.Context
	cancel      context.CancelFunc
	done        chan struct{}

	mu      sync.Mutex
	made    int // zones and records so far
	zones   []*zone
	calls   []Call
	faults  []Fault
	before  func(Call)
	windows map[string]*window // by token
}

// Start begins to serve on addr, like 127.0.0.1:0. Call Close when done.
func Start(addr string, o Options) (*Server, error) {
	o.Limit, o.PerPage = orElse(o.Limit, defaultLimit), orElse(o.PerPage, defaultPerPage)
	o.BatchLimit, o.Exists = orElse(o.BatchLimit, defaultBatchLimit), orElse(o.Exists, defaultExists)
	o.Window = orElse(o.Window, defaultWindow)
	if o.Clock == nil {
		o.Clock = clock.Wall{}
	}
	cert, fingerprint, err := selfsigned.New("cloudflaresim", "Cloudflare")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: listener.Addr().String(), Fingerprint: fingerprint, o: o, done: make(chan struct{}), windows: map[string]*window{}}
	s.URL = "https://" + s.Addr + root
	s.stop, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	if o.HTTP1 {
		s.http.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	go func() {
		defer close(s.done)
		_ = s.http.ServeTLS(listener, "", "") // ends by Close
	}()
	return s, nil
}

// Close stops serving and ends the calls that hang.
func (s *Server) Close() error {
	s.cancel()
	err := s.http.Close()
	<-s.done
	return err
}

func orElse[T comparable](value, other T) T {
	var zero T
	if value == zero {
		return other
	}
	return value
}
