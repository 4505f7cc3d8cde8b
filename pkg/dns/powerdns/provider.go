package powerdns

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	defaultServer = "localhost"
	defaultTTL    = 3600
	apiPath       = "/api/v1"
)

// Options say where the API is and who calls it.
type Options struct {
	URL    string     // https://ns1.example.com:8081; /api/v1 is added where it does not end so already
	Server string     // the server's id in the API; "" = localhost, the only one that PowerDNS itself has
	Key    kvm.Secret // api-key in the server's pdns.conf
	TTL    int        // of RRsets that are made, in seconds; 0 = 3600
	Trust  trust.Trust
}

// Provider keeps records at one server. It is safe for concurrent use.
type Provider struct {
	web  *web.Client
	root string // the server's path below the URL
	key  kvm.Secret
	ttl  int64
	turn chan struct{} // has room for the one who writes
}

var _ dns.Provider = (*Provider)(nil)

// New makes a Provider, and sends nothing. Errors are kvm.ErrInvalid.
func New(o Options) (*Provider, error) {
	key := o.Key.Reveal()
	switch {
	case key == "":
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "powerdns: no API key is given"), "it is api-key in the server's pdns.conf")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, kvm.Errorf(kvm.ErrInvalid, "powerdns: the API key has blanks or signs beyond ASCII, which a header cannot carry")
	case o.TTL < 0 || o.TTL > math.MaxInt32:
		return nil, kvm.Errorf(kvm.ErrInvalid, "powerdns: a TTL is 1 to %d seconds, not %d", math.MaxInt32, o.TTL)
	}
	client, err := web.New(web.Options{URL: o.URL, Trust: o.Trust, Secrets: []kvm.Secret{o.Key}, Name: "powerdns"})
	if err != nil {
		return nil, err
	}
	p := &Provider{web: client, turn: make(chan struct{}, 1), ttl: int64(o.TTL), key: o.Key}
	if p.ttl == 0 {
		p.ttl = defaultTTL
	}
	if o.Server == "" {
		o.Server = defaultServer
	}
	p.root = apiPath
	if strings.HasSuffix(client.Base(), apiPath) {
		p.root = ""
	}
	p.root += "/servers/" + url.PathEscape(o.Server)
	return p, nil
}

// Apply makes each of edits so in zone; see dns.Provider.
func (p *Provider) Apply(ctx context.Context, zone string, edits []dns.Edit) []dns.Outcome {
	if len(edits) == 0 {
		return nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return dns.FailAll(edits, kvm.Errorf(ctx.Err(), "%w",
			kvm.Errorf(kvm.ErrUnreachable, "%s: powerdns at %s was not asked: %w", zone, p.web.Host(), context.Cause(ctx))))
	}
	sets, err := p.read(ctx, zone)
	if err != nil {
		return dns.FailAll(edits, err)
	}
	out := make([]dns.Outcome, len(edits))
	var changes []change
	for i, e := range edits {
		if c, needed := sets.change(e, p.ttl); needed {
			c.of = &out[i]
			changes = append(changes, c)
		}
	}
	p.write(ctx, zone, changes)
	return out
}

// write sends changes together, and where they are refused one by one, and notes the outcomes.
func (p *Provider) write(ctx context.Context, zone string, changes []change) {
	if len(changes) == 0 {
		return
	}
	about := zone
	if len(changes) == 1 {
		about = fmt.Sprintf("%s %s", dns.CanonicalName(changes[0].Name), changes[0].Type)
	}
	err := p.patch(ctx, about, zone, changes)
	if len(changes) == 1 || !errors.Is(err, kvm.ErrRefused) {
		for _, c := range changes {
			c.of.Changed, c.of.Err = err == nil, err
		}
		return
	}
	var dead error
	for i := range changes {
		if dead != nil {
			changes[i].of.Err = dead
			continue
		}
		p.write(ctx, zone, changes[i:i+1])
		if err := changes[i].of.Err; err != nil && dns.Dead(err) {
			dead = err
		}
	}
}

// Check reads the zone as Apply does; see dns.Provider.
func (p *Provider) Check(ctx context.Context, zone string) error {
	_, err := p.read(ctx, zone)
	if errors.Is(err, kvm.ErrNotFound) {
		if _, none := p.call(ctx, zone, http.MethodGet, p.root, nil); errors.Is(none, kvm.ErrNotFound) {
			return kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "%s: powerdns at %s: HTTP 404: there is no such server, or no API at this URL", zone, p.web.Host()),
				"pdns.conf needs webserver=yes and api=yes; the server's id is localhost, unless something stands before PowerDNS that gives others")
		}
	}
	return err
}
