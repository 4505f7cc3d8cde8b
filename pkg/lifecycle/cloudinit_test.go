package lifecycle_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// password is the service's password as WHMCS has it, and decrypted.
func (w *world) password(id int64) (encrypted, plain string) {
	w.t.Helper()
	encrypted = w.db.Text("SELECT password FROM tblhosting WHERE id = ?", id)
	if encrypted == "" {
		return "", ""
	}
	p, err := whmcs.NewCipher(kvm.NewSecret(testHash)).Decrypt(encrypted)
	if err != nil {
		w.t.Fatal(err)
	}
	return encrypted, p.Reveal()
}

func TestCloudInit(t *testing.T) {
	t.Parallel()
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0Zr6bX3VQ4mOJ5m3JxN1d1kq0b1eZ7uW2n8f0y4v9K a+b@example.com"
	for _, version := range versions {
		w := newWorld(t, version, "ipv4=2", "ipv6=2", "main_domain=example.com")
		w.pool("2001:db8::10", "2001:db8::40", "2001:db8::1", 64, "vmbr0", 0)
		id := w.order()
		w.db.AddCustomField(whmcstest.CustomField{ProductID: 1, Name: "SSH Key", ServiceID: id, Value: key + "\r\n" + key + "\r\n"})
		w.reach(id, rowFirewall)
		if encrypted, _ := w.password(id); encrypted != "" {
			t.Errorf("%s: a password before its row", version)
		}
		w.configure(id, map[string]string{"ipconfig1": "ip=dhcp"})
		w.reach(id, rowCloudinit)
		c := w.vm(id).Config
		_, plain := w.password(id)
		s := w.service(id)
		for k, want := range map[string]string{"ciuser": s.Username, "ipconfig0": "ip=192.0.2.10/24,gw=192.0.2.1,ip6=2001:db8::10/64,gw6=2001:db8::1",
			"nameserver": "192.0.2.53 2001:db8::53", "searchdomain": "example.com", "sshkeys": strings.ReplaceAll(url.QueryEscape(key+"\n"+key), "+", "%20")} {
			if c[k] != want {
				t.Errorf("%s: %s is %q, want %q", version, k, c[k], want)
			}
		}
		if len(plain) != 16 || len(s.Username) < 4 || !s.Row.PasswordSet || !fits(c["cipassword"], kvm.NewSecret(plain)) {
			t.Errorf("%s: user %q, password of %d characters, in the guest %t", version, s.Username, len(plain), fits(c["cipassword"], kvm.NewSecret(plain)))
		}
		for _, e := range w.sim.Requests() {
			if strings.Contains(e.Path+e.Reason, plain) {
				t.Errorf("%s: the password is in %s", version, e.Path)
			}
		}
	}
}

// TestUserOfTheProduct: a product can name the user; without SSH keys and domain the keys are absent, and those that the
// template has go.
func TestUserOfTheProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "os_user=admin")
	for key, value := range map[string]string{"ciuser": "debian", "cipassword": "$5$abcdefgh$x", "sshkeys": "ssh-rsa%20AAAA", "searchdomain": "template.example", "nameserver": "9.9.9.9", "ipconfig0": "ip=dhcp,ip6=auto"} {
		if err := w.sim.SetConfig(template, map[string]string{key: value}); err != nil {
			t.Fatal(err)
		}
	}
	id := w.order()
	w.reach(id, rowCloudinit)
	c := w.vm(id).Config
	if c["ciuser"] != "admin" || w.service(id).Username != "admin" || c["sshkeys"] != "" || c["searchdomain"] != "" || c["nameserver"] != "192.0.2.53" ||
		c["ipconfig0"] != "ip=192.0.2.10/24,gw=192.0.2.1" {
		t.Errorf("%v", c)
	}
	if _, plain := w.password(id); !fits(c["cipassword"], kvm.NewSecret(plain)) {
		t.Error("the guest's password is not the stored one")
	}
}

