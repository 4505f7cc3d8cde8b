package pvesim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/hangup"
)

// request is one call of the API.
type request struct {
	c      *Cluster
	ctx    context.Context
	ep     *endpoint
	who    identity
	vars   map[string]string // parameters of the path, query and body, all in one as PVE has them
	arrays map[string]bool   // given more than once
	fault  *Fault
	waited time.Duration // for a worker of pvedaemon
	daemon *daemon       // whose worker serves the call; nil: none
	total  int           // of a list of which this is a part; 0: the answer has none
}

func (r *request) has(name string) bool   { _, ok := r.vars[name]; return ok }
func (r *request) str(name string) string { return r.vars[name] }

// boolean and number read checked parameters.
func (r *request) boolean(name string) bool { return r.vars[name] == "1" }
func (r *request) number(name string, other int) int {
	if n, err := strconv.Atoi(r.vars[name]); err == nil {
		return n
	}
	return other
}
func (r *request) vmid() int { return r.number("vmid", 0) }

// guest is the VM that the call is about.
func (r *request) guest() int {
	if upid := r.str("upid"); upid != "" {
		r.c.lock()
		defer r.c.mu.Unlock()
		if t := r.c.byUPID[upid]; t != nil {
			return t.guest
		}
	}
	return r.number("newid", r.vmid())
}

const apiRoot = "/api2/json"

// serve answers one HTTP request.
func (c *Cluster) serve(w http.ResponseWriter, hr *http.Request) {
	rel, inside := strings.CutPrefix(hr.URL.EscapedPath(), apiRoot)
	if !inside || rel != "" && rel[0] != '/' {
		c.errorAnswer(&apiError{code: 500, msg: fmt.Sprintf("no such file '%s'\n", hr.URL.Path), plain: true}).write(w)
		return
	}
	rel = strings.TrimRight(rel, "/")
	r := &request{c: c, ctx: hr.Context(), vars: map[string]string{}, arrays: map[string]bool{}}
	badBody := r.read(hr)
	sent := maps.Clone(r.vars)
	r.ep = c.find(hr.Method, rel, r.vars)

	shown, _ := url.PathUnescape(rel)
	seen := Request{Stage: Arrived, Method: hr.Method, Path: shown, Form: sent}
	if r.ep != nil {
		seen.Pattern, seen.VMID, seen.Guest = r.ep.path, r.vmid(), r.guest()
	}
	entry := c.journal.open(c.clock.Now(), seen)
	c.faults.call(r.ctx, seen)
	r.fault = c.faults.strike(seen)
	if f := r.fault; f != nil {
		if c.clock.Sleep(r.ctx, f.Delay) != nil {
			return
		}
		if f.NodeDown > 0 {
			c.crashFor(r, f.NodeDown)
		}
		switch {
		case f.Hang:
			<-r.ctx.Done()
			c.journal.close(entry, r.who, 0, "hung")
			return
		case f.ResetBefore:
			c.journal.close(entry, r.who, 0, "reset before")
			hangup.Reset(w)
			return
		case f.Status != 0 && !f.After:
			a := f.answer(c, answer{})
			c.journal.close(entry, r.who, a.code, a.reason)
			a.write(w)
			return
		}
	}

	var a answer
	switch {
	case hr.Method != http.MethodGet && hr.Method != http.MethodPost && hr.Method != http.MethodPut && hr.Method != http.MethodDelete:
		a = c.errorAnswer(&apiError{code: 501, msg: fmt.Sprintf("method '%s' not available", hr.Method), bare: true})
	case badBody != nil:
		a = c.errorAnswer(badBody)
	default:
		data, err := r.handle(hr, shown)
		if errors.Is(err, errGone) {
			c.journal.close(entry, r.who, 0, "client gone")
			return
		}
		a = c.answer(r, data, err)
	}
	if r.fault != nil {
		a = r.fault.answer(c, a)
	}
	seen.Stage, seen.Status = Done, a.code
	c.faults.call(r.ctx, seen)
	if r.fault != nil && r.fault.ResetAfter {
		c.journal.close(entry, r.who, 0, "reset after")
		hangup.Reset(w)
		return
	}
	c.journal.close(entry, r.who, a.code, a.reason)
	a.write(w)
}

