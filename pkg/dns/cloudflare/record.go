package cloudflare

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/puqkvm/puqkvm/pkg/dns"
)

const (
	// byName is up to how many names of one type are asked for one by one. For more, all records of the type are read: in a
	// zone of up to typePage records that is one request.
	byName = 4
	// namePage is Cloudflare's own; no name of ours has more records.
	namePage = 100
	// typePage is a page of some 2 MB.
	typePage = 5000
	// batchLimit is how many operations a batch may have in a zone on the free plan.
	batchLimit = 200
	comment    = "puqkvm"
)

// record is a DNS record as the API lists it.
type record struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Content string `json:"content"`
}

// draft is a record to be.
type draft struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Content string `json:"content"`
	TTL     int    `json:"ttl"`
	Proxied bool   `json:"proxied"`
	Comment string `json:"comment"`
}

// reference names a record in a batch.
type reference struct {
	ID string `json:"id"`
}

type batchBody struct {
	Deletes []reference `json:"deletes,omitempty"`
	Posts   []draft     `json:"posts,omitempty"`
}

func recordsPath(zoneID string) string { return "/zones/" + url.PathEscape(zoneID) + "/dns_records" }

// rrset is a name and a type.
type rrset struct {
	name string
	typ  dns.Type
}

func (w *work) rrset() rrset { return rrset{w.edit.Name, w.edit.Type} }

// present reads the records that are there for each of open.
func (p *Provider) present(ctx context.Context, zoneID string, open []*work) (map[rrset][]record, error) {
	names := map[dns.Type]int{}
	for _, w := range open {
		names[w.edit.Type]++
	}
	out := map[rrset][]record{}
	for _, w := range open {
		typ := w.edit.Type
		query, size := url.Values{"type": {string(typ)}}, typePage
		switch n := names[typ]; {
		case n == 0:
			continue // all of the type have been read
		case n > byName:
			names[typ] = 0
		default:
			query.Set("name", w.edit.Name)
			size = namePage
		}
		records, err := list[record](ctx, p, recordsPath(zoneID)+"?"+query.Encode(), size)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			key := rrset{dns.CanonicalName(r.Name), dns.Type(r.Type)}
			out[key] = append(out[key], r)
		}
	}
	return out, nil
}

// change is one record to be added or to be removed.
type change struct {
	work   *work
	id     string // of the record to be removed; "" = add
	value  string
	adding bool
}

// plan is what has to be done for w where records are there: additions first.
func (w *work) plan(records []record) []change {
	var values []string
	for _, r := range records {
		values = append(values, r.Content)
	}
	add, remove := w.edit.Plan(values)
	var out []change
	for _, v := range add {
		out = append(out, change{work: w, value: v, adding: true})
	}
	for _, v := range remove {
		for _, r := range records { // one value may be there twice, spelled in two ways
			if dns.Canonical(w.edit.Type, r.Content) == dns.Canonical(w.edit.Type, v) {
				out = append(out, change{work: w, id: r.ID, value: v})
			}
		}
	}
	return out
}

func (p *Provider) draft(c change) draft {
	return draft{Type: string(c.work.edit.Type), Name: c.work.edit.Name, Content: c.value, TTL: p.ttl, Comment: comment}
}

// single makes one change.
func (p *Provider) single(ctx context.Context, zoneID string, c change) error {
	if !c.adding {
		_, err := p.call(ctx, http.MethodDelete, recordsPath(zoneID)+"/"+url.PathEscape(c.id), nil)
		return err
	}
	return p.post(ctx, recordsPath(zoneID), p.draft(c))
}

// batch makes all changes, or none.
func (p *Provider) batch(ctx context.Context, zoneID string, changes []change) error {
	var b batchBody
	for _, c := range changes {
		if c.adding {
			b.Posts = append(b.Posts, p.draft(c))
		} else {
			b.Deletes = append(b.Deletes, reference{c.id})
		}
	}
	return p.post(ctx, recordsPath(zoneID)+"/batch", b)
}

func (p *Provider) post(ctx context.Context, path string, content any) error {
	body, err := json.Marshal(content)
	if err != nil {
		return err
	}
	_, err = p.call(ctx, http.MethodPost, path, body)
	return err
}
