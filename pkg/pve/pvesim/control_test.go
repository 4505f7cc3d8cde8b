package pvesim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

func TestISOOnALocalStorageKeepsAVMOnItsNode(t *testing.T) {
	c, k := instant(t, Options{})
	if err := c.AddISO("local-lvm", "pve1", "x.iso", 1); err == nil {
		t.Error("lvmthin took an ISO image")
	}
	if err := c.AddISO("local", "pve1", "proxmox-ve_8.1-2.iso", 800); err != nil {
		t.Fatal(err)
	}
	if body := k.want("200 OK", http.MethodGet, "/nodes/pve1/storage/local/content?content=iso", ""); !strings.Contains(body, `"volid":"local:iso/proxmox-ve_8.1-2.iso"`) {
		t.Errorf("content %s", body)
	}
	if body := k.want("200 OK", http.MethodGet, "/nodes/pve2/storage/local/content?content=iso", ""); body != `{"data":[]}` {
		t.Errorf("the other node has %s", body)
	}
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100&full=1")
	k.want("200 OK", http.MethodPut, "/nodes/pve1/qemu/100/config", "ide0=local%3Aiso/proxmox-ve_8.1-2.iso,media%3Dcdrom")
	if vm, _ := c.VM(100); vm.Config["ide0"] != "local:iso/proxmox-ve_8.1-2.iso,media=cdrom,size=800" {
		t.Errorf("ide0 %q", vm.Config["ide0"])
	}
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/migrate", "target=pve2")
	tasks := c.Tasks()
	if last := tasks[len(tasks)-1]; last.Exit != "migration aborted" || !strings.Contains(strings.Join(last.Log, "\n"), "can't migrate local cdrom 'local:iso/proxmox-ve_8.1-2.iso'") {
		t.Errorf("migration ended %q\n%s", last.Exit, strings.Join(last.Log, "\n"))
	}
	k.want("200 OK", http.MethodPut, "/nodes/pve1/qemu/100/config", "ide0=none,media%3Dcdrom")
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/migrate", "target=pve2")
	if vm, _ := c.VM(100); vm.Node != "pve2" {
		t.Errorf("%v", vm)
	}
}

func TestKilledAndForgottenTasks(t *testing.T) {
	model := Instant()
	model.Exact = map[string]time.Duration{"qmclone": time.Minute, "qmreset": time.Minute}
	clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, k := instant(t, Options{Model: model, Clock: clk})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/9000/clone", "newid=100&full=1")
	upid := c.Tasks()[0].UPID
	if err := c.KillTask(upid); err != nil {
		t.Fatal(err)
	}
	status := "/nodes/pve1/tasks/" + url.PathEscape(upid) + "/status"
	if body := k.want("200 OK", http.MethodGet, status, ""); !strings.Contains(body, `"exitstatus":"unexpected status"`) {
		t.Errorf("a killed task: %s", body)
	}
	if vm, found := c.VM(100); !found || vm.Lock != "clone" {
		t.Errorf("a killed clone put something back: %v", vm)
	}
	c.ForgetTask(upid)
	k.want("400 Parameter verification failed.", http.MethodGet, status, "")
	if err := c.KillTask("UPID:no"); err == nil {
		t.Error("a task that does not exist was killed")
	}
}

func TestDatacenterFirewall(t *testing.T) {
	c, k := instant(t, Options{})
	c.SetDatacenterFirewall(map[string]string{"enable": "1", "policy_in": "DROP", "policy_out": "ACCEPT"})
	c.SetDatacenterFirewall(map[string]string{"policy_out": ""})
	body := k.want("200 OK", http.MethodGet, "/cluster/firewall/options", "")
	if !strings.Contains(body, `"enable":1`) || !strings.Contains(body, `"policy_in":"DROP"`) || strings.Contains(body, "policy_out") {
		t.Errorf("options %s", body)
	}
}

func TestFirewallStateAndCounts(t *testing.T) {
	c, k := instant(t, Options{})
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/firewall/ipset", "name=ipfilter-net0")
	c.ResetRequests()
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/firewall/ipset/ipfilter-net0", "cidr=192.0.2.7")
	k.want("200 OK", http.MethodPost, "/nodes/pve1/qemu/100/firewall/rules", "type=in&action=ACCEPT&enable=1")
	f := c.Firewall(100)
	if len(f.IPSets["ipfilter-net0"]) != 1 || f.IPSets["ipfilter-net0"][0] != "192.0.2.7" || len(f.Rules) != 1 || f.Rules[0]["action"] != "ACCEPT" {
		t.Errorf("%+v", f)
	}
	if n := c.Counts(); len(n) != 2 || len(c.Requests()) != 2 {
		t.Errorf("after a reset: %v", n)
	}
}
