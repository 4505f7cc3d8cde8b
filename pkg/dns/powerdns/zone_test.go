package powerdns

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/dns"
)

// What SQL has put into a zone, past the API, and the API gives out: spellings, values that are there twice, comments alone.
func TestOddZones(t *testing.T) {
	z, err := decode([]byte(`{"name":"x.test.","kind":"Native","rrsets":[
		{"name":"VM.x.test.","type":"AAAA","ttl":777,"records":[{"content":"2001:DB8:0::1","disabled":false},{"content":"2001:db8::1","disabled":true},{"content":"2001:db8::2","disabled":true}]},
		{"name":"vm.X.test.","type":"AAAA","ttl":888,"records":[{"content":"2001:db8::2","disabled":false},{"content":"2001:db8::3"}]},
		{"name":"vm.x.test.","type":"A","ttl":0,"records":[],"comments":[{"content":"once"}]},
		{"name":"zero.x.test.","type":"A","ttl":0,"records":[{"content":"192.0.2.1"}]},
		{"name":"7.x.test.","type":"PTR","ttl":60,"records":[{"content":"Other.x.test."},{"content":"vm.x.test."},{"content":"OTHER.x.test."}]},
		{"name":"vm.x.test.","type":"TXT","ttl":60,"records":[{"content":"\"2001:db8::1\""}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	const name = "vm.x.test"
	for _, tc := range []struct {
		edit dns.Edit
		want string // "" = nothing to do
	}{
		{dns.Edit{Name: name, Type: dns.AAAA, Add: []string{"2001:db8::1"}, Remove: []string{"2001:db8::9"}}, ``},
		{dns.Edit{Name: name, Type: dns.AAAA, Remove: []string{"2001:db8::1"}},
			`{"name":"vm.x.test.","type":"AAAA","ttl":777,"changetype":"REPLACE","records":[{"content":"2001:db8::2","disabled":false},{"content":"2001:db8::3","disabled":false}]}`},
		{dns.Edit{Name: name, Type: dns.AAAA, Add: []string{"2001:db8::4"}, Only: true},
			`{"name":"vm.x.test.","type":"AAAA","ttl":777,"changetype":"REPLACE","records":[{"content":"2001:db8::4","disabled":false}]}`},
		{dns.Edit{Name: name, Type: dns.AAAA, Remove: []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}},
			`{"name":"vm.x.test.","type":"AAAA","changetype":"DELETE"}`},
		{dns.Edit{Name: name, Type: dns.A, Add: []string{"192.0.2.1"}},
			`{"name":"vm.x.test.","type":"A","ttl":3600,"changetype":"REPLACE","records":[{"content":"192.0.2.1","disabled":false}]}`},
		{dns.Edit{Name: name, Type: dns.A, Remove: []string{"192.0.2.1"}}, ``},
		{dns.Edit{Name: "zero.x.test", Type: dns.A, Add: []string{"192.0.2.2"}},
			`{"name":"zero.x.test.","type":"A","ttl":0,"changetype":"REPLACE","records":[{"content":"192.0.2.1","disabled":false},{"content":"192.0.2.2","disabled":false}]}`},
		{dns.Edit{Name: "7.x.test", Type: dns.PTR, Remove: []string{"vm.x.test"}},
			`{"name":"7.x.test.","type":"PTR","ttl":60,"changetype":"REPLACE","records":[{"content":"Other.x.test.","disabled":false}]}`},
		{dns.Edit{Name: "7.x.test", Type: dns.PTR, Add: []string{"new.x.test"}, Only: true},
			`{"name":"7.x.test.","type":"PTR","ttl":60,"changetype":"REPLACE","records":[{"content":"new.x.test.","disabled":false}]}`},
		{dns.Edit{Name: "7.x.test", Type: dns.PTR, Remove: []string{"other.x.test"}},
			`{"name":"7.x.test.","type":"PTR","ttl":60,"changetype":"REPLACE","records":[{"content":"vm.x.test.","disabled":false}]}`},
	} {
		c, needed := z.sets().change(tc.edit, defaultTTL)
		got := ""
		if needed {
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			got = string(text)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%+v: %s", tc.edit, diff)
		}
	}
}

// FuzzDecode: whatever a server answers is a zone or an error. A zone is the same when it is written and read again; and an
// edit of it leaves all but its own values, and is idempotent.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"account": "", "id": "x.test.", "kind": "Native", "name": "x.test.", "rrsets": [{"comments": [{"account": "me", "content": "hello", "modified_at": 1795724371}], "name": "vm.x.test.", "records": [{"content": "192.0.2.1", "disabled": false}, {"content": "192.0.2.2", "disabled": true}], "ttl": 60, "type": "A"}, {"comments": [], "name": "x.test.", "records": [{"content": "ns1.x.test. hostmaster.x.test. 2026112602 10800 3600 604800 3600", "disabled": false}], "ttl": 3600, "type": "SOA"}], "serial": 2026112602}`,
		`{"name":"x.test.","kind":"Slave","rrsets":[]}`, `{"name":"x.test.","rrsets":[{"name":"7.x.test.","type":"PTR","ttl":-1,"records":[{"content":"A."},{"content":"a"},{"content":""}]},{"type":"PTR","name":"7.X.test","records":null}]}`,
		`{"name":"x.test.","rrsets":[null,{"name":".","type":"AAAA","ttl":9e18,"records":[{"content":"::ffff:1.2.3.4"},{"content":"1.2.3.4"}]}]}`,
		`{}`, `[]`, `null`, `{"name":"\ud800","rrsets":[{}]}`, "\xff", `<html>`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		z, err := decode(body)
		if err != nil {
			return
		}
		text, err := json.Marshal(z)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(z, again); diff != "" {
			t.Fatal(diff)
		}
		sets := z.sets()
		for key, set := range sets {
			own := "192.0.2.77"
			if key.typ == dns.PTR {
				own = "own.x.test"
			}
			for _, e := range []dns.Edit{{Add: []string{own}}, {Remove: []string{own}}, {Add: []string{own}, Only: true}} {
				e.Name, e.Type = key.name, key.typ
				c, needed := sets.change(e, defaultTTL)
				if !needed {
					continue
				}
				if err := wrong(e, set.Records, c.Records); err != nil {
					t.Fatalf("%+v of %+v is %+v: %v", e, set, c, err)
				}
				if _, needed := (rrsets{key: {Records: c.Records}}).change(e, defaultTTL); needed {
					t.Fatalf("%+v of %+v is %+v, and is needed again", e, set, c)
				}
			}
		}
	})
}

// wrong is what an edit has got wrong.
func wrong(e dns.Edit, before, after []record) error {
	served := func(records []record) map[string]bool {
		out := map[string]bool{}
		for _, r := range records {
			value := dns.Canonical(e.Type, r.Content)
			out[value] = out[value] || !r.Disabled
		}
		return out
	}
	was, is := served(before), served(after)
	for value, on := range was {
		mine := slices.Contains(e.Add, value) || slices.Contains(e.Remove, value)
		if now, there := is[value]; !mine && !e.Only && (!there || now != on) {
			return fmt.Errorf("%q is gone or changed", value)
		}
	}
	for value, on := range is {
		if _, there := was[value]; !there && !slices.Contains(e.Add, value) || e.Only && !slices.Contains(e.Add, value) || slices.Contains(e.Remove, value) {
			return fmt.Errorf("%q is there", value)
		} else if slices.Contains(e.Add, value) && !on {
			return fmt.Errorf("%q is disabled", value)
		}
	}
	return nil
}
