package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

const (
	rulesPath   = "/nodes/{node}/qemu/{vmid}/firewall/rules"
	rulePath    = "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}"
	optionsPath = "/nodes/{node}/qemu/{vmid}/firewall/options"
)

func (w *world) rule(comment string) kvm.Rule {
	w.t.Helper()
	r, err := kvm.ParseRule(kvm.RuleText{Direction: "in", Action: "ACCEPT", Proto: "tcp", DPort: "22,80:90", Source: "198.51.100.0/24", Comment: comment})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// add adds a client's rule, position -1 = where it comes by itself.
func (w *world) add(id int64, comment string, position int) outcome {
	w.t.Helper()
	p := w.start(nil)
	at := &position
	if position < 0 {
		at = nil
	}
	return p.now(id, p.life.AddRule(w.rule(comment), at, lifecycle.RuleAsk{}))
}

// added are rules of the client's, in this order.
func (w *world) added(id int64, comments ...string) {
	w.t.Helper()
	for _, c := range slices.Backward(comments) {
		if out := w.add(id, c, -1); !out.Complete {
			w.t.Fatalf("rule %s: %+v", c, out.Outcome)
		}
	}
}

// foreign is a rule that an administrator makes, at the top.
func (w *world) foreign(id int64, comment string) {
	w.t.Helper()
	vm := w.vm(id)
	w.call("POST", fmt.Sprintf("/nodes/%s/qemu/%d/firewall/rules", vm.Node, vm.VMID), "type", "in", "action", "DROP", "enable", "1", "comment", comment)
}

// comments are those of the VM's rules, ours without their mark and in lower case, checked to be whole.
func (w *world) comments(id int64) string {
	w.t.Helper()
	var out []string
	for _, r := range w.sim.Firewall(w.service(id).Row.VMID).Rules {
		comment, own := kvm.UnmarkComment(r["comment"])
		if own && (r["enable"] != "1" || r["proto"] != "tcp" || r["dport"] != "22,80:90" || r["source"] != "198.51.100.0/24" || r["type"] != "in" || r["action"] != "ACCEPT") {
			w.t.Errorf("rule %s is %v", comment, r)
		}
		out = append(out, comment)
	}
	return strings.Join(out, " ")
}

// stored are the comments of the rules that are stored.
func (w *world) stored(id int64) string {
	w.t.Helper()
	var out []string
	for _, r := range w.service(id).Firewall.Rules {
		out = append(out, r.Comment)
	}
	return strings.Join(out, " ")
}

func (w *world) policies(id int64, in, out string) {
	w.t.Helper()
	p := w.start(nil)
	var now kvm.Firewall
	if o := p.now(id, p.life.SetPolicies(&in, &out, nil, &now)); !o.Complete {
		w.t.Fatalf("%+v", o.Outcome)
	}
}

// TestClientFirewallOutlives: what the client has made of its firewall outlives a reinstall and a change of package, in its
// order; an administrator's rules and sets outlive the change alone. A service that ends takes it along.
func TestClientFirewallOutlives(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	w.staleFirewall()
	id := w.ready()
	w.added(id, "a", "b", "c")
	w.foreign(id, "X")
	w.add(id, "d", 2)
	w.foreign(id, "Y")
	w.policies(id, "DROP", "REJECT")
	vm := w.vm(id)
	set := fmt.Sprintf("/nodes/%s/qemu/%d/firewall/ipset", vm.Node, vm.VMID)
	w.call("POST", set, "name", "office")
	if got := w.comments(id); got != "Y X a d b c" || w.stored(id) != "a d b c" {
		t.Fatalf("%s; stored %s", got, w.stored(id))
	}
	options := func(what string) {
		t.Helper()
		f := w.sim.Firewall(w.service(id).Row.VMID)
		if f.Options["policy_in"] != "DROP" || f.Options["policy_out"] != "REJECT" || f.Options["enable"] != "1" || len(f.IPSets["ipfilter-net0"]) != 1 {
			t.Errorf("%s: %+v", what, f)
		}
	}
	w.writes()
	w.product("cpu=2", "fw_policy_in=ACCEPT", "fw_log_in=info")
	w.ask(id, kvm.VerbChangePackage)
	w.finish(id, kvm.Ready)
	if got := w.comments(id); got != "Y X a d b c" {
		t.Errorf("after a change of package: %s", got)
	}
	for _, call := range w.writes() {
		if strings.Contains(call, "/firewall/") && !strings.HasSuffix(call, "/firewall/options") {
			t.Errorf("the change of package sent %s", call)
		}
	}
	if f := w.sim.Firewall(vm.VMID); f.IPSets["office"] == nil || f.Options["log_level_in"] != "info" {
		t.Errorf("after a change of package: %+v", f)
	}
	options("after a change of package")

	w.ask(id, kvm.VerbReinstall)
	w.finish(id, kvm.Ready)
	if got := w.comments(id); got != "a d b c" || w.stored(id) != "a d b c" {
		t.Errorf("after a reinstall: %s; stored %s", got, w.stored(id))
	}
	if f := w.sim.Firewall(w.service(id).Row.VMID); len(f.IPSets) != 1 {
		t.Errorf("after a reinstall: %+v", f.IPSets)
	}
	options("after a reinstall")
	w.set(id, "vm_status = ?", string(kvm.RINetwork))
	w.writes()
	out := w.walk(id, 1)
	if writes := w.writes(); !out.Complete || out.note("Configure firewall") != "skip — no change" || len(writes) != 0 {
		t.Errorf("repeated: %q, %v", out.note("Configure firewall"), writes)
	}
	w.walk(id, 0)

	w.ask(id, kvm.VerbRedeploy)
	w.finish(id, kvm.Creation)
	if f := w.service(id).Firewall; f.PolicyIn != "" || len(f.Rules) > 0 {
		t.Errorf("after redeploy there is stored %+v", f)
	}
	w.reach(id, allRows)
	if got := w.comments(id); got != "" {
		t.Errorf("after redeploy: %s", got)
	}
	w.added(id, "z")
	w.ask(id, kvm.VerbTerminate)
	w.finish(id, kvm.Remove)
	if n := w.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE firewall IS NOT NULL"); n != "0" {
		t.Errorf("after terminate %s documents are left", n)
	}
}

