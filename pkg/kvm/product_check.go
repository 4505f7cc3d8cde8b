package kvm

import (
	"strings"
	"time"
)

// Check says what in the settings does not go together (ErrInvalid, all of it in one line). It is run before a document is
// stored. That a template is set is not its matter: see [Package.Ready].
func (p Product) Check() error {
	var problems problems
	values, pkg := p.all(), p.Package()

	longest := 0
	for _, m := range extremeNames(pkg.NamePrefix) {
		name, err := ExpandName(pkg.NameRule, m)
		if err != nil {
			problems.add(err)
			break // the other sample would say the same again
		}
		longest = max(longest, len(name))
	}
	if n := longest + 1 + len(pkg.MainDomain); pkg.MainDomain != "" && n > 253 {
		problems.addf("main_domain: with a VM's name before it, a domain name would have %d characters; 253 are the most", n)
	}
	if !pkg.FullClone && pkg.System.Storage != "" {
		problems.addf("system_storage=%s with clone_type=linked: linked clones stay on their template's storage; set clone_type=full or unset system_storage",
			pkg.System.Storage)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		// The default of one address is not held against a product that only says dhcp_ipv4=on.
		if n, ok := values[family]; ok && n != "0" && values["dhcp_"+family] == "on" {
			problems.addf("%s=%s with dhcp_%s=on: with DHCP no address is given out; set %s=0 or dhcp_%s=off", family, n, family, family, family)
		}
	}
	return problems.err("product settings")
}

// extremeNames are the smallest and the largest values that a name rule can meet. tblhosting.id and tblclients.id are
// int(10); the largest is taken unsigned. All other macros have a fixed length.
func extremeNames(prefix string) []MacroValues {
	now := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	return []MacroValues{
		{Prefix: prefix, ClientID: 1, ServiceID: 1, Now: now, Rand: zeros{}},
		{Prefix: prefix, ClientID: 1<<32 - 1, ServiceID: 1<<32 - 1, Now: now, Rand: zeros{}},
	}
}

// zeros is a source whose every byte is 0: the first digit or letter of any alphabet.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Ready says whether a VM can be made of the package: it needs a template, from the product or from the option "Operating
// System". Where there is none the error is ErrAdmin and its hint the command that mends it.
func (p Package) Ready() error {
	if p.Template == 0 {
		return WithHint(Errorf(ErrAdmin, "no template is set, neither by the product nor by the option \"Operating System\""),
			"puqkvm product set PID template=VMID")
	}
	return nil
}

// problems gathers what is wrong, so that all of it is told at once.
type problems []error

func (p *problems) add(err error) {
	if err != nil {
		*p = append(*p, err)
	}
}

func (p *problems) addf(format string, args ...any) { p.add(Errorf(ErrInvalid, format, args...)) }

// err is all problems in one line after what, as ErrInvalid with the first one's hint; nil when there is none.
func (p problems) err(what string) error {
	if len(p) == 0 {
		return nil
	}
	texts := make([]string, len(p))
	hint := ""
	for i, e := range p {
		texts[i] = e.Error()
		if hint == "" {
			hint = Hint(e)
		}
	}
	err := Errorf(ErrInvalid, "%s: %s", what, strings.Join(texts, "; "))
	if hint == "" {
		return err
	}
	return WithHint(err, "%s", hint)
}
