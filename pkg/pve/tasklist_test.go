package pve

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestRunning(t *testing.T) {
	const early = "UPID:pve1:00000BA6:0004E530:6B01CBD2:qmshutdown:110:root@pam!test:"
	s, c := script{"GET /nodes/pve1/tasks": {`[
		{"upid":"` + testUPID + `","type":"qmclone","user":"whmcs@pve!puqkvm","starttime":1795279900,"status":"RUNNING"},
		{"upid":"UPID:pve1:00000BA7:0004E530:6B01CBD2:qmstop:110:root@pam:","type":"qmstop","user":"root@pam","starttime":1795279800,"status":"OK","endtime":1795279801},
		{"upid":"UPID:pve1:00000BA8:0004E530:6B01CBD2:qmstop:110:root@pam:","type":"qmstop","user":"root@pam","starttime":1795279800,"status":"received interrupt"},
		{"upid":"UPID:pve1:00000BA9:0004E530:6B01CBD2:qmstop:110:root@pam:","type":"qmstop","user":"root@pam","starttime":1795279800,"endtime":1795279801},
		{"upid":"` + early + `","type":"qmshutdown","user":"root@pam!test","starttime":"1795279826"}]`, `[]`, `[{"upid":"nonsense"}]`, "595 No route to host"}}.serve(t)
	got, err := c.Running(t.Context(), "pve1", 110)
	want := []kvm.Task{{UPID: early, Type: "qmshutdown", User: "root@pam!test", Started: time.Unix(1795279826, 0).UTC()},
		{UPID: testUPID, Type: "qmclone", User: "whmcs@pve!puqkvm", Started: time.Unix(1795279900, 0).UTC()}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got := s.requests()[0]; got != "GET /nodes/pve1/tasks?source=active&vmid=110" {
		t.Error(got)
	}
	if got, err := c.Running(t.Context(), "pve1", 110); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for range 2 {
		if got, err := c.Running(t.Context(), "pve1", 110); got != nil || !errors.Is(err, kvm.ErrUnreachable) || !strings.Contains(err.Error(), "VM 110 on pve1") {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestTaskLog(t *testing.T) {
	key := "GET " + path("nodes", "pve1", "tasks", testUPID, "log")
	s, c := script{key: {`[{"n":1,"t":"one"},{"n":2,"t":"two  words\n"}]`}}.serve(t)
	if got, err := c.TaskLog(t.Context(), testUPID, 5); err != nil || cmp.Diff([]string{"one", "two words"}, got) != "" {
		t.Errorf("%q, %v", got, err)
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d requests for a short log", n)
	}
	for name, c := range map[string]struct {
		answer string
		want   error
	}{
		"no file":    {`{"n":1,"t":"unable to open file - No such file or directory"}`, kvm.ErrNotFound},
		"no answer":  {"595 No route to host", kvm.ErrUnreachable},
		"no UPID":    {`[]`, kvm.ErrInvalid},
		"not for us": {"403 Permission check failed (/nodes/pve1, Sys.Audit)", kvm.ErrDenied},
	} {
		_, client := script{key: {c.answer}}.serve(t)
		id := kvm.UPID(testUPID)
		if name == "no UPID" {
			id = "UPID:pve1"
		}
		if got, err := client.TaskLog(t.Context(), id, 5); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
