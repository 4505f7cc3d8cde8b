package cmd

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/console"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

func newConsoleCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "console SID", Short: "Open the VM's console for a browser",
		Long: `Open the console (noVNC) of a VM that runs, and print the address that the browser opens, once, within 10 seconds: Proxmox waits
no longer. The address holds the console's password; who has it has the console.

The browser goes through the proxy that the product names (console_proxy, console_key): puqcloud's vncwebproxy behind a web
server with noVNC. It is told, by https, how to connect to Proxmox in our name. A proxy on this very machine is spoken to by http.
Without one, --output json prints what another proxy needs: node, port, user, ticket and password.

Exit codes: 0 done; 10 something else is in hand, or Proxmox has locked the VM: try again; 20 refused: the VM does not run, or the
service is suspended; 30 the proxy refuses us, or the VM is not proved to be the service's; 40 Proxmox, the proxy or the
database could not be reached.`,
		Example: "  puqkvm console 5546\n  puqkvm console 5546 --as-client --output json", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runConsole(c.Context(), a, id)
		},
	})
}

// openedConsole is the answer of `console` as JSON: URL where the product names a proxy, what follows it where it names none.
type openedConsole struct {
	Service  int64  `json:"service"`
	Seconds  int    `json:"seconds"` // that Proxmox waits
	URL      string `json:"url,omitempty"`
	Node     string `json:"node"`
	VMID     int    `json:"vmid"`
	Port     int    `json:"port,omitempty"`
	User     string `json:"user,omitempty"` // who alone may connect
	Ticket   string `json:"ticket,omitempty"`
	Password string `json:"password,omitempty"`
}

func runConsole(ctx context.Context, a *app, id int64) error {
	_, s, err := a.opened(ctx, id, "novnc")
	if err != nil {
		return err
	}
	proxy, err := a.consoleProxy(s)
	if err != nil {
		return err
	}
	var c kvm.Console
	if err := a.atOnce(ctx, id, kvm.VerbConsole, "novnc", func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.OpenConsole(&c) }); err != nil {
		return err
	}
	out := openedConsole{Service: id, Seconds: int(kvm.ConsoleLife.Seconds()), Node: c.Node, VMID: c.VMID}
	if proxy == nil {
		out.Port, out.User, out.Ticket, out.Password = c.Port, c.User, c.Ticket.Reveal(), c.Password.Reveal()
		a.show(out, func() {
			fmt.Fprintf(a.Stdout, "service %d: the console of VM %d is open on %s, port %d, for %s, for %d seconds (--output json prints its ticket)\n",
				id, c.VMID, c.Node, c.Port, c.User, out.Seconds)
			fmt.Fprintf(a.Stdout, "product %d names no proxy for browsers: puqkvm product set %d console_proxy=HOST\n", s.ProductID, s.ProductID)
		})
		return nil
	}
	address, err := proxy.Register(ctx, c, a.Rand)
	if err != nil {
		return err
	}
	out.URL = address.Reveal()
	a.show(out, func() { fmt.Fprintln(a.Stdout, out.URL) })
	return nil
}

// consoleProxy is the proxy that the product of s names, nil = none.
func (a *app) consoleProxy(s *kvm.Service) (*console.Proxy, error) {
	switch p := s.Package; {
	case s.Problem != nil:
		return nil, s.Problem
	case p.ConsoleProxy == "":
		return nil, nil
	case p.ConsoleKey.Empty():
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "the product of service %d names the proxy %s and no key for it (console_key)", s.ID, p.ConsoleProxy),
			"puqkvm product set %d console_key=- < FILE", s.ProductID)
	}
	key, err := a.store.Unseal(s.Package.ConsoleKey)
	if err != nil {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "the console_key of product %d cannot be read: %w", s.ProductID, err), "puqkvm product set %d console_key=- < FILE", s.ProductID)
	}
	return &console.Proxy{Product: s.ProductID, Host: s.Package.ConsoleProxy, Key: key}, nil
}
