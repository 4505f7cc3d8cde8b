package lifecycle

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const noZone = "skip — no zone"

// Named is what became of a service's records.
type Named struct {
	Results []dns.Result
	// Problem is what of the database keeps it from being known what was tried, nil = it is known.
	Problem error
}

// Failed is how many operations failed.
func (n Named) Failed() (count int) {
	for _, r := range n.Results {
		if r.Err != nil {
			count++
		}
	}
	return count
}

// note is what stands in brackets behind the row's title.
func (n Named) note() string {
	switch failed := n.Failed(); {
	case failed > 0:
		return fmt.Sprintf("%d of %d failed", failed, len(n.Results))
	case len(n.Results) == 0:
		return noZone
	case !slices.ContainsFunc(n.Results, func(r dns.Result) bool { return r.Changed }):
		return noChange
	}
	return ""
}

// configureDNS makes the records of s what they shall be. What a DNS server does never fails the run: what went wrong is told, and
// noted for who mends it. Where the database cannot note it the row is repeated, for nobody would know of the records otherwise.
func (l *Lifecycle) configureDNS(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return named(ctx, l.SetNames(ctx, s))
}

// deleteDNS removes all records of s; what fails is as with configureDNS.
func (l *Lifecycle) deleteDNS(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	tell(ctx, "deleting DNS records")
	return named(ctx, l.removeNames(ctx, s))
}

// renewDNS removes all records of s and makes them anew.
func (l *Lifecycle) renewDNS(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	gone := l.removeNames(ctx, s)
	set := l.SetNames(ctx, s)
	set.Results = append(gone.Results, set.Results...)
	if set.Problem == nil {
		set.Problem = gone.Problem
	}
	return named(ctx, set)
}

// named is a row's result. A run that was told to stop does not pass the row: the next one repeats it.
func named(ctx context.Context, n Named) (pipeline.Result, error) {
	if err := cmp.Or(ctx.Err(), n.Problem); err != nil {
		return pipeline.Result{}, err
	}
	return pipeline.Result{Note: n.note()}, nil
}

// SetNames makes the records of s what its name and addresses ask for, and removes what was written for it before and is not
// wanted any more. Of a service that has ended all is removed; of one that ends, or whose name is not known, what was to go.
func (l *Lifecycle) SetNames(ctx context.Context, s *kvm.Service) Named {
	return l.inDNS(ctx, s, func(known []kvm.DNSRecord) (set, gone []dns.Record) {
		fqdn := FQDN(s)
		phase := s.Row.Status.Phase()
		ending := slices.Contains([]kvm.Phase{kvm.PhaseNone, kvm.PhaseTerminate, kvm.PhaseRedeploy, kvm.PhaseErrorTerminate, kvm.PhaseRemove}, phase)
		if fqdn == "" || ending || ended(s) != "" {
			over := phase == kvm.PhaseNone || phase == kvm.PhaseRemove
			for _, r := range known {
				if over || r.State == kvm.DNSGone {
					gone = append(gone, asRecord(r))
				}
			}
			return nil, gone
		}
		for _, r := range known {
			gone = append(gone, asRecord(r))
		}
		return records(s, fqdn, s.Addrs), append(gone, records(s, fqdn, s.Leaving)...)
	})
}

// removeNames removes what was written for s, and what its name and addresses would ask for.
func (l *Lifecycle) removeNames(ctx context.Context, s *kvm.Service) Named {
	return l.inDNS(ctx, s, func(known []kvm.DNSRecord) (_, gone []dns.Record) {
		for _, r := range known {
			gone = append(gone, asRecord(r))
		}
		if fqdn := FQDN(s); fqdn != "" {
			gone = append(gone, records(s, fqdn, slices.Concat(s.Addrs, s.Leaving))...)
		}
		return nil, gone
	})
}

// FQDN is the host name of s's VM as DNS has it, "" where tblhosting.domain is none.
func FQDN(s *kvm.Service) string {
	name := dns.CanonicalName(s.Domain)
	if !kvm.ValidDNSName(name) || !strings.Contains(name, ".") {
		return ""
	}
	return name
}

// ReverseName is what the address of c shall be called, "" where there is nothing to call it.
func ReverseName(s *kvm.Service, c kvm.Claim) string {
	if name := s.Reverse[c.Addr.Unmap()]; name != "" {
		return name
	}
	return FQDN(s)
}

// records are those that the claims ask for, IPv4 first.
func records(s *kvm.Service, fqdn string, claims []kvm.Claim) []dns.Record {
	var out []dns.Record
	claims = slices.SortedStableFunc(slices.Values(claims), func(a, b kvm.Claim) int { return a.Addr.Unmap().BitLen() - b.Addr.Unmap().BitLen() })
	for _, c := range claims {
		out = append(out, dns.Record{Name: fqdn, Addr: c.Addr.Unmap()})
	}
	for _, c := range claims {
		out = append(out, dns.Record{Reverse: true, Name: ReverseName(s, c), Addr: c.Addr.Unmap()})
	}
	return out
}

func asRecord(r kvm.DNSRecord) dns.Record {
	return dns.Record{Reverse: r.Reverse, Name: r.Name, Addr: r.Addr}
}

