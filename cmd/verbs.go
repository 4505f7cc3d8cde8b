package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/spf13/cobra"
)

// verb is a row of the table of verbs that are queued and done by cron.
type verb struct {
	verb    kvm.Verb
	short   string
	long    string
	confirm string // the word that --confirm wants, "" = none
	// done says when a shell that waits has waited enough.
	done func(kvm.Status) bool
	may  string // the product's permission that a client needs, "" = no client asks for it
}

func atReady(s kvm.Status) bool { return s == kvm.Ready }

func gone(s kvm.Status) bool { return s == kvm.Remove || s == kvm.ErrorTerminate }

// queuedVerbs are the verbs that cron does, step by step.
func queuedVerbs() []verb {
	return []verb{
		{verb: kvm.VerbChangePackage, short: "Make the VM what its package has become (WHMCS's ChangePackage)", done: atReady,
			long: `Make the VM what the product and the configurable options of its service ask for now: addresses, CPU, RAM, disks, limits,
network, firewall. What is equal already is left alone, disks never shrink. The VM is stopped once and started again.`},
		{verb: kvm.VerbSuspend, short: "Stop the VM and keep it from running (WHMCS's SuspendAccount)", done: atReady,
			long: `Stop the VM and keep it from running: it is not started by anything of ours, nor with its node, until unsuspend.`},
		{verb: kvm.VerbUnsuspend, short: "Let the VM run again, and start it (WHMCS's UnsuspendAccount)", done: atReady,
			long: `Let the VM run again, and start it.`},
		{verb: kvm.VerbTerminate, short: "Destroy the VM and free what it holds (WHMCS's TerminateAccount)", done: gone,
			long: `Stop the VM, delete its DNS records, destroy it, remove its backups, and free its addresses. A VM that is proved to be
gone needs no destroying; one that cannot be seen is waited for. What waiting cannot mend (protection, a VM that is not the
service's, a privilege) ends at error_terminate: nothing is freed, and an administrator must act.`},
		{verb: kvm.VerbReinstall, confirm: "REINSTALL", may: "reinstall", short: "Make the VM anew from a template", done: atReady,
			long: `Destroy the VM and make it anew. Its addresses, MAC, VLAN and backups stay, and its VMID where nobody else takes it. All
other data on its disks are lost. Whether it can be made anew is checked first.`},
		{verb: kvm.VerbResetPassword, may: "reset_password", short: "Give the guest a new password", done: atReady,
			long: `Give the guest a new random password, store it in WHMCS, and mail it. Where the guest agent answers nothing is stopped; else
the VM is stopped and started.`},
		{verb: kvm.VerbRedeploy, confirm: "REDEPLOY", short: "Destroy the VM and begin again at creation", done: atReady,
			long: `Destroy the VM, release its addresses, and begin again at creation, with a new VMID. All data on its disks are lost.`},
	}
}

func newVerbCmd(a *app, v verb) *cobra.Command {
	var wait bool
	var confirm string
	w := kvm.Wish{Verb: v.verb}
	name := string(v.verb)
	example := "  puqkvm " + name + " 5546"
	if v.confirm != "" {
		example += " --confirm " + v.confirm
	}
	c := &cobra.Command{
		Use:   name + " SID",
		Short: v.short,
		Long: v.long + `

It is queued; cron does it. What WHMCS sends while something else is in hand is noted, and taken when that ends.

Exit codes: 10 queued or noted; 0 nothing to do, or done with --wait; 20 refused in this state; 30 an administrator must look
at the VM first; 40 the database could not be reached.`,
		Example: example + "\n" + example + " --wait",
		Args:    exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			if v.confirm != "" && confirm != v.confirm {
				return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%s destroys the disks of service %d: it wants --confirm %s", name, id, v.confirm), "puqkvm %s %d --confirm %s", name, id, v.confirm)
			}
			return runVerb(c.Context(), a, id, w, v, wait)
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "see it through: walk the service until it is done or stops")
	if v.confirm != "" {
		c.Flags().StringVar(&confirm, "confirm", "", "the word "+v.confirm+", since data are destroyed")
	}
	if v.may != "" {
		a.forClients(c)
	}
	if v.verb == kvm.VerbReinstall {
		c.Flags().IntVar(&w.Template, "template", 0, "VMID of the template (default: the product's, or the option Operating System)")
		base := c.RunE
		c.RunE = func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("template") && (w.Template < 100 || w.Template > 999999999) {
				return kvm.Errorf(kvm.ErrInvalid, "--template %d is no VMID: a number from 100 to 999999999", w.Template)
			}
			return base(c, args)
		}
	}
	return c
}

func runVerb(ctx context.Context, a *app, id int64, w kvm.Wish, v verb, wait bool) error {
	open := a.open
	if w.Verb.FromWHMCS() && !wait {
		open = a.openToQueue
	}
	if err := open(ctx); err != nil {
		return err
	}
	if !w.Verb.FromWHMCS() {
		if err := a.notLocked(ctx, id, w.Verb, v.may); err != nil {
			return err
		}
	}
	answer, err := a.store.Ask(ctx, id, w)
	if err != nil && !(wait && errors.Is(err, kvm.ErrQueued)) {
		return err
	}
	if answer.Decision == kvm.Done {
		a.show(asked{id, w.Verb, answer.Decision, answer.Now}, func() {
			fmt.Fprintf(a.Stdout, "%s: nothing to do: %s\n", w.Verb, nothingToDo(id, answer))
		})
		return nil
	}
	if wait {
		return a.seeThroughTo(ctx, id, v.done)
	}
	a.show(asked{id, w.Verb, answer.Decision, answer.Now}, func() {
		text := "cron goes on with it"
		if answer.Decision == kvm.Note {
			text = fmt.Sprintf("noted, for it is at %s; cron goes on with it when that ends", answer.Was)
		}
		fmt.Fprintf(a.Stdout, "service %d: %s is queued: VM %d; %s\n", id, w.Verb, answer.VMID, text)
	})
	return errPrinted{kvm.ErrQueued}
}

// notLocked refuses what a customer or a shell asks for while Proxmox is at work on the VM (a backup, a restore), and what the
// product does not allow its clients. A VM that is gone can be made again.
func (a *app) notLocked(ctx context.Context, id int64, v kvm.Verb, may string) error {
	s, err := a.store.Service(ctx, id)
	if err == nil {
		if err := a.allowed(s, may); err != nil {
			return err
		}
	}
	if errors.Is(err, kvm.ErrNotFound) || err == nil && (s.Row.Status != kvm.Ready || s.Row.UUID == "") {
		return nil // it is refused, or taken, for what it is at
	}
	if err != nil {
		return err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return err
	}
	vm, _, err := l.Live(ctx, s)
	switch {
	case errors.Is(err, kvm.ErrNotHere):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", v, err)
	case vm.Lock != "":
		return kvm.Errorf(kvm.ErrBusy, "%s refused: VM %d is locked by Proxmox (%s); try again when that is over", v, vm.VMID, vm.Lock)
	}
	return nil
}

// asked is the answer of a verb as JSON.
type asked struct {
	Service  int64        `json:"service"`
	Verb     kvm.Verb     `json:"verb"`
	Decision kvm.Decision `json:"decision"`
	Status   kvm.Status   `json:"status"`
}

func nothingToDo(id int64, answer kvm.Answer) string {
	switch answer.Was.Phase() {
	case kvm.PhaseRemove:
		return fmt.Sprintf("service %d has no VM any more", id)
	case kvm.PhaseTerminate:
		return fmt.Sprintf("service %d is being terminated", id)
	}
	return fmt.Sprintf("service %d has no VM here", id)
}
