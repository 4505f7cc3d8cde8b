package kvm

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The ceilings are far above anything sold and only catch slips of the hand; where PVE has a limit of its own it is
// taken: VMIDs 100 to 999999999, VLAN tags to 4094, the network card models, policies and log levels of its API.
const (
	lastVMID = 999999999
	maxCPU   = 1024
	maxRAM   = 16384   // GB
	maxDisk  = 131072  // GB
	maxMBps  = 100000  // MB/s
	maxIOPS  = 9999999 // a second
)

// table is every setting of a product, in the order in which it is shown and stored. It is never written to.
var table = slices.Concat(
	vmSettings(), networkSettings(), firewallSettings(),
	diskSettings("system", "system disk", "empty = as in the template; needs clone_type=full", "0 = leave it as it is in the template",
		func(p *Package) *DiskPlan { return &p.System }),
	diskSettings("additional", "additional disk", "empty = as the system disk", "0 = no additional disk",
		func(p *Package) *DiskPlan { return &p.Additional }),
	integrationSettings(), permissionSettings(),
)

func vmSettings() []Setting {
	const g = "VM"
	return []Setting{
		{Key: "node", Group: g, Kind: KindText, blank: true, form: nodeForm,
			Help: "the node that VMs are made on; empty = automatically, the one with the most free RAM",
			set:  func(p *Package, v value) { p.Node = v.text }},
		{Key: "template", Group: g, Kind: KindNumber, Default: "0", Min: 100, Max: lastVMID, zero: true,
			Help: "VMID of the template that is cloned; 0 = not set, then every order has to choose an Operating System",
			set:  func(p *Package, v value) { p.Template = v.n }},
		{Key: "clone_type", Group: g, Kind: KindChoice, Default: "linked", Values: []string{"linked", "full"},
			Help: "linked clones are made at once and share the template's storage; full clones are independent of it",
			set:  func(p *Package, v value) { p.FullClone = v.text == "full" }},
		{Key: "cpu", Group: g, Kind: KindNumber, Default: "1", Unit: "cores", Min: 1, Max: maxCPU,
			Help: "CPU cores", set: func(p *Package, v value) { p.CPU = v.n }},
		{Key: "ram", Group: g, Kind: KindNumber, Default: "1", Unit: "GB", Min: 1, Max: maxRAM,
			Help: "memory", set: func(p *Package, v value) { p.RAM = v.n * 1024 }},
		{Key: "backups", Group: g, Kind: KindNumber, Default: "0", Min: 0, Max: 999,
			Help: "how many backups the client may have; 0 = none", set: func(p *Package, v value) { p.Backups = v.n }},
		{Key: "snapshots", Group: g, Kind: KindNumber, Default: "0", Min: 0, Max: 999,
			Help: "how many snapshots the client may have; 0 = none", set: func(p *Package, v value) { p.Snapshots = v.n }},
		{Key: "snapshot_lifetime", Group: g, Kind: KindNumber, Default: "0", Unit: "days", Min: 1, Max: 10, zero: true,
			Help: "snapshots older than this are removed; 0 = keep them", set: func(p *Package, v value) { p.SnapshotLifetime = v.n }},
		{Key: "name_prefix", Group: g, Kind: KindText, Default: "vps", blank: true, form: prefixForm,
			Help: "what {prefix} in the name rule stands for", set: func(p *Package, v value) { p.NamePrefix = v.text }},
		{Key: "name_rule", Group: g, Kind: KindText, Default: "{prefix}-{client_id}-{service_id}", form: ruleForm,
			Help: "how VMs are named; the result is a DNS label. Macros: " + macros,
			set:  func(p *Package, v value) { p.NameRule = v.text }},
		{Key: "first_vmid", Group: g, Kind: KindNumber, Default: "100", Min: 100, Max: lastVMID,
			Help: "the lowest VMID that is given to a VM", set: func(p *Package, v value) { p.FirstVMID = v.n }},
		{Key: "os_user", Group: g, Kind: KindText, blank: true, form: userForm,
			Help: "the user in the guest; empty = a random name", set: func(p *Package, v value) { p.OSUser = v.text }},
	}
}

