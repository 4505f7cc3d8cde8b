package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve"
	"github.com/puqkvm/puqkvm/pkg/trust"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/spf13/cobra"
)

func newServerCmd(a *app) *cobra.Command {
	return group("server", "Show, set and test the Proxmox clusters behind WHMCS's servers", newServerListCmd(a), newServerSetCmd(a), newServerTestCmd(a))
}

// serverSettings is what we keep of a server beside WHMCS's own row. Zero = the system's roots.
type serverSettings struct {
	CAFile       string   `json:"ca_file,omitempty"`
	Fingerprints []string `json:"fingerprints,omitempty"`
	Insecure     bool     `json:"insecure,omitempty"`
	URLs         []string `json:"urls,omitempty"` // further API addresses
}

func parseServerSettings(s whmcs.Server) (serverSettings, error) {
	var out serverSettings
	if len(s.Settings) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(s.Settings, &out); err != nil {
		return out, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "server %d: its settings are no JSON document", s.ID), "puqkvm server set %d --system-roots", s.ID)
	}
	return out, nil
}

func (s serverSettings) trust() trust.Trust {
	return trust.Trust{CAFile: s.CAFile, Pins: s.Fingerprints, Insecure: s.Insecure}
}

func (s serverSettings) String() string {
	switch {
	case s.Insecure:
		return "insecure"
	case s.CAFile != "":
		return "CA " + s.CAFile
	case len(s.Fingerprints) > 0:
		return fmt.Sprintf("%d fingerprints", len(s.Fingerprints))
	}
	return "system roots"
}

// addresses are the server's API addresses, the one in WHMCS first.
func (s serverSettings) addresses(server whmcs.Server) []string {
	return append([]string{net.JoinHostPort(strings.Trim(server.Address(), "[]"), strconv.Itoa(server.Port))}, s.URLs...)
}

func newServerListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the servers of our module", Example: "  puqkvm server list", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runServerList(c.Context(), a) },
	}
}

type listedServer struct {
	ID    int64          `json:"id"`
	Name  string         `json:"name"`
	URLs  []string       `json:"addresses"`
	User  string         `json:"user"`
	Trust serverSettings `json:"tls"`
}

func runServerList(ctx context.Context, a *app) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	servers, err := a.store.Servers(ctx)
	if err != nil {
		return err
	}
	out := []listedServer{}
	t := rows{head: []string{"ID", "NAME", "ADDRESSES", "USER", "TLS"}}
	for _, s := range servers {
		set, err := parseServerSettings(s)
		if err != nil {
			a.warn(err.Error())
		}
		l := listedServer{s.ID, s.Name, set.addresses(s), s.Username, set}
		out = append(out, l)
		t.body = append(t.body, []string{strconv.FormatInt(s.ID, 10), dash(s.Name), strings.Join(l.URLs, " "), dash(s.Username), set.String()})
	}
	a.show(out, func() { t.print(a.Stdout) })
	return nil
}

func newServerSetCmd(a *app) *cobra.Command {
	var set serverSettings
	var roots, noURLs bool
	c := &cobra.Command{
		Use: "set ID", Short: "Say how a server's certificate is trusted, and its further API addresses",
		Long: `Say how a server's certificate is trusted, and its further API addresses. Address, token and secret are those of the server
in WHMCS. "puqkvm server test ID" prints the fingerprint and the command that pins it.`,
		Example: `  puqkvm server set 1 --fingerprint AA:BB:…:FF
  puqkvm server set 1 --ca-file /etc/puqkvm/pve-root-ca.pem --url https://pve2.example.com:8006`,
		Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("server", args[0])
			if err != nil {
				return err
			}
			trust := roots || set.Insecure || set.CAFile != "" || len(set.Fingerprints) > 0
			urls := noURLs || len(set.URLs) > 0
			switch {
			case !trust && !urls:
				return usage(c, "wants at least one flag")
			case set.CAFile != "" && !filepath.IsAbs(set.CAFile):
				// Cron runs in another folder.
				return kvm.Errorf(kvm.ErrInvalid, "--ca-file %q must be a path that begins with /", set.CAFile)
			}
			return runServerSet(c.Context(), a, id, set, trust, urls)
		},
	}
	f := c.Flags()
	f.StringVar(&set.CAFile, "ca-file", "", "trust the authorities in this PEM file")
	f.StringSliceVar(&set.Fingerprints, "fingerprint", nil, "trust a certificate with this SHA-256 fingerprint (may be repeated: one per node)")
	f.BoolVar(&set.Insecure, "insecure", false, "trust any certificate; warned of at each run")
	f.BoolVar(&roots, "system-roots", false, "trust the authorities of the system (the default)")
	f.StringSliceVar(&set.URLs, "url", nil, "a further API address of the cluster (may be repeated)")
	f.BoolVar(&noURLs, "no-urls", false, "forget the further API addresses")
	oneOf(c, "ca-file", "fingerprint", "insecure", "system-roots")
	oneOf(c, "url", "no-urls")
	return c
}

