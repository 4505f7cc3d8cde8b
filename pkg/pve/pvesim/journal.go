package pvesim

import (
	"maps"
	"sync"
	"time"
)

// Entry is a request in the log.
type Entry struct {
	Time   time.Time // of its arrival
	Method string
	Path   string // below /api2/json
	// Pattern is the row of the API's table, "" if there is none.
	Pattern string
	Form    map[string]string // query and body as they were sent, secrets too
	User    string            // who called, as in a UPID; "" before authentication
	Status  int               // 0: no answer was sent, or not yet
	Reason  string
}

type journal struct {
	mu      sync.Mutex
	limit   int
	entries []*Entry
	counts  map[string]int
}

func (j *journal) open(now time.Time, r Request) *Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &Entry{Time: now, Method: r.Method, Path: r.Path, Pattern: r.Pattern, Form: maps.Clone(r.Form)}
	if len(j.entries) >= 2*j.limit { // the older half goes at once, so that it costs little
		j.entries = append([]*Entry(nil), j.entries[len(j.entries)-j.limit+1:]...)
	}
	j.entries = append(j.entries, e)
	key := r.Pattern
	if key == "" {
		key = r.Path
	}
	j.counts[r.Method+" "+key]++
	return e
}

func (j *journal) close(e *Entry, who identity, status int, reason string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.User, e.Status, e.Reason = who.String(), status, reason
}

// Requests are the last requests, oldest first.
func (c *Cluster) Requests() []Entry {
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	from := max(0, len(c.journal.entries)-c.journal.limit)
	list := make([]Entry, 0, len(c.journal.entries)-from)
	for _, e := range c.journal.entries[from:] {
		list = append(list, *e)
	}
	return list
}

// Counts is how many requests came, by "METHOD row" of the API's table.
func (c *Cluster) Counts() map[string]int {
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	return maps.Clone(c.journal.counts)
}

// ResetRequests empties the log and the counts.
func (c *Cluster) ResetRequests() {
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	c.journal.entries, c.journal.counts = nil, map[string]int{}
}
