package hestiacp

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// remove deletes the rows of edit i that must go, one by one, each by a fresh list.
func (b *batch) remove(ctx context.Context, i int, e dns.Edit) {
	var stays []string // ids that cannot be deleted
	doomed := func() []row {
		return slices.DeleteFunc(b.doomed(e), func(r row) bool { return slices.Contains(stays, r.id) })
	}
	for tries := len(doomed()) + attempts; ; tries-- {
		if !b.fresh && b.dead == nil && len(doomed()) > 0 {
			if err := b.list(ctx); err != nil {
				b.note(i, err)
				return
			}
		}
		rows := doomed()
		if len(rows) == 0 {
			return
		}
		r := rows[0]
		subject := b.subject(e, r.value)
		switch {
		case b.dead != nil:
			b.note(i, fmt.Errorf("%s was not tried: %w", subject, b.dead))
			return
		case tries == 0:
			b.note(i, b.errorf(kvm.ErrBusy, subject, deleteRecord, "given up: others write to the zone all the time"))
			return
		}
		err := b.alone(subject, e, r)
		if err == nil {
			err = b.delete(ctx, subject, r)
		}
		b.note(i, err)
		if err != nil {
			stays = append(stays, r.id)
		}
	}
}

// alone says why the row cannot be deleted by its id: another row has it, too, and is to stay.
func (b *batch) alone(subject string, e dns.Edit, r row) error {
	doomed := b.doomed(e)
	for _, other := range b.rows {
		if other.id == r.id && !slices.Contains(doomed, other) {
			return kvm.WithHint(b.errorf(kvm.ErrRefused, subject, deleteRecord,
				"refused here: in the zone %s the id %s is also that of %s, which would go as well", b.zone, r.id, b.client.OneLine(other.name(b.zone)+" "+string(other.typ))),
				"give one of the rows with the id %s another one in $HESTIA/data/users/%s/dns/%s.conf, and rebuild the zone (v-rebuild-dns-domain); or delete it in the panel, which takes all of them, and add the other one again", r.id, b.o.User, b.zone)
		}
	}
	return nil
}

// delete deletes every row with r's id and makes sure of what came of it.
func (b *batch) delete(ctx context.Context, subject string, r row) error {
	b.fresh = false
	err := b.run(ctx, subject, deleteRecord, b.o.User, b.zone, r.id)
	if err == nil {
		b.rows = slices.DeleteFunc(b.rows, func(other row) bool { return other.id == r.id })
		return nil
	}
	if err := b.look(ctx, err); err != nil {
		return err
	}
	if !slices.Contains(b.rows, r) {
		return nil
	}
	var failed commandError
	if errors.As(err, &failed) && failed.exit == exitInvalid && r.typ == dns.A {
		err = kvm.WithHint(err, "HestiaCP keeps the last A record of a zone: give the zone another one")
	}
	return err
}
