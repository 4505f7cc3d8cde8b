package kvm

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// RuleText is a rule as a client types it, "" = not said.
type RuleText struct {
	Direction, Action, Proto, Source, Dest, SPort, DPort, Comment string
	Disabled                                                      bool
}

// What a rule may have. Proxmox takes more protocols; these are those that every version of it knows by these names.
var (
	ruleActions     = []string{"ACCEPT", "DROP", "REJECT"}
	protosWithPorts = []string{"tcp", "udp", "sctp", "dccp", "udplite"}
	otherProtos     = []string{"icmp", "ipv6-icmp", "igmp", "gre", "esp", "ah", "ipencap"}
)

// The limits that Proxmox has for a rule's addresses (in characters) and ports (a range counts twice), and ours for a comment.
const (
	maxRuleAddresses = 512
	maxRulePorts     = 15
	MaxRuleComment   = 100
)

// ParseRule reads a rule that a client has typed, as a client's: marked, and in the one form in which it is stored, sent and
// compared. Nothing that Proxmox would refuse passes. What is wrong is ErrInvalid, all of it in one line.
func ParseRule(t RuleText) (Rule, error) {
	r := Rule{Enabled: !t.Disabled, Own: true}
	var problems problems
	switch r.Direction = strings.ToLower(strings.TrimSpace(t.Direction)); r.Direction {
	case "in", "out":
	default:
		problems.addf("direction %s is neither in nor out", quote(t.Direction))
	}
	var err error
	if r.Action, err = ParsePolicy(t.Action); err != nil {
		problems.addf("action %w", err)
	}
	if r.Proto = strings.ToLower(strings.TrimSpace(t.Proto)); r.Proto == "icmpv6" {
		r.Proto = "ipv6-icmp"
	}
	ports := slices.Contains(protosWithPorts, r.Proto)
	if r.Proto != "" && !ports && !slices.Contains(otherProtos, r.Proto) {
		problems.addf("proto %s is none of %s", quote(t.Proto), strings.Join(slices.Concat(protosWithPorts, otherProtos), ", "))
	}
	for _, p := range []struct {
		name, text string
		to         *string
	}{{"sport", t.SPort, &r.SPort}, {"dport", t.DPort, &r.DPort}} {
		if *p.to, err = parsePorts(p.name, p.text); err != nil {
			problems.add(err)
		} else if *p.to != "" && !ports {
			problems.addf("%s wants a proto with ports: %s", p.name, strings.Join(protosWithPorts, ", "))
		}
	}
	families := map[Family]string{}
	for _, a := range []struct {
		name, text string
		to         *string
	}{{"source", t.Source, &r.Source}, {"dest", t.Dest, &r.Dest}} {
		var f Family
		if *a.to, f, err = parseRuleAddresses(a.name, a.text); err != nil {
			problems.add(err)
		} else if f != "" {
			families[f] = a.name
		}
	}
	switch r.Proto {
	case "icmp":
		families[IPv4] = "proto icmp"
	case "ipv6-icmp":
		families[IPv6] = "proto ipv6-icmp"
	}
	if len(families) > 1 {
		problems.addf("%s is %s and %s is %s: a rule is of one family", families[IPv4], IPv4, families[IPv6], IPv6)
	}
	if r.Comment, err = PlainLine("comment", t.Comment, MaxRuleComment); err != nil {
		problems.add(err)
	}
	if err := problems.err("firewall rule"); err != nil {
		return Rule{}, err
	}
	return r, nil
}

// ParsePolicy reads what becomes of a packet: ACCEPT, DROP or REJECT.
func ParsePolicy(text string) (string, error) {
	p := strings.ToUpper(strings.TrimSpace(text))
	if !slices.Contains(ruleActions, p) {
		return "", Errorf(ErrInvalid, "%s is none of %s", quote(text), strings.Join(ruleActions, ", "))
	}
	return p, nil
}

