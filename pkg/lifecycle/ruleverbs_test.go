package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// TestRuleVerbKilled: a command is killed at each of its calls. What is stored is what was or what was asked for, never a
// mixture; and the next command makes Proxmox so, with no rule doubled.
func TestRuleVerbKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.ready()
	two := 2
	for name, c := range map[string]struct {
		table func(l *lifecycle.Lifecycle) *pipeline.Pipeline
		after string // ours
	}{
		"add": {func(l *lifecycle.Lifecycle) *pipeline.Pipeline {
			return l.AddRule(w.rule("n"), nil, lifecycle.RuleAsk{})
		}, "n a b"},
		"add at 2": {func(l *lifecycle.Lifecycle) *pipeline.Pipeline {
			return l.AddRule(w.rule("n"), &two, lifecycle.RuleAsk{})
		}, "a n b"},
		"move":   {func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.MoveRule(0, 2, lifecycle.RuleAsk{}) }, "b a"},
		"remove": {func(l *lifecycle.Lifecycle) *pipeline.Pipeline { return l.RemoveRule(2, lifecycle.RuleAsk{}) }, "a"},
	} {
		calls := 0
		for at := 0; at == 0 || at <= calls; at++ {
			w.set(id, "firewall = NULL")
			w.change(id)
			w.added(id, "a", "b")
			for w.comments(id) != "a X b" {
				vm := w.vm(id)
				base := fmt.Sprintf("/nodes/%s/qemu/%d/firewall/rules", vm.Node, vm.VMID)
				for strings.Contains(w.comments(id), "X") {
					w.call("DELETE", fmt.Sprintf("%s/%d", base, slices.Index(strings.Fields(w.comments(id)), "X")))
				}
				w.foreign(id, "X")
				w.call("PUT", base+"/0", "moveto", "2")
			}
			f := &fuse{at: at}
			p := w.start(f)
			out := p.now(id, c.table(p.life))
			if at == 0 {
				calls = len(f.calls)
				if !out.Complete || w.stored(id) != c.after || !own(w.comments(id), c.after, "X") {
					t.Fatalf("%s: %+v: %s", name, out.Outcome, w.comments(id))
				}
				continue
			}
			stored := w.stored(id)
			if stored != "a b" && stored != c.after {
				t.Errorf("%s killed after %s: stored %s", name, f.calls[at-1], stored)
			}
			sent := slices.ContainsFunc(f.calls, func(call string) bool { return strings.HasSuffix(call, "eRule") || call == "AddRule" })
			if (sent || slices.Contains(f.calls, "SetClientFirewall")) && stored != c.after {
				t.Errorf("%s killed after %s: what was asked for is not stored, but %s", name, f.calls[at-1], stored)
			}
			if out := w.add(id, "next", -1); !out.Complete {
				t.Errorf("%s killed after %s: the next command: %+v", name, f.calls[at-1], out.Outcome)
			}
			if got := w.comments(id); !own(got, "next "+stored, "X") {
				t.Errorf("%s killed after %s: %s, stored %s", name, f.calls[at-1], got, stored)
			}
		}
		if calls < 5 {
			t.Errorf("%s: only %d calls", name, calls)
		}
	}
}

