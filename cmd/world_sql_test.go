package cmd

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
)

// wiretap stands between a process and the database, and can hold statements: before the server gets them (Arrived), or
// after it has carried them out and before the process knows (Done).
type wiretap struct {
	socket  string
	network string
	addr    string
	mu      sync.Mutex
	hook    func(ctx context.Context, stage pvesim.Stage, statement string)
}

// tap makes a wiretap; env sends a process through it.
func (w *world) tap() (tap *wiretap, env []string) {
	w.t.Helper()
	d, err := whmcs.ParseDSN(w.db.DSN)
	if err != nil {
		w.t.Fatal(err)
	}
	tap = &wiretap{socket: filepath.Join(w.t.TempDir(), "s"), network: "unix", addr: d.Socket}
	if d.Socket == "" {
		tap.network, tap.addr = "tcp", net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
	}
	l, err := net.Listen("unix", tap.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	var all sync.WaitGroup
	w.t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { tap.serve(client) })
		}
	})
	return tap, []string{"PUQKVM_DATABASE_SOCKET=" + tap.socket}
}

// setHook makes hook be called for each statement; nil removes it.
func (p *wiretap) setHook(hook func(ctx context.Context, stage pvesim.Stage, statement string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = hook
}

func (p *wiretap) call(ctx context.Context, stage pvesim.Stage, statement string) {
	p.mu.Lock()
	hook := p.hook
	p.mu.Unlock()
	if hook != nil && statement != "" {
		hook(ctx, stage, statement)
	}
}

// serve passes packets on. The client's protocol is one statement, one answer, so the statement that an answer belongs to
// is the last one that went by.
func (p *wiretap) serve(client net.Conn) {
	server, err := net.Dial(p.network, p.addr)
	if err != nil {
		_ = client.Close()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	packets := make(chan []byte)
	go func() { // reads ahead, so that a process that dies while its statement is held is seen to be gone
		defer close(packets)
		defer cancel()
		for {
			packet, err := readPacket(client)
			if err != nil {
				return
			}
			packets <- packet
		}
	}()
	var mu sync.Mutex
	last := ""
	var answers sync.WaitGroup
	answers.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				_ = client.Close()
				return
			}
			mu.Lock()
			statement := last
			last = ""
			mu.Unlock()
			p.call(ctx, pvesim.Done, statement)
			if _, err := client.Write(buffer[:n]); err != nil {
				_ = server.Close()
			}
		}
	})
	for packet := range packets {
		statement := ""
		if packet[3] == 0 && len(packet) > 5 && packet[4] == 3 { // the first packet of a COM_QUERY
			statement = string(packet[5:])
		}
		p.call(ctx, pvesim.Arrived, statement)
		if ctx.Err() != nil {
			break // a process that is dead has sent nothing
		}
		mu.Lock()
		last = statement
		mu.Unlock()
		if _, err := server.Write(packet); err != nil {
			break
		}
	}
	_ = server.Close()
	_ = client.Close()
	for range packets { // nobody reads on
	}
	answers.Wait()
}

func readPacket(from io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32([]byte{head[0], head[1], head[2], 0})
	packet := append(head, make([]byte, size)...)
	_, err := io.ReadFull(from, packet[4:])
	return packet, err
}

// statement is how a statement looks to a stop.
func statement(stage pvesim.Stage, text string) pvesim.Request {
	return pvesim.Request{Stage: stage, Method: "SQL", Path: text}
}

// holdAt holds the first statement that fits.
func (p *wiretap) holdAt(t testing.TB, what string, fits func(pvesim.Request) bool) *stop {
	s := newStop(t, what)
	p.holdEach([]*stop{s}, func(_ int, r pvesim.Request) bool { return fits(r) })
	return s
}

// holdEach holds the first statement that fits at each of the stops.
func (p *wiretap) holdEach(stops []*stop, fits func(i int, r pvesim.Request) bool) {
	hook := pick(stops, fits)
	p.setHook(func(ctx context.Context, stage pvesim.Stage, text string) { hook(ctx, statement(stage, text)) })
}

// changes says whether a statement may change something.
func changes(statement string) bool {
	verb, _, _ := strings.Cut(strings.TrimSpace(statement), " ")
	switch strings.ToUpper(verb) {
	case "INSERT", "UPDATE", "DELETE", "COMMIT":
		return true
	}
	return false
}
