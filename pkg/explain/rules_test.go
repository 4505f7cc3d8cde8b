package explain

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const uuid = "5af155a0-2d3f-47b6-b378-1af3950a0d55"

// at is a service of ours at status, of which nothing else is wrong.
func at(status kvm.Status, change ...func(*Facts)) *Facts {
	yes := true
	f := &Facts{Service: 5546,
		WHMCS:   &WHMCS{State: "Active", Client: 42, Product: 12, Ours: true, Server: 1},
		Row:     &Row{Status: status, Phase: status.Phase(), Next: "Some row", VMID: 100, Name: "vps-42-5546", Server: 1, Cluster: "main", Node: "pve1", UUID: uuid},
		Cluster: Cluster{Name: "main", Quorate: &yes},
		VM:      VM{Whose: kvm.WhoseOwn, Node: "pve1", NodeOnline: &yes, Name: "vps-42-5546", UUID: uuid, Power: kvm.Running},
		Cron:    Cron{Task: "processVirtualMachines", Interval: 60, Started: time.Date(2026, 4, 10, 1, 49, 0, 0, time.UTC), Ago: 30},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

func unseen(err error) func(*Facts) {
	return func(f *Facts) {
		f.Cluster, f.VM = Cluster{}, VM{Whose: kvm.WhoseUnknown, Err: err, Error: err.Error(), Mend: kvm.Hint(err)}
	}
}

func seen(whose kvm.Whose, err error) func(*Facts) {
	return func(f *Facts) {
		f.VM.Whose, f.VM.Power = whose, ""
		if err != nil {
			f.VM.Err, f.VM.Error, f.VM.Mend = err, err.Error(), kvm.Hint(err)
		}
	}
}

func lastRun(result, message string, repeats int) func(*Facts) {
	return func(f *Facts) {
		f.LastRun = &kvm.Run{Result: result, Message: message, Repeats: repeats, Action: "deploy", To: f.Row.Status, Steps: []kvm.RunStep{{Title: "Clone VM"}},
			Started: time.Date(2026, 4, 10, 1, 49, 18, 0, time.UTC)}
	}
}

func state(s string) func(*Facts) { return func(f *Facts) { f.WHMCS.State = s } }

func offline(f *Facts) { no := false; f.VM.NodeOnline, f.VM.Whose = &no, kvm.WhoseUnknown }

var errAny = errors.New("connection refused")

const lostISO = "the task qmstart of VM 100 on pve1 failed: volume 'shared:iso/gone.iso' does not exist"

func stopped(f *Facts) { f.VM.Power = kvm.Stopped }

// cases are, for each rule, services that it is for.
var cases = map[string][]struct {
	what  string
	facts *Facts
	why   string   // is in the text
	next  []string // the lines; of one with an asterisk at its end the beginning
}{
	"lost_iso": {
		{"at ready", at(kvm.Ready, stopped, lastRun(kvm.RunError, lostISO, 1)), "shared:iso/gone.iso", []string{"puqkvm iso unmount 5546"}},
		{"on its way", at(kvm.USOnBoot, stopped, lastRun(kvm.RunError, lostISO, 7)), "shared:iso/gone.iso", []string{"qm config 100", "qm set 100 --SLOT none,media=cdrom"}}},
	"no_service": {{"nowhere", &Facts{Service: 5546}, "there is no service 5546 in WHMCS", []string{"puqkvm vm list"}}},
	"other_module": {{"another module's product", &Facts{Service: 5546, WHMCS: &WHMCS{State: "Active", Product: 7, Module: "cpanel"}},
		`product 7 belongs to the module "cpanel"`, []string{"puqkvm settings set whmcs.module cpanel"}}},
	"not_ordered": {
		{"active, without a row", &Facts{Service: 5546, WHMCS: &WHMCS{State: "Active", Ours: true}}, "no VM was ever ordered", []string{"puqkvm create 5546"}},
		{"suspended, without a row", &Facts{Service: 5546, WHMCS: &WHMCS{State: "Suspended", Ours: true}}, "Suspended", []string{"puqkvm create 5546"}}},
	"no_vm": {{"not accepted yet", &Facts{Service: 5546, WHMCS: &WHMCS{State: "Pending", Ours: true}}, "Pending", nil}},
	"moves": {{"claimed by a living process", at(kvm.SetDNS, lastRun(kvm.RunOpen, "", 1), func(f *Facts) { f.Row.Holder = &Holder{Host: "web7", PID: "4711", Alive: true, Left: 45} }),
		"process 4711 on web7 has it in hand, since 2026-04-10 01:49:18 UTC (deploy), at set_dns (next: Some row); if it falls silent its claim ends in 45s", []string{"puqkvm vm log 5546 --last 1"}},
		{"whatever else is wrong", at("nonsense", state("Fraud"), func(f *Facts) { f.Row.Holder = &Holder{Alive: true, Left: 5} }), "another process", []string{"puqkvm vm log 5546 --last 1"}}},
	"unproved": {
		{"of the PHP module", at(kvm.Ready, php, seen(kvm.WhoseUnproved, kvm.ErrUnproved)), "nothing proves that VM 100 is its own", []string{"puqkvm adopt 5546"}},
		{"and Proxmox is away", at(kvm.Ready, php, unseen(errAny)), "nothing proves", []string{"puqkvm adopt 5546"}},
		{"and gone", at(kvm.Ready, php, seen(kvm.WhoseAbsent, nil)), "nothing proves", []string{"puqkvm status set 5546 terminate"}},
		{"and gone, as far as is known", at(kvm.Ready, php, seen(kvm.WhoseUnknown, kvm.ErrAdmin)), "nothing proves", []string{"puqkvm status set 5546 terminate"}},
		{"and given up", at(kvm.ErrorTerminate, php, seen(kvm.WhoseAbsent, nil)), "nothing proves", []string{"puqkvm vm forget 5546 --confirm FORGET"}}},
	"unknown_status": {{"a word of the PHP module's", at("restoring"), `"restoring" is none of puqkvm's`,
		[]string{"puqkvm status set 5546 ready", "puqkvm status set 5546 change_package", "puqkvm terminate 5546"}}},
	"error_terminate": {
		{"foreign", at(kvm.ErrorTerminate, seen(kvm.WhoseForeign, kvm.ErrForeign), func(f *Facts) { f.Row.Message = "VM 100 has the UUID x" }), "VM 100 has the UUID x",
			[]string{"puqkvm vm forget 5546 --confirm FORGET", "qm set 100 --smbios1 uuid=" + uuid}},
		{"protected", at(kvm.ErrorTerminate, func(f *Facts) { f.VM.Protection = true }), "why is not stored", []string{"qm set 100 --protection 0", "puqkvm terminate 5546"}},
		{"mended meanwhile", at(kvm.ErrorTerminate), "cron does not try again", []string{"puqkvm terminate 5546"}},
		{"gone meanwhile", at(kvm.ErrorTerminate, seen(kvm.WhoseAbsent, nil)), "cron does not try again", []string{"puqkvm terminate 5546"}},
		{"not seen", at(kvm.ErrorTerminate, unseen(errAny)), "cron does not try again", []string{"puqkvm terminate 5546", "puqkvm vm forget 5546 --confirm FORGET"}}},
	"error_restore": {
		{"whole but for its disks", at(kvm.ErrorRestore), "its VM's disks are not whole", []string{"puqkvm backup list 5546", "puqkvm backup restore 5546 VOLID --confirm RESTORE", "puqkvm reinstall 5546 --confirm REINSTALL"}},
		{"and locked", at(kvm.ErrorRestore, func(f *Facts) { f.VM.Lock = "create" }), "its VM's disks are not whole",
			[]string{"qm unlock 100", "puqkvm backup list 5546", "puqkvm backup restore 5546 VOLID --confirm RESTORE", "puqkvm reinstall 5546 --confirm REINSTALL"}}},
	"removed_but_active": {{"terminated here alone", at(kvm.Remove), "WHMCS has the service as Active", []string{"puqkvm create 5546"}}},
	"removed": {
		{"terminated", at(kvm.Remove, state("Terminated")), "what it held is free", nil},
		{"and deleted", at(kvm.Remove, func(f *Facts) { f.WHMCS = nil }), "what it held is free", nil}},
	"whmcs_ended": {
		{"cancelled while it is made", at(kvm.SetDNS, state("Cancelled")), "Cancelled", []string{"puqkvm terminate 5546"}},
		{"fraud at ready", at(kvm.Ready, state("Fraud")), "Fraud", []string{"puqkvm terminate 5546"}},
		{"terminated by hand", at(kvm.Ready, state("Terminated")), "Terminated", []string{"puqkvm terminate 5546"}},
		{"deleted, and Proxmox is away", at(kvm.Ready, unseen(errAny), func(f *Facts) { f.WHMCS = nil }), "deleted in WHMCS", []string{"puqkvm terminate 5546"}}},
	"problem": {{"the product", at(kvm.SetDNS, func(f *Facts) {
		f.Row.Problem, f.Row.Mend = "product 12: no template is set", "puqkvm product set 12 template=VMID"
	}),
		"no template is set; mend: puqkvm product set 12 template=VMID", []string{"puqkvm product check 12"}}},
	"addon_cron": {{"the PHP addon", at(kvm.SetDNS, func(f *Facts) { f.Cron.Addon, f.Cron.Mend = "the PHP addon is activated", "deactivate it" }),
		"cron refuses to run: the PHP addon is activated; mend: deactivate it", []string{"puqkvm cron"}}},
	"cron_off": {{"switched off", at(kvm.SetDNS, func(f *Facts) { f.Cron.Interval = 0 }), "switched off",
		[]string{"puqkvm settings set cron.interval.processVirtualMachines --default"}},
		{"another task", at(kvm.MakeBackup, func(f *Facts) { f.Cron.Task, f.Cron.Interval = "nowBackupStatus", 0 }), "nowBackupStatus, is switched off",
			[]string{"puqkvm settings set cron.interval.nowBackupStatus --default"}}},
	"no_cron": {
		{"never", at(kvm.SetDNS, func(f *Facts) { f.Cron.Started = time.Time{} }), "never run", []string{crontab}},
		{"long ago", at(kvm.SetDNS, func(f *Facts) { f.Cron.Ago = 301 }), "cron last ran 5m ago", []string{"puqkvm cron", crontab}},
		{"by a long interval", at(kvm.SetDNS, func(f *Facts) { f.Cron.Interval, f.Cron.Ago = 600, 1801 }), "30m ago", []string{"puqkvm cron", crontab}}},
	"server": {
		{"none", at(kvm.Ready, unseen(kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "the service has no server"), "choose one"))), "the service has no server; mend: choose one", []string{"puqkvm server list"}},
		{"deleted", at(kvm.SetDNS, unseen(kvm.ErrNotFound)), "cannot be asked", []string{"puqkvm server list"}},
		{"its password", at(kvm.SetDNS, unseen(kvm.ErrAdmin)), "cannot be asked", []string{"puqkvm server list"}}},
	"other_cluster": {
		{"said so", at(kvm.Ready, seen(kvm.WhoseUnknown, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "which cluster is not stored"), "look there"))), "which cluster is not stored; mend: look there",
			[]string{"puqkvm server list", "puqkvm terminate 5546"}},
		{"a foreign VM there", at(kvm.Ready, seen(kvm.WhoseForeign, kvm.ErrForeign), func(f *Facts) { f.Cluster.Name = "second" }), `made in the cluster "main", and WHMCS server 1 leads to "second"`,
			[]string{"puqkvm server list", "puqkvm terminate 5546"}}},
	"credentials": {{"401", at(kvm.SetDNS, unseen(kvm.ErrAuth)), "token or password", []string{"puqkvm server test 1"}}},
	"privilege": {
		{"403", at(kvm.Ready, seen(kvm.WhoseUnknown, kvm.WithHint(kvm.Errorf(kvm.ErrDenied, "403"), "VM.Audit"))), "a privilege is missing: 403; mend: VM.Audit", []string{"puqkvm server test 1"}},
		{"of a row", at(kvm.SetDNS, seen(kvm.WhoseNone, nil), lastRun(kvm.RunError, "POST clone: 403 Permission check failed (/vms/100, VM.Clone)", 1)), "VM.Clone", []string{"puqkvm server test 1"}}},
	"no_quorum": {{"lost", at(kvm.SetDNS, func(f *Facts) { no := false; f.Cluster.Quorate, f.Cluster.Offline = &no, []string{"pve2", "pve3"} }), "no quorum: it changes nothing, and what it says of VMs proves nothing; offline: pve2, pve3",
		[]string{"pvecm status"}}},
	"node_offline": {{"its node", at(kvm.Ready, offline, func(f *Facts) { f.VM.Err = errAny }), "node pve1, which has VM 100, is offline", []string{"pvecm status"}}},
	"unreachable": {
		{"nobody there", at(kvm.SetDNS, unseen(errAny)), "connection refused", []string{"puqkvm server test 1"}},
		{"its power state", at(kvm.Ready, seen(kvm.WhoseOwn, kvm.ErrUnreachable)), "could not be seen", []string{"puqkvm server test 1"}}},
	"foreign": {
		{"another service's", at(kvm.Ready, seen(kvm.WhoseForeign, kvm.ErrForeign), func(f *Facts) { f.VM.UUID, f.VM.Others = "other", []int64{5547, 5548} }), "which is service 5547's or service 5548's",
			[]string{"puqkvm vm show 5547", "puqkvm vm show 5548", "qm set 100 --smbios1 uuid=" + uuid, "puqkvm terminate 5546"}},
		{"unknown", at(kvm.RIChecked, seen(kvm.WhoseForeign, kvm.ErrForeign), func(f *Facts) { f.VM.UUID = "other" }), "of which nothing is known here",
			[]string{"qm config 100", "qm set 100 --smbios1 uuid=" + uuid, "puqkvm terminate 5546"}},
		{"a container", at(kvm.CPStop, seen(kvm.WhoseForeign, errors.New("guest 100 is a container")), func(f *Facts) { f.VM.UUID = "" }), "guest 100 is a container",
			[]string{"qm config 100", "qm set*", "puqkvm terminate 5546"}}},
	"absent": {
		{"at ready", at(kvm.Ready, seen(kvm.WhoseAbsent, nil)), "VM 100 is gone", []string{"puqkvm redeploy 5546 --confirm REDEPLOY", "puqkvm terminate 5546"}},
		{"in a change, which a redeploy would not be taken in", at(kvm.CPStop, seen(kvm.WhoseAbsent, nil)), "VM 100 is gone", []string{"puqkvm terminate 5546"}}},
	"protected": {
		{"redeploy", at(kvm.Redeploy, func(f *Facts) { f.VM.Protection = true }), "protected", []string{"qm set 100 --protection 0"}},
		{"reinstall", at(kvm.RIStopped, func(f *Facts) { f.VM.Protection = true }), "protected", []string{"qm set 100 --protection 0"}}},
	"task": {
		{"that locks it", at(kvm.ChangePackage, func(f *Facts) {
			f.VM.Lock, f.VM.Tasks = "backup", []Task{{UPID: "UPID:x", Type: "vzdump", Log: []string{"1%", "2%"}}}
		}),
			"VM 100 is locked by Proxmox (backup): its task vzdump runs (UPID:x), whose log ends with: 2%", []string{"puqkvm explain 5546"}},
		{"of its own", at(kvm.SetDNS, seen(kvm.WhoseMaking, nil), func(f *Facts) { f.VM.Open = &Task{UPID: "UPID:y", Type: "qmclone", State: TaskRunning} }), "its task qmclone runs (UPID:y)", []string{"puqkvm explain 5546"}}},
	"locked": {
		{"by what has died", at(kvm.ChangePackage, func(f *Facts) { f.VM.Lock = "snapshot" }), "no task of it runs", []string{"qm unlock 100"}},
		{"at ready", at(kvm.Ready, func(f *Facts) { f.VM.Lock, f.VM.Open = "migrate", &Task{State: TaskEnded} }), "no task of it runs", []string{"qm unlock 100"}},
		{"by a job, perhaps", at(kvm.Ready, func(f *Facts) { f.VM.Lock = "backup" }), "a backup job of several VMs", []string{"pvesh get /nodes/pve1/tasks --source active", "qm unlock 100"}}},
	"no_address": {{"exhausted", at(kvm.Creation, seen(kvm.WhoseNone, nil), func(f *Facts) { f.NoAddress = "not enough free addresses" }), "not enough free addresses",
		[]string{"puqkvm ippool list --server 1", "puqkvm ippool add --server 1*"}}},
	"stuck": {{"three times alike", at(kvm.SetDNS, seen(kvm.WhoseNone, nil), lastRun(kvm.RunError, "storage full; mend: empty it", 3)), `at "Clone VM" for the 3. time with the same message: storage full; mend: empty it`,
		[]string{"puqkvm vm log 5546 --last 1"}}},
	"failed": {{"twice", at(kvm.SetDNS, seen(kvm.WhoseNone, nil), lastRun(kvm.RunError, "storage full", 2)), "the next tick tries again: storage full", []string{"puqkvm vm log 5546 --last 1"}}},
	"waits": {{"on a slot", at(kvm.SetDNS, seen(kvm.WhoseNone, nil), lastRun(kvm.RunWaiting, "waiting on a clone slot of pve1", 7)), "waiting on a clone slot of pve1, at set_dns (next: Some row); each tick looks again, 7 times so far",
		[]string{"puqkvm vm log 5546 --last 1"}}},
	"cut_off": {
		{"a holder that is dead", at(kvm.SetDNS, func(f *Facts) { f.Row.Holder = &Holder{Host: "web7", PID: "4711"} }), "has died or fallen silent", []string{"puqkvm cron --task=processVirtualMachines"}},
		{"a run without an end", at(kvm.SetDNS, lastRun(kvm.RunOpen, "", 1)), "has died or fallen silent", []string{"puqkvm cron --task=processVirtualMachines"}}},
	"next_tick": {
		{"nothing is wrong", at(kvm.ChangePackage), "waits for the next tick, at change_package (next: Some row)", []string{"puqkvm cron --task=processVirtualMachines"}},
		{"cron ran just lately enough", at(kvm.ChangePackage, func(f *Facts) { f.Cron.Ago = 300 }), "next tick", []string{"puqkvm cron --task=processVirtualMachines"}},
		{"by a long interval", at(kvm.ChangePackage, func(f *Facts) { f.Cron.Interval, f.Cron.Ago = 600, 1800 }), "next tick", []string{"puqkvm cron --task=processVirtualMachines"}},
		{"gone, and to be destroyed", at(kvm.Terminate, seen(kvm.WhoseAbsent, nil)), "next tick", []string{"puqkvm cron --task=processVirtualMachines"}},
		{"what the last run said is over", at(kvm.CPStop, lastRun(kvm.RunError, "no", 9), func(f *Facts) { f.LastRun.To = kvm.ChangePackage }), "next tick", []string{"puqkvm cron --task=processVirtualMachines"}},
		{"terminate needs no product", at(kvm.Terminate, func(f *Facts) { f.Row.Problem = "product 12: nonsense" }), "next tick", []string{"puqkvm cron --task=processVirtualMachines"}},
		{"terminate heeds no state", at(kvm.Terminate, state("Terminated")), "next tick", []string{"puqkvm cron --task=processVirtualMachines"}}},
	"ready_without_vm": {
		{"it had one", at(kvm.Ready, seen(kvm.WhoseNone, nil), func(f *Facts) { f.Row.UUID, f.Row.Earlier = "", []string{uuid} }), "no UUID is stored", []string{"puqkvm adopt 5546", "puqkvm terminate 5546"}},
		{"it never had one", at(kvm.Ready, seen(kvm.WhoseNone, nil), func(f *Facts) { f.Row.UUID = "" }), "no UUID is stored", []string{"puqkvm terminate 5546"}}},
	"suspended_but_runs": {{"started in Proxmox", at(kvm.Ready, state("Suspended"), func(f *Facts) { f.Row.Suspended = true }), "VM 100 runs", []string{"puqkvm suspend 5546"}}},
	"suspended":          {{"as it should be", at(kvm.Ready, state("Suspended"), func(f *Facts) { f.Row.Suspended, f.VM.Power = true, kvm.Stopped }), "WHMCS: Suspended", []string{"puqkvm unsuspend 5546"}}},
	"not_suspended":      {{"the verb never came", at(kvm.Ready, state("Suspended")), "here it is not: VM 100 is running", []string{"puqkvm suspend 5546"}}},
	"stopped":            {{"by its owner", at(kvm.Ready, func(f *Facts) { f.VM.Power = kvm.Stopped }), "VM 100 on pve1 is stopped", []string{"puqkvm start 5546"}}},
	"well": {
		{"runs", at(kvm.Ready), "all is well: VM 100 runs on pve1", nil},
		{"without cron", at(kvm.Ready, func(f *Facts) { f.Cron = Cron{Addon: "active"} }), "all is well", nil},
		{"with a problem that is in nobody's way", at(kvm.Ready, func(f *Facts) { f.Row.Problem = "product 12: nonsense" }), "all is well", nil},
		{"while it is backed up", at(kvm.Ready, func(f *Facts) { f.VM.Lock, f.VM.Tasks = "backup", []Task{{UPID: "UPID:x", Type: "vzdump"}} }), "its task vzdump runs", nil}},
	"unclear": {{"nothing known of its power", at(kvm.Ready, seen(kvm.WhoseOwn, nil)), `own, power ""`, []string{"puqkvm vm show 5546"}}},
}

