package kvm

import (
	"fmt"
	"slices"
	"strings"
)

// Verb is what somebody asks for: WHMCS, a customer, a shell. It is spelled as the command.
type Verb string

// The verbs. WHMCS sends the first five and does not ask twice.
const (
	VerbCreate        Verb = "create"
	VerbSuspend       Verb = "suspend"
	VerbUnsuspend     Verb = "unsuspend"
	VerbTerminate     Verb = "terminate"
	VerbChangePackage Verb = "change-package"
	VerbStart         Verb = "start"
	VerbStop          Verb = "stop"
	VerbReinstall     Verb = "reinstall"
	VerbResetPassword Verb = "reset-password"
	VerbRedeploy      Verb = "redeploy"
	VerbSnapshot      Verb = "snapshot" // create and remove
	VerbRollback      Verb = "rollback"
	VerbBackup        Verb = "backup"
	VerbRestore       Verb = "restore"
	VerbISO           Verb = "iso"      // mount and unmount
	VerbFirewall      Verb = "firewall" // its policies and rules
	VerbConsole       Verb = "console"
)

// Verbs are all verbs, in the order in which they are shown.
func Verbs() []Verb {
	return []Verb{VerbCreate, VerbSuspend, VerbUnsuspend, VerbTerminate, VerbChangePackage, VerbStart, VerbStop, VerbReinstall, VerbResetPassword, VerbRedeploy,
		VerbSnapshot, VerbRollback, VerbBackup, VerbRestore, VerbISO, VerbFirewall, VerbConsole}
}

// Decision is what becomes of a verb.
type Decision string

// The decisions.
const (
	Take   Decision = "run"    // at once, or by the next tick
	Note   Decision = "note"   // taken when the present run ends
	Done   Decision = "done"   // there is nothing to do
	Queued Decision = "queued" // it is in hand already
	Refuse Decision = "refuse" // not in this phase
	Admin  Decision = "admin"  // an administrator must look at it first
)

// matrix is verb by phase; see Decide.
var matrix = map[Verb]map[Phase]Decision{
	VerbCreate: {PhaseNone: Take, PhaseDeploy: Queued, PhaseReady: Refuse, PhaseChangePackage: Queued, PhaseReinstall: Queued, PhaseResetPassword: Queued,
		PhaseSuspend: Queued, PhaseUnsuspend: Queued, PhaseSetDNS: Queued, PhaseRedeploy: Queued, PhaseTerminate: Note, PhaseErrorTerminate: Admin, PhaseRemove: Take, PhaseUnknown: Admin,
		PhaseRollback: Queued, PhaseBackup: Queued, PhaseScheduled: Queued, PhaseRestore: Queued, PhaseErrorRestore: Refuse},
	VerbSuspend: {PhaseNone: Refuse, PhaseDeploy: Note, PhaseReady: Take, PhaseChangePackage: Note, PhaseReinstall: Note, PhaseResetPassword: Note,
		PhaseSuspend: Queued, PhaseUnsuspend: Note, PhaseSetDNS: Note, PhaseRedeploy: Note, PhaseTerminate: Done, PhaseErrorTerminate: Note, PhaseRemove: Done, PhaseUnknown: Note,
		PhaseRollback: Note, PhaseBackup: Note, PhaseScheduled: Note, PhaseRestore: Note, PhaseErrorRestore: Note},
	VerbUnsuspend: {PhaseNone: Refuse, PhaseDeploy: Note, PhaseReady: Take, PhaseChangePackage: Note, PhaseReinstall: Note, PhaseResetPassword: Note,
		PhaseSuspend: Note, PhaseUnsuspend: Queued, PhaseSetDNS: Note, PhaseRedeploy: Note, PhaseTerminate: Refuse, PhaseErrorTerminate: Note, PhaseRemove: Refuse, PhaseUnknown: Note,
		PhaseRollback: Note, PhaseBackup: Note, PhaseScheduled: Note, PhaseRestore: Note, PhaseErrorRestore: Note},
	// While a process is at work on the service it is noted and taken after its present row.
	VerbTerminate: {PhaseNone: Done, PhaseDeploy: Take, PhaseReady: Take, PhaseChangePackage: Take, PhaseReinstall: Take, PhaseResetPassword: Take,
		PhaseSuspend: Take, PhaseUnsuspend: Take, PhaseSetDNS: Take, PhaseRedeploy: Take, PhaseTerminate: Queued, PhaseErrorTerminate: Take, PhaseRemove: Done, PhaseUnknown: Take,
		PhaseRollback: Take, PhaseBackup: Take, PhaseScheduled: Take, PhaseRestore: Take, PhaseErrorRestore: Take},
	VerbChangePackage: {PhaseNone: Refuse, PhaseDeploy: Note, PhaseReady: Take, PhaseChangePackage: Take, PhaseReinstall: Note, PhaseResetPassword: Note,
		PhaseSuspend: Note, PhaseUnsuspend: Note, PhaseSetDNS: Note, PhaseRedeploy: Note, PhaseTerminate: Refuse, PhaseErrorTerminate: Admin, PhaseRemove: Refuse, PhaseUnknown: Admin,
		PhaseRollback: Note, PhaseBackup: Note, PhaseScheduled: Note, PhaseRestore: Note, PhaseErrorRestore: Note},
	VerbStart:         onlyReady(),
	VerbStop:          onlyReady(),
	VerbReinstall:     onlyReady(PhaseErrorRestore),
	VerbResetPassword: onlyReady(),
	VerbSnapshot:      onlyReady(),
	VerbRollback:      onlyReady(),
	VerbBackup:        onlyReady(),
	VerbRestore:       onlyReady(PhaseErrorRestore),
	VerbISO:           onlyReady(),
	VerbFirewall:      onlyReady(),
	VerbConsole:       onlyReady(),
	VerbRedeploy:      onlyReady(PhaseDeploy, PhaseReinstall, PhaseErrorRestore),
}

