package lifecycle_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// rich are the settings of a product for which every row has something to do.
var rich = []string{"clone_type=full", "system_storage=local-lvm", "node=pve2", "cpu=2", "ram=4", "system_size=20", "system_mbps_rd=100", "system_iops_wr=500",
	"additional_size=10", "additional_storage=shared", "additional_mbps_wr=50.5", "bandwidth=12.5", "fw_policy_in=DROP", "fw_log_in=info", "main_domain=example.com"}

// staleFirewall gives the template a firewall that its clones inherit.
func (w *world) staleFirewall() {
	w.t.Helper()
	base := fmt.Sprintf("/nodes/pve1/qemu/%d/firewall", template)
	w.call("POST", base+"/rules", "type", "in", "action", "ACCEPT", "enable", "1", "comment", "stale")
	w.call("POST", base+"/rules", "type", "out", "action", "DROP", "enable", "1")
	w.call("POST", base+"/ipset", "name", "old")
	w.call("POST", base+"/ipset/old", "cidr", "198.51.100.0/24")
	w.call("POST", base+"/ipset", "name", "ipfilter-net0")
	w.call("POST", base+"/ipset/ipfilter-net0", "cidr", "198.51.100.7")
	w.call("PUT", base+"/options", "policy_out", "REJECT", "radv", "1")
}

// call is an administrator's own call of the API.
func (w *world) call(method, path string, form ...string) {
	w.t.Helper()
	w.callAs("root@pam!whmcs="+pvesim.TwoNodesSecret, method, path, form...)
}

// callAs is call with another token.
func (w *world) callAs(token, method, path string, form ...string) {
	w.t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	body := io.Reader(strings.NewReader(values.Encode()))
	if method == http.MethodDelete {
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.pve.URL+"/api2/json"+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "PVEAPIToken="+token)
	conf := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the simulator's own certificate
	tr := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		w.t.Fatalf("%s %s: %s", method, path, res.Status)
	}
}

// end is a service's whole end as text, with what differs from service to service replaced: two services of one product
// have the same.
func (w *world) end(id int64) string {
	w.t.Helper()
	s := w.service(id)
	vm := w.vm(id)
	replace := []string{fmt.Sprintf("-%d-", vm.VMID), "-VMID-", fmt.Sprintf("/%d/", vm.VMID), "/VMID/", fmt.Sprintf(":%d/", vm.VMID), ":VMID/",
		s.Row.UUID, "UUID", s.Row.MAC, "MAC", s.Row.Name, "NAME", kvm.Mark(installation, id), "MARK", vm.Config["vmgenid"], "VMGENID"}
	for i, c := range s.Addrs {
		replace = append(replace, "="+c.Addr.String()+"/", fmt.Sprintf("=ADDR%d/", i), `"`+c.Addr.String()+`"`, fmt.Sprintf(`"ADDR%d"`, i))
	}
	if s.Username != "" {
		replace = append(replace, s.Username, "USER")
	}
	if text, ok := vm.Config["cipassword"]; ok {
		vm.Config["cipassword"] = "another password than the stored one"
		if password, err := w.store.Password(w.t.Context(), s); err == nil && fits(text, password) {
			vm.Config["cipassword"] = "the stored password"
		}
	}
	vm.CloudInit, vm.VMID = "", 0 // made of the keys above
	text, err := json.MarshalIndent(map[string]any{"vm": vm, "firewall": w.sim.Firewall(s.Row.VMID), "volumes": w.sim.Volumes(s.Row.VMID),
		"status": s.Row.Status, "node": s.Row.Node, "slot": s.Row.DiskSlot, "addresses": len(s.Addrs), "passwordset": s.Row.PasswordSet,
		"uuids": len(s.Row.UUIDs), "task": s.Row.TaskUPID, "smbios": strings.Contains(vm.Config["smbios1"], s.Row.UUID) && s.Row.UUID != ""}, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.NewReplacer(replace...).Replace(string(text))
}

// fits says whether the simulator made hashed of password.
func fits(hashed string, password kvm.Secret) bool {
	part := strings.Split(hashed, "$")
	if len(part) != 4 {
		return false
	}
	sum := sha256.Sum256([]byte(part[2] + password.Reveal()))
	return hex.EncodeToString(sum[:]) == part[3]
}

// settled checks that ids are ready, each with one VM of its own, one mail and nothing left over, and that there are no
// other VMs than theirs and others.
func (w *world) settled(others int, ids ...int64) {
	w.t.Helper()
	if n := len(w.sim.VMs()); n != len(ids)+others {
		w.t.Errorf("%d VMs for %d services and %d others", n, len(ids), others)
	}
	for _, id := range ids {
		s := w.service(id)
		vm, found := w.sim.VM(s.Row.VMID)
		switch {
		case s.Row.Status != kvm.Ready:
			w.t.Errorf("service %d is at %s: %s", id, s.Row.Status, s.Row.Message)
		case !found || vm.Power != kvm.Running || vm.Lock != "" || !strings.Contains(vm.Config["smbios1"], s.Row.UUID):
			w.t.Errorf("service %d: VM %d found %t, %s, lock %q, %s; stored %s", id, s.Row.VMID, found, vm.Power, vm.Lock, vm.Config["smbios1"], s.Row.UUID)
		}
		for key := range vm.Config {
			if strings.HasPrefix(key, "unused") {
				w.t.Errorf("service %d: VM %d has %s: %s", id, s.Row.VMID, key, vm.Config[key])
			}
		}
		if v := w.sim.Volumes(s.Row.VMID); len(v) != len(vm.Disks) {
			w.t.Errorf("service %d: VM %d has the disks %v and the volumes %v", id, s.Row.VMID, vm.Disks, v)
		}
		if n := w.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_outbox WHERE service_id = ?", id); n != "1" {
			w.t.Errorf("service %d: %s mails", id, n)
		}
	}
	for what, query := range map[string]string{
		"slots":      "SELECT COUNT(*) FROM puq_proxmox_kvm_slots",
		"open tasks": "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE task_upid <> ''",
		"claims":     "SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE claim_until > UTC_TIMESTAMP(6)",
	} {
		if n := w.db.Text(query); n != "0" {
			w.t.Errorf("%s left: %s", what, n)
		}
	}
}

// once makes do happen once, when a request of method and pattern arrives. It may ask the simulator anything.
func (w *world) once(method, pattern string, stage pvesim.Stage, do func()) (happened func() bool) {
	done := make(chan struct{})
	w.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if r.Stage != stage || r.Method != method || r.Pattern != pattern {
			return
		}
		select {
		case <-done:
		default:
			close(done)
			do()
		}
	})
	w.t.Cleanup(func() { w.sim.SetHook(nil) })
	return func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}
