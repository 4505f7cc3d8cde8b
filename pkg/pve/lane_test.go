package pve

import "testing"

func TestServedBy(t *testing.T) {
	for _, c := range []struct {
		method, path, node string
		served             bool
	}{
		{"GET", "/nodes/pve1/qemu/110/config", "", false},
		{"GET", "/nodes/pve1/tasks", "", false},
		{"GET", "/cluster/status", "", false},
		{"GET", "/nodes/pve1/qemu/110/snapshot", "pve1", true},
		{"GET", "/nodes/pve1/qemu/110/status/current", "pve1", true},
		{"GET", "/nodes/pve1/storage", "pve1", true},
		{"GET", "/nodes/pve1/storage/local/content", "pve1", true},
		{"GET", "/nodes/pve1/vzdump/extractconfig", "pve1", true},
		{"GET", path("nodes", "pve1", "tasks", testUPID, "log"), "pve1", true},
		{"DELETE", "/nodes/pve1/qemu/110", "pve1", true},
		{"POST", "/nodes/pve1/qemu/110/agent/set-user-password", "pve1", true},
		{"GET", "/nodes/pve1/qemu/110/firewall/rules", "", false},
		{"PUT", "/nodes/pve1/qemu/110/firewall/options", "", true},
	} {
		if node, served := servedBy(c.method, c.path); node != c.node || served != c.served {
			t.Errorf("%s %s: %q, %v", c.method, c.path, node, served)
		}
	}
}
