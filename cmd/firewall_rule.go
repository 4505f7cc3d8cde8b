package cmd

import (
	"context"
	"fmt"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

func newFirewallAddCmd(a *app) *cobra.Command {
	var t kvm.RuleText
	var position int
	c := &cobra.Command{
		Use: "add SID --action ACTION --direction in|out", Short: "Add a firewall rule",
		Long: fmt.Sprintf(`Add a firewall rule for the client of a VM: the first one, unless --position says where in firewall show it shall stand. Of the
rules the first that a packet fits decides. In Proxmox its comment begins with "puqkvm", by which it is known; what somebody
changes of it there is put right again. A VM has at most %d such rules.

`, kvm.MaxRules) + firewallExits,
		Example: "  puqkvm firewall rule add 5546 --direction in --action ACCEPT --proto tcp --dport 22 --source 192.0.2.0/24 --comment ssh\n" +
			"  puqkvm firewall rule add 5546 --direction out --action DROP --proto tcp --dport 25,465 --position 1",
		Args: exactly("SID"),
	}
	f := c.Flags()
	f.StringVar(&t.Action, "action", "", "ACCEPT, DROP or REJECT")
	f.StringVar(&t.Direction, "direction", "", "in: packets to the VM; out: from it")
	f.StringVar(&t.Proto, "proto", "", "tcp, udp, icmp, … (default: every protocol)")
	f.StringVar(&t.Source, "source", "", "address, CIDR, range 192.0.2.10-192.0.2.20, or list of addresses and CIDRs (default: any)")
	f.StringVar(&t.Dest, "dest", "", "the same for the destination")
	f.StringVar(&t.SPort, "sport", "", "source port: 22 or 80,443 or 1000:2000 (default: any)")
	f.StringVar(&t.DPort, "dport", "", "destination port")
	f.StringVar(&t.Comment, "comment", "", fmt.Sprintf("what it is for, one line of at most %d characters", kvm.MaxRuleComment))
	f.IntVar(&position, "position", 0, "where it shall stand, from 0")
	f.BoolVar(&t.Disabled, "disabled", false, "it does not count yet")
	for _, name := range []string{"action", "direction"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	seen := digestFlag(c, "digest")
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := parseID("service", args[0])
		if err != nil {
			return err
		}
		rule, err := kvm.ParseRule(t)
		if err != nil {
			return err
		}
		var at *int
		if c.Flags().Changed("position") {
			at = &position
		}
		digest, err := seen()
		if err != nil {
			return err
		}
		return runFirewallRule(c.Context(), a, id, digest, position, fmt.Sprintf("is at position %d", position),
			func(l *lifecycle.Lifecycle, ask lifecycle.RuleAsk) *pipeline.Pipeline {
				return l.AddRule(rule, at, ask)
			})
	}
	return a.forClients(c)
}

func newFirewallMoveCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "move SID POS NEWPOS", Short: "Move a firewall rule",
		Long: `Move the firewall rule at position POS of firewall show to where its position is NEWPOS. With --as-client an administrator's is
not moved.

` + firewallExits,
		Example: "  puqkvm firewall rule move 5546 3 0", Args: exactly("SID", "POS", "NEWPOS"),
	}
	seen := digestFlag(c, "digest")
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := parseID("service", args[0])
		if err != nil {
			return err
		}
		from, err := parsePosition(args[1])
		if err != nil {
			return err
		}
		to, err := parsePosition(args[2])
		if err != nil {
			return err
		}
		digest, err := seen()
		if err != nil {
			return err
		}
		return runFirewallRule(c.Context(), a, id, digest, to, fmt.Sprintf("is at position %d, and was at %d", to, from),
			func(l *lifecycle.Lifecycle, ask lifecycle.RuleAsk) *pipeline.Pipeline {
				return l.MoveRule(from, to, ask)
			})
	}
	return a.forClients(c)
}

func newFirewallRemoveCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "remove SID POS", Short: "Remove a firewall rule",
		Long: `Remove the firewall rule at position POS of firewall show. With --as-client an administrator's is not removed.
The rules after it move up: look with firewall show before the same is given again, or give the digest of its JSON
with --digest, which refuses when the rules have changed.

` + firewallExits,
		Example: "  puqkvm firewall rule remove 5546 3", Args: exactly("SID", "POS"),
	}
	seen := digestFlag(c, "digest")
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := parseID("service", args[0])
		if err != nil {
			return err
		}
		pos, err := parsePosition(args[1])
		if err != nil {
			return err
		}
		digest, err := seen()
		if err != nil {
			return err
		}
		return runFirewallRule(c.Context(), a, id, digest, pos, fmt.Sprintf("is removed, and was at position %d", pos),
			func(l *lifecycle.Lifecycle, ask lifecycle.RuleAsk) *pipeline.Pipeline { return l.RemoveRule(pos, ask) })
	}
	return a.forClients(c)
}

// parsePosition reads a position in the list of rules.
func parsePosition(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, kvm.Errorf(kvm.ErrInvalid, "%.40q is no position of a firewall rule: a number from 0", text)
	}
	return int(n), nil
}

// runFirewallRule walks a table of one row, and says which rule it was and what became of it.
func runFirewallRule(ctx context.Context, a *app, id int64, seen *string, position int, became string, table func(*lifecycle.Lifecycle, lifecycle.RuleAsk) *pipeline.Pipeline) error {
	var rule kvm.Rule
	ask := lifecycle.RuleAsk{Seen: seen, Client: a.asClient, Rule: &rule}
	err := a.atOnce(ctx, id, kvm.VerbFirewall, "firewall", func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return table(l, ask) })
	if err != nil {
		return err
	}
	text := oneLine(rule.String()) // an administrator's may have anything in it
	a.show(map[string]any{"service": id, "position": position, "rule": text}, func() { fmt.Fprintf(a.Stdout, "service %d: %s %s\n", id, text, became) })
	return nil
}
