package pve

import (
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestRulesOnASimulatedCluster: rules come at the top, enabled as asked; positions are those after the move; whatever was
// decided by a list that is another by now is refused; policies leave every other option as it was.
func TestRulesOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx := t.Context()
		read := func() kvm.RuleList {
			t.Helper()
			list, err := c.Rules(ctx, o)
			must(t, err)
			return list
		}
		order := func(want string) {
			t.Helper()
			got := ""
			for _, r := range read().Rules {
				got += r.Comment
			}
			if got != want {
				t.Errorf("%s: the rules are %s, want %s", version, got, want)
			}
		}
		stale := ""
		for _, name := range []string{"e", "d", "c", "b", "a"} {
			r, err := kvm.ParseRule(kvm.RuleText{Direction: "in", Action: "ACCEPT", Proto: "tcp", DPort: "22,1000:2000", Source: "2001:db8::/64", Comment: name, Disabled: name == "c"})
			must(t, err)
			list := read()
			must(t, c.AddRule(ctx, o, r, list.Digest))
			if list.Digest != "" {
				stale = list.Digest
				is(t, "adding to an old list", c.AddRule(ctx, o, r, stale), kvm.ErrChanged)
			}
			if got := read().Rules[0]; !got.Same(r) || got.Enabled == (name == "c") {
				t.Errorf("%s: sent %+v, read %+v", version, r, got)
			}
		}
		order("abcde")
		for _, m := range []struct {
			from, to int
			want     string
		}{{0, 1, "bacde"}, {1, 0, "abcde"}, {0, 4, "bcdea"}, {4, 0, "abcde"}, {1, 3, "acdbe"}, {3, 1, "abcde"}, {3, 4, "abced"}, {2, 2, "abced"}, {4, 3, "abcde"}} {
			must(t, c.MoveRule(ctx, o, m.from, m.to, read().Digest))
			order(m.want)
		}
		is(t, "moving in an old list", c.MoveRule(ctx, o, 0, 4, stale), kvm.ErrChanged)
		is(t, "removing from an old list", c.RemoveRule(ctx, o, 0, stale), kvm.ErrChanged)
		order("abcde")
		must(t, c.RemoveRule(ctx, o, 1, read().Digest))
		order("acde")

		f := kvm.Firewall{Enable: true, PolicyIn: "ACCEPT", PolicyOut: "ACCEPT", LogIn: "info", LogOut: "nolog", DHCP: true, RADV: true}
		must(t, c.SetFirewall(ctx, o, f))
		before, err := c.Firewall(ctx, o, true)
		must(t, err)
		must(t, c.SetPolicies(ctx, o, "DROP", "", before.Digest))
		is(t, "policies of old options", c.SetPolicies(ctx, o, "REJECT", "REJECT", before.Digest), kvm.ErrChanged)
		after, err := c.Firewall(ctx, o, true)
		f.PolicyIn = "DROP"
		if err != nil || after.Options != f || len(after.Rules.Rules) != 4 {
			t.Errorf("%s: %+v, %v", version, after, err)
		}
		p := poor(t, c, sim)
		_, err = p.Rules(ctx, o)
		must(t, err)
		is(t, "without the privilege", p.RemoveRule(ctx, o, 0, read().Digest), kvm.ErrDenied)
		is(t, "policies without the privilege", p.SetPolicies(ctx, o, "DROP", "DROP", after.Digest), kvm.ErrDenied)
		order("acde")
	})
}
