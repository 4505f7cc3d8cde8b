package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

func newBackupCmd(a *app) *cobra.Command {
	return group("backup", "List, make, restore and remove backups of a VM, and when they are made by themselves", newBackupListCmd(a), newBackupCreateCmd(a),
		newBackupRestoreCmd(a), newBackupRemoveCmd(a), newBackupScheduleCmd(a))
}

func newBackupListCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "list SID", Short: "List a VM's backups, the oldest first",
		Long: `List a VM's backups, the oldest first: every one whose inside carries a UUID that the service has or had, whoever has made it.
Those that this program has made, or that adopt took over, count for the quota and are rotated. Of another VM that had the same
VMID nothing is shown.

Exit codes: 0 done; 20 no such service; 30 nothing proves which backups are the service's; 40 Proxmox or the database could not
be reached.`,
		Example: "  puqkvm backup list 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runBackupList(c.Context(), a, id)
		},
	})
}

// listedBackups is the answer of `backup list` as JSON.
type listedBackups struct {
	Service int64          `json:"service"`
	Count   int            `json:"count"` // those that count for the quota
	Quota   int            `json:"quota"`
	Backups []listedBackup `json:"backups"`
}

type listedBackup struct {
	Volume    string    `json:"volume"`
	Time      time.Time `json:"time"`
	Size      int64     `json:"size"` // bytes
	Note      string    `json:"note"`
	Protected bool      `json:"protected"`
	Counts    bool      `json:"counts"`
}

func runBackupList(ctx context.Context, a *app, id int64) error {
	l, s, err := a.opened(ctx, id, "backups")
	if err != nil {
		return err
	}
	list, err := l.Backups(ctx, s)
	if err != nil {
		return err
	}
	out := listedBackups{Service: id, Quota: s.Package.Backups, Backups: []listedBackup{}}
	t := rows{head: []string{"VOLUME", "TIME", "SIZE", "COUNTS", "PROTECTED", "NOTE"}}
	for _, b := range list {
		if b.Own {
			out.Count++
		}
		out.Backups = append(out.Backups, listedBackup{b.Volume, b.Time, b.Size, b.Notes, b.Protected, b.Own})
		t.body = append(t.body, []string{b.Volume, a.when(b.Time), size(b.Size), yesNo(b.Own), yesNo(b.Protected), dash(b.Notes)})
	}
	a.show(out, func() {
		fmt.Fprintf(a.Stdout, "backups: %d/%d\n", out.Count, out.Quota)
		if len(t.body) > 0 {
			t.print(a.Stdout)
		}
	})
	return nil
}

// size is a number of bytes as Proxmox shows it: 300.0 GiB.
func size(n int64) string {
	f, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for ; f >= 1024 && unit < len(units)-1; unit++ {
		f /= 1024
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}

func newBackupCreateCmd(a *app) *cobra.Command {
	v := verb{verb: kvm.VerbBackup, done: atReady, may: "backups"}
	w := kvm.Wish{Verb: kvm.VerbBackup}
	var wait bool
	c := &cobra.Command{
		Use: "create SID", Short: "Make a backup of the VM",
		Long: `Make a backup of the VM to the product's backup storage, unless the package has room for no more (backups of the product). It is
queued; cron does it, one at a time on a node. Until it is done nothing else can be asked for, and what WHMCS asks for is noted.

` + queuedExits,
		Example: "  puqkvm backup create 5546 --note update\n  puqkvm backup create 5546 --wait", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			if w.Note, err = kvm.PlainLine("note", w.Note, kvm.MaxNote); err != nil {
				return err
			}
			return runChecked(c.Context(), a, id, w, v, wait, (*lifecycle.Lifecycle).CheckBackup)
		},
	}
	c.Flags().StringVar(&w.Note, "note", "", fmt.Sprintf("what it is for, one line of at most %d characters", kvm.MaxNote))
	c.Flags().BoolVar(&wait, "wait", false, "see it through: walk the service until it is done or stops")
	return a.forClients(c)
}

