package pve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var taskPath = "/nodes/pve1/tasks/" + strings.ReplaceAll(testUPID, "!", "%21")

func taskScript(status []string, log ...string) script {
	lines := make([]map[string]any, len(log))
	for i, l := range log {
		lines[i] = map[string]any{"n": i + 1, "t": l}
	}
	b, _ := json.Marshal(lines)
	return script{"GET " + taskPath + "/status": status, "GET " + taskPath + "/log": {string(b)}}
}

func TestWaitSucceeds(t *testing.T) {
	for _, exit := range []string{"OK", "WARNINGS: 3"} {
		s, c := taskScript([]string{`{"status":"running"}`, `{"status":"running"}`, `{"status":"stopped","exitstatus":"` + exit + `"}`}).serve(t)
		if err := c.Wait(t.Context(), testUPID, time.Minute); err != nil {
			t.Errorf("%s: %v", exit, err)
		}
		if n := len(s.requests()); n != 3 {
			t.Errorf("%s: %q", exit, s.requests())
		}
	}
}

// The pauses grow from 100 ms to 2 s, and stop at the limit.
func TestWaitPolling(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_700_000_000, 0))
	var at []time.Duration
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		at = append(at, clk.Now().Sub(time.Unix(1_700_000_000, 0)))
		data(w, `{"status":"running"}`)
	})
	c := s.client(t, func(o *Options) { o.Clock = clk })
	err := c.Wait(t.Context(), testUPID, time.Minute)
	if !errors.Is(err, kvm.ErrStillRunning) || !strings.Contains(err.Error(), "the task qmclone of 9000 on pve1 has not ended within 1m0s") {
		t.Error(err)
	}
	if at[0] != 100*time.Millisecond || at[len(at)-1] != time.Minute || len(at) > 75 {
		t.Errorf("%d polls: %v", len(at), at)
	}
	for i := 1; i < len(at); i++ {
		if pause := at[i] - at[i-1]; pause > 2*time.Second || pause > at[i-1]/2+125*time.Millisecond {
			t.Errorf("poll %d came %v after the one at %v", i, pause, at[i-1])
		}
	}
	at = nil
	if err := c.Wait(t.Context(), testUPID, 0); !errors.Is(err, kvm.ErrStillRunning) || len(at) != 1 {
		t.Errorf("without patience: %v, %d polls", err, len(at))
	}
}

func TestWaitFailures(t *testing.T) {
	for _, c := range []struct {
		exit string
		log  []string
		want error
		text string
	}{
		{"shrinking disks is not supported", []string{"TASK ERROR: shrinking disks is not supported"}, kvm.ErrPermanent,
			"the task qmclone of 9000 on pve1 failed: shrinking disks is not supported"},
		{"unable to create VM 171: config file already exists", nil, kvm.ErrTaken, "already exists"},
		{"unexpected status", []string{"transferred 1 MiB"}, kvm.ErrUnknown, "(log: transferred 1 MiB)"},
		{"received interrupt", nil, kvm.ErrUnknown, ""},
		{"interrupted by signal", nil, kvm.ErrUnknown, ""},
		{"", nil, kvm.ErrUnknown, "unexpected status"},
		{"migration aborted", []string{"starting", "can't migrate 'a:b' as it's a clone of 'base'", "TASK ERROR: migration aborted"}, kvm.ErrPermanent, "as it's a clone of"},
		{"start failed: QEMU exited with code 1", []string{"a", "b", "c", "d", "bridge 'vmbr9' does not exist", "", "TASK ERROR: start failed: QEMU exited with code 1"}, nil,
			"(log: b | c | d | bridge 'vmbr9' does not exist)"},
	} {
		_, client := taskScript([]string{`{"status":"stopped","exitstatus":"` + c.exit + `"}`}, c.log...).serve(t)
		err := client.Wait(t.Context(), testUPID, time.Minute)
		var e *TaskError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.text) || e.kind != c.want {
			t.Errorf("%s: %v (%v)", c.exit, err, e)
		}
	}
}

