package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/cron"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/spf13/cobra"
)

func newStatusCmd(a *app) *cobra.Command {
	return group("status", "Set a service's status by hand", newStatusSetCmd(a))
}

func newStatusSetCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "set SID STATUS", Short: "Set a service's status by hand, where that is safe",
		Long: `Set a service's status by hand, where that is safe; cron goes on from there.

  creation, set_ip                          only where no clone was ever sent
  change_package, set_dns_records, ready    only with a VM that is proved to be the service's
  terminate                                 always
  remove                                    only when it is proved that there is no VM: addresses and VMID are freed

Exit codes: 0 done; 10 somebody is at work on the service; 20 refused; 30 the VM is not the service's, or an administrator
must act; 40 Proxmox or the database could not be reached.`,
		Example: "  puqkvm status set 5546 change_package", Args: exactly("SID", "STATUS"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			to := kvm.Status(args[1])
			if err := lifecycle.Settable(to); err != nil {
				return err
			}
			return runStatusSet(c.Context(), a, id, to)
		},
	}
}

// wasSet is the answer as JSON.
type wasSet struct {
	Service int64      `json:"service"`
	From    kvm.Status `json:"from"`
	Status  kvm.Status `json:"status"`
	Freed   []string   `json:"freed,omitempty"` // addresses
}

func runStatusSet(ctx context.Context, a *app, id int64, to kvm.Status) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return err
	}
	var out wasSet
	err = a.hold(ctx, id, func(ctx context.Context, s *kvm.Service) error {
		out = wasSet{Service: id, From: s.Row.Status, Status: to}
		if s.Row.Status == kvm.Remove && (to == kvm.Remove || to == kvm.Terminate) {
			out.Status = kvm.Remove
			return nil
		}
		if err := l.MaySet(ctx, s, to); err != nil {
			return err
		}
		local := a.Clock.Now().In(a.settings.Zone)
		if to != kvm.Remove {
			return a.store.SetStatus(ctx, s, to, local)
		}
		for _, c := range append(s.Addrs, s.Leaving...) {
			out.Freed = append(out.Freed, c.Addr.String())
		}
		return a.store.Terminated(ctx, s, a.settings.VMIDRest, local)
	})
	if errors.Is(err, kvm.ErrAsked) {
		return kvm.WithHint(kvm.Errorf(kvm.ErrBusy, "service %d: %w", id, err), "puqkvm vm show %d", id)
	}
	if err != nil {
		return err
	}
	a.show(out, func() {
		if out.From == kvm.Remove {
			fmt.Fprintf(a.Stdout, "nothing to do: service %d has no VM any more\n", id)
			return
		}
		fmt.Fprintf(a.Stdout, "service %d: %s -> %s\n", id, out.From, out.Status)
		if len(out.Freed) > 0 {
			fmt.Fprintf(a.Stdout, "free: %s\n", strings.Join(out.Freed, ", "))
		}
	})
	return nil
}

// hold does something with a service that nobody else may work on meanwhile.
func (a *app) hold(ctx context.Context, id int64, do func(ctx context.Context, s *kvm.Service) error) error {
	owner, err := whmcs.NewOwner()
	if err != nil {
		return err
	}
	return cron.Hold(ctx, a.store, owner, id, do)
}