// handle is authentication, privileges, forwarding, parameters and the call itself, in PVE's order.
func (r *request) handle(hr *http.Request, shown string) (any, error) {
	c := r.c
	if r.ep == nil || !r.ep.world {
		reason := ""
		c.lock()
		r.who, reason = c.authenticate(hr)
		c.mu.Unlock()
		if reason != "" {
			if c.clock.Sleep(r.ctx, c.model.Denied) != nil {
				return nil, errGone
			}
			return nil, &apiError{code: http.StatusUnauthorized, msg: reason, bare: true}
		}
	}
	if r.ep == nil {
		if shown == "" && hr.Method == http.MethodGet {
			r.ep = &endpoint{}
			return rootIndex(), nil
		}
		return nil, &apiError{code: http.StatusNotImplemented, exact: true,
			msg: fmt.Sprintf("Method '%s %s' not implemented", hr.Method, shown)}
	}
	if err := r.takeWorker(); err != nil {
		return nil, err
	}
	defer r.giveWorker()
	if c.clock.Sleep(r.ctx, r.ep.latency(c.model)) != nil {
		return nil, errGone
	}
	c.lock()
	defer c.mu.Unlock()
	if r.ep.check != nil {
		if err := r.ep.check(r); err != nil {
			return nil, err
		}
	}
	if r.ep.proxied {
		if err := r.forward(); err != nil {
			return nil, err
		}
	}
	if err := r.checkParams(); err != nil {
		return nil, err
	}
	if c.quorumLost && r.ep.method != http.MethodGet && !r.ep.world {
		return nil, failure("cluster not ready - no quorum?")
	}
	data, err := r.ep.handle(r)
	if r.waited > proxyLimit {
		return nil, errTooLong() // it was done nevertheless
	}
	return data, err
}

// forward passes the call on to the node in its path: it fails when there is no such node or when it is down.
func (r *request) forward() error {
	c, name := r.c, r.str("node")
	n := c.node(name)
	if n == nil {
		if !nodeName.MatchString(name) {
			return badParam("node", "invalid format - value does not look like a valid node name\n")
		}
		if name == "localhost" {
			r.vars["node"] = c.nodes[0].Name
			return nil
		}
		if c.major == 7 {
			return failure("no such cluster node '%s'", name)
		}
		return failure("hostname lookup '%s' failed - failed to get address info for: %s: Name or service not known", name, name)
	}
	if !n.down {
		return nil
	}
	c.mu.Unlock()
	gone := c.clock.Sleep(r.ctx, c.model.Dial)
	c.lock()
	if gone != nil {
		return errGone
	}
	return &apiError{code: 595, msg: "No route to host", bare: true}
}

// read collects the parameters of query and body. Its error is about the body's form.
func (r *request) read(hr *http.Request) error {
	r.addForm(hr.URL.RawQuery)
	if hr.ContentLength < 0 {
		return &apiError{code: 501, msg: "chunked transfer encoding not supported", bare: true}
	}
	body, err := io.ReadAll(io.LimitReader(hr.Body, 1<<20))
	if err != nil || len(body) == 0 {
		return nil
	}
	if hr.Method == http.MethodGet || hr.Method == http.MethodDelete {
		return &apiError{code: 501, msg: fmt.Sprintf("Unexpected content for method '%s'", hr.Method), bare: true}
	}
	given := hr.Header.Get("Content-Type")
	kind, _, _ := mime.ParseMediaType(given)
	switch kind {
	case "", "application/x-www-form-urlencoded":
		r.addForm(string(body))
	case "application/json":
		return r.addJSON(body)
	default:
		return &apiError{code: 506, msg: fmt.Sprintf("upload 'Content-Type '%s' not implemented", given), plain: true}
	}
	return nil
}

// addForm decodes as PVE does: & and ; part the pairs, and what follows a second = of a pair is lost.
func (r *request) addForm(form string) {
	for pair := range strings.FieldsFuncSeq(form, func(c rune) bool { return c == '&' || c == ';' }) {
		parts := strings.Split(pair, "=")
		name, err := url.QueryUnescape(parts[0])
		value := ""
		if len(parts) > 1 && err == nil {
			value, err = url.QueryUnescape(parts[1])
		}
		if err == nil {
			r.add(name, value)
		}
	}
}

func (r *request) add(name, value string) {
	if r.has(name) {
		r.arrays[name] = true
	}
	r.vars[name] = value
}

func (r *request) addJSON(body []byte) error {
	values := map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		at := int64(len(body))
		if wrong := new(json.SyntaxError); errors.As(err, &wrong) {
			at = max(0, wrong.Offset-1)
		}
		before := "(end of string)"
		if at < int64(len(body)) {
			before = string(body[at:])
		}
		return &apiError{code: 500, plain: true, msg: fmt.Sprintf("malformed JSON string, neither tag, array, object, number, string "+
			"or atom, at character offset %d (before \"%s\") at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 917.\n", at, before)}
	}
	for name, v := range values {
		switch v := v.(type) {
		case nil:
		case bool:
			r.add(name, strconv.Itoa(flag(v)))
		case string:
			r.add(name, v)
		case json.Number:
			r.add(name, v.String())
		default:
			r.vars[name], r.arrays[name] = "", true
		}
	}
	return nil
}

func rootIndex() []object {
	rows := []object{}
	for _, dir := range []string{"version", "cluster", "nodes", "storage", "access", "pools"} {
		rows = append(rows, object{"subdir": dir})
	}
	return rows
}