func networkSettings() []Setting {
	const g = "network"
	return []Setting{
		{Key: "net_model", Group: g, Kind: KindChoice, blank: true,
			Values: []string{"virtio", "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b",
				"i82559er", "ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3"},
			Help: "model of the network card; empty = as in the template", set: func(p *Package, v value) { p.Network.Model = v.text }},
		{Key: "bandwidth", Group: g, Kind: KindDecimal, Default: "0", Unit: "MB/s", Min: 0, Max: maxMBps,
			Help: "limit of the network card; 0 = unlimited", set: func(p *Package, v value) { p.Network.Bandwidth = v.f }},
		{Key: "bridge", Group: g, Kind: KindText, Default: "vmbr0", form: bridgeForm,
			Help: "bridge or vnet; with auto_bridge the address pools decide", set: func(p *Package, v value) { p.Network.Bridge = v.text }},
		{Key: "vlan", Group: g, Kind: KindNumber, Default: "0", Min: 0, Max: 4094,
			Help: "VLAN tag, 0 = untagged; with auto_bridge the address pools decide", set: func(p *Package, v value) { p.Network.VLAN = v.n }},
		{Key: "ipv4", Group: g, Kind: KindNumber, Default: "1", Unit: "addresses", Min: 0, Max: 256,
			Help: "how many IPv4 addresses a VM gets; none with dhcp_ipv4", set: func(p *Package, v value) { p.Network.IPv4 = v.n }},
		{Key: "ipv6", Group: g, Kind: KindNumber, Default: "0", Unit: "addresses", Min: 0, Max: 256,
			Help: "how many IPv6 addresses a VM gets; none with dhcp_ipv6", set: func(p *Package, v value) { p.Network.IPv6 = v.n }},
		toggle(g, "auto_bridge", "on", "take the first bridge and VLAN whose pools have enough free addresses",
			func(p *Package, on bool) { p.Network.Auto = on }),
		toggle(g, "dhcp_ipv4", "off", "the guest asks for its IPv4 address; it is then not ours to give out, and the firewall is not managed",
			func(p *Package, on bool) { p.Network.DHCP4 = on }),
		toggle(g, "dhcp_ipv6", "off", "the guest asks for its IPv6 address; it is then not ours to give out, and the firewall is not managed",
			func(p *Package, on bool) { p.Network.DHCP6 = on }),
	}
}

func firewallSettings() []Setting {
	const g = "firewall"
	policies := []string{"ACCEPT", "REJECT", "DROP"}
	levels := []string{"nolog", "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	choice := func(key, def string, values []string, help string, set func(*Firewall, string)) Setting {
		return Setting{Key: key, Group: g, Kind: KindChoice, Default: def, Values: values, Help: help,
			set: func(p *Package, v value) { set(&p.Firewall, v.text) }}
	}
	return []Setting{
		toggle(g, "fw_enable", "on", "the VM's firewall", func(p *Package, on bool) { p.Firewall.Enable = on }),
		choice("fw_policy_in", "ACCEPT", policies, "what happens to incoming packets that no rule names", func(f *Firewall, s string) { f.PolicyIn = s }),
		choice("fw_policy_out", "ACCEPT", policies, "what happens to outgoing packets that no rule names", func(f *Firewall, s string) { f.PolicyOut = s }),
		choice("fw_log_in", "nolog", levels, "how much of incoming traffic PVE logs", func(f *Firewall, s string) { f.LogIn = s }),
		choice("fw_log_out", "nolog", levels, "how much of outgoing traffic PVE logs", func(f *Firewall, s string) { f.LogOut = s }),
		toggle(g, "fw_dhcp", "on", "let DHCP through", func(p *Package, on bool) { p.Firewall.DHCP = on }),
		toggle(g, "fw_ndp", "on", "let IPv6 neighbour discovery through", func(p *Package, on bool) { p.Firewall.NDP = on }),
		toggle(g, "fw_radv", "off", "let the guest send router advertisements", func(p *Package, on bool) { p.Firewall.RADV = on }),
		toggle(g, "fw_macfilter", "on", "drop packets from other MAC addresses than the VM's", func(p *Package, on bool) { p.Firewall.MACFilter = on }),
		toggle(g, "fw_ipfilter", "off", "PVE's own IP filter option", func(p *Package, on bool) { p.Firewall.IPFilter = on }),
		toggle(g, "antispoof", "on", "drop packets from other addresses than the VM's (IPSet ipfilter-net0)", func(p *Package, on bool) { p.Firewall.AntiSpoof = on }),
	}
}

func diskSettings(prefix, disk, storage, size string, plan func(*Package) *DiskPlan) []Setting {
	const g = "storage"
	mbps := func(key, verb string, set func(*Limits, float64)) Setting {
		return Setting{Key: prefix + key, Group: g, Kind: KindDecimal, Default: "0", Unit: "MB/s", Min: 0, Max: maxMBps,
			Help: verb + " limit of the " + disk + "; 0 = unlimited", set: func(p *Package, v value) { set(&plan(p).Limits, v.f) }}
	}
	iops := func(key, verb string, set func(*Limits, int)) Setting {
		return Setting{Key: prefix + key, Group: g, Kind: KindNumber, Default: "0", Unit: "IOPS", Min: 0, Max: maxIOPS,
			Help: verb + " limit of the " + disk + "; 0 = unlimited", set: func(p *Package, v value) { set(&plan(p).Limits, v.n) }}
	}
	return []Setting{
		{Key: prefix + "_storage", Group: g, Kind: KindText, blank: true, form: storageForm,
			Help: "storage of the " + disk + "; " + storage, set: func(p *Package, v value) { plan(p).Storage = v.text }},
		{Key: prefix + "_size", Group: g, Kind: KindNumber, Default: "0", Unit: "GB", Min: 0, Max: maxDisk,
			Help: "size of the " + disk + "; " + size, set: func(p *Package, v value) { plan(p).Size = v.n }},
		mbps("_mbps_rd", "read", func(l *Limits, f float64) { l.ReadMBps = f }),
		mbps("_mbps_wr", "write", func(l *Limits, f float64) { l.WriteMBps = f }),
		iops("_iops_rd", "read", func(l *Limits, n int) { l.ReadIOPS = n }),
		iops("_iops_wr", "write", func(l *Limits, n int) { l.WriteIOPS = n }),
	}
}

