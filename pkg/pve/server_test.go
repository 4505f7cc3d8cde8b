package pve

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const testSecret = "0d5ee1f0-1111-2222-3333-444455556666"

// testServer is a TLS server that counts and keeps what it was asked.
type testServer struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // METHOD path?query body
}

func newServer(t *testing.T, h http.HandlerFunc) *testServer {
	t.Helper()
	return newServerAt(t, "127.0.0.1:0", h)
}

func newServerAt(t *testing.T, addr string, h http.HandlerFunc) *testServer {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen = append(s.seen, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.RequestURI, "/api2/json")+" "+string(body)))
		s.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		h(w, r)
	}))
	s.Listener.Close()
	s.Listener = l
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *testServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

func (s *testServer) pin(t *testing.T) string {
	t.Helper()
	p, err := Fingerprint(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// client is a Client of the server, with a token unless change says otherwise.
func (s *testServer) client(t *testing.T, change func(*Options)) *Client {
	t.Helper()
	o := Options{URLs: []string{s.URL}, User: "whmcs@pve!puqkvm", Secret: kvm.NewSecret(testSecret),
		TLS: trust.Trust{Pins: []string{s.pin(t)}}, Timeout: 5 * time.Second, Clock: clock.NewFake(time.Unix(1_700_000_000, 0))}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// raw answers with a status line of our own, as Proxmox does, and closes.
func raw(w http.ResponseWriter, status, contentType, body string) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(buf, "HTTP/1.1 %s\r\nConnection: close\r\n", status)
	if contentType != "" {
		fmt.Fprintf(buf, "Content-Type: %s\r\n", contentType)
	}
	fmt.Fprintf(buf, "Content-Length: %d\r\n\r\n%s", len(body), body)
	_ = buf.Flush()
}

// reset ends the connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.Close()
}

// deadAddress is an address where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func data(w http.ResponseWriter, json string) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	fmt.Fprintf(w, `{"data":%s}`, json)
}
