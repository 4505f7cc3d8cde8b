package explain

import (
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// puqkvm is a command about the service.
func (f *Facts) puqkvm(format string, args ...any) Command {
	return Command{Line: "puqkvm " + fmt.Sprintf(format, args...)}
}

func (c Command) when(condition string) Command {
	c.When = condition
	return c
}

// qm is a command on the VM's node.
func (f *Facts) qm(format string, args ...any) Command {
	node := f.VM.Node
	if node == "" {
		node = f.Row.Node
	}
	return Command{Line: "qm " + fmt.Sprintf(format, args...), On: node}
}

// server is the WHMCS server whose cluster the VM is in.
func (f *Facts) server() int64 {
	switch {
	case f.Row != nil && f.Row.Server != 0:
		return f.Row.Server
	case f.WHMCS != nil:
		return f.WHMCS.Server
	}
	return 0
}

func (f *Facts) product() int64 {
	if f.WHMCS == nil {
		return 0
	}
	return f.WHMCS.Product
}

// forget is how a row is given up whose VM nobody can do anything about.
func (f *Facts) forget() Command { return f.puqkvm("vm forget %d --confirm FORGET", f.Service) }

// giveBack makes the VM the service's own again, when somebody who knows it says so.
func (f *Facts) giveBack() Command {
	uuid := f.Row.UUID
	if uuid == "" && len(f.Row.Earlier) > 0 {
		uuid = f.Row.Earlier[len(f.Row.Earlier)-1]
	}
	return f.qm("set %d --smbios1 uuid=%s", f.Row.VMID, uuid).when("it is certain that it is this service's own (restored by hand, say): it gets its UUID back")
}

func (f *Facts) terminate() Command { return f.puqkvm("terminate %d", f.Service) }

func (f *Facts) serverTest() []Command { return []Command{f.puqkvm("server test %d", f.server())} }

func (f *Facts) log() []Command { return []Command{f.puqkvm("vm log %d --last 1", f.Service)} }

// Ago is a time span as a person says it, by its two largest units.
func Ago(seconds int64) string {
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", max(seconds, 0))
	case seconds < 3600:
		return fmt.Sprintf("%dm", seconds/60)
	case seconds < 86400:
		return fmt.Sprintf("%dh %dm", seconds/3600, seconds%3600/60)
	}
	return fmt.Sprintf("%dd %dh", seconds/86400, seconds%86400/3600)
}

// at names the status and the row that it waits for.
func (f *Facts) at() string {
	if f.Row.Next == "" {
		return string(f.Row.Status)
	}
	return fmt.Sprintf("%s (next: %s)", f.Row.Status, f.Row.Next)
}

// stopped is the last run where it ended at the present status, so that what it says still holds; nil = it did not.
func (f *Facts) stopped() *kvm.Run {
	if f.Row == nil || f.LastRun == nil || f.LastRun.To != f.Row.Status {
		return nil
	}
	return f.LastRun
}

// says whether the last run, which failed at the present status, has one of Proxmox's texts in its message.
func (f *Facts) says(texts ...string) bool {
	run := f.stopped()
	if run == nil || run.Result != kvm.RunError {
		return false
	}
	for _, t := range texts {
		if strings.Contains(strings.ToLower(run.Message), t) {
			return true
		}
	}
	return false
}

// title is the row that the last run ended with, in words.
func title(run *kvm.Run) string {
	if len(run.Steps) == 0 {
		return "before its first row"
	}
	last := run.Steps[len(run.Steps)-1]
	return fmt.Sprintf("at %q", last.Title)
}

// doing is a task that runs, in words.
func (t *Task) doing() string {
	text := fmt.Sprintf("its task %s runs (%s)", t.Type, t.UPID)
	if len(t.Log) > 0 {
		text += ", whose log ends with: " + t.Log[len(t.Log)-1]
	}
	return text
}
