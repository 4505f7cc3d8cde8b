package pvesim

import (
	"maps"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// write changes the configuration. What a running VM cannot take at once becomes pending.
func (c *Cluster) write(m *vm, ch configChange) {
	for _, k := range ch.revert {
		delete(m.pending, k)
	}
	for _, k := range ch.del {
		_, isSet := m.conf[k]
		switch {
		case m.running && !m.takes(k, "") && isSet:
			m.pending[k] = change{delete: true}
		case driveKey.MatchString(k) || unusedKey.MatchString(k):
			if isSet {
				c.detach(m, k, ch.force)
			}
		default:
			delete(m.conf, k)
			delete(m.pending, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(ch.set)) {
		value := ch.set[k]
		switch {
		case m.running && !m.takes(k, value):
			m.pending[k] = change{value: value}
			if m.conf[k] == value {
				delete(m.pending, k)
			}
			continue
		case driveKey.MatchString(k) && m.conf[k] != "" && c.drive(k, m.conf[k])["file"] != c.drive(k, value)["file"]:
			c.detach(m, k, false)
		}
		m.conf[k] = value
		delete(m.pending, k)
	}
}

// atOnce are options that a running VM takes at once (fast_plug_option and what is hot-pluggable by default).
var atOnce = pattern.New(`^(?:lock|name|onboot|shares|startup|description|protection|vmstatestorage|hookscript|tags|` +
	`template|balloon|cpulimit|cpuunits|net\d+|scsi\d+|virtio\d+|unused\d+|args|` + cloudinitKeys + `)$`)

// takes says whether a running VM takes a change of key at once.
func (m *vm) takes(key, value string) bool {
	if atOnce.MatchString(key) {
		return true
	}
	cd := func(s string) bool { return strings.Contains(s, "media=cdrom") || strings.HasPrefix(s, "none") }
	return driveKey.MatchString(key) && m.conf[key] != "" && value != "" && cd(m.conf[key]) && cd(value) && !cloudDrive.MatchString(value)
}

// applyPending is what a start does with the pending changes.
func (c *Cluster) applyPending(m *vm) {
	ch := configChange{set: map[string]string{}}
	for k, p := range m.pending {
		if p.delete {
			ch.del = append(ch.del, k)
		} else {
			ch.set[k] = p.value
		}
	}
	slices.Sort(ch.del)
	m.pending = map[string]change{}
	running := m.running
	m.running = false
	c.write(m, ch)
	m.running = running
}
