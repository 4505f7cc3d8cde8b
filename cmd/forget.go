package cmd

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

// forgetWord is what --confirm wants.
const forgetWord = "FORGET"

func newVMForgetCmd(a *app) *cobra.Command {
	var confirm string
	c := &cobra.Command{
		Use: "forget SID --confirm FORGET", Short: "Remove the row of a VM that is at remove or error_terminate",
		Long: `Remove the row of a service that is at remove or error_terminate. Proxmox is not asked: a VM that stands there goes on
standing, and nothing here knows of it any more. The addresses that the service still has stay out of use until somebody
releases them by hand, and its VMID rests.

Exit codes: 0 done; 20 no such row, or at another status; 40 the database could not be reached.`,
		Example: "  puqkvm vm forget 5546 --confirm FORGET", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			if confirm != forgetWord {
				return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "nothing will know of the VM of service %d any more: forget wants --confirm %s", id, forgetWord),
					"puqkvm vm forget %d --confirm %s", id, forgetWord)
			}
			return runVMForget(c.Context(), a, id)
		},
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the word "+forgetWord)
	return c
}

// forgotten is the answer as JSON.
type forgotten struct {
	Service     int64    `json:"service"`
	Quarantined []string `json:"quarantined"`
}

func runVMForget(ctx context.Context, a *app, id int64) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	kept, err := a.store.Forget(ctx, id, a.settings.VMIDRest)
	if err != nil {
		return err
	}
	out := forgotten{Service: id, Quarantined: []string{}}
	for _, addr := range kept {
		out.Quarantined = append(out.Quarantined, addr.String())
	}
	a.show(out, func() {
		fmt.Fprintf(a.Stdout, "service %d is forgotten\n", id)
		for _, addr := range out.Quarantined {
			fmt.Fprintf(a.Stdout, "%s stays out of use; when no VM uses it: puqkvm ippool release %s --confirm\n", addr, addr)
		}
	})
	return nil
}
