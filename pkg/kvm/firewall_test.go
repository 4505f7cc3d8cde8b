package kvm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseRule(t *testing.T) {
	for _, c := range []struct {
		text RuleText
		want string
	}{
		{RuleText{Direction: "in", Action: "ACCEPT"}, "in ACCEPT"},
		{RuleText{Direction: " OUT ", Action: "drop", Disabled: true}, "out DROP (disabled)"},
		{RuleText{Direction: "in", Action: "reject", Proto: "TCP", DPort: "22"}, "in REJECT tcp dport 22"},
		{RuleText{Direction: "in", Action: "ACCEPT", Proto: "udp", SPort: "080, 443", DPort: "1000:2000,65535"}, "in ACCEPT udp sport 80,443 dport 1000:2000,65535"},
		{RuleText{Direction: "in", Action: "ACCEPT", Proto: "sctp", DPort: "1,2,3,4,5,6,7,8,9,10,11,12,13:14"}, "in ACCEPT sctp dport 1,2,3,4,5,6,7,8,9,10,11,12,13:14"},
		{RuleText{Direction: "in", Action: "ACCEPT", Source: "192.0.2.0/24, 198.51.100.7/32", Dest: "192.0.2.10-192.0.2.20"}, "in ACCEPT from 192.0.2.0/24,198.51.100.7 to 192.0.2.10-192.0.2.20"},
		{RuleText{Direction: "in", Action: "ACCEPT", Source: "2001:DB8:0::1", Dest: "::/0"}, "in ACCEPT from 2001:db8::1 to ::/0"},
		{RuleText{Direction: "in", Action: "ACCEPT", Proto: "icmpv6", Dest: "2001:db8::/64"}, "in ACCEPT ipv6-icmp to 2001:db8::/64"},
		{RuleText{Direction: "in", Action: "ACCEPT", Proto: "gre", Source: "0.0.0.0/0"}, "in ACCEPT gre from 0.0.0.0/0"},
	} {
		r, err := ParseRule(c.text)
		if err != nil || r.String() != c.want || !r.Own {
			t.Errorf("%+v: %s, %v", c.text, r, err)
		}
	}
	r, err := ParseRule(RuleText{Direction: "in", Action: "DROP", Comment: "  Büro — #1: „ssh“  "})
	if err != nil || r.Comment != "Büro — #1: „ssh“" {
		t.Errorf("%q, %v", r.Comment, err)
	}
}

