package cmd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve"
	"github.com/spf13/cobra"
)

func newProductCmd(a *app) *cobra.Command {
	return group("product", "Show, change and check what a WHMCS product's VMs are made of",
		newProductShowCmd(a), newProductSetCmd(a), newProductCheckCmd(a))
}

func newProductShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show PID", Short: "Show the settings of a product", Example: "  puqkvm product show 12", Args: exactly("PID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("product", args[0])
			if err != nil {
				return err
			}
			return runProductShow(c.Context(), a, id)
		},
	}
}

// product reads a product of our module and its document as it is stored. With an error of the document comes what could
// be read of it.
func (a *app) product(ctx context.Context, id int64) (product kvm.Product, doc []byte, err error) {
	if err := a.open(ctx); err != nil {
		return product, nil, err
	}
	p, err := a.store.Product(ctx, id)
	if err != nil {
		return product, nil, err
	}
	if p.ServerType != a.settings.Module {
		return product, nil, kvm.Errorf(kvm.ErrRefused, "product %d belongs to the module %q, not %q", id, p.ServerType, a.settings.Module)
	}
	if doc, err = a.store.ProductSettings(ctx, id); err != nil {
		return product, nil, err
	}
	if product, err = kvm.ParseProduct(doc); err != nil {
		return product, doc, kvm.WithHint(fmt.Errorf("product %d: %w", id, err), "puqkvm product set %d KEY=VALUE", id)
	}
	return product, doc, nil
}

func runProductShow(ctx context.Context, a *app, id int64) error {
	p, _, err := a.product(ctx, id)
	if err != nil {
		return err
	}
	lines := p.Show()
	a.show(lines, func() {
		t := rows{head: []string{"GROUP", "SETTING", "VALUE", "DEFAULT", "UNIT", "MEANING"}}
		for _, l := range lines {
			t.body = append(t.body, []string{l.Group, l.Key, dash(l.Value), dash(l.Default), l.Unit, l.Help})
		}
		t.print(a.Stdout)
	})
	return nil
}

func newProductSetCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "set PID KEY=VALUE...", Short: "Change settings of a product",
		Long: `Change settings of a product. All are checked together, and either all are stored or none. KEY= goes back to the default.
A secret is read from standard input: console_key=-`,
		Example: "  puqkvm product set 12 template=9000 cpu=2 ram=4\n  puqkvm product set 12 console_key=- < key", Args: atLeast("PID", "KEY=VALUE"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("product", args[0])
			if err != nil {
				return err
			}
			pairs, err := parsePairs(args[1:])
			if err != nil {
				return err
			}
			return runProductSet(c.Context(), a, id, pairs)
		},
	}
}

func runProductSet(ctx context.Context, a *app, id int64, pairs []pair) error {
	p, doc, err := a.product(ctx, id)
	if err != nil && doc == nil {
		return err
	}
	if err != nil {
		a.warn(err.Error() + "; what is wrong is dropped")
	}
	for _, kv := range pairs {
		switch {
		case kv.value == "":
			err = p.Unset(kv.key)
		case kvm.IsSecretSetting(kv.key):
			if kv.value != "-" {
				return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "%s is a secret, and arguments can be seen by every user of this machine", kv.key),
					"puqkvm product set %d %s=- < FILE", id, kv.key)
			}
			if kv.value, err = a.secretLine(); err == nil {
				kv.value, err = a.store.Seal(kvm.NewSecret(kv.value))
			}
			if err == nil {
				err = p.Set(kv.key, kv.value)
			}
		default:
			err = p.Set(kv.key, kv.value)
		}
		if err != nil {
			return err
		}
	}
	if err := p.Check(); err != nil {
		return err
	}
	if err := a.store.SetProductSettings(ctx, id, doc, p.JSON()); err != nil {
		return err
	}
	a.show(map[string]any{"product": id, "changed": len(pairs)}, func() { fmt.Fprintf(a.Stdout, "product %d: %s\n", id, p) })
	return nil
}

// secretLine is the first line of stdin.
func (a *app) secretLine() (string, error) {
	line, err := bufio.NewReader(io.LimitReader(a.Stdin, 64<<10)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("standard input: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", kvm.Errorf(kvm.ErrInvalid, "standard input has no secret in its first line")
	}
	return line, nil
}

func newProductCheckCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "check PID", Short: "Check a product's settings against its servers",
		Long: `Check that a product's settings go together, and that every server that WHMCS may choose for it has the node, storages and
template that they name.

Exit codes: 0 all is well (warnings included); 20 no such product, or settings that do not go together; 30 something on a
server must be mended.`,
		Example: "  puqkvm product check 12", Args: exactly("PID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("product", args[0])
			if err != nil {
				return err
			}
			return runProductCheck(c.Context(), a, id)
		},
	}
}

