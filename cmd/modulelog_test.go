package cmd

import (
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// TestModuleLog: Proxmox requests stand in WHMCS's module log while that is switched on, without secrets, and not
// otherwise.
func TestModuleLog(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5546)
	w.tick()
	if n := w.db.Text("SELECT COUNT(*) FROM tblmodulelog"); n != "0" {
		t.Fatalf("%s entries while the module log is off", n)
	}
	if err := whmcstest.SetConfiguration(t.Context(), w.db, "ModuleDebugMode", "on"); err != nil {
		t.Fatal(err)
	}
	w.order(5547)
	w.tick()
	if st := w.status(5547); st != kvm.Ready {
		t.Fatalf("service 5547 is at %s", st)
	}
	log := w.db.Text("SELECT GROUP_CONCAT(CONCAT(module, ' ', action, ' ', request, ' ', response) SEPARATOR '\n') FROM tblmodulelog")
	for _, want := range []string{"puqProxmoxKVM proxmox POST ", "/qemu/9000/clone", "cipassword=%2A%2A%2A", " 200 "} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the module log", want)
		}
	}
	if strings.Contains(log, pvesim.TwoNodesSecret) || strings.Contains(log, "/tasks/") {
		t.Errorf("the module log has a secret or a poll:\n%s", log)
	}
}
