package cmd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/console/consolesim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs each script of testdata/script in a world of its own, on a clock that stands still. Beside the commands
// of testscript a script has
//
//	world [bare|php|legacy|transcript] first of all: the usual world; without settings; a database as the PHP module left it,
//	                                   not migrated; the same, migrated, with the cluster; the simulated machines of the
//	                                   seeds' transcript
//	puqkvm ARG... [< FILE]             the command in this process; ! where its exit code is not 0
//	exit N                             the last exit code is N
//	json [LINES]                       each line of the last stdout is JSON
//	service SID [key=value...]         a row of tblhosting: product, server, status, qty, dedicatedip
//	product PID MODULE                 a row of tblproducts
//	sql STATEMENT                      the rows of a SELECT go to stdout, columns between bars
//	sim lock|uuid|power|node|... ...   something happens in the cluster behind the program's back
//	sim vm VMID NAME [key=value...]    a VM of 20 GiB that runs on pve1, as somebody else has made it; sim backup STORAGE VMID
//	                                   one of its backups, sim gone VMID its end
//	sim write VMID SLOT TEXT           the guest writes on a disk, which sim show VMID shows; sim full STORAGE yes|no
//	pve METHOD PATH [key=value...]     an administrator's own call of Proxmox's API; ! where it is refused
//	fault METHOD PATH STATUS REASON    every such request is refused; fault clear ends it
//	fault METHOD PATH late DURATION    what it starts is seen running so long after its task has ended well
//	api refuse MESSAGE, api heal       WHMCS's API refuses
//	dns KIND ZONE...                   a stand-in of a DNS provider (hestiacp, cloudflare) with these zones; its URL and
//	                                   FINGERPRINT are in $KIND_URL and $KIND_PIN, and secret is what its secret is
//	dns put KIND ZONE NAME TYPE VALUE  another user of the zone adds a record; dns records KIND ZONE prints all but NS
//	dns hang|refuse|heal KIND          it gives no answer, or refuses every change, until it is healed
//	tickets N                          so many were opened; the last one goes to stdout
//	advance DURATION, clock MOMENT     the time goes on
//	remember, unchanged                database, VMs and mails are as they were
//	mails N                            so many were sent
//	transcript FILE                    the last stdout is the golden log of that name, blanks, times and durations apart
//	iso STORAGE NODE NAME              an image is put on a storage
//	proxy start|fail [FAULT]|entries   a proxy for consoles, at $PROXY; its faults are those of package consolesim
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			s := &script{t: t}
			testscript.Run(t, testscript.Params{Files: []string{file}, Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"world": s.world, "puqkvm": s.puqkvm, "exit": s.exit, "json": s.json, "service": s.service, "product": s.product,
				"sql": s.sql, "sim": s.sim, "pve": s.pve, "fault": s.fault, "api": s.api, "dns": s.dns, "tickets": s.tickets, "advance": s.advance, "clock": s.clock,
				"remember": s.remember, "unchanged": s.unchanged, "mails": s.mails, "transcript": s.transcript,
				"iso": s.iso, "proxy": s.proxy,
			}})
		})
	}
}

// script is a script's run.
type script struct {
	t      *testing.T // outlives the script
	w      *world
	code   int
	faults []*pvesim.Armed
	before []string
	names  map[string]dnsStandIn

	console *consolesim.Server
}

func want(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func (s *script) world(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 0, "world [bare|php|legacy|transcript]")
	switch strings.Join(args, " ") {
	case "":
		s.w = newWorld(s.t, scene{})
	case "bare":
		s.w = newWorld(s.t, scene{bare: true})
	case "php":
		s.w = newUnmigrated(s.t, whmcstest.WithPHPTables())
	case "legacy":
		s.w = newWorld(s.t, scene{php: true})
	case "transcript":
		model := pvesim.SmallMachine()
		model.Exact = map[string]time.Duration{"qmigrate": 30 * time.Second, "qmconfig": 3 * time.Second, "resize": time.Second, "qmstart": 8 * time.Second}
		s.w = newWorld(s.t, scene{model: model, clock: clock.NewFake(epoch.Add(-time.Hour))})
		s.w.ok("settings", "set", "cron.interval.collectingStatistics", "0") // it had not run in the seeds' hours
	default:
		ts.Fatalf("there is no such world")
	}
	if s.w.pve != nil {
		ts.Setenv("FINGERPRINT", s.w.pve.Fingerprint)
	}
	ts.Setenv("DATABASE", s.w.db.Name)
}

