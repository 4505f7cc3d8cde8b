package cloudflare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	// tries is how often something is sent at most, and how often a list is read that changes meanwhile.
	tries = 3
	// backoff is the pause after the first try; each next one is twice as long.
	backoff = 500 * time.Millisecond
	// zonesPerPage is the most that Cloudflare gives; it may give less, and so it may for records.
	zonesPerPage = 50
	// maxPages ends a list that has no end.
	maxPages = 1000
)

// call sends a request and gives the answer, which is a success. It is sent again where that cannot do harm: after a 429,
// when nothing was done, and a GET that has no answer or a 5xx.
func (p *Provider) call(ctx context.Context, method, path string, body []byte) (*envelope, error) {
	for try := 1; ; try++ {
		e, err := p.once(ctx, method, path, body)
		switch {
		case err == nil:
			return e, nil
		case try == tries || ctx.Err() != nil:
			return nil, err
		case hasStatus(err, http.StatusTooManyRequests): // its turn comes when Cloudflare wants it
		case method == http.MethodGet && unclear(err):
			if p.pace.wait(ctx, backoff<<(try-1), "the next try comes in") != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

// once sends a request when its turn has come.
func (p *Provider) once(ctx context.Context, method, path string, body []byte) (*envelope, error) {
	if err := p.pace.turn(ctx); err != nil {
		return nil, fmt.Errorf("cloudflare at %s: %w", p.web.Host(), err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.patience, fmt.Errorf("none came within %v", p.patience))
	defer cancel()
	header := http.Header{"Authorization": {"Bearer " + p.token.Reveal()}, "Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"puqkvm"}}
	a, err := p.web.Do(ctx, method, path, header, body)
	if err != nil {
		return nil, err
	}
	held := p.pace.note(a.Status, a.Header)
	return p.judge(a, strings.Contains(path, "/dns_records"), fmt.Sprintf("it asks to wait %d s", seconds(held)))
}

// list reads all pages of a list. path has a query. A list of several pages whose length changes on the way is read again:
// what was on a later page may have moved to one that was read.
func list[T any](ctx context.Context, p *Provider, path string, perPage int) ([]T, error) {
	for try := 1; ; try++ {
		all, steady, err := pages[T](ctx, p, path, perPage)
		if err != nil || steady || try == tries {
			return all, err
		}
	}
}

func pages[T any](ctx context.Context, p *Provider, path string, perPage int) (all []T, steady bool, err error) {
	steady = true
	var total number
	for page := 1; page <= maxPages; page++ {
		e, err := p.call(ctx, http.MethodGet, fmt.Sprintf("%s&page=%d&per_page=%d", path, page, perPage), nil)
		if err != nil {
			return nil, false, err
		}
		var part []T
		if err := json.Unmarshal(e.Result, &part); err != nil {
			return nil, false, kvm.Errorf(kvm.ErrUnknown, "cloudflare at %s: its list is none: %s", p.web.Host(), p.web.OneLine(err.Error()))
		}
		all = append(all, part...)
		steady = steady && (page == 1 || e.Info.Total == total)
		total = e.Info.Total
		if len(part) == 0 || e.Info.Pages > 0 && number(page) >= e.Info.Pages || total > 0 && number(len(all)) >= total {
			return all, steady, nil
		}
	}
	return nil, false, kvm.Errorf(kvm.ErrUnknown, "cloudflare at %s: its list does not end", p.web.Host())
}
