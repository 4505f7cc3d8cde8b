package config

import (
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zone data also where the system has none

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Kind says what a setting's text means.
type Kind string

// The kinds. A duration is a number with s, m, h or d; without one it is in the setting's unit.
const (
	Number   Kind = "number"
	Duration Kind = "duration"
	Switch   Kind = "yes/no"
	Zone     Kind = "time zone" // an IANA name, empty = the system's
	Module   Kind = "module"    // the directory name of a WHMCS server module
)

// Setting is a row of the table of settings.
type Setting struct {
	Name    string
	Kind    Kind
	Default string
	Unit    string // of a duration: s, m, d
	Min     int64  // of a number, or of a duration in its unit
	Max     int64
	Help    string

	set func(*Settings, parsed)
}

// Settings are the settings with their types.
type Settings struct {
	Module             string
	Zone               *time.Location
	APITimeout         time.Duration
	APIHeavyTimeout    time.Duration
	CronWait           time.Duration
	MigrationTimeout   time.Duration
	StartWait          time.Duration
	StopGraceful       time.Duration
	StopForce          time.Duration
	VMIDRest           time.Duration
	Quarantine         time.Duration
	MigrationEnabled   bool
	Intervals          map[string]time.Duration // by the task's name, whole minutes, 0 = off
	Workers            int
	ClonesPerNode      int
	BackupsPerNode     int
	ClonesPerStorage   int
	RequestsPerCluster int
	AlertAfter         time.Duration
	DNSTimeout         time.Duration
}

// intervalPrefix comes before a task's name.
const intervalPrefix = "cron.interval."

// table is the one place that knows the settings.
var table = []Setting{
	{Name: "whmcs.module", Kind: Module, Default: "puqProxmoxKVM",
		Help: "a service is ours when its product's server module is this",
		set:  func(s *Settings, p parsed) { s.Module = p.text }},
	{Name: "timezone", Kind: Zone,
		Help: "WHMCS's (PHP's) time zone, like Europe/Warsaw, for the log, schedules and macros; empty = the system's",
		set:  func(s *Settings, p parsed) { s.Zone = p.zone }},
	{Name: "api.timeout", Kind: Duration, Default: "10s", Unit: "s", Min: 1, Max: 300,
		Help: "how long one Proxmox request of a command may take",
		set:  func(s *Settings, p parsed) { s.APITimeout = p.duration }},
	{Name: "api.heavy_timeout", Kind: Duration, Default: "60s", Unit: "s", Min: 1, Max: 600,
		Help: "how long one Proxmox request of cron may take",
		set:  func(s *Settings, p parsed) { s.APIHeavyTimeout = p.duration }},
	{Name: "cron.wait", Kind: Duration, Default: "300s", Unit: "s", Min: 1, Max: 3600,
		Help: "the longest wait for one Proxmox task in a tick; then the service pauses and the next tick waits on",
		set:  func(s *Settings, p parsed) { s.CronWait = p.duration }},
	{Name: "migration.timeout", Kind: Duration, Default: "300s", Unit: "s", Min: 1, Max: 86400,
		Help: "the longest wait for a migration in a tick; then the service pauses and the next tick waits on",
		set:  func(s *Settings, p parsed) { s.MigrationTimeout = p.duration }},
	{Name: "stop.graceful", Kind: Duration, Default: "120s", Unit: "s", Min: 0, Max: 3600,
		Help: "how long a guest has to shut down before it is switched off; 0 = it is not asked",
		set:  func(s *Settings, p parsed) { s.StopGraceful = p.duration }},
	{Name: "stop.force", Kind: Duration, Default: "60s", Unit: "s", Min: 1, Max: 3600,
		Help: "how long a VM that is switched off may take until it is seen stopped",
		set:  func(s *Settings, p parsed) { s.StopForce = p.duration }},
	{Name: "start.wait", Kind: Duration, Default: "5s", Unit: "s", Min: 0, Max: 300,
		Help: "how long after its start task a VM may take until it is seen running",
		set:  func(s *Settings, p parsed) { s.StartWait = p.duration }},
	{Name: "migration.enabled", Kind: Switch, Default: "yes",
		Help: "whether a new VM is moved to its target node after the clone",
		set:  func(s *Settings, p parsed) { s.MigrationEnabled = p.yes }},
	{Name: intervalPrefix + "processVirtualMachines", Kind: Duration, Default: "1m", Unit: "m", Min: 0, Max: 1440,
		Help: "how often cron works on pending services; 0 = never",
		set:  setInterval("processVirtualMachines")},
	{Name: intervalPrefix + "removeOldSnapshots", Kind: Duration, Default: "5m", Unit: "m", Min: 0, Max: 1440,
		Help: "how often cron removes snapshots that are older than their product's lifetime; 0 = never",
		set:  setInterval("removeOldSnapshots")},
	{Name: intervalPrefix + "restoreBackupStatus", Kind: Duration, Default: "1m", Unit: "m", Min: 0, Max: 1440,
		Help: "how often cron works on restores; 0 = never",
		set:  setInterval("restoreBackupStatus")},
	{Name: intervalPrefix + "nowBackupStatus", Kind: Duration, Default: "1m", Unit: "m", Min: 0, Max: 1440,
		Help: "how often cron works on backups that somebody has asked for; 0 = never",
		set:  setInterval("nowBackupStatus")},
	{Name: intervalPrefix + "scheduleBackup", Kind: Duration, Default: "5m", Unit: "m", Min: 0, Max: 1440,
		Help: "how often cron looks for scheduled backups that are due, and works on them; 0 = never",
		set:  setInterval("scheduleBackup")},
	{Name: intervalPrefix + "collectingStatistics", Kind: Duration, Default: "60m", Unit: "m", Min: 0, Max: 1440,
		Help: "how often cron counts the traffic of the VMs; 0 = never",
		set:  setInterval("collectingStatistics")},
	{Name: "cron.workers", Kind: Number, Default: "16", Min: 1, Max: 256,
		Help: "services worked on at once in a tick; with 1 the log shows every line as it happens",
		set:  func(s *Settings, p parsed) { s.Workers = int(p.number) }},
	{Name: "pve.clones_per_node", Kind: Number, Default: "2", Min: 1, Max: 64,
		Help: "clones at once on a node, counted across all processes and hosts",
		set:  func(s *Settings, p parsed) { s.ClonesPerNode = int(p.number) }},
	{Name: "pve.backups_per_node", Kind: Number, Default: "1", Min: 1, Max: 64,
		Help: "backups at once on a node, counted across all processes and hosts; Proxmox itself makes one at a time",
		set:  func(s *Settings, p parsed) { s.BackupsPerNode = int(p.number) }},
	{Name: "pve.clones_per_storage", Kind: Number, Default: "2", Min: 1, Max: 64,
		Help: "clones at once to a storage that nodes share, counted across all processes and hosts",
		set:  func(s *Settings, p parsed) { s.ClonesPerStorage = int(p.number) }},
	{Name: "pve.requests_per_cluster", Kind: Number, Default: "8", Min: 1, Max: 256,
		Help: "requests at once to a cluster, of one process",
		set:  func(s *Settings, p parsed) { s.RequestsPerCluster = int(p.number) }},
	{Name: "dns.timeout", Kind: Duration, Default: "30s", Unit: "s", Min: 1, Max: 600,
		Help: "how long a DNS provider may take for the records of one VM; what is not done then is told, and puqkvm dns sync does it",
		set:  func(s *Settings, p parsed) { s.DNSTimeout = p.duration }},
	{Name: "alert.after", Kind: Duration, Default: "15m", Unit: "m", Min: 1, Max: 10080,
		Help: "a service this long in one pending status is reported once: an activity-log entry and a mail to the administrators",
		set:  func(s *Settings, p parsed) { s.AlertAfter = p.duration }},
	{Name: "vmid.rest", Kind: Duration, Default: "7d", Unit: "d", Min: 0, Max: 3650,
		Help: "how long the VMID of a VM that is gone is not used again",
		set:  func(s *Settings, p parsed) { s.VMIDRest = p.duration }},
	{Name: "ip.quarantine", Kind: Duration, Default: "1d", Unit: "d", Min: 0, Max: 365,
		Help: "how long an address that a package change took from a living VM without anti-spoofing is not given out",
		set:  func(s *Settings, p parsed) { s.Quarantine = p.duration }},
}

func setInterval(task string) func(*Settings, parsed) {
	return func(s *Settings, p parsed) { s.Intervals[task] = p.duration }
}

// Table lists the settings in the order in which they are shown.
func Table() []Setting { return slices.Clone(table) }

// Lookup finds a setting by its exact name. The error is kvm.ErrInvalid and names all settings in its hint.
func Lookup(name string) (Setting, error) {
	names := make([]string, 0, len(table))
	for _, s := range table {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Setting{}, invalid("the settings are "+strings.Join(names, ", "), "%q is no setting", name)
}

// Parse checks text for the setting name and returns it as it is to be stored: 300 for cron.wait as 300s, ON as yes.
func Parse(name, text string) (string, error) {
	s, err := Lookup(name)
	if err != nil {
		return "", err
	}
	p, err := s.parse(text)
	if err != nil {
		return "", invalid("puqkvm settings set "+name+" VALUE", "setting %w", err)
	}
	return p.text, nil
}

// LoadSettings turns the stored texts, by name, into Settings; what is not stored has its default. A name that is not in
// the table may come from a newer version and is a warning. A text that cannot be meant is an error that names every such
// setting: nothing runs on a guess.
func LoadSettings(stored map[string]string) (Settings, []string, error) {
	result := Settings{Intervals: map[string]time.Duration{}}
	var warnings, wrong, names []string
	for _, s := range table {
		text, ok := stored[s.Name]
		if !ok {
			text = s.Default
		}
		p, err := s.parse(text)
		if err != nil {
			wrong, names = append(wrong, err.Error()), append(names, s.Name)
			continue
		}
		s.set(&result, p)
		if s.Kind == Zone && p.text == "" {
			warnings = append(warnings, "timezone is not set, so the log and schedules follow the system's ("+time.Local.String()+"): puqkvm settings set timezone Europe/Warsaw, or what PHP has")
		}
	}
	for name := range stored {
		if _, err := Lookup(name); err != nil {
			warnings = append(warnings, "a setting "+quote(name)+" is stored that this version does not know: it is ignored")
		}
	}
	slices.Sort(warnings)
	if len(wrong) == 0 {
		return result, warnings, nil
	}
	err := kvm.Errorf(kvm.ErrInvalid, "stored setting %s: mend it with puqkvm settings set %s VALUE", strings.Join(wrong, "; "), strings.Join(names, "|"))
	return Settings{}, warnings, kvm.WithHint(err, "puqkvm settings set %s VALUE", names[0])
}
