package stats

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	chartWidth = 72 // characters, the scale included
	chartRows  = 4
	labelWidth = 6
)

// Kinds are the charts that there are.
func Kinds() []string { return []string{"cpu", "ram", "disk", "network"} }

// series is a chart: what it shows, of which points, and in which unit.
type series struct {
	title string
	value func(kvm.Usage) *float64
	top   float64 // of the scale; 0 = what is needed
	unit  unit
}

// Chart draws a kind of chart (of Kinds; all = every one) over the points as text, a line each. Times are zone's.
func Chart(kind string, points []kvm.Usage, zone *time.Location) []string {
	var lines []string
	for _, s := range chosen(kind, points) {
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, s.draw(points, zone)...)
	}
	return lines
}

func chosen(kind string, points []kvm.Usage) []series {
	cores, memory := most(points, func(p kvm.Usage) *float64 { return p.Cores }), most(points, func(p kvm.Usage) *float64 { return p.MaxMem })
	cpu := "CPU"
	switch {
	case cores == 1:
		cpu = "CPU of 1 core"
	case cores > 0:
		cpu = fmt.Sprintf("CPU of %.0f cores", cores)
	}
	all := map[string][]series{
		"cpu": {{cpu, func(p kvm.Usage) *float64 { return p.CPU }, 1, unit{"%", 0.01}}},
		"ram": {{"RAM", func(p kvm.Usage) *float64 { return p.Mem }, memory, binary(memory)}},
		"disk": {{"Disk read", func(p kvm.Usage) *float64 { return p.DiskRead }, 0, unit{}},
			{"Disk write", func(p kvm.Usage) *float64 { return p.DiskWrite }, 0, unit{}}},
		"network": {{"Network in", func(p kvm.Usage) *float64 { return p.NetIn }, 0, unit{}},
			{"Network out", func(p kvm.Usage) *float64 { return p.NetOut }, 0, unit{}}},
	}
	if kind != "all" {
		return all[kind]
	}
	var out []series
	for _, k := range Kinds() {
		out = append(out, all[k]...)
	}
	return out
}

func most(points []kvm.Usage, value func(kvm.Usage) *float64) float64 {
	top := 0.0
	for _, p := range points {
		if v := value(p); v != nil {
			top = max(top, *v)
		}
	}
	return top
}

// unit is what a value is shown in: its name, and how much one of it is.
type unit struct {
	name string
	one  float64
}

func (u unit) text(v float64) string {
	v /= u.one
	switch {
	case v >= 99.95 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case v >= 0.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// rate is the unit of bytes a second for values up to top, and binary that of bytes of memory.
func rate(top float64) unit {
	return fitting(top, unit{"B/s", 1}, unit{"kB/s", 1e3}, unit{"MB/s", 1e6}, unit{"GB/s", 1e9})
}

func binary(top float64) unit {
	return fitting(top, unit{"MiB", 1 << 20}, unit{"GiB", 1 << 30})
}

func fitting(top float64, units ...unit) unit {
	best := units[0]
	for _, u := range units {
		if top >= u.one {
			best = u
		}
	}
	return best
}

// roundUp is the next of 1, 2, 5, 10, 20, … from v on.
func roundUp(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 5, 10} {
		if v <= step*power {
			return step * power
		}
	}
	return 10 * power
}

var eighths = []rune(" ▁▂▃▄▅▆▇█")

// draw is a title with the least, most and last value, the bars with a scale, and the times at both ends.
func (s series) draw(points []kvm.Usage, zone *time.Location) []string {
	columns := columnsOf(points, s.value, chartWidth-labelWidth-2)
	least, last, known := math.Inf(1), 0.0, false
	for _, p := range points {
		if v := s.value(p); v != nil {
			least, last, known = min(least, *v), *v, true
		}
	}
	if !known {
		return []string{s.title + ": no data"}
	}
	highest, top, u := most(points, s.value), s.top, s.unit
	if top == 0 {
		top = roundUp(highest)
		u = rate(top)
	}
	top = max(top, highest)
	head := fmt.Sprintf("%s, %s", s.title, u.name)
	figures := fmt.Sprintf("min %s  max %s  last %s", u.text(least), u.text(highest), u.text(last))
	lines := []string{head + strings.Repeat(" ", max(2, chartWidth-utf8.RuneCountInString(head+figures))) + figures}
	for row := chartRows - 1; row >= 0; row-- {
		label := ""
		switch row {
		case chartRows - 1:
			label = u.text(top)
		case 0:
			label = "0"
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%*s │", labelWidth, label)
		for _, v := range columns {
			b.WriteRune(eighths[block(v, top, row)])
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	from, to := points[0].Time.In(zone).Format("2006-01-02 15:04"), points[len(points)-1].Time.In(zone).Format("2006-01-02 15:04")
	return append(lines, strings.Repeat(" ", labelWidth+2)+from+strings.Repeat(" ", chartWidth-labelWidth-2-len(from)-len(to))+to)
}

// block is how many eighths of a row's cell are filled. What is known and little has one, so that it is told from what is
// not known.
func block(v *float64, top float64, row int) int {
	if v == nil {
		return 0
	}
	filled := int(math.Round(*v / top * chartRows * 8))
	if row == 0 {
		filled = max(filled, 1)
	}
	return max(0, min(8, filled-row*8))
}

// columnsOf are the means of the points that each of n equal parts of the time is covered by; nil = by none that has a
// value. A point covers the time since the one before.
func columnsOf(points []kvm.Usage, value func(kvm.Usage) *float64, n int) []*float64 {
	out := make([]*float64, n)
	if len(points) == 0 {
		return out
	}
	begin, end := points[0].Time, points[len(points)-1].Time
	whole := end.Sub(begin).Seconds()
	sums, weights := make([]float64, n), make([]float64, n)
	add := func(from, to float64, v float64) { // in columns
		for i := max(0, int(from)); i < n && float64(i) < to; i++ {
			if w := min(to, float64(i+1)) - max(from, float64(i)); w > 0 {
				sums[i], weights[i] = sums[i]+w*v, weights[i]+w
			}
		}
	}
	for i, p := range points {
		v := value(p)
		switch {
		case v == nil:
		case whole == 0:
			add(0, float64(n), *v)
		case i > 0:
			add(points[i-1].Time.Sub(begin).Seconds()/whole*float64(n), p.Time.Sub(begin).Seconds()/whole*float64(n), *v)
		}
	}
	for i := range out {
		if weights[i] > 0 {
			mean := sums[i] / weights[i]
			out[i] = &mean
		}
	}
	return out
}
