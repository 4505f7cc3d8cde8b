package kvm

import "strings"

// option is a WHMCS configurable option that overrides a setting.
type option struct {
	name   string // as the PHP module's v3 has it, case-sensitive
	legacy string // the name before v3, "" = had none
	key    string // the setting
}

// options are what WHMCS's configurable options override. It is never written to.
var options = []option{
	{"CPU Cores", "CPU", "cpu"},
	{"RAM", "", "ram"}, // both schemes have the one name
	{"System Disk", "", "system_size"},
	{"Additional Disk", "", "additional_size"},
	{"System Disk Read Bandwidth", "", "system_mbps_rd"},
	{"System Disk Write Bandwidth", "", "system_mbps_wr"},
	{"System Disk Read IOPS", "", "system_iops_rd"},
	{"System Disk Write IOPS", "", "system_iops_wr"},
	{"Additional Disk Read Bandwidth", "", "additional_mbps_rd"},
	{"Additional Disk Write Bandwidth", "", "additional_mbps_wr"},
	{"Additional Disk Read IOPS", "", "additional_iops_rd"},
	{"Additional Disk Write IOPS", "", "additional_iops_wr"},
	{"Network Bandwidth", "", "bandwidth"},
	{"IPv4 Addresses", "ipv4", "ipv4"},
	{"IPv6 Addresses", "ipv6", "ipv6"},
	{"Operating System", "OS", "template"},
	{"Backups", "B", "backups"},
	{"Snapshots", "S", "snapshots"},
}

// WithOptions is the package with a service's configurable options applied. opts has their values by the names that
// modules see: where the seller wrote "RAM|Memory" and "4|4 GB", RAM and 4. Units are the settings': RAM and disks in GB,
// bandwidths in MB/s, Operating System the template's VMID.
//
// A value that is empty or 0 leaves the product's setting. An option that is there under its plain name hides the one
// under the legacy name, whatever it says. Other options are the seller's own and are ignored. A value that is no number
// in digits (bandwidths: with at most 3 decimals) or not in the setting's range is ErrInvalid, naming option, value and
// range, and no package comes back.
func (p Package) WithOptions(opts map[string]string) (Package, error) {
	var problems problems
	for _, o := range options {
		name, text := o.name, strings.TrimSpace(opts[o.name])
		if text == "" && o.legacy != "" {
			name, text = o.legacy, strings.TrimSpace(opts[o.legacy])
		}
		s, _ := setting(o.key)
		if text == "" || isZero(s.Kind, text) {
			continue
		}
		v, err := s.parse(text)
		if err != nil {
			unit := ""
			if s.Unit != "" {
				unit = " (" + s.Unit + ", the number alone)"
			}
			problems.addf("%q: %s is not %s%s", name, quote(text), s.Range(), unit)
			continue
		}
		s.set(&p, v)
	}
	if err := problems.err("configurable options"); err != nil {
		return Package{}, err
	}
	return p, nil
}

// isZero says whether text is 0 in one of its spellings.
func isZero(kind Kind, text string) bool {
	whole, rest, dot := strings.Cut(text, ".")
	if dot && (kind != KindDecimal || rest == "" || strings.Trim(rest, "0") != "") {
		return false
	}
	return whole != "" && strings.Trim(whole, "0") == ""
}
