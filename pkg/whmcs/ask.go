package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// asked is what a wish is decided on.
type asked struct {
	there     bool
	status    sql.NullString
	noted     string
	suspended bool
	owner     string
	held      bool // by a process that is, as far as can be known, alive
	unproved  bool
	vmid      int
}

// Ask takes or notes what somebody wishes for a service, or does neither, as the matrix says (kvm.Decide). Every write names
// what was read; when somebody else was faster the wish is decided anew. What is refused, or in hand already, is an error
// (kvm.Answer.Refusal) and changes nothing; kvm.ErrUnproved = nothing proves that the VM is the service's.
//
// WHMCS's own verbs are never refused because a process is at work on the service: they are noted then, and taken when its
// run ends, a terminate after its present row. What others ask for is kvm.ErrBusy then.
func (s *Store) Ask(ctx context.Context, service int64, w kvm.Wish) (kvm.Answer, error) {
	for range writeTries {
		a, err := s.readAsked(ctx, service)
		if err != nil {
			return kvm.Answer{}, fmt.Errorf("%s: service %d: %w", w.Verb, service, err)
		}
		answer, update, err := s.decide(service, w, a)
		if err != nil || update.set == "" {
			return answer, err
		}
		res, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info v SET `+update.set+`
			WHERE v.service_id = ? AND v.vm_status <=> ? AND v.next_status = ? AND v.suspended = ? AND `+update.where,
			append(append(update.setArgs, service, a.status, a.noted, a.suspended), update.whereArgs...)...)
		switch {
		case notWon(err), unknownOutcome(err): // asking twice does nothing more
			continue
		case err != nil:
			return kvm.Answer{}, fmt.Errorf("%s: service %d: %w", w.Verb, service, err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return answer, err
		}
	}
	return kvm.Answer{}, kvm.Errorf(kvm.ErrBusy, "%s: service %d is being changed by others; try again", w.Verb, service)
}

func (s *Store) readAsked(ctx context.Context, service int64) (asked, error) {
	a := asked{there: true}
	err := s.db.QueryRowContext(ctx, `SELECT vm_status, next_status, suspended <> 0, COALESCE(claim_owner, ''),
		COALESCE(claim_until BETWEEN UTC_TIMESTAMP(6) AND UTC_TIMESTAMP(6) + INTERVAL ? SECOND, 0),
		queued_at IS NULL AND vm_uuid = '' AND COALESCE(vm_uuids, '') IN ('', 'null', '[]'), COALESCE(vm_id, 0) FROM puqProxmoxKVM_vm_info WHERE service_id = ?`,
		int64(2*ClaimLife.Seconds()), service).Scan(&a.status, &a.noted, &a.suspended, &a.owner, &a.held, &a.unproved, &a.vmid)
	if errors.Is(err, sql.ErrNoRows) {
		return asked{}, nil
	}
	a.held = a.held && a.owner != "" && !ownerDead(a.owner)
	return a, err
}

// update is what a decision writes, and under which further condition.
type update struct {
	set       string
	setArgs   []any
	where     string
	whereArgs []any
}

// unclaimed: nobody who may be alive holds the service.
const unclaimed = `(v.claim_owner IS NULL OR v.claim_until IS NULL OR v.claim_until < UTC_TIMESTAMP(6)
	OR v.claim_until > UTC_TIMESTAMP(6) + INTERVAL ? SECOND OR v.claim_owner = ?)`

func (s *Store) decide(service int64, w kvm.Wish, a asked) (kvm.Answer, update, error) {
	status := kvm.Status(a.status.String)
	phase := kvm.PhaseNone
	if a.there {
		phase = status.Phase()
	}
	d := kvm.Decide(w.Verb, phase)
	switch {
	case d == kvm.Take && a.held && phase != kvm.PhaseReady: // a process is at work on it
		d = kvm.Note
	case d == kvm.Queued && a.noted != "" && (w.Verb == kvm.VerbSuspend || w.Verb == kvm.VerbUnsuspend): // the other one is noted
		d = kvm.Note
	}
	answer := kvm.Answer{Decision: d, Was: status, Now: status, VMID: a.vmid}
	none := update{}
	if err := answer.Refusal(w.Verb, service); err != nil && !(w.Verb == kvm.VerbTerminate && d == kvm.Queued && a.noted != "") {
		return answer, none, err
	}
	if a.unproved && (d == kvm.Take || d == kvm.Note) && phase != kvm.PhaseRemove {
		return answer, none, kvm.WithHint(kvm.Errorf(kvm.ErrUnproved, "%s refused: service %d has no UUID stored, so nothing proves that VM %d is its own", w.Verb, service, a.vmid), "puqkvm adopt %d", service)
	}
	u := update{where: unclaimed, whereArgs: []any{int64(2 * ClaimLife.Seconds()), a.owner}}
	switch d {
	case kvm.Take:
		u.set, u.setArgs = `v.vm_status = ?, v.next_status = '', v.status_since = UTC_TIMESTAMP(6), v.alerted = 0, v.message = NULL`, []any{string(w.Verb.Status())}
		if a.held && w.Verb.FromWHMCS() { // at ready: whoever holds it writes nothing that this contradicts
			u.where, u.whereArgs = `v.claim_owner = ?`, []any{a.owner}
		} else if a.held {
			return answer, none, kvm.Errorf(kvm.ErrBusy, "%s: another command or a tick is at work on service %d; try again", w.Verb, service)
		}
		answer.Now = w.Verb.Status()
	case kvm.Note:
		if !w.Verb.FromWHMCS() {
			return answer, none, kvm.Errorf(kvm.ErrBusy, "%s: another command or a tick is at work on service %d; try again", w.Verb, service)
		}
		u.where, u.whereArgs = `TRUE`, nil
		note := w.Verb.Status()
		if kvm.Status(a.noted).Outranks(note) {
			note = kvm.Status(a.noted)
		}
		u.set, u.setArgs = `v.next_status = ?`, []any{string(note)}
	case kvm.Queued: // a terminate that drops what else was noted
		u.where, u.whereArgs = `TRUE`, nil
		u.set = `v.next_status = ''`
	default:
		return answer, none, nil
	}
	switch w.Verb {
	case kvm.VerbSuspend:
		u.set += `, v.suspended = 1`
	case kvm.VerbUnsuspend:
		u.set += `, v.suspended = 0`
	case kvm.VerbReinstall:
		u.set += `, v.template = ?`
		u.setArgs = append(u.setArgs, w.Template)
	case kvm.VerbResetPassword:
		u.set += `, v.password_set = 0`
	}
	return answer, u, nil
}
