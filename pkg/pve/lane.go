package pve

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// daemonWorkers is how many calls pvedaemon serves at once on a node: MAX_WORKERS as Proxmox installs it.
const daemonWorkers = 3

// lanes keep the cluster's slots from being held by calls that only queue for a worker of one node's pvedaemon, while
// other nodes have nothing to do. A call takes its lane first, then a slot.
type lanes struct {
	mu     sync.Mutex
	byNode map[string]chan struct{}
}

func newLanes() *lanes { return &lanes{byNode: map[string]chan struct{}{}} }

// enter waits for a place in the call's lane until ctx ends.
func (l *lanes) enter(ctx context.Context, method, path string) (leave func(), err error) {
	node, served := servedBy(method, path)
	if !served {
		return func() {}, nil
	}
	l.mu.Lock()
	lane := l.byNode[node]
	if lane == nil {
		lane = make(chan struct{}, daemonWorkers)
		l.byNode[node] = lane
	}
	l.mu.Unlock()
	select {
	case lane <- struct{}{}:
		return func() { <-lane }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// servedBy is the node whose pvedaemon serves a call, "" = the one that we talk to; served is false where pveproxy answers
// by itself. The firewall's files are the cluster's, so a change of them is not handed on to the VM's node.
func servedBy(method, path string) (node string, served bool) {
	write := method != http.MethodGet
	switch {
	case strings.Contains(path, "/firewall/"):
		return "", write
	case write, strings.Contains(path, "/tasks/"), strings.Contains(path, "/status/"), strings.HasSuffix(path, "/storage"),
		strings.HasSuffix(path, "/content"), strings.HasSuffix(path, "/snapshot"), strings.HasSuffix(path, "/extractconfig"):
		return nodeOf(path), true
	}
	return "", false
}
