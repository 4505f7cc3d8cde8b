package cmd

import (
	"context"
	"encoding/binary"
	"fmt"
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

// wiretap stands between a program and the database. At each command it calls its hook: before the server gets the command
// (Arrived), and after the server has carried it out and before the program knows (Done). The hook may hold the command,
// and cut the connection.
type wiretap struct {
	socket  string
	network string
	addr    string
	mu      sync.Mutex
	hook    func(ctx context.Context, stage pvesim.Stage, statement string) (cut bool)
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

// setHook makes hook be called for each statement; nil removes it. ctx is the connection's, and ends with it.
func (p *wiretap) setHook(hook func(ctx context.Context, stage pvesim.Stage, statement string) (cut bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = hook
}

func (p *wiretap) call(ctx context.Context, stage pvesim.Stage, statement string) (cut bool) {
	p.mu.Lock()
	hook := p.hook
	p.mu.Unlock()
	return hook != nil && statement != "" && hook(ctx, stage, statement)
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
			if p.call(ctx, pvesim.Done, statement) {
				_ = client.Close()
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				_ = server.Close()
			}
		}
	})
	for packet := range packets {
		statement := command(packet)
		if p.call(ctx, pvesim.Arrived, statement) || ctx.Err() != nil {
			break // cut off; and a process that is dead has sent nothing
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

// command is what a packet asks of the server: the text of a statement, or the command's name in the protocol. "" is what
// has no answer (COM_QUIT, COM_STMT_CLOSE), and what is no command: the login, and the rest of a long statement.
func command(packet []byte) string {
	if packet[3] != 0 || len(packet) < 5 {
		return ""
	}
	switch packet[4] {
	case 0x01, 0x18, 0x19:
		return ""
	case 0x03:
		return string(packet[5:])
	case 0x16:
		return "PREPARE " + string(packet[5:])
	case 0x17:
		return "EXECUTE"
	}
	return fmt.Sprintf("COMMAND 0x%02x", packet[4])
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
	p.setHook(func(ctx context.Context, stage pvesim.Stage, text string) bool {
		hook(ctx, statement(stage, text))
		return false
	})
}

// changes says whether a statement may change something.
func changes(statement string) bool {
	verb, _, _ := strings.Cut(strings.TrimSpace(statement), " ")
	switch strings.ToUpper(verb) {
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "COMMIT", "EXECUTE", "CREATE", "ALTER", "DROP":
		return true
	}
	return false
}
