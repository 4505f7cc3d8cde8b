package cloudflaresim

import (
	"encoding/json"
	"net/http"
	"slices"
)

// input is a record as a request gives it: what is nil was not given.
type input struct {
	ID      string    `json:"id"`
	Type    *string   `json:"type"`
	Name    *string   `json:"name"`
	Content *string   `json:"content"`
	TTL     *int      `json:"ttl"`
	Proxied *bool     `json:"proxied"`
	Comment *string   `json:"comment"`
	Tags    *[]string `json:"tags"`
}

type batch struct {
	Deletes []input `json:"deletes"`
	Patches []input `json:"patches"`
	Puts    []input `json:"puts"`
	Posts   []input `json:"posts"`
}

func (b batch) operations() int { return len(b.Deletes) + len(b.Patches) + len(b.Puts) + len(b.Posts) }

// records answers a request for the records of z; at is what stands behind dns_records.
func (s *Server) records(z *zone, r *http.Request, at string, body []byte) (reply, *refusal) {
	var one batch
	switch {
	case r.Method == http.MethodGet && at == "":
		return s.listRecords(z, r.URL.Query()), nil
	case r.Method == http.MethodGet:
		i := slices.IndexFunc(z.records, func(r Record) bool { return r.ID == at })
		if i < 0 {
			return reply{}, missing()
		}
		return reply{result: z.records[i].shown()}, nil
	case r.Method == http.MethodPost && at == "batch":
		var b batch
		if err := json.Unmarshal(body, &b); err != nil {
			return reply{}, notJSON(err)
		}
		if b.operations() > s.o.BatchLimit {
			return reply{}, invalid(1004, "The batch has more operations than the plan allows.")
		}
		result, no := s.execute(z, b)
		return reply{result: result}, no
	case r.Method == http.MethodDelete && at != "":
		one.Deletes = []input{{ID: at}}
	case r.Method == http.MethodPost && at == "", (r.Method == http.MethodPut || r.Method == http.MethodPatch) && at != "":
		var in input
		if err := json.Unmarshal(body, &in); err != nil {
			return reply{}, notJSON(err)
		}
		in.ID = at
		switch r.Method {
		case http.MethodPost:
			one.Posts = []input{in}
		case http.MethodPut:
			one.Puts = []input{in}
		default:
			one.Patches = []input{in}
		}
	default:
		return reply{}, noRoute(r)
	}
	result, no := s.execute(z, one)
	if no != nil {
		return reply{}, no
	}
	for _, list := range result {
		if shown := list.([]object); len(shown) > 0 && r.Method != http.MethodDelete {
			return reply{result: shown[0]}, nil
		}
	}
	return reply{result: object{"id": at}}, nil
}

// execute does b as one transaction: deletes, patches, puts, posts.
func (s *Server) execute(z *zone, b batch) (object, *refusal) {
	records := slices.Clone(z.records)
	deleted, patched, put, posted := []object{}, []object{}, []object{}, []object{}
	for _, in := range b.Deletes {
		i := slices.IndexFunc(records, func(r Record) bool { return r.ID == in.ID })
		if i < 0 {
			return nil, missing()
		}
		deleted = append(deleted, records[i].shown())
		records = slices.Delete(records, i, i+1)
	}
	change := func(in input, whole bool) (object, *refusal) {
		i := slices.IndexFunc(records, func(r Record) bool { return r.ID == in.ID })
		if i < 0 {
			return nil, missing()
		}
		r := records[i]
		if whole {
			r = Record{ID: r.ID, TTL: 1, CreatedOn: r.CreatedOn}
		}
		r = in.onto(z, r)
		r.ModifiedOn = s.o.Clock.Now()
		if no := s.check(slices.Delete(slices.Clone(records), i, i+1), r); no != nil {
			return nil, no
		}
		records[i] = r
		return r.shown(), nil
	}
	for _, in := range b.Patches {
		shown, no := change(in, false)
		if no != nil {
			return nil, no
		}
		patched = append(patched, shown)
	}
	for _, in := range b.Puts {
		shown, no := change(in, true)
		if no != nil {
			return nil, no
		}
		put = append(put, shown)
	}
	for _, in := range b.Posts {
		r := in.onto(z, Record{ID: s.newID(), TTL: 1, CreatedOn: s.o.Clock.Now(), ModifiedOn: s.o.Clock.Now()})
		if no := s.check(records, r); no != nil {
			return nil, no
		}
		records = append(records, r)
		posted = append(posted, r.shown())
	}
	z.records = records
	return object{"deletes": deleted, "patches": patched, "puts": put, "posts": posted}, nil
}
