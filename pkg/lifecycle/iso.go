package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// isoSlots are where a drive for images is made, in the order in which they are tried.
var isoSlots = []string{"ide2", "ide0", "ide1", "ide3", "sata0", "sata1", "sata2", "sata3", "sata4", "sata5"}

// ISOs are the images that s may mount, sorted, and which of them are in the VM's drives.
func (l *Lifecycle) ISOs(ctx context.Context, s *kvm.Service) (list []kvm.ISO, mounted []kvm.CD, err error) {
	if s.Problem != nil {
		return nil, nil, s.Problem
	}
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if list, err = l.isos(ctx, c, s, vm); err != nil {
		return nil, nil, err
	}
	for _, cd := range vm.VM().CDs {
		if cd.Of(s.Package.ISOStorage) {
			mounted = append(mounted, cd)
		}
	}
	return list, mounted, nil
}

// isos are the images of the product's storage as the VM's node sees them.
func (l *Lifecycle) isos(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned) ([]kvm.ISO, error) {
	if s.Package.ISOStorage == "" {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the product of service %d has no storage of ISO images (iso_storage)", s.ID),
			"puqkvm product set %d iso_storage=STORAGE", s.ProductID)
	}
	list, err := c.ISOs(ctx, vm.VM().Node, s.Package.ISOStorage)
	return list, kvm.WithHint(err, "puqkvm product check %d", s.ProductID)
}

// MountedISO is what became of a mount or unmount.
type MountedISO struct {
	Volume  string // what was mounted, or taken out; "" = nothing was there to be taken out
	Slot    string
	Power   kvm.Power
	Pending []string // what changes only when the VM is stopped and started: the slot, boot
}

// MountISO is a table of one row that begins and ends at ready: the image name (a file's name or a volume, as they are listed) is
// in a CD drive, and the VM boots from that drive first. out is told how.
//
// One image at a time: a drive that has one of the product's storage, or that an earlier mount has used, is used again; then one
// that is empty; then a new one is made. A drive with anything else in it, and the cloud-init drive, are left alone. What the
// unmount has to put back is stored before the first call: a mount that dies half way loses no boot order.
func (l *Lifecycle) MountISO(name string, out *MountedISO) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		c, vm, err := l.observe(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		if vm, err = l.settled(ctx, c, s, vm); err != nil {
			return pipeline.Result{}, err
		}
		list, err := l.isos(ctx, c, s, vm)
		if err != nil {
			return pipeline.Result{}, err
		}
		i := slices.IndexFunc(list, func(iso kvm.ISO) bool { return iso.Name == name || iso.Volume == name })
		if i < 0 {
			return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "the storage %s has no ISO image %.100q", s.Package.ISOStorage, name), "puqkvm iso list %d", s.ID)
		}
		volume := list[i].Volume
		in, err := l.configure(ctx, s, change{kind: taskConfig, what: "the ISO image",
			same: func(vm *kvm.VM) bool {
				n, err := mountNote(s, vm, volume)
				return err == nil && vm.CD(n.Slot) != nil && vm.CD(n.Slot).Volume == volume
			},
			send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
				n, err := l.noteMount(ctx, s, vm.VM(), volume)
				if err != nil {
					return "", err
				}
				return "", c.SetCD(ctx, vm, n.Slot, volume)
			}})
		if err != nil {
			return in, err
		}
		first, err := l.configure(ctx, s, change{kind: taskConfig, what: "the boot order",
			same: func(vm *kvm.VM) bool {
				n, err := mountNote(s, vm, volume)
				return err == nil && vm.BootOrder().Same(n.Boot.First(n.Slot))
			},
			send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
				n, err := l.noteMount(ctx, s, vm.VM(), volume)
				if err != nil {
					return "", err
				}
				return "", c.SetBoot(ctx, vm, n.Boot.First(n.Slot))
			}})
		if err != nil {
			return first, err
		}
		n, err := mountNote(s, s.Seen, volume)
		if err != nil {
			return pipeline.Result{}, err
		}
		out.Volume, out.Slot = volume, n.Slot
		if err := l.afterISO(ctx, s, out); err != nil || first.Note == "" {
			return pipeline.Result{}, err
		}
		return in, nil
	}
	return isoTable("Mount ISO image", l.row(do), l)
}

// mountNote is where volume is to be mounted and which boot order stood before: what is noted where it still holds.
func mountNote(s *kvm.Service, vm *kvm.VM, volume string) (kvm.ISONote, error) {
	noted, ok := kvm.ParseISONote(s.Row.ISOBoot)
	slot := ""
	for _, fits := range []func(cd kvm.CD) bool{
		func(cd kvm.CD) bool { return cd.Volume == volume },
		func(cd kvm.CD) bool { return ok && cd.Slot == noted.Slot },
		func(cd kvm.CD) bool { return cd.Of(s.Package.ISOStorage) },
		func(cd kvm.CD) bool { return cd.Volume == "" },
	} {
		if i := slices.IndexFunc(vm.CDs, fits); i >= 0 && slot == "" {
			slot = vm.CDs[i].Slot
		}
	}
	for _, free := range isoSlots {
		if _, filled := vm.Keys[free]; slot == "" && !filled && free != s.Row.DiskSlot {
			slot = free
		}
	}
	if slot == "" {
		return kvm.ISONote{}, kvm.Errorf(kvm.ErrRefused, "VM %d has no slot left for a CD drive (%s)", vm.VMID, strings.Join(isoSlots, ", "))
	}
	if ok && noted.Slot == slot && noted.Made(vm.BootOrder()) {
		return noted, nil
	}
	n := kvm.ISONote{Slot: slot, Boot: vm.BootOrder()}
	return n, n.Check()
}

