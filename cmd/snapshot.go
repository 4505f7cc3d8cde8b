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

func newSnapshotCmd(a *app) *cobra.Command {
	return group("snapshot", "List, take, roll back to and remove snapshots of a VM", newSnapshotListCmd(a), newSnapshotCreateCmd(a), newSnapshotRollbackCmd(a), newSnapshotRemoveCmd(a))
}

func newSnapshotListCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "list SID", Short: "List a VM's snapshots, the oldest first",
		Long: `List a VM's snapshots, the oldest first, with what is left of their lifetime (snapshot_lifetime of the product, in days). Those
that this program has made count for the quota and end by their age; others are listed and left.

Exit codes: 0 done; 20 no such service; 30 the VM is not proved to be the service's; 40 Proxmox or the database could not be
reached.`,
		Example: "  puqkvm snapshot list 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runSnapshotList(c.Context(), a, id)
		},
	})
}

// listedSnapshots is the answer of `snapshot list` as JSON.
type listedSnapshots struct {
	Service   int64            `json:"service"`
	Count     int              `json:"count"` // those that count for the quota
	Quota     int              `json:"quota"`
	Snapshots []listedSnapshot `json:"snapshots"`
}

type listedSnapshot struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Time        time.Time  `json:"time"`
	Ours        bool       `json:"ours"`
	Expires     *time.Time `json:"expires,omitempty"`
	State       string     `json:"state,omitempty"` // prepare, delete: half made or half removed
}

func runSnapshotList(ctx context.Context, a *app, id int64) error {
	l, s, err := a.opened(ctx, id, "snapshots")
	if err != nil {
		return err
	}
	list, err := l.Snapshots(ctx, s)
	if err != nil {
		return err
	}
	out := listedSnapshots{Service: id, Quota: s.Package.Snapshots, Snapshots: []listedSnapshot{}}
	t := rows{head: []string{"NAME", "TIME", "LEFT", "DESCRIPTION"}}
	for _, snap := range list {
		row := listedSnapshot{Name: snap.Name, Description: snap.Description, Time: snap.Time, Ours: snap.Ours(), State: snap.State}
		left := "-"
		if end, ok := snap.Expires(s.Package.SnapshotLifetime); ok {
			row.Expires, left = &end, lifetime(end.Sub(a.Clock.Now()))
		}
		if row.Ours {
			out.Count++
		}
		out.Snapshots = append(out.Snapshots, row)
		description := snap.Description
		if snap.State != "" {
			description = "(" + snap.State + ") " + description
		}
		t.body = append(t.body, []string{snap.Name, a.when(snap.Time), left, dash(strings.TrimSpace(description))})
	}
	a.show(out, func() {
		fmt.Fprintf(a.Stdout, "snapshots: %d/%d\n", out.Count, out.Quota)
		if len(t.body) > 0 {
			t.print(a.Stdout)
		}
	})
	return nil
}

// lifetime is what is left, as the PHP module shows it: 0 days 23:59:54.
func lifetime(left time.Duration) string {
	left = max(left, 0).Truncate(time.Second)
	days := left / (24 * time.Hour)
	left -= days * 24 * time.Hour
	return fmt.Sprintf("%d days %02d:%02d:%02d", days, left/time.Hour, left%time.Hour/time.Minute, left%time.Minute/time.Second)
}

const snapshotExits = `It is done at once. Exit codes: 0 done; 10 something else is in hand, or Proxmox has locked the VM: try again; 20 refused in
this state, or for the quota; 30 the VM is not proved to be the service's; 40 Proxmox or the database could not be reached; 1
Proxmox could not do it.`

func newSnapshotCreateCmd(a *app) *cobra.Command {
	var description string
	c := &cobra.Command{
		Use: "create SID", Short: "Take a snapshot of the VM's disks",
		Long:    "Take a snapshot of the VM's disks and configuration, unless the package has room for no more (snapshots of the product).\n\n" + snapshotExits,
		Example: "  puqkvm snapshot create 5546 --description update", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			text, err := kvm.PlainLine("description", description, kvm.MaxNote)
			if err != nil {
				return err
			}
			name := kvm.SnapshotName(a.Clock.Now())
			return runSnapshot(c.Context(), a, id, name, "is taken", func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.TakeSnapshot(name, text) })
		},
	}
	c.Flags().StringVar(&description, "description", "", fmt.Sprintf("what it is for, one line of at most %d characters", kvm.MaxNote))
	return a.forClients(c)
}

func newSnapshotRollbackCmd(a *app) *cobra.Command {
	return newBackCmd(a, verb{verb: kvm.VerbRollback, may: "snapshots", confirm: "ROLLBACK", done: atReady}, "rollback SID NAME", "Bring the VM back to a snapshot",
		`Bring the VM back to a snapshot: it is stopped, its disks and configuration become those of then, and it is started with the
package, addresses, user and password of now. All that was written since the snapshot is lost; the snapshots stay.`,
		"  puqkvm snapshot rollback 5546 puqkvm-20260410-014918", (*lifecycle.Lifecycle).CheckRollback)
}

func newSnapshotRemoveCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "remove SID NAME", Short: "Remove a snapshot", Long: "Remove a snapshot, whoever has made it. The VM's disks stay as they are.\n\n" + snapshotExits,
		Example: "  puqkvm snapshot remove 5546 puqkvm-20260410-014918", Args: exactly("SID", "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			name := args[1]
			return runSnapshot(c.Context(), a, id, name, "is removed", func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.RemoveSnapshot(name) })
		},
	})
}

// runSnapshot walks a table of one row, and says what became of the snapshot.
func runSnapshot(ctx context.Context, a *app, id int64, name, became string, table func(*lifecycle.Lifecycle) *pipeline.Pipeline) error {
	if err := a.atOnce(ctx, id, kvm.VerbSnapshot, "snapshots", table); err != nil {
		return err
	}
	a.show(map[string]any{"service": id, "snapshot": name}, func() { fmt.Fprintf(a.Stdout, "service %d: the snapshot %s %s\n", id, name, became) })
	return nil
}
