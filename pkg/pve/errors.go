package pve

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// Error is a call that Proxmox refused, or that got no answer (Status 0). errors.Is finds the sentinel of package kvm
// that classify chose.
type Error struct {
	Method, Path string
	Status       int
	Reason       string            // the HTTP reason phrase, where PVE before 8.3 has its text
	Message      string            // of the body, "" where there is none
	Params       map[string]string // what was wrong with which parameter

	kind  error
	cause error
}

// Error is one line: the call, the status, and what Proxmox said.
func (e *Error) Error() string {
	s := e.Method + " " + e.Path + ": "
	if e.Status != 0 {
		s += fmt.Sprintf("%d ", e.Status)
	}
	if len(e.Params) == 0 {
		return s + e.text()
	}
	var wrong []string
	for _, key := range slices.Sorted(maps.Keys(e.Params)) {
		wrong = append(wrong, key+": "+e.Params[key])
	}
	return s + strings.TrimSuffix(e.text(), ".") + ": " + strings.Join(wrong, "; ")
}

// Unwrap gives the sentinel and, for a call without answer, what the network said.
func (e *Error) Unwrap() []error {
	var out []error
	for _, err := range []error{e.kind, e.cause} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

// text is the fuller of message and reason.
func (e *Error) text() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Reason != "":
		return e.Reason
	}
	return "no text"
}

// refusal is what classify decides on: an HTTP answer, or the exit text of a task (status 0).
type refusal struct {
	write  bool
	status int
	text   string
	params map[string]string
}

type class struct {
	kind    error
	pattern *pattern.Pattern
}

// classes are Proxmox's own words, from the source and recordings of qemu-server 7.4 to 9.2. The first match counts.
var classes = []class{
	{kvm.ErrUnknown, pattern.New(`^unexpected status|^interrupted by signal|^received interrupt|^no such task|` +
		`'guest-set-user-password' failed - got timeout`)},
	{kvm.ErrChanged, pattern.New(`checksum miss?match|detected modified configuration`)},
	{kvm.ErrUnreachable, pattern.New(`no quorum|cluster not ready|^hostname lookup '.*' failed`)},
	{kvm.ErrBusy, pattern.New(`VM is locked|can't lock file .*got timeout|cfs-lock .* error|got lock (request )?timeout|can't a(c)?quire lock`)},
	{kvm.ErrNotHere, pattern.New(`Configuration file '.*' does not exist|unable to find configuration file for VM|no such VM\b`)},
	{kvm.ErrTaken, pattern.New(`unable to create VM \d+: config file already exists|\bVM \d+ already exists|^snapshot name '.*' already used`)},
	{kvm.ErrState, pattern.New(`VM \d+ already running|VM \d+ (is )?not running|VM quit/powerdown failed|` +
		`VM \d+ is running - destroy failed|unable to restore VM \d+ - vm is running|can't migrate running VM|hotplug problem|` +
		`^No QEMU guest agent configured|^QEMU guest agent is not running|unable to connect to VM \d+ qga socket`)},
	{kvm.ErrNotFound, pattern.New(`^snapshot '.*' does not exist`)},
	{kvm.ErrDenied, pattern.New(`^Permission check failed|permission denied`)},
	{kvm.ErrInvalid, pattern.New(`SSH public key validation error|^no options specified|^invalid bootorder`)},
	{kvm.ErrPermanent, pattern.New(`(?i)` + strings.Join([]string{
		`shrinking disks is not supported`,
		`linked clone feature is not supported`, `not allowed for linked clones`, `as it's a clone of`, `still in use by linked clone`,
		`can't clone (VM )?to (node|non-shared)`, `no such cluster node`, `can't start a vm if it's a template`,
		`storage '.*' (does not exist|is not available|is disabled|is not online)`, `storage '.*' does not (support|contain)`,
		`volume '.*' does not exist`, `disk '.*' does not exist`, `can't resize a cdrom`,
		`not enough (free )?space`, `no space left`, `out of space`, `insufficient free space`,
		`protection mode enabled`, `cannot remove protected volume`, `only root (can|may)`, `^Agent error:`,
		`local cdrom image`, `non-migratable`, `can't live migrate`,
		`snapshot feature is not available`, `is not most recent snapshot`, `used in HA resources and purge`,
	}, "|"))},
}

// classify chooses the sentinel of package kvm for an answer or a task's end. It is the only place that does.
//
// Where the status decides: 401 and 403; 595 (the node could not be reached, so nothing was done); 596, 599 and what a
// load balancer says (502 to 504): a write may have been carried out. Everything else is decided by Proxmox's words,
// for it answers 500 to nearly all. A 400 that no words match is bad input. Anything unknown is nil, an error that only
// gets printed: it is neither certain to be refused again, which would end work for good, nor of unknown outcome, for
// Proxmox did answer; the caller looks and tries again next time.
func classify(r refusal) error {
	switch r.status {
	case 401:
		return kvm.ErrAuth
	case 403:
		return kvm.ErrDenied
	case 595:
		return kvm.ErrUnreachable
	case 596, 599, 502, 503, 504:
		if r.write {
			return kvm.ErrUnknown
		}
		return kvm.ErrUnreachable
	}
	texts := append(slices.Sorted(maps.Values(r.params)), r.text)
	for _, c := range classes {
		if slices.ContainsFunc(texts, c.pattern.MatchString) {
			return c.kind
		}
	}
	switch {
	case r.status == 400, r.status == 501 && strings.Contains(r.text, "not implemented"), r.status == 506:
		return kvm.ErrInvalid
	case r.status >= 300 && r.status < 500: // not Proxmox's: something else answered, and did nothing
		return kvm.ErrUnreachable
	}
	return nil
}

// alreadyThere says whether err is Proxmox's answer to adding a set or an entry that exists.
func alreadyThere(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status != 400 {
		return false
	}
	for _, text := range e.Params {
		if strings.HasSuffix(strings.TrimSuffix(text, "."), "already exists") {
			return true
		}
	}
	return false
}

// says whether Proxmox's words in err contain text.
func says(err error, text string) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(e.text(), text)
}