// noteMount is mountNote that is stored, before anything is done.
func (l *Lifecycle) noteMount(ctx context.Context, s *kvm.Service, vm *kvm.VM, volume string) (kvm.ISONote, error) {
	n, err := mountNote(s, vm, volume)
	if err != nil || s.Row.ISOBoot == n.String() {
		return n, err
	}
	s.Row.ISOBoot = n.String()
	return n, l.Store.Save(ctx, s)
}

// UnmountISO is a table of one row that begins and ends at ready: no image of the product's storage is in a drive, nor any in the
// drive that a mount has used, and the boot order is the one before the mount. out is told how.
//
// The drive stays, empty: one that runs cannot lose it, and the next image goes into it at once. Where somebody else has changed
// the boot order since the mount, only the drive is taken out of it, where it stands first.
func (l *Lifecycle) UnmountISO(out *MountedISO) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		c, vm, err := l.observe(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		if vm, err = l.settled(ctx, c, s, vm); err != nil {
			return pipeline.Result{}, err
		}
		present := vm.VM().BootOrder()
		note, noted := kvm.ParseISONote(s.Row.ISOBoot)
		full := func(cd kvm.CD) bool {
			return cd.Volume != "" && (noted && cd.Slot == note.Slot || cd.Of(s.Package.ISOStorage))
		}
		result := pipeline.Result{Note: noChange}
		did := func(r pipeline.Result, err error) error {
			if r.Note == "" {
				result.Note = ""
			}
			return err
		}
		for _, cd := range slices.Clone(vm.VM().CDs) {
			if !full(cd) {
				continue
			}
			out.Volume, out.Slot = cd.Volume, cd.Slot
			empty := func(vm *kvm.VM) bool { now := vm.CD(cd.Slot); return now == nil || !full(*now) }
			if err := did(l.configure(ctx, s, change{kind: taskConfig, what: "the empty drive", same: empty,
				send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
					return "", c.SetCD(ctx, vm, cd.Slot, "")
				}})); err != nil {
				return pipeline.Result{}, err
			}
			if !noted { // nobody has put it in front, and Proxmox is not to put it at the end
				note = kvm.ISONote{Slot: cd.Slot, Boot: present}
			}
		}
		if note.Slot != "" {
			back := func(boot kvm.BootOrder) kvm.BootOrder {
				if boot.Same(present.Last(note.Slot)) { // as Proxmox leaves it when the drive is emptied
					boot = present
				}
				return note.Back(boot)
			}
			if err := did(l.configure(ctx, s, change{kind: taskConfig, what: "the boot order",
				same: func(vm *kvm.VM) bool { return vm.BootOrder().Same(back(vm.BootOrder())) },
				send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
					return "", c.SetBoot(ctx, vm, back(vm.VM().BootOrder()))
				}})); err != nil {
				return pipeline.Result{}, err
			}
			out.Slot = note.Slot
		}
		s.Row.ISOBoot = "" // it is stored with the row's end; until then an unmount may be repeated
		return result, l.afterISO(ctx, s, out)
	}
	return isoTable("Unmount ISO image", l.row(do), l)
}

func isoTable(title string, do func(context.Context, *kvm.Service) (pipeline.Result, error), l *Lifecycle) *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "ISO", Action: "iso", Check: l.check, Steps: []pipeline.Step{{From: kvm.Ready, Title: title, To: kvm.Ready, Do: do}}}
}

// afterISO asks what of the change a VM that runs has taken.
func (l *Lifecycle) afterISO(ctx context.Context, s *kvm.Service, out *MountedISO) error {
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return err
	}
	if out.Power, _, err = c.Power(ctx, vm); err != nil || out.Power != kvm.Running || out.Slot == "" {
		return err
	}
	pending, err := c.Pending(ctx, vm)
	for _, key := range pending {
		if key == out.Slot || key == "boot" {
			out.Pending = append(out.Pending, key)
		}
	}
	return err
}

// withoutISO adds to what a start has failed with, where that is an image which is no more, how to get rid of it.
func withoutISO(s *kvm.Service, vm *kvm.VM, err error) error {
	if err == nil {
		return nil
	}
	for _, cd := range vm.CDs {
		if cd.Volume == "" || !strings.Contains(err.Error(), fmt.Sprintf("'%s' does not exist", cd.Volume)) {
			continue
		}
		if s.Row.Status == kvm.Ready {
			return kvm.WithHint(err, "puqkvm iso unmount %d", s.ID)
		}
		return kvm.WithHint(err, "take the image, which is no more, out of the drive, on %s: qm set %d --%s none,media=cdrom", vm.Node, vm.VMID, cd.Slot)
	}
	return err
}
