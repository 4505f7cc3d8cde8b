package pve

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// mostCounted is the largest counter that is believed, in bytes: an exbibyte.
const mostCounted = 1 << 60

// Traffic is what all guests of the cluster that the token may see have carried since they were started, by VMID, in one
// call. It needs VM.Audit; a guest that the token may not see is missing without an error. The figures lag some ten seconds.
func (c *Client) Traffic(ctx context.Context) (map[int]kvm.Traffic, error) {
	var rows []struct {
		Type   text    `json:"type"`
		Node   text    `json:"node"`
		Status text    `json:"status"`
		VMID   integer `json:"vmid"`
		Name   text    `json:"name"`
		// One guest's odd figure must not cost the others theirs, so that these are read one by one.
		Uptime json.RawMessage `json:"uptime"`
		In     json.RawMessage `json:"netin"`
		Out    json.RawMessage `json:"netout"`
	}
	if err := c.get(ctx, resourcesPath, params{"type": "vm"}, &rows); err != nil {
		return nil, err
	}
	out := make(map[int]kvm.Traffic, len(rows))
	for _, r := range rows {
		if r.Type != "qemu" && r.Type != "lxc" || r.VMID == 0 {
			continue
		}
		t := kvm.Traffic{VMID: int(r.VMID), Node: string(r.Node), Name: string(r.Name), Container: r.Type == "lxc"}
		switch r.Status {
		case "running":
			t.Power = kvm.Running
		case "stopped":
			t.Power = kvm.Stopped
		}
		uptime, timed := count(r.Uptime)
		in, counted := count(r.In)
		sent, also := count(r.Out)
		if t.Known = t.Power != "" && timed && counted && also && uptime < mostSeconds; t.Known {
			t.Uptime, t.In, t.Out = time.Duration(uptime)*time.Second, in, sent
		}
		out[t.VMID] = t
	}
	return out, nil
}

// mostSeconds is an uptime that is no more believed: a century.
const mostSeconds = 100 * 366 * 24 * 3600

// count reads a counter; false = there is none, or it is nonsense.
func count(raw json.RawMessage) (int64, bool) {
	s, err := scalar(raw)
	if err != nil || s == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil { // 1.5e9
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f >= 0 && f <= mostCounted) {
			return 0, false
		}
		n = int64(f)
	}
	return n, n >= 0 && n <= mostCounted
}

// Usage are the points of the VM's charts over a time frame (hour, day, week, month, year), the oldest first. How far they
// are apart differs by version and frame. It needs VM.Audit.
func (c *Client) Usage(ctx context.Context, o kvm.Owned, frame string) ([]kvm.Usage, error) {
	vm, err := target(o)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(kvm.Timeframes(), frame) {
		return nil, kvm.Errorf(kvm.ErrInvalid, "VM %d on %s: %.20q is no time frame of Proxmox's", vm.VMID, vm.Node, frame)
	}
	var rows []map[string]json.RawMessage
	if err := c.get(ctx, guest(vm, "rrddata"), params{"timeframe": frame, "cf": "AVERAGE"}, &rows); err != nil {
		return nil, onVM(vm, "reading the charts", err)
	}
	return points(rows), nil
}

func points(rows []map[string]json.RawMessage) []kvm.Usage {
	out := make([]kvm.Usage, 0, len(rows))
	for _, r := range rows {
		at, ok := count(r["time"])
		if !ok || at == 0 || at > 1<<40 {
			continue
		}
		value := func(key string) *float64 {
			var v real
			if s, err := scalar(r[key]); err != nil || s == "" || v.UnmarshalJSON(r[key]) != nil || v < 0 {
				return nil
			}
			f := float64(v)
			return &f
		}
		out = append(out, kvm.Usage{Time: time.Unix(at, 0).UTC(), CPU: value("cpu"), Cores: value("maxcpu"), Mem: value("mem"), MaxMem: value("maxmem"),
			DiskRead: value("diskread"), DiskWrite: value("diskwrite"), NetIn: value("netin"), NetOut: value("netout")})
	}
	slices.SortStableFunc(out, func(a, b kvm.Usage) int { return a.Time.Compare(b.Time) })
	return out
}
