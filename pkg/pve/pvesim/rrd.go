package pvesim

import "time"

// resolution is how far the points of a chart are apart, and how many there are.
type resolution struct {
	step  time.Duration
	count int
}

const day = 24 * time.Hour

// oldCharts are those up to 8, charts those of 9.
var (
	oldCharts = map[string]resolution{"hour": {time.Minute, 70}, "day": {30 * time.Minute, 70}, "week": {3 * time.Hour, 70},
		"month": {12 * time.Hour, 70}, "year": {7 * day, 70}}
	charts = map[string]resolution{"hour": {time.Minute, 60}, "day": {time.Minute, 1440}, "week": {30 * time.Minute, 336},
		"month": {30 * time.Minute, 1440}, "year": {6 * time.Hour, 1440}}
)

// rrdData are the points of a chart, the oldest first. Those from before the VM was made have a time only; those from
// while it was off lack what only a running VM has. Power cycles before the last start are not remembered.
func (r *request) rrdData() (any, error) {
	c := r.c
	m := c.vms[r.vmid()]
	chart := oldCharts[r.str("timeframe")]
	last := c.now.Truncate(chart.step)
	if c.major >= 9 {
		chart = charts[r.str("timeframe")]
		last = c.now.Truncate(chart.step).Add(-chart.step) // the point of now is not whole yet
		chart.count--
	}
	rows := []object{}
	for i := chart.count - 1; i >= 0; i-- {
		at := last.Add(-time.Duration(i) * chart.step)
		row := object{"time": at.Unix()}
		rows = append(rows, row)
		if m == nil || m.born.IsZero() || at.Before(m.born) {
			continue
		}
		s := c.observe(m)
		row["maxcpu"], row["maxmem"], row["maxdisk"], row["disk"] = s.maxCPU, s.maxMem, s.maxDisk, 0
		if !m.running || at.Before(m.since) {
			continue
		}
		row["cpu"], row["mem"] = 0.01, s.mem
		row["netin"], row["netout"] = m.traffic.in, m.traffic.out
		row["diskread"], row["diskwrite"] = 0, 0
		if c.major >= 9 {
			row["memhost"] = s.mem
			for _, k := range []string{"pressurecpufull", "pressurecpusome", "pressureiofull", "pressureiosome", "pressurememoryfull", "pressurememorysome"} {
				row[k] = 0
			}
		}
	}
	return rows, nil
}

// traffic is what a running VM's network cards carry, in bytes a second, since a moment, and what they had carried until then.
type traffic struct {
	in, out       float64
	since         time.Time
	hadIn, hadOut float64
}

// SetTraffic makes a VM receive and send that many bytes a second from now on, while it runs.
func (c *Cluster) SetTraffic(vmid int, in, out float64) error {
	return c.change(vmid, func(m *vm) {
		hadIn, hadOut := m.carried(c.now)
		m.traffic = traffic{in: in, out: out, since: c.now, hadIn: float64(hadIn), hadOut: float64(hadOut)}
	})
}

// carried is what has been received and sent since the VM was started.
func (m *vm) carried(now time.Time) (in, out int64) {
	if !m.running {
		return 0, 0
	}
	t := m.traffic
	if t.since.Before(m.since) {
		t.since, t.hadIn, t.hadOut = m.since, 0, 0
	}
	seconds := now.Sub(t.since).Seconds()
	return int64(t.hadIn + t.in*seconds), int64(t.hadOut + t.out*seconds)
}
