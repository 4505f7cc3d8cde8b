package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/explain"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// explained runs explain, which must change nothing, and reads its JSON.
func (w *world) explained(id string) (out explained, text string, code int) {
	w.t.Helper()
	before := w.state()
	text, _, code = w.run("explain", id)
	doc, _, codeJSON := w.run("explain", id, "--output", "json")
	if diff := changed(before, w.state()); len(diff) > 0 {
		w.t.Errorf("explain has changed:\n%s", strings.Join(diff, "\n"))
	}
	if err := json.Unmarshal([]byte(doc), &out); err != nil || codeJSON != code {
		w.t.Fatalf("exit %d and %d, %v\n%s%s", code, codeJSON, err, text, doc)
	}
	for _, said := range append([]string{out.Diagnosis.Why}, lines(out.Diagnosis.Next)...) {
		if !strings.Contains(text, oneLine(said)) {
			w.t.Errorf("the JSON has %q, and the screen has not\n%s", said, text)
		}
	}
	return out, text, code
}

func lines(commands []explain.Command) []string {
	var out []string
	for _, c := range commands {
		out = append(out, c.Line)
	}
	return out
}

// TestExplainTask: a task that runs is named, with the end of its log: the row's own, which locks the VM that it makes, and
// one that somebody has begun in Proxmox.
func TestExplainTask(t *testing.T) {
	t.Parallel()
	model := pvesim.Instant()
	model.Exact = map[string]time.Duration{"qmclone": time.Hour, "qmsnapshot": time.Hour}
	w := newWorld(t, scene{model: model})
	w.ok("settings", "set", "cron.wait", "5")
	w.order(5546)
	w.tick()
	upid := w.db.Text("SELECT task_upid FROM puqProxmoxKVM_vm_info WHERE service_id = 5546")
	out, text, code := w.explained("5546")
	if code != exitQueued || out.Diagnosis.Rule != "task" || out.VM.Open == nil || out.VM.Open.State != explain.TaskRunning || string(out.VM.Open.UPID) != upid {
		t.Errorf("while its clone is made: exit %d\n%s", code, text)
	}
	if upid == "" || !strings.Contains(out.Diagnosis.Why, upid) || !strings.Contains(text, "open task  qmclone running") {
		t.Errorf("the clone's task %q is not named\n%s", upid, text)
	}

	w.clock.(*clock.Fake).Advance(2 * time.Hour)
	w.tick()
	node := w.db.Text("SELECT vm_node FROM puqProxmoxKVM_vm_info WHERE service_id = 5546")
	r := httptest.NewRequest("POST", fmt.Sprintf("/api2/json/nodes/%s/qemu/%d/snapshot?snapname=before", node, w.vmid(5546)), nil)
	r.Header.Set("Authorization", "PVEAPIToken=root@pam!whmcs="+pvesim.TwoNodesSecret)
	answer := httptest.NewRecorder()
	w.sim.Handler().ServeHTTP(answer, r)
	if answer.Code != http.StatusOK {
		t.Fatal(answer.Code, answer.Body)
	}
	out, text, code = w.explained("5546")
	if code != exitDone || len(out.VM.Tasks) != 1 || out.VM.Lock != "snapshot" || !strings.Contains(out.Diagnosis.Why, "its task qmsnapshot runs") {
		t.Errorf("at ready, with a task of its owner's: exit %d\n%s", code, text)
	}
	w.ok("change-package", "5546")
	out, text, code = w.explained("5546")
	if code != exitQueued || out.Diagnosis.Rule != "task" || !strings.Contains(out.Diagnosis.Why, "is locked by Proxmox (snapshot): its task qmsnapshot runs") {
		t.Errorf("with something to do, and a task of its owner's: exit %d\n%s", code, text)
	}
}

// TestExplainNodeOffline: the node that has the VM is offline; nothing is said of the VM that nobody has said.
func TestExplainNodeOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{nodes: 4})            // the others are a quorum
	w.ok("product", "set", "1", "template=9001") // of a node of its own
	w.order(5546)
	w.tick()
	node := w.db.Text("SELECT vm_node FROM puqProxmoxKVM_vm_info WHERE service_id = 5546")
	w.sim.CrashNode(node)
	out, text, code := w.explained("5546")
	if code != exitUnknown || out.Diagnosis.Rule != "node_offline" || out.VM.Power != "" || !strings.Contains(text, "live VM    on "+node+" (OFFLINE)") {
		t.Errorf("exit %d\n%s", code, text)
	}
}

// TestExplainHangs: a Proxmox that takes requests and answers none is given up after api.timeout, and what the database has
// is shown.
func TestExplainHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(5546)
	w.tick()
	w.ok("settings", "set", "api.timeout", "1")
	w.sim.AddFault(pvesim.Fault{Hang: true})
	began := time.Now()
	text, _, code := w.run("explain", "5546")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	if code != exitUnknown || !strings.Contains(text, "192.0.2.10/24 claimed") || !strings.Contains(text, "Proxmox does not answer") {
		t.Errorf("exit %d\n%s", code, text)
	}
}

// TestExplainBadRows: nonsense in any column of a service's rows is explained all the same, or is one line that says where
// it stands; never a panic, an exit code of nothing in particular, or a control character.
func TestExplainBadRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, scene{})
	w.order(5546)
	w.tick()
	w.db.Exec("UPDATE puq_proxmox_kvm_outbox SET state = 'pending'")
	read := []string{"userid", "packageid", "server", "domain", "domainstatus", "username", "dedicatedip", "assignedips"} // of WHMCS's many
	for table, key := range map[string]string{"puqProxmoxKVM_vm_info": "service_id = 5546", "tblhosting": "id = 5546", "puq_proxmox_kvm_addresses": "service_id = 5546",
		"puq_proxmox_kvm_runs": "service_id = 5546", "puq_proxmox_kvm_outbox": "service_id = 5546", "puq_proxmox_kvm_cron_tasks": "name <> ''"} {
		for _, c := range w.cells(table, "service_id") {
			if table == "tblhosting" && !slices.Contains(read, c.column) {
				continue
			}
			before := w.rows("SELECT CAST(`" + c.column + "` AS CHAR) FROM " + table + " WHERE " + key)[0][0]
			for i, nonsense := range c.nonsense {
				w.db.Exec("UPDATE "+table+" SET `"+c.column+"` = ? WHERE "+key, nonsense)
				args := []string{"explain", "5546"}
				if i%2 == 1 {
					args = append(args, "--output", "json")
				}
				out, errs, code := w.run(args...)
				what := fmt.Sprintf("%s.%s = %.40q", table, c.column, fmt.Sprint(nonsense))
				if code == exitFailed || out == "" && !strings.Contains(errs, "Error: ") || strings.Contains(errs, "panic") {
					t.Errorf("%s: exit %d\n%s%s", what, code, out, errs)
				}
				if strings.ContainsFunc(out+errs, func(r rune) bool { return r < ' ' && r != '\n' }) {
					t.Errorf("%s: control characters in\n%q", what, out+errs)
				}
				if i%2 == 1 {
					if err := checkJSON(out); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
			value := any(before)
			if before == `\N` {
				value = nil
			}
			w.db.Exec("UPDATE "+table+" SET `"+c.column+"` = ? WHERE "+key, value)
		}
	}
	if _, text, code := w.explained("5546"); code != exitDone {
		t.Errorf("when all is restored: exit %d\n%s", code, text)
	}
}
