package kvm

import (
	"slices"
	"strings"
)

// BootOrder is what Proxmox has under the key boot: "order=scsi0;net0", or the older "cdn" (also "legacy=cdn"), one letter for
// all devices of a kind (a, c the bootdisk, d the CD drives, n the network). "" = the key is not there, which Proxmox takes for
// "cdn". The letters are kept: written as an order they could not be put back, for with an order Proxmox drops bootdisk.
type BootOrder string

const legacyBoot = "cdn"

// order are the devices of the newer form.
func (b BootOrder) order() (devices []string, ok bool) {
	text, ok := strings.CutPrefix(string(b), "order=")
	if !ok || strings.Contains(text, ",") {
		return nil, false
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == ' ' }), true
}

// letters are those of the older form.
func (b BootOrder) letters() (string, bool) {
	text := strings.TrimPrefix(string(b), "legacy=")
	if text == "" {
		text = legacyBoot
	}
	return text, len(text) <= 4 && strings.Trim(text, "acdn") == ""
}

func ordered(devices []string) BootOrder { return BootOrder("order=" + strings.Join(devices, ";")) }

// First is b with the CD drive at slot in front of all. What is in neither form stays as it is.
func (b BootOrder) First(slot string) BootOrder {
	if devices, ok := b.order(); ok {
		return ordered(append([]string{slot}, without(devices, slot)...))
	}
	if letters, ok := b.letters(); ok {
		return BootOrder("d" + strings.ReplaceAll(letters, "d", ""))
	}
	return b
}

// Last is what Proxmox itself makes of b when a CD drive is set at slot: it puts one that the order does not have at its end.
func (b BootOrder) Last(slot string) BootOrder {
	if devices, ok := b.order(); ok && len(devices) > 0 && !slices.Contains(devices, slot) {
		return ordered(append(devices, slot))
	}
	return b
}

// Without is b without the device at slot, where it stands first and is not the only one.
func (b BootOrder) Without(slot string) BootOrder {
	if devices, ok := b.order(); ok && len(devices) > 1 && devices[0] == slot {
		return ordered(without(devices, slot))
	}
	return b
}

// Same says whether both are one order, however they are written.
func (b BootOrder) Same(other BootOrder) bool {
	if b == "" || other == "" {
		return b == other // a key that was not there is not to stay
	}
	mine, ok := b.order()
	theirs, also := other.order()
	if ok || also {
		return ok && also && slices.Equal(mine, theirs)
	}
	return strings.TrimPrefix(string(b), "legacy=") == strings.TrimPrefix(string(other), "legacy=")
}

func without(devices []string, slot string) []string {
	return slices.DeleteFunc(slices.Clone(devices), func(d string) bool { return d == slot })
}
