package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

func newFirewallCmd(a *app) *cobra.Command {
	return group("firewall", "Show and change the firewall of a VM", newFirewallShowCmd(a), newFirewallPolicyCmd(a),
		group("rule", "Add, move and remove firewall rules", newFirewallAddCmd(a), newFirewallMoveCmd(a), newFirewallRemoveCmd(a)))
}

func newFirewallShowCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "show SID", Short: "Show a VM's firewall: policies, rules, and the addresses it may send from",
		Long: `Show a VM's firewall as Proxmox has it: whether it is on, its policies, its rules in the order in which they are tried, and the
addresses that anti-spoofing lets it send from. OWN are the rules made by firewall rule add; the others are an administrator's,
which a reinstall does not make again. Rules of a firewall that is off can be changed, and count when it is switched on.

Exit codes: 0 done; 20 no such service; 30 the VM is not proved to be the service's; 40 Proxmox or the database could not be
reached.`,
		Example: "  puqkvm firewall show 5546\n  puqkvm firewall show 5546 --output json    with the digests for --digest", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runFirewallShow(c.Context(), a, id)
		},
	})
}

// shownFirewall is the answer of `firewall show` as JSON.
type shownFirewall struct {
	Service       int64       `json:"service"`
	On            bool        `json:"on"`
	Off           string      `json:"off,omitempty"`       // why it is off
	Unmanaged     string      `json:"unmanaged,omitempty"` // why policies and rules cannot be changed here
	Due           bool        `json:"due"`                 // what the client has made is not all in Proxmox
	PolicyIn      string      `json:"policy_in"`
	PolicyOut     string      `json:"policy_out"`
	ClientIn      bool        `json:"policy_in_by_client"`
	ClientOut     bool        `json:"policy_out_by_client"`
	OptionsDigest string      `json:"options_digest"` // for firewall policy --digest
	Digest        string      `json:"digest"`         // for firewall rule … --digest
	Rules         []shownRule `json:"rules"`
	AntiSpoofing  []string    `json:"antispoofing"` // null = it may send from any address
}

type shownRule struct {
	Position  int    `json:"position"`
	Own       bool   `json:"own"`
	Enabled   bool   `json:"enabled"`
	Direction string `json:"direction"`
	Action    string `json:"action"`
	Macro     string `json:"macro,omitempty"`
	Proto     string `json:"proto,omitempty"`
	Source    string `json:"source,omitempty"`
	SPort     string `json:"sport,omitempty"`
	Dest      string `json:"dest,omitempty"`
	DPort     string `json:"dport,omitempty"`
	ICMPType  string `json:"icmp_type,omitempty"`
	Iface     string `json:"iface,omitempty"`
	Log       string `json:"log,omitempty"`
	Comment   string `json:"comment,omitempty"`
}

func runFirewallShow(ctx context.Context, a *app, id int64) error {
	l, s, err := a.opened(ctx, id, "firewall")
	if err != nil {
		return err
	}
	see, err := l.Firewall(ctx, s)
	if err != nil {
		return err
	}
	out := shownFirewall{Service: id, On: see.Off == "", Off: see.Off, Unmanaged: see.Unmanaged, Due: see.Due,
		PolicyIn: see.Options.PolicyIn, PolicyOut: see.Options.PolicyOut, ClientIn: s.Firewall.PolicyIn != "", ClientOut: s.Firewall.PolicyOut != "",
		OptionsDigest: see.FirewallState.Digest, Digest: see.Rules.Digest, Rules: []shownRule{}, AntiSpoofing: see.Spoof}
	t := rows{head: []string{"POS", "OWN", "ON", "DIRECTION", "ACTION", "PROTO", "SOURCE", "PORT", "DESTINATION", "PORT", "COMMENT"}}
	for _, r := range see.Rules.Rules {
		out.Rules = append(out.Rules, shownRule{r.Position, r.Own, r.Enabled, r.Direction, r.Action, r.Macro, r.Proto, r.Source, r.SPort, r.Dest, r.DPort,
			r.ICMPType, r.Iface, r.Log, r.Comment})
		action, dport := r.Action, r.DPort
		if r.Macro != "" {
			action = r.Macro + "(" + r.Action + ")"
		}
		if r.ICMPType != "" {
			dport = r.ICMPType
		}
		t.body = append(t.body, []string{strconv.Itoa(r.Position), yesNo(r.Own), yesNo(r.Enabled), r.Direction, action, dash(r.Proto), dash(r.Source), dash(r.SPort),
			dash(r.Dest), dash(dport), dash(r.Comment)})
	}
	a.show(out, func() {
		fmt.Fprintln(a.Stdout, "firewall:   "+onOff(see.Off))
		fmt.Fprintf(a.Stdout, "policies:   in %s%s, out %s%s\n", out.PolicyIn, by(out.ClientIn), out.PolicyOut, by(out.ClientOut))
		spoof := "any address (anti-spoofing is off)"
		if see.Spoof != nil {
			spoof = dash(strings.Join(see.Spoof, " "))
		}
		fmt.Fprintln(a.Stdout, "sends from: "+spoof)
		if see.Unmanaged != "" {
			fmt.Fprintln(a.Stdout, "note:       "+see.Unmanaged)
		}
		if see.Due {
			fmt.Fprintln(a.Stdout, "note:       what the client has made is not all in Proxmox: the next such command or change of package puts it right")
		}
		if len(t.body) > 0 {
			t.print(a.Stdout)
		}
	})
	return nil
}

