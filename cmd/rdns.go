package cmd

import (
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/spf13/cobra"
)

func newRDNSCmd(a *app) *cobra.Command {
	return group("rdns", "Show and set the reverse names of a VM's addresses", newRDNSListCmd(a), newRDNSSetCmd(a))
}

func newRDNSListCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "list SID", Short: "Show the reverse names of a VM's addresses, and the zones that hold them", Example: "  puqkvm rdns list 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runRDNSList(c.Context(), a, id)
		},
	})
}

// reverseOf is the reverse name of one address.
type reverseOf struct {
	Address string   `json:"address"`
	Name    string   `json:"name"`   // that it shall have
	Chosen  bool     `json:"chosen"` // by rdns set; else it is the VM's own
	Zones   []string `json:"zones"`  // that hold it
	State   string   `json:"state"`  // set, due, or none: it was never written
}

func runRDNSList(ctx context.Context, a *app, id int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	s, err := a.store.Service(ctx, id)
	if err != nil {
		return err
	}
	if err := a.allowed(s, "revdns"); err != nil {
		return err
	}
	zones, err := a.dnsZones(ctx)
	if err != nil {
		return err
	}
	written, err := a.store.DNSRecords(ctx, id)
	if err != nil {
		return err
	}
	out := []reverseOf{}
	t := rows{head: []string{"ADDRESS", "NAME", "CHOSEN BY", "STATE", "ZONES"}}
	for _, c := range s.Addrs {
		_, chosen := s.Reverse[c.Addr]
		r := reverseOf{Address: c.Addr.String(), Name: lifecycle.ReverseName(s, c), Chosen: chosen, Zones: []string{}, State: "none"}
		for i := range zones {
			if dns.Serves(zones[i:i+1], dns.Record{Reverse: true, Name: r.Name, Addr: c.Addr}) {
				r.Zones = append(r.Zones, zones[i].Name+" ["+zones[i].Kind+"]")
			}
		}
		for _, w := range written {
			if w.Reverse && w.Addr == c.Addr && w.Name == r.Name {
				r.State = string(w.State)
			}
		}
		out = append(out, r)
		by := "default"
		if chosen {
			by = "rdns set"
		}
		t.body = append(t.body, []string{r.Address, dash(r.Name), by, r.State, dash(strings.Join(r.Zones, ", "))})
	}
	a.show(out, func() { t.print(a.Stdout) })
	return nil
}

func newRDNSSetCmd(a *app) *cobra.Command {
	var reset bool
	c := &cobra.Command{
		Use: "set SID ADDR NAME", Short: "Give an address of a VM another reverse name",
		Long: `Give an address of a VM another reverse name than the VM's own. It is written at once where a zone holds the address; where none
does, a ticket is opened in the product's department (revdns_department) for somebody to do it. --default gives the VM's name
back.

Exit codes: 0 done; 10 the service is in hand: try again, or the ticket waits in the outbox; 20 bad input, or not this
service's address; 30 no zone holds the address and the product names no department, or a provider refuses the credentials; 40
a provider could not be reached: the name is stored, and "puqkvm dns sync" writes it.`,
		Example: "  puqkvm rdns set 5546 192.0.2.10 mail.example.org\n  puqkvm rdns set 5546 192.0.2.10 --default",
		Args:    atLeast("SID", "ADDR"),
		RunE: func(c *cobra.Command, args []string) error {
			if reset != (len(args) == 2) || len(args) > 3 {
				return usage(c, "wants SID ADDR NAME, or SID ADDR --default")
			}
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			addr, err := netip.ParseAddr(strings.TrimSpace(args[1]))
			if err != nil || addr.Zone() != "" {
				return kvm.Errorf(kvm.ErrInvalid, "%q is no IP address", args[1])
			}
			name := ""
			if !reset {
				if name, err = reverseNameArg(args[2]); err != nil {
					return err
				}
			}
			return runRDNSSet(c.Context(), a, id, addr.Unmap(), name)
		},
	}
	c.Flags().BoolVar(&reset, "default", false, "give the address the VM's own name again")
	return a.forClients(c)
}

// reverseNameArg is a host name as a PTR may have it.
func reverseNameArg(text string) (string, error) {
	name := dns.CanonicalName(text)
	last := name[strings.LastIndex(name, ".")+1:]
	if _, err := strconv.Atoi(last); err == nil || !kvm.ValidDNSName(name) || !strings.Contains(name, ".") || dns.IsReverse(name) {
		return "", kvm.Errorf(kvm.ErrInvalid, "%q is no host name like mail.example.org (a name with umlauts is typed in its xn-- form)", text)
	}
	return name, nil
}

// setReverse is the answer of `rdns set` as JSON.
type setReverse struct {
	Service int64  `json:"service"`
	Address string `json:"address"`
	Name    string `json:"name"`
	Ticket  bool   `json:"ticket"` // no zone holds the address: a ticket was opened
}

