package pvesim

import (
	"fmt"
	"net/netip"
	"strings"
)

// Guest is what answers in a running VM: an operating system with the guest agent.
type Guest struct {
	// Interfaces are its network cards; nil stands for a loopback and what cloud-init was told when the VM was started.
	Interfaces []Interface
	// Users are the accounts whose passwords can be set; nil stands for root and cloud-init's user.
	Users []string
}

// Interface is a network card of a guest.
type Interface struct {
	Name, MAC string
	Addresses []netip.Prefix
}

// SetGuest puts a guest into a VM that answers the guest agent's calls while the VM runs, or with nil takes it away: the
// agent is silent then, as it is at first. The VM's option agent decides whether PVE asks at all.
func (c *Cluster) SetGuest(vmid int, g *Guest) error {
	return c.change(vmid, func(m *vm) { m.guest = g })
}

// agentRight is the privilege for calls of the guest agent, whose names changed with 9.
func agentRight(privileges ...string) func(*request) error {
	return func(r *request) error {
		if r.c.major < 9 {
			return needs("/vms/{vmid}", "VM.Monitor")(r)
		}
		return needs("/vms/{vmid}", privileges...)(r)
	}
}

// withAgent calls do once the agent has answered a ping. A silent one is waited for.
func (r *request) withAgent(do func(m *vm) (any, error)) (any, error) {
	m, err := r.lookup()
	switch {
	case err != nil:
		return nil, err
	case !m.agent():
		return nil, failure("No QEMU guest agent configured")
	case !m.running:
		return nil, failure("VM %d is not running", m.vmid)
	case m.guest != nil && !m.paused:
		return do(m)
	}
	o := &op{c: r.c}
	o.after(r.c.model.AgentWait, func() { o.fail(failure("QEMU guest agent is not running")) })
	return nil, r.await(o)
}

func (r *request) agentPing() (any, error) {
	return r.withAgent(func(*vm) (any, error) { return object{"result": object{}}, nil })
}

// agentCommand is the call for those commands that have no parameters.
func (r *request) agentCommand() (any, error) {
	switch command := r.str("command"); command {
	case "ping":
		return r.agentPing()
	case "network-get-interfaces":
		return r.agentInterfaces()
	default:
		return r.withAgent(func(*vm) (any, error) {
			return nil, failure("Agent error: The command guest-%s has not been found", strings.TrimPrefix(command, "guest-"))
		})
	}
}

func (r *request) agentInterfaces() (any, error) {
	return r.withAgent(func(m *vm) (any, error) {
		cards := m.guest.Interfaces
		if cards == nil {
			cards = m.guessInterfaces()
		}
		rows := []object{}
		for _, card := range cards {
			addresses := []object{}
			for _, p := range card.Addresses {
				kind := "ipv4"
				if p.Addr().Is6() {
					kind = "ipv6"
				}
				addresses = append(addresses, object{"ip-address": p.Addr().String(), "ip-address-type": kind, "prefix": p.Bits()})
			}
			rows = append(rows, object{"name": card.Name, "hardware-address": strings.ToLower(card.MAC), "ip-addresses": addresses,
				"statistics": object{"rx-bytes": 0, "rx-dropped": 0, "rx-errs": 0, "rx-packets": 0, "tx-bytes": 0, "tx-dropped": 0,
					"tx-errs": 0, "tx-packets": 0}})
		}
		return object{"result": rows}, nil
	})
}

// guessInterfaces are the cards that a guest has that did what cloud-init told it.
func (m *vm) guessInterfaces() []Interface {
	cards := []Interface{{Name: "lo", MAC: "00:00:00:00:00:00",
		Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}}}
	for i := 0; i <= families["net"]; i++ {
		text, ok := m.conf[fmt.Sprintf("net%d", i)]
		if !ok {
			continue
		}
		mac, _, _ := strings.Cut(text, ",")
		_, mac, _ = strings.Cut(mac, "=")
		card := Interface{Name: fmt.Sprintf("eth%d", i), MAC: mac}
		ip, _ := parseProperties(ipconfigProps, m.ci[fmt.Sprintf("ipconfig%d", i)])
		for _, k := range []string{"ip", "ip6"} {
			if p, err := netip.ParsePrefix(ip[k]); err == nil {
				card.Addresses = append(card.Addresses, p)
			}
		}
		cards = append(cards, card)
	}
	return cards
}

// agentPassword sets a user's password in the guest.
func (r *request) agentPassword() (any, error) {
	return r.withAgent(func(m *vm) (any, error) {
		name, known := r.str("username"), false
		users := m.guest.Users
		if users == nil {
			users = []string{"root", m.ci["ciuser"]}
		}
		for _, u := range users {
			known = known || u == name && u != ""
		}
		if !known {
			return nil, failure("Agent error: child process has failed to set user password")
		}
		m.passwords[name] = r.str("password")
		return object{"result": object{}}, nil
	})
}
