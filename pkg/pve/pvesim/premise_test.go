package pvesim

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// story is all that a recorded outcome says in words: the reason, what is wrong with parameters, the task's end and log.
func (x *exchange) story() string {
	text := x.reason() + "\n"
	for _, k := range sortedKeys(x.Errors) {
		text += x.Errors[k] + "\n"
	}
	return text + x.Exit + "\n" + strings.Join(x.Log, "\n")
}

var storageInPath = regexp.MustCompile(`/storage/([^/]+)`)

// premise is what one text of an outcome says of the state before.
type premise struct {
	text *regexp.Regexp
	hold func(w *world, x *exchange, m []string)
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// premises are the texts that name a state. All that fit hold, in this order.
var premises = []premise{
	{regexp.MustCompile(`Permission check failed \(/`), func(w *world, x *exchange, _ []string) { w.deny(x) }},
	{regexp.MustCompile(`Configuration file 'nodes/[^']+/qemu-server/(\d+)\.conf' does not exist`),
		func(w *world, _ *exchange, m []string) { w.c.RemoveVM(number(m[1])) }},
	{regexp.MustCompile(`unable to find configuration file for VM (\d+)`),
		func(w *world, _ *exchange, m []string) { w.c.RemoveVM(number(m[1])) }},
	{regexp.MustCompile(`(?:unable to create )?VM (\d+)(?: already exists|: config file already exists)`),
		func(w *world, x *exchange, m []string) { w.exist(x, number(m[1])) }},
	{regexp.MustCompile(`VM is locked \(([a-z-]+)\)`), func(w *world, x *exchange, m []string) {
		w.exist(x, x.vmid())
		w.must(w.c.SetLock(x.vmid(), m[1]))
	}},
	{regexp.MustCompile(`can't lock file '([^']+)' - got timeout`), func(w *world, _ *exchange, m []string) { w.hold(m[1]) }},
	{regexp.MustCompile(`Resuming suspended VM`), func(w *world, x *exchange, _ []string) { w.must(w.c.SetLock(x.vmid(), "suspended")) }},
	{regexp.MustCompile(`protection mode enabled`), option("protection", "1")},
	{regexp.MustCompile(`already running|is running|if VM is running`), power(kvm.Running)},
	{regexp.MustCompile(`VM \d+ (?:is )?not running`), power(kvm.Stopped)},
	{regexp.MustCompile(`quit/powerdown failed|VM still running - terminating now`), func(w *world, x *exchange, _ []string) {
		w.power(x.vmid(), kvm.Running)
		w.must(w.c.SetDeaf(x.vmid(), true))
	}},
	{interrupted, func(w *world, x *exchange, _ []string) {
		if path, _ := x.path(); strings.Contains(path, "/status/") {
			w.power(x.vmid(), kvm.Running)
			w.must(w.c.SetDeaf(x.vmid(), true))
		}
	}},
	{regexp.MustCompile(`if it's a template|a template to a template|linked clone|/base-`), func(w *world, x *exchange, _ []string) { w.template(x.vmid()) }},
	{regexp.MustCompile(`base volume '([^']+)' is still in use by linked clone`), func(w *world, _ *exchange, m []string) {
		w.c.lock()
		defer w.c.mu.Unlock()
		w.makeVolume(m[1]+"/99999/vm-99999-disk-0.qcow2", "", 99999)
	}},
	{regexp.MustCompile(`disk '([a-z]+\d+)' does not exist`), func(w *world, x *exchange, m []string) { w.set(x.vmid(), m[1], "") }},
	{regexp.MustCompile(`disk image '\S+/images/([^']+)' already exists`), func(w *world, x *exchange, m []string) {
		path, _ := x.path()
		if at := storageInPath.FindStringSubmatch(path); at != nil {
			w.c.lock()
			defer w.c.mu.Unlock()
			w.makeVolume(at[1]+":"+m[1], "", 0)
		}
	}},
	{regexp.MustCompile(`you can't resize a cdrom`), func(w *world, x *exchange, _ []string) {
		if key := x.form().Get("disk"); !isCD(w.c.drive(key, w.option(x.vmid(), key))) {
			w.set(x.vmid(), key, "none,media=cdrom")
		}
	}},
	{regexp.MustCompile(`volume '([^']+)' does not exist`), func(w *world, x *exchange, m []string) { w.lack(x, m[1]) }},
	{regexp.MustCompile(`bridge '([^']+)' does not exist`), func(w *world, x *exchange, m []string) {
		w.set(x.vmid(), "net0", "virtio=BC:24:11:00:00:01,bridge="+m[1])
	}},
	{regexp.MustCompile(`iothread is only valid with`), func(w *world, x *exchange, _ []string) {
		w.set(x.vmid(), "scsihw", "virtio-scsi-pci")
		w.set(x.vmid(), "scsi0", strings.ReplaceAll(w.option(x.vmid(), "scsi0"), ",iothread=1", "")+",iothread=1")
	}},
	{regexp.MustCompile(`IPSet '([^']+)' already exists`), func(w *world, x *exchange, m []string) { w.ipset(x, m[1]) }},
	{regexp.MustCompile(`IPSet '([^']+)' is not empty`), func(w *world, x *exchange, m []string) {
		w.ipset(x, m[1]).entries = []entry{{cidr: "192.0.2.1"}}
	}},
	{regexp.MustCompile(`address '([^']+)' already exists`), func(w *world, x *exchange, m []string) {
		path, _ := x.path()
		set := w.ipset(x, path[strings.LastIndexByte(path, '/')+1:])
		set.entries = []entry{{cidr: m[1]}}
	}},
	{regexp.MustCompile(`no such (?:IPSet|ipset) '([^']+)'`), func(w *world, x *exchange, m []string) { delete(w.firewall(x).sets, m[1]) }},
	{regexp.MustCompile(`alias '([^']+)' already exists`), func(w *world, x *exchange, m []string) { w.alias(x, m[1]) }},
	{regexp.MustCompile(`no such alias '([^']+)'`), func(w *world, x *exchange, m []string) { delete(w.firewall(x).aliases, m[1]) }},
	{regexp.MustCompile(`Security group '([^']+)' already exists`), func(w *world, x *exchange, m []string) { w.firewall(x).groups[m[1]] = "" }},
	{regexp.MustCompile(`pool '([^']+)' already exists`), func(w *world, _ *exchange, m []string) { w.c.AddPool(m[1]) }},
	{regexp.MustCompile(`pool '([^']+)' is not empty \(contains VM (\d+)\)`), func(w *world, x *exchange, m []string) {
		w.c.AddPool(m[1])
		w.exist(x, number(m[2]))
		w.must(w.c.change(number(m[2]), func(v *vm) { v.pool = m[1] }))
	}},
	{regexp.MustCompile(`no such IP/Network`), func(w *world, x *exchange, _ []string) {
		path, _ := x.path()
		set, _, _ := strings.Cut(strings.SplitAfterN(path, "/ipset/", 2)[1], "/")
		w.ipset(x, set).entries = nil
	}},
	{regexp.MustCompile(`no rule at position`), func(w *world, x *exchange, _ []string) { w.firewall(x).rules = nil }},
}

func option(key, value string) func(*world, *exchange, []string) {
	return func(w *world, x *exchange, _ []string) { w.set(x.vmid(), key, value) }
}

func power(p kvm.Power) func(*world, *exchange, []string) {
	return func(w *world, x *exchange, _ []string) { w.power(x.vmid(), p) }
}
