package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/cron"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

// welcomeTemplate is WHMCS's own mail, spelled as the PHP module's users have it.
const welcomeTemplate = "puqProxmoxVKM Welcome Email"

func newCreateCmd(a *app) *cobra.Command {
	var welcome, wait bool
	c := &cobra.Command{
		Use:   "create SID",
		Short: "Queue the VM of a service (WHMCS's CreateAccount)",
		Long: `Queue the VM of a service: check its product, name the VM, reserve a VMID, and return. Proxmox is not asked; cron does
the rest.

Exit codes: 10 queued, or in hand already; 20 the service or its product cannot have a VM, or it has one; 30 no template
is set, or an earlier terminate failed; 40 the database could not be reached; 0 with --wait, when the VM is ready.`,
		Example: "  puqkvm create 5546\n  puqkvm create 5546 --wait",
		Args:    exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runCreate(c.Context(), a, id, welcome, wait)
		},
	}
	c.Flags().BoolVar(&welcome, "welcome", false, fmt.Sprintf("send the mail %q, which WHMCS sends where it is the caller", welcomeTemplate))
	c.Flags().BoolVar(&wait, "wait", false, "see it through: walk the service until it is ready or stops")
	return c
}

func runCreate(ctx context.Context, a *app, id int64, welcome, wait bool) error {
	open := a.openToQueue
	if wait {
		open = a.open
	}
	if err := open(ctx); err != nil {
		return err
	}
	now := a.Clock.Now().In(a.settings.Zone)
	var mail *kvm.Mail
	if welcome {
		mail = &kvm.Mail{ServiceID: id, Action: "SendEmail", Template: welcomeTemplate, Key: fmt.Sprintf("welcome:%d:%d", id, now.UnixMicro())}
	}
	s, err := a.store.Create(ctx, id, now, mail)
	if err != nil && !(wait && errors.Is(err, kvm.ErrQueued)) {
		return err
	}
	if wait {
		return a.seeThrough(ctx, id)
	}
	a.show(map[string]any{"service": id, "vmid": s.Row.VMID, "name": s.Row.Name, "status": s.Row.Status}, func() {
		fmt.Fprintf(a.Stdout, "service %d is queued: VM %d, %s; cron goes on with it\n", id, s.Row.VMID, s.Row.Name)
	})
	return errPrinted{kvm.ErrQueued}
}

// seeThroughPause is the pause between two looks at a service that waits.
const seeThroughPause = 5 * time.Second

// seeThrough walks the service as cron would, until it is ready or an error stops it.
func (a *app) seeThrough(ctx context.Context, id int64) error {
	return a.seeThroughTo(ctx, id, atReady)
}

// seeThroughTo is seeThrough until done says that the status is what was waited for.
func (a *app) seeThroughTo(ctx context.Context, id int64, done func(kvm.Status) bool) error {
	a.stream = true
	p, err := a.process(ctx, id)
	if err != nil {
		return err
	}
	t, err := a.cron(ctx, id)
	if err != nil {
		return err
	}
	for {
		report, err := p.Run(ctx, t.Sink)
		if err != nil {
			return err
		}
		s, err := a.store.Service(ctx, id)
		switch {
		case err != nil:
			return err
		case s.Row.Status == kvm.ErrorTerminate && report.Errors > 0:
			return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "service %d is at %s: %s", id, s.Row.Status, s.Row.Message), "puqkvm explain %d", id)
		case s.Row.Status == kvm.ErrorRestore && report.Errors > 0:
			return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "service %d is at %s: %s", id, s.Row.Status, lastWord(s, report)), "puqkvm explain %d", id)
		case done(s.Row.Status) && report.Errors > 0: // it was refused, and the service is where it was
			return fmt.Errorf("service %d: %s", id, lastWord(s, report))
		case done(s.Row.Status):
			return nil
		case report.Errors > 0:
			return waitingError(id, s, report)
		}
		if err := a.Clock.Sleep(ctx, seeThroughPause); err != nil {
			return kvm.Errorf(kvm.ErrQueued, "service %d is at %s; cron goes on with it", id, s.Row.Status)
		}
	}
}

func waitingError(id int64, s *kvm.Service, report cron.Report) error {
	return kvm.Errorf(kvm.ErrQueued, "service %d is at %s: %s; cron tries again", id, s.Row.Status, lastWord(s, report))
}

// lastWord is why the service's run stopped.
func lastWord(s *kvm.Service, report cron.Report) string {
	message := s.Row.Message
	for _, r := range report.Results {
		message = r.Message
	}
	return message
}
