package kvm

import (
	"errors"
	"fmt"
)

// What a caller decides on. Adapters wrap one of these; everything else is an error that only gets printed.
var (
	// ErrNotFound: the thing that was named does not exist (a service, product, pool; not a VM, see ErrNotHere).
	ErrNotFound = errors.New("not found")
	// ErrInvalid: input that can never work. Nothing was changed.
	ErrInvalid = errors.New("invalid")
	// ErrRefused: the input is fine, but not in this state.
	ErrRefused = errors.New("refused")
	// ErrQueued: noted, or in hand already; cron goes on with it.
	ErrQueued = errors.New("queued")
	// ErrAdmin: only an administrator can mend it; trying again does not help.
	ErrAdmin = errors.New("an administrator must act")

	// ErrMoved: the row is no longer ours, or no longer at the status we saw. Stop, touch nothing more.
	ErrMoved = errors.New("moved by somebody else")
	// ErrAsked: something else was asked for meanwhile, and the service has gone there in place of the row's status.
	ErrAsked = errors.New("something else was asked for")
	// ErrExhausted: the pools have no address left.
	ErrExhausted = errors.New("exhausted")

	// ErrBusy: Proxmox is at work on it (a lock, a lock time-out). Wait.
	ErrBusy = errors.New("busy")
	// ErrUnreachable: nothing was done, for nobody answered (dial error, no quorum, 595). Wait.
	ErrUnreachable = errors.New("could not be reached")
	// ErrUnknown: it may have been done or not (time-out, reset, 596, 599). Never repeat; look first.
	ErrUnknown = errors.New("outcome unknown")
	// ErrNotHere: this node has no such VM. It may be on another one: not a proof of absence.
	ErrNotHere = errors.New("not on this node")
	// ErrTaken: the VMID exists already.
	ErrTaken = errors.New("taken")
	// ErrChanged: the configuration's digest is another than the one that was read. Read again and recompute.
	ErrChanged = errors.New("changed by somebody else")
	// ErrAuth: the token or password is wrong (401).
	ErrAuth = errors.New("not authenticated")
	// ErrDenied: a privilege is missing (403).
	ErrDenied = errors.New("permission denied")
	// ErrPermanent: Proxmox refused, and would refuse again.
	ErrPermanent = errors.New("refused by Proxmox")
	// ErrState: the VM is not in the power state that the call needs (already running, not running).
	ErrState = errors.New("wrong power state")
	// ErrStillRunning: the task had not ended when the patience for this tick did.
	ErrStillRunning = errors.New("still running")
	// ErrTaskFailed: the task has ended, and not well. What its words stand for is a sentinel of its own beside this one.
	ErrTaskFailed = errors.New("task failed")
	// ErrForeign: the VM at this VMID is not this service's.
	ErrForeign = errors.New("foreign VM")
	// ErrUnproved: the service has no UUID stored, so nothing can prove that the VM is its own.
	ErrUnproved = errors.New("ownership not proved")
)

// Lasting says whether waiting cannot mend err: Proxmox refuses for good (protection, a privilege that is missing), the VM
// is not the service's, or an administrator must act.
func Lasting(err error) bool {
	for _, s := range []error{ErrPermanent, ErrForeign, ErrUnproved, ErrDenied, ErrAdmin, ErrInvalid, ErrRefused, ErrNotFound} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint adds to err how to mend it, in one line. A nil err stays nil.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hinted{err, fmt.Sprintf(format, args...)}
}

type rehinted struct {
	error
	hint string
}

func (r rehinted) Unwrap() error { return r.error }

// Rehint is err with hint in place of the one that it carries: whoever passes it on knows better what to type.
func Rehint(err error, hint string) error { return rehinted{err, hint} }

// Hint is the hint that Rehint gave err, else the innermost one that it carries, or "".
func Hint(err error) string {
	var r rehinted
	if errors.As(err, &r) {
		return r.hint
	}
	hint := ""
	for err != nil {
		var h hinted
		if !errors.As(err, &h) {
			break
		}
		hint, err = h.hint, h.error
	}
	return hint
}

// Errorf is fmt.Errorf with a sentinel that errors.Is finds and the text does not show.
func Errorf(sentinel error, format string, args ...any) error {
	return tagged{fmt.Errorf(format, args...), sentinel}
}

type tagged struct {
	error
	sentinel error
}

func (t tagged) Unwrap() []error { return []error{t.error, t.sentinel} }
