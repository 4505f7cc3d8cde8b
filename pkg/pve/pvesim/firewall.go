package pvesim

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// firewall is a VM's firewall file. It exists by itself: PVE asks nowhere whether there is such a VM.
type firewall struct {
	options map[string]string
	sets    map[string]*ipset
	aliases map[string]alias    // by name in lower case
	groups  map[string]string   // name to comment; the datacenter's only
	rules   []map[string]string // the first one is at position 0
}

type ipset struct {
	comment string
	entries []entry
}

type entry struct {
	cidr, comment string
	nomatch       bool
}

func newFirewall() *firewall {
	return &firewall{options: map[string]string{}, sets: map[string]*ipset{}, aliases: map[string]alias{}, groups: map[string]string{}}
}

func (f *firewall) clone() *firewall {
	c := newFirewall()
	maps.Copy(c.options, f.options)
	maps.Copy(c.aliases, f.aliases)
	for name, s := range f.sets {
		c.sets[name] = &ipset{comment: s.comment, entries: slices.Clone(s.entries)}
	}
	for _, rule := range f.rules {
		c.rules = append(c.rules, maps.Clone(rule))
	}
	return c
}

// firewallOf is the file to read; one that does not exist is empty.
func (r *request) firewallOf() *firewall {
	if f := r.c.firewalls[r.vmid()]; f != nil {
		return f
	}
	return newFirewall()
}

// changeFirewall is the file to write, after the caller's digest was compared.
func (r *request) changeFirewall() (*firewall, error) {
	f := r.firewallOf()
	if d := r.str("digest"); d != "" && d != f.digest() {
		return nil, failure("detected modified configuration - file changed by other user? Try again.")
	}
	r.c.firewalls[r.vmid()] = f
	return f, nil
}

func (f *firewall) digest() string {
	var b strings.Builder
	for _, k := range sortedKeys(f.options) {
		fmt.Fprintf(&b, "%s: %s\n", k, f.options[k])
	}
	for _, name := range sortedKeys(f.sets) {
		fmt.Fprintf(&b, "[IPSET %s] # %s\n", name, f.sets[name].comment)
		for _, e := range f.sets[name].entries {
			fmt.Fprintf(&b, "%t%s # %s\n", e.nomatch, e.cidr, e.comment)
		}
	}
	for _, key := range sortedKeys(f.aliases) {
		fmt.Fprintf(&b, "%+v\n", f.aliases[key])
	}
	for _, name := range sortedKeys(f.groups) {
		fmt.Fprintf(&b, "[group %s] # %s\n", name, f.groups[name])
	}
	for _, rule := range f.rules {
		for _, k := range sortedKeys(rule) {
			fmt.Fprintf(&b, "%s=%q ", k, rule[k])
		}
		b.WriteByte('\n')
	}
	return digestOf(b.String())
}

// firewallOptions shows the options that are set, and only those.
func (r *request) firewallOptions() (any, error) {
	f := r.firewallOf()
	doc := object{"digest": f.digest()}
	for k, v := range f.options {
		doc[k] = v
		if n, err := strconv.Atoi(v); err == nil {
			doc[k] = n
		}
	}
	return doc, nil
}

func (r *request) setFirewallOptions() (any, error) {
	for _, k := range strings.FieldsFunc(r.str("delete"), isListBreak) {
		if r.ep.params[k] == nil {
			return nil, badParam("delete", fmt.Sprintf("no such option '%s'", k))
		}
	}
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	for _, k := range strings.FieldsFunc(r.str("delete"), isListBreak) {
		delete(f.options, k)
	}
	for k, v := range r.vars {
		if !slices.Contains([]string{"node", "vmid", "delete", "digest"}, k) {
			f.options[k] = v
		}
	}
	return nil, nil
}

