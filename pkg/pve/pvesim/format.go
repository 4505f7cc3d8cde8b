package pvesim

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

var (
	nodeName    = pattern.New(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$`)
	vmidValue   = pattern.New(`^[1-9][0-9]{2,8}$`)
	dnsName     = pattern.New(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$`)
	storageName = pattern.New(`^(?i:[a-z][a-z0-9._-]*[a-z0-9])$`)
	configID    = pattern.New(`^(?i:[a-z][a-z0-9_-]+)$`)
	urlencoded  = pattern.New(`^[-%a-zA-Z0-9_.!~*'()]*$`)
	macAddress  = pattern.New(`^(?i:[0-9a-f][02468ace](:[0-9a-f]{2}){5})$`)
	bridgeName  = pattern.New(`^[-_.\w]+$`)
	diskSize    = pattern.New(`^\d+(\.\d+)?[KMGT]?$`)
	volumeID    = pattern.New(`^([a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]):(\S+)$`)
	tagName     = pattern.New(`^(?i:[a-z0-9_][a-z0-9_.+-]*)$`)
	poolName    = pattern.New(`^[A-Za-z0-9._/-]+$`)
)

// ipconfigProps is the property string of ipconfigN (PVE::QemuServer pve-qm-ipconfig), whose properties the schema of the
// API names by a format only.
var ipconfigProps = map[string]*param{
	"ip":  {Type: "string", Optional: true, Format: "pve-ipv4-config"},
	"gw":  {Type: "string", Optional: true, Format: "ipv4", Requires: "ip"},
	"ip6": {Type: "string", Optional: true, Format: "pve-ipv6-config"},
	"gw6": {Type: "string", Optional: true, Format: "ipv6", Requires: "ip6"},
}

// contentTypes are those of PVE::Storage::Plugin.
var contentTypes = []string{"images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"}

// checkFormat says what is wrong with value by p's format, or "". Formats that are not listed here accept anything.
func (c *Cluster) checkFormat(name string, p *param, value string) string {
	if p.props != nil {
		return c.checkProperties(name, p.props, value)
	}
	if p.Format == "pve-qm-ipconfig" {
		return c.checkProperties(name, ipconfigProps, value)
	}
	if p.Format == "prune-backups" {
		return c.checkProperties(name, pruneProps, value)
	}
	if single, isList := strings.CutSuffix(p.Format, "-list"); isList {
		for _, item := range strings.FieldsFunc(value, isListBreak) {
			if text := checkSimple(single, item); text != "" {
				return text
			}
		}
		return ""
	}
	return checkSimple(p.Format, value)
}

func checkSimple(format, v string) string {
	matches := func(re *pattern.Pattern, text string) string {
		if re.MatchString(v) {
			return ""
		}
		return text + "\n"
	}
	switch format {
	case "pve-vmid":
		return matches(vmidValue, "value does not look like a valid VM ID")
	case "pve-node":
		return matches(nodeName, "value does not look like a valid node name")
	case "dns-name":
		return matches(dnsName, "value does not look like a valid DNS name")
	case "pve-storage-id":
		return matches(storageName, fmt.Sprintf("storage ID '%s' contains illegal characters", v))
	case "pve-configid":
		return matches(configID, fmt.Sprintf("invalid configuration ID '%s'", v))
	case "pve-poolid":
		return matches(poolName, fmt.Sprintf("pool name '%s' contains invalid characters", v))
	case "pve-tag":
		return matches(tagName, "invalid characters in tag")
	case "urlencoded":
		return matches(urlencoded, "invalid urlencoded string: "+v)
	case "mac-addr":
		return matches(macAddress, "value does not look like a valid unicast MAC address")
	case "pve-bridge-id":
		return matches(bridgeName, fmt.Sprintf("invalid bridge name '%s'", v))
	case "disk-size":
		return matches(diskSize, "value does not look like a valid disk size: "+v)
	case "pve-volume-id-or-qm-path":
		if v == "none" || v == "cdrom" || strings.HasPrefix(v, "/") {
			return ""
		}
		return matches(volumeID, fmt.Sprintf("unable to parse volume ID '%s'", v))
	case "pve-volume-id":
		return matches(volumeID, fmt.Sprintf("unable to parse volume ID '%s'", v))
	case "pve-storage-content":
		for _, known := range contentTypes {
			if v == known {
				return ""
			}
		}
		return fmt.Sprintf("invalid content type '%s'\n", v)
	}
	return checkNetwork(format, v)
}

// checkNetwork are the formats of addresses and ports.
func checkNetwork(format, v string) string {
	addr, addrErr := netip.ParseAddr(v)
	prefix, prefixErr := netip.ParsePrefix(v)
	zoned := strings.Contains(v, "%")
	verdict := func(ok bool, text string) string {
		if ok && !zoned {
			return ""
		}
		return text + "\n"
	}
	switch format {
	case "ipv4":
		return verdict(addrErr == nil && addr.Is4(), "value does not look like a valid IPv4 address")
	case "ipv6":
		return verdict(addrErr == nil && addr.Is6(), "value does not look like a valid IPv6 address")
	case "address":
		return verdict(addrErr == nil || dnsName.MatchString(v), "value does not look like a valid address: "+v)
	case "pve-ipv4-config":
		return verdict(v == "dhcp" || prefixErr == nil && prefix.Addr().Is4() && prefix.Bits() > 0,
			"value does not look like a valid ipv4 network configuration")
	case "pve-ipv6-config":
		return verdict(v == "auto" || v == "dhcp" || prefixErr == nil && prefix.Addr().Is6(),
			"value does not look like a valid ipv6 network configuration")
	case "CIDR":
		return verdict(prefixErr == nil, "value does not look like a valid CIDR network")
	case "IPorCIDRorAlias":
		return verdict(addrErr == nil || prefixErr == nil || aliasName.MatchString(v),
			"value does not look like a valid IP address or CIDR network")
	case "IPorCIDR":
		return verdict(addrErr == nil || prefixErr == nil, "value does not look like a valid IP address or CIDR network")
	case "pve-fw-protocol-spec":
		if _, err := strconv.ParseUint(v, 10, 8); err == nil || protocols[v] {
			return ""
		}
		return fmt.Sprintf("unknown protocol '%s'\n", v)
	case "pve-fw-dport-spec", "pve-fw-sport-spec":
		return checkPorts(v)
	}
	return ""
}

var aliasName = pattern.New(`^(?:dc/|guest/)?[A-Za-z][A-Za-z0-9_-]+$`)

// checkPorts is PVE::Firewall's parse_port_name_number_or_range.
func checkPorts(v string) string {
	for item := range strings.SplitSeq(v, ",") {
		ends := strings.Split(item, ":")
		if len(ends) > 2 || item == "" {
			return fmt.Sprintf("invalid port range '%s'\n", item)
		}
		for _, end := range ends {
			if services[end] {
				continue
			}
			if n, err := strconv.Atoi(end); err != nil || n < 0 || n > 65535 {
				return fmt.Sprintf("invalid port '%s'\n", end)
			}
		}
		if len(ends) == 2 {
			first, _ := strconv.Atoi(ends[0])
			if last, _ := strconv.Atoi(ends[1]); first > last {
				return fmt.Sprintf("backwards range '%s' not allowed\n", item)
			}
		}
	}
	return ""
}
