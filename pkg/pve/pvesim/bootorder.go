package pvesim

import (
	"maps"
	"slices"
	"strings"
)

// bootDevices are those of boot: order=a;b, none of the older form.
func bootDevices(boot string) []string {
	order, ok := strings.CutPrefix(boot, "order=")
	if !ok {
		return nil
	}
	return strings.FieldsFunc(order, isListBreak)
}

func printBoot(devices []string) string { return "order=" + strings.Join(devices, ";") }

// bootOrder is what a change of the configuration does to the boot order beside what it says: a device that goes leaves it, a
// CD drive that it does not have comes to its end, and an order ends bootdisk. Of a call that sets both the order and such a
// drive either may win in PVE, which goes through a Perl hash; here the drive does. The order in force counts, not a pending
// one (PVE::API2::Qemu, update_vm_api).
func (c *Cluster) bootOrder(m *vm, ch *configChange) error {
	devices := bootDevices(m.conf["boot"])
	set, isSet := ch.set["boot"]
	has := func(k string) bool { return m.conf[k] != "" || m.pending[k].value != "" }
	for _, k := range ch.del {
		if i := slices.Index(devices, k); i >= 0 && has(k) {
			devices = slices.Delete(slices.Clone(devices), i, i+1)
			if !isSet {
				ch.set["boot"] = printBoot(devices)
			}
		}
	}
	if wanted := bootDevices(set); len(wanted) > 0 {
		for _, k := range wanted {
			if !has(k) && ch.set[k] == "" || slices.Contains(ch.del, k) {
				return failure("invalid bootorder: device '%s' does not exist'", k)
			}
		}
		ch.set["boot"] = printBoot(wanted)
		if m.conf["bootdisk"] != "" && !slices.Contains(ch.del, "bootdisk") {
			ch.del = append(ch.del, "bootdisk")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(ch.set)) {
		if !driveKey.MatchString(k) || len(devices) == 0 || slices.Contains(devices, k) {
			continue
		}
		if p := c.drive(k, ch.set[k]); isCD(p) && !isCloudDrive(p) && !newCI.MatchString(p["file"]) {
			devices = append(devices, k)
			ch.set["boot"] = printBoot(devices)
		}
	}
	if slices.Contains(ch.del, "boot") {
		delete(ch.set, "boot")
	}
	return nil
}