func php(f *Facts) { f.Row.Legacy, f.Row.UUID, f.Row.Cluster = true, "", "" }

// TestRules: each rule is the diagnosis of the services that it is for, whatever rules come before it, with its class, its
// words and its commands.
func TestRules(t *testing.T) {
	names := map[string]bool{}
	for _, rule := range Rules() {
		if names[rule.Name] {
			t.Errorf("two rules are called %s", rule.Name)
		}
		names[rule.Name] = true
		if len(cases[rule.Name]) == 0 {
			t.Errorf("the rule %s has no case", rule.Name)
		}
		for _, c := range cases[rule.Name] {
			d := Diagnose(c.facts)
			if d.Rule != rule.Name || d.Class != rule.Class || !strings.Contains(d.Why, c.why) {
				t.Errorf("%s, %s: %s (%s): %s", rule.Name, c.what, d.Rule, d.Class, d.Why)
			}
			if !slices.EqualFunc(d.Next, c.next, func(have Command, want string) bool {
				beginning, part := strings.CutSuffix(want, "*")
				return have.Line == want || part && strings.HasPrefix(have.Line, beginning)
			}) {
				t.Errorf("%s, %s: next %+v, want %q", rule.Name, c.what, d.Next, c.next)
			}
		}
	}
	for name := range cases {
		if !names[name] {
			t.Errorf("there is no rule %s", name)
		}
	}
}

