package pve

import (
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func allPrivileges(v Version, g grant, without ...string) string {
	var held []string
	for _, p := range g.privileges {
		if !slices.Contains(without, p) {
			held = append(held, `"`+p+`":1`)
		}
	}
	return `{"` + g.path + `":{` + strings.Join(held, ",") + `}}`
}

// checkScript is a healthy cluster of two nodes.
func checkScript() script {
	v := Version{8, 4, 21}
	var permissions []string
	for _, g := range grants(v) {
		permissions = append(permissions, allPrivileges(v, g))
	}
	stores := `[{"storage":"local","type":"dir","content":"images","active":1,"shared":0}]`
	return script{
		"GET /version":            {`{"version":"8.4.21"}`},
		"GET /access/permissions": permissions,
		"GET /nodes":              {`[{"node":"pve1","status":"online"},{"node":"pve2","status":"online"}]`},
		"GET /nodes/pve1/storage": {stores}, "GET /nodes/pve2/storage": {stores},
		"GET /storage/local":                {`{"storage":"local"}`},
		"GET /cluster/resources":            {testResources},
		"GET /nodes/pve1/qemu/9000/config":  {`{"name":"tpl","template":1,"scsi0":"local:9000/base-9000-disk-0.qcow2","ide2":"local:9000/vm-9000-cloudinit.qcow2,media=cdrom","net0":"virtio=BC:24:11:79:62:F8,bridge=vmbr0"}`},
		"GET /nodes/pve1/qemu/9000/feature": {`{"hasFeature":1}`},
		"GET /cluster/firewall/options":     {`{"enable":1}`},
		"GET /nodes/pve1/qemu/100/config":   {`{"name":"plain"}`},
	}
}

func TestCheck(t *testing.T) {
	needs := Needs{Storages: []string{"local"}, BackupStorage: "local", ISOStorage: "local", Template: 9000, FullClone: true, AntiSpoof: true}
	for _, c := range []struct {
		name    string
		change  func(script, *Needs)
		what    string // of a finding that is no plain OK; "" = all are well
		mend    string
		warning bool
	}{
		{"healthy", func(script, *Needs) {}, "", "", false},
		{"token", func(a script, _ *Needs) { a["GET /version"] = []string{"401 Authentication failed!"} }, "Authentication failed!", "check the username", false},
		{"old", func(a script, _ *Needs) { a["GET /version"] = []string{`{"version":"6.4-15"}`} }, "older than 7", "upgrade", false},
		{"privilege", func(a script, _ *Needs) {
			v := Version{8, 4, 21}
			a["GET /access/permissions"][1] = allPrivileges(v, grants(v)[1], "VM.Clone", "VM.Config.Disk")
		}, "lacks on /vms: VM.Clone VM.Config.Disk", "pveum lines", false},
		{"no privileges", func(a script, _ *Needs) { a["GET /access/permissions"] = []string{`[]`} }, "lacks on /storage: Datastore.AllocateSpace Datastore.Audit", "pveum", false},
		{"node", func(_ script, n *Needs) { n.Node = "pve7" }, "no node pve7", "pve1, pve2", false},
		{"node down", func(a script, _ *Needs) {
			a["GET /nodes"] = []string{`[{"node":"pve1","status":"online"},{"node":"pve2","status":"offline"}]`}
		}, "not online: pve2", "bring", true},
		{"no storage", func(_ script, n *Needs) { n.Storages = []string{"nosuch"} }, "no storage nosuch for the content images on pve1, pve2", "Datastore.Audit", false},
		{"storage on one node", func(a script, _ *Needs) { a["GET /nodes/pve2/storage"] = []string{`[]`} }, "missing for the content images on pve2", "add it", true},
		{"inactive", func(a script, _ *Needs) { a["GET /nodes/pve2/storage"] = []string{`[{"storage":"local","active":0}]`} }, "not active on pve2", "mounted", false},
		{"prunes", func(a script, _ *Needs) { a["GET /storage/local"] = []string{`{"prune-backups":"keep-last=3"}`} }, "prunes backups by itself (keep-last=3)", "retention", true},
		{"no template", func(_ script, n *Needs) { n.Template = 4711 }, "no template 4711", "VM.Audit", false},
		{"a plain VM", func(_ script, n *Needs) { n.Template = 100 }, "is no template", "set the product's template", false},
		{"no cloud-init", func(a script, _ *Needs) {
			a["GET /nodes/pve1/qemu/9000/config"] = []string{`{"template":1,"scsi0":"local:b","net0":"virtio=BC:24:11:79:62:F8"}`}
		}, "no cloud-init drive", "qm set 9000 --ide2", false},
		{"no network card", func(a script, _ *Needs) {
			a["GET /nodes/pve1/qemu/9000/config"] = []string{`{"template":1,"scsi0":"local:b","ide2":"local:cloudinit"}`}
		}, "no network card", "net0", false},
		{"clone type", func(a script, n *Needs) {
			n.FullClone = false
			a["GET /nodes/pve1/qemu/9000/feature"] = []string{`{"hasFeature":0}`}
		}, "linked clones of the template 9000 are not possible", "full clones", false},
		{"local linked clones", func(_ script, n *Needs) { n.FullClone = false }, "cannot leave pve1", "full clones", true},
		{"firewall off", func(a script, _ *Needs) { a["GET /cluster/firewall/options"] = []string{`{"digest":"x"}`} }, "firewall is off", "switch it on", true},
		{"firewall accepts", func(a script, _ *Needs) {
			a["GET /cluster/firewall/options"] = []string{`{"enable":1,"policy_in":"ACCEPT"}`}
		}, "input policy ACCEPT", "DROP or REJECT", true},
	} {
		a, n := checkScript(), needs
		c.change(a, &n)
		_, client := a.serve(t)
		found := false
		for _, f := range client.Check(t.Context(), n) {
			plain := f.OK && !f.Warning
			switch {
			case c.what == "" && !plain, plain && f.Mend != "", !plain && f.Mend == "":
				t.Errorf("%s: %+v", c.name, f)
			case !plain && c.what != "" && strings.Contains(f.What, c.what) && strings.Contains(f.Mend, c.mend) && f.Warning == c.warning && f.OK == c.warning:
				found = true
			}
		}
		if !found && c.what != "" {
			t.Errorf("%s was not found: %+v", c.name, client.Check(t.Context(), n))
		}
	}
	_, dead := checkScript().serve(t)
	dead.wire = mustWire(t, deadAddress(t))
	if f := dead.Check(t.Context(), needs); len(f) != 1 || f[0].OK || !strings.Contains(f[0].Mend, "address and port") {
		t.Errorf("nobody there: %+v", f)
	}
}

func mustWire(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := New(Options{URLs: []string{addr}, User: "a@pve!b", Secret: kvm.NewSecret("s")})
	if err != nil {
		t.Fatal(err)
	}
	return c.wire
}

func TestRoleCommands(t *testing.T) {
	for _, c := range []struct {
		v         Version
		has, lack []string
	}{
		{Version{7, 4, 17}, []string{"VM.Monitor"}, []string{"SDN.Use", "VM.GuestAgent"}},
		{Version{8, 4, 21}, []string{"VM.Monitor", "SDN.Use"}, []string{"VM.GuestAgent"}},
		{Version{9, 0, 0}, []string{"VM.GuestAgent.Unrestricted", "SDN.Use"}, []string{"VM.Monitor"}},
	} {
		all := strings.Join(RoleCommands(c.v, "bob@pve!t1"), "\n")
		for _, s := range append(c.has, "pveum user add bob@pve\n", "--users bob@pve", "pveum user token add bob@pve t1 --privsep 0") {
			if !strings.Contains(all, s) {
				t.Errorf("%v: no %s in\n%s", c.v, s, all)
			}
		}
		for _, s := range c.lack {
			if strings.Contains(all, s) {
				t.Errorf("%v: %s in\n%s", c.v, s, all)
			}
		}
	}
	if got := RoleCommands(Version{8, 4, 1}, "root@pam"); !strings.Contains(strings.Join(got, "\n"), "token add whmcs@pve puqkvm") {
		t.Errorf("%q", got)
	}
}