// onlyReady are the decisions for what a customer or a shell asks for: refused while anything else is in hand.
func onlyReady(also ...Phase) map[Phase]Decision {
	out := map[Phase]Decision{}
	for _, p := range Phases() {
		out[p] = Refuse
	}
	out[PhaseErrorTerminate], out[PhaseErrorRestore], out[PhaseUnknown] = Admin, Admin, Admin
	for _, p := range append(also, PhaseReady) {
		out[p] = Take
	}
	return out
}

// Decide says what becomes of verb v for a service in phase p.
func Decide(v Verb, p Phase) Decision { return matrix[v][p] }

// FromWHMCS says whether WHMCS sends v, so that it must not be refused for being busy.
func (v Verb) FromWHMCS() bool {
	switch v {
	case VerbCreate, VerbSuspend, VerbUnsuspend, VerbTerminate, VerbChangePackage:
		return true
	}
	return false
}

// Status is where a service goes whose verb v is taken, "" for those that leave the status.
func (v Verb) Status() Status {
	switch v {
	case VerbCreate:
		return Creation
	case VerbSuspend:
		return Suspend
	case VerbUnsuspend:
		return Unsuspend
	case VerbTerminate:
		return Terminate
	case VerbChangePackage:
		return ChangePackage
	case VerbReinstall:
		return Reinstall
	case VerbResetPassword:
		return ResetPassword
	case VerbRedeploy:
		return Redeploy
	case VerbRollback:
		return Rollback
	case VerbBackup:
		return MakeBackup
	case VerbRestore:
		return Restore
	}
	return ""
}

// Notes are what was asked for while something else was in hand, each the status that the service goes to for it, in the
// order in which they are taken. They are at most two: a terminate and the order that follows it, or a change of package and
// the suspend or unsuspend that follows it.
type Notes []Status

// ParseNotes reads what String has written. What can be no note is none.
func ParseNotes(text string) (n Notes) {
	for part := range strings.SplitSeq(text, ",") {
		if s := Status(part); s.Notable() {
			n = append(n, s)
		}
	}
	return n
}

// Notable says whether s is what somebody can have asked for meanwhile.
func (s Status) Notable() bool {
	return s == Terminate || s == Creation || s == ChangePackage || s == Suspend || s == Unsuspend
}

// String is how they are stored, "" = none.
func (n Notes) String() string {
	var parts []string
	for _, s := range n {
		parts = append(parts, string(s))
	}
	return strings.Join(parts, ",")
}

// First is the one that is taken first, "" = there is none.
func (n Notes) First() Status {
	if len(n) == 0 {
		return ""
	}
	return n[0]
}

// Has says whether s is among them.
func (n Notes) Has(s Status) bool { return slices.Contains(n, s) }

// With are the notes when s is asked for, too. A terminate drops all others, an order follows the terminate that is noted or
// in hand, and what else is asked for is nothing to a service that ends: a new order's VM is made as its package and its
// suspended flag say then. Of suspend and unsuspend the later one counts, and it comes after a change of package.
func (n Notes) With(s Status) Notes {
	ending := n.First() == Terminate || n.Has(Creation)
	switch {
	case s == Terminate:
		return Notes{Terminate}
	case s == Creation && n.First() == Terminate:
		return Notes{Terminate, Creation}
	case s == Creation:
		return Notes{Creation}
	case ending:
		return n
	case s == ChangePackage:
		return append(Notes{ChangePackage}, n.Without(ChangePackage)...)
	}
	return append(n.Without(Suspend).Without(Unsuspend), s)
}

// Without are the notes but s.
func (n Notes) Without(s Status) Notes {
	return slices.DeleteFunc(slices.Clone(n), func(other Status) bool { return other == s })
}

// Wish is a verb with what it carries.
type Wish struct {
	Verb     Verb
	Template int    // reinstall: the VMID of the template; 0 = the package's
	From     string // restore: the backup's volume; rollback: the snapshot's name
	Note     string // backup: what it is for
}

// Answer is what became of a wish.
type Answer struct {
	Decision Decision
	Was      Status // "" = there was no row
	VMID     int
	Now      Status // where the service stands
}

// Refusal is the error for a decision that is no success, nil for Take, Note and Done. It names the service and its status.
func (a Answer) Refusal(v Verb, service int64) error {
	at := fmt.Sprintf("service %d is at %s", service, a.Was)
	switch a.Was.Phase() {
	case PhaseRemove:
		at = fmt.Sprintf("service %d has no VM any more", service)
	case PhaseTerminate:
		at = fmt.Sprintf("service %d is being terminated", service)
	case PhaseBackup, PhaseScheduled:
		at = fmt.Sprintf("a backup of service %d is in hand, at %s", service, a.Was)
	case PhaseRestore:
		at = fmt.Sprintf("a restore of service %d is in hand, at %s", service, a.Was)
	case PhaseErrorRestore:
		at = fmt.Sprintf("the last restore of service %d has failed", service)
	}
	switch a.Decision {
	case Refuse:
		if a.Was == "" {
			return WithHint(Errorf(ErrRefused, "service %d has no VM here", service), "puqkvm create %d", service)
		}
		return WithHint(Errorf(ErrRefused, "%s refused: %s", v, at), "puqkvm explain %d", service)
	case Admin:
		return WithHint(Errorf(ErrAdmin, "%s refused: %s; an administrator must look at its VM first", v, at), "puqkvm explain %d", service)
	case Queued:
		return Errorf(ErrQueued, "service %d is in hand already, at %s; cron goes on with it", service, a.Was)
	}
	return nil
}
