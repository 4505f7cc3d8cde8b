package cloudflare

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// rounds is how often what is there is read at most for one Apply.
const rounds = 3

// work is an edit on its way.
type work struct {
	edit dns.Edit
	out  dns.Outcome
	done bool
	left int // changes of this round that are not made yet
	// doubt is why the edit has to be looked at again: a change was sent for it and it is not known what became of it, or a
	// record was there already that the list did not have.
	doubt error
}

// job is one Apply.
type job struct {
	*Provider
	zone string
	id   string // the zone's
	old  bool   // id was known before this job, and may be outdated
	work []*work
	last error // that of a change of which it is not known what became, and which ended the round
}

// Apply makes the edits so; see dns.Provider.
func (p *Provider) Apply(ctx context.Context, zone string, edits []dns.Edit) []dns.Outcome {
	j := &job{Provider: p, zone: dns.CanonicalName(zone)}
	for _, e := range edits {
		j.work = append(j.work, &work{edit: e})
	}
	if len(edits) > 0 {
		j.run(ctx)
	}
	out := make([]dns.Outcome, len(edits))
	for i, w := range j.work {
		out[i] = w.out
	}
	return out
}

func (j *job) run(ctx context.Context) {
	for n := 1; ; n++ {
		err := j.round(ctx)
		if err != nil || n == rounds || len(j.open()) == 0 {
			j.giveUp(err)
			return
		}
		if j.last != nil && j.pace.wait(ctx, backoff<<(n-1), "the next try comes in") != nil {
			j.giveUp(j.last)
			return
		}
	}
}

// open are the edits that are neither made nor refused.
func (j *job) open() []*work {
	var out []*work
	for _, w := range j.work {
		if !w.done {
			out = append(out, w)
		}
	}
	return out
}

// giveUp fails what is open: with its own doubt where it may have been done, else with err.
func (j *job) giveUp(err error) {
	for _, w := range j.open() {
		switch {
		case w.doubt != nil && (err == nil || unclear(w.doubt)):
			w.fail(w.doubt)
		case err != nil:
			w.fail(fmt.Errorf("zone %s: %w", j.zone, err))
		default:
			w.fail(fmt.Errorf("zone %s: %w", j.zone, j.last))
		}
	}
}

func (w *work) fail(err error) { w.out.Err, w.done = err, true }

// round looks, plans and writes once, and again with the zone's present id where the one known before is outdated. Its error
// is what no edit can be made against.
func (j *job) round(ctx context.Context) error {
	err := j.attempt(ctx)
	if j.old && (errors.Is(err, kvm.ErrNotFound) || errors.Is(err, kvm.ErrDenied)) {
		j.forget(j.zone, j.id)
		err = j.attempt(ctx)
	}
	return err
}

func (j *job) attempt(ctx context.Context) (err error) {
	j.last = nil
	if j.id, j.old, err = j.zoneID(ctx, j.zone); err != nil {
		return err
	}
	open := j.open()
	records, err := j.present(ctx, j.id, open)
	if err != nil {
		return err
	}
	var all [][]change
	for _, w := range open {
		changes := w.plan(records[w.rrset()])
		if len(changes) == 0 {
			w.done = true
			w.out.Changed = w.out.Changed || unclear(w.doubt) // it was done after all
			continue
		}
		w.left, w.doubt = len(changes), nil
		all = append(all, changes)
	}
	for _, c := range chunks(all, batchLimit) {
		if err := j.write(ctx, c); unclear(err) {
			j.last = err
			return nil // the next round looks what became of it
		} else if err != nil {
			return err
		}
	}
	return nil
}

// chunks puts the changes of edits together, at most most in each, and takes an edit's apart only where it has more.
func chunks(all [][]change, most int) [][]change {
	var out [][]change
	var chunk []change
	flush := func() {
		if len(chunk) > 0 {
			out = append(out, chunk)
			chunk = nil
		}
	}
	for _, changes := range all {
		if len(chunk)+len(changes) > most {
			flush()
		}
		for len(changes) > most {
			out = append(out, changes[:most])
			changes = changes[most:]
		}
		chunk = append(chunk, changes...)
	}
	flush()
	return out
}

// write makes changes, at once, or, where one of them is refused, one by one. Its error is one after which nothing more is
// to be sent.
func (j *job) write(ctx context.Context, changes []change) error {
	if len(changes) == 1 {
		return j.oneByOne(ctx, changes)
	}
	for _, c := range changes {
		if c.work.done || c.work.doubt != nil { // a part of the edit before this one failed
			return j.oneByOne(ctx, changes)
		}
	}
	err := j.batch(ctx, j.id, changes)
	switch {
	case err == nil:
		for _, c := range changes {
			c.work.made(true)
		}
		return nil
	case unclear(err):
		for _, c := range changes {
			c.work.doubt = j.named(c, err)
		}
		return err
	case hopeless(err):
		return err
	}
	return j.oneByOne(ctx, changes)
}

// oneByOne makes each change by itself. What follows in an edit after one that was refused is left out: nothing is removed
// before its successor is there.
func (j *job) oneByOne(ctx context.Context, changes []change) error {
	for _, c := range changes {
		w := c.work
		if w.done || w.doubt != nil && !c.adding {
			continue
		}
		err := j.single(ctx, j.id, c)
		switch {
		case err == nil:
			w.made(true)
		case !c.adding && gone(err):
			w.made(false)
		case c.adding && says(err, codeRecordExists, codeIdentical):
			w.doubt = j.named(c, err) // the next round looks whether it is ours
		case unclear(err):
			w.doubt = j.named(c, err)
			return err
		case hopeless(err):
			return err
		default:
			w.fail(j.named(c, err))
		}
	}
	return nil
}

// made notes that a change of w is as it should be, by us or not.
func (w *work) made(changed bool) {
	w.out.Changed = w.out.Changed || changed
	w.left--
	w.done = w.left == 0
}

func (j *job) named(c change, err error) error {
	return fmt.Errorf("zone %s: %s %s %s: %w", j.zone, c.work.edit.Name, c.work.edit.Type, c.value, err)
}

// hopeless tells whether the next change would fare no better.
func hopeless(err error) bool {
	return dns.Dead(err) || errors.Is(err, kvm.ErrDenied) || errors.Is(err, kvm.ErrNotFound)
}

// gone tells whether err says that the record is not there, and not that the zone is not.
func gone(err error) bool {
	return says(err, codeRecordGone, codeNoRecord) || hasStatus(err, http.StatusNotFound) && !says(err, codeNoZone, codeNoRoute, codeNoObject)
}