func (r *request) ipsetList() (any, error) {
	f, rows := r.firewallOf(), []object{}
	for _, name := range sortedKeys(f.sets) {
		row := object{"name": name, "digest": f.digest()}
		if c := f.sets[name].comment; c != "" {
			row["comment"] = c
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// createIPSet makes a set, or with rename changes one's name and comment.
func (r *request) createIPSet() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	name, old := r.str("name"), r.str("rename")
	if old == "" {
		if f.sets[name] != nil {
			return nil, badParam("name", fmt.Sprintf("IPSet '%s' already exists", name))
		}
		f.sets[name] = &ipset{comment: r.str("comment")}
		return nil, nil
	}
	set := f.sets[old]
	switch {
	case set == nil:
		return nil, badParam("name", fmt.Sprintf("IPSet '%s' does not exist", old))
	case old != name && f.sets[name] != nil:
		return nil, badParam("name", fmt.Sprintf("IPSet '%s' already exists", name))
	}
	delete(f.sets, old)
	f.sets[name] = set
	if r.has("comment") {
		set.comment = r.str("comment")
	}
	return nil, nil
}

func (r *request) set(f *firewall) (*ipset, error) {
	if s := f.sets[r.str("name")]; s != nil {
		return s, nil
	}
	return nil, failure("no such IPSet '%s'", r.str("name"))
}

func (e entry) row(digest string) object {
	row := object{"cidr": e.cidr, "digest": digest}
	if e.comment != "" {
		row["comment"] = e.comment
	}
	if e.nomatch {
		row["nomatch"] = 1
	}
	return row
}

func (r *request) ipsetEntries() (any, error) {
	f := r.firewallOf()
	s, err := r.set(f)
	if err != nil {
		return nil, err
	}
	rows := []object{}
	for _, e := range s.entries {
		rows = append(rows, e.row(f.digest()))
	}
	return rows, nil
}

// canonical is the form in which PVE keeps an entry: network address, no /32 or /128. A zero prefix is refused.
func canonical(cidr string) (string, error) {
	if addr, err := netip.ParseAddr(cidr); err == nil {
		return addr.String(), nil
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return "", badParam("cidr", fmt.Sprintf("no such alias '%s'", cidr))
	}
	switch {
	case prefix.Bits() == 0:
		return "", badParam("cidr", "a zero prefix is not allowed in ipset entries")
	case prefix.IsSingleIP():
		return prefix.Addr().String(), nil
	default:
		return prefix.Masked().String(), nil
	}
}

func (r *request) addEntry() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	s, err := r.set(f)
	if err != nil {
		return nil, err
	}
	cidr, err := canonical(r.str("cidr"))
	if err != nil {
		return nil, err
	}
	if s.find(cidr) >= 0 {
		return nil, badParam("cidr", fmt.Sprintf("address '%s' already exists", cidr))
	}
	s.entries = append(s.entries, entry{cidr: cidr, comment: r.str("comment"), nomatch: r.boolean("nomatch")})
	slices.SortFunc(s.entries, func(a, b entry) int { return cmp.Compare(a.cidr, b.cidr) })
	return nil, nil
}

func (s *ipset) find(cidr string) int {
	return slices.IndexFunc(s.entries, func(e entry) bool { return e.cidr == cidr })
}

// deleteIPSet refuses a set that has entries, unless force is given.
func (r *request) deleteIPSet() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	s, err := r.set(f)
	if err != nil {
		return nil, err
	}
	if len(s.entries) > 0 && !r.boolean("force") {
		return nil, failure("IPSet '%s' is not empty", r.str("name"))
	}
	delete(f.sets, r.str("name"))
	return nil, nil
}

// pathEntry is the set and entry of the path; index is -1 when the set has no such entry.
func (r *request) pathEntry(f *firewall) (s *ipset, index int, err error) {
	if s, err = r.set(f); err != nil {
		return nil, -1, err
	}
	cidr, err := canonical(r.str("cidr"))
	if err != nil {
		return nil, -1, err
	}
	return s, s.find(cidr), nil
}

func (r *request) readEntry() (any, error) {
	f := r.firewallOf()
	s, i, err := r.pathEntry(f)
	if err != nil {
		return nil, err
	}
	if i < 0 {
		return nil, badParam("cidr", "no such IP/Network")
	}
	return s.entries[i].row(f.digest()), nil
}

func (r *request) updateEntry() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	s, i, err := r.pathEntry(f)
	if err != nil {
		return nil, err
	}
	if i < 0 {
		return nil, badParam("cidr", "no such IP/Network")
	}
	s.entries[i].comment, s.entries[i].nomatch = r.str("comment"), r.boolean("nomatch")
	return nil, nil
}

// deleteEntry is content with an entry that is not there.
func (r *request) deleteEntry() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	s, i, err := r.pathEntry(f)
	if err != nil {
		return nil, err
	}
	if i >= 0 {
		s.entries = slices.Delete(s.entries, i, i+1)
	}
	return nil, nil
}

// sortedKeys are m's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
