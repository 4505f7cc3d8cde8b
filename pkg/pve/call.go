package pve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// params are a request's parameters: the form of POST and PUT, the query of GET and DELETE. Booleans are 1 and 0.
type params map[string]string

// bit is a boolean as Proxmox wants it in a form.
func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// answer is the JSON that every call answers with.
type answer struct {
	Data  json.RawMessage `json:"data"`
	Total integer         `json:"total"`
}

func (c *Client) get(ctx context.Context, path string, p params, into any) error {
	a, err := c.call(ctx, http.MethodGet, path, p)
	if err != nil {
		return err
	}
	return a.decode(path, into)
}

func (a answer) decode(path string, into any) error {
	if err := json.Unmarshal(a.Data, into); err != nil {
		return kvm.Errorf(kvm.ErrUnreachable, "GET %s: the answer is not what Proxmox answers: %w", path, err)
	}
	return nil
}

// call makes one request and classifies what came of it. What is known to be down is not asked.
func (c *Client) call(ctx context.Context, method, path string, p params) (answer, error) {
	if err := p.check(method, path); err != nil {
		return answer{}, err
	}
	names := []string{""}
	if node := nodeOf(path); node != "" {
		names = append(names, node)
	}
	return c.through(ctx, names, func() (answer, error) { return c.signed(ctx, method, path, p) })
}

// through makes the call when the peers, from the first to the last, let it, and tells them its end.
func (c *Client) through(ctx context.Context, names []string, call func() (answer, error)) (a answer, err error) {
	if len(names) == 0 {
		return call()
	}
	done, err := c.enter(ctx, names[0])
	if err != nil {
		return answer{}, err
	}
	defer func() { done(ctx, err) }()
	return c.through(ctx, names[1:], call)
}

// signed makes one request. A token that was refused is not tried again for a minute. With a ticket login a 401, which is
// given before anything is done, is followed by one new login and the same request.
func (c *Client) signed(ctx context.Context, method, path string, p params) (answer, error) {
	if c.login == nil {
		if err := c.refusal.recent(c.clock.Now()); err != nil {
			return answer{}, err
		}
		a, err := c.once(ctx, method, path, p, nil)
		c.refusal.note(err, c.clock.Now())
		return a, err
	}
	t, err := c.ticket(ctx, nil)
	if err != nil {
		return answer{}, err
	}
	a, err := c.once(ctx, method, path, p, t)
	if !errors.Is(err, kvm.ErrAuth) {
		return a, err
	}
	if t, err = c.ticket(ctx, t); err != nil {
		return answer{}, err
	}
	return c.once(ctx, method, path, p, t)
}

func (c *Client) once(ctx context.Context, method, path string, p params, t *ticket) (answer, error) {
	x := &exchange{ticket: t, limit: bodyLimit}
	if path == resourcesPath {
		x.limit = listLimit
	}
	c.wire.send(ctx, x, method, path, p)
	write := method != http.MethodGet
	if x.err != nil {
		return answer{}, c.unanswered(ctx, x, method, path, write)
	}
	var body struct {
		answer
		Message text            `json:"message"`
		Errors  json.RawMessage `json:"errors"`
	}
	jsonErr := json.Unmarshal(x.body, &body)
	if x.status < 200 || x.status > 299 {
		return answer{}, c.refused(x, method, path, p, string(body.Message), body.Errors)
	}
	if jsonErr != nil || body.Data == nil {
		kind := kvm.ErrUnreachable
		if write {
			kind = kvm.ErrUnknown
		}
		return answer{}, kvm.WithHint(&Error{Method: method, Path: path, Status: x.status, Reason: x.reason, kind: kind,
			Message: "the answer is not what Proxmox answers"}, "check that the server's address is a Proxmox VE API, not something in front of it")
	}
	return body.answer, nil
}

// check refuses what must never be sent: an empty value (it would set a key to nothing), and in the path an empty name or
// one of dots, by which something in front of Proxmox could make the call another's: DELETE of a snapshot ".." is DELETE
// of the VM.
func (p params) check(method, path string) error {
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if name == "" || name == "." || name == ".." {
			return kvm.Errorf(kvm.ErrInvalid, "%s %s: a name in the path is empty or dots", method, path)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p)) {
		if p[key] == "" {
			return kvm.Errorf(kvm.ErrInvalid, "%s %s: the parameter %s is empty", method, path, key)
		}
	}
	return nil
}

