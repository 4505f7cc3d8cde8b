package hestiacp

import (
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Exit codes of HestiaCP's commands (func/main.sh) that something is decided by.
const (
	exitOK       = 0
	exitInvalid  = 2
	exitNotExist = 3
	exitExists   = 4
)

// meanings are the exit codes in words.
var meanings = [...]string{"done", "wrong arguments", "invalid value", "does not exist", "exists already", "suspended", "not suspended", "in use",
	"limit reached", "wrong credentials", "forbidden", "disabled", "cannot be parsed", "disk", "load too high", "cannot connect", "FTP", "database",
	"RRD", "update", "restart failed", "API disabled"}

const (
	errorPrefix = "Error:"
	urlHint     = "check the zone's URL: HestiaCP's own address and port, like https://panel.example.com:8083"
	loginHint   = "check the access key and its secret (HestiaCP: the user's menu > Access Keys), or the name and password"
	rightHint   = "let the access key run v-list-dns-records, v-add-dns-record and v-delete-dns-record: the permission set update-dns-records has no add and no delete, so give it one of your own ($HESTIA/data/api/NAME); it must belong to the zones' user or an administrator, and this host's address in API_ALLOWED_IP"
	slashHint   = "HestiaCP takes no / in the name of a zone: name a part of a /24 by its first and last address, like 128-255.2.0.192.in-addr.arpa"
	offHint     = "switch the API on in HestiaCP's server settings (security); keys of users who are no administrators need it on for all users"
)

// errUntold is kvm.ErrRefused of which no exit code is known.
var errUntold = fmt.Errorf("%w", kvm.ErrRefused)

// commandError is a command that ended with an exit code other than 0.
type commandError struct {
	error
	exit int
}

func (e commandError) Unwrap() error { return e.error }

// errorf names the subject, the server and the command.
func (p *Provider) errorf(sentinel error, subject, command, format string, args ...any) error {
	return kvm.Errorf(sentinel, "%s: hestiacp at %s: %s: %s", subject, p.client.Host(), command, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// failed is the error of an exit code. text is what the command printed.
func (p *Provider) failed(subject, command string, exit int, text string) error {
	meaning := "unknown"
	if exit < len(meanings) {
		meaning = meanings[exit]
	}
	reason := fmt.Sprintf("exit %d (%s)", exit, meaning)
	if text = strings.TrimSpace(strings.TrimPrefix(text, errorPrefix)); text != "" && text != fmt.Sprint(exit) {
		reason += ": " + p.client.OneLine(text)
	}
	sentinel, hint := kvm.ErrRefused, ""
	switch {
	case exit == 9:
		sentinel, hint = kvm.ErrAuth, loginHint
	case exit == 10:
		sentinel, hint = kvm.ErrAuth, rightHint
	case exit == 21, exit == 11 && strings.Contains(text, "API"):
		sentinel, hint = kvm.ErrAuth, offHint
	case exit == exitNotExist:
		sentinel, hint = kvm.ErrNotFound, fmt.Sprintf("the zone must be there under HestiaCP's user %s, and be spelled as there: capitals count", p.o.User)
	case exit == exitInvalid && command == listRecords && strings.Contains(subject, "/"):
		hint = slashHint
	case exit == 14 || exit == 15:
		sentinel = kvm.ErrBusy
	}
	err := p.errorf(sentinel, subject, command, "%s", reason)
	if hint != "" {
		err = kvm.WithHint(err, "%s", hint)
	}
	return commandError{err, exit}
}