func integrationSettings() []Setting {
	const g = "integrations"
	return []Setting{
		{Key: "backup_storage", Group: g, Kind: KindText, blank: true, form: storageForm,
			Help: "storage of the backups", set: func(p *Package, v value) { p.BackupStorage = v.text }},
		{Key: "iso_storage", Group: g, Kind: KindText, blank: true, form: storageForm,
			Help: "storage of the ISO images", set: func(p *Package, v value) { p.ISOStorage = v.text }},
		{Key: "console_proxy", Group: g, Kind: KindText, blank: true, form: hostForm,
			Help: "where the console's proxy listens", set: func(p *Package, v value) { p.ConsoleProxy = v.text }},
		{Key: "console_key", Group: g, Kind: KindHidden, blank: true,
			Help: "the key shared with the console's proxy", set: func(p *Package, v value) { p.ConsoleKey = NewSecret(v.text) }},
		{Key: "main_domain", Group: g, Kind: KindText, blank: true, form: domainForm,
			Help: "what follows a VM's name in its domain name; a leading dot does not count", set: func(p *Package, v value) { p.MainDomain = v.text }},
		{Key: "revdns_department", Group: g, Kind: KindNumber, Default: "0", Min: 0, Max: 1<<31 - 1,
			Help: "id of the support department that gets tickets for reverse names no zone of ours serves; 0 = none",
			set:  func(p *Package, v value) { p.RevDNSDepartment = v.n }},
		{Key: "mail_ready", Group: g, Kind: KindText, Default: "puqProxmoxKVM VM is ready",
			Help: "mail template: the VM is ready", set: func(p *Package, v value) { p.MailReady = v.text }},
		{Key: "mail_reset_password", Group: g, Kind: KindText, Default: "puqProxmoxKVM Reset password",
			Help: "mail template: the password was reset", set: func(p *Package, v value) { p.MailResetPassword = v.text }},
		{Key: "mail_backup_restored", Group: g, Kind: KindText, Default: "puqProxmoxKVM Backup restored",
			Help: "mail template: a backup was restored", set: func(p *Package, v value) { p.MailBackupRestored = v.text }},
	}
}

func permissionSettings() []Setting {
	var all []Setting
	for _, what := range []string{"start", "stop", "novnc", "charts", "reinstall", "reset_password", "revdns", "iso", "firewall", "snapshots", "backups"} {
		all = append(all, toggle("permissions", "allow_"+what, "on", "the client may use: "+strings.ReplaceAll(what, "_", " "),
			func(p *Package, on bool) { p.Permissions[what] = on }))
	}
	return all
}

func toggle(group, key, def, help string, set func(*Package, bool)) Setting {
	return Setting{Key: key, Group: group, Kind: KindSwitch, Default: def, Help: help,
		set: func(p *Package, v value) { set(p, v.on) }}
}

// checked is the form of texts that valid takes as they are.
func checked(want string, valid func(string) bool) form {
	return form{want, func(s string) (string, bool) { return s, valid(s) }}
}

// The forms of text settings. They are never written to.
var (
	nodeForm    = checked("a node's name: letters, digits and -, at most 63", ValidNode)
	storageForm = checked("a storage's id: a letter, then letters, digits, - _ and ., 2 to 100", ValidStorage)
	bridgeForm  = checked("a bridge's name: 1 to 15 letters, digits, - _ and .", ValidBridge)
	prefixForm  = checked("a name's beginning: at most 63 of a-z, 0-9 and -",
		func(s string) bool { return len(s) <= 63 && only(s, "-", false) })
	ruleForm = checked("a name rule: text and the macros "+macros,
		func(s string) bool { _, err := parseRule(s); return err == nil })
	userForm = checked("a user's name: at most 32 letters, digits, - _ and ., the first a letter or _",
		func(s string) bool {
			return len(s) <= 32 && only(s, "-_.", true) && !strings.ContainsAny(s[:1], "-.0123456789")
		})
	hostForm = checked("a host name or address, with or without :port", validHost)
	// The leading dot that the PHP module's setting has is removed.
	domainForm = form{"a domain name: labels of a-z, 0-9 and - between dots", func(s string) (string, bool) {
		s = strings.ToLower(strings.TrimPrefix(s, "."))
		return s, ValidDNSName(s)
	}}
)

func validHost(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host = s
		if inner, ok := strings.CutPrefix(s, "["); ok {
			host = strings.TrimSuffix(inner, "]")
		}
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	return ValidDNSName(strings.ToLower(host))
}