func (s *script) puqkvm(ts *testscript.TestScript, neg bool, args []string) {
	stdin := ""
	if n := len(args); n >= 2 && args[n-2] == "<" {
		stdin, args = ts.ReadFile(args[n-1]), args[:n-2]
	}
	program := Program{Args: args, Stdin: strings.NewReader(stdin), Stdout: ts.Stdout(), Stderr: ts.Stderr(), Environ: s.w.env, Clock: s.w.clock, Rand: s.w.rand}
	if s.code = program.Run(context.Background()); (s.code != exitDone) != neg {
		ts.Fatalf("exit code %d", s.code)
	}
}

func (s *script) exit(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "exit N")
	if args[0] != strconv.Itoa(s.code) {
		ts.Fatalf("exit code %d, want %s", s.code, args[0])
	}
}

func (s *script) json(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 0, "json [LINES]")
	out := ts.ReadFile("stdout")
	ts.Check(checkJSON(out))
	if n := strings.Count(out, "\n"); len(args) > 0 && args[0] != strconv.Itoa(n) {
		ts.Fatalf("%d lines", n)
	}
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func (s *script) service(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "service SID [key=value...]")
	v := whmcstest.Service{ID: int64(number(ts, args[0])), ClientID: 42, ProductID: 1, ServerID: 1}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "product":
			v.ProductID = int64(number(ts, value))
		case "server":
			v.ServerID = int64(number(ts, value))
		case "qty":
			v.Quantity = number(ts, value)
		case "status":
			v.Status = value
		case "dedicatedip":
			v.DedicatedIP = value
		default:
			ts.Fatalf("service has no %s", key)
		}
	}
	s.w.db.AddService(v)
}

func (s *script) product(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "product PID MODULE")
	s.w.db.AddProduct(whmcstest.Product{ID: int64(number(ts, args[0])), Module: args[1]})
}

func (s *script) sql(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "sql STATEMENT")
	statement := strings.Join(args, " ")
	if !strings.HasPrefix(strings.ToUpper(statement), "SELECT") {
		_, err := s.w.db.ExecContext(s.t.Context(), statement)
		ts.Check(err)
		return
	}
	for _, row := range s.w.rows(statement) {
		fmt.Fprintln(ts.Stdout(), strings.Join(row, "|"))
	}
}

func (s *script) sim(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "sim lock VMID [LOCK] | uuid VMID UUID | power VMID running|stopped | node NODE up|down | config VMID KEY VALUE | deaf VMID | agent VMID | snapshot VMID NAME | remove VMID | quorum yes|no | vm VMID NAME [key=value...] | backup STORAGE VMID | write VMID SLOT TEXT | show VMID | full STORAGE yes|no | traffic VMID IN OUT"
	want(ts, neg, args, 2, usage)
	what, rest := args[0], append(args[1:], "")
	switch what {
	case "lock":
		ts.Check(s.w.sim.SetLock(number(ts, rest[0]), rest[1]))
	case "uuid":
		ts.Check(s.w.sim.SetConfig(number(ts, rest[0]), map[string]string{"smbios1": "uuid=" + rest[1]}))
	case "power":
		ts.Check(s.w.sim.SetPower(number(ts, rest[0]), kvm.Power(rest[1])))
	case "remove":
		s.w.sim.RemoveVM(number(ts, rest[0]))
	case "quorum":
		s.w.sim.SetQuorum(rest[0] == "yes")
	case "node":
		s.w.sim.SetNodeDown(rest[0], rest[1] == "down")
	case "config":
		ts.Check(s.w.sim.SetConfig(number(ts, rest[0]), map[string]string{rest[1]: rest[2]}))
	case "deaf":
		ts.Check(s.w.sim.SetDeaf(number(ts, rest[0]), true))
	case "snapshot":
		ts.Check(s.w.sim.AddSnapshot(number(ts, rest[0]), rest[1], ""))
	case "agent":
		ts.Check(s.w.sim.SetConfig(number(ts, rest[0]), map[string]string{"agent": "1"}))
		ts.Check(s.w.sim.SetGuest(number(ts, rest[0]), &pvesim.Guest{}))
	case "vm":
		ts.Check(s.w.sim.AddVM(phpVM(number(ts, rest[0]), rest[1], rest[2:])))
	case "write":
		ts.Check(s.w.sim.WriteDisk(number(ts, rest[0]), rest[1], rest[2]))
	case "full":
		s.w.sim.SetStorageFull(rest[0], rest[1] == "yes")
	case "show":
		vm, _ := s.w.sim.VM(number(ts, rest[0]))
		fmt.Fprintf(ts.Stdout(), "%s\n", vmInShort(vm))
	case "traffic": // bytes a second
		want(ts, neg, args, 4, usage)
		ts.Check(s.w.sim.SetTraffic(number(ts, rest[0]), float64(number(ts, rest[1])), float64(number(ts, rest[2]))))
	case "backup":
		volume, err := s.w.sim.AddBackup(rest[0], number(ts, rest[1]), s.w.clock.Now())
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), volume)
	default:
		ts.Fatalf("usage: %s", usage)
	}
}

