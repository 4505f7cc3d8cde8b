package hestiasim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Record is a row of a zone. Names are relative to the zone, @ for its own.
type Record struct {
	ID        int
	Record    string
	Type      string
	Priority  string
	Value     string
	Suspended bool
	TTL       string // "" = the zone's
}

type zone struct {
	user      string
	rows      []Record
	suspended bool
	limit     int // DNS_RECORDS of the user's package; 0 = none
}

// AddZone makes a zone of the user, who is made where needed, with the two NS records that every zone has. Its name may
// have capitals, as zones have that were carried over from elsewhere; commands must write it so then.
func (s *Server) AddZone(user, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[user] = true
	s.zones[name] = &zone{user: user, rows: []Record{
		{ID: 1, Record: "@", Type: "NS", Value: "ns1.hestia.test."},
		{ID: 2, Record: "@", Type: "NS", Value: "ns2.hestia.test."},
	}}
}

// Put adds a row past the API, as it is, as another writer does: even with an ID that is there. An ID of 0 is the highest
// one and 1. It gives the ID.
func (s *Server) Put(zone string, r Record) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zone(zone)
	if r.ID == 0 {
		r.ID = z.next()
	}
	z.add(r)
	return r.ID
}

// Remove deletes every row with the ID past the API, as another writer does.
func (s *Server) Remove(zone string, id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone(zone).remove(id)
}

// Records are the rows of a zone in their order.
func (s *Server) Records(zone string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.zone(zone).rows)
}

// Suspend suspends a zone or ends that.
func (s *Server) Suspend(zone string, suspended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone(zone).suspended = suspended
}

// Limit is how many rows a zone may have before an add; 0 = any number.
func (s *Server) Limit(zone string, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone(zone).limit = rows
}

// zone is for those who know that it is there.
func (s *Server) zone(name string) *zone {
	z := s.zones[name]
	if z == nil {
		panic(fmt.Sprintf("hestiasim: there is no zone %q", name))
	}
	return z
}

// next is the id that an add gets (get_next_dnsrecord).
func (z *zone) next() int {
	highest := 0
	for _, r := range z.rows {
		highest = max(highest, r.ID)
	}
	return highest + 1
}

func (z *zone) has(id int) bool {
	return slices.ContainsFunc(z.rows, func(r Record) bool { return r.ID == id })
}

func (z *zone) add(r Record) {
	z.rows = append(z.rows, r)
	slices.SortStableFunc(z.rows, func(a, b Record) int { return a.ID - b.ID })
}

func (z *zone) remove(id int) {
	z.rows = slices.DeleteFunc(z.rows, func(r Record) bool { return r.ID == id })
}

// columns are the names of fields.
var columns = []string{"ID", "RECORD", "TYPE", "PRIORITY", "VALUE", "SUSPENDED", "TIME", "DATE", "TTL"}

// fields are a row's as every format has them, in the order of the plain one.
func (r Record) fields() []string {
	suspended, ttl := "no", r.TTL
	if r.Suspended {
		suspended = "yes"
	}
	if ttl == "" {
		ttl = "14400"
	}
	return []string{strconv.Itoa(r.ID), r.Record, r.Type, r.Priority, r.Value, suspended, "12:00:00", "2026-08-22", ttl}
}

// json writes the rows as json_list does: by echo, with nothing escaped but quotation marks and tabs.
func (z *zone) json() string {
	var objects []string
	for _, r := range z.rows {
		f := r.fields()
		f[4] = strings.NewReplacer(`"`, `\"`, "\t", `\u0009`).Replace(f[4])
		var members []string
		for _, i := range []int{1, 2, 3, 4, 0, 5, 6, 7, 8} {
			members = append(members, fmt.Sprintf("        \"%s\": \"%s\"", columns[i], f[i]))
		}
		objects = append(objects, fmt.Sprintf("    \"%s\": {\n%s\n    }", f[0], strings.Join(members, ",\n")))
	}
	return "{\n" + strings.Join(objects, ",\n") + "\n}"
}

// plain writes the rows as plain_list does.
func (z *zone) plain() string {
	var lines []string
	for _, r := range z.rows {
		lines = append(lines, strings.Join(r.fields(), "\t"))
	}
	return strings.Join(lines, "\n")
}
