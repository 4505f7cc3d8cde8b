package pve

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestStanding(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   kvm.Standing
		err    error
	}{
		"two nodes": {`[{"type":"cluster","name":"lab","nodes":2,"quorate":1},{"type":"node","name":"pve1","online":1,"local":1},{"type":"node","name":"pve2","online":0}]`,
			kvm.Standing{Cluster: "lab", Quorate: true, Offline: []string{"pve2"}}, nil},
		"no quorum": {`[{"type":"node","name":"pve3","online":"0"},{"type":"node","name":"pve1","online":1},{"type":"node","name":"pve2","online":0},{"type":"cluster","name":"lab","quorate":0}]`,
			kvm.Standing{Cluster: "lab", Offline: []string{"pve2", "pve3"}}, nil},
		"says nothing of the quorum or of a node": {`[{"type":"cluster","name":"lab"},{"type":"node","name":"pve1","online":1},{"type":"node","name":"pve2"},{"type":"node","name":"pve3","online":null}]`,
			kvm.Standing{Cluster: "lab"}, nil},
		"a cluster of one":           {`[{"type":"cluster","name":"lab","quorate":1},{"type":"node","name":"pve1","online":1}]`, kvm.Standing{Cluster: "lab", Quorate: true}, nil},
		"a node alone":               {`[{"type":"node","name":"pve1","online":1,"local":1}]`, kvm.Standing{Cluster: "node pve1", Quorate: true}, nil},
		"nothing":                    {`[]`, kvm.Standing{}, kvm.ErrUnreachable},
		"nodes without a cluster":    {`[{"type":"node","name":"pve1","online":1},{"type":"node","name":"pve2","online":1}]`, kvm.Standing{}, kvm.ErrUnreachable},
		"a cluster without a name":   {`[{"type":"cluster","quorate":1},{"type":"node","name":"pve1","online":1}]`, kvm.Standing{}, kvm.ErrUnreachable},
		"a node without a name":      {`[{"type":"node","online":1}]`, kvm.Standing{}, kvm.ErrUnreachable},
		"no list":                    {`{"quorate":1}`, kvm.Standing{}, kvm.ErrUnreachable},
		"the privilege is missing":   {"403 Permission check failed (/, Sys.Audit)", kvm.Standing{}, kvm.ErrDenied},
		"cluster file system is off": {"500 cluster not ready - no quorum?", kvm.Standing{}, kvm.ErrUnreachable},
	} {
		_, client := script{"GET /cluster/status": {c.answer}}.serve(t)
		got, err := client.Standing(t.Context())
		if d := cmp.Diff(c.want, got); d != "" || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

// Standing asks each time; the name is asked for once it is known.
func TestClusterNameIsAskedForOnce(t *testing.T) {
	s, c := script{"GET /cluster/status": {"500 cluster not ready - no quorum?", `[{"type":"cluster","name":"lab","quorate":1}]`, `[{"type":"cluster","name":"other","quorate":0}]`}}.serve(t)
	if name, err := c.ClusterName(t.Context()); name != "" || !errors.Is(err, kvm.ErrUnreachable) {
		t.Errorf("%q, %v", name, err)
	}
	before := len(s.requests())
	for range 3 {
		if name, err := c.ClusterName(t.Context()); name != "lab" || err != nil {
			t.Errorf("%q, %v", name, err)
		}
	}
	for range 2 {
		if got, err := c.Standing(t.Context()); got.Quorate || err != nil {
			t.Errorf("an old standing: %+v, %v", got, err)
		}
	}
	if n := len(s.requests()) - before; n != 3 {
		t.Errorf("%d requests, want 3: %q", n, s.requests())
	}
}
