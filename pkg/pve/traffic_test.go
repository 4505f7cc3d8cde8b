package pve

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

func TestTrafficOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, _ string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx := t.Context()
		traffic := func() kvm.Traffic {
			t.Helper()
			sim.ResetRequests()
			all, err := c.Traffic(ctx)
			must(t, err)
			if n := len(sim.Requests()); n != 1 || len(all) < 2 {
				t.Errorf("%d requests, %d guests", n, len(all))
			}
			return all[100]
		}
		later := func(d time.Duration) {
			t.Helper()
			must(t, c.clock.Sleep(ctx, d))
		}
		later(time.Minute)
		if got := traffic(); got != (kvm.Traffic{VMID: 100, Node: "pve1", Name: "vps-1-2", Power: kvm.Stopped, Known: true}) {
			t.Errorf("off: %+v", got)
		}
		must(t, sim.SetTraffic(100, 1000, 50))
		must(t, sim.SetPower(100, kvm.Running))
		later(time.Hour)
		if got := traffic(); got.Power != kvm.Running || got.Uptime.Round(time.Minute) != time.Hour || time.Duration(got.In)*time.Millisecond-got.Uptime >= time.Second || got.Out != got.In/20 || !got.Known {
			t.Errorf("on: %+v", got)
		}
		must(t, sim.SetPower(100, kvm.Stopped))
		must(t, sim.SetPower(100, kvm.Running))
		later(time.Minute)
		if got := traffic(); got.Uptime > time.Minute || got.In > 60_000 {
			t.Errorf("started anew: %+v", got)
		}
		sim.SetNodeDown("pve1", true)
		defer sim.SetNodeDown("pve1", false)
		p := poor(t, c, sim)
		if all, err := p.Traffic(ctx); err == nil && all[100].Known {
			t.Errorf("on a node that is down: %+v", all[100])
		}
	})
}

// One guest's odd figures cost no other its own, and what was not said is not known.
func TestTrafficThatIsOdd(t *testing.T) {
	const rows = `[{"type":"node","node":"pve1","status":"online","uptime":5},{"type":"storage","storage":"local"},
		{"type":"qemu","vmid":1,"node":"pve1","name":"a","status":"running","uptime":"60","netin":"5","netout":1.5e9,"template":0},
		{"type":"qemu","vmid":2,"node":"pve1","status":"unknown"},
		{"type":"qemu","vmid":3,"node":"pve1","status":"running","uptime":60,"netin":-5,"netout":5},
		{"type":"qemu","vmid":4,"node":"pve1","status":"running","uptime":60,"netin":{},"netout":5},
		{"type":"qemu","vmid":5,"node":"pve1","status":"running","uptime":60,"netin":1e300,"netout":5},
		{"type":"qemu","vmid":6,"node":"pve1","status":"running","uptime":60,"netin":18446744073709551615,"netout":5},
		{"type":"qemu","vmid":7,"node":"pve1","status":"running","netin":4,"netout":5},
		{"type":"qemu","vmid":8,"node":"pve1","status":"unknown","uptime":60,"netin":4,"netout":5},
		{"type":"qemu","vmid":10,"node":"pve1","status":"running","uptime":9e15,"netin":4,"netout":5},
		{"type":"lxc","vmid":9,"node":"pve1","status":"stopped","uptime":0,"netin":0,"netout":0}]`
	_, c := script{"GET /cluster/resources": {rows}}.serve(t)
	all, err := c.Traffic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]kvm.Traffic{
		1: {VMID: 1, Node: "pve1", Name: "a", Power: kvm.Running, Uptime: time.Minute, In: 5, Out: 1_500_000_000, Known: true},
		2: {VMID: 2, Node: "pve1"},
		9: {VMID: 9, Node: "pve1", Power: kvm.Stopped, Known: true, Container: true},
		8: {VMID: 8, Node: "pve1"},
	}
	for _, id := range []int{3, 4, 5, 6, 7, 10} {
		want[id] = kvm.Traffic{VMID: id, Node: "pve1", Power: kvm.Running}
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}

func TestUsageOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx := t.Context()
		must(t, sim.SetTraffic(100, 1000, 50))
		must(t, sim.SetPower(100, kvm.Running))
		must(t, c.clock.Sleep(ctx, 20*time.Minute))
		points, err := c.Usage(ctx, o, "hour")
		must(t, err)
		known := 0
		for i, p := range points {
			if i > 0 && !p.Time.After(points[i-1].Time) {
				t.Fatalf("%v comes after %v", p.Time, points[i-1].Time)
			}
			if p.NetIn == nil {
				continue
			}
			known++
			if *p.NetIn != 1000 || *p.NetOut != 50 || p.CPU == nil || *p.CPU > 1 || *p.Cores < 1 || *p.Mem > *p.MaxMem || p.DiskRead == nil || p.DiskWrite == nil {
				t.Errorf("%+v", p)
			}
		}
		if len(points) < 50 || known < 18 || known > 21 {
			t.Errorf("%d points, %d of them known", len(points), known)
		}
		for _, frame := range kvm.Timeframes() {
			if points, err := c.Usage(ctx, o, frame); err != nil || len(points) < 50 {
				t.Errorf("%s: %d points, %v", frame, len(points), err)
			}
		}
		is(t, "another frame", func() error { _, err := c.Usage(ctx, o, "decade"); return err }(), kvm.ErrInvalid)
		is(t, "no proof", func() error { _, err := c.Usage(ctx, kvm.Owned{}, "hour"); return err }(), kvm.ErrUnproved)
	})
}

// A VM that has just been made has points without values.
func TestRecordedUsage(t *testing.T) {
	for _, version := range []string{"8.4.21", "9.2.11"} {
		r, found := recordings(t, version)["running-19-rrddata"]
		if !found {
			t.Fatalf("%s: no recording", version)
		}
		var rows []map[string]json.RawMessage
		must(t, json.Unmarshal(r.Data, &rows))
		got := points(rows)
		if len(got) != len(rows) || len(got) < 50 || got[0].NetIn != nil || got[1].Time.Sub(got[0].Time) != time.Minute {
			t.Errorf("%s: %d points of %d, %+v", version, len(got), len(rows), got[0])
		}
	}
}

// FuzzUsage: no answer makes the decoders panic, and what they give can be counted and drawn.
func FuzzUsage(f *testing.F) {
	for _, s := range []string{`[{"time":1795275660}]`, `[{"time":"1795275660","cpu":0.01,"netin":null,"mem":"1e9","maxmem":-1}]`, `[{"time":{}},{"time":-1},{"time":9e18}]`, `[{"time":5,"cpu":"NaN","netin":[],"netout":1e999}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var rows []map[string]json.RawMessage
		if json.Unmarshal(raw, &rows) != nil {
			return
		}
		var last time.Time
		for _, p := range points(rows) {
			if p.Time.Before(last) {
				t.Fatalf("%s: %v after %v", raw, p.Time, last)
			}
			last = p.Time
			for _, v := range []*float64{p.CPU, p.Cores, p.Mem, p.MaxMem, p.DiskRead, p.DiskWrite, p.NetIn, p.NetOut} {
				if v != nil && !(*v >= 0) {
					t.Fatalf("%s: %v", raw, *v)
				}
			}
		}
		for _, r := range rows {
			for _, v := range r {
				if n, ok := count(v); ok && (n < 0 || n > mostCounted) {
					t.Fatalf("%s: %d", v, n)
				}
			}
		}
	})
}