// TestParseRuleRefuses: each mistake is told, one line for all of them, and nothing of the rule is given.
func TestParseRuleRefuses(t *testing.T) {
	for _, c := range []struct {
		text RuleText
		says []string
	}{
		{RuleText{}, []string{`direction "" is neither in nor out`, `action "" is none of ACCEPT, DROP, REJECT`}},
		{RuleText{Direction: "group", Action: "web"}, []string{`direction "group"`, `action "web"`}},
		{RuleText{Proto: "nosuch"}, []string{`proto "nosuch" is none of tcp, udp, sctp`}},
		{RuleText{DPort: "22"}, []string{"dport wants a proto with ports: tcp, udp"}},
		{RuleText{Proto: "icmp", SPort: "8"}, []string{"sport wants a proto with ports"}},
		{RuleText{Proto: "tcp", DPort: "0"}, []string{`"0" is no port: a number from 1 to 65535`}},
		{RuleText{Proto: "tcp", DPort: "65536"}, []string{`"65536" is no port`}},
		{RuleText{Proto: "tcp", DPort: "+22"}, []string{`"+22" is no port`}},
		{RuleText{Proto: "tcp", DPort: "22,"}, []string{`"" is no port`}},
		{RuleText{Proto: "tcp", DPort: "22-80"}, []string{`"22-80" is no port: a number from 1 to 65535, a range 1000:2000`}},
		{RuleText{Proto: "tcp", DPort: "1:2:3"}, []string{`"1:2:3" is no port`}},
		{RuleText{Proto: "tcp", DPort: "2000:1000"}, []string{"the range 2000:1000 does not rise"}},
		{RuleText{Proto: "tcp", DPort: "22:22"}, []string{"the range 22:22 does not rise"}},
		{RuleText{Proto: "tcp", DPort: "ssh"}, []string{`"ssh" is no port`}},
		{RuleText{Proto: "tcp", DPort: "1,2,3,4,5,6,7,8,9,10,11,12,13,14:15,16"}, []string{"dport has 16 ports, a range counted twice; 15 are the most"}},
		{RuleText{Source: "banana"}, []string{`source "banana": "banana" is no address`}},
		{RuleText{Source: "+ipfilter-net0"}, []string{"is no address"}},
		{RuleText{Source: "192.0.2.1,"}, []string{`"" is no address`}},
		{RuleText{Source: "192.0.2.256"}, []string{"is no address"}},
		{RuleText{Source: "10.1.2.3/8"}, []string{"10.1.2.3/8 has bits behind its prefix: the network is 10.0.0.0/8"}},
		{RuleText{Source: "192.0.2.0/33"}, []string{"is no address"}},
		{RuleText{Source: "fe80::1%eth0"}, []string{"is no address"}},
		{RuleText{Source: "::ffff:192.0.2.1"}, []string{"is no address"}},
		{RuleText{Source: "::ffff:192.0.2.0/120"}, []string{"is an IPv4 network in IPv6's form"}},
		{RuleText{Source: "192.0.2.1,2001:db8::1"}, []string{"both families in one rule"}},
		{RuleText{Source: "192.0.2.1,192.0.2.1/32"}, []string{"192.0.2.1 is there twice"}},
		{RuleText{Source: "192.0.2.1", Dest: "2001:db8::/64"}, []string{"source is ipv4 and dest is ipv6: a rule is of one family"}},
		{RuleText{Proto: "icmp", Dest: "2001:db8::/64"}, []string{"proto icmp is ipv4 and dest is ipv6"}},
		{RuleText{Proto: "ipv6-icmp", Source: "192.0.2.1"}, []string{"source is ipv4 and proto ipv6-icmp is ipv6"}},
		{RuleText{Source: "192.0.2.9-192.0.2.1"}, []string{"the range 192.0.2.9-192.0.2.1 does not rise"}},
		{RuleText{Source: "192.0.2.9-"}, []string{"is no range of addresses"}},
		{RuleText{Source: "192.0.2.9-2001:db8::1"}, []string{"has both families"}},
		{RuleText{Source: "192.0.2.1,192.0.2.3-192.0.2.9"}, []string{"the range 192.0.2.3-192.0.2.9 must stand alone"}},
		{RuleText{Source: many(60)}, []string{"characters; 512 are the most of one rule"}},
		{RuleText{Comment: "a\nb"}, []string{"one line of text, without control characters"}},
		{RuleText{Comment: "a\x1b[31m"}, []string{"without control characters"}},
		{RuleText{Comment: "a\u202eb"}, []string{"without control characters"}},
		{RuleText{Comment: "a\xffb"}, []string{"without control characters"}},
		{RuleText{Comment: strings.Repeat("ä", MaxRuleComment+1)}, []string{"comment has 101 characters; 100 are the most"}},
		{RuleText{Proto: "tcp", DPort: "x", Source: "y", Comment: "\x00"}, []string{`"x" is no port`, `"y" is no address`, "comment"}},
	} {
		if c.text.Direction == "" && len(c.says) != 2 {
			c.text.Direction, c.text.Action = "in", "ACCEPT"
		}
		r, err := ParseRule(c.text)
		if !errors.Is(err, ErrInvalid) || r != (Rule{}) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %+v, %v", c.text, r, err)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%+v: %q does not say %q", c.text, err, text)
			}
		}
		if n := strings.Count(err.Error(), "; "); n != len(c.says)-1 && !strings.Contains(err.Error(), "are the most") {
			t.Errorf("%+v: %q says %d things, want %d", c.text, err, n+1, len(c.says))
		}
	}
}

// many are n addresses.
func many(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("198.51.100.%d", i))
	}
	return strings.Join(list, ",")
}

func TestRuleMark(t *testing.T) {
	for _, comment := range []string{"", "ssh", "puqkvm", "puqkvm: twice", ": x"} {
		if got, own := UnmarkComment(MarkedComment(comment)); got != comment || !own {
			t.Errorf("%q: %q, %t", comment, got, own)
		}
	}
	for _, text := range []string{"", "ssh", "puqkvmx", "puqkvm:x", "by puqkvm: x", "puqkvm :"} {
		if got, own := UnmarkComment(text); got != text || own {
			t.Errorf("an administrator's %q: %q, %t", text, got, own)
		}
	}
}

