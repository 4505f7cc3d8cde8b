package whmcs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// eachPhase has a status of each phase.
var eachPhase = [...]struct {
	phase  kvm.Phase
	status kvm.Status
}{

	{kvm.PhaseDeploy, kvm.SetDNS}, {kvm.PhaseReady, kvm.Ready}, {kvm.PhaseChangePackage, kvm.CPNetwork}, {kvm.PhaseReinstall, kvm.RIRemoved},
	{kvm.PhaseResetPassword, kvm.RPStop}, {kvm.PhaseSuspend, kvm.SUOnBoot}, {kvm.PhaseUnsuspend, kvm.USStarting}, {kvm.PhaseSetDNS, kvm.SetDNSRecords},
	{kvm.PhaseRedeploy, kvm.RDStopped}, {kvm.PhaseTerminate, kvm.TEStopped}, {kvm.PhaseErrorTerminate, kvm.ErrorTerminate}, {kvm.PhaseRemove, kvm.Remove},
	{kvm.PhaseUnknown, "weird"},
	{kvm.PhaseRollback, kvm.RBStopped}, {kvm.PhaseBackup, kvm.MakeBackup}, {kvm.PhaseScheduled, kvm.ScheduledBackup}, {kvm.PhaseRestore, kvm.RSRestored},
	{kvm.PhaseErrorRestore, kvm.ErrorRestore},
}

// TestEachPhase: no phase is left out of what the tests below go through.
func TestEachPhase(t *testing.T) {
	for _, p := range kvm.Phases() {
		if p != kvm.PhaseNone && !slices.ContainsFunc(eachPhase[:], func(e struct {
			phase  kvm.Phase
			status kvm.Status
		}) bool {
			return e.phase == p && e.status.Phase() == p
		}) {
			t.Errorf("no status of the phase %s is tested", p)
		}
	}
}

// stands is what of the service's row verbs move.
func (x *shop) stands(id int64) string {
	x.Helper()
	return x.vm("CONCAT_WS('|', vm_status, next_status, suspended)", id)
}

// put brings the service's row into a state.
func (x *shop) put(id int64, status kvm.Status, notes, owner string) {
	x.Helper()
	x.db.Exec(`UPDATE puqProxmoxKVM_vm_info SET vm_status = ?, next_status = ?, suspended = 0, template = 0, password_set = 1, backup_note = '', restore_from = '', claim_owner = NULLIF(?, ''),
		claim_until = IF(? = '', NULL, UTC_TIMESTAMP(6) + INTERVAL 60 SECOND) WHERE service_id = ?`, string(status), notes, owner, owner, id)
}

// ask asks for verbs, none of which may be refused.
func (x *shop) ask(id int64, verbs ...kvm.Verb) {
	x.Helper()
	for _, v := range verbs {
		if _, err := x.Ask(x.Context(), id, kvm.Wish{Verb: v}); err != nil {
			x.Fatalf("%s: %v", v, err)
		}
	}
}

// deadOwner is the token of a process of this host that is certainly dead.
func (x *shop) deadOwner() string {
	f := strings.Split(x.owner, "/")
	f[4] = "1"
	return strings.Join(f, "/")
}