// inDNS does what choose says, given what was written for s before. What is about to be written is noted first, so that
// whoever comes after a crash or a failure knows what may be left.
func (l *Lifecycle) inDNS(ctx context.Context, s *kvm.Service, choose func(known []kvm.DNSRecord) (set, gone []dns.Record)) Named {
	if l.DNSZones == nil {
		return Named{}
	}
	zones, err := l.DNSZones(ctx)
	if err != nil || len(zones) == 0 {
		return Named{Problem: err}
	}
	known, err := l.Store.DNSRecords(ctx, s.ID)
	if err != nil {
		return Named{Problem: err}
	}
	set, gone := choose(known)
	gone = slices.DeleteFunc(gone, func(r dns.Record) bool { // another service has it by now
		return slices.ContainsFunc(known, func(k kvm.DNSRecord) bool { return k.Others && asRecord(k) == r })
	})
	ops := dns.Plan(zones, set, unique(gone))
	if len(ops) == 0 && len(known) == 0 {
		return Named{}
	}
	if err := l.Store.NoteDNS(ctx, s.ID, intents(zones, known, set, gone)); err != nil {
		return Named{Problem: err}
	}
	out := Named{}
	_ = pipeline.Waiting(ctx, func() error {
		out.Results = l.DNS.Sync(ctx, ops)
		return nil
	})
	for _, r := range out.Results {
		report(ctx, r)
	}
	open := failures(out.Results)
	for _, k := range known { // those that nobody has tried
		if r := asRecord(k); !k.Others && !slices.Contains(set, r) && !slices.Contains(gone, r) {
			open = append(open, k)
		}
	}
	out.Problem = l.Store.DNSDone(context.WithoutCancel(ctx), s.ID, open)
	if l.ModuleLog != nil && len(out.Results) > 0 {
		request, response := summary(out.Results)
		l.ModuleLog(context.WithoutCancel(ctx), fmt.Sprintf("dns of service %d", s.ID), request, response)
	}
	return out
}

func unique(records []dns.Record) []dns.Record {
	var out []dns.Record
	for _, r := range records {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// intents are what to note before it is done: what is set, and of what goes that which is known already or that a zone takes.
func intents(zones []dns.Zone, known []kvm.DNSRecord, set, gone []dns.Record) []kvm.DNSRecord {
	var out []kvm.DNSRecord
	for _, r := range set {
		if dns.Serves(zones, r) {
			out = append(out, kvm.DNSRecord{Reverse: r.Reverse, Name: r.Name, Addr: r.Addr, State: kvm.DNSDue})
		}
	}
	isKnown := func(r dns.Record) bool {
		return slices.ContainsFunc(known, func(k kvm.DNSRecord) bool { return asRecord(k) == r })
	}
	for _, r := range unique(gone) {
		if !slices.Contains(set, r) && (isKnown(r) || dns.Serves(zones, r)) {
			out = append(out, kvm.DNSRecord{Reverse: r.Reverse, Name: r.Name, Addr: r.Addr, State: kvm.DNSGone})
		}
	}
	for _, k := range known { // another's: there is nothing to remove, but it is not this service's any more
		if r := asRecord(k); k.Others && !slices.Contains(set, r) {
			out = append(out, kvm.DNSRecord{Reverse: r.Reverse, Name: r.Name, Addr: r.Addr, State: kvm.DNSGone})
		}
	}
	return out
}

// failures are the records of operations that failed, in whatever zone.
func failures(results []dns.Result) []kvm.DNSRecord {
	var out []kvm.DNSRecord
	for _, r := range results {
		if r.Err == nil {
			continue
		}
		for _, rec := range r.Records() {
			out = append(out, kvm.DNSRecord{Reverse: rec.Reverse, Name: rec.Name, Addr: rec.Addr})
		}
	}
	return out
}

// report tells the log of one operation.
func report(ctx context.Context, r dns.Result) {
	pipeline.Report(ctx, func(at event.At, service int64, action bool) event.Event {
		return changedEvent(r, at, service, action)
	})
}

func changedEvent(r dns.Result, at event.At, service int64, action bool) event.DNSChanged {
	e := event.DNSChanged{At: at, Service: service, Op: string(r.Op), Provider: r.Zone.Kind, Zone: r.Zone.Name, Host: r.Name, Changed: r.Changed, Action: action}
	for _, a := range r.Addrs {
		e.Addrs = append(e.Addrs, a.String())
	}
	if r.Err != nil {
		e.Error = reason(r)
	}
	return e
}

// reason is why an operation failed, and how to mend it.
func reason(r dns.Result) string {
	if hint := kvm.Hint(r.Err); hint != "" {
		return r.Err.Error() + "; mend: " + hint
	}
	return r.Err.Error()
}

// summary is what WHMCS's module log gets of one row: what was asked for, and what became of it.
func summary(results []dns.Result) (request, response string) {
	var asked, became strings.Builder
	for _, r := range results {
		var addrs []string
		for _, a := range r.Addrs {
			addrs = append(addrs, a.String())
		}
		fmt.Fprintf(&asked, "%s [%s] %s: %s, %s\n", r.Op, r.Zone.Kind, r.Zone.Name, r.Name, strings.Join(addrs, " "))
		switch {
		case r.Err != nil:
			fmt.Fprintf(&became, "ERR %s\n", reason(r))
		case r.Changed:
			became.WriteString("OK\n")
		default:
			became.WriteString("OK, no change\n")
		}
	}
	return asked.String(), became.String()
}