func runProductCheck(ctx context.Context, a *app, id int64) error {
	p, _, err := a.product(ctx, id)
	if err != nil {
		return err
	}
	if err := p.Check(); err != nil {
		return fmt.Errorf("product %d: %w", id, err)
	}
	pkg := p.Package()
	var findings []checked
	if err := pkg.Ready(); err != nil {
		findings = append(findings, checked{Finding: pve.Finding{What: err.Error(), Mend: fmt.Sprintf("puqkvm product set %d template=VMID", id)}})
	}
	names, err := a.nameFindings(ctx, id, pkg)
	if err != nil {
		return err
	}
	findings = append(findings, names...)
	findings = append(findings, consoleFindings(id, pkg)...)
	servers, err := a.store.ProductServers(ctx, id)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		findings = append(findings, checked{Finding: pve.Finding{What: fmt.Sprintf("no server of the module %s serves product %d", a.settings.Module, id),
			Mend: "add a server in WHMCS (module " + a.settings.Module + "), or put one into the product's server group"}})
	}
	for _, server := range servers {
		c, err := a.client(ctx, server)
		if err != nil {
			findings = append(findings, checked{server, pve.Finding{What: err.Error(), Mend: kvm.Hint(err)}})
			continue
		}
		for _, f := range c.Check(ctx, productNeeds(pkg)) {
			findings = append(findings, checked{server, f})
		}
	}
	return a.showFindings(fmt.Sprintf("product %d", id), findings)
}

// nameFindings says what is missing for the names of a product's VMs, where DNS zones are in use at all.
func (a *app) nameFindings(ctx context.Context, id int64, pkg kvm.Package) ([]checked, error) {
	zones, err := a.dnsZones(ctx)
	if err != nil || len(zones) == 0 {
		return nil, err
	}
	var out []checked
	for _, z := range zones {
		if z.Problem != nil {
			out = append(out, checked{Finding: pve.Finding{OK: true, Warning: true, What: z.Problem.Error(), Mend: kvm.Hint(z.Problem)}})
		}
	}
	if name := "vm." + pkg.MainDomain; pkg.MainDomain == "" || !dns.Serves(zones, dns.Record{Name: name}) {
		out = append(out, checked{Finding: pve.Finding{OK: true, Warning: true, What: fmt.Sprintf("no DNS zone holds the VMs' names (main_domain %q): they get none", pkg.MainDomain),
			Mend: fmt.Sprintf("puqkvm dns zone add ZONE --help, or puqkvm product set %d main_domain=DOMAIN", id)}})
	}
	return out, nil
}

// consoleFindings warns of a proxy for the console that nobody can be registered at.
func consoleFindings(id int64, pkg kvm.Package) []checked {
	if pkg.ConsoleProxy == "" || !pkg.ConsoleKey.Empty() {
		return nil
	}
	return []checked{{Finding: pve.Finding{OK: true, Warning: true, What: fmt.Sprintf("console_proxy is %s, and there is no console_key: the VMs have no console", pkg.ConsoleProxy),
		Mend: fmt.Sprintf("puqkvm product set %d console_key=- < FILE", id)}}}
}

// checked is a finding on a server, 0 = on none.
type checked struct {
	Server int64
	pve.Finding
}

// shownFinding is a finding as JSON.
type shownFinding struct {
	Server int64  `json:"server,omitempty"`
	Result string `json:"result"` // ok, warning, wrong
	What   string `json:"what"`
	Mend   string `json:"mend,omitempty"`
}

// showFindings prints them; one that is wrong is kvm.ErrAdmin.
func (a *app) showFindings(what string, findings []checked) error {
	wrong := 0
	out := []shownFinding{}
	for _, f := range findings {
		s := shownFinding{f.Server, "ok", f.What, f.Mend}
		switch {
		case !f.OK:
			s.Result = "wrong"
			wrong++
		case f.Warning:
			s.Result = "warning"
		}
		out = append(out, s)
	}
	a.show(out, func() {
		for _, s := range out {
			where := ""
			if s.Server != 0 {
				where = fmt.Sprintf("server %d: ", s.Server)
			}
			fmt.Fprintf(a.Stdout, "%-8s %s%s\n", s.Result, where, s.What)
			if s.Mend != "" && s.Result != "ok" {
				fmt.Fprintf(a.Stdout, "         -> %s\n", s.Mend)
			}
		}
	})
	if wrong == 0 {
		return nil
	}
	err := kvm.Errorf(kvm.ErrAdmin, "%s: %d of %d checks failed", what, wrong, len(findings))
	if a.output == "json" {
		return errPrinted{err}
	}
	return err
}
