package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/config"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

func newDNSCmd(a *app) *cobra.Command {
	return group("dns", "Keep forward and reverse names at DNS providers",
		group("zone", "Keep the zones that are written to", newZoneAddCmd(a), newZoneListCmd(a), newZoneTestCmd(a), newZoneEditCmd(a), newZoneRemoveCmd(a)),
		newDNSSyncCmd(a), newDNSExportCmd(a))
}

// zoneFlags are the flags of add and edit.
type zoneFlags struct {
	kind, secretFile string
	settings         kvm.DNSSettings
	roots            bool
	given            func(name string) bool
}

const zoneSecretHelp = `The secret is read from --secret-file FILE (- is standard input) or the environment variable ` + config.DNSSecretVariable + `, never
from an argument, and is stored with WHMCS's encryption: it is shown nowhere.

  provider    wants                                  its secret
  cloudflare                                         an API token with Zone: Read and DNS: Edit for the zone
  powerdns    --url, and --server if not localhost   the server's api-key
  hestiacp    --url, --user, --key                   the access key's secret; with --admin NAME in place of --key that user's
                                                     password; without both the old API hash`

func (z *zoneFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&z.kind, "provider", "", strings.Join(dnsKindNames(), ", "))
	f.StringVar(&z.settings.URL, "url", "", "address of the provider's API, like https://ns1.example.com:8081")
	f.StringVar(&z.settings.Server, "server", "", "powerdns: id of the server (default localhost)")
	f.StringVar(&z.settings.User, "user", "", "hestiacp: the user that has the zone")
	f.StringVar(&z.settings.Key, "key", "", "hestiacp: id of the access key")
	f.StringVar(&z.settings.Admin, "admin", "", "hestiacp: log in as this user with a password, in place of an access key")
	f.IntVar(&z.settings.TTL, "ttl", 0, "TTL of new records in seconds; 0 = the provider's default")
	f.StringVar(&z.settings.CAFile, "ca-file", "", "trust the authorities in this PEM file")
	f.StringSliceVar(&z.settings.Fingerprints, "fingerprint", nil, "trust a certificate with this SHA-256 fingerprint (may be repeated)")
	f.BoolVar(&z.settings.Insecure, "insecure", false, "trust any certificate")
	f.BoolVar(&z.roots, "system-roots", false, "trust the authorities of the system (the default)")
	f.StringVar(&z.secretFile, "secret-file", "", "file with the secret in its first line; - is standard input")
	z.given = func(name string) bool { return f.Changed(name) }
	oneOf(c, "ca-file", "fingerprint", "insecure", "system-roots")
	oneOf(c, "key", "admin")
}

// apply puts the given flags into zone, and the secret where there is one: an empty one keeps what is stored.
func (z *zoneFlags) apply(a *app, zone *kvm.DNSZone) error {
	if z.given("provider") {
		k, err := lookUpDNSKind(z.kind)
		if err != nil {
			return err
		}
		zone.Kind = k.name
	}
	s := &zone.Settings
	for name, f := range map[string]struct{ to, from *string }{
		"url": {&s.URL, &z.settings.URL}, "server": {&s.Server, &z.settings.Server}, "user": {&s.User, &z.settings.User},
		"key": {&s.Key, &z.settings.Key}, "admin": {&s.Admin, &z.settings.Admin},
	} {
		if z.given(name) {
			*f.to = strings.TrimSpace(*f.from)
		}
	}
	switch {
	case z.given("key"):
		s.Admin = ""
	case z.given("admin"):
		s.Key = ""
	}
	if z.given("ttl") {
		if z.settings.TTL < 0 || z.settings.TTL > 1<<31-1 {
			return kvm.Errorf(kvm.ErrInvalid, "--ttl %d is no number of seconds from 0", z.settings.TTL)
		}
		s.TTL = z.settings.TTL
	}
	if z.roots || z.given("ca-file") || z.given("fingerprint") || z.given("insecure") {
		if z.settings.CAFile != "" && !filepath.IsAbs(z.settings.CAFile) {
			return kvm.Errorf(kvm.ErrInvalid, "--ca-file %q must be a path that begins with /", z.settings.CAFile) // cron runs in another folder
		}
		s.CAFile, s.Fingerprints, s.Insecure = z.settings.CAFile, z.settings.Fingerprints, z.settings.Insecure
	}
	secret, err := a.zoneSecret(z.secretFile)
	if err != nil {
		return err
	}
	if !secret.Empty() {
		zone.Secret = secret
	}
	return nil
}

