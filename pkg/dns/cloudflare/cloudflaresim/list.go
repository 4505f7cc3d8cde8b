package cloudflaresim

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const (
	zonesPerPage    = 20
	maxZonesPerPage = 50
	recordsPerPage  = 100
)

// page cuts out of all what the query asks for, at most most on a page.
func page[T any](all []T, q url.Values, most, usual int) ([]T, object) {
	number, err := strconv.Atoi(q.Get("page"))
	if err != nil || number < 1 {
		number = 1
	}
	size, err := strconv.Atoi(q.Get("per_page"))
	if err != nil || size < 1 {
		size = usual
	}
	size = min(size, most)
	pages := (len(all) + size - 1) / size
	info := object{"page": number, "per_page": size, "total_count": len(all), "total_pages": pages}
	if number > pages {
		all = nil
	} else {
		all = all[(number-1)*size : min(number*size, len(all))]
	}
	info["count"] = len(all)
	return all, info
}

func (t Token) sees(z *zone) bool { return t.Zones == nil || slices.Contains(t.Zones, z.name) }

func (s *Server) listZones(token Token, q url.Values) reply {
	var found []*zone
	for _, z := range s.zones {
		if token.sees(z) && (!q.Has("name") || canonical(q.Get("name")) == z.name) && (!q.Has("status") || q.Get("status") == z.status) {
			found = append(found, z)
		}
	}
	part, info := page(found, q, maxZonesPerPage, zonesPerPage)
	result := []object{}
	for _, z := range part {
		result = append(result, object{
			"id": z.id, "name": z.name, "status": z.status, "paused": false, "type": "full", "development_mode": 0,
			"account": object{"id": "fedcba9876543210fedcba9876543210", "name": "Stand-in"}, "permissions": []string{},
			"created_on": stamp(z.made), "modified_on": stamp(z.made),
		})
	}
	return reply{result, info}
}

// zone is the one of that id.
func (s *Server) zone(token Token, id string, r *http.Request) (*zone, *refusal) {
	i := slices.IndexFunc(s.zones, func(z *zone) bool { return z.id == id })
	if i < 0 && !s.o.Hidden {
		return nil, noRoute(r)
	}
	if i < 0 || !token.sees(s.zones[i]) {
		return nil, &refusal{status: http.StatusForbidden, code: 9109, message: "Unauthorized to access requested resource"}
	}
	return s.zones[i], nil
}

func (s *Server) listRecords(z *zone, q url.Values) reply {
	is := func(field, value string) bool {
		for _, key := range []string{field, field + ".exact"} {
			if q.Has(key) && q.Get(key) != value {
				return false
			}
		}
		return true
	}
	var found []Record
	for _, r := range z.records {
		if is("type", r.Type) && is("name", r.Name) && is("content", r.Content) {
			found = append(found, r)
		}
	}
	part, info := page(found, q, s.o.PerPage, recordsPerPage)
	result := []object{}
	for _, r := range part {
		result = append(result, r.shown())
	}
	return reply{result, info}
}

func (r Record) shown() object {
	out := object{
		"id": r.ID, "type": r.Type, "name": r.Name, "content": r.Content, "ttl": r.TTL, "proxied": r.Proxied, "proxiable": proxiable(r.Type),
		"comment": nil, "tags": append([]string{}, r.Tags...), "settings": object{}, "meta": object{},
		"created_on": stamp(r.CreatedOn), "modified_on": stamp(r.ModifiedOn),
	}
	if r.Comment != "" {
		out["comment"] = r.Comment
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