func TestWaitReadsTheEndOfALongLog(t *testing.T) {
	var starts []string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/status") {
			data(w, `{"status":"stopped","exitstatus":"clone failed: x"}`)
			return
		}
		starts = append(starts, r.FormValue("start"))
		last := `{"n":1,"t":"copying"}`
		if r.FormValue("start") == "980" {
			last = `{"n":1000,"t":"No space left on device"}`
		}
		fmt.Fprintf(w, `{"total":1000,"data":[%s]}`, last)
	})
	err := s.client(t, nil).Wait(t.Context(), testUPID, time.Minute)
	if !errors.Is(err, kvm.ErrPermanent) || !strings.Contains(err.Error(), "No space left") || strings.Join(starts, " ") != "0 980" {
		t.Errorf("%v, %q", err, starts)
	}
}

func TestWaitWithoutALog(t *testing.T) {
	for _, log := range []string{`{"n":1,"t":"unable to open file - No such file or directory"}`, "500 gone", "null"} {
		a := taskScript([]string{`{"status":"stopped","exitstatus":"VM 9 already running"}`})
		a["GET "+taskPath+"/log"] = []string{log}
		_, c := a.serve(t)
		if err := c.Wait(t.Context(), testUPID, time.Minute); !errors.Is(err, kvm.ErrState) || strings.Contains(err.Error(), "log:") {
			t.Errorf("%s: %v", log, err)
		}
	}
}

func TestWaitToleratesWhatPasses(t *testing.T) {
	s, c := taskScript([]string{"595 No route to host", "500 something odd", "596 x", "500 hostname lookup 'pve1' failed - x",
		`{"status":"unknown"}`, `{"status":"stopped","exitstatus":"OK"}`}).serve(t)
	if err := c.Wait(t.Context(), testUPID, time.Minute); err != nil || len(s.requests()) != 7 { // one of them the probe after the 595
		t.Errorf("%v, %q", err, s.requests())
	}
	_, c = taskScript([]string{"595 No route to host"}).serve(t)
	err := c.Wait(t.Context(), testUPID, time.Minute)
	if !errors.Is(err, kvm.ErrStillRunning) || errors.Is(err, kvm.ErrUnreachable) || !strings.Contains(err.Error(), "No route to host") {
		t.Error(err)
	}
	for answer, want := range map[string]error{
		"400 upid=no such task":                           kvm.ErrUnknown,
		"403 Permission check failed (/nodes, Sys.Audit)": kvm.ErrDenied,
		"401 Authentication failed!":                      kvm.ErrAuth,
	} {
		s, c := taskScript([]string{answer}).serve(t)
		if err := c.Wait(t.Context(), testUPID, time.Minute); !errors.Is(err, want) || len(s.requests()) != 1 {
			t.Errorf("%s: %v, %q", answer, err, s.requests())
		}
	}
}

func TestWaitStops(t *testing.T) {
	_, c := taskScript([]string{`{"status":"running"}`}).serve(t)
	if err := c.Wait(t.Context(), "UPID:../../x", time.Minute); !errors.Is(err, kvm.ErrInvalid) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Wait(ctx, testUPID, time.Minute); !errors.Is(err, context.Canceled) || errors.Is(err, kvm.ErrStillRunning) {
		t.Error(err)
	}
}

// Many tasks of one kind are asked about once or twice each, and none is seen late.
func TestWaitLearnsHowLongTasksTake(t *testing.T) {
	for _, took := range []time.Duration{300 * time.Millisecond, 1200 * time.Millisecond, 5 * time.Second} {
		now := clock.NewFake(time.Unix(1_700_000_000, 0))
		polls, began := 0, now.Now()
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			polls++
			if now.Now().Sub(began) < took {
				data(w, `{"status":"running"}`)
				return
			}
			data(w, `{"status":"stopped","exitstatus":"OK"}`)
		})
		c := s.client(t, func(o *Options) { o.Clock = now })
		const tasks = 40
		var late time.Duration
		var most int
		for i := range tasks {
			polls, began = 0, now.Now()
			if err := c.Wait(t.Context(), testUPID, time.Minute); err != nil {
				t.Fatal(err)
			}
			if i >= tasks/2 {
				most, late = max(most, polls), max(late, now.Now().Sub(began)-took)
			}
		}
		t.Logf("%v: at most %d questions, %v late", took, most, late)
		if most > 6 || late > took/4+firstPoll {
			t.Errorf("%v: at most %d questions, %v late", took, most, late)
		}
	}
}
