package pve

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const vzdumpUPID = "UPID:pve1:00000BA6:0004E530:6B01CBD2:vzdump:110:whmcs@pve!puqkvm:"

// TestBackup: the one request, with what each version knows, and what its answers mean.
func TestBackup(t *testing.T) {
	o := owned(t, testConfig)
	const form = "compress=zstd&mode=snapshot&remove=0&storage=nfs&vmid=110"
	for name, c := range map[string]struct {
		version, note, answer, want string
		err                         error
	}{
		"7.4":            {"7.4-17", "", `"` + vzdumpUPID + `"`, form, nil},
		"8.0":            {"8.0.4", "", `"` + vzdumpUPID + `"`, form, nil},
		"8.1":            {"8.1.3", "", `"` + vzdumpUPID + `"`, "compress=zstd&mode=snapshot&notification-mode=legacy-sendmail&remove=0&storage=nfs&vmid=110", nil},
		"9.2, a note":    {"9.2.4", "a b", `"` + vzdumpUPID + `"`, "compress=zstd&mode=snapshot&notes-template=a b&notification-mode=legacy-sendmail&remove=0&storage=nfs&vmid=110", nil},
		"braces":         {"7.4-17", "{{node}} {{{x", `"` + vzdumpUPID + `"`, strings.Replace(form, "&remove", "&notes-template={ {node}} { { {x&remove", 1), nil},
		"backslashes":    {"7.4-17", `C:\new`, `"` + vzdumpUPID + `"`, strings.Replace(form, "&remove", `&notes-template=C:\\new&remove`, 1), nil},
		"lines":          {"7.4-17", "a\r\nb", `"` + vzdumpUPID + `"`, strings.Replace(form, "&remove", "&notes-template=a  b&remove", 1), nil},
		"elsewhere":      {"7.4-17", "", `"OK"`, form, kvm.ErrNotHere},
		"no task":        {"7.4-17", "", `null`, form, kvm.ErrUnknown},
		"no UPID":        {"7.4-17", "", `"UPID:pve1:x"`, form, kvm.ErrUnknown},
		"an object":      {"7.4-17", "", `{}`, form, kvm.ErrUnknown},
		"a lost answer":  {"7.4-17", "", "596 Connection timed out", form, kvm.ErrUnknown},
		"not for us":     {"7.4-17", "", "403 Permission check failed (/storage/nfs, Datastore.AllocateSpace)", form, kvm.ErrDenied},
		"not understood": {"7.4-17", "", "400 compress=value 'zstd' does not have a value in the enumeration", form, kvm.ErrInvalid},
	} {
		s, client := script{"GET /version": {`{"version":"` + c.version + `"}`}, "POST /nodes/pve1/vzdump": {c.answer}}.serve(t)
		id, err := client.Backup(t.Context(), o, "nfs", c.note)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || (id == vzdumpUPID) != (err == nil) || id != "" && err != nil {
			t.Errorf("%s: %q, %v", name, id, err)
		}
		var sent []string
		for _, r := range s.requests() {
			if form, is := strings.CutPrefix(r, "POST /nodes/pve1/vzdump "); is {
				form, err := url.QueryUnescape(form)
				sent = append(sent, fmt.Sprint(form, err))
			}
		}
		if len(sent) != 1 || sent[0] != fmt.Sprint(c.want, nil) {
			t.Errorf("%s: sent\n%q, want\n%s", name, sent, c.want)
		}
	}
	s, client := script{"GET /version": {"595 No route to host"}}.serve(t)
	if _, err := client.Backup(t.Context(), o, "nfs", ""); !errors.Is(err, kvm.ErrUnreachable) || strings.Contains(strings.Join(s.requests(), " "), "POST") {
		t.Errorf("without a version: %v, %q", err, s.requests())
	}
}

