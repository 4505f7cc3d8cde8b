package pvesim

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// cloudinitKeys are the options of cloud-init, as a regular expression.
const cloudinitKeys = `cicustom|cipassword|citype|ciupgrade|ciuser|nameserver|searchdomain|sshkeys|ipconfig\d+`

var cloudinitKey = pattern.New(`^(?:` + cloudinitKeys + `)$`)

// cloudinitValues are m's cloud-init options and what else goes into the drive.
func (m *vm) cloudinitValues() map[string]string {
	values := map[string]string{}
	for k, v := range m.conf {
		if cloudinitKey.MatchString(k) || k == "name" || k == "net0" {
			values[k] = v
		}
	}
	return values
}

// generate writes the cloud-init drive, if there is one.
func (c *Cluster) generate(m *vm) bool {
	for _, k := range driveSlots {
		if p := c.drive(k, m.conf[k]); isCloudDrive(p) {
			if v := c.volume(m.node, p["file"]); v != nil {
				v.contents = m.userData() + c.networkData(m) + c.metaData(m)
				m.ci = m.cloudinitValues()
				return true
			}
		}
	}
	return false
}

// cloudinitPending shows the options and, while the VM runs, what has changed since the drive was written. As in the
// genuine code ipconfigN is missing here.
func (r *request) cloudinitPending() (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	rows := []object{}
	for _, k := range []string{"cicustom", "cipassword", "citype", "ciupgrade", "ciuser", "nameserver", "searchdomain", "sshkeys"} {
		now, has := m.conf[k]
		was, had := m.ci[k]
		if !m.running {
			was, had = now, has
		}
		switch {
		case !has && !had:
		case has && !had:
			rows = append(rows, object{"key": k, "pending": r.c.value(k, now)})
		case had && !has:
			rows = append(rows, object{"key": k, "value": r.c.value(k, was), "delete": 1})
		case now != was:
			rows = append(rows, object{"key": k, "value": r.c.value(k, was), "pending": r.c.value(k, now)})
		default:
			rows = append(rows, object{"key": k, "value": r.c.value(k, now)})
		}
	}
	return rows, nil
}

// cloudinitUpdate writes the drive anew; without a drive it does nothing.
func (r *request) cloudinitUpdate() (any, error) {
	c := r.c
	if _, err := r.lookup(); err != nil {
		return nil, err
	}
	o := &op{c: c}
	o.acquire(vmLockKey(r.vmid()), false, vmLockWait, func() {
		m, err := r.lookup()
		if err == nil {
			err = m.unlocked()
		}
		if err != nil {
			o.fail(err)
			return
		}
		o.after(c.model.Cloudinit, func() { o.commit(func() { c.generate(m) }) })
	})
	return nil, r.await(o)
}

func (r *request) cloudinitDump() (any, error) {
	m, err := r.lookup()
	if err != nil {
		return nil, err
	}
	switch r.str("type") {
	case "user":
		return m.userData(), nil
	case "network":
		return r.c.networkData(m), nil
	default:
		return r.c.metaData(m), nil
	}
}

func (m *vm) userData() string {
	var b strings.Builder
	fqdn := m.conf["name"]
	if fqdn == "" {
		fqdn = fmt.Sprintf("VM%d", m.vmid)
	}
	host, _, dotted := strings.Cut(fqdn, ".")
	if domain := m.conf["searchdomain"]; !dotted && domain != "" {
		fqdn = host + "." + domain
	}
	fmt.Fprintf(&b, "#cloud-config\nhostname: %s\nmanage_etc_hosts: true\nfqdn: %s\n", host, fqdn)
	if u := m.conf["ciuser"]; u != "" {
		fmt.Fprintf(&b, "user: %s\n", u)
	}
	if p := m.conf["cipassword"]; p != "" {
		fmt.Fprintf(&b, "password: %s\n", p)
	}
	if keys, _ := url.PathUnescape(m.conf["sshkeys"]); keys != "" {
		b.WriteString("ssh_authorized_keys:\n")
		for line := range strings.Lines(keys) {
			if line = strings.TrimSpace(line); line != "" {
				fmt.Fprintf(&b, "  - %s\n", line)
			}
		}
	}
	b.WriteString("chpasswd:\n  expire: False\n")
	if u := m.conf["ciuser"]; u != "root" {
		b.WriteString("users:\n  - default\n")
	}
	if m.conf["ciupgrade"] != "0" {
		b.WriteString("package_upgrade: true\n")
	}
	return b.String()
}

func (c *Cluster) networkData(m *vm) string {
	var b strings.Builder
	b.WriteString("version: 1\nconfig:\n")
	for i := 0; i <= families["net"]; i++ {
		card, ok := m.conf[fmt.Sprintf("net%d", i)]
		if !ok {
			continue
		}
		mac, _, _ := strings.Cut(card, ",")
		_, mac, _ = strings.Cut(mac, "=")
		fmt.Fprintf(&b, "    - type: physical\n      name: eth%d\n      mac_address: '%s'\n      subnets:\n", i, strings.ToLower(mac))
		ip, _ := parseProperties(ipconfigProps, m.conf[fmt.Sprintf("ipconfig%d", i)])
		if ip["ip"] == "" && ip["ip6"] == "" {
			ip = properties{"ip": "dhcp", "ip6": "dhcp"}
		}
		subnet(&b, "4", ip["ip"], ip["gw"])
		subnet(&b, "6", ip["ip6"], ip["gw6"])
	}
	servers := strings.FieldsFunc(m.conf["nameserver"], isListBreak)
	if n := c.node(m.node); n != nil && m.conf["nameserver"] == "" {
		servers = n.Nameservers
	}
	if len(servers) > 0 || m.conf["searchdomain"] != "" {
		b.WriteString("    - type: nameserver\n")
		if len(servers) > 0 {
			b.WriteString("      address:\n")
		}
		for _, s := range servers {
			fmt.Fprintf(&b, "      - '%s'\n", s)
		}
		if d := m.conf["searchdomain"]; d != "" {
			fmt.Fprintf(&b, "      search:\n      - '%s'\n", d)
		}
	}
	return b.String()
}

func subnet(b *strings.Builder, family, address, gateway string) {
	switch {
	case address == "":
		return
	case address == "dhcp":
		fmt.Fprintf(b, "      - type: dhcp%s\n", family)
		return
	case address == "auto":
		b.WriteString("      - type: ipv6_slaac\n")
		return
	}
	kind := "static"
	if family == "6" {
		kind = "static6"
	}
	fmt.Fprintf(b, "      - type: %s\n", kind)
	if prefix, err := netip.ParsePrefix(address); err == nil && family == "4" {
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-prefix.Bits()))
		fmt.Fprintf(b, "        address: '%s'\n        netmask: '%s'\n", prefix.Addr(), netip.AddrFrom4(mask))
	} else {
		fmt.Fprintf(b, "        address: '%s'\n", address)
	}
	if gateway != "" {
		fmt.Fprintf(b, "        gateway: '%s'\n", gateway)
	}
}

func (c *Cluster) metaData(m *vm) string {
	return fmt.Sprintf("instance-id: %s\n", digestOf(m.userData()+c.networkData(m)))
}
