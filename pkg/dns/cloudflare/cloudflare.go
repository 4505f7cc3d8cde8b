package cloudflare

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	defaultURL = "https://api.cloudflare.com/client/v4"
	// automatic is the TTL that Cloudflare chooses.
	automatic      = 1
	minTTL, maxTTL = 30, 86400 // 30 is for Enterprise; others have 60, and Cloudflare says so
	// answerPatience is the longest wait for one answer. It is far above what any takes, and leaves time to look what became
	// of a request without answer.
	answerPatience = 30 * time.Second
)

// Options say how Cloudflare is spoken to.
type Options struct {
	URL   string      // of the API; "" = https://api.cloudflare.com/client/v4
	Token kvm.Secret  // an API token with Zone.Zone:Read and Zone.DNS:Edit for the zones, a user's or an account's
	TTL   int         // of records that are added, in seconds; 0 = 1, which is automatic
	Trust trust.Trust // zero = the system's roots
	Clock clock.Clock // nil = the wall's
}

// Provider is a dns.Provider for the zones that a token sees. One for all of them paces their requests together.
type Provider struct {
	web      *web.Client
	token    kvm.Secret
	ttl      int
	pace     *pace
	patience time.Duration // for one answer

	mu    sync.Mutex
	zones map[string]string // ids by name
}

var _ dns.Provider = (*Provider)(nil)

// New checks the options, and sends nothing. Errors are kvm.ErrInvalid.
func New(o Options) (*Provider, error) {
	token := o.Token.Reveal()
	switch {
	case token == "":
		return nil, kvm.Errorf(kvm.ErrInvalid, "cloudflare: no API token is given")
	case strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, kvm.Errorf(kvm.ErrInvalid, "cloudflare: the API token holds a blank or a character that no token has")
	case o.TTL != 0 && o.TTL != automatic && (o.TTL < minTTL || o.TTL > maxTTL):
		return nil, kvm.Errorf(kvm.ErrInvalid, "cloudflare: the TTL %d is neither 1 (automatic) nor %d to %d seconds", o.TTL, minTTL, maxTTL)
	}
	if o.URL == "" {
		o.URL = defaultURL
	}
	if o.Clock == nil {
		o.Clock = clock.Wall{}
	}
	client, err := web.New(web.Options{URL: o.URL, Trust: o.Trust, Secrets: []kvm.Secret{o.Token}, Name: "cloudflare"})
	if err != nil {
		return nil, err
	}
	return &Provider{web: client, token: o.Token, ttl: max(o.TTL, automatic), pace: newPace(o.Clock), patience: answerPatience, zones: map[string]string{}}, nil
}

// Check asks for the zone and for one of its records. Whether the token may change records, only a change tells.
func (p *Provider) Check(ctx context.Context, zone string) error {
	id, err := p.lookUp(ctx, dns.CanonicalName(zone))
	if err == nil {
		_, err = p.call(ctx, http.MethodGet, recordsPath(id)+"?page=1&per_page=1", nil)
	}
	if err != nil {
		return fmt.Errorf("zone %s: %w", zone, err)
	}
	return nil
}

// zoneRow is a zone as the API lists it.
type zoneRow struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

// zoneID is the id of the zone; old says that it was known before, and may be outdated.
func (p *Provider) zoneID(ctx context.Context, zone string) (id string, old bool, err error) {
	p.mu.Lock()
	id, old = p.zones[zone]
	p.mu.Unlock()
	if !old {
		id, err = p.lookUp(ctx, zone)
	}
	return id, old, err
}

// lookUp asks for the zone's id, and keeps it. Of several zones of the name it is the active one's.
func (p *Provider) lookUp(ctx context.Context, zone string) (string, error) {
	rows, err := list[zoneRow](ctx, p, "/zones?name="+url.QueryEscape(zone), zonesPerPage)
	if err != nil {
		return "", err
	}
	var found *zoneRow
	for i, z := range rows {
		if z.ID != "" && dns.CanonicalName(z.Name) == zone && (found == nil || found.Status != "active" && z.Status == "active") {
			found = &rows[i]
		}
	}
	if found == nil {
		return "", kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "cloudflare at %s shows the token no such zone", p.web.Host()),
			"a token sees only the zones that it was given: check the zone's name, and the zone resources of the token")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.zones[zone] = found.ID
	return found.ID, nil
}

// forget drops the zone's id, unless it is another one by now.
func (p *Provider) forget(zone, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.zones[zone] == id {
		delete(p.zones, zone)
	}
}