func TestBackupMade(t *testing.T) {
	const dir, pbs = "INFO: creating vzdump archive '/mnt/pve/nfs/dump/vzdump-qemu-110-2026_04_10-01_49_18.vma.zst'", "INFO: creating Proxmox Backup Server archive 'vm/110/2026-04-10T01:49:18Z'"
	const job = "INFO: starting new backup job: vzdump 110 --notes-template 'INFO: creating vzdump archive '/x/dump/vzdump-qemu-999-x.vma'' --storage nfs"
	key := "GET " + path("nodes", "pve1", "tasks", vzdumpUPID, "log")
	lines := func(lines ...string) string {
		var out []string
		for _, l := range lines {
			out = append(out, `{"n":1,"t":"`+l+`"}`)
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	for name, c := range map[string]struct {
		answer, want string
		err          error
	}{
		"directory":       {lines("INFO: trying to get global lock - waiting...", "INFO: got global lock", job, dir, "INFO: Finished"), "backup/vzdump-qemu-110-2026_04_10-01_49_18.vma.zst", nil},
		"backup server":   {lines(job, pbs), "backup/vm/110/2026-04-10T01:49:18Z", nil},
		"the first one":   {lines(dir, strings.Replace(dir, "110", "111", 1)), "backup/vzdump-qemu-110-2026_04_10-01_49_18.vma.zst", nil},
		"only a note":     {lines(job, " "+dir, "INFO: "+dir, strings.ToLower(dir)), "", kvm.ErrNotFound},
		"not begun":       {lines("INFO: trying to get global lock - waiting..."), "", kvm.ErrNotFound},
		"nothing":         {`[]`, "", kvm.ErrNotFound},
		"no log":          {`{"n":1,"t":"unable to open file - No such file or directory"}`, "", kvm.ErrNotFound},
		"no such task":    {"500 no such task", "", nil},
		"not answered":    {"595 No route to host", "", kvm.ErrUnreachable},
		"not for us":      {"403 Permission check failed (/nodes/pve1, Sys.Audit)", "", kvm.ErrDenied},
		"a name of parts": {lines("INFO: creating vzdump archive 'a/'"), "backup/", nil},
	} {
		_, client := script{key: {c.answer}}.serve(t)
		if name == "no such task" { // whatever that is called, it is an error
			if got, err := client.BackupMade(t.Context(), vzdumpUPID); err == nil || got != "" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			continue
		}
		if got, err := client.BackupMade(t.Context(), vzdumpUPID); got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	s, client := script{}.serve(t)
	if _, err := client.BackupMade(t.Context(), "UPID:pve1"); !errors.Is(err, kvm.ErrInvalid) || len(s.requests()) > 0 {
		t.Errorf("of no UPID: %v", err)
	}
}

// FuzzArchiveNamed: whatever a log says, the name is of the volume that a line of Proxmox's own names, and nothing that stands in
// another line, or in front of it, makes another one of it.
func FuzzArchiveNamed(f *testing.F) {
	for _, s := range []string{"", "INFO: creating vzdump archive '/a/dump/vzdump-qemu-1-x.vma.zst'", "INFO: creating Proxmox Backup Server archive 'vm/1/2026-04-10T01:49:18Z'",
		"INFO: creating vzdump archive ''", "INFO: creating vzdump archive '..'", "INFO: x\nINFO: creating vzdump archive '/a/b' 'c'\n"} {
		f.Add(s)
	}
	const line = "INFO: creating vzdump archive '/mnt/dump/vzdump-qemu-110-x.vma.zst'"
	f.Fuzz(func(t *testing.T, log string) {
		all := strings.Split(log, "\n")
		name := archiveNamed(all)
		if rest, is := strings.CutPrefix(name, "backup/"); name != "" && (!is || !strings.Contains(log, rest+"'") || !strings.Contains(log, "creating ") || strings.ContainsAny(name, "'\n")) {
			t.Fatalf("%q: %q", log, name)
		}
		if name == "" {
			name = "backup/vzdump-qemu-110-x.vma.zst"
		}
		if got := archiveNamed(append(all, line)); got != name {
			t.Fatalf("%q: %q, and with the line behind it %q", log, name, got)
		}
		if got := archiveNamed([]string{"INFO: starting new backup job: vzdump 110 --notes-template '" + strings.ReplaceAll(log, "\n", " ") + "'", line}); got != "backup/vzdump-qemu-110-x.vma.zst" {
			t.Fatalf("%q as a note: %q", log, got)
		}
	})
}

// TestOwnTasks: those of the type that our own token began, running or ended, the oldest first. Of ended ones Proxmox tells the
// token apart from its user.
func TestOwnTasks(t *testing.T) {
	upid := func(pstart, started, kind, user string) string {
		return "UPID:pve1:00000BA6:" + pstart + ":" + started + ":" + kind + ":110:" + user + ":"
	}
	const ours = "whmcs@pve!puqkvm"
	running, late, early := upid("0004E531", "6B01CBD3", "vzdump", ours), upid("0004E530", "6B01CBD3", "vzdump", ours), upid("1004E530A", "6B01CBD2", "vzdump", ours)
	s, c := script{"GET /nodes/pve1/tasks": {`[
		{"upid":"` + running + `","type":"vzdump","user":"` + ours + `","starttime":1795279827,"status":"RUNNING"},
		{"upid":"` + upid("0004E532", "6B01CBD3", "vzdump", "whmcs@pve!other") + `","type":"vzdump","user":"whmcs@pve","tokenid":"other","starttime":1795279827,"endtime":1795279829,"status":"OK"},
		{"upid":"` + upid("0004E533", "6B01CBD3", "vzdump", "whmcs@pve") + `","type":"vzdump","user":"whmcs@pve","starttime":1795279827,"endtime":1795279829,"status":"OK"},
		{"upid":"` + upid("0004E534", "6B01CBD3", "qmstart", ours) + `","type":"qmstart","user":"whmcs@pve","tokenid":"puqkvm","starttime":1795279827,"endtime":1795279829,"status":"OK"},
		{"upid":"` + late + `","type":"vzdump","user":"whmcs@pve","tokenid":"puqkvm","starttime":1795279827,"endtime":1795279829,"status":"OK"},
		{"upid":"` + early + `","type":"vzdump","user":"whmcs@pve","tokenid":"puqkvm","starttime":1795279826,"endtime":1795279829,"status":"job errors"},
		{"upid":"` + upid("0004E530", "6B01CBD1", "vzdump", "root@pam") + `","type":"vzdump","user":"root@pam","starttime":1795279825,"endtime":1795279829,"status":"OK"}]`,
		`[]`, `[{"upid":"nonsense"}]`, "595 No route to host"}}.serve(t)
	got, err := c.OwnTasks(t.Context(), "pve1", 110, "vzdump")
	want := []kvm.Task{{UPID: kvm.UPID(early), Type: "vzdump", User: ours, Started: time.Unix(1795279826, 0).UTC()},
		{UPID: kvm.UPID(late), Type: "vzdump", User: ours, Started: time.Unix(1795279827, 0).UTC()},
		{UPID: kvm.UPID(running), Type: "vzdump", User: ours, Started: time.Unix(1795279827, 0).UTC()}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got := s.requests()[0]; got != "GET /nodes/pve1/tasks?limit=50&source=all&typefilter=vzdump&vmid=110" {
		t.Error(got)
	}
	if got, err := c.OwnTasks(t.Context(), "pve1", 110, "vzdump"); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for range 2 {
		if got, err := c.OwnTasks(t.Context(), "pve1", 110, "vzdump"); got != nil || !errors.Is(err, kvm.ErrUnreachable) {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// TestOwnTasksOfAUser: who logs in with a password has tasks without a token.
func TestOwnTasksOfAUser(t *testing.T) {
	on(t, func(t *testing.T, _ string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		id, err := c.Backup(t.Context(), o, "local", "")
		must(t, end(t, c)(id, err))
		root := rooted(t, c)
		theirs, err := root.Backup(t.Context(), o, "local", "")
		must(t, end(t, root)(theirs, err))
		for _, x := range []struct {
			c    *Client
			want kvm.UPID
		}{{c, id}, {root, theirs}} {
			if got, err := x.c.OwnTasks(t.Context(), "pve1", 100, "vzdump"); err != nil || len(got) != 1 || got[0].UPID != x.want {
				t.Errorf("%s: %+v, %v", x.c.user, got, err)
			}
		}
		if got, err := c.OwnTasks(t.Context(), "pve2", 100, "vzdump"); err != nil || len(got) != 0 {
			t.Errorf("on another node: %+v, %v", got, err)
		}
		if got, err := c.OwnTasks(t.Context(), "pve1", 100, "qmrestore"); err != nil || len(got) != 0 {
			t.Errorf("of another type: %+v, %v", got, err)
		}
	})
}

// rooted is a client of the same cluster that logs in as root.
func rooted(t *testing.T, c *Client) *Client {
	t.Helper()
	r, err := New(Options{URLs: c.trip.hosts, User: "root@pam", Secret: kvm.NewSecret("rootpw"), TLS: trust.Trust{Insecure: true}, Clock: c.clock})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSnapshotDisks(t *testing.T) {
	o := owned(t, testConfig)
	const at = "GET /nodes/pve1/qemu/110/snapshot/s_1-a/config"
	for name, c := range map[string]struct {
		answer string
		want   []kvm.Disk
		err    error
		wrong  bool
	}{
		"disks": {`{"snaptime":1795279859,"scsi0":"local:110/vm-110-disk-0.qcow2,size=10G","ide2":"local:iso/a.iso,media=cdrom","ide0":"local:110/vm-110-cloudinit.qcow2,media=cdrom",
			"unused0":"local:110/vm-110-disk-9.qcow2","vmstate":"local:110/vm-110-state-s.raw"}`, []kvm.Disk{{Slot: "scsi0", Volume: "local:110/vm-110-disk-0.qcow2", Storage: "local", Size: 10 << 30}}, nil, false},
		"none":         {`{"snaptime":1795279859}`, nil, nil, false},
		"not there":    {"500 snapshot 's_1-a' does not exist", nil, kvm.ErrNotFound, true},
		"VM gone":      {"500 Configuration file 'nodes/pve1/qemu-server/110.conf' does not exist", nil, kvm.ErrNotHere, true},
		"not for us":   {"403 Permission check failed (/vms/110, VM.Audit)", nil, kvm.ErrDenied, true},
		"not answered": {"595 No route to host", nil, kvm.ErrUnreachable, true},
		"a list":       {`[]`, nil, kvm.ErrUnreachable, true},
		"nonsense":     {`{"scsi0":"size=1G"}`, nil, nil, true},
	} {
		_, client := script{at: {c.answer}}.serve(t)
		got, err := client.SnapshotDisks(t.Context(), o, "s_1-a")
		if d := cmp.Diff(c.want, got); d != "" || c.err != nil && !errors.Is(err, c.err) || (err != nil) != c.wrong {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
