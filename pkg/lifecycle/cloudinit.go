package lifecycle

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"golang.org/x/crypto/ssh"
)

// configureCloudInit tells the guest its user, password and first addresses. The password is made and stored once a
// deploy, after the VM was read: so a server secret has decrypted and logged in, which is the only proof that the key of
// WHMCS's cipher is right. A row that is repeated sends the stored one.
func (l *Lifecycle) configureCloudInit(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if _, _, err := l.observe(ctx, s); err != nil {
		return pipeline.Result{}, err
	}
	password, err := l.guestPassword(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	ci := guest(s)
	ci.Password, ci.OnBoot = password, !s.Row.Suspended
	return l.sendCloudInit(ctx, s, ci)
}

// sendCloudInit writes ci with the customer's SSH keys.
func (l *Lifecycle) sendCloudInit(ctx context.Context, s *kvm.Service, ci kvm.CloudInit) (pipeline.Result, error) {
	dropped := 0
	ci.SSHKeys, dropped = publicKeys(s.SSHKeys)
	sent := false
	res, err := l.configure(ctx, s, change{kind: taskConfig, what: "cloud-init",
		// A password cannot be read back: that it was sent is what can be known.
		same: func(vm *kvm.VM) bool { return sent && vm.CIUser == ci.User && (vm.OnBoot || !ci.OnBoot) },
		send: func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error) {
			err := c.SetCloudInit(ctx, vm, ci)
			sent = err == nil
			return "", err
		}})
	if err == nil && dropped > 0 {
		res.Note = fmt.Sprintf("SSH Key: left out %d that are no public key", dropped)
	}
	return res, err
}

// publicKeys are the lines of a customer's text that are public keys, and how many are not: Proxmox would refuse them all
// for one, and a slip of the keyboard must not stop an order.
func publicKeys(text string) (keys string, dropped int) {
	var good []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		// ParseAuthorizedKey takes the type from the key itself; ssh-keygen wants the line to say the same.
		if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err != nil || !strings.Contains(line, key.Type()+" ") {
			dropped++
			continue
		}
		good = append(good, line)
	}
	return strings.Join(good, "\n"), dropped
}

// guestPassword is the password of this deploy; the first time it is made and stored, with the user's name.
func (l *Lifecycle) guestPassword(ctx context.Context, s *kvm.Service) (kvm.Secret, error) {
	if s.Row.PasswordSet {
		return l.Store.Password(ctx, s)
	}
	user := s.Package.OSUser
	if user == "" {
		var err error
		if user, err = kvm.RandomUser(l.Rand); err != nil {
			return kvm.Secret{}, err
		}
	}
	password, err := kvm.RandomPassword(l.Rand)
	if err != nil {
		return kvm.Secret{}, err
	}
	return password, l.Store.SetPassword(ctx, s, user, password)
}

// guest is what cloud-init configures: the first address of each family. A family that the product gives to DHCP now is
// DHCP's, also when the service holds addresses of it from before.
func guest(s *kvm.Service) kvm.CloudInit {
	n := s.Package.Network
	ci := kvm.CloudInit{User: s.Username, SSHKeys: s.SSHKeys, Search: s.Package.MainDomain,
		IPConfig: kvm.IPConfig{DHCP4: n.DHCP4, DHCP6: n.DHCP6}}
	if a, ok := kvm.First(s.Addrs, kvm.IPv4); ok && !n.DHCP4 {
		ci.IPConfig.Addr4, ci.IPConfig.Gateway4 = netip.PrefixFrom(a.Addr, a.Bits), a.Gateway
		ci.DNS = appendDNS(ci.DNS, a)
	}
	if a, ok := kvm.First(s.Addrs, kvm.IPv6); ok && !n.DHCP6 {
		ci.IPConfig.Addr6, ci.IPConfig.Gateway6 = netip.PrefixFrom(a.Addr, a.Bits), a.Gateway
		ci.DNS = appendDNS(ci.DNS, a)
	}
	return ci
}

func appendDNS(list []netip.Addr, c kvm.Claim) []netip.Addr {
	for _, d := range []netip.Addr{c.DNS1, c.DNS2} {
		if d.IsValid() && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}
