package pve

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	// downAge is how long what does not answer is left alone, so that it costs one probe a tick.
	downAge = time.Minute
	// probeAfter is how long others wait for the first call before one of them probes: that call may be slow for reasons
	// of its own.
	probeAfter = 500 * time.Millisecond
	// probeTimeout is how long a probe may take.
	probeTimeout = 10 * time.Second
)

// peers keep what does not answer (a node, or with the name "" the API itself) from costing each service its patience,
// and the cluster its slots for requests. As long as nothing is known of a peer, one call goes first and the others wait.
// When nobody answers that one, a probe, a question that any node answers, decides whether it was the call's matter alone.
type peers struct {
	mu     sync.Mutex
	byName map[string]*peer
	after  time.Duration // probeAfter, but in tests
}

type peer struct {
	name    string
	up      bool
	first   bool          // a call has gone first
	probed  bool          // a probe is on its way
	changed chan struct{} // closed when any of this changes
	err     error         // why it is down, and since when
	at      time.Time
}

func newPeers() *peers { return &peers{byName: map[string]*peer{}, after: probeAfter} }

// enter waits until a call to the peer may be made, or is kvm.ErrUnreachable when the peer is known to be down. done takes
// the call's end.
func (c *Client) enter(ctx context.Context, name string) (done func(context.Context, error), err error) {
	p := c.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.byName[name]
	if x == nil {
		x = &peer{name: name, changed: make(chan struct{})}
		p.byName[name] = x
	}
	for {
		switch {
		case x.up:
			return func(_ context.Context, err error) { c.later(x, err) }, nil
		case x.err != nil && c.clock.Now().Sub(x.at) < downAge:
			return nil, x.down()
		case !x.first:
			x.first = true
			return func(ctx context.Context, err error) { c.ahead(ctx, x, err) }, nil
		}
		if err := c.await(ctx, x); err != nil {
			return nil, err
		}
	}
}

// down is the error of a call that was not made.
func (x *peer) down() error {
	what := "the API"
	if x.name != "" {
		what = "node " + x.name
	}
	err := kvm.Errorf(kvm.ErrUnreachable, "%s is down and not asked again for a minute: %w", what, onlyText{x.err})
	if hint := kvm.Hint(x.err); hint != "" {
		return kvm.WithHint(err, "%s", hint)
	}
	return err
}

// change tells those who wait; p.mu is held.
func (x *peer) change() {
	close(x.changed)
	x.changed = make(chan struct{})
}

// await waits until what is known of x changes, and probes when that takes long. c.peers.mu is held, but not meanwhile.
func (c *Client) await(ctx context.Context, x *peer) error {
	changed := x.changed
	c.peers.mu.Unlock()
	defer c.peers.mu.Lock()
	patience := time.NewTimer(c.peers.after)
	defer patience.Stop()
	for {
		select {
		case <-changed:
			return nil
		case <-ctx.Done():
			return &Error{Method: http.MethodGet, Path: c.probePath(x), Message: ctx.Err().Error(), cause: ctx.Err(), kind: kvm.ErrUnreachable}
		case <-patience.C:
			c.probe(ctx, x)
		}
	}
}

// ahead notes what became of the call that went first.
func (c *Client) ahead(ctx context.Context, x *peer, err error) {
	heard := !x.silent(err)
	if !heard && !errors.Is(err, context.Canceled) {
		c.probe(ctx, x)
	}
	c.peers.mu.Lock()
	defer c.peers.mu.Unlock()
	if heard {
		x.up, x.err = true, nil
	}
	x.first = false
	x.change()
}

// later notes what became of a call to a peer that was up. Once nobody answers, the next call goes first again.
func (c *Client) later(x *peer, err error) {
	if !x.silent(err) || errors.Is(err, context.Canceled) {
		return
	}
	c.peers.mu.Lock()
	defer c.peers.mu.Unlock()
	x.up = false
	x.change()
}

// probe asks x for its version, unless somebody does already.
func (c *Client) probe(ctx context.Context, x *peer) {
	p := c.peers
	p.mu.Lock()
	busy := x.probed || x.up
	x.probed = x.probed || !busy
	p.mu.Unlock()
	if busy {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	var err error
	if c.login == nil {
		_, err = c.once(ctx, http.MethodGet, c.probePath(x), nil, nil)
	} else if t, failed := c.ticket(ctx, nil); failed != nil {
		err = failed
	} else {
		_, err = c.once(ctx, http.MethodGet, c.probePath(x), nil, t)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x.probed = false
	x.up, x.err, x.at = !x.silent(err), nil, c.clock.Now()
	if !x.up {
		x.err = err
	}
	x.change()
}

func (c *Client) probePath(x *peer) string {
	if x.name == "" {
		return "/version"
	}
	return path("nodes", x.name, "version")
}

// silent says whether err means that x did not answer. What pveproxy says of a node that it could not reach is an answer
// of the API, and none of the node.
func (x *peer) silent(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case 0:
		return true
	case 502, 503, 504, 595, 596, 599:
		return x.name != ""
	}
	return false
}

// nodeOf is the node that a call's path is about, "" = none.
func nodeOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/nodes/")
	if !ok {
		return ""
	}
	node, _, _ := strings.Cut(rest, "/")
	return node
}