// queuedExits are the exit codes of what is checked, queued, and done by cron.
const queuedExits = `Exit codes: 10 queued; 0 done with --wait; 20 refused in this state, or for what was given; 30 an administrator must look at the VM
first; 40 Proxmox or the database could not be reached; 1 it was not done.`

// runChecked is runVerb for what is checked in Proxmox before it is queued, so that whoever asks is told at once.
func runChecked(ctx context.Context, a *app, id int64, w kvm.Wish, v verb, wait bool, check func(*lifecycle.Lifecycle, context.Context, *kvm.Service) error) error {
	l, s, err := a.opened(ctx, id, v.may)
	if err != nil {
		return err
	}
	answer := kvm.Answer{Decision: kvm.Decide(w.Verb, s.Row.Status.Phase()), Was: s.Row.Status, VMID: s.Row.VMID}
	if err := answer.Refusal(w.Verb, id); err != nil {
		return err
	}
	if err := check(l, ctx, s); err != nil {
		return err
	}
	return runVerb(ctx, a, id, w, v, wait)
}

func newBackupRestoreCmd(a *app) *cobra.Command {
	v := verb{verb: kvm.VerbRestore, may: "backups", confirm: "RESTORE",
		done: func(s kvm.Status) bool { return s == kvm.Ready || s == kvm.ErrorRestore }}
	return newBackCmd(a, v, "restore SID VOLID", "Put a backup in the place of the VM", `Put a backup in the place of the VM: it is stopped, its snapshots are removed, its disks become those in the backup, and it is started
with the package, addresses, user and password of now. All that was written since the backup is lost. VOLID is the volume as
"backup list" shows it. A restore that fails on the way ends at error_restore: then restore again, or reinstall.`,
		"  puqkvm backup restore 5546 nfs:backup/vzdump-qemu-2002-2026_04_10-01_49_18.vma.zst", (*lifecycle.Lifecycle).CheckRestore)
}

// newBackCmd is a command that brings the VM back to what a second argument names.
func newBackCmd(a *app, v verb, use, short, long, example string, check func(*lifecycle.Lifecycle, context.Context, *kvm.Service, string) error) *cobra.Command {
	var wait bool
	var confirm string
	example += " --confirm " + v.confirm
	names := strings.Fields(use)[1:]
	c := &cobra.Command{
		Use: use, Short: short,
		Long:    long + "\n\nIt is checked, and queued; cron does it. What WHMCS sends meanwhile is noted.\n\n" + queuedExits,
		Example: example + "\n" + example + " --wait", Args: exactly(names...),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			if confirm != v.confirm {
				return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "what was written to the disks of service %d since then is lost: it wants --confirm %s", id, v.confirm), "add --confirm %s", v.confirm)
			}
			return runChecked(c.Context(), a, id, kvm.Wish{Verb: v.verb, From: args[1]}, v, wait,
				func(l *lifecycle.Lifecycle, ctx context.Context, s *kvm.Service) error {
					return check(l, ctx, s, args[1])
				})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "see it through: walk the service until it is done or stops")
	c.Flags().StringVar(&confirm, "confirm", "", "the word "+v.confirm+", since data are lost")
	return a.forClients(c)
}

func newBackupRemoveCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "remove SID VOLID", Short: "Remove a backup", Long: `Remove a backup of the service that was made here, or that adopt took over. A protected one stays.

It is done at once. Exit codes: 0 done; 10 something else is in hand: try again; 20 refused in this state, or no backup of this
service; 30 nothing proves which backups are the service's; 40 Proxmox or the database could not be reached; 1 Proxmox could not
do it.`,
		Example: "  puqkvm backup remove 5546 nfs:backup/vzdump-qemu-2002-2026_04_10-01_49_18.vma.zst", Args: exactly("SID", "VOLID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			volume := args[1]
			err = a.atOnce(c.Context(), id, kvm.VerbBackup, "backups", func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.RemoveBackup(volume) })
			if err != nil {
				return err
			}
			a.show(map[string]any{"service": id, "volume": volume}, func() { fmt.Fprintf(a.Stdout, "service %d: the backup %s is removed\n", id, volume) })
			return nil
		},
	})
}
