package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	// BodyLimit is the most that is read of an answer: a zone of some 100 000 records.
	BodyLimit   = 64 << 20
	textLimit   = 300
	dialTimeout = 10 * time.Second
)

// Options say how a server is spoken to.
type Options struct {
	URL     string // https://host:port, with a path or without; http alone is for a server on this machine
	Trust   trust.Trust
	Secrets []kvm.Secret // never shown in an error
	Name    string       // of the provider, before its errors
}

// Client speaks to one server. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
	hide *strings.Replacer
	name string
}

// Answer is a server's answer, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// New checks the options, and sends nothing. Errors are kvm.ErrInvalid.
func New(o Options) (*Client, error) {
	base, err := ParseURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	conf, err := o.Trust.Config()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	t := &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4, ForceAttemptHTTP2: true}
	return &Client{base: base, name: o.Name, hide: hider(o.Secrets),
		http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// ParseURL reads a server's address as it is typed. http is only for this machine: a key would travel in the clear.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case text == "":
		return nil, kvm.Errorf(kvm.ErrInvalid, "no URL is given")
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return nil, kvm.Errorf(kvm.ErrInvalid, "the URL is none like https://dns.example.com:8081")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, kvm.Errorf(kvm.ErrInvalid, "the URL holds a user, a query or a fragment: only scheme, host, port and path belong there")
	case u.Scheme == "http" && !local(u.Hostname()):
		return nil, kvm.Errorf(kvm.ErrInvalid, "the URL must be https: http sends the key in the clear, and is for this machine alone (127.0.0.1)")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Base is the server's address, without a slash at its end.
func (c *Client) Base() string { return c.base.String() }

// Host is the server's host and port as errors name it.
func (c *Client) Host() string { return c.base.Host }

// Do sends one request to the path (which begins with /, escaped where it has to be) below the server's address, and reads
// the whole answer. Its errors are kvm.ErrUnreachable where nothing was sent, else kvm.ErrUnknown; both also errors.Is the
// end of ctx, where that is the reason.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header, body []byte) (*Answer, error) {
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { sent.Store(true) },
	})
	req, err := http.NewRequestWithContext(traced, method, c.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, kvm.Errorf(kvm.ErrInvalid, "%s: %s", c.name, c.OneLine(err.Error()))
	}
	for key, values := range header {
		req.Header[key] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unanswered(ctx, sent.Load(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, BodyLimit+1))
	if err != nil {
		return nil, c.unanswered(ctx, true, err)
	}
	if len(text) > BodyLimit {
		return nil, kvm.Errorf(kvm.ErrUnknown, "%s at %s: its answer has more than %d MiB", c.name, c.base.Host, BodyLimit>>20)
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAuth, "%s at %s: HTTP %d leads on to another address, which is not followed", c.name, c.base.Host, resp.StatusCode),
			"give the zone the URL that answers itself: puqkvm dns zone edit ID --url URL")
	}
	return &Answer{resp.StatusCode, resp.Header, text}, nil
}

func (c *Client) unanswered(ctx context.Context, sent bool, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // its text would repeat the address
	}
	reason, end := err, error(nil)
	if ctx.Err() != nil {
		reason, end = context.Cause(ctx), ctx.Err()
	}
	text := c.OneLine(reason.Error())
	out := kvm.Errorf(kvm.ErrUnreachable, "%s at %s could not be reached: %s", c.name, c.base.Host, text)
	if print, _, refused := trust.Presented(err); refused {
		out = kvm.WithHint(out, "compare the fingerprint with the server's own and pin it: puqkvm dns zone edit ID --fingerprint %s", print)
	} else if sent {
		out = kvm.Errorf(kvm.ErrUnknown, "%s at %s gave no answer: %s", c.name, c.base.Host, text)
	}
	if end != nil {
		out = kvm.Errorf(end, "%w", out)
	}
	return out
}

// OneLine is text of a server's without secrets and control characters, cut to what a line bears.
func (c *Client) OneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(c.hide.Replace(text), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if runes := []rune(text); len(runes) > textLimit {
		text = string(runes[:textLimit]) + "…"
	}
	return text
}

func hider(secrets []kvm.Secret) *strings.Replacer {
	var pairs []string
	for _, s := range secrets {
		if s.Empty() {
			continue
		}
		text := s.Reveal()
		for _, form := range []string{text, url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text), quoted(text, true), quoted(text, false),
			base64.StdEncoding.EncodeToString([]byte(text))} {
			pairs = append(pairs, form, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

// quoted is text as it stands in JSON, with or without <, > and & escaped.
func quoted(text string, escaped bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escaped)
	if e.Encode(text) != nil { // encoding/json takes every string
		return text
	}
	return strings.Trim(b.String(), "\"\n")
}
