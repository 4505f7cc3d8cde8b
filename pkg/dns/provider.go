package dns

import (
	"context"
	"errors"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Provider keeps records in zones of one account of one server. It is safe for concurrent use; Syncer sees to it that what
// must not be written side by side is not.
//
// Errors are one line, name the zone or the name that they are about, never a secret, and carry a sentinel of package kvm:
// ErrUnreachable (nothing was sent), ErrUnknown (no answer: it may have been done), ErrBusy (asked to come back later, or
// an error of the server's own), ErrAuth (the credentials), ErrDenied (a right is missing), ErrNotFound (the zone), else
// ErrRefused.
type Provider interface {
	// Apply makes each of edits so in zone. Their names lie in zone, and no two have the same name and type. It is
	// idempotent: what is as it should be is left alone, what must go and is not there is fine. It goes on after an edit that
	// is refused, and gives up when the next one would fare no better (see Dead). The outcomes are in the order of edits.
	Apply(ctx context.Context, zone string, edits []Edit) []Outcome
	// Check says why the zone cannot be kept, as far as that can be known without a change to it; nil = all is well.
	Check(ctx context.Context, zone string) error
}

// Outcome is what became of an edit.
type Outcome struct {
	Changed bool // something was added or removed, also where Err says that not all was
	Err     error
}

// Dead says whether err is the server's or the account's trouble, so that the next edit would fare no better.
func Dead(err error) bool {
	for _, s := range []error{kvm.ErrUnreachable, kvm.ErrUnknown, kvm.ErrBusy, kvm.ErrAuth, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// Edit is what the records of one name and type shall become.
type Edit struct {
	Name   string // in lower case without the final dot
	Type   Type
	Add    []string // values that must be there, as Canonical has them
	Remove []string // values that must not, unless they are in Add
	Only   bool     // every other value must go, too; the values of Add alone remain
}

// Plan is what has to be added to and removed from the values that are present, in whatever spelling, each once. removed
// are in the spelling of present.
func (e Edit) Plan(present []string) (add, remove []string) {
	have := map[string]bool{}
	for _, p := range present {
		value := Canonical(e.Type, p)
		twice := have[value]
		have[value] = true
		if !slices.Contains(e.Add, value) && (e.Only || slices.Contains(e.Remove, value)) && !twice {
			remove = append(remove, p)
		}
	}
	for _, value := range e.Add {
		if !have[value] && !slices.Contains(add, value) {
			add = append(add, value)
		}
	}
	return add, remove
}

// FailAll is the outcome err for each of edits.
func FailAll(edits []Edit, err error) []Outcome {
	out := make([]Outcome, len(edits))
	for i := range out {
		out[i].Err = err
	}
	return out
}
