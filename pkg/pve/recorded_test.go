package pve

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// recorded is a line of the recordings that the simulator is held to.
type recorded struct {
	Case, Call, Answer, Exit string
	Data                     json.RawMessage
}

func recordings(t *testing.T, version string) map[string]recorded {
	t.Helper()
	f, err := os.Open("pvesim/testdata/recordings/" + version + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]recorded{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		out[r.Case] = r
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// What the genuine API answered is read right.
func TestRecordedAnswers(t *testing.T) {
	for version, uuid := range map[string]string{"8.4.21": testUUID, "9.2.11": "d0299553-e2b0-4212-a67a-5be736a0aa4e"} {
		all := recordings(t, version)
		serve := func(name string) *Client {
			r, found := all[name]
			if !found {
				t.Fatalf("%s: there is no case %s", version, name)
			}
			method, at, _ := strings.Cut(r.Call, " ")
			at, _, _ = strings.Cut(at, "?")
			answer := string(r.Data)
			if !strings.HasPrefix(r.Answer, "200 ") {
				answer = r.Answer
			}
			_, c := script{method + " " + at: {answer}}.serve(t)
			return c
		}
		of := func(vmid int) kvm.Owned {
			o, err := kvm.Prove(&kvm.VM{VMID: vmid, Node: "pve1", UUID: testUUID}, &kvm.Row{VMID: vmid, UUID: testUUID})
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		ctx := t.Context()
		if s, err := serve("cluster-10-status").Standing(ctx); err != nil || s.Cluster != "node pve1" || !s.Quorate || len(s.Offline) > 0 {
			t.Errorf("%s: %+v, %v", version, s, err)
		}
		list, err := serve("snap-33-list-after-deletes").Snapshots(ctx, of(131))
		if err != nil || len(list) != 2 || list[0].Name != "live1" || !list[0].RAM || list[1].Name != "live2" || list[1].Parent != "live1" || list[1].RAM {
			t.Errorf("%s: %+v, %v", version, list, err)
		}
		if _, err := serve("snap-35-list-nonexistent-vm").Snapshots(ctx, of(4711)); !errors.Is(err, kvm.ErrNotHere) {
			t.Errorf("%s: %v", version, err)
		}
		tasks, err := serve("tasks-07-list-source-active").Running(ctx, "pve1", 130)
		if err != nil || len(tasks) != 1 || tasks[0].Type != "qmshutdown" || tasks[0].User != "root@pam!test" || tasks[0].UPID.Node() != "pve1" {
			t.Errorf("%s: %+v, %v", version, tasks, err)
		}
		_, log, _ := strings.Cut(all["tasks-04-log-finished"].Call, "UPID")
		log, _, _ = strings.Cut(strings.NewReplacer("%3A", ":", "%40", "@", "%21", "!").Replace(log), "/")
		client := logServer(t, kvm.UPID("UPID"+log), all["tasks-04-log-finished"].Data)
		if lines, err := client.TaskLog(ctx, kvm.UPID("UPID"+log), 9); err != nil || !slices.Equal(lines, []string{"generating cloud-init ISO", "TASK OK"}) {
			t.Errorf("%s: %q, %v", version, lines, err)
		}
		b := &kvm.Backup{Volume: "local:backup/x", Storage: "local", Node: "pve1"}
		if err := serve("vzdump-18-extract-config").Inside(ctx, b); err != nil || b.UUID != uuid {
			t.Errorf("%s: %+v, %v", version, b, err)
		}
		if stores, err := serve("storage-01-node-list").BackupStorages(ctx, "pve1"); err != nil || len(stores) != 2 || !stores[0].Active || stores[0].Avail == 0 {
			t.Errorf("%s: %+v, %v", version, stores, err)
		}
		if err := func() error { _, err := serve("delete-01-protected").Delete(ctx, of(110)); return err }(); !errors.Is(err, kvm.ErrPermanent) {
			t.Errorf("%s: %v", version, err)
		}
		for name, want := range map[string]error{
			"power-23-shutdown-timeout":             kvm.ErrState,
			"power-26-stop-while-shutdown-running":  kvm.ErrBusy,
			"delete-09-locked":                      kvm.ErrBusy,
			"clone-26-delete-target-while-cloning":  kvm.ErrBusy,
			"snap-31-delete-unknown":                kvm.ErrNotFound,
			"vzdump-11-snapshot-while-backup":       kvm.ErrBusy,
			"template-09-delete-with-linked-clones": kvm.ErrPermanent,
		} {
			r, found := all[name]
			if got := classify(refusal{write: true, text: r.Exit}); !found || got != want {
				t.Errorf("%s: %s ended with %q: %v, want %v", version, name, r.Exit, got, want)
			}
		}
		for name, want := range map[string]error{"agent-01-not-configured": kvm.ErrState, "agent-02-not-running-vm": kvm.ErrState,
			"agent-04-configured-but-silent": kvm.ErrState, "delete-08-running": kvm.ErrState, "delete-02-nonexistent": kvm.ErrNotHere} {
			r, found := all[name]
			_, reason, _ := strings.Cut(r.Answer, " ")
			if got := classify(refusal{write: true, status: 500, text: reason}); !found || got != want {
				t.Errorf("%s: %s: %q: %v, want %v", version, name, r.Answer, got, want)
			}
		}
	}
}

func logServer(t *testing.T, id kvm.UPID, data json.RawMessage) *Client {
	t.Helper()
	_, c := script{"GET " + path("nodes", id.Node(), "tasks", id, "log"): {string(data)}}.serve(t)
	return c
}
