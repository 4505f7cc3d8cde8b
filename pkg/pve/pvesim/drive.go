package pvesim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// driveSlots are the slots of drives in PVE's order, unusedSlots those of disks that no drive uses.
var (
	driveSlots  = append(slots("ide", "scsi", "virtio", "sata"), "efidisk0", "tpmstate0")
	unusedSlots = slots("unused")
)

func slots(buses ...string) []string {
	var keys []string
	for _, bus := range buses {
		for i := 0; i <= families[bus]; i++ {
			keys = append(keys, bus+strconv.Itoa(i))
		}
	}
	return keys
}

var (
	driveKey   = pattern.New(`^(?:(?:ide|sata|scsi|virtio)\d+|efidisk0|tpmstate0)$`)
	unusedKey  = pattern.New(`^unused\d+$`)
	netKey     = pattern.New(`^net\d+$`)
	newVolume  = pattern.New(`^([a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]):(\d+(?:\.\d+)?)$`)
	newCI      = pattern.New(`^([a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]):cloudinit$`)
	cloudDrive = pattern.New(`vm-\d+-cloudinit`)
)

// drive takes a drive string apart.
func (c *Cluster) drive(key, text string) properties {
	var defs map[string]*param
	if p := c.config[key]; p != nil {
		defs = p.props
	}
	props, _ := parseProperties(defs, text)
	return props
}

func isCD(p properties) bool {
	return p["media"] == "cdrom" || p["file"] == "none" || p["file"] == "cdrom" || isCloudDrive(p)
}

func isCloudDrive(p properties) bool { return cloudDrive.MatchString(p["file"]) }

// printDrive is the form in which PVE stores a drive: the volume, then the rest in order.
func printDrive(p properties) string {
	parts := []string{p["file"]}
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if k != "file" {
			parts = append(parts, k+"="+p[k])
		}
	}
	return strings.Join(parts, ",")
}

// printNet is the form in which PVE stores a network card. One without a MAC gets a new one.
func (c *Cluster) printNet(key, text string) string {
	p, _ := parseProperties(c.config[key].props, text)
	if p["macaddr"] == "" {
		p["macaddr"] = c.mac()
	}
	parts := []string{p["model"] + "=" + p["macaddr"]}
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if k != "model" && k != "macaddr" {
			parts = append(parts, k+"="+p[k])
		}
	}
	return strings.Join(parts, ",")
}

// formatSize is PVE::JSONSchema::format_size.
func formatSize(bytes int64) string {
	switch {
	case bytes%1024 != 0:
		return strconv.FormatInt(bytes, 10)
	case bytes%(1<<20) != 0:
		return fmt.Sprintf("%dK", bytes>>10)
	case bytes%(1<<30) != 0:
		return fmt.Sprintf("%dM", bytes>>20)
	default:
		return fmt.Sprintf("%dG", bytes>>30)
	}
}

// parseSize reads what disk-size allows: a number with K, M, G, T or none for bytes.
func parseSize(text string) int64 {
	shift := 0
	if i := strings.IndexAny(text, "KMGT"); i >= 0 {
		shift = 10 * (1 + strings.IndexByte("KMGT", text[i]))
		text = text[:i]
	}
	n, _ := strconv.ParseFloat(text, 64)
	return int64(n * float64(int64(1)<<shift))
}

// allocate makes a new volume for a drive string of the form "storage:SIZE" or "storage:cloudinit", or looks at the
// existing one, and gives the string that is stored.
func (c *Cluster) allocate(m *vm, key, text string) (string, error) {
	p := c.drive(key, text)
	file := p["file"]
	if file == "none" || file == "cdrom" {
		return printDrive(p), nil
	}
	if match := newCI.FindStringSubmatch(file); match != nil {
		s, err := c.enabled(match[1], m.node)
		if err != nil {
			return "", err
		}
		format := p["format"]
		if format == "" {
			format = "qcow2"
		}
		v, err := c.create(s, m.node, m.vmid, fmt.Sprintf("vm-%d-cloudinit", m.vmid), format, 4<<20, 4<<20, nil)
		if err != nil {
			return "", err
		}
		p["file"], p["media"] = v.id(), "cdrom"
		delete(p, "format")
		return printDrive(p), nil
	}
	if match := newVolume.FindStringSubmatch(file); match != nil {
		s, err := c.enabled(match[1], m.node)
		if err != nil {
			return "", err
		}
		gib, _ := strconv.ParseFloat(match[2], 64)
		size := (int64(gib*(1<<30)) + 1023) &^ 1023
		if from := p["import-from"]; from != "" {
			source := c.volume(m.node, from)
			if source == nil {
				return "", failure("volume '%s' does not exist", from)
			}
			size = source.size
			delete(p, "import-from")
		}
		v, err := c.create(s, m.node, m.vmid, c.freeLeaf(s, m.node, m.vmid), p["format"], size, 0, nil)
		if err != nil {
			return "", err
		}
		delete(p, "format")
		p["file"], p["size"] = v.id(), formatSize(v.size)
		return printDrive(p), nil
	}
	v := c.volume(m.node, file)
	if v == nil {
		return "", failure("volume '%s' does not exist", file)
	}
	if p["media"] != "cdrom" || v.content == "iso" {
		p["size"] = formatSize(v.size)
	}
	return printDrive(p), nil
}

// allocates is the storage on which a drive string wants a new volume.
func allocates(file string) (storage string, ok bool) {
	if m := newVolume.FindStringSubmatch(file); m != nil {
		return m[1], true
	}
	if m := newCI.FindStringSubmatch(file); m != nil {
		return m[1], true
	}
	return "", false
}

// detach takes the drive at key out of the configuration: a disk becomes unusedN, a cloud-init drive or an unused disk
// goes for good, as does any disk when force is given.
func (c *Cluster) detach(m *vm, key string, force bool) {
	p := c.drive(key, m.conf[key])
	delete(m.conf, key)
	v := c.volume(m.node, p["file"])
	switch {
	case v == nil || v.content == "iso" || v.vmid != m.vmid:
	case force || unusedKey.MatchString(key) || isCloudDrive(p):
		delete(c.volumes, v.key)
	default:
		addUnused(m.conf, v.id())
	}
}

// disks are m's drives in PVE's order, the unused ones last.
func (m *vm) disks() []string {
	var keys []string
	for _, list := range [][]string{driveSlots, unusedSlots} {
		for _, k := range list {
			if m.conf[k] != "" {
				keys = append(keys, k)
			}
		}
	}
	return keys
}
