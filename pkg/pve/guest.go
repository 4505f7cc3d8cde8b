package pve

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// namePattern is what the name of a bridge or storage may look like; no more may get into a property string.
var namePattern = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// SetNIC writes net0. The MAC is nic's or, where that is empty, the one that is there: without one Proxmox would make a
// new one, and without either the call is refused. Options that kvm.NIC does not know are kept.
func (c *Client) SetNIC(ctx context.Context, o kvm.Owned, want kvm.NIC) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	var n nic
	if s, ok := vm.Keys["net0"]; ok {
		if n, err = parseNIC(s); err != nil {
			return onVM(vm, "net0", err)
		}
	}
	n.merge(want)
	_, err = parseNIC(n.String())
	switch {
	case err != nil || !namePattern.MatchString(want.Bridge) || want.VLAN < 0 || want.VLAN > 4094 || want.Rate < 0:
		return kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: net0 cannot be %s", vm.VMID, vm.Node, n)
	case n.mac == "":
		return kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: net0 has no MAC address, and none is given", vm.VMID, vm.Node)
	}
	return onVM(vm, "setting net0", c.do(ctx, http.MethodPut, guest(vm, "config"), withDigest(params{"net0": n.String()}, vm)))
}

// SetCloudInit writes what the guest is told in one call. An empty password is not sent, since Proxmox salts each one
// anew and cloud-init would run again. Whatever else is empty and set now is removed.
func (c *Client) SetCloudInit(ctx context.Context, o kvm.Owned, ci kvm.CloudInit) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	ip, err := ipconfig(ci.IPConfig)
	if err != nil {
		return onVM(vm, "ipconfig0", err)
	}
	var dns []string
	for _, a := range ci.DNS {
		if a.IsValid() {
			dns = append(dns, a.String())
		}
	}
	p := params{}
	var gone []string
	for _, f := range []struct{ key, value string }{
		{"name", ci.Name},
		{"ciuser", ci.User},
		{"ipconfig0", ip},
		{"nameserver", strings.Join(dns, " ")},
		{"searchdomain", ci.Search},
		{"sshkeys", sshKeys(ci.SSHKeys)},
	} {
		if f.value != "" {
			p[f.key] = f.value
		} else if _, there := vm.Keys[f.key]; there && f.key != "name" {
			gone = append(gone, f.key)
		}
	}
	if !ci.Password.Empty() {
		p["cipassword"] = ci.Password.Reveal()
	}
	if ci.OnBoot {
		p["onboot"] = bit(true)
	}
	if len(gone) > 0 {
		p["delete"] = strings.Join(gone, ",")
	}
	if len(p) == 0 { // Proxmox refuses a change of nothing
		return nil
	}
	return onVM(vm, "setting cloud-init", c.do(ctx, http.MethodPut, guest(vm, "config"), withDigest(p, vm)))
}

// sshKeys is the text as Proxmox wants it: percent-encoded with %20 for a blank, before the form encodes it once more.
func sshKeys(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.ReplaceAll(url.QueryEscape(strings.Join(lines, "\n")), "+", "%20")
}

// SetGuestPassword sets user's password in the running guest, by its agent, at once and without a task. It is no part of the
// configuration: cloud-init does not know of it.
//
// kvm.ErrState: the VM does not run, or its agent is not enabled or does not answer; nothing was done. kvm.ErrPermanent: the
// guest refused, since it has no such user or forbids the command. kvm.ErrDenied: VM.Monitor (PVE 7 and 8) or
// VM.GuestAgent.Unrestricted (9) is missing. Proxmox takes 5 to 1024 characters (kvm.ErrInvalid otherwise).
func (c *Client) SetGuestPassword(ctx context.Context, o kvm.Owned, user string, password kvm.Secret) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	p := params{"username": user, "password": password.Reveal()}
	return onVM(vm, "setting the guest's password", c.do(ctx, http.MethodPost, guest(vm, "agent", "set-user-password"), p))
}
