package kvm

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// ISO is an image on a storage for images, as one node sees it.
type ISO struct {
	Volume string // storage:iso/name
	Name   string // the file's name
	Size   int64  // bytes
	Time   time.Time
}

// OtherISOs is the group of images whose name does not say one.
const OtherISOs = "OTHER"

// Group is what stands before the first "-" of the file's name: Debian-12.5.0-amd64-netinst.iso is in Debian. OtherISOs where
// there is no "-", or nothing before it.
func (i ISO) Group() string {
	if group, _, ok := strings.Cut(i.Name, "-"); ok && group != "" {
		return group
	}
	return OtherISOs
}

// SortISOs sorts by group, OtherISOs last, then by name.
func SortISOs(list []ISO) {
	other := func(i ISO) int {
		if i.Group() == OtherISOs {
			return 1
		}
		return 0
	}
	slices.SortFunc(list, func(a, b ISO) int {
		return cmp.Or(other(a)-other(b), strings.Compare(a.Group(), b.Group()), strings.Compare(a.Name, b.Name))
	})
}

// CD is a CD drive of a VM that is not its cloud-init drive.
type CD struct {
	Slot   string
	Volume string // what is in it: storage:iso/name, cdrom (the node's own drive); "" = nothing
}

// Of says whether an image of the storage is in it.
func (c CD) Of(storage string) bool { return storage != "" && strings.HasPrefix(c.Volume, storage+":") }

// CD is the CD drive at slot, or nil.
func (v *VM) CD(slot string) *CD {
	for i := range v.CDs {
		if v.CDs[i].Slot == slot {
			return &v.CDs[i]
		}
	}
	return nil
}

// BootOrder is the VM's boot order.
func (v *VM) BootOrder() BootOrder { return BootOrder(v.Keys["boot"]) }

// ISONote is what the mount of an image has to remember for its unmount.
type ISONote struct {
	Slot string    // of the CD drive
	Boot BootOrder // that stood before
}

// noteLimit is the size of its column.
const noteLimit = 255

// ParseISONote reads what String has written. What is none, as "" is, gives false.
func ParseISONote(text string) (n ISONote, ok bool) {
	slot, boot, ok := strings.Cut(text, " ")
	if !ok || slot == "" {
		return ISONote{}, false
	}
	return ISONote{slot, BootOrder(boot)}, true
}

// String is the note as it is stored.
func (n ISONote) String() string { return n.Slot + " " + string(n.Boot) }

// Check refuses a boot order that could not be put back, for the note could not hold it.
func (n ISONote) Check() error {
	if len(n.String()) > noteLimit || strings.ContainsFunc(n.String(), func(r rune) bool { return r < ' ' || r > '~' }) {
		return Errorf(ErrRefused, "the VM's boot order is too long, or too strange, to be put back later: %.60q", string(n.Boot))
	}
	return nil
}

// Made says whether boot is what the mount has made of n.Boot, or will: as it was, with the drive in front, or with the drive at
// the end, as Proxmox leaves it between the two calls of a mount. Else somebody else has changed it since.
func (n ISONote) Made(boot BootOrder) bool {
	return boot.Same(n.Boot) || boot.Same(n.Boot.First(n.Slot)) || boot.Same(n.Boot.Last(n.Slot))
}

// Back is boot with the mount undone: the order that stood before, or, where somebody else has changed it since, theirs
// without the drive in front.
func (n ISONote) Back(boot BootOrder) BootOrder {
	if n.Made(boot) {
		return n.Boot
	}
	return boot.Without(n.Slot)
}
