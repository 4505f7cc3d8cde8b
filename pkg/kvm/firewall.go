package kvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// Rule is a rule of a VM's firewall as Proxmox has it. What a client has made (Own) passed [ParseRule]; an administrator's may
// say more, and its text is Proxmox's own.
type Rule struct {
	Position  int    // in its list, from 0: the first rule that a packet fits decides
	Direction string // in, out; group = the datacenter's security group that Action names
	Action    string // ACCEPT, DROP, REJECT
	Macro     string // "" = none
	Proto     string // "" = every one
	Source    string // address, CIDR, range, or a list; an administrator's may name sets and aliases; "" = every one
	Dest      string
	SPort     string // 22 or 80,443 or 1000:2000; "" = every one
	DPort     string
	ICMPType  string
	Iface     string // net0, …; "" = every one
	Log       string // nolog, emerg … debug; "" = nolog
	Comment   string // without our mark
	Enabled   bool
	Own       bool // it carries our mark: it was made for the client
}

// Same says whether r and other are one rule, wherever they stand.
func (r Rule) Same(other Rule) bool {
	for _, x := range []*Rule{&r, &other} {
		if x.Position = 0; x.Log == "" {
			x.Log = "nolog"
		}
	}
	return r == other
}

// String is r in one line.
func (r Rule) String() string {
	parts := []string{r.Direction, r.Action}
	for _, f := range [][2]string{{"", r.Macro}, {"", r.Proto}, {"from ", r.Source}, {"sport ", r.SPort}, {"to ", r.Dest}, {"dport ", r.DPort},
		{"type ", r.ICMPType}, {"on ", r.Iface}} {
		if f[1] != "" {
			parts = append(parts, f[0]+f[1])
		}
	}
	if !r.Enabled {
		parts = append(parts, "(disabled)")
	}
	return strings.Join(parts, " ")
}

// RuleList is a VM's rules in their order. Digest is Proxmox's of just this list: a change that carries it is refused with
// ErrChanged when the list is another by then. A list without rules has none.
type RuleList struct {
	Rules  []Rule
	Digest string
}

// OwnRules are those of rules that carry our mark, in their order.
func OwnRules(rules []Rule) []Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return !r.Own })
}

// ruleMark is what a client's rule begins its comment with in Proxmox, where nothing else of a rule can say whose it is. It
// is readable, so that an administrator sees in Proxmox's own interface what the rule is; and it names no service, so that a
// rule is still known for what it is when its VM has been copied or restored.
const ruleMark = "puqkvm"

// MarkedComment is a client's comment as it stands in Proxmox.
func MarkedComment(comment string) string {
	if comment == "" {
		return ruleMark
	}
	return ruleMark + ": " + comment
}

// UnmarkComment says whether a comment as it stands in Proxmox carries our mark, and what it is without.
func UnmarkComment(text string) (comment string, own bool) {
	if text == ruleMark {
		return "", true
	}
	return strings.CutPrefix(text, ruleMark+": ")
}

// ClientFirewall is what the client has made of its VM's firewall: it outlives the VM, which a reinstall destroys. The zero
// value is a client that has made nothing.
type ClientFirewall struct {
	PolicyIn  string // ACCEPT, DROP, REJECT; "" = the product's
	PolicyOut string
	Rules     []Rule // in their order; Position is of no meaning
}

// MaxRules is how many rules a client may have: each is a request of its own when a VM is made anew.
const MaxRules = 100

// Applied is the product's firewall with the client's policies.
func (f ClientFirewall) Applied(product Firewall) Firewall {
	if f.PolicyIn != "" {
		product.PolicyIn = f.PolicyIn
	}
	if f.PolicyOut != "" {
		product.PolicyOut = f.PolicyOut
	}
	return product
}

// clientDoc is how a ClientFirewall is stored.
type clientDoc struct {
	PolicyIn  string    `json:"policy_in,omitempty"`
	PolicyOut string    `json:"policy_out,omitempty"`
	Rules     []ruleDoc `json:"rules,omitempty"`
}

type ruleDoc struct {
	Direction string `json:"direction"`
	Action    string `json:"action"`
	Proto     string `json:"proto,omitempty"`
	Source    string `json:"source,omitempty"`
	Dest      string `json:"dest,omitempty"`
	SPort     string `json:"sport,omitempty"`
	DPort     string `json:"dport,omitempty"`
	Comment   string `json:"comment,omitempty"`
	Disabled  bool   `json:"disabled,omitempty"`
}

// JSON is the document to store, nil where the client has made nothing.
func (f ClientFirewall) JSON() ([]byte, error) {
	if f.PolicyIn == "" && f.PolicyOut == "" && len(f.Rules) == 0 {
		return nil, nil
	}
	doc := clientDoc{PolicyIn: f.PolicyIn, PolicyOut: f.PolicyOut}
	for _, r := range f.Rules {
		doc.Rules = append(doc.Rules, ruleDoc{Direction: r.Direction, Action: r.Action, Proto: r.Proto, Source: r.Source, Dest: r.Dest,
			SPort: r.SPort, DPort: r.DPort, Comment: r.Comment, Disabled: !r.Enabled})
	}
	return json.Marshal(doc)
}

// ParseClientFirewall reads what JSON has written; an empty document is a client that has made nothing. What is wrong is
// ErrInvalid and all of it: a rule that is read only in part would let through what it was made to keep out.
func ParseClientFirewall(doc []byte) (ClientFirewall, error) {
	var f ClientFirewall
	if len(bytes.TrimSpace(doc)) == 0 {
		return f, nil
	}
	var stored *clientDoc
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(&stored); err != nil {
		return f, Errorf(ErrInvalid, "no document of a client's firewall: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || stored == nil {
		return f, Errorf(ErrInvalid, "no document of a client's firewall: it is not one object")
	}
	var problems problems
	for _, p := range []struct {
		name, text string
		to         *string
	}{{"policy_in", stored.PolicyIn, &f.PolicyIn}, {"policy_out", stored.PolicyOut, &f.PolicyOut}} {
		if p.text == "" {
			continue
		}
		var err error
		if *p.to, err = ParsePolicy(p.text); err != nil {
			problems.addf("%s: %w", p.name, err)
		}
	}
	if len(stored.Rules) > MaxRules {
		problems.addf("%d rules; %d are the most", len(stored.Rules), MaxRules)
	}
	for i, r := range stored.Rules {
		rule, err := ParseRule(RuleText(r))
		if err != nil {
			problems.addf("rule %d: %w", i, err)
		}
		f.Rules = append(f.Rules, rule)
	}
	if err := problems.err("a client's firewall"); err != nil {
		return ClientFirewall{}, err
	}
	return f, nil
}
