package pvesim

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

var (
	firewallActions = []string{"ACCEPT", "DROP", "REJECT"}
	netIface        = pattern.New(`^net\d+$`)
)

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

// protocols and services are the commonest names of /etc/protocols and /etc/services; macros are those of
// PVE::Firewall.
var (
	protocols = setOf("ip icmp igmp ggp ipencap st tcp egp igp pup udp hmp xns-idp rdp iso-tp4 dccp xtp ddp idpr-cmtp ipv6 " +
		"ipv6-route ipv6-frag idrp rsvp gre esp ah skip ipv6-icmp icmpv6 ipv6-nonxt ipv6-opts rspf vmtp eigrp ospf ax.25 ipip " +
		"etherip encap pim ipcomp vrrp l2tp isis sctp fc mobility-header udplite mpls-in-ip manet hip shim6 wesp rohc")
	services = setOf("ftp-data ftp ssh telnet smtp time domain tftp http kerberos pop3 sunrpc nntp ntp imap2 snmp " +
		"snmp-trap bgp ldap https submission ldaps imaps pop3s openvpn mysql rdp postgresql sip")
	macros = setOf("Amanda Auth BGP BitTorrent BitTorrent32 CVS Ceph Citrix DAAP DCC DHCPfwd DHCPv6 DNS Distcc FTP Finger " +
		"GNUnet GRE Git HKP HTTP HTTPS ICPV2 ICQ IMAP IMAPS IPIP IPsec IPsecah IPsecnat IRC Jetdirect L2TP LDAP LDAPS MDNS " +
		"MSNP MSSQL Mail Munin MySQL NNTP NNTPS NTP NeighborDiscovery OSPF OpenVPN PCA PMG POP3 POP3S PPtP Ping PostgreSQL " +
		"Printer RDP RIP RNDC Razor Rdate Rsync SANE SMB SMBswat SMTP SMTPS SNMP SPAMD SPICEproxy SSH SVN SixXS Squid " +
		"Submission Syslog TFTP Telnet Telnets Time Trcrt VNC VNCL Web Webcache Webmin Whois")
)

// checkRule is PVE::Firewall's verify_rule for a VM.
func (r *request) checkRule(f *firewall, rule map[string]string) error {
	bad := map[string]string{}
	action := rule["action"]
	switch rule["type"] {
	case "in", "out":
		if !slices.Contains(firewallActions, action) {
			bad["action"] = fmt.Sprintf("unknown action '%s'", action)
		}
	case "group":
	default:
		bad["type"] = fmt.Sprintf("invalid rule type '%s' for rule_env 'vm'", rule["type"])
	}
	if i := rule["iface"]; i != "" && !netIface.MatchString(i) {
		bad["iface"] = `value does not match the regex pattern 'net\d+'`
	}
	if m := rule["macro"]; m != "" && !macros[m] {
		bad["macro"] = fmt.Sprintf("unknown macro '%s'", m)
	}
	for _, port := range []string{"sport", "dport"} {
		if rule[port] != "" && rule["proto"] == "" {
			bad["proto"] = fmt.Sprintf("missing property - '%s' requires this property", port)
		}
	}
	for _, side := range []string{"source", "dest"} {
		if text := r.checkAddress(f, rule[side]); text != "" {
			bad[side] = text
		}
	}
	if len(bad) > 0 {
		return badParams(bad)
	}
	return nil
}

// checkAddress takes lists of addresses, networks, ranges and aliases, or one set that exists; what is not the VM's own
// may be the datacenter's.
func (r *request) checkAddress(f *firewall, spec string) string {
	dc := r.c.firewalls[0]
	if dc == nil {
		dc = newFirewall()
	}
	if set, ok := strings.CutPrefix(spec, "+"); ok {
		own, common := f.sets[strings.TrimPrefix(set, "guest/")], dc.sets[strings.TrimPrefix(set, "dc/")]
		if own == nil && common == nil {
			return fmt.Sprintf("no such ipset '%s'", set)
		}
		return ""
	}
	knows := func(f *firewall, name, scope string) bool {
		_, found := f.aliases[strings.ToLower(strings.TrimPrefix(name, scope))]
		return found
	}
	for item := range strings.FieldsFuncSeq(spec, func(r rune) bool { return r == ',' }) {
		first, last, isRange := strings.Cut(item, "-")
		_, addrErr := netip.ParseAddr(item)
		_, prefixErr := netip.ParsePrefix(item)
		_, firstErr := netip.ParseAddr(first)
		_, lastErr := netip.ParseAddr(last)
		switch {
		case addrErr == nil || prefixErr == nil || isRange && firstErr == nil && lastErr == nil:
		case knows(f, item, "guest/") || knows(dc, item, "dc/"):
		case aliasName.MatchString(item):
			return fmt.Sprintf("no such alias '%s'", item)
		default:
			return fmt.Sprintf("invalid IP address: %s", item)
		}
	}
	return ""
}

