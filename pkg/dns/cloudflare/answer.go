package cloudflare

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Codes of errors that decide something.
const (
	codeNoZone       = 1001 // Invalid zone identifier
	codeNoRecord     = 1002 // Invalid dns record identifier
	codeBadHeaders   = 6003 // Invalid request headers: a malformed token
	codeNoRoute      = 7000
	codeNoObject     = 7003 // Could not route to …, perhaps your object identifier is invalid?
	codeToken        = 9109 // Invalid access token, or one that may not be used for this
	codeAuth         = 10000
	codeRecordGone   = 81044
	codeRecordExists = 81057
	codeIdentical    = 81058
)

const (
	authHint   = "give the zone an API token that has Zone.Zone:Read and Zone.DNS:Edit, has not expired, and may be used from this host's address"
	deniedHint = "the token needs Zone.Zone:Read and Zone.DNS:Edit for this zone"
)

// envelope is an answer as the API wraps it.
type envelope struct {
	Success *bool           `json:"success"`
	Errors  []apiError      `json:"errors"`
	Result  json.RawMessage `json:"result"`
	Info    pageInfo        `json:"result_info"`
}

type apiError struct {
	Code    number     `json:"code"`
	Message string     `json:"message"`
	Chain   []apiError `json:"error_chain"`
}

type pageInfo struct {
	Total number `json:"total_count"`
	Pages number `json:"total_pages"`
}

// number is a number, also where it comes as text; what is none is 0.
type number int64

// UnmarshalJSON takes anything.
func (n *number) UnmarshalJSON(raw []byte) error {
	value, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
	if err != nil {
		value = 0
	}
	*n = number(value)
	return nil
}

// decode reads an envelope. false = body is none.
func decode(body []byte) (*envelope, bool) {
	e := new(envelope)
	if err := json.Unmarshal(body, e); err != nil || e.Success == nil {
		return new(envelope), false
	}
	return e, true
}

// reason is what the API says, with the codes.
func reason(errs []apiError) (text string, codes []int) {
	var parts []string
	for _, e := range errs {
		part := fmt.Sprintf("%s (%d)", strings.TrimRight(e.Message, ". "), e.Code)
		chain, more := reason(e.Chain)
		if chain != "" {
			part += ": " + chain
		}
		parts = append(parts, part)
		codes = append(append(codes, int(e.Code)), more...)
	}
	return strings.Join(parts, "; "), codes
}

// refusal is an answer without success.
type refusal struct {
	error
	status int
	codes  []int
}

func (r *refusal) Unwrap() error { return r.error }

// says tells whether err is an answer with one of the codes.
func says(err error, codes ...int) bool {
	var r *refusal
	return errors.As(err, &r) && slices.ContainsFunc(codes, func(c int) bool { return slices.Contains(r.codes, c) })
}

// hasStatus tells whether err is an answer of that status.
func hasStatus(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == status
}

// unclear tells whether what was asked for may have been done, though err says nothing of it.
func unclear(err error) bool {
	var r *refusal
	if errors.As(err, &r) {
		return r.status >= 500 || r.status == http.StatusRequestTimeout
	}
	return errors.Is(err, kvm.ErrUnknown)
}

// judge reads an answer. inZone says that the request was about a zone that the token sees; wait is what a 429 asks for, in
// words.
func (p *Provider) judge(a *web.Answer, inZone bool, wait string) (*envelope, error) {
	e, decoded := decode(a.Body)
	succeeded := a.Status >= 200 && a.Status < 300
	if succeeded && decoded && *e.Success {
		return e, nil
	}
	at := "cloudflare at " + p.web.Host()
	if succeeded && !decoded {
		return nil, kvm.Errorf(kvm.ErrUnknown, "%s: HTTP %d with a body of %d bytes that is no answer of the API", at, a.Status, len(a.Body))
	}
	text, codes := reason(e.Errors)
	if text == "" {
		text = "no reason was given"
	}
	no := &refusal{status: a.Status, codes: codes}
	has := func(codes ...int) bool {
		return slices.ContainsFunc(codes, func(c int) bool { return slices.Contains(no.codes, c) })
	}
	class, hint := kvm.ErrRefused, ""
	switch {
	case a.Status == http.StatusTooManyRequests:
		class, text = kvm.ErrBusy, wait+": "+text
	case a.Status >= 500 || a.Status == http.StatusRequestTimeout:
		class = kvm.ErrBusy
	case a.Status == http.StatusUnauthorized || has(codeBadHeaders):
		class, hint = kvm.ErrAuth, authHint
	case has(codeRecordGone, codeNoRecord):
	case inZone && (a.Status == http.StatusForbidden || has(codeToken, codeAuth)):
		class, hint = kvm.ErrDenied, deniedHint
	case a.Status == http.StatusForbidden || has(codeToken, codeAuth):
		class, hint = kvm.ErrAuth, authHint
	case a.Status == http.StatusNotFound || has(codeNoZone, codeNoRoute, codeNoObject):
		class, hint = kvm.ErrNotFound, "check the zone's name, and the URL, if it has one of its own"
	}
	no.error = kvm.Errorf(class, "%s: HTTP %d: %s", at, a.Status, p.web.OneLine(text))
	if hint != "" {
		no.error = kvm.WithHint(no.error, "%s", hint)
	}
	return nil, no
}
