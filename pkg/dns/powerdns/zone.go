package powerdns

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/dns"
)

// zone is what is used of a zone as the API gives it. Names end with a dot there.
type zone struct {
	Name   string  `json:"name"`
	Kind   string  `json:"kind"`
	RRsets []rrset `json:"rrsets"`
}

type rrset struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	TTL     int64    `json:"ttl"`
	Records []record `json:"records"`
}

type record struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

// change is an RRset in a PATCH. It has no comments: the present ones stay then.
type change struct {
	Name    string   `json:"name"`
	Type    dns.Type `json:"type"`
	TTL     *int64   `json:"ttl,omitempty"` // nil = with DELETE
	Change  string   `json:"changetype"`
	Records []record `json:"records,omitempty"`

	of *dns.Outcome
}

// decode reads a zone with all its RRsets. One without a list of them is refused: what is not known must not be replaced.
func decode(body []byte) (*zone, error) {
	var z zone
	if err := json.Unmarshal(body, &z); err != nil {
		return nil, err
	}
	if z.Name == "" || z.RRsets == nil {
		return nil, errors.New("it is no zone with its RRsets")
	}
	return &z, nil
}

// rrsets are a zone's of the types that are kept.
type rrsets map[rrsetKey]rrset

type rrsetKey struct {
	name string
	typ  dns.Type
}

// sets are z's RRsets by canonical name. Those that have no records, only comments, are none.
func (z *zone) sets() rrsets {
	out := rrsets{}
	for _, s := range z.RRsets {
		switch typ := dns.Type(s.Type); typ {
		case dns.A, dns.AAAA, dns.PTR:
			key := rrsetKey{dns.CanonicalName(s.Name), typ}
			if before, found := out[key]; found { // in another spelling
				s.TTL, s.Records = before.TTL, slices.Concat(before.Records, s.Records)
			}
			if len(s.Records) > 0 {
				out[key] = s
			}
		}
	}
	return out
}

// change is what e makes of its RRset; false = it is so already. A new RRset gets ttl.
func (s rrsets) change(e dns.Edit, ttl int64) (change, bool) {
	set, found := s[rrsetKey{e.Name, e.Type}]
	if found {
		ttl = set.TTL
	}
	var all, served []string
	for _, r := range set.Records {
		all = append(all, r.Content)
		if !r.Disabled {
			served = append(served, r.Content)
		}
	}
	add, _ := e.Plan(served)
	_, remove := e.Plan(all)
	if len(add)+len(remove) == 0 {
		return change{}, false
	}
	for i, content := range remove {
		remove[i] = dns.Canonical(e.Type, content)
	}
	var records []record
	at := map[string]int{} // in records: the server refuses a value that is there twice
	for _, r := range set.Records {
		value := dns.Canonical(e.Type, r.Content)
		if slices.Contains(remove, value) || slices.Contains(add, value) {
			continue
		}
		if i, twice := at[value]; twice {
			records[i].Disabled = records[i].Disabled && r.Disabled
			continue
		}
		at[value] = len(records)
		records = append(records, r)
	}
	for _, value := range add {
		if e.Type == dns.PTR {
			value += "."
		}
		records = append(records, record{Content: value})
	}
	c := change{Name: e.Name + ".", Type: e.Type, Change: "DELETE"}
	if len(records) > 0 {
		c.Change, c.TTL, c.Records = "REPLACE", &ttl, records
	}
	return c, true
}