// TestRuleVerbs: what is refused changes nothing, neither here nor in Proxmox.
func TestRuleVerbs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "9.2.11")
	id := w.ready()
	w.added(id, "a", "b")
	w.foreign(id, "X")
	p := w.start(nil)
	see, err := p.life.Firewall(t.Context(), w.service(id))
	if err != nil || see.Off != "" || see.Due || see.Unmanaged != "" || len(see.Rules.Rules) != 3 || see.Rules.Rules[0].Own || !see.Rules.Rules[1].Own || len(see.Spoof) != 1 {
		t.Fatalf("%+v, %v", see, err)
	}
	const none = -1
	old, now := "0123456789abcdef", see.Rules.Digest
	at := func(n int) *int { return &n }
	for _, c := range []struct {
		name  string
		table *pipeline.Pipeline
		want  error
		says  string
	}{
		{"add what is there", p.life.AddRule(w.rule("b"), nil, lifecycle.RuleAsk{}), kvm.ErrRefused, "has this rule already, at position 2"},
		{"add too low", p.life.AddRule(w.rule("n"), at(4), lifecycle.RuleAsk{}), kvm.ErrInvalid, "cannot be at position 4: 0 to 3"},
		{"add too high", p.life.AddRule(w.rule("n"), at(none), lifecycle.RuleAsk{}), kvm.ErrInvalid, "position -1"},
		{"add to an old list", p.life.AddRule(w.rule("n"), nil, lifecycle.RuleAsk{Seen: &old}), kvm.ErrChanged, "the firewall's rules have changed since they were shown"},
		{"move what is not there", p.life.MoveRule(3, 0, lifecycle.RuleAsk{}), kvm.ErrInvalid, "no firewall rule at position 3"},
		{"move too low", p.life.MoveRule(0, 3, lifecycle.RuleAsk{}), kvm.ErrInvalid, "cannot be at position 3: 0 to 2"},
		{"move in an old list", p.life.MoveRule(1, 2, lifecycle.RuleAsk{Seen: &old}), kvm.ErrChanged, "changed"},
		{"a client moves another's", p.life.MoveRule(0, 2, lifecycle.RuleAsk{Client: true, Seen: &now}), kvm.ErrRefused, "is an administrator's"},
		{"a client removes another's", p.life.RemoveRule(0, lifecycle.RuleAsk{Client: true}), kvm.ErrRefused, "is an administrator's"},
		{"remove what is not there", p.life.RemoveRule(3, lifecycle.RuleAsk{}), kvm.ErrInvalid, "no firewall rule at position 3"},
		{"remove in an old list", p.life.RemoveRule(1, lifecycle.RuleAsk{Seen: &old}), kvm.ErrChanged, "changed"},
		{"policies of old options", p.life.SetPolicies(&[]string{"DROP"}[0], nil, &old, &kvm.Firewall{}), kvm.ErrChanged, "the firewall's options have changed"},
	} {
		before := w.picture()
		w.writes()
		out := p.now(id, c.table)
		if !errors.Is(out.Err, c.want) || !strings.Contains(out.Message, c.says) || len(w.writes()) > 0 || w.picture() != before || w.stored(id) != "a b" {
			t.Errorf("%s: %+v", c.name, out.Outcome)
		}
		if errors.Is(out.Err, kvm.ErrChanged) && !errors.Is(out.Err, kvm.ErrRefused) {
			t.Errorf("%s: %v is no refusal", c.name, out.Err)
		}
	}
	order := func(what string, table *pipeline.Pipeline, want string) {
		t.Helper()
		if out := p.now(id, table); !out.Complete || w.comments(id) != want || !own(want, w.stored(id), "X") {
			t.Errorf("%s: %+v: %s, stored %s", what, out.Outcome, w.comments(id), w.stored(id))
		}
	}
	order("a client's own", p.life.MoveRule(2, 0, lifecycle.RuleAsk{Client: true, Seen: &now}), "b X a")
	order("a shell's, another's", p.life.MoveRule(1, 2, lifecycle.RuleAsk{}), "b a X")
	order("at the end", p.life.AddRule(w.rule("c"), at(3), lifecycle.RuleAsk{Client: true}), "b a X c")
	order("in the middle", p.life.AddRule(w.rule("d"), at(1), lifecycle.RuleAsk{Client: true}), "b d a X c")
	order("one's own", p.life.RemoveRule(4, lifecycle.RuleAsk{Client: true}), "b d a X")
	order("where it is", p.life.MoveRule(1, 1, lifecycle.RuleAsk{}), "b d a X")
	order("a shell's, another's", p.life.RemoveRule(3, lifecycle.RuleAsk{}), "b d a")

	w.set(id, "firewall = ?", `{"rules":[`+strings.Repeat(`{"direction":"in","action":"DROP"},`, kvm.MaxRules-1)+`{"direction":"in","action":"DROP"}]}`)
	if out := w.add(id, "n", -1); !errors.Is(out.Err, kvm.ErrRefused) || !strings.Contains(out.Message, "has 100 rules") {
		t.Errorf("more than the most: %+v", out.Outcome)
	}
	w.set(id, "firewall = ?", `{"rules":[{"direction":"in"}]}`)
	if out := w.add(id, "n", -1); !errors.Is(out.Err, kvm.ErrInvalid) || !strings.Contains(out.Message, "puqProxmoxKVM_vm_info.firewall") {
		t.Errorf("a broken document: %+v", out.Outcome)
	}
	w.set(id, "firewall = NULL")
	w.product("dhcp_ipv4=on")
	for name, table := range map[string]*pipeline.Pipeline{"add": p.life.AddRule(w.rule("n"), nil, lifecycle.RuleAsk{}), "remove": p.life.RemoveRule(0, lifecycle.RuleAsk{}),
		"policy": p.life.SetPolicies(&[]string{"DROP"}[0], nil, nil, &kvm.Firewall{})} {
		if out := p.now(id, table); !errors.Is(out.Err, kvm.ErrRefused) || !strings.Contains(out.Message, "by DHCP") {
			t.Errorf("%s with DHCP: %+v", name, out.Outcome)
		}
	}
	if see, err := p.life.Firewall(t.Context(), w.service(id)); err != nil || see.Unmanaged == "" || see.Due {
		t.Errorf("with DHCP: %+v, %v", see, err)
	}
	w.product("dhcp_ipv4=off", "fw_enable=off")
	w.change(id)
	if see, err := p.life.Firewall(t.Context(), w.service(id)); err != nil || !strings.Contains(see.Off, "fw_enable") {
		t.Errorf("switched off: %+v, %v", see, err)
	}
	if out := w.add(id, "n", -1); !out.Complete || w.comments(id) != "n" {
		t.Errorf("switched off: %+v: %s", out.Outcome, w.comments(id))
	}
}

