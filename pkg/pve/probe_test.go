package pve

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// together makes n calls at once, each of another VM on node, and counts those that were answered.
func together(t *testing.T, c *Client, node string, n int) (answered int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for vmid := range n {
		wg.Go(func() {
			_, err := c.call(t.Context(), "GET", path("nodes", node, "qemu", 100+vmid, "config"), nil)
			if err != nil && !errors.Is(err, kvm.ErrUnreachable) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				answered++
			}
		})
	}
	wg.Wait()
	return answered
}

// count is how many requests the server saw that contain text.
func (s *testServer) count(text string) (n int) {
	for _, r := range s.requests() {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

func TestANodeThatIsDownCostsOneProbe(t *testing.T) {
	down := true
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if down && strings.Contains(r.URL.Path, "/nodes/pve2/") {
			raw(w, "595 No route to host", "", "")
			return
		}
		data(w, "{}")
	})
	now := clock.NewFake(time.Unix(1_700_000_000, 0))
	c := s.client(t, func(o *Options) { o.Clock = now })
	if n := together(t, c, "pve2", 20); n != 0 {
		t.Errorf("%d calls to a dead node were answered", n)
	}
	if calls, probes := s.count("/nodes/pve2/qemu"), s.count("/nodes/pve2/version"); calls != 1 || probes != 1 {
		t.Errorf("%d calls and %d probes: %q", calls, probes, s.requests())
	}
	if n := together(t, c, "pve1", 20); n != 20 {
		t.Errorf("of another node's calls %d were answered", n)
	}
	_, err := c.call(t.Context(), "GET", "/nodes/pve2/qemu/100/config", nil)
	if !errors.Is(err, kvm.ErrUnreachable) || !strings.Contains(err.Error(), "node pve2 is down") || !strings.Contains(err.Error(), "No route to host") {
		t.Error(err)
	}
	down = false
	now.Advance(time.Minute)
	if n := together(t, c, "pve2", 20); n != 20 {
		t.Errorf("a minute after it came back %d calls were answered", n)
	}
}

func TestACallThatGetsNoAnswerIsItsOwnMatter(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/qemu/107/") {
			raw(w, "599 Too many redirections", "", "")
			return
		}
		data(w, "{}")
	})
	for range 10 { // whoever goes first
		c := s.client(t, nil)
		if n := together(t, c, "pve1", 20); n != 19 {
			t.Fatalf("%d calls were answered, want all but one", n)
		}
	}
}

func TestAFirstCallThatHangsHoldsNobody(t *testing.T) {
	free := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/qemu/1/") {
			<-free
		}
		data(w, "{}")
	})
	c := s.client(t, nil)
	c.peers.after = 10 * time.Millisecond
	hung := make(chan error)
	go func() { _, err := c.call(t.Context(), "GET", "/nodes/pve1/qemu/1/config", nil); hung <- err }()
	for !slices.ContainsFunc(s.requests(), func(r string) bool { return strings.Contains(r, "/qemu/1/") }) {
		// It is the first.
	}
	if n := together(t, c, "pve1", 20); n != 20 {
		t.Errorf("%d calls were answered while one hung", n)
	}
	close(free)
	if err := <-hung; err != nil {
		t.Error(err)
	}
}

func TestAnAPIThatIsDownIsDialledOnce(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, *http.Request) {})
	c := s.client(t, nil)
	s.Close()
	if n := together(t, c, "pve1", 50); n != 0 {
		t.Errorf("%d calls were answered", n)
	}
	_, err := c.call(t.Context(), "GET", "/version", nil)
	if !errors.Is(err, kvm.ErrUnreachable) || !strings.Contains(err.Error(), "the API is down") {
		t.Error(err)
	}
}
