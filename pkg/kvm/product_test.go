package kvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// TestDefaults is the table of defaults as it was promised, in the words of Package.
func TestDefaults(t *testing.T) {
	want := Package{
		CPU: 1, RAM: 1024, NamePrefix: "vps", NameRule: "{prefix}-{client_id}-{service_id}", FirstVMID: 100,
		Network: Network{Bridge: "vmbr0", IPv4: 1, Auto: true},
		Firewall: Firewall{Enable: true, PolicyIn: "ACCEPT", PolicyOut: "ACCEPT", LogIn: "nolog", LogOut: "nolog",
			DHCP: true, NDP: true, MACFilter: true, AntiSpoof: true},
		MailReady:          "puqProxmoxKVM VM is ready",
		MailResetPassword:  "puqProxmoxKVM Reset password",
		MailBackupRestored: "puqProxmoxKVM Backup restored",
		Permissions: map[string]bool{"start": true, "stop": true, "novnc": true, "charts": true, "reinstall": true, "reset_password": true,
			"revdns": true, "iso": true, "firewall": true, "snapshots": true, "backups": true},
	}
	if got := (Product{}).Package(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := (Product{}).Check(); err != nil {
		t.Error(err)
	}
}

// TestTableIsSound holds each row against itself: a default in its own range, a key once, help for people.
func TestTableIsSound(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		if seen[s.Key] || s.Help == "" || s.Group == "" || s.Range() == "" || s.set == nil || strings.Trim(s.Key, lower+digits+"_") != "" {
			t.Errorf("%s: there twice, or with something missing", s.Key)
		}
		seen[s.Key] = true
		if v, err := s.parse(s.Default); err != nil || v.text != s.Default {
			t.Errorf("%s: default %q is read as %q, %v", s.Key, s.Default, v.text, err)
		}
		if s.Kind == KindHidden && s.Default != "" {
			t.Errorf("%s: a secret with a default", s.Key)
		}
	}
	for _, o := range options {
		if _, ok := setting(o.key); !ok {
			t.Errorf("option %s: no setting %s", o.name, o.key)
		}
	}
}

// TestEachSettingSetsSomethingOfItsOwn gives each setting a value that is not its default and sees that the Package
// changes, in another place for each.
func TestEachSettingSetsSomethingOfItsOwn(t *testing.T) {
	base := fmt.Sprintf("%#v", (Product{}).Package())
	seen := map[string]string{base: "the defaults"}
	for _, s := range Settings() {
		value := map[string]string{"node": "pve1", "name_prefix": "x", "name_rule": "{prefix}-{service_id}", "os_user": "root", "bridge": "vmbr9",
			"system_storage": "ssd", "additional_storage": "ssd", "backup_storage": "nas", "iso_storage": "nas",
			"console_proxy": "vnc.example.com", "console_key": "k", "main_domain": "example.com",
			"mail_ready": "A", "mail_reset_password": "A", "mail_backup_restored": "A"}[s.Key]
		switch s.Kind {
		case KindNumber, KindDecimal:
			value = strconv.Itoa(int(s.Max))
		case KindSwitch:
			value = map[string]string{"on": "off", "off": "on"}[s.Default]
		case KindChoice:
			value = s.Values[len(s.Values)-1]
		}
		var p Product
		if err := p.Set(s.Key, value); err != nil {
			t.Error(err)
			continue
		}
		pkg := p.Package()
		got := fmt.Sprintf("%#v", pkg) + pkg.ConsoleKey.Reveal()
		if other, ok := seen[got]; ok {
			t.Errorf("%s=%s gives the same package as %s", s.Key, value, other)
		}
		seen[got] = s.Key + "=" + value
	}
}

