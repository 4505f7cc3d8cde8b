package explain

import "github.com/puqkvm/puqkvm/pkg/kvm"

// Class is what a diagnosis asks of whoever reads it.
type Class string

// The classes.
const (
	Well        Class = "well"        // nothing is to be done
	Passing     Class = "passing"     // it moves, or waits for something that will pass
	NoService   Class = "no service"  // it is no service of ours
	Admin       Class = "admin"       // an administrator must act
	Unreachable Class = "unreachable" // Proxmox has not said what would have to be known
)

// Command is a line to type.
type Command struct {
	Line string `json:"command"`
	On   string `json:"on,omitempty"`   // the Proxmox node to type it on, "" = where puqkvm is
	When string `json:"when,omitempty"` // under which condition it is right, "" = it is the next one
}

// Diagnosis is why a service does not move.
type Diagnosis struct {
	Rule  string    `json:"rule"` // its name, for programs
	Class Class     `json:"class"`
	Why   string    `json:"why"`
	Next  []Command `json:"next"` // the first is the one to type; of several with conditions the one that applies
}

// Rule is a line of the table.
type Rule struct {
	Name  string
	Class Class
	When  func(*Facts) bool
	Why   func(*Facts) string
	Next  func(*Facts) []Command // nil = nothing is to be typed
}

// Diagnose is the first rule that fits.
func Diagnose(f *Facts) Diagnosis { return diagnose(Rules(), f) }

func diagnose(rules []Rule, f *Facts) Diagnosis {
	for _, r := range rules {
		if !r.When(f) {
			continue
		}
		d := Diagnosis{Rule: r.Name, Class: r.Class, Why: r.Why(f), Next: []Command{}}
		if r.Next != nil {
			d.Next = append(d.Next, r.Next(f)...)
		}
		return d
	}
	return Diagnosis{}
}

// Err is the class as the error that gives the exit code, nil = well.
func (d Diagnosis) Err() error {
	switch d.Class {
	case Well:
		return nil
	case Passing:
		return kvm.Errorf(kvm.ErrQueued, "%s", d.Why)
	case NoService:
		return kvm.Errorf(kvm.ErrNotFound, "%s", d.Why)
	case Unreachable:
		return kvm.Errorf(kvm.ErrUnreachable, "%s", d.Why)
	}
	return kvm.Errorf(kvm.ErrAdmin, "%s", d.Why)
}

// Rules is the table, in the order in which it is asked.
func Rules() []Rule {
	var all []Rule
	for _, part := range [][]Rule{serviceRules(), cronRules(), clusterRules(), vmRules(), runRules(), wellRules()} {
		all = append(all, part...)
	}
	return all
}
