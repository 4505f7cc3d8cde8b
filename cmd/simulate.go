package cmd

import (
	"context"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

func newSimulateCmd(a *app) *cobra.Command {
	var listen, version, control string
	var speed float64
	c := &cobra.Command{
		Use: "simulate", Short: "Serve a simulated Proxmox VE cluster",
		Long: `Serve a simulated Proxmox VE cluster of two nodes with a template, for trying things out: nothing in it is real, and it is
gone when the command ends. Address, token, password and fingerprint are printed first.

With --control it can be made to fail while it runs: faults of single calls by path, VM and rate, nodes that go down, full
storages, locks, lost quorum. That address speaks plain HTTP and JSON and asks for no password, so it must be a loopback
address; curl http://127.0.0.1:8007/ tells all of it.`,
		Example: "  puqkvm simulate --listen 127.0.0.1:8006\n  puqkvm simulate --listen 127.0.0.1:8006 --pve 7.4-17 --speed 10\n" +
			"  puqkvm simulate --control 127.0.0.1:8007", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			return runSimulate(c.Context(), a, listen, control, version, speed)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8006", "address to serve at")
	c.Flags().StringVar(&control, "control", "", "loopback address to control it at; empty for none")
	c.Flags().StringVar(&version, "pve", "8.4.21", "version of Proxmox VE to simulate: 7.4-17, 8.4.21, 9.2.11")
	c.Flags().Float64Var(&speed, "speed", 1, "how many times faster than real its tasks run")
	return c
}

// simulated are the credentials of a simulated cluster.
type simulated struct {
	Address     string `json:"address"`
	Fingerprint string `json:"fingerprint"`
	Token       string `json:"token"`
	Secret      string `json:"secret"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Control     string `json:"control,omitempty"`
}

func runSimulate(ctx context.Context, a *app, listen, control, version string, speed float64) error {
	if speed <= 0 {
		return kvm.Errorf(kvm.ErrInvalid, "--speed %g: must be more than 0", speed)
	}
	sim, creds, err := newSimulated(version, clock.NewScaled(a.Clock.Now(), speed))
	if err != nil {
		return err
	}
	server, err := sim.ServeTLS(listen)
	if err != nil {
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "simulate: --listen %q: %w", listen, err), "puqkvm simulate --listen 127.0.0.1:0")
	}
	defer server.Close()
	if control != "" {
		ctl, err := sim.ServeControl(control)
		if err != nil {
			return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "simulate: --control: %w", err), "puqkvm simulate --control 127.0.0.1:8007")
		}
		defer ctl.Close()
		creds.Control = ctl.Addr
	}
	creds.Address, creds.Fingerprint = server.Addr, server.Fingerprint
	a.show(creds, func() {
		fmt.Fprintf(a.Stdout, "Proxmox VE %s, simulated, at https://%s\n", version, creds.Address)
		fmt.Fprintf(a.Stdout, "token       %s\nsecret      %s\nuser        %s\npassword    %s\nfingerprint %s\n", creds.Token, creds.Secret, creds.User, creds.Password, creds.Fingerprint)
		if creds.Control != "" {
			fmt.Fprintf(a.Stdout, "control     http://%s\n", creds.Control)
		}
		fmt.Fprintln(a.Stdout, "Ctrl-C ends it.")
	})
	<-ctx.Done()
	return nil
}