// unanswered is the error of a request that got no answer. A write that may have left has an unknown outcome.
func (c *Client) unanswered(ctx context.Context, x *exchange, method, path string, write bool) error {
	e := &Error{Method: method, Path: path, Message: c.redact(x.err.Error(), nil), cause: x.err, kind: kvm.ErrUnreachable}
	if write && x.sent.Load() {
		e.kind = kvm.ErrUnknown
	}
	if ctx.Err() != nil {
		return e
	}
	return withTrustHint(e)
}

// refused is the error of an answer other than 2xx.
func (c *Client) refused(x *exchange, method, path string, p params, message string, errs json.RawMessage) error {
	e := &Error{Method: method, Path: path, Status: x.status,
		Reason:  c.redact(x.reason, p),
		Message: c.redact(message, p),
	}
	var byParam map[string]text
	if json.Unmarshal(errs, &byParam) == nil && len(byParam) > 0 {
		e.Params = make(map[string]string, len(byParam))
		for k, v := range byParam {
			e.Params[k] = c.redact(string(v), p)
		}
	}
	e.kind = classify(refusal{write: method != http.MethodGet, status: e.Status, text: e.text(), params: e.Params})
	switch e.kind {
	case kvm.ErrAuth:
		return kvm.WithHint(e, "check the username and password of the WHMCS server (%s)", c.user)
	case kvm.ErrDenied:
		return kvm.WithHint(e, "give %s the missing privilege; puqkvm server test prints the pveum lines", c.user)
	}
	return e
}

// redact takes the secrets of this request, and our own, out of what Proxmox said.
func (c *Client) redact(s string, p params) string {
	secrets := []string{c.secret.Reveal()}
	for key, value := range p {
		if hidden(key) {
			secrets = append(secrets, value)
		}
	}
	return redact(s, secrets)
}

// task makes a call that starts a task and gives its UPID.
func (c *Client) task(ctx context.Context, method, path string, p params) (kvm.UPID, error) {
	id, err := c.maybeTask(ctx, method, path, p)
	if err == nil && id == "" {
		err = kvm.Errorf(kvm.ErrUnknown, "%s %s: Proxmox named no task", method, path)
	}
	return id, err
}

// maybeTask makes a call that does its work at once or starts a task, whose UPID it then gives.
func (c *Client) maybeTask(ctx context.Context, method, path string, p params) (kvm.UPID, error) {
	a, err := c.call(ctx, method, path, p)
	if err != nil {
		return "", err
	}
	var s text
	if err := json.Unmarshal(a.Data, &s); err != nil {
		return "", kvm.Errorf(kvm.ErrUnknown, "%s %s: the answer names no task: %w", method, path, err)
	}
	if s == "" {
		return "", nil
	}
	if _, err := parseUPID(string(s)); err != nil {
		return "", kvm.Errorf(kvm.ErrUnknown, "%s %s: %w", method, path, err)
	}
	return kvm.UPID(s), nil
}

// do makes a call whose answer is of no interest.
func (c *Client) do(ctx context.Context, method, path string, p params) error {
	_, err := c.call(ctx, method, path, p)
	return err
}

// guest is the path of a VM, with whatever follows.
func guest(vm *kvm.VM, segments ...any) string {
	return path(append([]any{"nodes", vm.Node, "qemu", vm.VMID}, segments...)...)
}

// target is the VM of a proof, checked for what no write may be sent to.
func target(o kvm.Owned) (*kvm.VM, error) {
	vm := o.VM()
	switch {
	case vm == nil:
		return nil, kvm.Errorf(kvm.ErrUnproved, "a VM whose ownership was not proved is not touched")
	case vm.Node == "":
		return nil, kvm.Errorf(kvm.ErrInvalid, "VM %d: the node it is on is not known", vm.VMID)
	case vm.Template:
		return nil, kvm.Errorf(kvm.ErrPermanent, "VM %d on %s is a template: it is not changed", vm.VMID, vm.Node)
	}
	return vm, nil
}

// withDigest adds the digest of the configuration that the change was computed from.
func withDigest(p params, vm *kvm.VM) params {
	if vm.Digest != "" {
		p["digest"] = vm.Digest
	}
	return p
}

// onVM names the VM in front of an error of a call that concerns it.
func onVM(vm *kvm.VM, what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("VM %d on %s: %s: %w", vm.VMID, vm.Node, what, err)
}