func onOff(off string) string {
	if off == "" {
		return "on"
	}
	return "off: " + off
}

// by says whose a policy is, where it is not the product's.
func by(client bool) string {
	if client {
		return " (client's)"
	}
	return ""
}

const firewallExits = `It is done at once, and kept: a reinstall or a change of package makes it again. With DHCP in the product (dhcp_ipv4, dhcp_ipv6)
the firewall is not managed, and this is refused.

Exit codes: 0 done; 10 something else is in hand, or Proxmox has locked the VM: try again; 20 bad input, refused in this state,
or changed since it was shown; 30 the VM is not proved to be the service's; 40 Proxmox or the database could not be reached; 1
Proxmox could not do it.`

// digestFlag adds --digest to c; what it gives is nil where the flag is not.
func digestFlag(c *cobra.Command, of string) func() (*string, error) {
	digest := c.Flags().String("digest", "", "refuse it when "+of+" in the JSON of firewall show is another by now")
	return func() (*string, error) {
		if !c.Flags().Changed("digest") {
			return nil, nil
		}
		if len(*digest) > 64 || strings.Trim(strings.ToLower(*digest), "0123456789abcdef") != "" {
			return nil, kvm.Errorf(kvm.ErrInvalid, "--digest %.70q is no digest: %q of firewall show --output json", *digest, of)
		}
		return digest, nil
	}
}

func newFirewallPolicyCmd(a *app) *cobra.Command {
	var in, out string
	c := &cobra.Command{
		Use: "policy SID [--in ACCEPT|DROP|REJECT|default] [--out …]", Short: "Set what becomes of packets that no rule fits",
		Long: "Set what becomes of packets that no rule fits; default gives the product's policy back.\n\n" + firewallExits,
		Args: exactly("SID"), Example: "  puqkvm firewall policy 5546 --in DROP\n  puqkvm firewall policy 5546 --in default --out default",
	}
	c.Flags().StringVar(&in, "in", "", "for packets to the VM: ACCEPT, DROP, REJECT, or default = the product's")
	c.Flags().StringVar(&out, "out", "", "for packets from the VM")
	seen := digestFlag(c, "options_digest")
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := parseID("service", args[0])
		if err != nil {
			return err
		}
		if !c.Flags().Changed("in") && !c.Flags().Changed("out") {
			return usage(c, "wants --in or --out")
		}
		policyIn, err := policyFlag(c, "in", in)
		if err != nil {
			return err
		}
		policyOut, err := policyFlag(c, "out", out)
		if err != nil {
			return err
		}
		digest, err := seen()
		if err != nil {
			return err
		}
		return runFirewallPolicy(c.Context(), a, id, policyIn, policyOut, digest)
	}
	return a.forClients(c)
}

// policyFlag is the policy that a flag gives, "" = the product's, nil = the flag is not there.
func policyFlag(c *cobra.Command, name, text string) (*string, error) {
	if !c.Flags().Changed(name) {
		return nil, nil
	}
	none := ""
	if strings.EqualFold(strings.TrimSpace(text), "default") {
		return &none, nil
	}
	p, err := kvm.ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w, nor default", name, err)
	}
	return &p, nil
}

func runFirewallPolicy(ctx context.Context, a *app, id int64, in, out, seen *string) error {
	var now kvm.Firewall
	err := a.atOnce(ctx, id, kvm.VerbFirewall, "firewall", func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.SetPolicies(in, out, seen, &now) })
	if err != nil {
		return err
	}
	a.show(map[string]any{"service": id, "policy_in": now.PolicyIn, "policy_out": now.PolicyOut}, func() {
		fmt.Fprintf(a.Stdout, "service %d: the policies are in %s, out %s\n", id, now.PolicyIn, now.PolicyOut)
	})
	return nil
}
