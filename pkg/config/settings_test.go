package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestDefaultsOfTheTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Table() {
		p, err := s.parse(s.Default)
		if err != nil || p.text != s.Default {
			t.Errorf("%s: the default %q is read as %q, %v", s.Name, s.Default, p.text, err)
		}
		if s.Help == "" || seen[s.Name] || s.Min > s.Max || (s.Kind == Duration) != (s.Unit != "") {
			t.Errorf("%s: a row without sense: %+v", s.Name, s)
		}
		seen[s.Name] = true
	}
	got, warnings, err := LoadSettings(nil)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "timezone") {
		t.Fatalf("%v %q", err, warnings)
	}
	if got.Module != "puqProxmoxKVM" || got.Zone != time.Local || got.APITimeout != 10*time.Second || got.APIHeavyTimeout != time.Minute ||
		got.CronWait != 5*time.Minute || got.MigrationTimeout != 5*time.Minute || got.StartWait != 5*time.Second || !got.MigrationEnabled ||
		got.Intervals["processVirtualMachines"] != time.Minute || got.Workers != 16 || got.ClonesPerNode != 2 || got.RequestsPerCluster != 8 ||
		got.AlertAfter != 15*time.Minute {
		t.Fatalf("%+v", got)
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"cron.wait", "30", "30s"},
		{"cron.wait", " 30s ", "30s"},
		{"cron.wait", "5m", "300s"},
		{"cron.wait", "1H", "3600s"},
		{"cron.wait", "007", "7s"},
		{"alert.after", "2d", "2880m"},
		{"cron.interval.processVirtualMachines", "0", "0m"},
		{"cron.interval.processVirtualMachines", "120s", "2m"},
		{"migration.enabled", "ON", "yes"},
		{"migration.enabled", "0", "no"},
		{"cron.workers", "256", "256"},
		{"timezone", "Europe/Warsaw", "Europe/Warsaw"},
		{"timezone", "", ""},
		{"whmcs.module", "puqProxmoxKVM2", "puqProxmoxKVM2"},
	} {
		if got, err := Parse(tc.name, tc.text); err != nil || got != tc.want {
			t.Errorf("Parse(%s, %q) = %q, %v; want %q", tc.name, tc.text, got, err, tc.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"cron.wait", "", "from 1s to 3600s"},
		{"cron.wait", "0", "from 1s to 3600s"},
		{"cron.wait", "3601", "from 1s to 3600s"},
		{"cron.wait", "-5", "from 1s"},
		{"cron.wait", "+5", "from 1s"},
		{"cron.wait", "1.5m", "from 1s"},
		{"cron.wait", "5min", "from 1s"},
		{"cron.wait", "1h30m", "from 1s"},
		{"cron.wait", "9223372036854775807d", "from 1s"},
		{"cron.wait", "99999999999999999999", "from 1s"},
		{"alert.after", "59s", "from 1m"},
		{"cron.interval.processVirtualMachines", "90s", "whole minutes"},
		{"cron.interval.processVirtualMachines", "1441", "from 0m to 1440m"},
		{"migration.enabled", "maybe", "yes or no"},
		{"migration.enabled", "", "yes or no"},
		{"cron.workers", "0", "from 1 to 256"},
		{"cron.workers", "16s", "from 1 to 256"},
		{"timezone", "Local", "time zone"},
		{"timezone", "Mars/Olympus", "time zone"},
		{"timezone", "../../etc/passwd", "time zone"},
		{"whmcs.module", "", "module's name"},
		{"whmcs.module", "1x", "module's name"},
		{"whmcs.module", "a-b", "module's name"},
		{"whmcs.module", "é", "module's name"},
		{"cron.wiat", "5", "no setting"},
	} {
		got, err := Parse(tc.name, tc.text)
		if !errors.Is(err, kvm.ErrInvalid) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.name) || kvm.Hint(err) == "" {
			t.Errorf("Parse(%s, %q) = %q, %v (%s)", tc.name, tc.text, got, err, kvm.Hint(err))
		}
	}
}

func TestLoadSettings(t *testing.T) {
	got, warnings, err := LoadSettings(map[string]string{
		"timezone": "Europe/Warsaw", "cron.workers": "1", "migration.enabled": "no", "cron.interval.processVirtualMachines": "5", "dns.later": "x",
	})
	if err != nil || got.Zone.String() != "Europe/Warsaw" || got.Workers != 1 || got.MigrationEnabled || got.Intervals["processVirtualMachines"] != 5*time.Minute {
		t.Fatalf("%+v %v", got, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `"dns.later"`) {
		t.Fatalf("%q", warnings)
	}
	_, _, err = LoadSettings(map[string]string{"cron.workers": "many", "cron.wait": "forever\nand a day", "timezone": "UTC"})
	if !errors.Is(err, kvm.ErrInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{`cron.workers: "many"`, `cron.wait: "forever\nand a day"`, "puqkvm settings set cron.wait|cron.workers VALUE"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if strings.Contains(err.Error(), "\n") || kvm.Hint(err) != "puqkvm settings set cron.wait VALUE" {
		t.Errorf("%q, hint %q", err, kvm.Hint(err))
	}
}

// FuzzParse: what is accepted is normal (reading it again changes nothing) and within its range; nothing panics.
func FuzzParse(f *testing.F) {
	for _, s := range Table() {
		for _, text := range []string{s.Default, "0", "5m", "7d", "yes", "999999999999d", "", "1\x00", "UTC"} {
			f.Add(s.Name, text)
		}
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		normal, err := Parse(name, text)
		if err != nil {
			if !errors.Is(err, kvm.ErrInvalid) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("Parse(%q, %q): %q", name, text, err)
			}
			return
		}
		again, err := Parse(name, normal)
		if err != nil || again != normal {
			t.Fatalf("Parse(%q, %q) = %q, which reads as %q, %v", name, text, normal, again, err)
		}
		s, _ := Lookup(name)
		p, _ := s.parse(normal)
		if unit := unitLength(s.Unit); s.Kind == Duration && (p.duration < time.Duration(s.Min)*unit || p.duration > time.Duration(s.Max)*unit) {
			t.Fatalf("Parse(%q, %q) = %v, out of range", name, text, p.duration)
		}
		if _, _, err := LoadSettings(map[string]string{name: normal}); err != nil {
			t.Fatalf("stored %q = %q cannot be loaded: %v", name, normal, err)
		}
	})
}