// ruleRow is the rule at a position as lists show it.
func (f *firewall) ruleRow(pos int) object {
	row := object{"pos": pos, "digest": f.digest(), "enable": 0}
	for k, v := range f.rules[pos] {
		row[k] = v
		if k == "enable" {
			row[k], _ = strconv.Atoi(v)
		}
	}
	for _, side := range []string{"source", "dest"} {
		first, _, _ := strings.Cut(f.rules[pos][side], ",")
		first, _, _ = strings.Cut(first, "/")
		if addr, err := netip.ParseAddr(first); err == nil {
			row["ipversion"] = 6
			if addr.Is4() {
				row["ipversion"] = 4
			}
		}
	}
	return row
}

func (r *request) ruleList() (any, error) {
	f, rows := r.firewallOf(), []object{}
	for pos := range f.rules {
		rows = append(rows, f.ruleRow(pos))
	}
	return rows, nil
}

// ruleFields are what the request says of a rule.
func (r *request) ruleFields() map[string]string {
	fields := map[string]string{}
	for k, v := range r.vars {
		if !slices.Contains([]string{"node", "vmid", "pos", "digest", "delete", "moveto"}, k) && v != "" {
			fields[k] = v
		}
	}
	return fields
}

// createRule puts the new rule first, whatever position is asked for.
func (r *request) createRule() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	rule := r.ruleFields()
	if rule["enable"] == "" {
		rule["enable"] = "0"
	}
	if err := r.checkRule(f, rule); err != nil {
		return nil, err
	}
	f.rules = slices.Insert(f.rules, 0, rule)
	return nil, nil
}

func (r *request) position(f *firewall) (int, error) {
	pos := r.number("pos", -1)
	if pos < 0 || pos >= len(f.rules) {
		return 0, failure("no rule at position %s", r.str("pos"))
	}
	return pos, nil
}

// readRule shows the position as a string, other than the list.
func (r *request) readRule() (any, error) {
	f := r.firewallOf()
	pos, err := r.position(f)
	if err != nil {
		return nil, err
	}
	row := f.ruleRow(pos)
	row["pos"] = strconv.Itoa(pos)
	return row, nil
}

// updateRule changes fields, or with moveto only moves the rule before the one that is at that position now.
func (r *request) updateRule() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	pos, err := r.position(f)
	if err != nil {
		return nil, err
	}
	if r.has("moveto") {
		to := min(r.number("moveto", 0), len(f.rules))
		rule := f.rules[pos]
		f.rules = slices.Delete(f.rules, pos, pos+1)
		if to > pos {
			to--
		}
		f.rules = slices.Insert(f.rules, to, rule)
		return nil, nil
	}
	changed := map[string]string{}
	for k, v := range f.rules[pos] {
		changed[k] = v
	}
	for _, k := range strings.FieldsFunc(r.str("delete"), isListBreak) {
		delete(changed, k)
	}
	for k, v := range r.ruleFields() {
		changed[k] = v
	}
	if err := r.checkRule(f, changed); err != nil {
		return nil, err
	}
	f.rules[pos] = changed
	return nil, nil
}

func (r *request) deleteRule() (any, error) {
	f, err := r.changeFirewall()
	if err != nil {
		return nil, err
	}
	pos, err := r.position(f)
	if err != nil {
		return nil, err
	}
	f.rules = slices.Delete(f.rules, pos, pos+1)
	return nil, nil
}
