package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/puqkvm/puqkvm/pkg/transcript"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/spf13/cobra"
)

func newDNSSyncCmd(a *app) *cobra.Command {
	var all, failed bool
	c := &cobra.Command{
		Use: "sync SID | --all | --failed", Short: "Make the DNS records of services what they shall be",
		Long: `Make the DNS records of a service what its name and addresses ask for, and remove what a provider that was down has kept of
it; also of a service that has ended. A line for each operation. --all does it for every service, --failed for those of which
an operation has failed. Providers have five minutes for a service (or dns.timeout, where that is more).

Exit codes: 0 all is as it shall be; 10 a service is in hand: try again; 20 no such service, or a record was refused; 30 a
provider refuses the credentials, or its settings cannot be used; 40 a provider could not be reached.`,
		Example: "  puqkvm dns sync 5546\n  puqkvm dns sync --failed",
		Args: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (all || failed) || len(args) > 1 {
				return usage(c, "wants SID, --all or --failed")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var id int64
			if len(args) == 1 {
				var err error
				if id, err = parseID("service", args[0]); err != nil {
					return err
				}
			}
			return runDNSSync(c.Context(), a, id, all)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every service")
	c.Flags().BoolVar(&failed, "failed", false, "the services of which an operation has failed")
	oneOf(c, "all", "failed")
	return c
}

// runDNSSync syncs the service id, or all, or those that are not finished.
func runDNSSync(ctx context.Context, a *app, id int64, all bool) error {
	a.patientDNS = true
	if err := a.open(ctx); err != nil {
		return err
	}
	zones, err := a.dnsZones(ctx)
	if err != nil {
		return err
	}
	if len(zones) == 0 {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "no DNS zone is configured"), "puqkvm dns zone add --help")
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return err
	}
	if id != 0 {
		n, err := a.syncNames(ctx, l, id)
		if err != nil {
			return err
		}
		return a.syncEnd([]lifecycle.Named{n})
	}
	list := a.store.UnfinishedDNS
	if all {
		list = a.store.NamedServices
	}
	ids, err := list(ctx)
	if err != nil {
		return err
	}
	var done []lifecycle.Named
	var busy error // the last that is in hand; the others are told as they come
	for _, id := range ids {
		n, err := a.syncNames(ctx, l, id)
		if errors.Is(err, kvm.ErrBusy) {
			if busy != nil {
				a.warn(busy.Error())
			}
			busy = err
			continue
		}
		if err != nil {
			return err
		}
		done = append(done, n)
	}
	if err := a.syncEnd(done); err != nil {
		if busy != nil {
			a.warn(busy.Error())
		}
		return err
	}
	return busy
}

// syncNames syncs one service, under its claim, and prints a line for each operation.
func (a *app) syncNames(ctx context.Context, l *lifecycle.Lifecycle, id int64) (out lifecycle.Named, err error) {
	ctx = pipeline.WithSink(ctx, a.dnsLines(), a.Clock, id)
	err = a.hold(ctx, id, func(ctx context.Context, s *kvm.Service) error {
		out = l.SetNames(ctx, s)
		return ctx.Err()
	})
	if errors.Is(err, kvm.ErrNotFound) { // its row is gone; what was written for it may not be
		if left, lerr := a.store.DNSRecords(ctx, id); lerr != nil || len(left) > 0 {
			return l.SetNames(ctx, &kvm.Service{ID: id}), lerr
		}
	}
	return out, err
}

// dnsLines prints operations as the log does, without the moment.
func (a *app) dnsLines() event.Sink {
	return event.SinkFunc(func(e event.Event) {
		d, ok := e.(event.DNSChanged)
		if !ok {
			return
		}
		if a.output == "json" {
			if line, err := json.Marshal(d); err == nil {
				a.printJSON(json.RawMessage(line))
			}
			return
		}
		fmt.Fprintf(a.Stdout, "service %d: %s\n", d.Service, transcript.DNSText(d))
	})
}

// textOnly is dnsLines, and nothing where the answer is to be one JSON object.
func (a *app) textOnly() event.Sink {
	if a.output == "json" {
		return event.SinkFunc(func(event.Event) {})
	}
	return a.dnsLines()
}

// syncEnd tells the sum, and is the error of what failed.
func (a *app) syncEnd(done []lifecycle.Named) error {
	operations, failed := 0, 0
	var first error
	for _, n := range done {
		operations, failed = operations+len(n.Results), failed+n.Failed()
		if n.Problem != nil {
			return n.Problem
		}
		for _, r := range n.Results {
			if first == nil {
				first = r.Err
			}
		}
	}
	if failed > 0 {
		return dnsFailure(first, "%d of %d DNS operations failed", failed, operations)
	}
	if a.output != "json" {
		fmt.Fprintf(a.Stdout, "%d services, %d DNS operations, all well\n", len(done), operations)
	}
	return nil
}

// dnsFailure is an error of the class of err, which was told already.
func dnsFailure(err error, format string, args ...any) error {
	class := kvm.ErrRefused
	switch {
	case errors.Is(err, kvm.ErrAuth), errors.Is(err, kvm.ErrDenied), errors.Is(err, kvm.ErrAdmin), errors.Is(err, kvm.ErrInvalid):
		class = kvm.ErrAdmin
	case dnsUnreachable(err):
		class = kvm.ErrUnknown
	}
	return kvm.WithHint(kvm.Errorf(class, format, args...), "mend what the lines say, then puqkvm dns sync --failed")
}

func dnsUnreachable(err error) bool {
	return errors.Is(err, kvm.ErrUnreachable) || errors.Is(err, kvm.ErrUnknown) || errors.Is(err, kvm.ErrBusy) || errors.Is(err, context.DeadlineExceeded)
}

func newDNSExportCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Print all names and addresses as JSON, for a DNS system of your own",
		Long:    `Print the names and addresses of all VMs as one JSON list, as the PHP module's dns.php does: [{"forward","ip","reverse"}].`,
		Example: "  puqkvm dns export", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runDNSExport(c.Context(), a) },
	}
}

// exportedName is an entry of `dns export`; the keys are those of the PHP module's dns.php.
type exportedName struct {
	Forward string `json:"forward"`
	IP      string `json:"ip"`
	Reverse string `json:"reverse"`
}

func runDNSExport(ctx context.Context, a *app) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	entries, err := a.store.DNSEntries(ctx)
	if err != nil {
		return err
	}
	out := []exportedName{}
	for _, e := range entries {
		out = append(out, exportedName{e.Domain, whmcs.StoredAddr(e.Addr), e.Reverse})
	}
	a.printJSON(out)
	return nil
}