// TestPasswordOnce: the password is stored before it is sent, and a row that is repeated sends the stored one: the
// customer may have read it already.
func TestPasswordOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowFirewall)
	var atPUT string
	happened := w.once("PUT", configPath, pvesim.Arrived, func() { atPUT, _ = w.password(id) })
	armed := w.sim.AddFault(pvesim.Fault{Method: "PUT", Path: configPath, Status: 500, Reason: "something nobody knows"})
	if out := w.run(id, rowCloudinit); out.Complete || !happened() || atPUT == "" {
		t.Fatalf("%+v, stored at the PUT: %q", out.Outcome, atPUT)
	}
	armed.Remove()
	user := w.service(id).Username
	for range 3 {
		w.reach(id, rowCloudinit)
		encrypted, plain := w.password(id)
		if encrypted != atPUT || w.service(id).Username != user || !fits(w.vm(id).Config["cipassword"], kvm.NewSecret(plain)) {
			t.Errorf("user %q and password %q became %q and %q", user, atPUT, w.service(id).Username, encrypted)
		}
		w.set(id, "vm_status = ?", string(from(rowCloudinit)))
	}
}

// TestWrongEncryptionKey: with another cc_encryption_hash than WHMCS's no password is written, at no row.
func TestWrongEncryptionKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowFirewall)
	good := w.store
	w.hash = "another-" + testHash
	w.open()
	for _, task := range []string{"", "UPID:pve1:00000701:0001D4C0:69D85A1E:qmconfig:100:root@pam!whmcs:"} {
		// With a task open the run does not begin with a look at the VM.
		w.set(id, "task_kind = 'config', task_upid = ?", task)
		out := w.run(id, allRows)
		if out.Err == nil || out.At != from(rowCloudinit) {
			t.Errorf("%+v", out.Outcome)
		}
		if encrypted, _ := w.password(id); encrypted != "" || w.service(id).Row.PasswordSet || w.service(id).Username != "" {
			t.Errorf("written: %q", encrypted)
		}
	}
	w.store = good
	w.set(id, "task_upid = ''")
	w.reach(id, allRows)
	w.settled(1, id)
}

// TestWrongKeyThatDecrypts: a key with which the server's password decrypts to something that Proxmox does not take.
func TestWrongKeyThatDecrypts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.order()
	w.reach(id, rowFirewall)
	w.sim.AddToken("root@pam!whmcs", "11111111-2222-3333-4444-555555555555", false)
	out := w.run(id, rowCloudinit)
	if encrypted, _ := w.password(id); !errors.Is(out.Err, kvm.ErrAuth) || encrypted != "" || w.service(id).Row.PasswordSet {
		t.Errorf("%+v, written %q", out.Outcome, encrypted)
	}
}

// TestBadSSHKey: what a customer wrote that is no public key is left out, the title says so, and the order goes on.
func TestBadSSHKey(t *testing.T) {
	t.Parallel()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMCYyZwaeGMUOFrhxHVsJ1CxJFXZCXZc6FPJhGWK2Sb me@example.com"
	for _, version := range versions {
		w := newWorld(t, version)
		id := w.order()
		w.db.AddCustomField(whmcstest.CustomField{ProductID: 1, Name: "SSH Key", ServiceID: id, Value: "my key\r\n" + key})
		w.reach(id, rowFirewall)
		out := w.run(id, rowCloudinit)
		if out.note("Configure cloud-init") != "SSH Key: left out 1 that are no public key" {
			t.Errorf("%s: %+v, %q", version, out.Outcome, out.note("Configure cloud-init"))
		}
		if got := w.vm(id).Config["sshkeys"]; !strings.Contains(got, "AAAAC3NzaC1lZDI1NTE5") || strings.Contains(got, "my") {
			t.Errorf("%s: sshkeys %q", version, got)
		}
	}
}

// TestSameDNSForBothFamilies: a server that both pools name stands once.
func TestSameDNSForBothFamilies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21", "ipv6=1")
	w.pool("2001:db8::10", "2001:db8::40", "2001:db8::1", 64, "vmbr0", 0)
	w.db.Exec("UPDATE puq_proxmox_kvm_ip_pools SET dns1 = '192.0.2.53', dns2 = '192.0.2.54'")
	id := w.order()
	w.reach(id, rowCloudinit)
	if got := w.vm(id).Config["nameserver"]; got != "192.0.2.53 192.0.2.54" {
		t.Errorf("%q", got)
	}
}