// TestErr: the exit codes go by these.
func TestErr(t *testing.T) {
	for class, want := range map[Class]error{Passing: kvm.ErrQueued, NoService: kvm.ErrNotFound, Admin: kvm.ErrAdmin, Unreachable: kvm.ErrUnreachable} {
		if err := (Diagnosis{Class: class, Why: "so"}).Err(); !errors.Is(err, want) || err.Error() != "so" {
			t.Errorf("%s: %v", class, err)
		}
	}
	if err := (Diagnosis{Class: Well}).Err(); err != nil {
		t.Error(err)
	}
}

// TestDiagnoseAnything: whatever comes together, there is a diagnosis with words, and an administrator who must act has
// something to type.
func TestDiagnoseAnything(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var all []*Facts
	for _, rule := range Rules() { // in an order that a seed repeats
		for _, c := range cases[rule.Name] {
			all = append(all, c.facts)
		}
	}
	some := func() *Facts { return all[r.IntN(len(all))] }
	for range 20000 {
		f := &Facts{Service: 5546, WHMCS: some().WHMCS, Cluster: some().Cluster, VM: some().VM, LastRun: some().LastRun, Cron: some().Cron, NoAddress: some().NoAddress}
		if row := some().Row; row != nil {
			mixed := *row
			if other := some().Row; other != nil {
				mixed.Holder, mixed.Suspended, mixed.UUID, mixed.Earlier, mixed.Legacy = other.Holder, other.Suspended, other.UUID, other.Earlier, other.Legacy
			}
			f.Row = &mixed
		}
		d := Diagnose(f)
		if d.Rule == "" || d.Why == "" || d.Next == nil || d.Class != Well && len(d.Next) == 0 {
			t.Fatalf("%+v of %+v, row %+v", d, f, f.Row)
		}
		for _, c := range d.Next {
			if c.Line == "" || strings.ContainsAny(c.Line, "\n\t") || strings.Contains(c.Line, "%!") || strings.Contains(d.Why, "%!") {
				t.Fatalf("%+v of %+v, row %+v", d, f, f.Row)
			}
		}
	}
}
