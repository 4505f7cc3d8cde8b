package cmd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/cloudflare"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
)

// dnsKind is a kind of DNS provider.
type dnsKind struct {
	name   string
	secret string // what its secret is
	// server is what zones have in common whose server no two processes may write to side by side; nil = they may.
	server func(s kvm.DNSSettings) string
	open   func(z kvm.DNSZone, t trust.Trust, c clock.Clock) (dns.Provider, error)
}

// dnsKinds is the one place that knows all providers.
func dnsKinds() []dnsKind {
	return []dnsKind{
		{name: "cloudflare", secret: "an API token with the permissions Zone: Read and DNS: Edit",
			open: func(z kvm.DNSZone, t trust.Trust, c clock.Clock) (dns.Provider, error) {
				return cloudflare.New(cloudflare.Options{URL: z.Settings.URL, Token: z.Secret, TTL: z.Settings.TTL, Trust: t, Clock: c})
			}},
		{name: "hestiacp", secret: "the access key's secret, with --admin that user's password, without both the old API hash",
			server: serverHost,
			open: func(z kvm.DNSZone, t trust.Trust, _ clock.Clock) (dns.Provider, error) {
				return hestiacp.New(hestiacp.Options{URL: z.Settings.URL, User: z.Settings.User, Key: z.Settings.Key, Admin: z.Settings.Admin, Secret: z.Secret, TTL: z.Settings.TTL, Trust: t})
			}},
		{name: "powerdns", secret: "the api-key of the server's configuration",
			server: serverHost,
			open: func(z kvm.DNSZone, t trust.Trust, _ clock.Clock) (dns.Provider, error) {
				return powerdns.New(powerdns.Options{URL: z.Settings.URL, Server: z.Settings.Server, Key: z.Secret, TTL: z.Settings.TTL, Trust: t})
			}},
	}
}

// serverHost is the server's host and port, however its URL is typed.
func serverHost(s kvm.DNSSettings) string {
	u, err := url.Parse(strings.TrimSpace(s.URL))
	if err != nil {
		return s.URL
	}
	return strings.ToLower(u.Host)
}

func dnsKindNames() []string {
	var names []string
	for _, k := range dnsKinds() {
		names = append(names, k.name)
	}
	return names
}

func lookUpDNSKind(name string) (dnsKind, error) {
	for _, k := range dnsKinds() {
		if k.name == strings.ToLower(name) {
			return k, nil
		}
	}
	return dnsKind{}, kvm.Errorf(kvm.ErrInvalid, "%q is no DNS provider; those that are: %s", name, strings.Join(dnsKindNames(), ", "))
}

// dnsSide is what a process keeps of DNS: one provider an account, whose limits all its zones share, and what is known of
// servers that are down.
type dnsSide struct {
	providers map[[sha256.Size]byte]dns.Provider
	syncer    *dns.Syncer
}

// dnsZone makes z usable. What is wrong with it is its Problem.
func (a *app) dnsZone(z kvm.DNSZone) dns.Zone {
	out := dns.Zone{ID: z.ID, Name: z.Name, Kind: z.Kind, Problem: z.Problem}
	if out.Problem != nil {
		return out
	}
	out.Problem = func() error {
		k, err := lookUpDNSKind(z.Kind)
		if err != nil {
			return err
		}
		if out.Name, err = dns.ParseZone(z.Name); err != nil {
			return err
		}
		text, err := json.Marshal(z.Settings)
		if err != nil {
			return err
		}
		account := sha256.Sum256([]byte(k.name + "\n" + string(text) + "\n" + z.Secret.Reveal()))
		a.mu.Lock()
		defer a.mu.Unlock()
		if out.Provider = a.dns.providers[account]; out.Provider == nil {
			if out.Provider, err = k.open(z, zoneTrust(z.Settings), a.Clock); err != nil {
				return err
			}
			if a.dns.providers == nil {
				a.dns.providers = map[[sha256.Size]byte]dns.Provider{}
			}
			a.dns.providers[account] = out.Provider
			if z.Settings.Insecure {
				a.warn(fmt.Sprintf("DNS zone %d (%s): any certificate is trusted (insecure); puqkvm dns zone edit %d --fingerprint pins one", z.ID, z.Name, z.ID))
			}
		}
		out.Provider = zoneProvider{out.Provider, z.ID}
		server := string(account[:]) // what is shared is the account's limit
		if out.OneWriter = k.server != nil; out.OneWriter {
			server = k.server(z.Settings)
		}
		out.Server = fmt.Sprintf("dns/%s/%x", k.name, sha256.Sum256([]byte(server)))
		return nil
	}()
	if out.Problem != nil {
		out.Problem = kvm.WithHint(fmt.Errorf("DNS zone %d (%s): %w", z.ID, z.Name, out.Problem), "puqkvm dns zone edit %d --help", z.ID)
	}
	return out
}

// zoneProvider names the zone's id in hints: providers know of none.
type zoneProvider struct {
	dns.Provider
	id int64
}

func (p zoneProvider) Apply(ctx context.Context, zone string, edits []dns.Edit) []dns.Outcome {
	out := p.Provider.Apply(ctx, zone, edits)
	for i := range out {
		out[i].Err = p.named(out[i].Err)
	}
	return out
}

func (p zoneProvider) Check(ctx context.Context, zone string) error {
	return p.named(p.Provider.Check(ctx, zone))
}

func (p zoneProvider) named(err error) error {
	hint := kvm.Hint(err)
	if named := strings.ReplaceAll(hint, "zone edit ID", fmt.Sprintf("zone edit %d", p.id)); named != hint {
		return kvm.Rehint(err, named)
	}
	return err
}

func zoneTrust(s kvm.DNSSettings) trust.Trust {
	return trust.Trust{CAFile: s.CAFile, Pins: s.Fingerprints, Insecure: s.Insecure}
}

// dnsZones are the configured zones.
func (a *app) dnsZones(ctx context.Context) ([]dns.Zone, error) {
	rows, err := a.store.Zones(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]dns.Zone, len(rows))
	for i, z := range rows {
		out[i] = a.dnsZone(z)
	}
	return out, nil
}

// dnsSyncer is the process's, made when it is first wanted.
func (a *app) dnsSyncer() (*dns.Syncer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dns.syncer != nil {
		return a.dns.syncer, nil
	}
	owner, err := whmcs.NewOwner()
	if err != nil {
		return nil, err
	}
	timeout := a.settings.DNSTimeout
	if a.patientDNS {
		timeout = max(timeout, patientDNSTimeout)
	}
	a.dns.syncer = dns.NewSyncer(dns.Options{Clock: a.Clock, Timeout: timeout, Patience: a.settings.CronWait, Lease: a.store, Owner: owner})
	return a.dns.syncer, nil
}

// patientDNSTimeout is how long a provider may take for a service where nothing but a shell waits for it: HestiaCP needs a
// second for a record.
const patientDNSTimeout = 5 * time.Minute

// moduleLog writes an entry into WHMCS's module log, while that is on.
func (a *app) moduleLog(ctx context.Context, action, request, response string) {
	ctx, cancel := context.WithTimeout(ctx, moduleLogPatience)
	defer cancel()
	if err := a.store.ModuleLog(ctx, a.Clock.Now().In(a.settings.Zone), action, request, response); err != nil {
		a.warn(err.Error())
	}
}
