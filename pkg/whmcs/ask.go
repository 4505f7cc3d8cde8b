package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// asked is what a wish is decided on.
type asked struct {
	there     bool
	status    sql.NullString
	notes     kvm.Notes
	noted     string // as they are stored
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
	var lost *kvm.Answer // of a statement whose own answer was lost
	for range writeTries {
		a, err := s.readAsked(ctx, service)
		if err != nil {
			return kvm.Answer{}, fmt.Errorf("%s: service %d: %w", w.Verb, service, err)
		}
		if lost != nil && lost.Decision == kvm.Take && kvm.Status(a.status.String) == lost.Now {
			return *lost, nil // it was taken
		}
		answer, update, err := s.decide(service, w, a)
		if err != nil || update.set == "" {
			return answer, err
		}
		query, args := `UPDATE puqProxmoxKVM_vm_info v SET `+update.set+` WHERE v.service_id = ? AND v.vm_status <=> ? AND v.suspended = ? AND `+update.where,
			slices.Concat(update.setArgs, []any{service, a.status, a.suspended}, update.whereArgs)
		if s.notes() {
			query, args = query+` AND v.next_status = ?`, append(args, a.noted)
		}
		res, err := s.db.ExecContext(ctx, query, args...)
		switch {
		case notWon(err):
			continue
		case unknownOutcome(err): // a note is no more for being made twice
			lost = &answer
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
	noted := `next_status`
	if !s.notes() {
		noted = `''`
	}
	err := s.db.QueryRowContext(ctx, `SELECT vm_status, `+noted+`, suspended <> 0, COALESCE(claim_owner, ''),
		COALESCE(claim_until BETWEEN UTC_TIMESTAMP(6) AND UTC_TIMESTAMP(6) + INTERVAL ? SECOND, 0),
		queued_at IS NULL AND vm_uuid = '' AND COALESCE(vm_uuids, '') IN ('', 'null', '[]'), COALESCE(vm_id, 0) FROM puqProxmoxKVM_vm_info WHERE service_id = ?`,
		int64(2*ClaimLife.Seconds()), service).Scan(&a.status, &a.noted, &a.suspended, &a.owner, &a.held, &a.unproved, &a.vmid)
	if errors.Is(err, sql.ErrNoRows) {
		return asked{}, nil
	}
	a.notes = kvm.ParseNotes(a.noted)
	a.held = a.held && a.owner != "" && !ownerDead(a.owner)
	return a, err
}

// notes says whether a verb can be noted: the tables of version 1 have no place for it.
func (s *Store) notes() bool { return s.has("puqProxmoxKVM_vm_info", "next_status") }

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

// decision is the matrix's, for a service as a says. phase is what the service is going through, a terminate that is noted
// counted as begun, since that comes before all else.
func decision(v kvm.Verb, a asked) (d kvm.Decision, phase kvm.Phase) {
	switch {
	case !a.there:
		phase = kvm.PhaseNone
	case a.notes.First() == kvm.Terminate:
		phase = kvm.PhaseTerminate
	default:
		phase = kvm.Status(a.status.String).Phase()
	}
	d = kvm.Decide(v, phase)
	switch {
	case d == kvm.Take && a.held && phase != kvm.PhaseReady: // a process is at work on it
		d = kvm.Note
	case d == kvm.Queued && (a.notes.Has(kvm.Suspend) || a.notes.Has(kvm.Unsuspend)) && (v == kvm.VerbSuspend || v == kvm.VerbUnsuspend):
		d = kvm.Note // it is in hand, and the other one comes after it
	case a.notes.Has(kvm.Creation) && (v == kvm.VerbSuspend || v == kvm.VerbUnsuspend || v == kvm.VerbChangePackage):
		d = kvm.Note // it is meant for the VM that comes after the terminate
	}
	return d, phase
}

func (s *Store) decide(service int64, w kvm.Wish, a asked) (kvm.Answer, update, error) {
	status := kvm.Status(a.status.String)
	d, phase := decision(w.Verb, a)
	answer := kvm.Answer{Decision: d, Was: status, Now: status, VMID: a.vmid}
	none := update{}
	if phase == kvm.PhaseTerminate && status.Phase() != phase {
		answer.Was = kvm.Terminate
	}
	anew := w.Verb == kvm.VerbTerminate && d == kvm.Queued && len(a.notes.Without(kvm.Terminate)) > 0 // it drops what else was noted
	if err := answer.Refusal(w.Verb, service); err != nil && !anew {
		return answer, none, err
	}
	if d == kvm.Take && (w.Verb == kvm.VerbCreate || w.Verb.Status() == "") { // an order is more than a status, and a start none
		return answer, none, nil
	}
	if a.unproved && (d == kvm.Take || d == kvm.Note) && phase != kvm.PhaseRemove {
		return answer, none, kvm.WithHint(kvm.Errorf(kvm.ErrUnproved, "%s refused: service %d has no UUID stored, so nothing proves that VM %d is its own", w.Verb, service, a.vmid), "puqkvm adopt %d", service)
	}
	busy := kvm.Errorf(kvm.ErrBusy, "%s: another command or a tick is at work on service %d; try again", w.Verb, service)
	u := update{where: unclaimed, whereArgs: []any{int64(2 * ClaimLife.Seconds()), a.owner}}
	var notes kvm.Notes
	switch {
	case d == kvm.Take:
		u.set, u.setArgs = `v.vm_status = ?, v.status_since = UTC_TIMESTAMP(6), v.alerted = 0, v.message = NULL`, []any{string(w.Verb.Status())}
		if a.held && w.Verb.FromWHMCS() { // at ready: whoever holds it writes nothing that this contradicts
			u.where, u.whereArgs = `v.claim_owner = ?`, []any{a.owner}
		} else if a.held {
			return answer, none, busy
		}
		if w.Verb == kvm.VerbChangePackage { // what comes after it stays noted
			notes = a.notes.Without(kvm.ChangePackage)
		}
		answer.Now = w.Verb.Status()
	case d == kvm.Note && !w.Verb.FromWHMCS():
		return answer, none, busy
	case d == kvm.Note && !s.notes():
		return answer, none, kvm.WithHint(kvm.Errorf(kvm.ErrBusy, "%s: service %d is at %s, and puqkvm's tables are too old to note what comes after that", w.Verb, service, status), "puqkvm db migrate")
	case d == kvm.Note, anew:
		u.where, u.whereArgs = `TRUE`, nil
		if notes = a.notes.With(w.Verb.Status()); status.Phase() == kvm.PhaseTerminate {
			notes = notes.Without(kvm.Terminate)
		}
	default:
		return answer, none, nil
	}
	if u.set != "" && s.notes() {
		u.set += `, `
	}
	if s.notes() {
		u.set += `v.next_status = ?`
		u.setArgs = append(u.setArgs, notes.String())
	}
	switch w.Verb {
	case kvm.VerbSuspend:
		u.set += `, v.suspended = 1`
	case kvm.VerbUnsuspend, kvm.VerbCreate: // a new order is not suspended
		u.set += `, v.suspended = 0`
	case kvm.VerbReinstall:
		u.set += `, v.template = ?`
		u.setArgs = append(u.setArgs, w.Template)
	case kvm.VerbResetPassword:
		u.set += `, v.password_set = 0`
	case kvm.VerbBackup:
		u.set += `, v.backup_note = ?`
		u.setArgs = append(u.setArgs, w.Note)
	case kvm.VerbRestore, kvm.VerbRollback:
		u.set += `, v.restore_from = ?`
		u.setArgs = append(u.setArgs, w.From)
	}
	return answer, u, nil
}
