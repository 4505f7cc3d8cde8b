package explain

import (
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// stuckAfter is how often a run must have failed alike before it is no longer left to the next tick.
const stuckAfter = 3

// lostISO says whether the last run has failed because a CD drive of the VM has an image in it that is no more, and still holds.
func (f *Facts) lostISO() bool {
	return f.VM.Power == kvm.Stopped && f.says("' does not exist") && f.says(":iso/")
}

// vmRules say what is wrong with the VM itself.
func vmRules() []Rule {
	return []Rule{
		{Name: "foreign", Class: Admin,
			When: func(f *Facts) bool { return f.VM.Whose == kvm.WhoseForeign },
			Why:  foreign,
			Next: func(f *Facts) []Command {
				out := []Command{}
				for _, other := range f.VM.Others {
					out = append(out, f.puqkvm("vm show %d", other))
				}
				if len(out) == 0 {
					out = append(out, f.qm("config %d", f.Row.VMID))
				}
				return append(out, f.giveBack(),
					f.terminate().when("the service's own VM is gone: this ends at error_terminate without touching the other one, and then "+f.forget().Line))
			}},
		{Name: "absent", Class: Admin,
			When: func(f *Facts) bool { return f.VM.Whose == kvm.WhoseAbsent && f.Row.UUID != "" && !f.destroying() },
			Why: func(f *Facts) string {
				return fmt.Sprintf("VM %d is gone: the cluster %q is quorate and has no guest of that id; somebody has destroyed it", f.Row.VMID, f.Cluster.Name)
			},
			Next: func(f *Facts) []Command {
				if kvm.Decide(kvm.VerbRedeploy, f.phase()) == kvm.Take {
					return []Command{f.puqkvm("redeploy %d --confirm REDEPLOY", f.Service).when("the customer is to have a new one, empty"),
						f.terminate().when("the service has ended")}
				}
				return []Command{f.terminate()}
			}},
		{Name: "protected", Class: Admin,
			When: func(f *Facts) bool { return f.VM.Whose == kvm.WhoseOwn && f.VM.Protection && f.destroying() },
			Why: func(f *Facts) string {
				return fmt.Sprintf("VM %d on %s is protected against removal", f.Row.VMID, f.VM.Node)
			},
			Next: func(f *Facts) []Command { return []Command{f.qm("set %d --protection 0", f.Row.VMID)} }},
		{Name: "task", Class: Passing,
			When: func(f *Facts) bool { return f.pending() && f.running() != nil },
			Why: func(f *Facts) string {
				if f.VM.Lock != "" {
					return fmt.Sprintf("VM %d is locked by Proxmox (%s): %s", f.Row.VMID, f.VM.Lock, f.running().doing())
				}
				return "Proxmox is at work on it: " + f.running().doing()
			},
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("explain %d", f.Service).when("the task has ended")}
			}},
		{Name: "locked", Class: Admin,
			When: func(f *Facts) bool { return f.VM.Lock != "" && f.running() == nil },
			Why: func(f *Facts) string {
				text := fmt.Sprintf("VM %d is locked by Proxmox (%s), and no task of it runs: what locked it has died", f.Row.VMID, f.VM.Lock)
				if f.VM.Lock == "backup" {
					text += ", or is a backup job of several VMs, whose task names none of them"
				}
				return text
			},
			Next: func(f *Facts) []Command {
				unlock := f.qm("unlock %d", f.Row.VMID)
				if f.VM.Lock == "backup" {
					return []Command{{Line: "pvesh get /nodes/" + unlock.On + "/tasks --source active", On: unlock.On}, unlock.when("no vzdump is among them")}
				}
				return []Command{unlock}
			}},
	}
}

func foreign(f *Facts) string {
	whose := "of which nothing is known here"
	if len(f.VM.Others) > 0 {
		var ids []string
		for _, id := range f.VM.Others {
			ids = append(ids, fmt.Sprint(id))
		}
		whose = "which is service " + strings.Join(ids, "'s or service ") + "'s"
	}
	if f.VM.UUID == "" {
		return fmt.Sprintf("guest %d on %s is not this service's VM, and is not touched: %s", f.Row.VMID, f.VM.Node, f.VM.Error)
	}
	return fmt.Sprintf("VM %d on %s (%s) has the UUID %s, %s: it is not this service's, and is not touched", f.Row.VMID, f.VM.Node, f.VM.Name, f.VM.UUID, whose)
}

