package cloudflare

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestZoneAmongMany: the zone is none of the twenty that a list without a name begins with.
func TestZoneAmongMany(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	for i := range 130 {
		w.AddZone(fmt.Sprintf("zone%d.test", i))
	}
	name := "vm1.zone129.test"
	w.fine(w.p.Apply(t.Context(), "zone129.test", []dns.Edit{{Name: name, Type: dns.A, Add: []string{"192.0.2.10"}}}), true)
	w.wants(0, "GET zones", "GET dns_records", "POST dns_records")
}

// TestActiveZoneOnALaterPage: accounts hold a zone of one name, and the one that is served is on the second page.
func TestActiveZoneOnALaterPage(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.DropZone(zone)
	for range zonesPerPage + 3 {
		w.AddZoneAs(zone, "moved")
	}
	w.AddZone(zone) // the newest: has and put are about this one
	w.fine(w.apply(set("192.0.2.10")), true)
	w.has(vm, dns.A, "192.0.2.10")
	w.wants(0, "GET zones", "GET zones", "GET dns_records", "POST dns_records")
}

// TestRecordsOnLaterPages: what must go, and what is there already, stand on the last page.
func TestRecordsOnLaterPages(t *testing.T) {
	for name, more := range map[string]int{"by name": 0, "by type": byName} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cloudflaresim.Options{PerPage: 2})
			for i := range 7 {
				w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: fmt.Sprintf("203.0.113.%d", i)})
			}
			w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.10"})
			w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.11"})
			edits := []dns.Edit{{Name: vm, Type: dns.A, Add: []string{"192.0.2.11"}, Remove: []string{"192.0.2.10"}}}
			changed := []bool{true}
			for i := range more {
				edits = append(edits, dns.Edit{Name: fmt.Sprintf("vm%d.%s", 10+i, zone), Type: dns.A, Remove: []string{"192.0.2.12"}})
				changed = append(changed, false)
			}
			w.fine(w.apply(edits...), changed...)
			w.has(vm, dns.A, "203.0.113.0", "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.5", "203.0.113.6", "192.0.2.11")
			w.wants(0, "GET zones", "GET dns_records", "GET dns_records", "GET dns_records", "GET dns_records", "GET dns_records", "DELETE")
		})
	}
}

// TestListChangesOnTheWay: somebody removes a record of the first page while the second is asked for, so that ours moves to
// the first, which was read.
func TestListChangesOnTheWay(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{PerPage: 2})
	first := w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "203.0.113.1"})
	for _, content := range []string{"203.0.113.2", "192.0.2.10", "203.0.113.3", "203.0.113.4"} {
		w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: content})
	}
	w.Before(func(c cloudflaresim.Call) {
		if c.Query.Get("page") == "2" {
			w.Remove(first)
		}
	})
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Remove: []string{"192.0.2.10"}}), true)
	w.has(vm, dns.A, "203.0.113.2", "203.0.113.3", "203.0.113.4")
}

// TestSpellings: a value that is there in another spelling is there, and goes in each.
func TestSpellings(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.put(cloudflaresim.Record{Name: vm, Type: "AAAA", Content: "2001:DB8:0::1"})
	w.put(cloudflaresim.Record{Name: vm, Type: "AAAA", Content: "2001:db8::1"})
	w.put(cloudflaresim.Record{Name: vm, Type: "AAAA", Content: "2001:db8::2"})
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.AAAA, Add: []string{"2001:db8::1"}}), false)
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.AAAA, Remove: []string{"2001:db8::1"}}), true)
	w.has(vm, dns.AAAA, "2001:db8::2")
}

// TestProxiedRecords: a proxied record of the name that is not ours stays, one with our value is ours.
func TestProxiedRecords(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	foreign := w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "203.0.113.7", Proxied: true, Comment: "do not touch"})
	w.fine(w.apply(set("192.0.2.10")), true)
	for _, r := range w.Records(zone) {
		ours := r.ID != foreign
		if r.Proxied == ours || r.TTL != 1 || ours && r.Comment != "puqkvm" || !ours && r.Comment != "do not touch" {
			t.Errorf("%+v", r)
		}
	}
	w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.11", Proxied: true})
	w.fine(w.apply(set("192.0.2.11")), false)
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Remove: []string{"192.0.2.10", "192.0.2.11"}}), true)
	w.has(vm, dns.A, "203.0.113.7")
}

// TestOddLists: a list whose answers do not say how long it is is read to its end, one without end is not, and what is no
// list is none.
func TestOddLists(t *testing.T) {
	row := fmt.Sprintf(`{"id":"1","name":%q}`, zone)
	for _, c := range []struct {
		last, page, requests int // the page after which there is nothing; how many rows a page has
		result, info         string
		want                 error
	}{
		{last: 3, page: 2, requests: 4, result: "[" + row + "," + row + "]"},
		{last: 3, page: 2, requests: 3, result: "[" + row + "," + row + "]", info: `,"result_info":{"total_count":6}`},
		{last: 3, page: 2, requests: 3, result: "[" + row + "," + row + "]", info: `,"result_info":{"total_pages":"3"}`},
		{last: maxPages + 1, page: 1, requests: maxPages, result: "[" + row + "]", want: kvm.ErrUnknown},
		{last: 1, requests: 1, result: row, want: kvm.ErrUnknown},
	} {
		asked := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			result := c.result
			if r.URL.Query().Get("page") == fmt.Sprint(c.last+1) {
				result = "[]"
			}
			_, _ = io.WriteString(w, `{"success":true,"result":`+result+c.info+`}`)
		}))
		t.Cleanup(s.Close)
		w := newWorld(t, cloudflaresim.Options{})
		w.URL = s.URL
		rows, err := list[zoneRow](t.Context(), w.provider(token), "/zones?name=x", 50)
		if c.want != nil {
			w.fails(err, c.want)
		} else if err != nil || len(rows) != c.last*c.page {
			t.Errorf("%d rows, %v", len(rows), err)
		}
		if asked != c.requests {
			t.Errorf("%d requests, want %d", asked, c.requests)
		}
	}
}
