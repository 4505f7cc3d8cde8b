package pve

import (
	"bytes"
	"context"
	"crypto/tls"
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

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	bodyLimit = 8 << 20
	// listLimit is for cluster/resources: a row is some 450 bytes, so this is more guests than a cluster can hold.
	listLimit = 64 << 20
)

// newTransport is tuned to pveproxy: HTTP/1.1 only, 5 s of keep-alive, closed after each write and each error, so that
// TLS sessions are what saves time.
func newTransport(conf *tls.Config, requests int, dial time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dial, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		},
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   requests,
		IdleConnTimeout:       4 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     false,
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// dialError says that no connection came about: nothing was sent, so another address may be tried.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// roundTripper stands between the library and the network. It always hands the library a complete answer without an
// error, since the library would sleep after an error and panics on odd bodies; the truth goes into the exchange.
type roundTripper struct {
	base    http.RoundTripper
	hosts   []string
	good    atomic.Int32 // index of the host that last answered
	lanes   *lanes
	slots   chan struct{}
	waiting atomic.Int64 // requests that wait for their lane or a slot
	timeout time.Duration
	debug   func(string)
	secret  kvm.Secret // never shown in a debug line
}

// RoundTrip implements http.RoundTripper.
func (t *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("a request that no exchange belongs to")
	}
	began := time.Now()
	x.err = t.exchange(req, x)
	x.done = true
	if t.debug != nil {
		t.debug(t.debugLine(req, x, time.Since(began)))
	}
	return x.forLibrary(req), nil
}

// exchange takes its lane and a slot, sends, and reads the answer.
func (t *roundTripper) exchange(req *http.Request, x *exchange) error {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		return err
	}
	leave, err := t.enter(ctx, req)
	if err != nil {
		return err
	}
	defer leave()
	limited, cancel := context.WithTimeoutCause(ctx, t.timeout, fmt.Errorf("no answer within %v", t.timeout))
	defer cancel()
	limited = httptrace.WithClientTrace(limited, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { x.sent.Store(true) },
	})
	err = t.failOver(limited, req, x)
	// What a server that is hung up on still sends may look like a whole answer, and is none.
	if ctx.Err() == nil && limited.Err() != nil && (err != nil || !json.Valid(x.body)) {
		return context.Cause(limited)
	}
	return err
}

// enter waits for the request's lane and a slot.
func (t *roundTripper) enter(ctx context.Context, req *http.Request) (leave func(), err error) {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	leaveLane, err := t.lanes.enter(ctx, req.Method, strings.TrimPrefix(req.URL.Path, apiPath))
	if err != nil {
		return nil, err
	}
	select {
	case t.slots <- struct{}{}:
		return func() { <-t.slots; leaveLane() }, nil
	case <-ctx.Done():
		leaveLane()
		return nil, ctx.Err()
	}
}

// failOver tries the hosts in turn, from the one that last answered, for as long as dialling fails.
func (t *roundTripper) failOver(ctx context.Context, req *http.Request, x *exchange) error {
	first := int(t.good.Load())
	var failed []error
	for i := range t.hosts {
		n := (first + i) % len(t.hosts)
		err := t.once(ctx, req, x, t.hosts[n])
		var dial *dialError
		if err == nil || x.sent.Load() || !errors.As(err, &dial) {
			if x.sent.Load() {
				t.good.Store(int32(n))
			}
			return err
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func (t *roundTripper) once(ctx context.Context, req *http.Request, x *exchange, host string) error {
	out := req.Clone(ctx)
	out.URL.Host, out.Host = host, host
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return err
		}
		out.Body = body
	}
	if x.ticket != nil {
		out.Header.Set("Cookie", "PVEAuthCookie="+url.QueryEscape(x.ticket.value))
		if req.Method != http.MethodGet {
			out.Header.Set("CSRFPreventionToken", x.ticket.csrf)
		}
	}
	resp, err := t.base.RoundTrip(out)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, x.limit+1))
	if err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if int64(len(body)) > x.limit {
		return fmt.Errorf("the answer is longer than %d MiB", x.limit>>20)
	}
	x.status, x.body = resp.StatusCode, body
	x.reason = strings.TrimSpace(strings.TrimPrefix(resp.Status, fmt.Sprint(resp.StatusCode)))
	return nil
}

// forLibrary is the answer in a form that proxmox-api-go can read: an object, with the reason phrase as message where
// the request failed. The data itself is not repeated, nobody looks at it there.
func (x *exchange) forLibrary(req *http.Request) *http.Response {
	status, body := x.status, []byte(`{"data":null}`)
	if x.err != nil {
		status = http.StatusInternalServerError
	}
	if status < 200 || status > 299 {
		message := x.reason
		if x.err != nil {
			message = "no answer"
		}
		body, _ = json.Marshal(map[string]any{"data": nil, "message": message})
	}
	return &http.Response{
		StatusCode:    status,
		Status:        fmt.Sprintf("%03d %s", status, x.reason),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// debugLine is one request for the log. Values of secret parameters are hidden, also where an answer repeats them;
// headers and bodies of answers are never shown.
func (t *roundTripper) debugLine(req *http.Request, x *exchange, took time.Duration) string {
	var form []byte
	if req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			form, _ = io.ReadAll(body)
		}
	}
	result := fmt.Sprintf("%d %s", x.status, x.reason)
	if x.err != nil {
		result = oneLine(x.err.Error())
	}
	secrets := []string{t.secret.Reveal()}
	line := req.Method + " " + req.URL.Path
	for _, values := range []string{req.URL.RawQuery, string(form)} {
		v, err := url.ParseQuery(values)
		if err != nil || len(v) == 0 {
			continue
		}
		for key := range v {
			if hidden(key) {
				secrets = append(secrets, v.Get(key))
				v.Set(key, "***")
			}
		}
		line += " " + v.Encode()
	}
	return fmt.Sprintf("%s -> %s (%d bytes, %dms)", line, redact(result, secrets), len(x.body), took.Milliseconds())
}

// redact puts text on one line and takes secrets out of it, also as a form or a page would repeat them. What is shorter than four bytes is no secret worth a text
// full of stars.
func redact(s string, secrets []string) string {
	s = oneLine(s)
	for _, secret := range secrets {
		if secret = oneLine(secret); len(secret) < 4 {
			continue
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret)} {
			s = strings.ReplaceAll(s, form, "***")
		}
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// hidden says whether a parameter's value is a secret or personal.
func hidden(param string) bool {
	switch param {
	case "password", "cipassword", "sshkeys", "vncticket", "ticket", "otp":
		return true
	}
	return false
}
