package hestiacp

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const defaultTTL = 3600

// Options say which server is asked, and as whom.
type Options struct {
	URL    string     // https://panel.example.com:8083; the API is at /api/ below it
	User   string     // the HestiaCP user whose zones they are
	Key    string     // the id of an access key, with its secret in Secret
	Admin  string     // the administrator's name for the login by password, with that in Secret
	Secret kvm.Secret // with neither Key nor Admin: a legacy API key
	TTL    int        // of new records, in seconds; 0 = 3600
	Trust  trust.Trust
}

// Provider keeps records at one HestiaCP for one of its users. It is safe for concurrent use.
type Provider struct {
	o      Options
	client *web.Client
	turn   chan struct{} // whoever has sent into it writes to the server
}

// New checks the options, and sends nothing. Errors are kvm.ErrInvalid.
func New(o Options) (*Provider, error) {
	bad := func(format string, args ...any) (*Provider, error) {
		return nil, kvm.Errorf(kvm.ErrInvalid, "hestiacp: "+format, args...)
	}
	client, err := web.New(web.Options{URL: strings.TrimSuffix(strings.TrimRight(o.URL, "/"), "/api"), Trust: o.Trust, Secrets: []kvm.Secret{o.Secret}, Name: "hestiacp"})
	switch {
	case err != nil:
		return nil, err
	case o.User == "" || strings.ContainsFunc(o.User, func(r rune) bool { return r <= ' ' || r > '~' }):
		return bad("%q is no user of HestiaCP: the one whose zones they are is wanted", o.User)
	case o.Key != "" && o.Admin != "":
		return bad("an access key and an administrator's name exclude each other")
	case o.Secret.Empty():
		return bad("no secret is given: an access key's, the administrator's password, or a legacy API key")
	case o.TTL < 0 || o.TTL > math.MaxInt32:
		return bad("a TTL of %d seconds cannot be", o.TTL)
	case o.TTL == 0:
		o.TTL = defaultTTL
	}
	return &Provider{o: o, client: client, turn: make(chan struct{}, 1)}, nil
}

// Apply makes each of edits so; see dns.Provider.
func (p *Provider) Apply(ctx context.Context, zone string, edits []dns.Edit) []dns.Outcome {
	if len(edits) == 0 {
		return nil
	}
	if err := p.take(ctx, zone); err != nil {
		return dns.FailAll(edits, err)
	}
	defer func() { <-p.turn }()
	b := &batch{Provider: p, zone: zone, edits: edits, out: make([]dns.Outcome, len(edits))}
	if err := b.list(ctx); err != nil {
		return dns.FailAll(edits, err)
	}
	b.addAll(ctx)
	b.removeAll(ctx)
	return b.out
}

// take waits for the turn at the server.
func (p *Provider) take(ctx context.Context, zone string) error {
	if ctx.Err() == nil {
		select {
		case p.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	return kvm.Errorf(ctx.Err(), "%w", kvm.Errorf(kvm.ErrUnreachable, "%s: hestiacp at %s was not asked: %s", zone, p.client.Host(), p.client.OneLine(context.Cause(ctx).Error())))
}

// Check lists the zone. Of an access key it also sees whether it may delete: by an id that is none, with which HestiaCP
// changes nothing. Whether it may add cannot be seen without an add.
func (p *Provider) Check(ctx context.Context, zone string) error {
	if _, err := p.rows(ctx, zone); err != nil {
		return err
	}
	if p.o.Key == "" {
		return nil
	}
	err := p.run(ctx, zone, deleteRecord, p.o.User, zone, "none")
	if failed := (commandError{}); errors.As(err, &failed) && (failed.exit == exitInvalid || failed.exit == exitNotExist) {
		return nil
	}
	return err
}