// zoneSecret reads the first line of the file, else the environment variable; "" = there is none.
func (a *app) zoneSecret(file string) (kvm.Secret, error) {
	const longest = 64 << 10
	var text []byte
	var err error
	switch file {
	case "":
		for _, pair := range a.Environ {
			if value, ok := strings.CutPrefix(pair, config.DNSSecretVariable+"="); ok {
				text = []byte(value)
			}
		}
	case "-":
		text, err = io.ReadAll(io.LimitReader(a.Stdin, longest))
	default:
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return kvm.Secret{}, kvm.Errorf(kvm.ErrInvalid, "the secret: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return kvm.NewSecret(strings.TrimSpace(line)), nil
}

// usable refuses a zone that can never work: the provider's own checks are the validation.
func (a *app) usable(zone *kvm.DNSZone) error {
	name, err := dns.ParseZone(zone.Name)
	if err != nil {
		return err
	}
	zone.Name = name
	k, err := lookUpDNSKind(zone.Kind)
	if err != nil {
		return err
	}
	if zone.Secret.Empty() {
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "DNS zone %s: there is no secret: %s", zone.Name, k.secret), "--secret-file FILE, or - for standard input")
	}
	if _, err := k.open(*zone, zoneTrust(zone.Settings), a.Clock); err != nil {
		return fmt.Errorf("DNS zone %s: %w", zone.Name, err)
	}
	return nil
}

// shownZone is a zone without its secret.
type shownZone struct {
	ID       int64           `json:"id"`
	Zone     string          `json:"zone"`
	Provider string          `json:"provider"`
	Settings kvm.DNSSettings `json:"settings"`
	Secret   bool            `json:"secret_set"`
	Problem  string          `json:"problem,omitempty"`
}

func shown(z kvm.DNSZone) shownZone {
	out := shownZone{z.ID, z.Name, z.Kind, z.Settings, !z.Secret.Empty(), ""}
	if z.Problem != nil {
		out.Problem = z.Problem.Error()
	}
	return out
}

// account is where and as whom the zone is written to.
func (z shownZone) account() string {
	s := z.Settings
	parts := []string{dash(s.URL)}
	for _, p := range []struct{ what, text string }{{"server", s.Server}, {"user", s.User}, {"key", s.Key}, {"admin", s.Admin}} {
		if p.text != "" {
			parts = append(parts, p.what+" "+p.text)
		}
	}
	return strings.Join(parts, ", ")
}

func newZoneAddCmd(a *app) *cobra.Command {
	var z zoneFlags
	c := &cobra.Command{
		Use: "add ZONE", Short: "Add a zone that is written to",
		Long: `Add a zone, forward or reverse, that exists at a provider. Names and addresses of VMs that belong to it are written there from
now on; "puqkvm dns sync --all" writes those that exist. Reverse zones end at any octet or nibble; a part of a /24 is named as
its delegation is: 128/25.2.0.192.in-addr.arpa or 128-255.2.0.192.in-addr.arpa. Several zones may have one name: all are served.

` + zoneSecretHelp,
		Example: `  puqkvm dns zone add example.com --provider cloudflare --secret-file /root/token
  puqkvm dns zone add 2.0.192.in-addr.arpa --provider powerdns --url https://ns1.example.com:8081 --secret-file - < key
  puqkvm dns zone add example.com --provider hestiacp --url https://panel.example.com:8083 --user dns --key ABC… --secret-file /root/secret`,
		Args: exactly("ZONE"),
		RunE: func(c *cobra.Command, args []string) error { return runZoneAdd(c.Context(), a, args[0], &z) },
	}
	z.add(c)
	if err := c.MarkFlagRequired("provider"); err != nil {
		panic(err) // the flag was defined above
	}
	return c
}

func runZoneAdd(ctx context.Context, a *app, name string, z *zoneFlags) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	zone := kvm.DNSZone{Name: name}
	if err := z.apply(a, &zone); err != nil {
		return err
	}
	if err := a.usable(&zone); err != nil {
		return err
	}
	zones, err := a.store.ReadZones(ctx)
	if err != nil {
		return err
	}
	for _, other := range zones {
		if other.Name == zone.Name && other.Kind == zone.Kind && other.Settings.URL == zone.Settings.URL && other.Settings.User == zone.Settings.User {
			return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "DNS zone %d is %s at the same provider already", other.ID, other.Name), "puqkvm dns zone edit %d", other.ID)
		}
	}
	if zone.ID, err = a.store.AddZone(ctx, zone); err != nil {
		return err
	}
	a.show(shown(zone), func() {
		fmt.Fprintf(a.Stdout, "DNS zone %d: %s at %s; test it: puqkvm dns zone test %d\n", zone.ID, zone.Name, zone.Kind, zone.ID)
	})
	return nil
}

func newZoneListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the zones that are written to", Example: "  puqkvm dns zone list", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runZoneList(c.Context(), a) },
	}
}

