package pvesim

import (
	"fmt"
	"net/netip"
	"strings"
)

// alias is a name for an address or network in a firewall's rules.
type alias struct{ name, cidr, comment string }

func (a alias) row(digest string) object {
	row := object{"name": a.name, "cidr": a.cidr, "digest": digest, "ipversion": 6}
	if a.comment != "" {
		row["comment"] = a.comment
	}
	if address, _, _ := strings.Cut(a.cidr, "/"); netip.MustParseAddr(address).Is4() {
		row["ipversion"] = 4
	}
	return row
}

func (r *request) aliasList() (any, error) {
	f, rows := r.firewallOf(), []object{}
	for _, key := range sortedKeys(f.aliases) {
		rows = append(rows, f.aliases[key].row(f.digest()))
	}
	return rows, nil
}

// alias is the one of the path; names do not differ by case.
func (r *request) alias(f *firewall) (key string, a alias, err error) {
	key = strings.ToLower(r.str("name"))
	a, found := f.aliases[key]
	if !found {
		return key, a, badParam("name", "no such alias")
	}
	return key, a, nil
}

func (r *request) readAlias() (any, error) {
	f := r.firewallOf()
	_, a, err := r.alias(f)
	if err != nil {
		return nil, err
	}
	return a.row(f.digest()), nil
}

func (r *request) createAlias() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	name := r.str("name")
	if _, found := f.aliases[strings.ToLower(name)]; found {
		return nil, badParam("name", fmt.Sprintf("alias '%s' already exists", name))
	}
	return nil, r.putAlias(f, name)
}

// putAlias writes the alias that the parameters tell under a name.
func (r *request) putAlias(f *firewall, name string) error {
	cidr, err := canonical(r.str("cidr"))
	if err != nil {
		return err
	}
	f.aliases[strings.ToLower(name)] = alias{name, cidr, r.str("comment")}
	return nil
}

// updateAlias replaces address and comment, and with rename the name.
func (r *request) updateAlias() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	key, a, err := r.alias(f)
	if err != nil {
		return nil, err
	}
	name := a.name
	if to := r.str("rename"); to != "" {
		if _, found := f.aliases[strings.ToLower(to)]; found && strings.ToLower(to) != key {
			return nil, badParam("name", fmt.Sprintf("alias '%s' already exists", to))
		}
		name = to
	}
	delete(f.aliases, key)
	return nil, r.putAlias(f, name)
}

// deleteAlias is content with an alias that is not there.
func (r *request) deleteAlias() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	delete(f.aliases, strings.ToLower(r.str("name")))
	return nil, nil
}