// TestAskMatrix: each verb in each phase, with nobody, a living and a dead process at work: what stands in the row, and
// which error says that nothing was done.
func TestAskMatrix(t *testing.T) {
	x := newShop(t)
	x.order(7)
	for _, v := range kvm.Verbs() {
		if a, err := x.Ask(t.Context(), 99, kvm.Wish{Verb: v}); kvm.Decide(v, kvm.PhaseNone) == kvm.Refuse && !errors.Is(err, kvm.ErrRefused) || a.Decision != kvm.Decide(v, kvm.PhaseNone) {
			t.Errorf("%s without a row: %+v, %v", v, a, err)
		}
		for _, p := range eachPhase {
			if got := p.status.Phase(); got != p.phase {
				t.Fatalf("%s is of the phase %s", p.status, got)
			}
			for holder, owner := range map[string]string{"nobody": "", "living": elsewhere, "dead": x.deadOwner()} {
				x.put(7, p.status, "", owner)
				before := x.row(7)
				a, err := x.Ask(t.Context(), 7, kvm.Wish{Verb: v, Template: 9001, From: "nfs:backup/From", Note: "vor dem Umzug: 50 % \\'"})
				d := kvm.Decide(v, p.phase)
				if d == kvm.Take && holder == "living" && p.phase != kvm.PhaseReady {
					d = kvm.Note
				}
				status, notes, class := p.status, "", error(nil)
				busy := holder == "living" && !v.FromWHMCS() && (d == kvm.Note || d == kvm.Take && v.Status() != "")
				switch {
				case busy:
					class = kvm.ErrBusy
				case d == kvm.Take && v != kvm.VerbCreate && v.Status() != "":
					status = v.Status()
				case d == kvm.Note:
					notes = string(v.Status())
				}
				if c, fails := map[kvm.Decision]error{kvm.Refuse: kvm.ErrRefused, kvm.Admin: kvm.ErrAdmin, kvm.Queued: kvm.ErrQueued}[d]; fails {
					class = c
				}
				flag := 0
				if v == kvm.VerbSuspend && class == nil && d != kvm.Done {
					flag = 1
				}
				name := fmt.Sprintf("%s at %s, held by %s", v, p.status, holder)
				if want := fmt.Sprintf("%s|%s|%d", status, notes, flag); x.stands(7) != want || !errors.Is(err, class) || (class == nil) != (err == nil) || a.Decision != d {
					t.Errorf("%s: %s, want %s; %+v, %v", name, x.stands(7), want, a, err)
				}
				if after := x.row(7); (status == p.status && notes == "") && fmt.Sprint(after) != fmt.Sprint(before) && flag == 0 {
					t.Errorf("%s: nothing was to change: %v, was %v", name, after, before)
				} else if after["claim_owner"] != before["claim_owner"] || after["claim_until"] != before["claim_until"] {
					t.Errorf("%s: the claim is %s", name, after["claim_owner"])
				}
				carries := "0|1||"
				if status != p.status {
					if c, any := map[kvm.Verb]string{kvm.VerbReinstall: "9001|1||", kvm.VerbResetPassword: "0|0||", kvm.VerbBackup: "0|1|vor dem Umzug: 50 % \\'|",
						kvm.VerbRestore: "0|1||nfs:backup/From", kvm.VerbRollback: "0|1||nfs:backup/From"}[v]; any {
						carries = c
					}
				}
				if got := x.vm("CONCAT_WS('|', template, password_set, backup_note, restore_from)", 7); got != carries {
					t.Errorf("%s: it carries %s, want %s", name, got, carries)
				}
			}
		}
	}
}

// TestAskUnproved: what the PHP module made, and nothing proves, is not touched.
func TestAskUnproved(t *testing.T) {
	x := newShop(t)
	x.order(7)
	for _, v := range kvm.Verbs() {
		x.put(7, kvm.Ready, "", "")
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET queued_at = NULL")
		before := fmt.Sprint(x.row(7))
		_, err := x.Ask(t.Context(), 7, kvm.Wish{Verb: v})
		if kvm.Decide(v, kvm.PhaseReady) == kvm.Take && v.Status() != "" && (!errors.Is(err, kvm.ErrUnproved) || kvm.Hint(err) != "puqkvm adopt 7") || fmt.Sprint(x.row(7)) != before {
			t.Errorf("%s: %v, %s", v, err, x.stands(7))
		}
	}
}

