package dnstest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands before a server on this machine and passes bytes on.
type Proxy struct {
	listener net.Listener
	to       string
	stop     chan struct{}
	open     sync.WaitGroup

	mu     sync.Mutex
	delay  time.Duration
	silent bool
	conns  []net.Conn
}

// NewProxy listens on a free port of 127.0.0.1 for the server at the address to, until the test ends.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, to: to, stop: make(chan struct{})}
	p.open.Go(p.accept)
	t.Cleanup(p.Close)
	return p
}

// Addr is its host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Slow makes the first bytes of each answer come d later.
func (p *Proxy) Slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Silence makes it take connections and requests, and pass nothing on.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

// Close makes connections be refused.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.open.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.keep(client)
		p.open.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stop:
		_ = c.Close()
	default:
		p.conns = append(p.conns, c)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	silent := p.silent
	p.mu.Unlock()
	if silent {
		_, _ = io.Copy(io.Discard, client)
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	p.keep(server)
	defer server.Close()
	p.open.Go(func() {
		p.copy(server, client, false)
		_ = server.Close()
	})
	p.copy(client, server, true)
}

// copy passes bytes on; those of answers late.
func (p *Proxy) copy(to, from net.Conn, answers bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.mu.Lock()
			delay, silent := p.delay, p.silent
			p.mu.Unlock()
			if answers && delay > 0 {
				wait := time.NewTimer(delay)
				select {
				case <-wait.C:
				case <-p.stop:
					wait.Stop()
					return
				}
			}
			if !silent {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}