func TestClientFirewall(t *testing.T) {
	product := Firewall{Enable: true, PolicyIn: "ACCEPT", PolicyOut: "DROP"}
	if got := (ClientFirewall{PolicyIn: "REJECT"}).Applied(product); got != (Firewall{Enable: true, PolicyIn: "REJECT", PolicyOut: "DROP"}) {
		t.Errorf("%+v", got)
	}
	for _, text := range []string{"", " \n"} {
		if f, err := ParseClientFirewall([]byte(text)); err != nil || f.PolicyIn+f.PolicyOut != "" || f.Rules != nil {
			t.Errorf("%q: %+v, %v", text, f, err)
		}
	}
	if doc, err := (ClientFirewall{}).JSON(); err != nil || doc != nil {
		t.Errorf("of nothing: %s, %v", doc, err)
	}
	ssh, err := ParseRule(RuleText{Direction: "in", Action: "ACCEPT", Proto: "tcp", Source: "192.0.2.0/24", DPort: "22", Comment: "Büro \"<&>\"", Disabled: true})
	if err != nil {
		t.Fatal(err)
	}
	f := ClientFirewall{PolicyIn: "DROP", Rules: []Rule{ssh, {Direction: "out", Action: "REJECT", Enabled: true, Own: true, Position: 4}}}
	doc, err := f.JSON()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseClientFirewall(doc)
	if err != nil || back.PolicyIn != "DROP" || back.PolicyOut != "" || !slices.EqualFunc(back.Rules, f.Rules, Rule.Same) {
		t.Errorf("%s: %+v, %v", doc, back, err)
	}
	for doc, says := range map[string]string{
		`{`:                     "no document",
		`null`:                  "not one object",
		`[]`:                    "no document",
		`{} {}`:                 "not one object",
		`{"polcy_in":"DROP"}`:   `unknown field "polcy_in"`,
		`{"policy_in":"MAYBE"}`: `policy_in: "MAYBE" is none of ACCEPT`,
		`{"rules":[{"direction":"in","action":"ACCEPT"},{"direction":"in","action":"DROP","macro":"SSH"}]}`:                     "unknown field",
		`{"rules":[{"direction":"in","action":"ACCEPT"},{"direction":"in","action":"DROP","dport":"22"}]}`:                      "rule 1: firewall rule: dport wants a proto",
		`{"rules":[` + strings.Repeat(`{"direction":"in","action":"DROP"},`, MaxRules) + `{"direction":"in","action":"DROP"}]}`: "101 rules; 100 are the most",
	} {
		f, err := ParseClientFirewall([]byte(doc))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) || f.PolicyIn != "" || f.Rules != nil {
			t.Errorf("%.60s: %+v, %v", doc, f, err)
		}
	}
}

// FuzzParseRule: what passes is a rule that passes again as it is, that its own document gives back, and that fits in what
// Proxmox takes; what does not is one line.
func FuzzParseRule(f *testing.F) {
	f.Add("in", "ACCEPT", "tcp", "192.0.2.0/24,198.51.100.7", "192.0.2.1-192.0.2.9", "1000:2000", "80,443", "web", false)
	f.Add("out", "drop", "icmpv6", "2001:DB8::/32", "::1", "", "", " x\u202e", true)
	f.Add("IN", "REJECT", "", "::ffff:1.2.3.4", "10.1.2.3/8", "22:22", "0", "\x00", false)
	f.Fuzz(func(t *testing.T, direction, action, proto, source, dest, sport, dport, comment string, disabled bool) {
		r, err := ParseRule(RuleText{direction, action, proto, source, dest, sport, dport, comment, disabled})
		if err != nil {
			if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "\n") || r != (Rule{}) {
				t.Fatalf("%+v, %q", r, err)
			}
			return
		}
		again, err := ParseRule(RuleText{r.Direction, r.Action, r.Proto, r.Source, r.Dest, r.SPort, r.DPort, r.Comment, !r.Enabled})
		if err != nil || again != r {
			t.Fatalf("%+v is not itself: %+v, %v", r, again, err)
		}
		for _, text := range []string{r.Source, r.Dest, r.SPort, r.DPort} {
			if len(text) > 512 || strings.ContainsAny(text, " \t\r\n#|") {
				t.Fatalf("%+v: %q", r, text)
			}
		}
		if strings.ContainsAny(r.Comment, "\r\n") || strings.TrimSpace(r.Comment) != r.Comment {
			t.Fatalf("comment %q", r.Comment)
		}
		doc, err := ClientFirewall{Rules: []Rule{r}}.JSON()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseClientFirewall(doc)
		if err != nil || len(back.Rules) != 1 || back.Rules[0] != r {
			t.Fatalf("%s: %+v, %v", doc, back, err)
		}
	})
}

// FuzzParseClientFirewall: no document makes it fail in another way than by one line.
func FuzzParseClientFirewall(f *testing.F) {
	f.Add([]byte(`{"policy_in":"DROP","rules":[{"direction":"in","action":"ACCEPT","proto":"tcp","dport":"22"}]}`))
	f.Add([]byte(`{"rules":[{}]} x`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := ParseClientFirewall(doc)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		text, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseClientFirewall(text)
		if err != nil || back.PolicyIn != c.PolicyIn || back.PolicyOut != c.PolicyOut || !slices.Equal(back.Rules, c.Rules) {
			t.Fatalf("%s: %+v, %v", text, back, err)
		}
	})
}