// vmInShort is what sim show prints of a VM: power, cores, size of its system disk, onboot, and what is written on that disk.
func vmInShort(vm pvesim.VMState) string {
	disk := vm.Disks["scsi0"]
	return fmt.Sprintf("%s cores=%s scsi0=%dG onboot=%s %s", vm.Power, vm.Config["cores"], disk.Size>>30, vm.Config["onboot"], disk.Contents)
}

// phpVM is a VM as the PHP module makes it, with options key=value as Proxmox has them.
func phpVM(vmid int, name string, options []string) pvesim.VM {
	vm := pvesim.VM{VMID: vmid, Node: "pve1", Name: name, Storage: "local-lvm", DiskGiB: 20, CloudInit: true, Cores: 2, Memory: 4096, Running: true, Config: map[string]string{}}
	for _, o := range options {
		if key, value, ok := strings.Cut(o, "="); ok {
			vm.Config[key] = value
		}
	}
	return vm
}

func (s *script) pve(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, false, args, 2, "pve METHOD PATH [key=value...]")
	form := map[string]string{}
	for _, arg := range args[2:] {
		key, value, _ := strings.Cut(arg, "=")
		form[key] = value
	}
	if err := s.w.send(args[0], args[1], form); (err != nil) != neg {
		ts.Fatalf("it was to fail: %v; %v", neg, err)
	}
}

func (s *script) fault(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "fault METHOD PATH STATUS REASON|late DURATION | clear")
	if args[0] == "clear" {
		for _, f := range s.faults {
			if f.Hits() == 0 {
				ts.Fatalf("a fault never struck")
			}
			f.Remove()
		}
		s.faults = nil
		return
	}
	want(ts, neg, args, 4, "fault METHOD PATH STATUS REASON|late DURATION")
	f := pvesim.Fault{Method: args[0], Path: args[1]}
	if args[2] == "late" {
		var err error
		f.UpLate, err = time.ParseDuration(args[3])
		ts.Check(err)
	} else {
		f.Status, f.Reason = number(ts, args[2]), strings.Join(args[3:], " ")
	}
	s.faults = append(s.faults, s.w.sim.AddFault(f))
}

func (s *script) api(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "api refuse MESSAGE | heal")
	if s.w.api.Heal(); args[0] == "refuse" {
		s.w.api.Refuse(-1, strings.Join(args[1:], " "))
	}
}

func (s *script) advance(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "advance DURATION")
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	s.w.clock.(*clock.Fake).Advance(d)
}

func (s *script) clock(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "clock MOMENT")
	to, err := time.Parse(time.RFC3339, args[0])
	ts.Check(err)
	fake := s.w.clock.(*clock.Fake)
	if fake.Now().After(to) {
		ts.Fatalf("it is %s already", fake.Now())
	}
	fake.Advance(to.Sub(fake.Now()))
}

func (s *script) remember(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 0, "remember")
	s.before = s.w.state()
}

func (s *script) unchanged(ts *testscript.TestScript, neg bool, _ []string) {
	diff := changed(s.before, s.w.state())
	if (len(diff) > 0) != neg {
		ts.Fatalf("changed:\n%s", strings.Join(diff, "\n"))
	}
}

func (s *script) mails(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "mails N")
	if n := len(s.w.api.Mails()); n != number(ts, args[0]) {
		ts.Fatalf("%d mails: %+v", n, s.w.api.Mails())
	}
}

func (s *script) transcript(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "transcript FILE")
	text, err := os.ReadFile(filepath.Join("..", "testdata", "golden", args[0]))
	ts.Check(err)
	got, golden := masked(ts.ReadFile("stdout")), masked(string(text))
	if !slices.Equal(got, golden) {
		ts.Fatalf("%d lines, want %d; they differ in:\n%s", len(got), len(golden), strings.Join(changed(golden, got), "\n"))
	}
}
