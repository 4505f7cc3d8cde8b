package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func fwd(name, a string) Record { return Record{Name: name, Addr: addr(a)} }

func rev(a, name string) Record { return Record{Reverse: true, Name: name, Addr: addr(a)} }

// text is an operation in a line.
func text(o Operation) string {
	var parts []string
	for _, e := range o.edits {
		only := ""
		if e.Only {
			only = " only"
		}
		parts = append(parts, fmt.Sprintf("%s %s +%v -%v%s", e.Name, e.Type, e.Add, e.Remove, only))
	}
	return fmt.Sprintf("%s %d %s %v: %s", o.Op, o.Zone.ID, o.Name, o.Addrs, strings.Join(parts, "; "))
}

func TestPlan(t *testing.T) {
	zones := []Zone{{ID: 1, Name: "example.com"}, {ID: 2, Name: "2.0.192.in-addr.arpa"}, {ID: 3, Name: "example.com"}, {ID: 4, Name: "8.b.d.0.1.0.0.2.ip6.arpa"},
		{ID: 5, Name: "192.in-addr.arpa"}, {ID: 6, Name: "128/25.2.0.192.in-addr.arpa"}, {ID: 7, Name: "vm.example.com"}, {ID: 8, Name: "ample.com"}}
	const nibbles = "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
	for name, c := range map[string]struct {
		set, gone []Record
		want      []string
	}{
		"nothing": {nil, nil, nil},
		"no zone": {[]Record{fwd("vm.example.org", "192.0.3.5"), rev("203.0.113.5", "vm.example.org")}, nil, nil},
		"both families": {[]Record{fwd("a.example.com", "192.0.2.6"), fwd("a.example.com", "2001:db8::6"), fwd("a.example.com", "192.0.2.7")}, nil, []string{
			"fwd 1 a.example.com [192.0.2.6 2001:db8::6 192.0.2.7]: a.example.com A +[192.0.2.6 192.0.2.7] -[]; a.example.com AAAA +[2001:db8::6] -[]",
			"fwd 3 a.example.com [192.0.2.6 2001:db8::6 192.0.2.7]: a.example.com A +[192.0.2.6 192.0.2.7] -[]; a.example.com AAAA +[2001:db8::6] -[]"}},
		"every zone above it": {[]Record{fwd("x.vm.example.com", "192.0.2.6")}, nil, []string{
			"fwd 1 x.vm.example.com [192.0.2.6]: x.vm.example.com A +[192.0.2.6] -[]",
			"fwd 3 x.vm.example.com [192.0.2.6]: x.vm.example.com A +[192.0.2.6] -[]",
			"fwd 7 x.vm.example.com [192.0.2.6]: x.vm.example.com A +[192.0.2.6] -[]"}},
		"apex": {[]Record{fwd("ample.com", "192.0.2.6")}, nil, []string{"fwd 8 ample.com [192.0.2.6]: ample.com A +[192.0.2.6] -[]"}},
		"reverse, also by RFC 2317": {[]Record{rev("192.0.2.200", "a.example.com"), rev("2001:db8::6", "a.example.com")}, nil, []string{
			"rev 2 a.example.com [192.0.2.200]: 200.2.0.192.in-addr.arpa PTR +[a.example.com] -[] only",
			"rev 5 a.example.com [192.0.2.200]: 200.2.0.192.in-addr.arpa PTR +[a.example.com] -[] only",
			"rev 6 a.example.com [192.0.2.200]: 200.128/25.2.0.192.in-addr.arpa PTR +[a.example.com] -[] only",
			"rev 4 a.example.com [2001:db8::6]: " + nibbles + " PTR +[a.example.com] -[] only"}},
		"what goes comes first": {[]Record{fwd("a.example.com", "192.0.2.6"), rev("192.0.2.6", "b.example.com")},
			[]Record{fwd("a.example.com", "192.0.2.5"), fwd("a.example.com", "192.0.2.6"), rev("192.0.2.6", "a.example.com"), rev("192.0.2.5", "a.example.com")}, []string{
				"fwd-del 1 a.example.com [192.0.2.5]: a.example.com A +[] -[192.0.2.5]",
				"fwd-del 3 a.example.com [192.0.2.5]: a.example.com A +[] -[192.0.2.5]",
				"rev-del 2 a.example.com [192.0.2.6]: 6.2.0.192.in-addr.arpa PTR +[] -[a.example.com]",
				"rev-del 5 a.example.com [192.0.2.6]: 6.2.0.192.in-addr.arpa PTR +[] -[a.example.com]",
				"rev-del 2 a.example.com [192.0.2.5]: 5.2.0.192.in-addr.arpa PTR +[] -[a.example.com]",
				"rev-del 5 a.example.com [192.0.2.5]: 5.2.0.192.in-addr.arpa PTR +[] -[a.example.com]",
				"fwd 1 a.example.com [192.0.2.6]: a.example.com A +[192.0.2.6] -[]",
				"fwd 3 a.example.com [192.0.2.6]: a.example.com A +[192.0.2.6] -[]",
				"rev 2 b.example.com [192.0.2.6]: 6.2.0.192.in-addr.arpa PTR +[b.example.com] -[] only",
				"rev 5 b.example.com [192.0.2.6]: 6.2.0.192.in-addr.arpa PTR +[b.example.com] -[] only"}},
	} {
		var got []string
		for _, o := range Plan(zones, c.set, c.gone) {
			got = append(got, text(o))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		for _, r := range c.set {
			if served := Serves(zones, r); served != (len(c.want) > 0) {
				t.Errorf("%s: %v is served: %t", name, r, served)
			}
		}
	}
}

func TestEditsOfOneNameAreOne(t *testing.T) {
	zones := []Zone{{ID: 1, Name: "example.com"}, {ID: 2, Name: "2.0.192.in-addr.arpa"}}
	ops := Plan(zones[:1], []Record{fwd("a.example.com", "192.0.2.6")}, []Record{fwd("a.example.com", "192.0.2.5"), fwd("a.example.com", "2001:db8::5")})
	var all []*Operation
	for i := range ops {
		all = append(all, &ops[i])
	}
	want := []Edit{{Name: "a.example.com", Type: A, Add: []string{"192.0.2.6"}, Remove: []string{"192.0.2.5"}}, {Name: "a.example.com", Type: AAAA, Remove: []string{"2001:db8::5"}}}
	if d := cmp.Diff(want, merge(all)); d != "" {
		t.Error(d)
	}
	ops = Plan(zones[1:], []Record{rev("192.0.2.6", "b.example.com")}, []Record{rev("192.0.2.6", "a.example.com")})
	want = []Edit{{Name: "6.2.0.192.in-addr.arpa", Type: PTR, Add: []string{"b.example.com"}, Remove: []string{"a.example.com"}, Only: true}}
	if d := cmp.Diff(want, merge([]*Operation{&ops[0], &ops[1]})); d != "" {
		t.Error(d)
	}
}

func TestEditPlan(t *testing.T) {
	for name, c := range map[string]struct {
		edit                 Edit
		present, add, remove []string
	}{
		"add":            {Edit{Type: A, Add: []string{"192.0.2.6", "192.0.2.7"}}, []string{"192.0.2.7", "203.0.113.1"}, []string{"192.0.2.6"}, nil},
		"remove":         {Edit{Type: A, Remove: []string{"192.0.2.6", "192.0.2.9"}}, []string{"192.0.2.6", "203.0.113.1"}, nil, []string{"192.0.2.6"}},
		"spelling":       {Edit{Type: AAAA, Add: []string{"2001:db8::6"}, Remove: []string{"2001:db8::7"}}, []string{"2001:0DB8::0006", "2001:db8:0:0::7"}, nil, []string{"2001:db8:0:0::7"}},
		"PTR":            {Edit{Type: PTR, Add: []string{"a.example.com"}, Only: true}, []string{"old.example.net.", "A.Example.COM."}, nil, []string{"old.example.net."}},
		"PTR of others":  {Edit{Type: PTR, Remove: []string{"a.example.com"}}, []string{"old.example.net."}, nil, nil},
		"both":           {Edit{Type: A, Add: []string{"192.0.2.6"}, Remove: []string{"192.0.2.6"}}, []string{"192.0.2.6"}, nil, nil},
		"twice present":  {Edit{Type: A, Remove: []string{"192.0.2.6"}}, []string{"192.0.2.6", "192.0.2.6"}, nil, []string{"192.0.2.6"}},
		"twice wanted":   {Edit{Type: A, Add: []string{"192.0.2.6", "192.0.2.6"}}, nil, []string{"192.0.2.6"}, nil},
		"none is a name": {Edit{Type: A, Remove: []string{"192.0.2.6"}}, []string{"not an address"}, nil, nil},
	} {
		add, remove := c.edit.Plan(c.present)
		if !slices.Equal(add, c.add) || !slices.Equal(remove, c.remove) {
			t.Errorf("%s: +%v -%v, want +%v -%v", name, add, remove, c.add, c.remove)
		}
	}
}

func BenchmarkPlan64(b *testing.B) {
	zones := []Zone{{ID: 1, Name: "example.com"}, {ID: 2, Name: "2.0.192.in-addr.arpa"}, {ID: 3, Name: "8.b.d.0.1.0.0.2.ip6.arpa"}}
	var set []Record
	for i := range 32 {
		for _, a := range []string{fmt.Sprintf("192.0.2.%d", i+1), fmt.Sprintf("2001:db8::%x", i+1)} {
			set = append(set, fwd("vm.example.com", a), rev(a, "vm.example.com"))
		}
	}
	for b.Loop() {
		if n := len(Plan(zones, set, nil)); n != 65 {
			b.Fatal(n)
		}
	}
}
