package dns

import (
	"net/netip"
	"slices"
)

// Op is what an operation does.
type Op string

// The operations, as the log names them.
const (
	Forward       Op = "fwd"
	Reverse       Op = "rev"
	ForwardDelete Op = "fwd-del"
	ReverseDelete Op = "rev-del"
)

// Operation is one line of the log: the addresses of a name, or the name of an address, in one zone.
type Operation struct {
	Op    Op
	Zone  *Zone
	Name  string       // the host name
	Addrs []netip.Addr // its addresses; the one whose name it is
	edits []Edit
}

// Records are what the operation is about.
func (o *Operation) Records() []Record {
	var out []Record
	for _, a := range o.Addrs {
		out = append(out, Record{Reverse: o.Op == Reverse || o.Op == ReverseDelete, Name: o.Name, Addr: a})
	}
	return out
}

// Plan says what has to be done in zones so that the records of set are there and those of gone are not; a record in both
// is set. What no zone takes is nobody's. Deletions come first, forward before reverse, zones in their order.
func Plan(zones []Zone, set, gone []Record) []Operation {
	gone = slices.DeleteFunc(slices.Clone(gone), func(r Record) bool { return slices.Contains(set, r) })
	return slices.Concat(plan(zones, gone, ForwardDelete, ReverseDelete), plan(zones, set, Forward, Reverse))
}

func plan(zones []Zone, records []Record, forward, reverse Op) []Operation {
	var out []Operation
	var names []string
	addrs := map[string][]netip.Addr{}
	for _, r := range records {
		if r.Reverse {
			continue
		}
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
		if a := r.Addr.Unmap(); !slices.Contains(addrs[r.Name], a) {
			addrs[r.Name] = append(addrs[r.Name], a)
		}
	}
	for _, name := range names {
		for i := range zones {
			if zones[i].Holds(name) {
				out = append(out, Operation{Op: forward, Zone: &zones[i], Name: name, Addrs: addrs[name], edits: forwardEdits(forward, name, addrs[name])})
			}
		}
	}
	for _, r := range records {
		for i := range zones {
			if !r.Reverse {
				continue
			}
			at, ok := zones[i].reverse(r.Addr)
			if !ok {
				continue
			}
			e := Edit{Name: at, Type: PTR, Add: []string{r.Name}, Only: true}
			if reverse == ReverseDelete {
				e = Edit{Name: at, Type: PTR, Remove: []string{r.Name}}
			}
			out = append(out, Operation{Op: reverse, Zone: &zones[i], Name: r.Name, Addrs: []netip.Addr{r.Addr.Unmap()}, edits: []Edit{e}})
		}
	}
	return out
}

func forwardEdits(op Op, name string, addrs []netip.Addr) []Edit {
	var edits []Edit
	for _, typ := range []Type{A, AAAA} {
		var values []string
		for _, a := range addrs {
			if TypeOf(a) == typ {
				values = append(values, a.String())
			}
		}
		switch {
		case len(values) == 0:
		case op == Forward:
			edits = append(edits, Edit{Name: name, Type: typ, Add: values})
		default:
			edits = append(edits, Edit{Name: name, Type: typ, Remove: values})
		}
	}
	return edits
}

// merge makes of the edits of all operations, which are in one zone, one for each name and type.
func merge(ops []*Operation) []Edit {
	var out []Edit
	at := map[[2]string]int{}
	for _, o := range ops {
		for _, e := range o.edits {
			key := [2]string{e.Name, string(e.Type)}
			i, found := at[key]
			if !found {
				at[key] = len(out)
				out = append(out, Edit{Name: e.Name, Type: e.Type, Add: slices.Clone(e.Add), Remove: slices.Clone(e.Remove), Only: e.Only})
				continue
			}
			out[i].Add = append(out[i].Add, e.Add...)
			out[i].Remove = append(out[i].Remove, e.Remove...)
			out[i].Only = out[i].Only || e.Only
		}
	}
	for i := range out {
		out[i].Remove = slices.DeleteFunc(out[i].Remove, func(v string) bool { return slices.Contains(out[i].Add, v) })
	}
	return out
}
