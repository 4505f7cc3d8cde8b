package explain

import (
	"errors"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// afterErrorRestore are the ways out. A lock that a restore has left is in the way of both.
func afterErrorRestore(f *Facts) []Command {
	out := []Command{f.puqkvm("backup list %d", f.Service),
		f.puqkvm("backup restore %d VOLID --confirm RESTORE", f.Service).when("one of them is to take the VM's place"),
		f.puqkvm("reinstall %d --confirm REINSTALL", f.Service).when("the VM is to be made anew")}
	if f.VM.Lock != "" {
		out = append([]Command{f.qm("unlock %d", f.Row.VMID).when("no task is at work on it")}, out...)
	}
	return out
}

// serviceRules need the database alone.
func serviceRules() []Rule {
	return []Rule{
		{Name: "no_service", Class: NoService,
			When: func(f *Facts) bool { return f.Row == nil && f.WHMCS == nil },
			Why: func(f *Facts) string {
				return fmt.Sprintf("there is no service %d in WHMCS, and no VM of it here", f.Service)
			},
			Next: func(f *Facts) []Command { return []Command{f.puqkvm("vm list")} }},
		{Name: "other_module", Class: NoService,
			When: func(f *Facts) bool { return f.Row == nil && !f.WHMCS.Ours },
			Why: func(f *Facts) string {
				return fmt.Sprintf("service %d is no VM of ours: its product %d belongs to the module %q", f.Service, f.WHMCS.Product, f.WHMCS.Module)
			},
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("settings set whmcs.module %s", f.WHMCS.Module).when("that module is the one whose VMs puqkvm is to make")}
			}},
		{Name: "not_ordered", Class: Admin,
			When: func(f *Facts) bool {
				return f.Row == nil && (f.WHMCS.State == "Active" || f.WHMCS.State == "Suspended")
			},
			Why: func(f *Facts) string {
				return fmt.Sprintf("it is %s in WHMCS, and no VM was ever ordered for it", f.WHMCS.State)
			},
			Next: func(f *Facts) []Command { return []Command{f.puqkvm("create %d", f.Service)} }},
		{Name: "no_vm", Class: Well,
			When: func(f *Facts) bool { return f.Row == nil },
			Why: func(f *Facts) string {
				return fmt.Sprintf("it is %s in WHMCS and has no VM, as it should be", f.WHMCS.State)
			}},
		{Name: "moves", Class: Passing,
			When: func(f *Facts) bool { return f.held() },
			Why:  moves,
			Next: func(f *Facts) []Command { return f.log() }},
		{Name: "unproved", Class: Admin,
			When: func(f *Facts) bool {
				return f.Row.Legacy && f.Row.UUID == "" && len(f.Row.Earlier) == 0 && f.Row.Status != kvm.Remove
			},
			Why: func(f *Facts) string {
				return fmt.Sprintf("the PHP module made it, and no UUID is stored: nothing proves that VM %d is its own, so nothing touches it", f.Row.VMID)
			},
			Next: func(f *Facts) []Command {
				switch {
				case f.VM.Whose != kvm.WhoseAbsent && !errors.Is(f.VM.Err, kvm.ErrAdmin):
					return []Command{f.puqkvm("adopt %d", f.Service)}
				case f.in(kvm.PhaseErrorTerminate):
					return []Command{f.forget().when("its VM is gone")}
				}
				return []Command{f.puqkvm("status set %d terminate", f.Service).when("its VM is gone: this ends at error_terminate, and then " + f.forget().Line)}
			}},
		{Name: "unknown_status", Class: Admin,
			When: func(f *Facts) bool { return f.in(kvm.PhaseUnknown) },
			Why: func(f *Facts) string {
				return fmt.Sprintf("the status %q is none of puqkvm's, so cron leaves it alone: the PHP module was in the middle of something, or somebody has typed it", f.Row.Status)
			},
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("status set %d ready", f.Service).when("its VM is there and whole"),
					f.puqkvm("status set %d change_package", f.Service).when("its VM is there, and shall be made as its package says"),
					f.terminate().when("the service has ended, or its VM is gone")}
			}},
		{Name: "error_terminate", Class: Admin,
			When: func(f *Facts) bool { return f.in(kvm.PhaseErrorTerminate) },
			Why: func(f *Facts) string {
				return "its terminate was refused for good, nothing is freed, and cron does not try again: " + orNothing(f.Row.Message)
			},
			Next: afterErrorTerminate},
		{Name: "error_restore", Class: Admin,
			When: func(f *Facts) bool { return f.in(kvm.PhaseErrorRestore) && !f.ended() },
			Why: func(f *Facts) string {
				return "a restore of it failed on the way: its VM's disks are not whole, and nothing is done until somebody chooses what becomes of it: " + orNothing(f.Row.Message)
			},
			Next: afterErrorRestore},
		{Name: "removed_but_active", Class: Admin,
			When: func(f *Facts) bool {
				return f.in(kvm.PhaseRemove) && f.WHMCS != nil && (f.WHMCS.State == "Active" || f.WHMCS.State == "Suspended")
			},
			Why: func(f *Facts) string {
				return fmt.Sprintf("its VM was terminated, and WHMCS has the service as %s", f.WHMCS.State)
			},
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("create %d", f.Service).when("it is to have a VM; else set the service to Terminated in WHMCS")}
			}},
		{Name: "removed", Class: Well,
			When: func(f *Facts) bool { return f.in(kvm.PhaseRemove) },
			Why:  func(f *Facts) string { return "its VM was terminated, and what it held is free" }},
		{Name: "whmcs_ended", Class: Admin,
			When: func(f *Facts) bool { return f.ended() && !f.in(kvm.PhaseTerminate) },
			Why: func(f *Facts) string {
				return fmt.Sprintf("the service is %s in WHMCS and still has a VM: nothing is done for it, and nothing destroyed, until it is Active again or terminated", f.state())
			},
			Next: func(f *Facts) []Command { return []Command{f.terminate()} }},
		{Name: "problem", Class: Admin,
			When: func(f *Facts) bool {
				return f.Row.Problem != "" && f.pending() && !f.in(kvm.PhaseTerminate, kvm.PhaseSuspend, kvm.PhaseUnsuspend)
			},
			Why: func(f *Facts) string { return withMend(f.Row.Problem, f.Row.Mend) },
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("product check %d", f.product())}
			}},
	}
}