// TestRuleVerbsOvertaken: an administrator is faster between the look and the change. What was asked for by position is
// refused and taken back; a new rule that may stand anywhere is made all the same; policies are compared anew.
func TestRuleVerbsOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.ready()
	w.added(id, "a", "b")
	p := w.start(nil)
	one := 1
	for i, c := range []struct {
		method, path string
		table        *pipeline.Pipeline
		complete     bool
		after        string
	}{
		{"PUT", rulePath, p.life.MoveRule(0, 1, lifecycle.RuleAsk{}), false, "a b"},
		{"DELETE", rulePath, p.life.RemoveRule(0, lifecycle.RuleAsk{}), false, "a b"},
		{"POST", rulesPath, p.life.AddRule(w.rule("n"), &one, lifecycle.RuleAsk{}), false, "a b"},
		{"POST", rulesPath, p.life.AddRule(w.rule("n"), nil, lifecycle.RuleAsk{}), true, "n a b"},
	} {
		name := fmt.Sprintf("X%d", i)
		happened := w.once(c.method, c.path, pvesim.Arrived, func() { w.foreign(id, name) })
		out := p.now(id, c.table)
		if w.sim.SetHook(nil); !happened() || out.Complete != c.complete || !c.complete && (!errors.Is(out.Err, kvm.ErrChanged) || !errors.Is(out.Err, kvm.ErrRefused)) {
			t.Errorf("%s: %t, %+v", name, happened(), out.Outcome)
		}
		if got := w.comments(id); w.stored(id) != c.after || !own(got, c.after, "X0 X1 X2 X3") {
			t.Errorf("%s: %s, stored %s", name, got, w.stored(id))
		}
	}
	drop := "DROP"
	var now kvm.Firewall
	vm := w.vm(id)
	happened := w.once("PUT", optionsPath, pvesim.Arrived, func() {
		w.sim.SetHook(nil)
		w.call("PUT", fmt.Sprintf("/nodes/%s/qemu/%d/firewall/options", vm.Node, vm.VMID), "radv", "1")
	})
	if out := p.now(id, p.life.SetPolicies(&drop, nil, nil, &now)); !happened() || !out.Complete || now.PolicyIn != "DROP" || now.PolicyOut != "ACCEPT" || !now.RADV {
		t.Errorf("%+v, %+v", out.Outcome, now)
	}
	if f := w.sim.Firewall(vm.VMID); f.Options["policy_in"] != "DROP" || f.Options["radv"] != "1" {
		t.Errorf("%+v", f.Options)
	}
}