// TestTerminateAfterThePresentRow: whatever moves the status, a terminate that was asked for meanwhile takes its place, and
// what belongs to that status is not written. The row's own intents are.
func TestTerminateAfterThePresentRow(t *testing.T) {
	for name, c := range map[string]struct {
		from kvm.Status
		move func(x *shop, sv *kvm.Service) error
	}{
		"Move":       {kvm.SetDNS, func(x *shop, sv *kvm.Service) error { return x.Move(x.Context(), sv, kvm.Cloned, nil) }},
		"to ready":   {kvm.USStarting, func(x *shop, sv *kvm.Service) error { return x.Move(x.Context(), sv, kvm.Ready, nil) }},
		"falls back": {kvm.CPStart, func(x *shop, sv *kvm.Service) error { return x.Move(x.Context(), sv, kvm.CPFirewall, nil) }},
		"Allocate":   {kvm.Creation, func(x *shop, sv *kvm.Service) error { return x.Allocate(x.Context(), sv, kvm.SetIP, pickLowest(1, 0)) }},
		"MoveWithMail": {kvm.Starting, func(x *shop, sv *kvm.Service) error {
			return x.MoveWithMail(x.Context(), sv, kvm.Ready, readyMail(7, "k"))
		}},
		"MoveLeaving": {kvm.CPStart, func(x *shop, sv *kvm.Service) error { return x.MoveLeaving(x.Context(), sv, kvm.Ready, 0) }},
		"Requeue":     {kvm.RDRemoved, func(x *shop, sv *kvm.Service) error { return x.Requeue(x.Context(), sv, time.Hour, orderedAt) }},
		"SetPassword": {kvm.SetFirewall, func(x *shop, sv *kvm.Service) error {
			if err := x.SetPassword(x.Context(), sv, "root", kvm.NewSecret("p")); err != nil {
				return fmt.Errorf("the password is not to be lost: %w", err)
			}
			return x.Move(x.Context(), sv, kvm.SetCloudinit, nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShop(t)
			x.pool("192.0.2.1", 24, "192.0.2.10", "192.0.2.19")
			x.order(7)
			x.put(7, c.from, "", "")
			sv := x.hold(7)
			sv.Row.Node = "pve2"
			x.ask(7, kvm.VerbSuspend, kvm.VerbChangePackage, kvm.VerbTerminate)
			err := c.move(x, sv)
			if !errors.Is(err, kvm.ErrAsked) || x.stands(7) != "terminate||1" || sv.Row.Status != kvm.Terminate || sv.Row.Owner != "" {
				t.Fatalf("%v, %s, in memory %s", err, x.stands(7), sv.Row.Status)
			}
			if got := x.db.Text("SELECT CONCAT_WS('|', vm_node, COALESCE(claim_owner, 'free'), (SELECT COUNT(*) FROM puq_proxmox_kvm_addresses), (SELECT COUNT(*) FROM puq_proxmox_kvm_outbox), (SELECT COUNT(*) FROM puq_proxmox_kvm_vmids)) FROM puqProxmoxKVM_vm_info"); got != "pve2|free|0|0|1" {
				t.Error(got)
			}
		})
	}
}

// TestNotesAtTheEnd: what else is noted is taken in place of ready, one after the other, and the mail leaves all the same.
func TestNotesAtTheEnd(t *testing.T) {
	x := newShop(t)
	x.order(7)
	for name, c := range map[string]struct {
		verbs []kvm.Verb
		want  []string // what stands each time a run has come to ready
	}{
		"suspend":                   {[]kvm.Verb{kvm.VerbSuspend}, []string{"suspend||1", "ready||1"}},
		"unsuspend":                 {[]kvm.Verb{kvm.VerbUnsuspend}, []string{"unsuspend||0", "ready||0"}},
		"change-package":            {[]kvm.Verb{kvm.VerbChangePackage}, []string{"change_package||0", "ready||0"}},
		"suspend and back":          {[]kvm.Verb{kvm.VerbSuspend, kvm.VerbUnsuspend}, []string{"unsuspend||0", "ready||0"}},
		"three times":               {[]kvm.Verb{kvm.VerbSuspend, kvm.VerbUnsuspend, kvm.VerbSuspend}, []string{"suspend||1", "ready||1"}},
		"suspend, change-package":   {[]kvm.Verb{kvm.VerbSuspend, kvm.VerbChangePackage}, []string{"change_package|suspend|1", "suspend||1", "ready||1"}},
		"change-package, unsuspend": {[]kvm.Verb{kvm.VerbChangePackage, kvm.VerbUnsuspend}, []string{"change_package|unsuspend|0", "unsuspend||0", "ready||0"}},
	} {
		x.db.Exec("DELETE FROM puq_proxmox_kvm_outbox")
		x.put(7, kvm.Starting, "", "")
		sv := x.hold(7)
		x.ask(7, c.verbs...)
		for i, want := range c.want {
			move := func() error { return x.Move(t.Context(), sv, kvm.Ready, nil) }
			if i == 0 {
				move = func() error { return x.MoveWithMail(t.Context(), sv, kvm.Ready, readyMail(7, "k")) }
			}
			if err := move(); err != nil || x.stands(7) != want || x.vm("COALESCE(claim_owner, 'free')", 7) != "free" {
				t.Fatalf("%s: %v, %s, want %s", name, err, x.stands(7), want)
			}
			sv = x.hold(7)
		}
		if n := x.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_outbox"); n != "1" {
			t.Errorf("%s: %s mails", name, n)
		}
	}
}