func TestParseProduct(t *testing.T) {
	doc := `{"ram":4,"cpu":"2","clone_type":"FULL","bandwidth":12.5,"auto_bridge":false,"fw_radv":"yes","fw_policy_in":"drop",
		"system_storage":"local-lvm","system_size":"040","system_mbps_rd":100.250,"system_iops_wr":500,"additional_size":10,
		"main_domain":".Example.COM","vlan":4094,"template":9000,"console_key":"s3cret","allow_novnc":0,"snapshot_lifetime":10,"net_model":""}`
	p, err := ParseProduct([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	want := (Product{}).Package()
	want.RAM, want.CPU, want.FullClone, want.Template, want.SnapshotLifetime = 4096, 2, true, 9000, 10
	want.Network.Bandwidth, want.Network.Auto, want.Network.VLAN = 12.5, false, 4094
	want.Firewall.RADV, want.Firewall.PolicyIn = true, "DROP"
	want.System = DiskPlan{Storage: "local-lvm", Size: 40, Limits: Limits{ReadMBps: 100.25, WriteIOPS: 500}}
	want.Additional.Size, want.MainDomain, want.ConsoleKey = 10, "example.com", NewSecret("s3cret")
	want.Permissions["novnc"] = false
	if got := p.Package(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	stored := `{"template":9000,"clone_type":"full","cpu":2,"ram":4,"snapshot_lifetime":10,"net_model":"","bandwidth":12.5,"vlan":4094,` +
		`"auto_bridge":false,"fw_policy_in":"DROP","fw_radv":true,"system_storage":"local-lvm","system_size":40,"system_mbps_rd":100.25,` +
		`"system_iops_wr":500,"additional_size":10,"console_key":"s3cret","main_domain":"example.com","allow_novnc":false}`
	if got := string(p.JSON()); got != stored {
		t.Errorf("got  %s\nwant %s", got, stored)
	}
	for _, empty := range []string{"", " \n", "{}"} {
		if p, err := ParseProduct([]byte(empty)); err != nil || string(p.JSON()) != "{}" {
			t.Errorf("%q: %s, %v", empty, p.JSON(), err)
		}
	}
}

func TestParseProductRefuses(t *testing.T) {
	tests := map[string]struct {
		doc  string
		want []string
	}{
		"unknown":           {`{"cpus":2}`, []string{`no product setting "cpus" (cpu?)`}},
		"all at once":       {`{"cpu":0,"ram":"lots","nope":1,"vlan":4095}`, []string{`cpu: "0" is not a whole number from 1 to 1024`, `ram: "lots"`, `"nope"`, `vlan: "4095" is not a whole number from 0 to 4094`}},
		"twice":             {`{"cpu":2,"cpu":4}`, []string{`"cpu" stands in the document twice`}},
		"null":              {`{"cpu":null}`, []string{`"cpu" is neither text`}},
		"nested":            {`{"cpu":[2]}`, []string{`"cpu" is neither text`}},
		"no object":         {`[1]`, []string{"no JSON document"}},
		"cut":               {`{"cpu":2`, []string{"no JSON document"}},
		"cut in a value":    {`{"cpu":"2`, []string{"no JSON document"}},
		"something follows": {`{"cpu":2} {"cpu":3}`, []string{"no JSON document"}},
		"no text":           {"{\"mail_ready\":\"\xff\"}", []string{"mail_ready"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseProduct([]byte(tt.doc))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %s in %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
	p, err := ParseProduct([]byte(`{"cpu":9999,"ram":4}`))
	if err == nil || string(p.JSON()) != `{"ram":4}` {
		t.Errorf("what can be mended: %s, %v", p.JSON(), err)
	}
}

func TestSet(t *testing.T) {
	tests := []struct{ key, value, want string }{ // want "" = refused
		{"cpu", " 8 ", "8"}, {"cpu", "0", ""}, {"cpu", "1025", ""}, {"cpu", "2.0", ""}, {"cpu", "-1", ""}, {"cpu", "+1", ""}, {"cpu", "1e1", ""},
		{"cpu", "99999999999999999999", ""}, {"cpu", "", ""}, {"cpu", "true", ""}, {"cpu", "٣", ""},
		{"template", "0", "0"}, {"template", "99", ""}, {"template", "100", "100"}, {"template", "999999999", "999999999"}, {"template", "1000000000", ""},
		{"snapshot_lifetime", "0", "0"}, {"snapshot_lifetime", "1", "1"}, {"snapshot_lifetime", "10", "10"}, {"snapshot_lifetime", "11", ""},
		{"first_vmid", "0", ""}, {"first_vmid", "100", "100"},
		{"bandwidth", "12.5", "12.5"}, {"bandwidth", "0.125", "0.125"}, {"bandwidth", "0.0001", ""}, {"bandwidth", ".5", ""}, {"bandwidth", "5.", ""},
		{"bandwidth", "-1", ""}, {"bandwidth", "1e3", ""}, {"bandwidth", "NaN", ""}, {"bandwidth", "Inf", ""}, {"bandwidth", "0x10", ""}, {"bandwidth", "1_0", ""}, {"bandwidth", "12.500", "12.5"},
		{"clone_type", "Full", "full"}, {"clone_type", "copy", ""}, {"clone_type", "", ""},
		{"net_model", "", ""}, {"net_model", "VirtIO", "virtio"}, {"net_model", "virtio,bridge=x", ""},
		{"fw_enable", "TRUE", "on"}, {"fw_enable", "No", "off"}, {"fw_enable", "", ""}, {"fw_enable", "2", ""},
		{"fw_log_in", "err", "err"}, {"fw_log_in", "error", ""}, {"fw_policy_out", "reject", "REJECT"},
		{"node", "pve-1", "pve-1"}, {"node", "pve.example.com", ""}, {"node", "-pve", ""},
		{"bridge", "vmbr0", "vmbr0"}, {"bridge", "", ""}, {"bridge", "vmbr0,tag=5", ""}, {"bridge", "abcdefghijklmnop", ""}, {"bridge", "-b", ""},
		{"system_storage", "local-lvm", "local-lvm"}, {"system_storage", "1st", ""}, {"system_storage", "a", ""}, {"system_storage", "a-", ""}, {"system_storage", "a:b", ""},
		{"os_user", "root", "root"}, {"os_user", "Administrator", "Administrator"}, {"os_user", "1st", ""}, {"os_user", "a b", ""}, {"os_user", strings.Repeat("a", 33), ""},
		{"main_domain", ".Example.com", "example.com"}, {"main_domain", "..example.com", ""}, {"main_domain", "example.com.", ""}, {"main_domain", "exa_mple.com", ""}, {"main_domain", "10.0.0.1", ""},
		{"name_prefix", "VPS", ""}, {"name_prefix", "a.b", ""}, {"name_rule", "{prefix}-{foo}", ""}, {"name_rule", "", ""}, {"name_rule", "{prefix", ""},
		{"console_proxy", "vnc.example.com:8443", "vnc.example.com:8443"}, {"console_proxy", "[2001:db8::1]:443", "[2001:db8::1]:443"}, {"console_proxy", "10.0.0.1", "10.0.0.1"},
		{"console_proxy", "https://vnc.example.com", ""}, {"console_proxy", "vnc.example.com:0", ""}, {"console_proxy", "vnc.example.com:x", ""},
		{"mail_ready", "Моя машина", "Моя машина"}, {"mail_ready", "a\nb", ""}, {"mail_ready", "", ""}, {"mail_ready", strings.Repeat("ä", 256), ""},
	}
	for _, tt := range tests {
		var p Product
		err := p.Set(tt.key, tt.value)
		accepted := tt.want != "" || tt.key == "net_model" && tt.value == ""
		if !accepted {
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.key) || string(p.JSON()) != "{}" {
				t.Errorf("%s=%q: %v, and the product is %s", tt.key, tt.value, err, p.JSON())
			}
			continue
		}
		if got := p.all()[tt.key]; err != nil || got != tt.want {
			t.Errorf("%s=%q: %q, %v", tt.key, tt.value, got, err)
		}
	}
}

func TestUnset(t *testing.T) {
	var p Product
	if err := errors.Join(p.Set("cpu", "4"), p.Set("ram", "8"), p.Unset("cpu"), p.Unset("vlan")); err != nil {
		t.Fatal(err)
	}
	if got := string(p.JSON()); got != `{"ram":8}` || p.Package().CPU != 1 {
		t.Errorf("got %s", got)
	}
	if err := p.Unset("cpuu"); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	copied := p
	if err := copied.Set("ram", "16"); err != nil || string(p.JSON()) != `{"ram":8}` {
		t.Errorf("setting a copy changed the original: %s, %v", p.JSON(), err)
	}
}

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		set  map[string]string
		want string // "" = fine
	}{
		"linked clone with a storage":  {map[string]string{"system_storage": "ssd"}, "system_storage=ssd with clone_type=linked"},
		"full clone with a storage":    {map[string]string{"system_storage": "ssd", "clone_type": "full"}, ""},
		"DHCP and the default count":   {map[string]string{"dhcp_ipv4": "on"}, ""},
		"DHCP and addresses":           {map[string]string{"dhcp_ipv4": "on", "ipv4": "2"}, "ipv4=2 with dhcp_ipv4=on"},
		"DHCP of the other family":     {map[string]string{"dhcp_ipv4": "on", "ipv6": "2"}, ""},
		"an empty prefix":              {map[string]string{"name_prefix": ""}, `the name "-1-1"`},
		"a rule with upper case":       {map[string]string{"name_rule": "VPS{service_id}"}, `"VPS1"`},
		"a rule with a dot":            {map[string]string{"name_rule": "a.{service_id}"}, `"a.1"`},
		"a rule that ends in -":        {map[string]string{"name_rule": "a{service_id}-"}, `"a1-"`},
		"too long for large ids alone": {map[string]string{"name_rule": strings.Repeat("a", 54) + "{service_id}"}, `(64 characters)`},
		"just short enough":            {map[string]string{"name_rule": strings.Repeat("a", 53) + "{service_id}"}, ""},
		"every macro":                  {map[string]string{"name_rule": "{prefix}{client_id}{unixtime}{year}{month}{day}{hour}{minute}{second}{random_digit_2}{random_letter_10}"}, ""},
		"a domain that leaves no room": {map[string]string{"main_domain": strings.Repeat("abcdefg.", 28) + "example"}, "main_domain"},
		"a domain that does":           {map[string]string{"main_domain": strings.Repeat("abcdefg.", 27) + "example"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var p Product
			for key, value := range tt.set {
				if err := p.Set(key, value); err != nil {
					t.Fatal(err)
				}
			}
			err := p.Check()
			if tt.want == "" && err == nil {
				return
			}
			if tt.want == "" || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestReady(t *testing.T) {
	err := (Product{}).Package().Ready()
	if !errors.Is(err, ErrAdmin) || !strings.Contains(Hint(err), "puqkvm product set PID template=") {
		t.Errorf("got %v, hint %q", err, Hint(err))
	}
	var p Product
	if err := p.Set("template", "9000"); err != nil || p.Package().Ready() != nil {
		t.Errorf("got %v", err)
	}
}

func TestProductHidesItsSecret(t *testing.T) {
	const secret = "s3cret-key"
	var p Product
	if err := p.Set("console_key", secret); err != nil {
		t.Fatal(err)
	}
	holder := struct {
		inside Product
		Out    Product
		list   []Product
	}{p, p, []Product{p}}
	shown, err := json.Marshal(p.Show())
	if err != nil {
		t.Fatal(err)
	}
	bad := "\x01" + secret
	texts := []string{string(shown), p.String(), p.LogValue().String(), fmt.Sprint(p.Set("console_key", bad))}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		texts = append(texts, fmt.Sprintf(verb, p), fmt.Sprintf(verb, &p), fmt.Sprintf(verb, holder), fmt.Sprintf(verb, &holder), fmt.Sprintf(verb, p.Package()))
	}
	if _, err := json.Marshal(p); err == nil {
		t.Error("a product was marshalled: it would be shown as nothing at all")
	}
	for _, text := range texts {
		if strings.Contains(text, secret) {
			t.Errorf("the secret is in %s", text)
		}
	}
	if !strings.Contains(texts[0], `"***"`) || !strings.Contains(p.String(), "console_key=***") {
		t.Error("it is not said that there is a secret")
	}
	if !strings.Contains(string(p.JSON()), secret) || p.Package().ConsoleKey.Reveal() != secret {
		t.Error("the secret is lost")
	}
}

func TestShow(t *testing.T) {
	var p Product
	if err := p.Set("ram", "4"); err != nil {
		t.Fatal(err)
	}
	lines := p.Show()
	if len(lines) != len(Settings()) {
		t.Fatalf("%d lines for %d settings", len(lines), len(Settings()))
	}
	want := Line{"VM", "ram", "4", true, "1", "GB", "a whole number from 1 to 16384", "memory"}
	if lines[4] != want || lines[3].Set || lines[3].Value != "1" {
		t.Errorf("got %+v, %+v", lines[4], lines[3])
	}
}

func FuzzParseProduct(f *testing.F) {
	f.Add([]byte(`{"cpu":"2","ram":4,"bandwidth":12.5,"auto_bridge":false,"name_rule":"{prefix}{random_digit_3}","console_key":"k"}`))
	f.Add([]byte(`{"cpu":1,"cpu":2}`))
	f.Add([]byte(`{"main_domain":".A.b","mail_ready":"<&>"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := ParseProduct(doc)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		_ = p.Check()
		again, err := ParseProduct(p.JSON())
		if err != nil || string(again.JSON()) != string(p.JSON()) || !reflect.DeepEqual(again.Package(), p.Package()) {
			t.Fatalf("%s: read back as %s, %v", p.JSON(), again.JSON(), err)
		}
	})
}

func BenchmarkProduct(b *testing.B) {
	doc := []byte(`{"template":9000,"cpu":2,"ram":4,"system_size":40,"bandwidth":12.5,"main_domain":"example.com"}`)
	for b.Loop() {
		p, err := ParseProduct(doc)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Package().WithOptions(map[string]string{"RAM": "8"}); err != nil {
			b.Fatal(err)
		}
	}
}