// parsePorts reads 22, 80,443 or 1000:2000, or a list of both. Blanks beside a comma do not count.
func parsePorts(name, text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "", nil
	}
	var out []string
	numbers := 0
	for item := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(item), ":")
		a, ok := portNumber(first)
		b, okLast := a, true
		if isRange {
			b, okLast = portNumber(last)
			numbers++
		}
		numbers++
		switch {
		case !ok || !okLast:
			return "", Errorf(ErrInvalid, "%s %s: %s is no port: a number from 1 to 65535, a range 1000:2000, or a list 80,443", name, quote(text), quote(strings.TrimSpace(item)))
		case isRange && a >= b:
			return "", Errorf(ErrInvalid, "%s %s: the range %s does not rise", name, quote(text), strings.TrimSpace(item))
		case isRange:
			out = append(out, strconv.Itoa(a)+":"+strconv.Itoa(b))
		default:
			out = append(out, strconv.Itoa(a))
		}
	}
	if numbers > maxRulePorts {
		return "", Errorf(ErrInvalid, "%s has %d ports, a range counted twice; %d are the most of one rule", name, numbers, maxRulePorts)
	}
	return strings.Join(out, ","), nil
}

func portNumber(text string) (int, bool) {
	if text == "" || len(text) > 5 || strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 1 && n <= 65535
}

// parseRuleAddresses reads an address, a CIDR, a range, or a list of addresses and CIDRs, all of one family. Proxmox takes no
// range in a list, and no CIDR with bits behind its prefix.
func parseRuleAddresses(name, text string) (string, Family, error) {
	if strings.TrimSpace(text) == "" {
		return "", "", nil
	}
	bad := func(format string, args ...any) (string, Family, error) {
		return "", "", Errorf(ErrInvalid, name+" %s: "+format, append([]any{quote(text)}, args...)...)
	}
	items := strings.Split(text, ",")
	var out []string
	var family Family
	for _, item := range items {
		item = strings.TrimSpace(item)
		canonical, addr, problem := ruleAddress(item)
		switch {
		case problem != "":
			return bad("%s", problem)
		case strings.Contains(canonical, "-") && len(items) > 1:
			return bad("the range %s must stand alone, or be written as CIDRs", item)
		case family != "" && family != FamilyOf(addr):
			return bad("both families in one rule")
		}
		family = FamilyOf(addr)
		if slices.Contains(out, canonical) {
			return bad("%s is there twice", canonical)
		}
		out = append(out, canonical)
	}
	all := strings.Join(out, ",")
	if len(all) > maxRuleAddresses {
		return "", "", Errorf(ErrInvalid, "%s has %d characters; %d are the most of one rule", name, len(all), maxRuleAddresses)
	}
	return all, family, nil
}

// ruleAddress reads one address, CIDR or range, or says what is wrong with it.
func ruleAddress(item string) (canonical string, addr netip.Addr, problem string) {
	plain := func(text string) (netip.Addr, bool) {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		return a, err == nil && a.Zone() == "" && !a.Is4In6()
	}
	first, last, isRange := strings.Cut(item, "-")
	a, okA := plain(first)
	if b, okB := plain(last); isRange && (okA || okB) {
		switch {
		case !okA || !okB:
			return "", a, quote(item) + " is no range of addresses like 192.0.2.10-192.0.2.20"
		case FamilyOf(a) != FamilyOf(b):
			return "", a, "the range " + item + " has both families"
		case !a.Less(b):
			return "", a, "the range " + item + " does not rise"
		}
		return a.String() + "-" + b.String(), a, ""
	}
	if p, err := netip.ParsePrefix(item); err == nil {
		switch {
		case p.Addr().Is4In6():
			return "", p.Addr(), quote(item) + " is an IPv4 network in IPv6's form"
		case p != p.Masked():
			return "", p.Addr(), item + " has bits behind its prefix: the network is " + p.Masked().String()
		case p.IsSingleIP():
			return p.Addr().String(), p.Addr(), ""
		}
		return p.String(), p.Addr(), ""
	}
	if okA && !isRange {
		return a.String(), a, ""
	}
	return "", addr, quote(item) + " is no address like 192.0.2.10, CIDR like 192.0.2.0/24, or range like 192.0.2.10-192.0.2.20"
}
