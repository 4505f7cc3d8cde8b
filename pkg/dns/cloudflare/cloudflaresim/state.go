package cloudflaresim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Record is a DNS record.
type Record struct {
	ID         string
	Type       string
	Name       string // with the zone's name, without the final dot
	Content    string
	TTL        int // 1 = automatic
	Proxied    bool
	Comment    string
	Tags       []string
	CreatedOn  time.Time
	ModifiedOn time.Time
}

type zone struct {
	id, name, status string
	made             time.Time
	records          []Record
}

// Call is a request that came in.
type Call struct {
	Method     string
	Path       string // below /client/v4
	Query      url.Values
	Operations int // that the request asks for; a batch asks for many
	At         time.Time
	Status     int // of the answer; 0 = there was none
}

// AddZone adds an active zone and gives its id. There may be several of one name: see AddZoneAs.
func (s *Server) AddZone(name string) string { return s.AddZoneAs(name, "active") }

// AddZoneAs adds a zone with a status: active, pending, moved. Accounts may each have a zone of one name, and at most one
// of them is active.
func (s *Server) AddZoneAs(name, status string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := &zone{id: s.newID(), name: canonical(name), status: status, made: s.o.Clock.Now()}
	s.zones = append(s.zones, z)
	return z.id
}

// DropZone takes away the zones of that name, with their records.
func (s *Server) DropZone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones = slices.DeleteFunc(s.zones, func(z *zone) bool { return z.name == canonical(name) })
}

// Put adds a record to the newest zone of that name, as another user of it does, and gives the record's id. Its content
// stays as it is spelled.
func (s *Server) Put(zoneName string, r Record) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.named(zoneName)
	if z == nil {
		return "", fmt.Errorf("cloudflaresim: there is no zone %s", zoneName)
	}
	r.Name, r.TTL = z.full(r.Name), orElse(r.TTL, 1)
	if no := s.check(z.records, r); no != nil {
		return "", fmt.Errorf("cloudflaresim: %s", no.text())
	}
	r.ID, r.CreatedOn, r.ModifiedOn = s.newID(), s.o.Clock.Now(), s.o.Clock.Now()
	z.records = append(z.records, r)
	return r.ID, nil
}

// Remove takes a record away, past the API.
func (s *Server) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, z := range s.zones {
		z.records = slices.DeleteFunc(z.records, func(r Record) bool { return r.ID == id })
	}
}

// Records are those of the newest zone of that name, oldest first.
func (s *Server) Records(zoneName string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.named(zoneName)
	if z == nil {
		return nil
	}
	return slices.Clone(z.records)
}

// Calls are the requests that came in so far, oldest first.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Before has do run when a request has come in and before anything is done for it, so that what a client has read may be
// outdated by then. do may use the stand-in. nil ends it.
func (s *Server) Before(do func(Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = do
}

// named is the newest zone of that name, nil when there is none.
func (s *Server) named(name string) *zone {
	for _, z := range slices.Backward(s.zones) {
		if z.name == canonical(name) {
			return z
		}
	}
	return nil
}

func (s *Server) newID() string {
	s.made++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", s.Addr, s.made))
	return hex.EncodeToString(sum[:16])
}

// full is name as the API returns it: one that is not in the zone is taken as relative to it.
func (z *zone) full(name string) string {
	name = canonical(name)
	switch {
	case name == "@" || name == "":
		return z.name
	case name == z.name || strings.HasSuffix(name, "."+z.name):
		return name
	}
	return name + "." + z.name
}

func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
}
