package hestiacp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// attempts is how often an add may lose its id to another writer, and how many rows may be new while rows are deleted.
const attempts = 3

// batch is one Apply, with the turn taken.
type batch struct {
	*Provider
	zone  string
	edits []dns.Edit
	out   []dns.Outcome
	rows  []row
	fresh bool  // nothing was sent since rows were listed
	full  error // why no add can succeed any more
	dead  error // why nothing can
}

func (b *batch) list(ctx context.Context) error {
	rows, err := b.Provider.rows(ctx, b.zone)
	if err == nil {
		b.rows, b.fresh = rows, true
	}
	return err
}

// of are the rows that have the edit's name and type.
func (b *batch) of(e dns.Edit) []row {
	var out []row
	for _, r := range b.rows {
		if r.typ == e.Type && r.name(b.zone) == e.Name {
			out = append(out, r)
		}
	}
	return out
}

// missing are the values to add: those that no row serves.
func (b *batch) missing(e dns.Edit) []string {
	var served []string
	for _, r := range b.of(e) {
		if !r.suspended {
			served = append(served, r.value)
		}
	}
	add, _ := e.Plan(served)
	return add
}

// doomed are the rows that must go, suspended or not.
func (b *batch) doomed(e dns.Edit) []row {
	var values []string
	for _, r := range b.of(e) {
		values = append(values, r.value)
	}
	_, gone := e.Plan(values)
	for i, v := range gone {
		gone[i] = dns.Canonical(e.Type, v)
	}
	return slices.DeleteFunc(b.of(e), func(r row) bool { return !slices.Contains(gone, dns.Canonical(e.Type, r.value)) })
}

// addAll adds what is missing. It goes on after a value that is refused.
func (b *batch) addAll(ctx context.Context) {
	for i, e := range b.edits {
		for _, value := range b.missing(e) {
			b.note(i, b.add(ctx, e, value))
		}
	}
}

// removeAll removes what must go, except where an add failed: a name that changes is never without any value.
func (b *batch) removeAll(ctx context.Context) {
	for i, e := range b.edits {
		if b.out[i].Err == nil && len(b.doomed(e)) > 0 {
			b.remove(ctx, i, e)
		}
	}
}

// note keeps what became of a call for edit i.
func (b *batch) note(i int, err error) {
	switch {
	case err == nil:
		b.out[i].Changed = true
	case b.out[i].Err == nil:
		b.out[i].Err = err
	}
	if err != nil && b.dead == nil && dns.Dead(err) {
		b.dead = err
	}
}

// subject is what an error about a value names.
func (b *batch) subject(e dns.Edit, value string) string {
	return b.client.OneLine(fmt.Sprintf("%s %s %s", e.Name, e.Type, value))
}

// add adds one value and makes sure of what came of it.
func (b *batch) add(ctx context.Context, e dns.Edit, value string) error {
	subject := b.subject(e, value)
	for attempt := 1; ; attempt++ {
		for _, why := range []error{b.dead, b.full} {
			if why != nil {
				return fmt.Errorf("%s was not tried: %w", subject, why)
			}
		}
		b.fresh = false
		err := b.run(ctx, subject, addRecord, b.o.User, b.zone, relative(e.Name, b.zone), string(e.Type), value, "", "", "", strconv.Itoa(b.o.TTL))
		if err == nil {
			return nil
		}
		if err := b.look(ctx, err); err != nil {
			return err
		}
		if !slices.Contains(b.missing(e), value) {
			return nil
		}
		var failed commandError
		switch errors.As(err, &failed); {
		case failed.exit == exitExists && attempt < attempts:
			continue // another writer has taken the id, and nothing was written
		case failed.exit == 5 || failed.exit == 8: // suspended, or the package's limit
			b.full = err
		}
		return err
	}
}

// look lists the zone after err, which does not say what was done. It gives err, or more, when nothing is known then.
func (b *batch) look(ctx context.Context, err error) error {
	if errors.Is(err, kvm.ErrUnreachable) {
		return err
	}
	seen := b.list(ctx)
	switch {
	case seen == nil:
		return nil
	case errors.Is(err, kvm.ErrUnknown) || errors.Is(err, kvm.ErrAuth):
		return err
	}
	unknown := kvm.Errorf(kvm.ErrUnknown, "%s; what came of it could not be seen: %s", err, seen)
	if ctx.Err() != nil {
		return kvm.Errorf(ctx.Err(), "%w", unknown)
	}
	return unknown
}
