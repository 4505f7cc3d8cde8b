package pvesim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// rights are the privileges for options of a VM (PVE::API2::Qemu check_vm_modify_config_perm), any of the listed.
// Options that fit none are root's alone.
var rights = []struct {
	keys       *pattern.Pattern
	privileges []string
}{
	{pattern.New(`^(?:cores|sockets|cpu|cpulimit|cpuunits|vcpus|smp|numa\d*|affinity)$`), []string{"VM.Config.CPU"}},
	{pattern.New(`^(?:memory|balloon|shares)$`), []string{"VM.Config.Memory"}},
	{pattern.New(`^(?:boot|bootdisk|vmstatestorage|unused\d+)$`), []string{"VM.Config.Disk"}},
	{pattern.New(`^net\d+$`), []string{"VM.Config.Network"}},
	{pattern.New(`^(?:` + cloudinitKeys + `)$`), []string{"VM.Config.Cloudinit", "VM.Config.Network"}},
	{pattern.New(`^(?:agent|allow-ksm|autostart|bios|description|keyboard|localtime|migrate_downtime|migrate_speed|name|onboot|ostype|protection|reboot|startdate|startup|tdf|template|tags)$`), []string{"VM.Config.Options"}},
	{pattern.New(`^freeze$`), []string{"VM.PowerMgmt"}},
	{pattern.New(`^(?:acpi|hotplug|kvm|machine|scsihw|smbios1|tablet|vga|watchdog|audio0|rng0|vmgenid|arch|hugepages|keephugepages|spice_enhancements|amd-sev|intel-tdx)$`), []string{"VM.Config.HWType"}},
}

// mayChange checks the privilege of each option that a change touches.
func (r *request) mayChange(vmid int, ch configChange) error {
	if r.who.root() {
		return nil
	}
	at := fmt.Sprintf("/vms/%d", vmid)
	touched := slices.Concat(ch.del, ch.revert, slices.Sorted(maps.Keys(ch.set)))
	for _, k := range touched {
		needed := r.rightsFor(vmid, k, ch.set[k])
		if needed == nil {
			return failure("only root can set '%s' config", k)
		}
		if !r.may(at, needed...) {
			return denied(at, needed...)
		}
	}
	return nil
}

func (r *request) rightsFor(vmid int, key, value string) []string {
	if driveKey.MatchString(key) {
		if m := r.c.vms[vmid]; value == "" && m != nil {
			value = m.conf[key]
		}
		if newCI.MatchString(value) || isCD(r.c.drive(key, value)) {
			return []string{"VM.Config.CDROM"}
		}
		return []string{"VM.Config.Disk"}
	}
	if strings.HasPrefix(key, "serial") && (value == "" || value == "socket") || strings.HasPrefix(key, "usb") && value == "spice" {
		return []string{"VM.Config.HWType"}
	}
	for _, right := range rights {
		if right.keys.MatchString(key) {
			return right.privileges
		}
	}
	return nil
}
