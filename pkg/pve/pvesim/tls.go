package pvesim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/puqkvm/puqkvm/pkg/trust/selfsigned"
)

// Server serves a cluster's API over TLS.
type Server struct {
	URL         string // https://127.0.0.1:port
	Addr        string
	Fingerprint string // SHA-256 of the certificate, AA:BB:...
	Certificate *x509.Certificate
	http        *http.Server
	cancel      context.CancelFunc
	served      chan error
}

// ServeTLS listens at addr ("127.0.0.1:0" for any port) with a certificate that is made for it, signed by itself.
func (c *Cluster) ServeTLS(addr string) (*Server, error) {
	cert, fingerprint, err := selfsigned.New("pvesim", c.opts.Name)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}} // what OpenSSL 3.0 of PVE 8 has
	listener, err := tls.Listen("tcp", addr, config)
	if err != nil {
		return nil, fmt.Errorf("simulator at %s: %w", addr, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		URL: "https://" + listener.Addr().String(), Addr: listener.Addr().String(), Certificate: cert.Leaf,
		Fingerprint: fingerprint, cancel: cancel, served: make(chan error, 1),
	}
	c.lock()
	c.fingerprint = s.Fingerprint
	c.certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	c.mu.Unlock()
	s.http = &http.Server{
		Handler: c.Handler(), IdleTimeout: 5 * time.Second, ReadHeaderTimeout: 30 * time.Second,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only, as pveproxy
		ErrorLog:     log.New(io.Discard, "", 0),
		BaseContext:  func(net.Listener) context.Context { return ctx },
	}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Close ends all connections, hanging ones too, and waits until nothing is accepted any more.
func (s *Server) Close() error {
	s.cancel()
	err := s.http.Close()
	<-s.served
	return err
}
