package pve

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/Telmate/proxmox-api-go/proxmox"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// wire sends requests through proxmox-api-go: it joins the address, encodes the form and signs with the token. What
// came back is read from the exchange that our round-tripper filled in, never from the library.
type wire struct {
	lib *proxmox.Client
}

// newWire makes a wire. For a ticket login (user without "!") the library signs nothing; the exchange carries the
// ticket.
func newWire(base string, rt http.RoundTripper, user string, secret kvm.Secret) (*wire, error) {
	// A redirect is never followed: the round-tripper gives no Location away.
	lib, err := proxmox.NewClient(base, &http.Client{Transport: rt}, "", nil, "", 0, false)
	if err != nil {
		return nil, kvm.Errorf(kvm.ErrInvalid, "proxmox: the API address %s: %w", base, err)
	}
	if strings.Contains(user, "!") {
		var id proxmox.ApiTokenID
		if err := id.Parse(user); err != nil {
			return nil, kvm.Errorf(kvm.ErrInvalid, "proxmox: the token id %q: %w", user, err)
		}
		lib.SetAPIToken(id, proxmox.ApiTokenSecret(secret.Reveal()))
	}
	return &wire{lib}, nil
}

// exchange is one request and its answer, shared with the round-tripper through the context.
type exchange struct {
	ticket *ticket // what signs the request where no token does
	limit  int64   // of the body, bytes

	sent   atomic.Bool // a connection was had, so the request may have left
	done   bool        // the round-tripper has filled in what follows
	err    error       // no answer
	status int
	reason string
	body   []byte
}

type exchangeKey struct{}

// send makes one request, once. The library gets no chance to retry or to sleep: our round-tripper gives it a complete
// answer whatever happened. A panic in it is no loss once the exchange is done.
func (w *wire) send(ctx context.Context, x *exchange, method, path string, p params) {
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	var err error
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("proxmox-api-go panicked: %v", v)
		}
		if !x.done {
			if err == nil {
				err = fmt.Errorf("the request was not made")
			}
			x.err, x.done = err, true
		}
	}()
	form := make(map[string]any, len(p))
	for k, v := range p {
		form[k] = v
	}
	switch method {
	case http.MethodGet:
		var ignored map[string]any
		err = w.lib.GetJsonRetryable(ctx, path+query(p), &ignored, 1)
	case http.MethodDelete:
		err = w.lib.Delete(ctx, path+query(p))
	case http.MethodPost:
		err = w.lib.Post(ctx, form, path)
	case http.MethodPut:
		err = w.lib.Put(ctx, form, path)
	default:
		err = fmt.Errorf("the method %s is not known", method)
	}
}

func query(p params) string {
	if len(p) == 0 {
		return ""
	}
	v := make(url.Values, len(p))
	for key, value := range p {
		v.Set(key, value)
	}
	return "?" + v.Encode()
}