func orNothing(message string) string {
	if message == "" {
		return "why is not stored"
	}
	return message
}

func withMend(text, mend string) string {
	if mend != "" {
		text += "; mend: " + mend
	}
	return text
}

func moves(f *Facts) string {
	h := f.Row.Holder
	text := fmt.Sprintf("it moves: process %s on %s has it in hand", h.PID, h.Host)
	if h.Host == "" {
		text = "it moves: another process has it in hand"
	}
	if f.LastRun != nil && f.LastRun.Result == kvm.RunOpen {
		text += fmt.Sprintf(", since %s UTC (%s)", f.LastRun.Started.UTC().Format("2006-01-02 15:04:05"), f.LastRun.Action)
	}
	return text + fmt.Sprintf(", at %s; if it falls silent its claim ends in %s", f.at(), Ago(h.Left))
}

// afterErrorTerminate is what to do about a terminate that was given up: what is in its way has to go first.
func afterErrorTerminate(f *Facts) []Command {
	gone := f.forget().when("its VM, or the whole cluster, is known to be gone, and nothing can prove it")
	switch {
	case f.VM.Whose == kvm.WhoseForeign:
		return []Command{f.forget().when(fmt.Sprintf("VM %d is really another's and the service's own is gone; its addresses stay out of use until ippool release", f.Row.VMID)),
			f.giveBack()}
	case f.VM.Whose == kvm.WhoseOwn && f.VM.Protection:
		return []Command{f.qm("set %d --protection 0", f.Row.VMID), f.terminate().when("the protection is off")}
	case f.VM.Whose == kvm.WhoseAbsent, f.VM.Whose == kvm.WhoseOwn, f.VM.Whose == kvm.WhoseNone:
		return []Command{f.terminate()}
	}
	return []Command{f.terminate().when("what it says is mended"), gone}
}
