package cmd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

func newISOCmd(a *app) *cobra.Command {
	return group("iso", "List ISO images, and put them into a VM's drive", newISOListCmd(a), newISOMountCmd(a), newISOUnmountCmd(a))
}

func newISOListCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "list SID", Short: "List the ISO images that a VM may have, by group",
		Long: `List the images of the product's ISO storage (iso_storage) as the VM's node sees them, and which one is mounted. The group is
what stands before the first "-" of the file's name, OTHER where there is none.

Exit codes: 0 done; 20 no such service, or its product has no ISO storage; 30 the storage is not there, or the VM is not proved to
be the service's; 40 Proxmox, the storage or the database could not be reached.`,
		Example: "  puqkvm iso list 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runISOList(c.Context(), a, id)
		},
	})
}

// listedISOs is the answer of `iso list` as JSON.
type listedISOs struct {
	Service int64       `json:"service"`
	Storage string      `json:"storage"`
	Mounted string      `json:"mounted,omitempty"` // a volume, also one that the storage has no more
	Images  []listedISO `json:"images"`
}

type listedISO struct {
	Group   string    `json:"group"`
	Name    string    `json:"name"`
	Volume  string    `json:"volume"`
	Size    int64     `json:"size"`
	Time    time.Time `json:"time"`
	Mounted bool      `json:"mounted"`
}

func runISOList(ctx context.Context, a *app, id int64) error {
	l, s, err := a.opened(ctx, id, "iso")
	if err != nil {
		return err
	}
	list, drives, err := l.ISOs(ctx, s)
	if err != nil {
		return err
	}
	out := listedISOs{Service: id, Storage: s.Package.ISOStorage, Images: []listedISO{}}
	t := rows{head: []string{"GROUP", "NAME", "MIB", "MOUNTED"}}
	for _, iso := range list {
		i := slices.IndexFunc(drives, func(cd kvm.CD) bool { return cd.Volume == iso.Volume })
		row := listedISO{Group: iso.Group(), Name: iso.Name, Volume: iso.Volume, Size: iso.Size, Time: iso.Time, Mounted: i >= 0}
		slot := ""
		if i >= 0 {
			slot = drives[i].Slot
		}
		out.Images = append(out.Images, row)
		t.body = append(t.body, []string{row.Group, row.Name, fmt.Sprintf("%.1f", float64(row.Size)/(1<<20)), dash(slot)})
	}
	gone := slices.DeleteFunc(slices.Clone(drives), func(cd kvm.CD) bool {
		return slices.ContainsFunc(list, func(iso kvm.ISO) bool { return iso.Volume == cd.Volume })
	})
	if len(drives) > 0 {
		out.Mounted = drives[0].Volume
	}
	a.show(out, func() {
		if len(t.body) == 0 {
			fmt.Fprintf(a.Stdout, "the storage %s has no ISO images\n", out.Storage)
		} else {
			t.print(a.Stdout)
		}
		for _, cd := range gone {
			fmt.Fprintf(a.Stdout, "%s is in the drive %s and no more on the storage: the VM does not start until puqkvm iso unmount %d\n", cd.Volume, cd.Slot, id)
		}
	})
	return nil
}

const isoExits = `Exit codes: 0 done; 10 something else is in hand, or Proxmox has locked the VM: try again; 20 refused in this state, or no such
image; 30 the storage is not there, or the VM is not proved to be the service's; 40 Proxmox, the storage or the database could
not be reached; 1 Proxmox could not do it.`

func newISOMountCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "mount SID NAME", Short: "Put an ISO image into a VM's drive, and let the VM boot from it",
		Long: `Put an image of the product's ISO storage, by the name or volume that "iso list" shows, into a CD drive of the VM, and the drive in
front of the boot order. One image at a time: the next one takes the place of the last. A drive that holds something else, and the
cloud-init drive, are left alone.

A VM that runs boots from it when it is stopped and started. A drive that it has gets the image at once; a new one appears then.

` + isoExits,
		Example: "  puqkvm iso mount 5546 Debian-12.5.0-amd64-netinst.iso", Args: exactly("SID", "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runISO(c.Context(), a, id, func(out *lifecycle.MountedISO) func(*lifecycle.Lifecycle) *pipeline.Pipeline {
				return func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.MountISO(args[1], out) }
			}, "%s is in the drive %s")
		},
	})
}

func newISOUnmountCmd(a *app) *cobra.Command {
	return a.forClients(&cobra.Command{
		Use: "unmount SID", Short: "Take the ISO image out of a VM's drive",
		Long: `Take the ISO image out of the VM's drive, which stays, empty, and give the VM the boot order that it had before the mount. Where
somebody else has changed the order since, only the drive is taken from its front.

` + isoExits,
		Example: "  puqkvm iso unmount 5546", Args: exactly("SID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseID("service", args[0])
			if err != nil {
				return err
			}
			return runISO(c.Context(), a, id, func(out *lifecycle.MountedISO) func(*lifecycle.Lifecycle) *pipeline.Pipeline {
				return func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.UnmountISO(out) }
			}, "%s is out of the drive %s")
		},
	})
}

// changedISO is the answer of `iso mount` and `iso unmount` as JSON.
type changedISO struct {
	Service int64     `json:"service"`
	Volume  string    `json:"volume,omitempty"` // absent: no image was mounted
	Slot    string    `json:"slot,omitempty"`
	Power   kvm.Power `json:"power"`
	Pending []string  `json:"pending"` // what changes only when the VM is stopped and started: the slot, boot
}

// runISO walks a table of one row, and says what became of the image and when the VM heeds it.
func runISO(ctx context.Context, a *app, id int64, table func(*lifecycle.MountedISO) func(*lifecycle.Lifecycle) *pipeline.Pipeline, became string) error {
	var m lifecycle.MountedISO
	if err := a.atOnce(ctx, id, kvm.VerbISO, "iso", table(&m)); err != nil {
		return err
	}
	out := changedISO{Service: id, Volume: m.Volume, Slot: m.Slot, Power: m.Power, Pending: append([]string{}, m.Pending...)}
	text := "no ISO image was mounted"
	if m.Volume != "" {
		text = fmt.Sprintf(became, m.Volume, m.Slot)
	}
	restart := fmt.Sprintf(" when the VM is stopped and started: puqkvm stop %d, puqkvm start %d", id, id)
	switch {
	case slices.Contains(m.Pending, m.Slot):
		text += "; it takes effect" + restart
	case slices.Contains(m.Pending, "boot"):
		text += "; the boot order takes effect" + restart
	}
	a.show(out, func() { fmt.Fprintf(a.Stdout, "service %d: %s\n", id, text) })
	return nil
}
