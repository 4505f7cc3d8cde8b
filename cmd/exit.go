package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// The exit codes.
const (
	exitDone    = 0
	exitFailed  = 1
	exitQueued  = 10
	exitRefused = 20
	exitAdmin   = 30
	exitUnknown = 40
)

// exitCode is the class of err.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, kvm.ErrQueued), errors.Is(err, kvm.ErrBusy), errors.Is(err, kvm.ErrStillRunning):
		return exitQueued
	case errors.Is(err, kvm.ErrAdmin), errors.Is(err, kvm.ErrAuth), errors.Is(err, kvm.ErrDenied), errors.Is(err, kvm.ErrForeign), errors.Is(err, kvm.ErrUnproved):
		return exitAdmin
	case errors.Is(err, kvm.ErrInvalid), errors.Is(err, kvm.ErrRefused), errors.Is(err, kvm.ErrNotFound):
		return exitRefused
	case errors.Is(err, kvm.ErrUnreachable), errors.Is(err, kvm.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		return exitUnknown
	}
	return exitFailed
}

// failure is an error as JSON.
type failure struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Exit  int    `json:"exit"`
}

// errPrinted is an error whose words have been printed already; only its exit code is left.
type errPrinted struct{ error }

func (e errPrinted) Unwrap() error { return e.error }

// exit tells err and gives its code.
func (a *app) exit(err error) int {
	code := exitCode(err)
	var printed errPrinted
	if err == nil || errors.As(err, &printed) {
		return code
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if a.output == "json" && !a.stream {
		a.printJSON(failure{text, kvm.Hint(err), code})
		return code
	}
	prefix := "Error: "
	if code == exitQueued {
		prefix = ""
	}
	fmt.Fprintln(a.Stderr, prefix+text)
	if hint := kvm.Hint(err); hint != "" {
		fmt.Fprintln(a.Stderr, "Hint: "+hint)
	}
	return code
}