// TestChangePutsRulesRight: a change of package makes the client's rules again what is stored, whatever has become of them in
// Proxmox, and leaves the others in peace.
func TestChangePutsRulesRight(t *testing.T) {
	t.Parallel()
	w, id := changing(t)
	w.added(id, "a", "b", "c")
	w.foreign(id, "X")
	vm := w.vm(id)
	base := fmt.Sprintf("/nodes/%s/qemu/%d/firewall/rules", vm.Node, vm.VMID)
	w.call("DELETE", base+"/2")                     // b
	w.call("PUT", base+"/2", "moveto", "0")         // c
	w.call("PUT", base+"/2", "comment", "mine now") // a is an administrator's from here on
	w.call("POST", base, "type", "in", "action", "DROP", "comment", "puqkvm: never asked for")
	w.change(id)
	if got := w.comments(id); !own(got, "a b c", "X mine now") {
		t.Errorf("%s", got)
	}
}

// own says whether ours and the others are in their order in text.
func own(text, ours, others string) bool {
	for _, o := range strings.Fields(others) {
		text = strings.Replace(text, o, "", 1)
	}
	return strings.Join(strings.Fields(text), " ") == ours
}

// TestReinstallKilledAtTheFirewall: a process is killed at each call of the row that makes the rules anew. The next one ends
// with just the rules that are stored, in their order.
func TestReinstallKilledAtTheFirewall(t *testing.T) {
	t.Parallel()
	w := newDestroyWorld(t, pvesim.Instant())
	w.staleFirewall()
	id := w.ready()
	w.added(id, "a", "b", "c", "d")
	w.policies(id, "DROP", "ACCEPT")
	calls := 0
	for at := 0; at == 0 || at <= calls; at++ {
		w.ask(id, kvm.VerbReinstall)
		for w.at(id) != kvm.RINetwork {
			if out := w.walk(id, 1); !out.Complete {
				t.Fatalf("%+v", out.Outcome)
			}
		}
		f := &fuse{at: at}
		w.start(f).tick(id)
		if at == 0 {
			calls = slices.Index(f.calls, "Move "+string(kvm.RIFirewall)) + 1
			if adds := count(f.calls[:calls], "AddRule"); adds != 4 || calls < 15 || count(f.calls, "MoveRule") > 0 {
				t.Fatalf("the row is %q", f.calls[:calls])
			}
			continue
		}
		for range 2 {
			if w.at(id) != kvm.Ready {
				w.walk(id, 0)
			}
		}
		fw := w.sim.Firewall(w.service(id).Row.VMID)
		if got := w.comments(id); w.at(id) != kvm.Ready || got != "a b c d" || w.stored(id) != got || fw.Options["policy_in"] != "DROP" || len(fw.IPSets) != 1 {
			t.Errorf("killed after call %d (%s): at %s: %s, stored %s, %+v", at, f.calls[len(f.calls)-1], w.at(id), got, w.stored(id), fw)
		}
	}
}

func count(list []string, what string) (n int) {
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}
