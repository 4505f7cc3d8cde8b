package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/spf13/cobra"
)

func newAdoptCmd(a *app) *cobra.Command {
	var all, plan bool
	var earlier []string
	c := &cobra.Command{
		Use: "adopt SID", Short: "Take over a VM that the PHP module made",
		Long: `Take over a VM that the PHP module made: look whether its name, MAC and addresses (ipconfig0, and the IPSet where there is
one) are those of the service, then store its SMBIOS UUID, which proves from then on whose it is, claim its addresses, reserve
its VMID, and note its backups. Neither Proxmox nor WHMCS's own tables are changed.

A VM that differs is refused, with what differs: make name, MAC and addresses agree, and ask again. With --uuid the UUIDs that
the VM had before, when it was restored or made anew, become the service's too, and so do their backups.

Exit codes: 0 adopted, or adopted already; 10 somebody is at work on the service, or Proxmox on the VM; 20 there is nothing
to adopt; 30 the VM differs, or another service has it or one of its addresses; 40 Proxmox or the database could not be
reached. With --all: 30 when any was refused.`,
		Example: "  puqkvm adopt 5546\n  puqkvm adopt --all --plan",
		Args: func(c *cobra.Command, args []string) error {
			if all {
				return exactly()(c, args)
			}
			return exactly("SID")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			for _, uuid := range earlier {
				if !kvm.ValidUUID(uuid) {
					return kvm.Errorf(kvm.ErrInvalid, "--uuid %q is no UUID", uuid)
				}
			}
			if all {
				return runAdoptAll(c.Context(), a, plan)
			}
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runAdopt(c.Context(), a, id, earlier, plan)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every service whose VM nobody has adopted; one that is refused does not stop the others")
	c.Flags().BoolVar(&plan, "plan", false, "look, and change nothing")
	c.Flags().StringSliceVar(&earlier, "uuid", nil, "a UUID that the VM had before (may be repeated)")
	oneOf(c, "all", "uuid")
	return c
}

// adopted is what became of one service.
type adopted struct {
	Service   int64    `json:"service"`
	VMID      int      `json:"vmid"`
	Node      string   `json:"node,omitempty"`
	Result    string   `json:"result"` // adopted, plan, nothing, refused
	UUID      string   `json:"uuid,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Disk      string   `json:"disk,omitempty"`
	Backups   []string `json:"backups,omitempty"`
	Note      string   `json:"note,omitempty"`
	Error     string   `json:"error,omitempty"`
	Hint      string   `json:"hint,omitempty"`
}

func (r adopted) String() string {
	text := "UUID " + r.UUID
	if len(r.Addresses) > 0 {
		text += "; addresses " + strings.Join(r.Addresses, ", ")
	}
	if r.Disk != "" {
		text += "; additional disk " + r.Disk
	}
	if len(r.Backups) > 0 {
		text += fmt.Sprintf("; backups: %d", len(r.Backups))
	}
	if r.Note != "" {
		text += "; " + r.Note
	}
	return text
}

// adopt takes one VM over, or with plan only looks whether it could.
func (a *app) adopt(ctx context.Context, l *lifecycle.Lifecycle, id int64, earlier []string, plan bool) (adopted, error) {
	out := adopted{Service: id, Result: "adopted"}
	do := func(ctx context.Context, s *kvm.Service) error {
		out.VMID = s.Row.VMID
		if s.Row.UUID != "" && len(earlier) == 0 {
			out.Result, out.UUID, out.Node = "nothing", s.Row.UUID, s.Row.Node
			return nil
		}
		stored, err := a.store.HostingAddresses(ctx, id)
		if err != nil {
			return err
		}
		pools, err := a.store.ServerPools(ctx, s.Row.ServerID)
		if err != nil {
			return err
		}
		took, err := l.Adoption(ctx, s, stored, pools, earlier)
		if err != nil {
			return err
		}
		if err := a.store.Adopt(ctx, s, took, plan); err != nil {
			return err
		}
		out.Node, out.UUID, out.Disk, out.Note = took.Row.Node, took.Row.UUID, took.Row.DiskSlot, took.Note
		for _, c := range took.Addrs {
			out.Addresses = append(out.Addresses, c.Addr.String())
		}
		for _, b := range took.Backups {
			out.Backups = append(out.Backups, b.Volume)
		}
		return nil
	}
	if !plan {
		return out, a.hold(ctx, id, do)
	}
	out.Result = "plan"
	s, err := a.store.Service(ctx, id)
	if err != nil {
		return out, err
	}
	return out, do(ctx, s)
}

func runAdopt(ctx context.Context, a *app, id int64, earlier []string, plan bool) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return err
	}
	out, err := a.adopt(ctx, l, id, earlier, plan)
	if err != nil {
		return err
	}
	a.show(out, func() {
		switch out.Result {
		case "nothing":
			fmt.Fprintf(a.Stdout, "nothing to do: the UUID of VM %d of service %d is stored: %s\n", out.VMID, id, out.UUID)
		case "plan":
			fmt.Fprintf(a.Stdout, "service %d: VM %d on %s would be adopted: %s\n", id, out.VMID, out.Node, out)
		default:
			fmt.Fprintf(a.Stdout, "service %d: VM %d on %s is adopted: %s\n", id, out.VMID, out.Node, out)
		}
	})
	return nil
}

// runAdoptAll adopts what can be. Its error is the worst: a refusal before what another try may mend.
func runAdoptAll(ctx context.Context, a *app, plan bool) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return err
	}
	ids, err := a.store.Unadopted(ctx)
	if err != nil {
		return err
	}
	out := []adopted{}
	var refused, later error
	t := rows{head: []string{"SID", "VM", "NODE", "RESULT", "WHAT"}}
	for _, id := range ids {
		r, err := a.adopt(ctx, l, id, nil, plan)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		what := r.String()
		if err != nil {
			r.Error, r.Hint = oneLine(err.Error()), kvm.Hint(err)
			if what = r.Error; r.Hint != "" {
				what += " — " + r.Hint
			}
			switch code := exitCode(err); code {
			case exitQueued, exitUnknown:
				r.Result, later = "later", err
			default:
				r.Result, refused = "refused", kvm.Errorf(kvm.ErrAdmin, "refused")
			}
		}
		out = append(out, r)
		t.body = append(t.body, []string{strconv.FormatInt(id, 10), strconv.Itoa(r.VMID), dash(r.Node), r.Result, what})
	}
	a.show(out, func() {
		if len(out) == 0 {
			fmt.Fprintln(a.Stdout, "nothing to do: the UUID of every VM is stored")
			return
		}
		t.print(a.Stdout)
	})
	if refused == nil {
		refused = later
	}
	if refused != nil {
		return errPrinted{refused}
	}
	return nil
}