// runRules go by what the last run has met.
func runRules() []Rule {
	pendingRun := func(result string) func(*Facts) bool {
		return func(f *Facts) bool {
			run := f.stopped()
			return f.pending() && run != nil && run.Result == result
		}
	}
	return []Rule{
		{Name: "lost_iso", Class: Admin,
			When: func(f *Facts) bool { return f.lostISO() },
			Why: func(f *Facts) string {
				return "the VM does not start, for in a drive of it is an ISO image that is no more: " + f.LastRun.Message
			},
			Next: func(f *Facts) []Command {
				if f.in(kvm.PhaseReady) {
					return []Command{f.puqkvm("iso unmount %d", f.Service)}
				}
				return []Command{f.qm("config %d", f.Row.VMID), f.qm("set %d --SLOT none,media=cdrom", f.Row.VMID).when("SLOT is the drive that has the image")}
			}},
		{Name: "no_address", Class: Admin,
			When: func(f *Facts) bool { return f.pending() && f.NoAddress != "" },
			Why:  func(f *Facts) string { return f.NoAddress },
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("ippool list --server %d", f.server()),
					f.puqkvm("ippool add --server %d --bridge BRIDGE --gateway ADDRESS/BITS --first ADDRESS --last ADDRESS", f.server()).when("there are addresses to add")}
			}},
		{Name: "stuck", Class: Admin,
			When: func(f *Facts) bool { return pendingRun(kvm.RunError)(f) && f.LastRun.Repeats >= stuckAfter },
			Why: func(f *Facts) string {
				return fmt.Sprintf("it fails %s for the %d. time with the same message: %s", title(f.LastRun), f.LastRun.Repeats, f.LastRun.Message)
			},
			Next: func(f *Facts) []Command { return f.log() }},
		{Name: "failed", Class: Passing,
			When: pendingRun(kvm.RunError),
			Why: func(f *Facts) string {
				return fmt.Sprintf("its last try failed %s, and the next tick tries again: %s", title(f.LastRun), f.LastRun.Message)
			},
			Next: func(f *Facts) []Command { return f.log() }},
		{Name: "waits", Class: Passing,
			When: pendingRun(kvm.RunWaiting),
			Why: func(f *Facts) string {
				return fmt.Sprintf("%s, at %s; each tick looks again, %d times so far", orWaiting(f.LastRun.Message), f.at(), f.LastRun.Repeats)
			},
			Next: func(f *Facts) []Command { return f.log() }},
		{Name: "cut_off", Class: Passing,
			When: func(f *Facts) bool {
				return f.pending() && (f.Row.Holder != nil || f.LastRun != nil && (f.LastRun.Result == kvm.RunOpen || f.LastRun.Result == kvm.RunCut))
			},
			Why: func(f *Facts) string {
				return fmt.Sprintf("the process that had it in hand has died or fallen silent, at %s: the next tick goes on from there", f.at())
			},
			Next: nextTick},
		{Name: "next_tick", Class: Passing,
			When: func(f *Facts) bool { return f.pending() },
			Why:  func(f *Facts) string { return fmt.Sprintf("it waits for the next tick, at %s", f.at()) },
			Next: nextTick},
	}
}

func orWaiting(message string) string {
	if message == "" {
		return "it waits"
	}
	return message
}

func nextTick(f *Facts) []Command {
	return []Command{f.puqkvm("cron --task=%s", f.Cron.Task).when("you do not want to wait for the crontab")}
}

// wellRules are about a service at which nothing is to be done.
func wellRules() []Rule {
	return []Rule{
		{Name: "ready_without_vm", Class: Admin,
			When: func(f *Facts) bool { return f.in(kvm.PhaseReady) && f.Row.UUID == "" },
			Why: func(f *Facts) string {
				return fmt.Sprintf("it is at ready, and no UUID is stored: nothing proves that VM %d is its own, so nothing touches it", f.Row.VMID)
			},
			Next: func(f *Facts) []Command {
				if len(f.Row.Earlier) > 0 {
					return []Command{f.puqkvm("adopt %d", f.Service).when("it has a VM"), f.terminate().when("it has none")}
				}
				return []Command{f.terminate()}
			}},
		{Name: "suspended_but_runs", Class: Admin,
			When: func(f *Facts) bool { return f.Row.Suspended && f.VM.Power == kvm.Running },
			Why: func(f *Facts) string {
				return fmt.Sprintf("it is suspended, and VM %d runs: somebody has started it in Proxmox", f.Row.VMID)
			},
			Next: func(f *Facts) []Command { return []Command{f.puqkvm("suspend %d", f.Service)} }},
		{Name: "suspended", Class: Well,
			When: func(f *Facts) bool { return f.Row.Suspended },
			Why: func(f *Facts) string {
				return fmt.Sprintf("it is suspended: VM %d is kept from running (WHMCS: %s)", f.Row.VMID, f.state())
			},
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("unsuspend %d", f.Service).when("it is to run again")}
			}},
		{Name: "not_suspended", Class: Admin,
			When: func(f *Facts) bool { return f.state() == "Suspended" },
			Why: func(f *Facts) string {
				return fmt.Sprintf("WHMCS has the service as Suspended, and here it is not: VM %d is %s", f.Row.VMID, f.VM.Power)
			},
			Next: func(f *Facts) []Command { return []Command{f.puqkvm("suspend %d", f.Service)} }},
		{Name: "stopped", Class: Well,
			When: func(f *Facts) bool { return f.VM.Power == kvm.Stopped },
			Why: func(f *Facts) string {
				return fmt.Sprintf("nothing is wrong here: VM %d on %s is stopped, by its owner or in Proxmox", f.Row.VMID, f.VM.Node)
			},
			Next: func(f *Facts) []Command { return []Command{f.puqkvm("start %d", f.Service)} }},
		{Name: "well", Class: Well,
			When: func(f *Facts) bool { return f.VM.Power == kvm.Running },
			Why: func(f *Facts) string {
				text := fmt.Sprintf("all is well: VM %d runs on %s", f.Row.VMID, f.VM.Node)
				if t := f.running(); t != nil {
					text += "; " + t.doing()
				}
				return text
			}},
		{Name: "unclear", Class: Admin,
			When: func(*Facts) bool { return true },
			Why: func(f *Facts) string {
				return fmt.Sprintf("it is at %s, and Proxmox says of VM %d: %s, power %q", f.Row.Status, f.Row.VMID, f.VM.Whose, f.VM.Power)
			},
			Next: func(f *Facts) []Command { return []Command{f.puqkvm("vm show %d", f.Service)} }},
	}
}