func runServerSet(ctx context.Context, a *app, id int64, set serverSettings, trust, urls bool) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	server, err := a.store.Server(ctx, id)
	if err != nil {
		return err
	}
	now, err := parseServerSettings(server)
	if err != nil {
		now = serverSettings{} // what is unreadable is replaced
	}
	if trust {
		now.CAFile, now.Fingerprints, now.Insecure = set.CAFile, set.Fingerprints, set.Insecure
	}
	if urls {
		now.URLs = set.URLs
	}
	// The client's own checks are the validation.
	if _, err := pve.New(pve.Options{URLs: now.addresses(server), User: server.Username, Secret: server.Password, TLS: now.trust()}); err != nil {
		return fmt.Errorf("server %d: %w", id, err)
	}
	doc, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("server %d: %w", id, err)
	}
	if err := a.store.SetServerSettings(ctx, id, server.Settings, doc); err != nil {
		return err
	}
	a.show(listedServer{id, server.Name, now.addresses(server), server.Username, now}, func() {
		fmt.Fprintf(a.Stdout, "server %d: %s; %s\n", id, strings.Join(now.addresses(server), " "), now)
	})
	return nil
}

func newServerTestCmd(a *app) *cobra.Command {
	var product int64
	c := &cobra.Command{
		Use: "test ID", Short: "Test a server: address, certificate, token, privileges, nodes, storages, template",
		Long: `Test a server and name what is wrong and how to mend it: address, certificate, token, each privilege, nodes, storages, and
with --product the node, storages and template of that product.

Exit codes: 0 all is well (warnings included); 20 no such server; 30 something must be mended.`,
		Example: "  puqkvm server test 1\n  puqkvm server test 1 --product 12", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("server", args[0])
			if err != nil {
				return err
			}
			return runServerTest(c.Context(), a, id, product)
		},
	}
	c.Flags().Int64Var(&product, "product", 0, "also what this product needs")
	return c
}

func runServerTest(ctx context.Context, a *app, id, product int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	needs := pve.Needs{AntiSpoof: true}
	if product != 0 {
		p, _, err := a.product(ctx, product)
		if err != nil {
			return err
		}
		needs = productNeeds(p.Package())
	}
	server, err := a.store.Server(ctx, id)
	if err != nil {
		return err
	}
	set, err := parseServerSettings(server)
	if err != nil {
		return err
	}
	c, err := a.client(ctx, id)
	if err != nil {
		return err
	}
	var findings []checked
	for _, addr := range set.addresses(server) {
		if print, err := pve.Fingerprint(ctx, addr); err == nil {
			findings = append(findings, checked{Finding: pve.Finding{OK: true, What: fmt.Sprintf("%s shows a certificate with the SHA-256 fingerprint %s; puqkvm server set %d --fingerprint %s pins it", addr, print, id, print)}})
		}
	}
	privileges := false
	for _, f := range c.Check(ctx, needs) {
		findings = append(findings, checked{Finding: f})
		privileges = privileges || !f.OK && f.Privilege
	}
	err = a.showFindings(fmt.Sprintf("server %d", id), findings)
	if privileges && a.output == "text" {
		version, verr := c.Version(ctx)
		if verr != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, "\nThese lines, typed on a node, make a role and a token with just the privileges needed:")
		for _, line := range pve.RoleCommands(version, server.Username) {
			fmt.Fprintln(a.Stdout, "  "+line)
		}
	}
	return err
}

// productNeeds is what a package wants of a cluster.
func productNeeds(pkg kvm.Package) pve.Needs {
	needs := pve.Needs{Node: pkg.Node, Template: pkg.Template, FullClone: pkg.FullClone, AntiSpoof: pkg.Firewall.AntiSpoof && pkg.Firewall.Enable,
		BackupStorage: pkg.BackupStorage, ISOStorage: pkg.ISOStorage}
	for _, st := range []string{pkg.System.Storage, pkg.Additional.Storage} {
		if st != "" {
			needs.Storages = append(needs.Storages, st)
		}
	}
	return needs
}
