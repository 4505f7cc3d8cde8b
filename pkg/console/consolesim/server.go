package consolesim

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/trust/selfsigned"
)

// Entry is what was registered.
type Entry struct {
	Hash, Token, Cookie, CSRF, URL string
}

// Fault is how it fails.
type Fault string

// The faults. Echo answers 500 with everything that it was sent; Elsewhere leads on to another address; Stranger is a web server
// which does not know the proxy's path.
const (
	None      Fault = ""
	Forbidden Fault = "forbidden"
	Echo      Fault = "echo"
	Hang      Fault = "hang"
	Elsewhere Fault = "elsewhere"
	Stranger  Fault = "stranger"
	Nonsense  Fault = "nonsense"
)

// Server is a proxy.
type Server struct {
	Addr        string // host:port
	Fingerprint string // of its certificate; "" = it speaks http

	server *http.Server
	mu     sync.Mutex
	key    string
	fault  Fault
	seen   []Entry
	done   chan struct{}
}

// Start starts one at addr that wants the key, with a certificate of its own if secure.
func Start(addr, key string, secure bool) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: l.Addr().String(), key: key, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/proxy", s.register)
	// What a client that refuses the certificate leaves in the log is of no interest.
	s.server = &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: mux, ReadHeaderTimeout: time.Minute}
	if secure {
		cert, fingerprint, err := selfsigned.New("consolesim", "vncwebproxy")
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		s.Fingerprint = fingerprint
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}})
	}
	go func() { _ = s.server.Serve(l) }() // it ends with ErrServerClosed
	return s, nil
}

// Close ends it, and what hangs.
func (s *Server) Close() error {
	close(s.done)
	return s.server.Close()
}

// Fail makes it fail from now on.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Entries are those that it has taken.
func (s *Server) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Entry(nil), s.seen...)
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	switch fault {
	case Hang:
		<-s.done
		return
	case Elsewhere:
		http.Redirect(w, r, "http://127.0.0.1:1/api/proxy", http.StatusTemporaryRedirect)
		return
	case Stranger:
		http.Error(w, "<html>Not Found</html>", http.StatusNotFound)
		return
	case Nonsense:
		fmt.Fprint(w, `{"status":"perhaps"}`)
		return
	case Echo:
		answer(w, http.StatusInternalServerError, object{"status": "error", "errors": []string{string(body), fmt.Sprint(r.Header)}})
		return
	}
	var e struct {
		Hash   string `json:"hash"`
		Token  string `json:"proxmox_token"`
		Cookie string `json:"cookie"`
		CSRF   string `json:"csrfp_revention_token"`
		URL    string `json:"proxmox_ws_url"`
	}
	switch err := json.Unmarshal(body, &e); {
	case err != nil || e.Hash == "" || e.URL == "":
		refuse(w, http.StatusBadRequest, "Invalid JSON or missing fields")
	case r.Header.Get("X-API-Key") != s.key:
		refuse(w, http.StatusUnauthorized, "Invalid API Key")
	case fault == Forbidden:
		refuse(w, http.StatusForbidden, "Forbidden IP")
	default:
		s.mu.Lock()
		s.seen = append(s.seen, Entry(e))
		s.mu.Unlock()
		answer(w, http.StatusOK, object{"status": "success", "message": "Proxied entry added successfully"})
	}
}

type object map[string]any

func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, object{"status": "error", "errors": []string{why}})
}

func answer(w http.ResponseWriter, status int, o object) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(o) // whoever asked has gone
}
