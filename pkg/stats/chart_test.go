package stats

import (
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var update = flag.Bool("update", false, "write the golden charts")

// day is a day of points, step apart: a VM that was made at three, off from ten to twelve, and that carries more the later it
// is.
func day(step time.Duration) []kvm.Usage {
	var out []kvm.Usage
	for at := noon.Truncate(24 * time.Hour); !at.After(noon.Add(12 * time.Hour)); at = at.Add(step) {
		p := kvm.Usage{Time: at}
		if h := at.Hour(); h >= 3 || at.Day() > 10 {
			p.Cores, p.MaxMem = new(2.0), new(4.0*(1<<30))
			if h < 10 || h >= 12 {
				hours := at.Sub(noon.Add(-9 * time.Hour)).Hours()
				p.CPU, p.Mem = new(0.05+hours/25), new(1.5*(1<<30))
				p.DiskRead, p.DiskWrite = new(0.0), new(300.0)
				p.NetIn, p.NetOut = new(1e6*hours), new(1e4*math.Abs(math.Sin(hours)))
			}
		}
		out = append(out, p)
	}
	return out
}

// The charts of old versions (a point in half an hour) and new ones (one a minute) are the same day.
func TestChart(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Warsaw")
	if err != nil {
		t.Fatal(err)
	}
	for name, points := range map[string][]kvm.Usage{
		"old": day(30 * time.Minute), "new": day(time.Minute), "none": nil, "one": day(time.Minute)[300:301],
		"off": day(time.Hour)[:3],
	} {
		got := strings.Join(Chart("all", points, zone), "\n") + "\n"
		for line := range strings.SplitSeq(got, "\n") {
			if utf8.RuneCountInString(line) > chartWidth {
				t.Errorf("%s: a line of %d characters: %s", name, utf8.RuneCountInString(line), line)
			}
		}
		file := "testdata/" + name + ".txt"
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	if got := Chart("cpu", day(time.Minute), zone); len(got) != chartRows+2 || !strings.HasPrefix(got[0], "CPU of 2 cores, %") {
		t.Errorf("%q", got)
	}
}

func TestRoundUp(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.01: 2, 4: 5, 5.1: 10, 99: 100, 100: 100, 101: 200} {
		if got := roundUp(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
}

// FuzzChart: whatever Proxmox says, a chart is drawn within its width.
func FuzzChart(f *testing.F) {
	f.Add(int64(60), 1.0, 2.0, 1e300, uint8(3))
	f.Add(int64(0), 0.0, 0.0, 0.0, uint8(0))
	f.Add(int64(-5), 1e-300, 1e18, 5.0, uint8(200))
	f.Fuzz(func(t *testing.T, step int64, a, b, c float64, n uint8) {
		var points []kvm.Usage
		for i := range int64(n) {
			p := kvm.Usage{Time: noon.Add(time.Duration(i*step%1e9) * time.Second)}
			for _, v := range []**float64{&p.CPU, &p.Cores, &p.Mem, &p.MaxMem, &p.DiskRead, &p.DiskWrite, &p.NetIn, &p.NetOut} {
				if x := []float64{a, b, c}[i%3]; x >= 0 && x <= math.MaxFloat64 {
					*v = &x
				}
			}
			if i > 0 && p.Time.Before(points[i-1].Time) {
				return // they come in order
			}
			points = append(points, p)
		}
		for _, line := range Chart("all", points, time.UTC) {
			if strings.Contains(line, "│") && utf8.RuneCountInString(line) > chartWidth+400 {
				t.Fatalf("%q", line)
			}
		}
	})
}