func runZoneList(ctx context.Context, a *app) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	zones, err := a.store.ReadZones(ctx)
	if err != nil {
		return err
	}
	out := []shownZone{}
	t := rows{head: []string{"ID", "ZONE", "PROVIDER", "ACCOUNT", "SECRET", "TTL", "TLS", "PROBLEM"}}
	for _, z := range zones {
		if usable := a.dnsZone(z); usable.Problem != nil {
			z.Problem = usable.Problem
		}
		l := shown(z)
		out = append(out, l)
		secret, ttl := "missing", "default"
		if l.Secret {
			secret = "set"
		}
		if l.Settings.TTL > 0 {
			ttl = strconv.Itoa(l.Settings.TTL)
		}
		tls := serverSettings{CAFile: l.Settings.CAFile, Fingerprints: l.Settings.Fingerprints, Insecure: l.Settings.Insecure}
		t.body = append(t.body, []string{strconv.FormatInt(l.ID, 10), l.Zone, l.Provider, l.account(), secret, ttl, tls.String(), dash(l.Problem)})
	}
	a.show(out, func() { t.print(a.Stdout) })
	return nil
}

// zone finds a zone by its id.
func (a *app) zone(ctx context.Context, id int64) (kvm.DNSZone, error) {
	zones, err := a.store.ReadZones(ctx)
	if err != nil {
		return kvm.DNSZone{}, err
	}
	for _, z := range zones {
		if z.ID == id {
			return z, nil
		}
	}
	return kvm.DNSZone{}, kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "there is no DNS zone %d", id), "puqkvm dns zone list")
}

func newZoneTestCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "test ID", Short: "Test a zone: address, certificate, credentials, whether the zone is there",
		Long: `Test a zone without changing it: address, certificate, credentials, and whether the provider has the zone. Whether the
credentials may write shows only with the first record.

Exit codes: 0 all is well; 10 the provider is busy: try again; 20 no such zone, here or at the provider; 30 the credentials are
refused, or its settings cannot be used; 40 the provider could not be reached.`,
		Example: "  puqkvm dns zone test 3", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("DNS zone", args[0])
			if err != nil {
				return err
			}
			return runZoneTest(c.Context(), a, id)
		},
	}
}

func runZoneTest(ctx context.Context, a *app, id int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	row, err := a.zone(ctx, id)
	if err != nil {
		return err
	}
	zone := a.dnsZone(row)
	if zone.Problem != nil {
		return zone.Problem
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.settings.DNSTimeout, fmt.Errorf("no answer within %v (dns.timeout)", a.settings.DNSTimeout))
	defer cancel()
	if err := zone.Provider.Check(ctx, zone.Name); err != nil {
		return fmt.Errorf("DNS zone %d: %w", id, err)
	}
	a.show(shown(row), func() {
		fmt.Fprintf(a.Stdout, "DNS zone %d: %s at %s answers, and has the zone\n", id, zone.Name, zone.Kind)
	})
	return nil
}

func newZoneEditCmd(a *app) *cobra.Command {
	var z zoneFlags
	c := &cobra.Command{
		Use: "edit ID", Short: "Change a zone's provider, address, account or secret",
		Long:    "Change a zone. What is not named stays, and so does the secret when none, or an empty one, is given.\n\n" + zoneSecretHelp,
		Example: "  puqkvm dns zone edit 3 --ttl 300\n  puqkvm dns zone edit 3 --secret-file - < new-token", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("DNS zone", args[0])
			if err != nil {
				return err
			}
			return runZoneEdit(c.Context(), a, id, &z)
		},
	}
	z.add(c)
	return c
}

func runZoneEdit(ctx context.Context, a *app, id int64, z *zoneFlags) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	zone, err := a.zone(ctx, id)
	if err != nil {
		return err
	}
	if err := z.apply(a, &zone); err != nil {
		return err
	}
	if err := a.usable(&zone); err != nil {
		return err
	}
	if err := a.store.EditZone(ctx, zone); err != nil {
		return err
	}
	zone.Problem = nil
	a.show(shown(zone), func() {
		fmt.Fprintf(a.Stdout, "DNS zone %d: %s at %s; test it: puqkvm dns zone test %d\n", id, zone.Name, zone.Kind, id)
	})
	return nil
}

func newZoneRemoveCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "remove ID", Short: "Write to a zone no more; its records stay at the provider", Example: "  puqkvm dns zone remove 3", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("DNS zone", args[0])
			if err != nil {
				return err
			}
			return runZoneRemove(c.Context(), a, id)
		},
	}
}

func runZoneRemove(ctx context.Context, a *app, id int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	if err := a.store.RemoveZone(ctx, id); err != nil {
		return err
	}
	a.show(map[string]int64{"removed": id}, func() { fmt.Fprintf(a.Stdout, "DNS zone %d is removed; its records stay at the provider\n", id) })
	return nil
}
