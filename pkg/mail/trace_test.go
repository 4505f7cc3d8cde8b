package mail

import (
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestTraced(t *testing.T) {
	texts := func(pairs ...string) (out []kvm.MailText) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, kvm.MailText{ID: int64(10 + i), Subject: pairs[i], Message: pairs[i+1]})
		}
		return out
	}
	const mine, other = "vps-1-5.example.com", "vps-1-55.example.com"
	named := texts("Your VM {$service_domain} is ready", "Host {$service_domain}")
	bare := texts("Your VM is ready", "Log in with {$service_username}")
	for _, tc := range []struct {
		name      string
		templates []kvm.MailText
		logged    []kvm.MailText
		service   int // of OfService
		client    int // of OfClient
		want      bool
	}{
		{name: "nothing logged", templates: named},
		{name: "own domain", templates: named, logged: texts("Your VM "+mine+" is ready", "<b>Host "+mine+".</b>"), want: true},
		{name: "another service's", templates: named, logged: texts("Your VM "+other+" is ready", "Host "+other)},
		{name: "a name that ends the same", templates: named, logged: texts("Your VM x is ready", "Host my-"+mine)},
		{name: "own domain, another mail", templates: named, logged: texts("Your password was reset", "Host "+mine)},
		{name: "own address", templates: named, logged: texts("Your VM x is ready", "IP:192.0.2.5:22"), want: true},
		{name: "an address that begins the same", templates: named, logged: texts("Your VM x is ready", "IP 192.0.2.55")},
		{name: "accounted for by another entry of the service", templates: named, logged: texts("Your VM a is ready", mine), service: 1, client: 1},
		{name: "one more than accounted for", templates: named, logged: texts("Your VM a is ready", mine, "Your VM a is ready", mine), service: 1, client: 1, want: true},
		{name: "the client's other entries do not account for an own one", templates: named, logged: texts("Your VM a is ready", mine), client: 3, want: true},
		{name: "the name is missing although the template shows it", templates: named, logged: texts("Your VM a is ready", "nothing")},
		{name: "nameless", templates: bare, logged: texts("Your VM is ready", "Log in with root"), want: true},
		{name: "nameless, accounted for", templates: bare, logged: texts("Your VM is ready", "Log in with root"), client: 1},
		{name: "nameless, one more", templates: bare, logged: texts("Your VM is ready", "", "Your VM is ready", ""), client: 1, want: true},
		{name: "nameless, other subject", templates: bare, logged: texts("Your VM is ready now", "")},
		{name: "second language", templates: append(texts("Gotowe: {$service_domain}", "{$service_domain}"), named...), logged: texts("Your VM x is ready", mine), want: true},
		{name: "one language shows no name", templates: append(texts("Gotowe", "x"), named...), logged: texts("Gotowe", "x"), want: true},
		{name: "entities and blanks", templates: texts("{$company_name} &amp; Co:  VM ready", "{$service_domain}"), logged: texts("Host &amp; co: vm ready", mine), want: true},
		{name: "a subject of variables only, own domain", templates: texts("{$company_name}", "x"), logged: texts("Anything", mine), want: true},
		{name: "a subject of variables only, nameless", templates: texts("{$company_name}", "x"), logged: texts("Invoice", "pay")},
		{name: "shorter than its fixed parts", templates: texts("VM VM{$x}VM VM", "x"), logged: texts("VM VM VM", mine)},
		{name: "no such template", logged: texts("Your VM is ready", mine)},
	} {
		ev := kvm.MailEvidence{Templates: tc.templates, Logged: tc.logged, Domain: mine, Dedicated: "192.0.2.5", OfService: tc.service, OfClient: tc.client}
		at, got := Traced(ev)
		if got != tc.want || (at == 0) == got {
			t.Errorf("%s: %v at %d, want %v", tc.name, got, at, tc.want)
		}
		others := tc.service
		if strings.HasPrefix(tc.name, "nameless") {
			others = tc.client
		}
		if first := int64(10 + 2*others); got && at != first { // that the others do not account for
			t.Errorf("%s: at %d, want %d", tc.name, at, first)
		}
	}
	if _, traced := Traced(kvm.MailEvidence{Templates: named, Logged: texts("Your VM x is ready", "")}); traced {
		t.Error("a service without domain and address owns every mail")
	}
}

func TestHolds(t *testing.T) {
	const name = "vps-1.example.com"
	for text, want := range map[string]bool{
		"":                               false,
		name:                             true,
		"VPS-1.Example.COM":              true,
		"https://" + name + ":8006/":     true,
		"root@" + name + ", and":         true,
		"(" + name + ").":                true,
		name + ".":                       true,
		name + "...":                     true,
		name + ".au":                     false,
		"x" + name:                       false,
		"é" + name:                       false,
		name + "é":                       false,
		"-" + name:                       false,
		"a." + name:                      false,
		name + "-b":                      false,
		"x" + name + " and then " + name: true,
	} {
		if got := holds(text, name); got != want {
			t.Errorf("holds(%q) = %v", text, got)
		}
	}
}

func FuzzTraced(f *testing.F) {
	f.Add("Your VM {$x} is ready", "{$service_domain}", "Your VM a is ready", "a", "a")
	f.Add("}{", "", "{", "é", "\xc3")
	f.Fuzz(func(t *testing.T, subject, message, logged, body, domain string) {
		ev := kvm.MailEvidence{Templates: []kvm.MailText{{Subject: subject, Message: message}}, Domain: domain, Dedicated: domain}
		if _, traced := Traced(ev); traced {
			t.Fatal("a trace without a logged mail")
		}
		ev.Logged = []kvm.MailText{{Subject: logged, Message: body}}
		ev.OfService, ev.OfClient = 1, 1
		if _, traced := Traced(ev); traced {
			t.Fatal("a logged mail counts for two entries")
		}
	})
}
