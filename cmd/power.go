package cmd

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

func newPowerCmd(a *app, v kvm.Verb, short, long string, table func(*lifecycle.Lifecycle) *pipeline.Pipeline) *cobra.Command {
	name := string(v)
	return a.forClients(&cobra.Command{
		Use:   name + " SID",
		Short: short,
		Long: long + `

It is done at once. Exit codes: 0 done; 10 something else is in hand, or Proxmox has locked the VM: try again; 20 refused in
this state; 30 the VM is not proved to be the service's; 40 Proxmox or the database could not be reached; 1 it does not
` + name + `.`,
		Example: "  puqkvm " + name + " 5546",
		Args:    exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runPower(c.Context(), a, id, v, table)
		},
	})
}

func powerCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newPowerCmd(a, kvm.VerbStart, "Start the VM", "Start the VM of a service, and see it run. A suspended one is not started.", (*lifecycle.Lifecycle).StartNow),
		newPowerCmd(a, kvm.VerbStop, "Stop the VM", `Ask the guest to shut down; when that takes longer than the setting stop.graceful, switch the VM off.`, (*lifecycle.Lifecycle).StopNow),
	}
}

func runPower(ctx context.Context, a *app, id int64, v kvm.Verb, table func(*lifecycle.Lifecycle) *pipeline.Pipeline) error {
	if err := a.atOnce(ctx, id, v, string(v), table); err != nil {
		return err
	}
	state := map[kvm.Verb]kvm.Power{kvm.VerbStart: kvm.Running, kvm.VerbStop: kvm.Stopped}[v]
	a.show(map[string]any{"service": id, "power": state}, func() { fmt.Fprintf(a.Stdout, "service %d: the VM is %s\n", id, state) })
	return nil
}
