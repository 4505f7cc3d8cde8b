package pve

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const fw = "/nodes/pve1/qemu/110/firewall"

func TestFirewall(t *testing.T) {
	o := owned(t, testConfig)
	_, client := script{
		"GET " + fw + "/options": {`{"enable":1,"digest":"d","dhcp":"0","policy_in":"ACCEPT","log_level_out":"info"}`},
		"GET " + fw + "/ipset":   {`[{"name":"ipfilter-net0"},{"name":"empty"}]`},
		"GET " + fw + "/ipset/ipfilter-net0": {`[{"cidr":"192.0.2.50","comment":"x"},{"cidr":"2001:db8::/64"},
			{"cidr":"198.51.100.0/24","nomatch":1}]`},
		"GET " + fw + "/ipset/empty": {`[]`},
		"GET " + fw + "/rules":       {`[{"pos":1,"type":"group","action":"web","digest":"e"},{"pos":0,"type":"in","action":"DROP","enable":"1","digest":"e"}]`},
	}.serve(t)
	got, err := client.Firewall(t.Context(), o, true)
	want := kvm.FirewallState{Digest: "d",
		Rules:   kvm.RuleList{Digest: "e", Rules: []kvm.Rule{{Direction: "in", Action: "DROP", Enabled: true}, {Position: 1, Direction: "group", Action: "web"}}},
		Options: kvm.Firewall{Enable: true, PolicyIn: "ACCEPT", PolicyOut: "ACCEPT", LogIn: "nolog", LogOut: "info", NDP: true, MACFilter: true},
		IPSets:  map[string][]string{"ipfilter-net0": {"192.0.2.50", "2001:db8::/64", "!198.51.100.0/24"}, "empty": {}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	_, client = script{
		"GET " + fw + "/options": {`[]`}, "GET " + fw + "/ipset": {`[]`}, "GET " + fw + "/rules": {`[]`},
	}.serve(t)
	got, err = client.Firewall(t.Context(), o, true)
	unset := kvm.Firewall{DHCP: true, NDP: true, MACFilter: true, PolicyIn: "DROP", PolicyOut: "ACCEPT", LogIn: "nolog", LogOut: "nolog"}
	if err != nil || got.Options != unset {
		t.Errorf("nothing set: %+v, %v", got.Options, err)
	}
	_, client = script{
		"GET " + fw + "/options": {`{}`}, "GET " + fw + "/ipset": {"403 Permission check failed (/vms/110, VM.Audit)"},
	}.serve(t)
	if got, err := client.Firewall(t.Context(), o, true); !errors.Is(err, kvm.ErrDenied) || got.IPSets != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSetFirewall(t *testing.T) {
	s, client := script{"PUT " + fw + "/options": {"null"}}.serve(t)
	err := client.SetFirewall(t.Context(), owned(t, testConfig), kvm.Firewall{Enable: true, PolicyIn: "REJECT", LogOut: "err", NDP: true, AntiSpoof: true})
	want := "PUT " + fw + "/options dhcp=0&enable=1&ipfilter=0&log_level_in=nolog&log_level_out=err&macfilter=0&ndp=1&policy_in=REJECT&policy_out=ACCEPT&radv=0"
	if got := s.requests(); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestSetIPSet(t *testing.T) {
	const set = fw + "/ipset/ipfilter-net0"
	o := owned(t, testConfig)
	for _, c := range []struct {
		name   string
		exists bool
		have   []string
		want   []netip.Addr
		sent   []string
	}{
		{"new", false, nil, addrs("192.0.2.1", "2001:db8::1", "192.0.2.1"),
			[]string{"POST " + fw + "/ipset name=ipfilter-net0", "POST " + set + " cidr=192.0.2.1", "POST " + set + " cidr=2001%3Adb8%3A%3A1"}},
		{"equal, otherwise written", true, []string{"192.0.2.1/32", "2001:0DB8::0001"}, addrs("2001:db8::1", "::ffff:192.0.2.1"), nil},
		{"add before remove", true, []string{"192.0.2.9", "10.0.0.0/8", "dc/alias"}, addrs("192.0.2.1"),
			[]string{"POST " + set + " cidr=192.0.2.1", "DELETE " + set + "/192.0.2.9", "DELETE " + set + "/10.0.0.0%2F8", "DELETE " + set + "/dc%2Falias"}},
		{"a nomatch in the way", true, []string{"!192.0.2.1", "!10.0.0.0/8"}, addrs("192.0.2.1"),
			[]string{"DELETE " + set + "/192.0.2.1", "POST " + set + " cidr=192.0.2.1", "DELETE " + set + "/10.0.0.0%2F8"}},
		{"empty", true, []string{"192.0.2.1"}, nil, []string{"DELETE " + set + "/192.0.2.1"}},
	} {
		a := script{"POST " + fw + "/ipset": {"400 name=IPSet 'ipfilter-net0' already exists"}, "POST " + set: {"null", "400 cidr=address 'x' already exists"}}
		for _, r := range c.sent {
			if method, where, _ := strings.Cut(r, " "); method == "DELETE" {
				a[method+" "+where] = []string{"null"}
			}
		}
		s, client := a.serve(t)
		if err := client.SetIPSet(t.Context(), o, "ipfilter-net0", c.exists, c.have, c.want); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.sent, s.requests()); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	s, client := script{"POST " + set: {"500 no such IPSet 'ipfilter-net0'"}}.serve(t)
	if err := client.SetIPSet(t.Context(), o, "ipfilter-net0", true, []string{"10.0.0.1"}, addrs("192.0.2.1")); err == nil {
		t.Error("a failed addition went unnoticed")
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("entries were removed although the new one is missing: %q", s.requests())
	}
	if err := client.SetIPSet(t.Context(), o, "x", true, nil, []netip.Addr{{}}); !errors.Is(err, kvm.ErrInvalid) {
		t.Errorf("no address: %v", err)
	}
}

func TestDeleteIPSet(t *testing.T) {
	o := owned(t, testConfig)
	for answer, ok := range map[string]bool{"null": true, "500 no such IPSet 'x1'": true, "500 VM is locked (backup)": false} {
		s, client := script{"DELETE " + fw + "/ipset/x1": {answer}}.serve(t)
		if err := client.DeleteIPSet(t.Context(), o, "x1"); ok != (err == nil) {
			t.Errorf("%s: %v", answer, err)
		}
		if got := s.requests(); got[0] != "DELETE "+fw+"/ipset/x1?force=1" {
			t.Errorf("%q", got)
		}
	}
}

// TestRules: what a rule says is read whole, whoever made it and however its numbers are written.
func TestRules(t *testing.T) {
	o := owned(t, testConfig)
	_, client := script{"GET " + fw + "/rules": {`[{"pos":"1","type":"in","action":"ACCEPT","enable":"1","proto":"icmp","icmp-type":"echo-request","log":"info",
		"comment":"puqkvm: ping, please","digest":"d"},
		{"pos":0,"type":"in","macro":"HTTPS","action":"ACCEPT","enable":0,"source":"+dc/office","dest":"192.0.2.1","sport":"1000:2000","dport":"443","iface":"net0",
		"comment":"by hand","ipversion":4,"digest":"d","errors":{"source":"no such ipset"}}]`}}.serve(t)
	got, err := client.Rules(t.Context(), o)
	want := kvm.RuleList{Digest: "d", Rules: []kvm.Rule{
		{Direction: "in", Macro: "HTTPS", Action: "ACCEPT", Source: "+dc/office", Dest: "192.0.2.1", SPort: "1000:2000", DPort: "443", Iface: "net0", Comment: "by hand"},
		{Position: 1, Direction: "in", Action: "ACCEPT", Proto: "icmp", ICMPType: "echo-request", Log: "info", Comment: "ping, please", Enabled: true, Own: true},
	}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	_, client = script{"GET " + fw + "/rules": {`[{"pos":0},{"pos":2}]`}}.serve(t)
	if got, err := client.Rules(t.Context(), o); !errors.Is(err, kvm.ErrUnreachable) || got.Rules != nil {
		t.Errorf("a list with a gap: %+v, %v", got, err)
	}
}

// TestRuleCalls: what is sent, and always with the digest of what it was decided by.
func TestRuleCalls(t *testing.T) {
	o := owned(t, testConfig)
	const stale = "500 detected modified configuration - file changed by other user? Try again."
	rule := kvm.Rule{Position: 7, Direction: "in", Action: "ACCEPT", Proto: "tcp", Source: "192.0.2.0/24", DPort: "80,443", Comment: "web", Enabled: true, Own: true}
	for _, c := range []struct {
		name string
		sent string // "" = nothing
		call func(client *Client) error
	}{
		{"add", "POST " + fw + "/rules action=ACCEPT&comment=puqkvm%3A+web&digest=d&dport=80%2C443&enable=1&proto=tcp&source=192.0.2.0%2F24&type=in",
			func(c *Client) error { return c.AddRule(t.Context(), o, rule, "d") }},
		{"add to an empty list", "POST " + fw + "/rules action=DROP&comment=puqkvm&enable=0&type=out",
			func(c *Client) error {
				return c.AddRule(t.Context(), o, kvm.Rule{Direction: "out", Action: "DROP"}, "")
			}},
		{"up", "PUT " + fw + "/rules/5 digest=d&moveto=2", func(c *Client) error { return c.MoveRule(t.Context(), o, 5, 2, "d") }},
		{"down by one", "PUT " + fw + "/rules/2 digest=d&moveto=4", func(c *Client) error { return c.MoveRule(t.Context(), o, 2, 3, "d") }},
		{"to where it is", "", func(c *Client) error { return c.MoveRule(t.Context(), o, 2, 2, "d") }},
		{"remove", "DELETE " + fw + "/rules/3?digest=d", func(c *Client) error { return c.RemoveRule(t.Context(), o, 3, "d") }},
		{"both policies", "PUT " + fw + "/options digest=d&policy_in=DROP&policy_out=REJECT", func(c *Client) error { return c.SetPolicies(t.Context(), o, "DROP", "REJECT", "d") }},
		{"one policy", "PUT " + fw + "/options digest=d&policy_out=REJECT", func(c *Client) error { return c.SetPolicies(t.Context(), o, "", "REJECT", "d") }},
		{"no policy", "", func(c *Client) error { return c.SetPolicies(t.Context(), o, "", "", "d") }},
	} {
		method, where, _ := strings.Cut(c.sent, " ")
		where, _, _ = strings.Cut(where, " ")
		where, _, _ = strings.Cut(where, "?")
		answers := script{}
		if c.sent != "" {
			answers[method+" "+where] = []string{"null", stale}
		}
		s, client := answers.serve(t)
		err := c.call(client)
		if got := strings.Join(s.requests(), "; "); err != nil || got != c.sent {
			t.Errorf("%s: %v\ngot  %s\nwant %s", c.name, err, got, c.sent)
		}
		if err := c.call(client); c.sent != "" && !errors.Is(err, kvm.ErrChanged) {
			t.Errorf("%s, overtaken: %v", c.name, err)
		}
	}
}
