package powerdns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// pauses are about how long the server is left alone before a request is repeated.
var pauses = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}

// read gives the RRsets of a zone that can be written to.
func (p *Provider) read(ctx context.Context, name string) (rrsets, error) {
	body, err := p.call(ctx, name, http.MethodGet, p.zonePath(name), nil)
	switch {
	case errors.Is(err, kvm.ErrBusy):
		return nil, kvm.WithHint(err, "if it lasts, the zone may have a record that PowerDNS itself cannot read: pdnsutil check-zone %s", name)
	case errors.Is(err, kvm.ErrUnknown) && ctx.Err() == nil:
		return nil, kvm.WithHint(err, "PowerDNS hangs up on whom webserver-allow-from in its pdns.conf does not name")
	case err != nil:
		return nil, err
	}
	z, err := decode(body)
	if err != nil {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%s: powerdns at %s: its answer is not PowerDNS's: %s", name, p.web.Host(), p.web.OneLine(err.Error())),
			"give the zone the URL of PowerDNS's API: puqkvm dns zone edit ID --url URL")
	}
	switch strings.ToLower(z.Kind) {
	case "slave", "secondary", "consumer":
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%s: powerdns at %s: the zone is of kind %s: another server writes it", name, p.web.Host(), p.web.OneLine(z.Kind)),
			"give the zone the URL of the server that it is transferred from: puqkvm dns zone edit ID --url URL")
	}
	return z.sets(), nil
}

// patch makes changes in a zone: all or none.
func (p *Provider) patch(ctx context.Context, about, name string, changes []change) error {
	body, err := json.Marshal(map[string][]change{"rrsets": changes})
	if err != nil {
		return kvm.Errorf(kvm.ErrInvalid, "%s: powerdns: %w", about, err)
	}
	_, err = p.call(ctx, about, http.MethodPatch, p.zonePath(name), body)
	return err
}

// zonePath is a zone's path. PowerDNS writes = and two digits in ids for what is no letter, digit, dot or hyphen.
func (p *Provider) zonePath(name string) string {
	var id strings.Builder
	for _, b := range []byte(name + ".") {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '.', b == '-':
			id.WriteByte(b)
		default:
			fmt.Fprintf(&id, "=%02X", b)
		}
	}
	return p.root + "/zones/" + id.String()
}

// call sends a request, again after each of pauses as long as the server has trouble of its own, and gives the body of the
// answer. about is what errors are to name.
func (p *Provider) call(ctx context.Context, about, method, path string, body []byte) ([]byte, error) {
	header := http.Header{"X-Api-Key": {p.key.Reveal()}, "Accept": {"application/json"}, "Content-Type": {"application/json"}}
	for try := 0; ; try++ {
		answer, err := p.web.Do(ctx, method, path, header, body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", about, err)
		}
		if answer.Status < 300 {
			return answer.Body, nil
		}
		err = p.judge(about, answer)
		if !errors.Is(err, kvm.ErrBusy) || try == len(pauses) {
			return nil, err
		}
		pause := time.NewTimer(pauses[try]/2 + rand.N(pauses[try]))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, kvm.Errorf(ctx.Err(), "%w", err)
		}
	}
}

// judge is the error that an answer stands for.
func (p *Provider) judge(about string, a *web.Answer) error {
	text := p.web.OneLine(reason(a.Body))
	if text == "" {
		text = http.StatusText(a.Status)
	}
	sentinel := kvm.ErrRefused
	switch {
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		sentinel = kvm.ErrAuth
	case a.Status == http.StatusNotFound:
		sentinel, text = kvm.ErrNotFound, "there is no such zone"
	case a.Status == http.StatusTooManyRequests || a.Status >= 500:
		sentinel = kvm.ErrBusy
	}
	err := kvm.Errorf(sentinel, "%s: powerdns at %s: HTTP %d: %s", about, p.web.Host(), a.Status, text)
	if sentinel == kvm.ErrAuth {
		err = kvm.WithHint(err, "the key must be api-key of the server's pdns.conf")
	}
	return err
}

// reason is the text of an error's body: {"error": …} or plain text.
func reason(body []byte) string {
	var e struct {
		Error  string   `json:"error"`
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(body, &e) == nil && e.Error != "" {
		return strings.Join(append([]string{e.Error}, e.Errors...), "; ")
	}
	return string(body)
}
