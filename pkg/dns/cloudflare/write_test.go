package cloudflare

import (
	"fmt"
	"slices"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare/cloudflaresim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// addresses are n values, the first of which ends with from.
func addresses(from, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("10.0.%d.%d", (from+i)/250, (from+i)%250))
	}
	return out
}

// TestRequests counts what a VM costs in a forward and a reverse zone.
func TestRequests(t *testing.T) {
	for _, c := range []struct {
		addresses int
		want      []string
	}{
		{1, []string{"GET zones", "GET dns_records", "POST dns_records", "GET zones", "GET dns_records", "POST dns_records"}},
		{64, []string{"GET zones", "GET dns_records", "POST batch", "GET zones", "GET dns_records", "POST batch"}},
	} {
		t.Run(fmt.Sprint(c.addresses), func(t *testing.T) {
			const reverse = "0.0.10.in-addr.arpa"
			w := newWorld(t, cloudflaresim.Options{})
			w.AddZone(reverse)
			forward := []dns.Edit{set(addresses(1, c.addresses)...)}
			var back, away []dns.Edit
			for i := range c.addresses {
				e := dns.Edit{Name: fmt.Sprintf("%d.%s", 1+i, reverse), Type: dns.PTR, Add: []string{vm}, Only: true}
				back = append(back, e)
				away = append(away, dns.Edit{Name: e.Name, Type: dns.PTR, Remove: e.Add})
			}
			all := slices.Repeat([]bool{true}, c.addresses)
			w.fine(w.apply(forward...), true)
			w.fine(w.p.Apply(t.Context(), reverse, back), all...)
			w.wants(0, c.want...)
			for i, name := range map[int][]string{1: {vm, back[0].Name}, 64: {vm, ""}}[c.addresses] {
				if q := w.Calls()[1+3*i].Query; q.Get("name") != name || q.Get("type") == "" {
					t.Errorf("it listed %v", q)
				}
			}
			w.has(vm, dns.A, addresses(1, c.addresses)...)
			if got := len(w.Records(reverse)); got != c.addresses {
				t.Fatalf("%d PTR", got)
			}
			before := len(w.Calls())
			w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Remove: forward[0].Add}), true)
			w.fine(w.p.Apply(t.Context(), reverse, away), all...)
			if got := len(w.Calls()) - before; got != 4 || len(w.Records(zone))+len(w.Records(reverse)) != 0 {
				t.Fatalf("%d requests for the removal, and %d records are left", got, len(w.Records(zone))+len(w.Records(reverse)))
			}
		})
	}
}

// TestBatchLimit: no batch has more operations than a zone on the free plan may have, and an edit with more has its additions
// first.
func TestBatchLimit(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	for _, v := range addresses(0, 100) {
		w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: v})
	}
	empty := false
	w.Before(func(cloudflaresim.Call) { empty = empty || len(w.Records(zone)) < 100 })
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Add: addresses(100, 350), Remove: addresses(0, 100)}), true)
	w.has(vm, dns.A, addresses(100, 350)...)
	w.wants(0, "GET zones", "GET dns_records", "POST batch", "POST batch", "POST batch")
	for _, c := range w.Calls()[2:] {
		if c.Operations > 200 {
			t.Errorf("a batch of %d", c.Operations)
		}
	}
	if empty {
		t.Error("values were removed before others were there")
	}
	var edits []dns.Edit
	var changed []bool
	for i := range 70 {
		edits = append(edits, dns.Edit{Name: fmt.Sprintf("many%d.%s", i, zone), Type: dns.A, Add: addresses(0, 3)})
		changed = append(changed, true)
	}
	before := len(w.Calls())
	w.fine(w.apply(edits...), changed...)
	w.wants(before, "GET dns_records", "POST batch", "POST batch")
}

// TestBatchRefused: one that is refused fails alone, and what it was to replace stays.
func TestBatchRefused(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.9"})
	w.put(cloudflaresim.Record{Name: "ptr." + zone, Type: "PTR", Content: "old.example.net"})
	out := w.apply(
		dns.Edit{Name: vm, Type: dns.A, Add: []string{"192.0.2.10"}, Remove: []string{"192.0.2.9"}},
		dns.Edit{Name: "ptr." + zone, Type: dns.PTR, Add: []string{"no..name"}, Only: true},
		dns.Edit{Name: "vm2." + zone, Type: dns.A, Add: []string{"192.0.2.11", "192.0.2.12"}},
	)
	w.fails(out[1].Err, kvm.ErrRefused, "ptr."+zone, "PTR", "DNS Validation Error (1004)", "Content for PTR record is invalid")
	if out[1].Changed {
		t.Error("it says that something was changed")
	}
	w.fine([]dns.Outcome{out[0], out[2]}, true, true)
	w.has(vm, dns.A, "192.0.2.10")
	w.has("ptr."+zone, dns.PTR, "old.example.net")
	w.has("vm2."+zone, dns.A, "192.0.2.11", "192.0.2.12")
	w.wants(0, "GET zones", "GET dns_records", "GET dns_records", "GET dns_records", "POST batch 400",
		"POST dns_records", "DELETE", "POST dns_records 400", "POST dns_records", "POST dns_records")
}

// TestQuota: what fits goes in, the rest says why not, and a replacement needs no room.
func TestQuota(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{Quota: 2})
	out := w.apply(set("192.0.2.10"), dns.Edit{Name: "vm2." + zone, Type: dns.A, Add: []string{"192.0.2.11"}}, dns.Edit{Name: "vm3." + zone, Type: dns.A, Add: []string{"192.0.2.12"}})
	w.fine(out[:2], true, true)
	w.fails(out[2].Err, kvm.ErrRefused, "vm3."+zone, "Record quota exceeded (81045)")
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Add: []string{"192.0.2.13"}, Remove: []string{"192.0.2.10"}}), true)
	w.has(vm, dns.A, "192.0.2.13")
}