func runRDNSSet(ctx context.Context, a *app, id int64, addr netip.Addr, name string) error {
	a.patientDNS = true
	if err := a.open(ctx); err != nil {
		return err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return err
	}
	out := setReverse{Service: id, Address: addr.String()}
	var named lifecycle.Named
	var ticket *kvm.Mail
	err = a.hold(ctx, id, func(ctx context.Context, s *kvm.Service) error {
		if err := a.allowed(s, "revdns"); err != nil {
			return err
		}
		ctx = pipeline.WithSink(ctx, a.textOnly(), a.Clock, id)
		i := slices.IndexFunc(s.Addrs, func(c kvm.Claim) bool { return c.Addr.Unmap() == addr })
		switch {
		case s.Row.Status != kvm.Ready:
			return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d is at %s: its names are set when it is ready", id, s.Row.Status), "puqkvm explain %d", id)
		case i < 0:
			return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "%s is no address of service %d", addr, id), "puqkvm rdns list %d", id)
		}
		zones, err := a.dnsZones(ctx)
		if err != nil {
			return err
		}
		names := maps.Clone(s.Reverse)
		if names == nil {
			names = map[netip.Addr]string{}
		}
		maps.DeleteFunc(names, func(held netip.Addr, _ string) bool {
			return !slices.ContainsFunc(s.Addrs, func(c kvm.Claim) bool { return c.Addr.Unmap() == held })
		})
		if delete(names, addr); name != "" {
			names[addr] = name
		}
		next := *s
		next.Reverse = names
		out.Name = lifecycle.ReverseName(&next, s.Addrs[i])
		if out.Ticket = !dns.Serves(zones, dns.Record{Reverse: true, Name: out.Name, Addr: addr}); out.Ticket {
			if ticket, err = a.reverseTicket(s, addr, out.Name); err != nil {
				return err
			}
		}
		if err := a.store.SetReverseNames(ctx, s, names, ticket); err != nil {
			return err
		}
		if !out.Ticket {
			named = l.SetNames(ctx, s)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	sent := true
	if ticket != nil {
		if sent, err = a.sendTicket(ctx, ticket.Key); err != nil {
			return err
		}
	}
	if named.Problem != nil {
		return named.Problem
	}
	for _, r := range named.Results {
		if r.Err != nil && (r.Op == dns.Reverse && r.Addrs[0] == addr) {
			return dnsFailure(r.Err, "the name of %s is stored, but could not be written: %s", addr, r.Err)
		}
	}
	a.show(out, func() {
		switch {
		case !out.Ticket:
			fmt.Fprintf(a.Stdout, "%s is %s\n", addr, dash(out.Name))
		case sent:
			fmt.Fprintf(a.Stdout, "no DNS zone here holds %s: a ticket asks for the name %s\n", addr, dash(out.Name))
		default:
			fmt.Fprintf(a.Stdout, "no DNS zone here holds %s: a ticket that asks for the name %s waits in the outbox\n", addr, dash(out.Name))
		}
	})
	if !sent {
		return errPrinted{kvm.ErrQueued}
	}
	return nil
}

// reverseTicket asks the product's department for a name that no zone here holds.
func (a *app) reverseTicket(s *kvm.Service, addr netip.Addr, name string) (*kvm.Mail, error) {
	department := s.Package.RevDNSDepartment
	if department == 0 {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "no DNS zone here holds %s, and product %d names no department for a ticket", addr, s.ProductID),
			"puqkvm dns zone add %s --provider …, or puqkvm product set %d revdns_department=ID", dns.ReverseName(addr), s.ProductID)
	}
	now := a.Clock.Now().In(a.settings.Zone)
	key := fmt.Sprintf("rdns:%d:%s:%x:%d", s.ID, whmcs.StoredAddr(addr), crc32.ChecksumIEEE([]byte(name)), now.UnixMicro())
	return &kvm.Mail{ServiceID: s.ID, Action: "OpenTicket", Key: key, Params: map[string]string{
		"deptid": strconv.Itoa(department), "clientid": strconv.FormatInt(s.ClientID, 10), "serviceid": strconv.FormatInt(s.ID, 10),
		"subject": fmt.Sprintf("Reverse DNS of %s: %s (service %d, %s)", addr, name, s.ID, now.Format(time.DateTime)),
		"message": fmt.Sprintf("Please give the address %s the reverse name %s.\n\nPTR record: %s. -> %s.", addr, name, dns.ReverseName(addr), name),
	}}, nil
}

// sendTicket empties the outbox, and says whether the entry key has left it.
func (a *app) sendTicket(ctx context.Context, key string) (bool, error) {
	owner, err := whmcs.NewOwner()
	if err != nil {
		return false, err
	}
	if err := a.deliver(owner)(ctx); err != nil {
		return false, err
	}
	state, err := a.store.MailState(ctx, key)
	return state == kvm.MailSent, err
}
