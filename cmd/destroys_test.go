package cmd

import (
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// TestTerminateBeforeTheNextRow: a terminate that comes while a tick is at work ends its table after the present row.
func TestTerminateBeforeTheNextRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	s := w.holdAt("the change of CPU and RAM", func(r pvesim.Request) bool { return r.Stage == pvesim.Arrived && r.Form["cores"] != "" })
	c := w.start(nil, "cron", "--force")
	s.await(c)
	w.ok("terminate", "7000")
	s.release()
	if code := c.wait(); code != exitDone {
		t.Fatalf("exit %d\n%s", code, &c.errout)
	}
	if strings.Contains(c.out.String(), "Resize system disk") {
		t.Errorf("it went on to another row:\n%s", &c.out)
	}
	w.next()
	w.want(7000, kvm.Remove)
}

// TestServerOfTheRow: a VM is looked for where it was made, whatever server its service has in WHMCS by now. Where that
// server's row is gone nothing is called gone, and an administrator is told.
func TestServerOfTheRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.db.AddServer(whmcstest.Server{ID: 2, Name: "another", Hostname: "127.0.0.1", Port: 1, Username: "root@pam!whmcs", EncryptedPassword: w.encrypt("secret")})
	w.order(7000, 7001)
	w.tick()
	w.settle(7000, 7001)
	w.db.Exec("UPDATE tblhosting SET server = 2")
	w.ok("terminate", "7000")
	w.tick()
	w.want(7000, kvm.Remove)
	w.db.Exec("DELETE FROM tblservers WHERE id = 1")
	w.ok("terminate", "7001")
	w.tick()
	w.want(7001, kvm.ErrorTerminate)
	if m := w.message(7001); !strings.Contains(m, "server 1 does not exist in WHMCS") || !strings.Contains(m, "mend: ") {
		t.Errorf("the row says %q", m)
	}
	w.tick() // cron does not try again by itself
	if n := w.db.Text("SELECT COUNT(*) FROM tblactivitylog WHERE description LIKE 'VM of service #7001: termination FAILED%'"); n != "1" {
		t.Errorf("%s entries in the activity log", n)
	}
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE service_id = 7001 AND state = 'claimed'"); n != "1" {
		t.Errorf("%s addresses", n)
	}
	if _, there := w.sim.VM(w.vmid(7001)); !there {
		t.Error("the VM is gone")
	}
}

// TestReleaseWantsToBeSure: an address out of use is given back only with --confirm, one of a living service never.
func TestReleaseWantsToBeSure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(7000)
	w.tick()
	addr := w.db.Text("SELECT dedicatedip FROM tblhosting WHERE id = 7000")
	refused := func(args ...string) {
		t.Helper()
		before := w.state()
		if out, errs, code := w.run(args...); code != exitRefused || len(changed(before, w.state())) > 0 {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, errs)
		}
	}
	refused("ippool", "release", addr, "--confirm")
	w.db.Exec("UPDATE puq_proxmox_kvm_addresses SET state = 'quarantined', until = NULL WHERE address = ?", addr)
	refused("ippool", "release", addr)
	w.ok("ippool", "release", addr, "--confirm")
	if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_addresses WHERE address = ?", addr); n != "0" {
		t.Errorf("%s is still claimed", addr)
	}
}