// TestRecordAppears: somebody adds the record between our list and our POST.
func TestRecordAppears(t *testing.T) {
	for _, code := range []int{codeRecordExists, codeIdentical} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := newWorld(t, cloudflaresim.Options{Exists: code})
			done := false
			w.Before(func(c cloudflaresim.Call) {
				if c.Method == "POST" && !done {
					done = true
					w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.10"})
				}
			})
			w.fine(w.apply(set("192.0.2.10")), false)
			w.has(vm, dns.A, "192.0.2.10")
			w.wants(0, "GET zones", "GET dns_records", "POST dns_records 400", "GET dns_records")

			w.Before(nil)
			w.Fail(cloudflaresim.Fault{Method: "POST", Times: cloudflaresim.Always, Status: 400, Code: code, Message: "The record already exists."})
			before := len(w.Calls())
			out := w.apply(set("192.0.2.11"))
			w.fails(out[0].Err, kvm.ErrRefused, "192.0.2.11", "The record already exists", vm)
			if got := len(w.Calls()) - before; got > 2*rounds {
				t.Errorf("%d requests for one that never comes", got)
			}
		})
	}
}

// TestRecordAppearsInBatch: of two that are added, one is there by then; what it replaces goes once it is seen.
func TestRecordAppearsInBatch(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.9"})
	done := false
	w.Before(func(c cloudflaresim.Call) {
		if c.Method == "POST" && !done {
			done = true
			w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.10"})
		}
	})
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Add: []string{"192.0.2.10", "192.0.2.11"}, Remove: []string{"192.0.2.9"}}), true)
	w.has(vm, dns.A, "192.0.2.10", "192.0.2.11")
	w.wants(0, "GET zones", "GET dns_records", "POST batch 400", "POST dns_records 400", "POST dns_records", "GET dns_records", "DELETE")
}

// TestRecordAppearsThenDown: what is said last is that Cloudflare is down, not that the record exists.
func TestRecordAppearsThenDown(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.Fail(cloudflaresim.Fault{Method: "POST", Status: 400, Code: codeIdentical})
	w.Fail(cloudflaresim.Fault{Method: "GET", Skip: 2, Times: cloudflaresim.Always, Status: 503, HTML: true})
	w.fails(w.apply(set("192.0.2.10"))[0].Err, kvm.ErrBusy, "HTTP 503", zone)
}

// TestRecordIsGone: somebody removes the record between our list and our DELETE.
func TestRecordIsGone(t *testing.T) {
	remove := dns.Edit{Name: vm, Type: dns.A, Remove: []string{"192.0.2.10"}}
	record := cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.10"}
	for _, f := range []cloudflaresim.Fault{
		{Status: 404, Code: codeRecordGone, Message: "Record does not exist."},
		{Status: 400, Code: codeNoRecord, Message: "Invalid dns record identifier"},
		{Status: 404, HTML: true},
	} {
		w := newWorld(t, cloudflaresim.Options{})
		w.put(record)
		f.Method = "DELETE"
		w.Fail(f)
		w.fine(w.apply(remove), false)
		w.wants(0, "GET zones", "GET dns_records", fmt.Sprint("DELETE ", f.Status))
	}
	w := newWorld(t, cloudflaresim.Options{})
	id := w.put(record)
	w.Before(func(c cloudflaresim.Call) {
		if c.Method == "POST" {
			w.Remove(id)
		}
	})
	w.fine(w.apply(remove, dns.Edit{Name: "vm2." + zone, Type: dns.A, Add: []string{"192.0.2.11"}}), false, true)
	w.has(vm, dns.A)
	w.wants(0, "GET zones", "GET dns_records", "GET dns_records", "POST batch 404", "DELETE 404", "POST dns_records")
}

// TestZoneIsGoneAtDeletion: a 404 about the zone is none about the record, which is there in the zone made anew.
func TestZoneIsGoneAtDeletion(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	record := cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.10"}
	w.put(record)
	w.fine(w.apply(set("192.0.2.10")), false)
	w.Before(func(c cloudflaresim.Call) {
		if c.Method == "DELETE" {
			w.Before(nil)
			w.DropZone(zone)
			w.AddZone(zone)
			w.put(record)
		}
	})
	w.fine(w.apply(dns.Edit{Name: vm, Type: dns.A, Remove: []string{"192.0.2.10"}}), true)
	w.has(vm, dns.A)
}

// TestSplitEdit: of an edit with more changes than a batch has, the first part is refused; then the rest is left out, and the
// edit behind it is made.
func TestSplitEdit(t *testing.T) {
	w := newWorld(t, cloudflaresim.Options{})
	w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.8"})
	w.put(cloudflaresim.Record{Name: vm, Type: "A", Content: "192.0.2.9"})
	add := append([]string{"no address"}, addresses(0, 199)...)
	out := w.apply(dns.Edit{Name: vm, Type: dns.A, Add: add, Remove: []string{"192.0.2.8", "192.0.2.9"}}, second)
	w.fails(out[0].Err, kvm.ErrRefused, "no address", "must be a valid IPv4 address (9005)")
	w.fine(out[1:], true)
	w.has(vm, dns.A, "192.0.2.8", "192.0.2.9")
	w.wants(0, "GET zones", "GET dns_records", "GET dns_records", "POST batch 400", "POST dns_records 400", "POST dns_records")
}
