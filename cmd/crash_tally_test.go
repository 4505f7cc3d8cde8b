package cmd

import (
	"fmt"
	"strings"
	"sync"
)

// crashTally counts what was run.
type crashTally struct {
	mu         sync.Mutex
	runs       map[[3]string]int // by side, writing or reading, kind
	violations map[[3]string]int
	ticks      int // the most that a service needed
	second     int // runs with two troubles
}

func (y *crashTally) note(c crash, r crashResult) {
	y.mu.Lock()
	defer y.mu.Unlock()
	row := [3]string{c.at.side, rw(c.at), string(c.kind)}
	y.runs[row]++
	if len(r.wrong) > 0 {
		y.violations[row]++
	}
	if c.then != "" {
		y.second++
	}
	y.ticks = max(y.ticks, r.ticks)
}

func rw(p point) string {
	if p.writes {
		return "writing"
	}
	return "reading"
}

// table shows the tally.
func (y *crashTally) table(points []point) string {
	var b strings.Builder
	kinds := []crashKind{failsBefore, failsAfter, cancels, killedBefore, killedAfter}
	fmt.Fprintf(&b, "%-12s %6s", "calls", "points")
	for _, k := range kinds {
		fmt.Fprintf(&b, " %15s", k)
	}
	fmt.Fprintf(&b, " %10s\n", "violations")
	runs, violations := 0, 0
	for _, side := range []string{toSQL, toPVE, toDNS, toAPI} {
		for _, way := range []string{"writing", "reading"} {
			n := 0
			for _, p := range points {
				if p.side == side && rw(p) == way {
					n++
				}
			}
			if n == 0 {
				continue
			}
			fmt.Fprintf(&b, "%-12s %6d", side+" "+way, n)
			bad := 0
			for _, k := range kinds {
				row := [3]string{side, way, string(k)}
				fmt.Fprintf(&b, " %15d", y.runs[row])
				runs, bad = runs+y.runs[row], bad+y.violations[row]
			}
			violations += bad
			fmt.Fprintf(&b, " %10d\n", bad)
		}
	}
	fmt.Fprintf(&b, "%d points, %d runs (%d with a second trouble), %d violations, at most %d ticks to settle", len(points), runs, y.second, violations, y.ticks)
	return b.String()
}
