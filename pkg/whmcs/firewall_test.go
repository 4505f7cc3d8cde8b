package whmcs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestClientFirewall: what is stored is read again; nothing is stored under a claim that was lost, or at another status; a
// document that somebody has broken is told, and does not read as a firewall without rules; a row that is forgotten takes it
// along.
func TestClientFirewall(t *testing.T) {
	x := newShop(t)
	x.order(7)
	sv := x.hold(7)
	if sv.Firewall.PolicyIn != "" || sv.Firewall.Rules != nil {
		t.Errorf("of a new order: %+v", sv.Firewall)
	}
	rule, err := kvm.ParseRule(kvm.RuleText{Direction: "in", Action: "ACCEPT", Proto: "tcp", DPort: "22", Comment: "Büro 🔑 \"ssh\""})
	if err != nil {
		t.Fatal(err)
	}
	wish := kvm.ClientFirewall{PolicyIn: "DROP", Rules: []kvm.Rule{rule}}
	if err := x.SetClientFirewall(t.Context(), sv, wish); err != nil {
		t.Fatal(err)
	}
	const doc = `{"policy_in":"DROP","rules":[{"direction":"in","action":"ACCEPT","proto":"tcp","dport":"22","comment":"Büro 🔑 \"ssh\""}]}`
	if got := x.vm("firewall", 7); got != doc || len(sv.Firewall.Rules) != 1 {
		t.Errorf("%s, in memory %+v", got, sv.Firewall)
	}
	if err := x.SetClientFirewall(t.Context(), sv, wish); err != nil {
		t.Errorf("the same again: %v", err)
	}
	for what, spoil := range map[string]func(sv *kvm.Service){
		"a lost claim":   func(sv *kvm.Service) { sv.Row.Owner = "thief" },
		"another status": func(sv *kvm.Service) { sv.Row.Status = kvm.Ready },
	} {
		other := *sv
		spoil(&other)
		if err := x.SetClientFirewall(t.Context(), &other, kvm.ClientFirewall{}); !errors.Is(err, kvm.ErrMoved) || x.vm("firewall", 7) != doc || len(other.Firewall.Rules) != 1 {
			t.Errorf("%s: %v, %s", what, err, x.vm("firewall", 7))
		}
	}
	again, err := x.Service(t.Context(), 7)
	if err != nil || again.Problem != nil || again.Firewall.PolicyIn != "DROP" || len(again.Firewall.Rules) != 1 || again.Firewall.Rules[0] != rule {
		t.Errorf("%+v, %v, %v", again.Firewall, again.Problem, err)
	}
	if err := x.SetClientFirewall(t.Context(), sv, kvm.ClientFirewall{}); err != nil {
		t.Fatal(err)
	}
	if got := x.vm("firewall IS NULL", 7); got != "1" {
		t.Errorf("of nothing there is a document")
	}

	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET firewall = '{"rules":[{"direction":"in","action":"ACCEPT","port":"22"}]}'`)
	again, err = x.Service(t.Context(), 7)
	if err != nil || !errors.Is(again.Problem, kvm.ErrInvalid) || !strings.HasPrefix(again.Problem.Error(), "service 7: puqProxmoxKVM_vm_info.firewall: ") || again.Firewall.Rules != nil {
		t.Errorf("%+v, %v, %v", again.Firewall, again.Problem, err)
	}
	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET vm_status = 'error_terminate'`)
	if _, err := x.Forget(t.Context(), 7, time.Hour); err != nil {
		t.Fatal(err)
	}
	x.db.Exec("DELETE FROM tblhosting WHERE id = 7")
	x.order(7)
	if got := x.vm("firewall IS NULL", 7); got != "1" {
		t.Errorf("what was forgotten is there again")
	}
}
