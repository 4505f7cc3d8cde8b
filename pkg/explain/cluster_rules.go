package explain

import (
	"errors"
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// lately is how many of its intervals, and how long at least, the task may not have started before it counts as not running.
const (
	latelyIntervals = 3
	latelySeconds   = 300
)

// crontab is the line that README has, as it is put where it belongs.
const crontab = "echo '* * * * * root /usr/local/bin/puqkvm cron >> /var/log/puqkvm.log 2>&1' > /etc/cron.d/puqkvm"

// cronRules say why nobody comes for a service that has something to do.
func cronRules() []Rule {
	return []Rule{
		{Name: "addon_cron", Class: Admin,
			When: func(f *Facts) bool { return f.pending() && f.Cron.Addon != "" },
			Why:  func(f *Facts) string { return "cron refuses to run: " + withMend(f.Cron.Addon, f.Cron.Mend) },
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("cron").when("the addon is deactivated")}
			}},
		{Name: "cron_off", Class: Admin,
			When: func(f *Facts) bool { return f.pending() && f.Cron.Interval == 0 },
			Why: func(f *Facts) string {
				return fmt.Sprintf("the task that works on it, %s, is switched off: its interval is 0", f.Cron.Task)
			},
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("settings set cron.interval.%s --default", f.Cron.Task)}
			}},
		{Name: "no_cron", Class: Admin,
			When: func(f *Facts) bool {
				return f.pending() && (f.Cron.Started.IsZero() || f.Cron.Ago > max(latelyIntervals*f.Cron.Interval, latelySeconds))
			},
			Why: func(f *Facts) string {
				if f.Cron.Started.IsZero() {
					return "cron has never run: nothing moves before it does"
				}
				return fmt.Sprintf("cron last ran %s ago: nothing moves before it runs again", Ago(f.Cron.Ago))
			},
			Next: func(f *Facts) []Command {
				line := Command{Line: crontab}
				if f.Cron.Started.IsZero() {
					return []Command{line}
				}
				return []Command{f.puqkvm("cron"), line.when("the crontab has no such line any more")}
			}},
	}
}

// refused says whether err is one of those which say that a WHMCS server cannot be used as it is set up.
func refused(err error) bool {
	for _, s := range []error{kvm.ErrInvalid, kvm.ErrNotFound, kvm.ErrRefused, kvm.ErrAdmin} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// strange says whether the cluster that answers is another one than the VM was made in.
func (f *Facts) strange() bool {
	return f.Cluster.Name != "" && f.Row.Cluster != "" && f.Row.Cluster != f.Cluster.Name
}

// clusterRules say what keeps Proxmox from answering.
func clusterRules() []Rule {
	return []Rule{
		{Name: "server", Class: Admin,
			When: func(f *Facts) bool { return f.Cluster.Name == "" && refused(f.VM.Err) },
			Why:  func(f *Facts) string { return "its Proxmox cannot be asked: " + withMend(f.VM.Error, f.VM.Mend) },
			Next: func(f *Facts) []Command { return []Command{f.puqkvm("server list")} }},
		{Name: "other_cluster", Class: Admin,
			When: func(f *Facts) bool {
				return f.Cluster.Name != "" && errors.Is(f.VM.Err, kvm.ErrAdmin) || f.strange() && f.VM.Whose != kvm.WhoseOwn
			},
			Why: func(f *Facts) string {
				if f.strange() {
					return fmt.Sprintf("VM %d was made in the cluster %q, and WHMCS server %d leads to %q: whether it is gone is not known", f.Row.VMID, f.Row.Cluster, f.server(), f.Cluster.Name)
				}
				return withMend(f.VM.Error, f.VM.Mend)
			},
			Next: func(f *Facts) []Command {
				return []Command{f.puqkvm("server list").when("that cluster still exists: give the server its address in WHMCS again"),
					f.terminate().when("it is no more: this ends at error_terminate, and then puqkvm vm forget " + fmt.Sprint(f.Service) + " --confirm FORGET")}
			}},
		{Name: "credentials", Class: Admin,
			When: func(f *Facts) bool { return errors.Is(f.VM.Err, kvm.ErrAuth) },
			Why: func(f *Facts) string {
				return "Proxmox does not accept the token or password of the server in WHMCS: " + f.VM.Error
			},
			Next: func(f *Facts) []Command { return f.serverTest() }},
		{Name: "privilege", Class: Admin,
			When: func(f *Facts) bool {
				return errors.Is(f.VM.Err, kvm.ErrDenied) || f.pending() && f.says("permission check failed", "permission denied")
			},
			Why: func(f *Facts) string {
				if f.VM.Err == nil {
					return "a privilege is missing: " + f.LastRun.Message
				}
				return "a privilege is missing: " + withMend(f.VM.Error, f.VM.Mend)
			},
			Next: func(f *Facts) []Command { return f.serverTest() }},
		{Name: "no_quorum", Class: Unreachable,
			When: func(f *Facts) bool { return f.Cluster.Quorate != nil && !*f.Cluster.Quorate },
			Why: func(f *Facts) string {
				text := fmt.Sprintf("the cluster %q has no quorum: it changes nothing, and what it says of VMs proves nothing", f.Cluster.Name)
				if len(f.Cluster.Offline) > 0 {
					text += "; offline: " + strings.Join(f.Cluster.Offline, ", ")
				}
				return text
			},
			Next: func(*Facts) []Command { return []Command{{Line: "pvecm status", On: "any node that is up"}} }},
		{Name: "node_offline", Class: Unreachable,
			When: func(f *Facts) bool { return f.VM.NodeOnline != nil && !*f.VM.NodeOnline },
			Why: func(f *Facts) string {
				return fmt.Sprintf("node %s, which has VM %d, is offline: it is waited for, and nothing is freed or reported gone meanwhile", f.VM.Node, f.Row.VMID)
			},
			Next: func(*Facts) []Command { return []Command{{Line: "pvecm status", On: "any node that is up"}} }},
		{Name: "unreachable", Class: Unreachable,
			When: func(f *Facts) bool {
				return f.VM.Err != nil && (f.VM.Whose == kvm.WhoseUnknown || f.VM.Whose == kvm.WhoseOwn)
			},
			Why:  func(f *Facts) string { return "Proxmox does not answer, so its VM could not be seen: " + f.VM.Error },
			Next: func(f *Facts) []Command { return f.serverTest() }},
	}
}
