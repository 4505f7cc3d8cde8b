package cmd

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/explain"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// screen writes named lines; a further line of the same name stands below it.
type screen struct {
	a    *app
	last string
}

func (s *screen) line(name, format string, args ...any) {
	text := oneLine(fmt.Sprintf(format, args...))
	shown := name
	if name == s.last {
		shown = ""
	}
	s.last = name
	fmt.Fprintf(s.a.Stdout, "%-10s %s\n", shown, dash(text))
}

// joined are the texts that are not empty.
func joined(texts ...string) string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return strings.Join(out, ", ")
}

func named(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func (a *app) printExplained(e explained) {
	s := &screen{a: a}
	s.line("service", "%d", e.Service)
	switch w := e.WHMCS; {
	case w == nil:
		s.line("WHMCS", "the service is deleted")
	default:
		s.line("WHMCS", "%s, client %d, product %d (%s), server %d, domain %s", w.State, w.Client, w.Product, w.Name, w.Server, dash(w.Domain))
	}
	if e.Row != nil {
		a.printRow(s, e.Row)
		a.printLive(s, &e.Facts)
	}
	for _, ad := range e.Addresses {
		s.line("addresses", "%s", addressLine(ad))
	}
	if len(e.Zones) > 0 {
		s.line("DNS", "%s", dnsLine(e))
	}
	for _, m := range e.Mails {
		s.line("mails", "%s", joined(fmt.Sprintf("%s: %s since %s", m.Name, m.State, a.when(m.Created)), fmt.Sprintf("%d attempts", m.Attempts), m.Error))
	}
	if r := e.LastRun; r != nil {
		s.line("last run", "%s", a.runLine(r))
	}
	s.line("cron", "%s", a.cronLine(e.Cron))
	fmt.Fprintln(a.Stdout)
	s.line("why", "%s", e.Diagnosis.Why)
	for _, c := range e.Diagnosis.Next {
		s.line("next", "%s", commandLine(c))
	}
}

func (a *app) printRow(s *screen, r *explain.Row) {
	phase := ""
	if string(r.Phase) != string(r.Status) {
		phase = " (" + string(r.Phase) + ")"
	}
	s.line("status", "%s", joined(fmt.Sprintf("%s%s since %s, for %s", dash(string(r.Status)), phase, a.when(r.Since), explain.Ago(r.Seconds)), named("next row:", r.Next)))
	if r.Noted != "" {
		s.line("noted", "%s is taken when this ends", r.Noted)
	}
	if r.Suspended {
		s.line("suspended", "yes: the VM must not run")
	}
	if h := r.Holder; h != nil {
		alive := fmt.Sprintf("alive; the claim holds for %ds unless renewed", h.Left)
		if !h.Alive {
			alive = "dead, or silent for too long: the next tick takes over"
		}
		s.line("in hand", "process %s on %s, %s", dash(h.PID), dash(h.Host), alive)
	}
	template := ""
	if r.Template != 0 {
		template = "template " + strconv.Itoa(r.Template)
	}
	s.line("our VM", "%s", joined(fmt.Sprintf("%d %s", r.VMID, r.Name), fmt.Sprintf("server %d", r.Server), named("cluster", r.Cluster), named("last seen on", r.Node),
		named("MAC", r.MAC), template))
	s.line("UUID", "%s", joined(dash(r.UUID), named("earlier:", strings.Join(r.Earlier, " "))))
	if r.Task != "" {
		s.line("open task", "%s %s", r.TaskKind, r.Task)
	}
	if r.Message != "" {
		s.line("message", "%s", r.Message)
	}
	if r.Problem != "" {
		s.line("problem", "%s%s", r.Problem, mendLine(r.Mend))
	}
}

func mendLine(mend string) string {
	if mend == "" {
		return ""
	}
	return "; mend: " + mend
}

func (a *app) printLive(s *screen, f *explain.Facts) {
	if f.Cluster.Name != "" {
		quorum := "quorate"
		if !*f.Cluster.Quorate {
			quorum = "NO QUORUM"
		}
		s.line("cluster", "%s", joined(f.Cluster.Name, quorum, named("offline:", strings.Join(f.Cluster.Offline, " "))))
	}
	v := f.VM
	node := named("on", v.Node)
	if v.NodeOnline != nil && !*v.NodeOnline {
		node += " (OFFLINE)"
	}
	lock, protection := "", ""
	if v.Lock != "" {
		lock = "locked (" + v.Lock + ")"
	}
	if v.Protection {
		protection = "protected"
	}
	switch v.Whose {
	case kvm.WhoseNone:
		if v.Error == "" {
			s.line("live VM", "there is none to ask for")
		}
	case kvm.WhoseOwn:
		s.line("live VM", "%s", joined(node, string(v.Power), lock, protection, "its UUID is ours"))
	case kvm.WhoseAbsent:
		s.line("live VM", "it is proved that there is none")
	case kvm.WhoseForeign:
		s.line("live VM", "%s", joined(node, named("name", v.Name), named("UUID", v.UUID), "NOT THIS SERVICE'S"))
	case kvm.WhoseUnproved, kvm.WhoseMaking:
		s.line("live VM", "%s", joined(node, named("name", v.Name), named("UUID", v.UUID), "not proved to be ours"))
	case kvm.WhoseUnknown:
		s.line("live VM", "%s", joined(node, "not known"))
	}
	if v.Error != "" {
		s.line("live VM", "%s%s", v.Error, mendLine(v.Mend))
	}
	for _, t := range v.Tasks {
		a.printTask(s, "tasks", t)
	}
	if t := v.Open; t != nil && !shownAmong(v.Tasks, t.UPID) {
		a.printTask(s, "open task", *t)
	}
}

func shownAmong(tasks []explain.Task, id kvm.UPID) bool {
	for _, t := range tasks {
		if t.UPID == id {
			return true
		}
	}
	return false
}

func (a *app) printTask(s *screen, name string, t explain.Task) {
	since := ""
	if !t.Started.IsZero() {
		since = "since " + a.when(t.Started)
	}
	s.line(name, "%s", joined(t.Type+" "+t.State, since, named("by", t.User), string(t.UPID)))
	for _, l := range t.Log {
		s.line(name, "  | %s", l)
	}
}

func addressLine(ad explain.Address) string {
	if ad.State == explain.Unclaimed {
		if ad.Other != 0 {
			return fmt.Sprintf("%s stands in WHMCS, and is service %d's", ad.Address, ad.Other)
		}
		return ad.Address + " stands in WHMCS, and no claim holds it"
	}
	vlan := ""
	if ad.VLAN != 0 {
		vlan = "VLAN " + strconv.Itoa(ad.VLAN)
	}
	pool := "legacy list"
	if ad.Pool != 0 {
		pool = "pool " + strconv.FormatInt(ad.Pool, 10)
	}
	return joined(fmt.Sprintf("%s/%d %s", ad.Address, ad.Bits, ad.State), ad.Bridge, vlan, named("gateway", ad.Gateway), pool)
}

func (a *app) runLine(r *kvm.Run) string {
	times := ""
	if r.Repeats > 1 {
		times = fmt.Sprintf("%d times alike, last %s", r.Repeats, a.when(r.Ended))
	}
	return joined(fmt.Sprintf("%s %s: %s -> %s, begun %s", r.Action, r.Result, r.From, r.To, a.when(r.Started)), fmt.Sprintf("%d rows", len(r.Steps)), times, r.Message)
}

func (a *app) cronLine(c explain.Cron) string {
	if c.Started.IsZero() {
		return joined("has never run", c.Addon)
	}
	return joined(fmt.Sprintf("last started %s, %s ago", a.when(c.Started), explain.Ago(c.Ago)), c.Result, c.Addon)
}

// commandLine is the command with where and when to type it.
func commandLine(c explain.Command) string {
	text := c.Line
	if c.On != "" {
		text += "   (on " + c.On + ")"
	}
	if c.When != "" {
		text += "   when " + c.When
	}
	return text
}

// dnsLine says how the service's records stand.
func dnsLine(e explained) string {
	text := fmt.Sprintf("%d zones; %d records are set", len(e.Zones), e.DNS.Set)
	if open := e.DNS.Due + e.DNS.Gone; open > 0 {
		text += fmt.Sprintf(", %d could not be set, %d not be removed: puqkvm dns sync %d", e.DNS.Due, e.DNS.Gone, e.Service)
	}
	return text
}
