package pve

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// pair is one key=value of a property string.
type pair struct{ key, value string }

// pairs keep their order, and keys that we do not know.
type pairs []pair

func (p pairs) get(key string) (string, bool) {
	for _, kv := range p {
		if kv.key == key {
			return kv.value, true
		}
	}
	return "", false
}

// set changes key in place or adds it at the end; "" removes it.
func (p *pairs) set(key, value string) {
	i := slices.IndexFunc(*p, func(kv pair) bool { return kv.key == key })
	switch {
	case value == "":
		*p = slices.DeleteFunc(*p, func(kv pair) bool { return kv.key == key })
	case i < 0:
		*p = append(*p, pair{key, value})
	default:
		(*p)[i].value = value
	}
}

// parsePairs reads k=v,k=v. An element without "=" gets the key def, once; with def "" it is an error.
func parsePairs(s, def string) (pairs, error) {
	var out pairs
	for _, element := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(element, "=")
		if !ok {
			key, value = def, element
		}
		if key == "" || value == "" || strings.ContainsFunc(element, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("%.80q: %.40q is not key=value", s, element)
		}
		if _, double := out.get(key); double {
			return nil, fmt.Errorf("%.80q: %s stands there twice", s, key)
		}
		out = append(out, pair{key, value})
	}
	return out, nil
}

// drive is a drive's property string: a volume and options.
type drive struct {
	volume  string // storage:name, a path, none or cdrom
	options pairs
}

func parseDrive(s string) (drive, error) {
	p, err := parsePairs(s, "file")
	if err != nil {
		return drive{}, kvm.Errorf(kvm.ErrInvalid, "the drive %w", err)
	}
	volume, ok := p.get("file")
	if !ok {
		return drive{}, kvm.Errorf(kvm.ErrInvalid, "the drive %.80q names no volume", s)
	}
	p.set("file", "")
	return drive{volume, p}, nil
}

// String is the drive as Proxmox reads it, the volume first.
func (d drive) String() string {
	var b strings.Builder
	if strings.Contains(d.volume, "=") {
		b.WriteString("file=")
	}
	b.WriteString(d.volume)
	for _, kv := range d.options {
		b.WriteString("," + kv.key + "=" + kv.value)
	}
	return b.String()
}

// storage is the volume's storage, "" where the volume is none.
func (d drive) storage() string {
	name, _, ok := strings.Cut(d.volume, ":")
	if !ok || strings.HasPrefix(d.volume, "/") {
		return ""
	}
	return name
}

var cloudInitVolume = pattern.New(`[:/]vm-\d+-cloudinit(\.\w+)?$|:cloudinit$`)

func (d drive) cloudInit() bool { return cloudInitVolume.MatchString(d.volume) }

// emptyDrive is the volume of a CD drive with nothing in it.
const emptyDrive = "none"

func (d drive) cd() bool {
	media, _ := d.options.get("media")
	return media == "cdrom" || d.volume == emptyDrive || d.volume == "cdrom"
}

// size is what the configuration says, 0 where it says nothing.
func (d drive) size() (int64, error) {
	s, ok := d.options.get("size")
	if !ok {
		return 0, nil
	}
	return parseSize(s)
}

func (d drive) limits() (l kvm.Limits, err error) {
	for _, f := range []struct {
		key string
		to  *float64
	}{{"mbps_rd", &l.ReadMBps}, {"mbps_wr", &l.WriteMBps}} {
		if s, ok := d.options.get(f.key); ok {
			if *f.to, err = strconv.ParseFloat(s, 64); err != nil {
				return l, fmt.Errorf("%s=%.40q is no number", f.key, s)
			}
		}
	}
	for _, f := range []struct {
		key string
		to  *int
	}{{"iops_rd", &l.ReadIOPS}, {"iops_wr", &l.WriteIOPS}} {
		if s, ok := d.options.get(f.key); ok {
			if *f.to, err = strconv.Atoi(s); err != nil {
				return l, fmt.Errorf("%s=%.40q is no whole number", f.key, s)
			}
		}
	}
	return l, nil
}

// setLimits writes the four throttles that we manage; 0 removes one. Bursts and the summed ones stay as they are.
func (d *drive) setLimits(l kvm.Limits) {
	d.options.set("mbps_rd", decimal(l.ReadMBps))
	d.options.set("mbps_wr", decimal(l.WriteMBps))
	d.options.set("iops_rd", decimal(float64(l.ReadIOPS)))
	d.options.set("iops_wr", decimal(float64(l.WriteIOPS)))
}

// decimal is f without needless digits, "" for 0.
func decimal(f float64) string {
	if f == 0 {
		return ""
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

var slotPattern = pattern.New(`^(?:(scsi)([0-9]|[12][0-9]|30)|(virtio)([0-9]|1[0-5])|(sata)([0-5])|(ide)([0-3]))$`)

// slotOrder is the place of a drive slot among all: scsi, virtio, sata, ide, each by number. ok is false where s is none.
func slotOrder(s string) (order int, ok bool) {
	m := slotPattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	for bus := range 4 {
		if m[1+2*bus] != "" {
			n, _ := strconv.Atoi(m[2+2*bus])
			return bus*100 + n, true
		}
	}
	return 0, false
}
