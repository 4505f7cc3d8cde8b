package pvesim

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// archive is what a backup holds.
type archive struct {
	conf  map[string]string
	disks map[string]archived // by slot
	// firewall is the VM's firewall file (qemu-server's VZDump.pm adds it, and a restore puts it back); nil = it had none.
	firewall *firewall
}

type archived struct {
	storage, format string
	content
}

func contentOf(v *volume) content { return content{v.size, v.contents} }

// archiveOf is what a backup of m holds now, the size of its disks, and how much of them was ever written.
func (c *Cluster) archiveOf(m *vm) (a *archive, size, written int64, err error) {
	a = &archive{conf: maps.Clone(m.conf), disks: map[string]archived{}}
	maps.DeleteFunc(a.conf, func(k, _ string) bool { return k == "lock" || k == "parent" || unusedKey.MatchString(k) })
	if f := c.firewalls[m.vmid]; f != nil {
		a.firewall = f.clone()
	}
	for _, k := range c.snapshotVolumes(m.conf) {
		p := c.drive(k, m.conf[k])
		v := c.volume(m.node, p["file"])
		if p["backup"] == "0" {
			continue
		}
		if v == nil {
			return nil, 0, 0, failure("volume '%s' does not exist", p["file"])
		}
		a.disks[k] = archived{v.key.storage, v.format, contentOf(v)}
		size += v.size
		written += min(v.used, v.size)
	}
	return a, size, written, nil
}

// archiveFormat is vma with the suffix of the compression, or a backup server's own.
func (s *Storage) archiveFormat(compress string) string {
	if s.Type == "pbs" {
		return "pbs-vm"
	}
	return "vma" + map[string]string{"1": ".lzo", "lzo": ".lzo", "gzip": ".gz", "zstd": ".zst"}[compress]
}

// archiveName is what s calls a VM's backup of a moment.
func (s *Storage) archiveName(vmid int, at time.Time, format string) string {
	if s.Type == "pbs" {
		return fmt.Sprintf("backup/vm/%d/%s", vmid, at.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return fmt.Sprintf("backup/vzdump-qemu-%d-%s.%s", vmid, at.UTC().Format("2006_01_02-15_04_05"), format)
}

// text is the configuration in a backup, as extractconfig shows it.
func (a *archive) text() string {
	var b strings.Builder
	writeOptions(&b, a.conf["description"], a.conf)
	for _, k := range driveSlots {
		if d, ok := a.disks[k]; ok {
			format := d.format
			if format == "raw" {
				format = ""
			}
			fmt.Fprintf(&b, "#qmdump#map:%s:drive-%s:%s:%s:\n", k, k, d.storage, format)
		}
	}
	return b.String()
}

// extractConfig is the configuration in a backup.
func (r *request) extractConfig() (any, error) {
	v := r.c.volume(r.str("node"), r.str("volume"))
	switch {
	case v == nil:
		return nil, failure("volume '%s' does not exist", r.str("volume"))
	case !r.mayList(v):
		return nil, denied("/storage/"+v.key.storage, "Datastore.Allocate")
	case v.archive == nil:
		return nil, failure("unable to parse volume filename '%s'", v.key.name)
	}
	return v.archive.text(), nil
}