// TestAskWhileItIsInHand: a change begins anew, and keeps what is to follow; the opposite of a suspend that is in hand follows
// it; what a terminate makes needless is not noted, and what follows a terminate is.
func TestAskWhileItIsInHand(t *testing.T) {
	x := newShop(t)
	x.order(7)
	for name, c := range map[string]struct {
		status      kvm.Status
		notes, want string
		held        bool
		verbs       []kvm.Verb
	}{
		"change in a change, nobody at it":   {kvm.CPNetwork, "unsuspend", "change_package|unsuspend|0", false, []kvm.Verb{kvm.VerbChangePackage}},
		"change in a change":                 {kvm.CPNetwork, "unsuspend", "cp_network|change_package,unsuspend|0", true, []kvm.Verb{kvm.VerbChangePackage}},
		"suspend, unsuspend, suspend":        {kvm.SUOnBoot, "", "su_onboot|suspend|1", true, []kvm.Verb{kvm.VerbUnsuspend, kvm.VerbSuspend}},
		"terminate drops all":                {kvm.SUOnBoot, "change_package,unsuspend", "su_onboot|terminate|0", true, []kvm.Verb{kvm.VerbTerminate}},
		"a new order follows":                {kvm.TEStopped, "", "te_stopped|creation|0", true, []kvm.Verb{kvm.VerbCreate}},
		"and is suspended":                   {kvm.TEStopped, "", "te_stopped|creation|1", true, []kvm.Verb{kvm.VerbCreate, kvm.VerbSuspend, kvm.VerbChangePackage}},
		"and is dropped":                     {kvm.TEStopped, "creation", "te_stopped||0", true, []kvm.Verb{kvm.VerbTerminate}},
		"terminate and order during a row":   {kvm.SetDNS, "", "set_dns|terminate,creation|0", true, []kvm.Verb{kvm.VerbTerminate, kvm.VerbCreate}},
		"terminate is the last word":         {kvm.SetDNS, "", "set_dns|terminate|0", true, []kvm.Verb{kvm.VerbTerminate, kvm.VerbCreate, kvm.VerbTerminate}},
		"suspend of what is to be destroyed": {kvm.SetDNS, "terminate", "set_dns|terminate|0", true, []kvm.Verb{kvm.VerbSuspend}},
	} {
		owner := ""
		if c.held {
			owner = elsewhere
		}
		x.put(7, c.status, c.notes, owner)
		x.ask(7, c.verbs...)
		if got := x.stands(7); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	x.put(7, kvm.SetDNS, "terminate", elsewhere)
	for _, v := range []kvm.Verb{kvm.VerbUnsuspend, kvm.VerbChangePackage} {
		if _, err := x.Ask(t.Context(), 7, kvm.Wish{Verb: v}); !errors.Is(err, kvm.ErrRefused) || !strings.Contains(err.Error(), "being terminated") {
			t.Errorf("%s before a terminate: %v", v, err)
		}
	}
	// A change begins anew at its next row.
	x.put(7, kvm.CPNetwork, "", "")
	sv := x.hold(7)
	x.ask(7, kvm.VerbChangePackage)
	if err := x.Move(t.Context(), sv, kvm.CPFirewall, nil); !errors.Is(err, kvm.ErrAsked) || x.stands(7) != "change_package||0" {
		t.Errorf("%v, %s", err, x.stands(7))
	}
}

// TestOrderAfterTerminate: a create that comes while the VM is being terminated makes a new order when that is over, with a
// VMID of its own and not suspended; and what create itself says is that it is noted.
func TestOrderAfterTerminate(t *testing.T) {
	x := newShop(t)
	x.order(7)
	x.put(7, kvm.SetDNS, "", "")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET suspended = 1, vm_uuids = '[\"a\"]'")
	sv := x.hold(7)
	x.ask(7, kvm.VerbTerminate)
	if _, err := x.Create(t.Context(), 7, orderedAt, nil); !errors.Is(err, kvm.ErrQueued) || !strings.Contains(err.Error(), "noted") || x.stands(7) != "set_dns|terminate,creation|0" {
		t.Fatalf("%v, %s", err, x.stands(7))
	}
	if err := x.Move(t.Context(), sv, kvm.Cloned, nil); !errors.Is(err, kvm.ErrAsked) || x.stands(7) != "terminate|creation|0" {
		t.Fatalf("%v, %s", err, x.stands(7))
	}
	x.put(7, kvm.TEBackupsRemoved, "creation", "")
	sv = x.hold(7)
	if err := x.Terminated(t.Context(), sv, time.Hour, orderedAt); err != nil || x.stands(7) != "rd_removed||0" {
		t.Fatalf("%v, %s", err, x.stands(7))
	}
	sv = x.hold(7)
	if err := x.Requeue(t.Context(), sv, time.Hour, orderedAt); err != nil || x.stands(7) != "creation||0" {
		t.Fatalf("%v, %s", err, x.stands(7))
	}
	if got := x.vm("CONCAT_WS('|', vm_id, vm_uuids, COALESCE(claim_owner, 'free'))", 7); got != `101|["a"]|free` {
		t.Error(got)
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', vmid, state) ORDER BY vmid) FROM puq_proxmox_kvm_vmids"); got != "100 tombstone,101 reserved" {
		t.Error(got)
	}
}

// TestTakeNote: a terminate that was noted while a row failed is taken when the service is next taken up; what waits for the
// end of the run stays noted.
func TestTakeNote(t *testing.T) {
	x := newShop(t)
	x.order(7)
	for _, c := range []struct {
		status      kvm.Status
		notes, want string
	}{
		{kvm.SetDNS, "terminate", "terminate||0"},
		{kvm.SetDNS, "terminate,creation", "terminate|creation|0"},
		{kvm.CPStop, "change_package,suspend", "change_package|suspend|0"},
		{kvm.SetDNS, "change_package,suspend", "set_dns|change_package,suspend|0"},
		{kvm.TEStopped, "creation", "te_stopped|creation|0"},
		{kvm.SetDNS, "", "set_dns||0"},
	} {
		x.put(7, c.status, c.notes, "")
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET task_upid = 'UPID:x', task_kind = 'clone'")
		sv := x.hold(7)
		if err := x.TakeNote(t.Context(), sv); err != nil || x.stands(7) != c.want || string(sv.Row.Status) != x.vm("vm_status", 7) || x.vm("task_upid", 7) != "UPID:x" || x.vm("claim_owner", 7) != x.owner {
			t.Errorf("%s, %q: %v, %s, want %s", c.status, c.notes, err, x.stands(7), c.want)
		}
	}
	x.put(7, kvm.SetDNS, "terminate", "")
	sv := x.hold(7)
	x.put(7, kvm.SetDNS, "terminate", elsewhere)
	if err := x.TakeNote(t.Context(), sv); !errors.Is(err, kvm.ErrMoved) || x.stands(7) != "set_dns|terminate|0" {
		t.Errorf("another's: %v, %s", err, x.stands(7))
	}
}

// TestAskAtOnce: verbs that come at once, from several processes and while the holder moves the status, are all there
// afterwards.
func TestAskAtOnce(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		x := newShop(t)
		x.order(7)
		stores := x.others(3, strict)
		ask := func(i int, v kvm.Verb) {
			if _, err := stores[i].Ask(t.Context(), 7, kvm.Wish{Verb: v}); err != nil {
				t.Errorf("%s: %v", v, err)
			}
		}
		for range 15 {
			x.put(7, kvm.SetDNS, "", "")
			sv := x.hold(7)
			together(3, func(i int) {
				switch i {
				case 0:
					ask(0, kvm.VerbSuspend)
				case 1:
					ask(1, kvm.VerbChangePackage)
				case 2:
					if err := stores[2].Move(t.Context(), sv, kvm.Cloned, nil); err != nil {
						t.Errorf("the holder: %v", err)
					}
				}
			})
			if got := x.stands(7); got != "clone|change_package,suspend|1" {
				t.Fatalf("in a row: %s", got)
			}
			x.put(7, kvm.Ready, "", "")
			together(2, func(i int) { ask(i, []kvm.Verb{kvm.VerbSuspend, kvm.VerbChangePackage}[i]) })
			if got := x.stands(7); got != "suspend|change_package|1" && got != "change_package|suspend|1" {
				t.Fatalf("at ready: %s", got)
			}
			x.put(7, kvm.CPStart, "", "")
			sv = x.hold(7)
			together(3, func(i int) {
				switch i {
				case 0:
					ask(0, kvm.VerbTerminate)
				case 1:
					ask(1, kvm.VerbSuspend)
				case 2:
					if err := stores[2].MoveLeaving(t.Context(), sv, kvm.Ready, 0); err != nil && !errors.Is(err, kvm.ErrAsked) {
						t.Errorf("the end of the run: %v", err)
					}
				}
			})
			if sv, err := x.Service(t.Context(), 7); err != nil || sv.Row.Status != kvm.Terminate && sv.Row.Noted != kvm.Terminate {
				t.Fatalf("a terminate at the end of a run: %v, %s", err, x.stands(7))
			}
		}
	})
}