// TestRuleVerbsRefused: what Proxmox refuses is not kept; what it may have done is, and the next command looks.
func TestRuleVerbsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "8.4.21")
	id := w.ready()
	w.added(id, "a")
	for _, c := range []struct {
		name   string
		fault  pvesim.Fault
		want   error
		stored string
		after  string // when the next command has seen to it
	}{
		{"bad", pvesim.Fault{Status: 400, Reason: "Parameter verification failed."}, kvm.ErrInvalid, "a", "a"},
		{"no privilege", pvesim.Fault{Status: 403, Reason: "Permission check failed"}, kvm.ErrDenied, "a", "a"},
		{"no answer, not done", pvesim.Fault{Status: 596}, kvm.ErrUnknown, "n1 a", "n1 a"},
		{"no answer, done", pvesim.Fault{ResetAfter: true}, kvm.ErrUnknown, "n2 n1 a", "n2 n1 a"},
	} {
		c.fault.Method, c.fault.Path, c.fault.Count = "POST", rulesPath, 1
		armed := w.sim.AddFault(c.fault)
		name := map[string]string{"no answer, not done": "n1", "no answer, done": "n2"}[c.name]
		out := w.add(id, name, -1)
		if !errors.Is(out.Err, c.want) || armed.Hits() != 1 || w.stored(id) != c.stored || strings.Contains(out.Message, "it is stored") != (c.want == kvm.ErrUnknown) {
			t.Errorf("%s: %+v, stored %s", c.name, out.Outcome, w.stored(id))
		}
		armed.Remove()
		p := w.start(nil)
		p.now(id, p.life.MoveRule(0, 0, lifecycle.RuleAsk{}))
		if got := w.comments(id); got != c.after {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	see, err := w.start(nil).life.Firewall(t.Context(), w.service(id))
	if err != nil || see.Due {
		t.Errorf("%+v, %v", see, err)
	}
	armed := w.sim.AddFault(pvesim.Fault{Method: "PUT", Path: optionsPath, Status: 596, Count: 1})
	p, drop, reject := w.start(nil), "DROP", "REJECT"
	if out := p.now(id, p.life.SetPolicies(&drop, nil, nil, &kvm.Firewall{})); !errors.Is(out.Err, kvm.ErrUnknown) || w.service(id).Firewall.PolicyIn != "DROP" {
		t.Errorf("a policy: %+v", out.Outcome)
	}
	armed.Remove()
	if out := p.now(id, p.life.SetPolicies(nil, &reject, nil, &kvm.Firewall{})); !out.Complete {
		t.Errorf("the other policy: %+v", out.Outcome)
	}
	if f := w.sim.Firewall(w.service(id).Row.VMID); f.Options["policy_in"] != "DROP" || f.Options["policy_out"] != "REJECT" {
		t.Errorf("policies: %v", f.Options)
	}
	armed = w.sim.AddFault(pvesim.Fault{Method: "PUT", Path: optionsPath, Status: 403, Count: 1})
	if out := p.now(id, p.life.SetPolicies(&reject, nil, nil, &kvm.Firewall{})); !errors.Is(out.Err, kvm.ErrDenied) || w.service(id).Firewall.PolicyIn != "DROP" {
		t.Errorf("a policy without the privilege: %+v, stored %s", out.Outcome, w.service(id).Firewall.PolicyIn)
	}
	armed.Remove()
	w.set(id, "firewall = ?", `{"policy_in":"REJECT"}`)
	if see, err := w.start(nil).life.Firewall(t.Context(), w.service(id)); err != nil || !see.Due {
		t.Errorf("rules and a policy that are not stored: %+v, %v", see, err)
	}
	out := w.add(id, "n", 0)
	if !errors.Is(out.Err, kvm.ErrChanged) || !strings.Contains(out.Message, "positions may have moved") || w.comments(id) != "" {
		t.Errorf("by a position of what was not as stored: %+v: %s", out.Outcome, w.comments(id))
	}
}
