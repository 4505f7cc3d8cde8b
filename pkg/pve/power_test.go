package pve

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Stop overrules a shutdown that waits, where Proxmox knows the parameter, and asks for the version once.
func TestStop(t *testing.T) {
	o := owned(t, testConfig)
	const at = "/nodes/pve1/qemu/110/status/stop"
	for version, form := range map[string]string{"7.4-17": "", "8.1.10": "", "8.2.2": " overrule-shutdown=1", "9.0.3": " overrule-shutdown=1"} {
		s, c := script{"GET /version": {`{"version":"` + version + `"}`}, "POST " + at: {`"` + testUPID + `"`}}.serve(t)
		for range 2 {
			if id, err := c.Stop(t.Context(), o); id != testUPID || err != nil {
				t.Errorf("%s: %q, %v", version, id, err)
			}
		}
		if d := cmp.Diff([]string{"GET /version", "POST " + at + form, "POST " + at + form}, s.requests()); d != "" {
			t.Errorf("%s: %s", version, d)
		}
	}
	s, c := script{"GET /version": {"595 No route to host"}}.serve(t)
	if _, err := c.Stop(t.Context(), o); !errors.Is(err, kvm.ErrUnreachable) || len(s.requests()) > 2 {
		t.Errorf("%v, %q", err, s.requests())
	}
}

func TestPower(t *testing.T) {
	o := owned(t, testConfig)
	for answer, want := range map[string]struct {
		power kvm.Power
		lock  string
	}{
		`{"status":"running","qmpstatus":"paused"}`: {kvm.Running, ""},
		`{"status":"stopped","lock":"backup"}`:      {kvm.Stopped, "backup"},
	} {
		_, client := script{"GET /nodes/pve1/qemu/110/status/current": {answer}}.serve(t)
		power, lock, err := client.Power(t.Context(), o)
		if err != nil || power != want.power || lock != want.lock {
			t.Errorf("%s: %s, %s, %v", answer, power, lock, err)
		}
	}
	_, client := script{"GET /nodes/pve1/qemu/110/status/current": {`{"status":"unknown"}`}}.serve(t)
	if p, _, err := client.Power(t.Context(), o); err == nil {
		t.Errorf("an unknown power state was taken for %q", p)
	}
}
