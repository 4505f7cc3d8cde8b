package pve

import (
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// nic is a network card's property string. Proxmox writes model=MAC; the long form model=…,macaddr=… is read too.
type nic struct {
	model, mac string
	options    pairs
}

var macPattern = pattern.New(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`)

var nicModels = []string{"virtio", "e1000", "e1000e", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "rtl8139", "vmxnet3",
	"ne2k_pci", "ne2k_isa", "pcnet", "i82551", "i82557b", "i82559er"}

func parseNIC(s string) (nic, error) {
	p, err := parsePairs(s, "model")
	if err != nil {
		return nic{}, kvm.Errorf(kvm.ErrInvalid, "the network card %w", err)
	}
	var n nic
	if i := slices.IndexFunc(p, func(kv pair) bool { return slices.Contains(nicModels, kv.key) }); i >= 0 {
		n.model, n.mac = p[i].key, p[i].value
		p = slices.Delete(p, i, i+1)
	} else {
		n.model, _ = p.get("model")
		n.mac, _ = p.get("macaddr")
		p.set("model", "")
		p.set("macaddr", "")
	}
	n.options = p
	_, again := p.get("model")
	_, twice := p.get("macaddr")
	if !slices.Contains(nicModels, n.model) || again || twice || n.mac != "" && !macPattern.MatchString(n.mac) {
		return nic{}, kvm.Errorf(kvm.ErrInvalid, "the network card %.80q has no model=MAC that Proxmox knows", s)
	}
	return n, nil
}

// String is the card as Proxmox writes it. Without a MAC Proxmox would make a new one: see SetNIC.
func (n nic) String() string {
	var b strings.Builder
	b.WriteString(n.model)
	if n.mac != "" {
		b.WriteString("=" + n.mac)
	}
	for _, kv := range n.options {
		b.WriteString("," + kv.key + "=" + kv.value)
	}
	return b.String()
}

// kvm is the card in the domain's words.
func (n nic) kvm() (*kvm.NIC, error) {
	out := &kvm.NIC{Model: n.model, MAC: n.mac}
	out.Bridge, _ = n.options.get("bridge")
	var err error
	if s, ok := n.options.get("tag"); ok {
		if out.VLAN, err = strconv.Atoi(s); err != nil {
			return nil, kvm.Errorf(kvm.ErrInvalid, "the network card's tag %.40q is no number", s)
		}
	}
	if s, ok := n.options.get("rate"); ok {
		if out.Rate, err = strconv.ParseFloat(s, 64); err != nil {
			return nil, kvm.Errorf(kvm.ErrInvalid, "the network card's rate %.40q is no number", s)
		}
	}
	s, _ := n.options.get("firewall")
	if out.Firewall, err = parseFlag(s); err != nil {
		return nil, kvm.Errorf(kvm.ErrInvalid, "the network card's firewall: %w", err)
	}
	return out, nil
}

// merge puts what the domain knows into the card. Options that it does not know (queues, mtu, link_down, trunks) stay.
func (n *nic) merge(w kvm.NIC) {
	if w.Model != "" {
		n.model = w.Model
	}
	if w.MAC != "" {
		n.mac = w.MAC
	}
	n.options.set("bridge", w.Bridge)
	n.options.set("tag", decimal(float64(w.VLAN)))
	n.options.set("rate", decimal(w.Rate))
	firewall := ""
	if w.Firewall {
		firewall = "1"
	}
	n.options.set("firewall", firewall)
}
