package pve

import (
	"sync"
	"time"
)

// paces remember how long tasks of each type took in this process, so that hundreds of them at once are not all asked
// every few hundred milliseconds: under load these questions would take the cluster's slots from the work itself.
type paces struct {
	mu     sync.Mutex
	byType map[string]time.Duration
}

func newPaces() *paces { return &paces{byType: map[string]time.Duration{}} }

// first is the pause before the first question about a task of this type, next the one before the second. Tasks that take
// long may take much less, or fail at once: these are asked earlier.
func (p *paces) first(typ string) (first, next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first = max(p.byType[typ], firstPoll)
	if first > lastPoll {
		first -= (first - lastPoll) / 4
	}
	return first, min(max(first/16, firstPoll), lastPoll)
}

// note takes how long a task was followed until it was seen to have ended. What was seen late counts little: a task that
// ended sooner than its kind does pulls the pause down a little, one that took longer raises it by half.
func (p *paces) note(typ string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.byType[typ]
	switch {
	case known == 0:
		p.byType[typ] = took * 4 / 5
	case took <= known+known/10: // the first question found it ended, perhaps long since
		p.byType[typ] = known * 19 / 20
	default:
		p.byType[typ] = known + (took-known)/2
	}
}
