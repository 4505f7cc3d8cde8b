package pve

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const testUUID = "f8def41c-9e33-4656-ba25-f2d1fdc600dd"

func TestArchivedUUID(t *testing.T) {
	const other = "d0299553-e2b0-4212-a67a-5be736a0aa4e"
	for name, c := range map[string]struct{ config, want, wrong string }{
		"plain":                     {"cores: 1\nsmbios1: uuid=" + testUUID + "\n", testUUID, ""},
		"no last line feed":         {"cores: 1\nsmbios1: uuid=" + testUUID, testUUID, ""},
		"CR LF":                     {"cores: 1\r\nsmbios1: uuid=" + testUUID + "\r\n", testUUID, ""},
		"other options":             {"smbios1: base64=1,manufacturer=UHVxPQ==,uuid=" + testUUID + ",serial=eA==\n", testUUID, ""},
		"in a snapshot":             {"cores: 1\n\n[before]\nsmbios1: uuid=" + other + "\n", "", ""},
		"in the main and snapshots": {"cores: 1\nsmbios1: uuid=" + testUUID + "\n\n[PENDING]\nsmbios1: uuid=" + other + "\n[s1]\nsmbios1: uuid=" + other + "\n", testUUID, ""},
		"in the description":        {"#smbios1: uuid=" + other + "\n# smbios1: uuid=" + other + "\ncores: 1\n", "", ""},
		"described, and there":      {"#smbios1: uuid=" + other + "\nsmbios1: uuid=" + testUUID + "\n", testUUID, ""},
		"in another key":            {"description: smbios1: uuid=" + other + "\n smbios1: uuid=" + other + "\nxsmbios1: uuid=" + other + "\n", "", ""},
		"container":                 {"arch: amd64\nhostname: a\n", "", ""},
		"without uuid":              {"smbios1: serial=x\n", "", ""},
		"twice the same":            {"smbios1: uuid=" + testUUID + "\nsmbios1: uuid=" + strings.ToUpper(testUUID) + "\n", strings.ToUpper(testUUID), ""},
		"two":                       {"smbios1: uuid=" + testUUID + "\nsmbios1: uuid=" + other + "\n", "", "two UUIDs"},
		"cut":                       {"smbios1: uuid=" + testUUID[:30], "", "is no UUID"},
		"nonsense":                  {"smbios1: uuid\n", "", "smbios1"},
		"empty":                     {"", "", "no configuration"},
		"only a description":        {"#smbios1: uuid=" + other + "\n", "", "no configuration"},
		"only a snapshot":           {"[a]\nsmbios1: uuid=" + other + "\n", "", "no configuration"},
		"a page":                    {"<html>\n", "", "no configuration"},
	} {
		got, err := archivedUUID(c.config)
		if got != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// FuzzArchivedUUID: whatever a configuration says, what is taken from it stands in its main section as smbios1, and neither
// a section behind it nor a description changes that.
func FuzzArchivedUUID(f *testing.F) {
	for _, s := range []string{"", "cores: 1\nsmbios1: uuid=" + testUUID + "\n", "#smbios1: uuid=x\n[s]\nsmbios1: uuid=" + testUUID, "smbios1: serial=a,uuid=" + testUUID + "\r\n[PENDING]"} {
		f.Add(s)
	}
	const other = "d0299553-e2b0-4212-a67a-5be736a0aa4e"
	f.Fuzz(func(t *testing.T, config string) {
		uuid, err := archivedUUID(config)
		if err != nil && uuid != "" {
			t.Fatalf("%q: %q and %v", config, uuid, err)
		}
		if uuid != "" {
			main, _, _ := strings.Cut("\n"+config, "\n[")
			if !uuidPattern.MatchString(uuid) || !strings.Contains(main, "\nsmbios1:") || !strings.Contains(main, uuid) {
				t.Fatalf("%q: %q", config, uuid)
			}
		}
		if err != nil {
			return
		}
		if again, err := archivedUUID("#smbios1: uuid=" + other + "\n" + strings.TrimSuffix(config, "\n") + "\n[s]\nsmbios1: uuid=" + other + "\n"); err != nil || again != uuid {
			t.Fatalf("%q: %q, with more behind and before %q, %v", config, uuid, again, err)
		}
	})
}

func TestBackups(t *testing.T) {
	const at = "GET /nodes/pve1/storage/pbs/content"
	s, c := script{at: {`[
		{"volid":"pbs:backup/vm/100/2024-01-02T00:00:00Z","vmid":100,"ctime":1704153600,"format":"pbs-vm","size":"34359738800","notes":"line1\nline2","protected":1,"subtype":"qemu","encrypted":"1","verification":{"state":"ok"}},
		{"volid":"pbs:backup/vm/1001/2024-01-01T00:00:00Z","vmid":1001,"ctime":1704067200,"format":"pbs-vm","size":1},
		{"volid":"other:backup/vm/100/2024-01-01T00:00:00Z","vmid":100,"ctime":1704067200,"format":"pbs-vm","size":1},
		{"volid":"pbs:backup/vm/100/2024-01-01T00:00:00Z","vmid":"100","ctime":1704067200,"format":"pbs-vm","size":5}]`, `{}`, "596 Connection timed out"}}.serve(t)
	got, err := c.Backups(t.Context(), "pve1", "pbs", 100)
	day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	want := []kvm.Backup{{Volume: "pbs:backup/vm/100/2024-01-01T00:00:00Z", Storage: "pbs", Node: "pve1", VMID: 100, Time: day, Size: 5, Format: "pbs-vm"},
		{Volume: "pbs:backup/vm/100/2024-01-02T00:00:00Z", Storage: "pbs", Node: "pve1", VMID: 100, Time: day.AddDate(0, 0, 1), Size: 34359738800, Format: "pbs-vm",
			Notes: "line1\nline2", Protected: true}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got := s.requests()[0]; got != "GET /nodes/pve1/storage/pbs/content?content=backup&vmid=100" {
		t.Error(got)
	}
	for range 2 {
		if got, err := c.Backups(t.Context(), "pve1", "pbs", 100); got != nil || !errors.Is(err, kvm.ErrUnreachable) {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestInside(t *testing.T) {
	for name, c := range map[string]struct {
		answer, want string
		err          error
		wrong        bool
	}{
		"good":         {`"cores: 1\nsmbios1: uuid=` + testUUID + `\n"`, testUUID, nil, false},
		"none":         {`"cores: 1\n"`, "", nil, false},
		"nothing":      {`null`, "", nil, true},
		"an object":    {`{"smbios1":"uuid=` + testUUID + `"}`, "", kvm.ErrUnreachable, true},
		"two UUIDs":    {`"smbios1: uuid=` + testUUID + `\nsmbios1: uuid=86c5cc9f-ec8f-48e1-a587-87fd8616737e\n"`, "", nil, true},
		"gone":         {"500 volume 'local:backup/a' does not exist", "", kvm.ErrNotFound, true},
		"encrypted":    {"500 can't decode manifest", "", nil, true},
		"not for us":   {"403 Permission check failed", "", kvm.ErrDenied, true},
		"not answered": {"595 No route to host", "", kvm.ErrUnreachable, true},
	} {
		s, client := script{"GET /nodes/pve1/vzdump/extractconfig": {c.answer}}.serve(t)
		b := &kvm.Backup{Volume: "local:backup/a", Storage: "local", Node: "pve1", UUID: "of an earlier reading"}
		err := client.Inside(t.Context(), b)
		if b.UUID != c.want || (err != nil) != c.wrong || c.err != nil && !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), b.Volume) {
			t.Errorf("%s: %q, %v", name, b.UUID, err)
		}
		if got := s.requests()[0]; got != "GET /nodes/pve1/vzdump/extractconfig?volume=local%3Abackup%2Fa" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestDeleteBackup(t *testing.T) {
	const at = "/nodes/pve1/storage/local/content/local:backup%2Fvzdump-qemu-100-x.vma.zst"
	const upid = "UPID:pve1:00000E0E:0004FF2A:6B01CC15:imgdel:100@local:whmcs@pve!puqkvm:"
	for name, c := range map[string]struct {
		answer string
		id     kvm.UPID
		err    error
		wrong  bool
	}{
		"task":            {`"` + upid + `"`, upid, nil, false},
		"done at once":    {"null", "", nil, false},
		"gone":            {"500 volume 'local:backup/vzdump-qemu-100-x.vma.zst' does not exist", "", nil, false},
		"no such storage": {"500 storage 'local' does not exist", "", kvm.ErrPermanent, true},
		"not mounted":     {"500 storage 'local' is not online", "", kvm.ErrPermanent, true},
		"protected":       {"500 cannot remove protected volume 'backup/vzdump-qemu-100-x.vma.zst' on 'local'", "", kvm.ErrPermanent, true},
		"not for us":      {"403 Permission check failed (/vms/100, VM.Backup)", "", kvm.ErrDenied, true},
		"answer lost":     {"596 Connection timed out", "", kvm.ErrUnknown, true},
	} {
		s, client := script{"DELETE " + at: {c.answer}}.serve(t)
		id, err := client.DeleteBackup(t.Context(), provedBackup(t, "local:backup/vzdump-qemu-100-x.vma.zst"))
		if id != c.id || (err != nil) != c.wrong || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", name, id, err)
		}
		if got := s.requests()[0]; got != "DELETE "+at {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, volume := range []string{"nfs:backup/a", "local", "local:backup/../../qemu/100", "local:.."} {
		s, client := script{}.serve(t)
		if _, err := client.DeleteBackup(t.Context(), provedBackup(t, volume)); !errors.Is(err, kvm.ErrInvalid) || len(s.requests()) > 0 {
			t.Errorf("%s: %v, %q", volume, err, s.requests())
		}
	}
}

func provedBackup(t *testing.T, volume string) kvm.OwnedBackup {
	t.Helper()
	o, err := kvm.ProveBackup(&kvm.Backup{Volume: volume, Storage: "local", Node: "pve1", VMID: 100, UUID: testUUID}, &kvm.Row{UUID: testUUID})
	if err != nil {
		t.Fatal(err)
	}
	return o
}
