package whmcsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Result is WHMCS's answer, decoded loosely: numbers are json.Number or strings, as WHMCS pleases, and an empty PHP array
// is a list even where an object is meant.
type Result map[string]any

// Text is the value at key as text, "" when it is missing or no scalar.
func (r Result) Text(key string) string {
	switch v := r[key].(type) {
	case string:
		return v
	case json.Number, bool:
		return fmt.Sprint(v)
	default:
		return ""
	}
}

const (
	credentialsHint = "make API credentials in WHMCS (System Settings > API Credentials) and set whmcs.api_identifier and whmcs.api_secret"
	messageLimit    = 300
)

// unanswered is the error of a call to which no whole answer came.
func (c *Client) unanswered(ctx context.Context, action string, connected bool, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // its text would repeat the address
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	text := c.oneLine(err.Error())
	if !connected {
		return kvm.WithHint(tag(kvm.ErrUnreachable, err, "whmcs api %s at %s could not be reached: %s", action, c.url, text),
			"check whmcs.api_url, and that this host may connect to it")
	}
	return tag(kvm.ErrUnknown, err, "whmcs api %s at %s: outcome unknown: %s", action, c.url, text)
}

// tag keeps the end of a context visible to errors.Is, and drops the rest of cause: its text is in the message already.
func tag(sentinel, cause error, format string, args ...any) error {
	err := kvm.Errorf(sentinel, format, args...)
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(cause, end) {
			return kvm.Errorf(end, "%w", err)
		}
	}
	return err
}

// judge turns an answer into a Result or an error.
func (c *Client) judge(action string, resp *http.Response, body []byte) (Result, error) {
	at := fmt.Sprintf("whmcs api %s at %s", action, c.url)
	result, isJSON := decode(body)
	message := c.oneLine(result.Text("message"))
	switch status := resp.StatusCode; {
	case status >= 500:
		return nil, kvm.Errorf(kvm.ErrUnknown, "%s: outcome unknown: HTTP %d %s", at, status, message)
	case status >= 400:
		if message == "" {
			message = "no answer of WHMCS, but of the web server"
		}
		return nil, c.refusal(action, status, fmt.Sprintf("%s: refused: HTTP %d: %s", at, status, message), message)
	case status >= 300:
		return nil, kvm.WithHint(everyCall("%s: refused: HTTP %d: the address leads on to another one", at, status),
			"set whmcs.api_url to %s", target(resp))
	case !isJSON:
		return nil, kvm.Errorf(kvm.ErrUnknown, "%s: outcome unknown: HTTP %d with a body of %d bytes that is no JSON object", at, status, len(body))
	case strings.EqualFold(result.Text("result"), "success"):
		return result, nil
	case strings.EqualFold(result.Text("result"), "error"):
		if message == "" {
			message = "no reason was given"
		}
		return nil, c.refusal(action, status, fmt.Sprintf("%s: refused: %s", at, message), message)
	default:
		return nil, kvm.Errorf(kvm.ErrUnknown, "%s: outcome unknown: the answer has no result of success or error", at)
	}
}

// decode reads one JSON object and nothing after it. A body that was cut at bodyLimit is none.
func decode(body []byte) (Result, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var r Result
	if err := d.Decode(&r); err != nil || r == nil || d.More() {
		return nil, false
	}
	return r, true
}

// refusal finds the hint for WHMCS's message, by the texts that its API is known to use.
func (c *Client) refusal(action string, status int, text, message string) error {
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(strings.ToLower(message), part) {
				return true
			}
		}
		return false
	}
	switch {
	case has("invalid ip", "forbidden ip"):
		return kvm.WithHint(everyCall("%s", text),
			"add this host's address to WHMCS's General Settings > Security > API IP Access Restriction, or set whmcs.api_accesskey to the $api_access_key of configuration.php")
	case has("authentication failed", "missing credentials", "invalid credentials"):
		return kvm.WithHint(everyCall("%s", text), credentialsHint)
	case has("invalid permissions", "not allowed"):
		return kvm.WithHint(everyCall("%s", text), "allow %s in the API role of these credentials (System Settings > API Roles)", action)
	case has("email template not found"):
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%s", text),
			"make the template in WHMCS under exactly this name (type product), or let the product use another one: puqkvm product set PID mail_ready=NAME (or mail_reset_password, mail_backup_restored)")
	case has("email template is disabled"):
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%s", text), "enable the template in WHMCS (System Settings > Email Templates)")
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return kvm.WithHint(everyCall("%s", text), "check whmcs.api_url: %s is not WHMCS's api.php", c.url)
	case status >= 400:
		return kvm.WithHint(everyCall("%s", text), "look into the web server's log for what refuses this host")
	default:
		return kvm.Errorf(kvm.ErrRefused, "%s", text)
	}
}

// everyCall is a refusal that has nothing to do with what was asked.
func everyCall(format string, args ...any) error {
	return kvm.Errorf(kvm.ErrRefused, "%w", kvm.Errorf(kvm.ErrAuth, format, args...))
}

// target is where a redirect leads, without what may be secret in it.
func target(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return "the address of WHMCS"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// oneLine is text without credentials and control characters, cut to a bearable length.
func (c *Client) oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(c.hide.Replace(text), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if runes := []rune(text); len(runes) > messageLimit {
		text = string(runes[:messageLimit]) + "…"
	}
	return text
}

// hider replaces the secrets, as they are and as a form or a page would show them.
func hider(secrets ...kvm.Secret) *strings.Replacer {
	var pairs []string
	for _, s := range secrets {
		if s.Empty() {
			continue
		}
		text := s.Reveal()
		for _, form := range []string{text, url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text)} {
			pairs = append(pairs, form, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}
