package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/stats"
	"github.com/spf13/cobra"
)

const allCharts = "all"

func newStatsCmd(a *app) *cobra.Command {
	var chart, frame string
	c := &cobra.Command{
		Use: "stats SID [--chart [cpu|ram|disk|network|all]]", Short: "Show a VM's traffic of this month and the last, and its charts",
		Long: `Show what the VM of a service has received (in) and sent (out) since the month began, and in the month before, as far as 35
days reach, in GB of 1,000,000,000 bytes. Cron counts it once an hour (setting cron.interval.collectingStatistics). Months are
those of WHMCS's time zone (setting timezone); in a zone whose midnight is within an hour of UTC's, that hour belongs to the
month in which it begins.

With --chart it draws what Proxmox has recorded of CPU, RAM, disk and network over --timeframe, as means. Where nothing is
drawn nothing is known: the VM was off.

Exit codes: 0 done; 20 no such service, no VM, or a client may not see the charts; with --chart also 30 the VM is not proved to be
the service's, and 40 Proxmox could not be reached; 40 the database could not be reached.`,
		Example: "  puqkvm stats 5546\n  puqkvm stats 5546 --chart\n  puqkvm stats 5546 --chart network --timeframe week",
		Args: func(c *cobra.Command, args []string) error {
			if charted := c.Flags().Changed("chart"); len(args) != 1 && !(charted && len(args) == 2) {
				return usage(c, "wants SID")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 2 { // --chart cpu: a flag whose value may be left out leaves it among the arguments
				if chart != allCharts {
					return usage(c, "wants SID")
				}
				i := slices.IndexFunc(args, isChart)
				if i < 0 {
					return usage(c, "has no chart %q: %s or %s", args[1], strings.Join(stats.Kinds(), ", "), allCharts)
				}
				chart = args[i]
				args = slices.Delete(slices.Clone(args), i, i+1)
			}
			id, err := parseID("service", args[0])
			switch {
			case err != nil:
				return err
			case chart == "" && (c.Flags().Changed("timeframe") || c.Flags().Changed("chart")):
				return usage(c, "wants --chart with --timeframe, and one of %s or %s", strings.Join(stats.Kinds(), ", "), allCharts)
			case chart != "" && !isChart(chart):
				return usage(c, "has no chart %q: %s or %s", chart, strings.Join(stats.Kinds(), ", "), allCharts)
			case !slices.Contains(kvm.Timeframes(), frame):
				return usage(c, "has no time frame %q: %s", frame, strings.Join(kvm.Timeframes(), ", "))
			}
			return runStats(c.Context(), a, id, chart, frame)
		},
	}
	c.Flags().StringVar(&chart, "chart", "", "draw cpu, ram, disk, network or all")
	c.Flags().Lookup("chart").NoOptDefVal = allCharts
	c.Flags().StringVar(&frame, "timeframe", "day", "of the charts: "+strings.Join(kvm.Timeframes(), ", "))
	return a.forClients(c)
}

func isChart(name string) bool { return name == allCharts || slices.Contains(stats.Kinds(), name) }

// shownStats is the answer of `stats` as JSON.
type shownStats struct {
	Service   int64        `json:"service"`
	Zone      string       `json:"zone"`
	Month     shownMonth   `json:"month"`
	LastMonth shownMonth   `json:"last_month"`
	Sampled   *time.Time   `json:"sampled,omitempty"` // when the traffic was last counted
	Timeframe string       `json:"timeframe,omitempty"`
	Points    []shownPoint `json:"points,omitempty"`
}

type shownMonth struct {
	From     time.Time `json:"from"`
	Since    time.Time `json:"since"` // later than From: what was before is no more kept
	Until    time.Time `json:"until"`
	InBytes  int64     `json:"in_bytes"`
	OutBytes int64     `json:"out_bytes"`
	In       float64   `json:"in_gb"`
	Out      float64   `json:"out_gb"`
}

// shownPoint is a point of the charts. What is not known is left out.
type shownPoint struct {
	Time      time.Time `json:"time"`
	CPU       *float64  `json:"cpu,omitempty"` // share of all cores, 0 to 1
	Cores     *float64  `json:"cores,omitempty"`
	RAM       *float64  `json:"ram_bytes,omitempty"`
	MaxRAM    *float64  `json:"max_ram_bytes,omitempty"`
	DiskRead  *float64  `json:"disk_read_bytes_per_s,omitempty"`
	DiskWrite *float64  `json:"disk_write_bytes_per_s,omitempty"`
	NetIn     *float64  `json:"net_in_bytes_per_s,omitempty"`
	NetOut    *float64  `json:"net_out_bytes_per_s,omitempty"`
}

const gb = 1e9

func monthOf(m stats.Month) shownMonth {
	return shownMonth{From: m.From, Since: m.Since, Until: m.Until, InBytes: m.In, OutBytes: m.Out, In: float64(m.In) / gb, Out: float64(m.Out) / gb}
}

func runStats(ctx context.Context, a *app, id int64, chart, frame string) error {
	points, err := a.usage(ctx, id, chart, frame)
	if err != nil {
		return err
	}
	hours, sampled, err := a.store.Traffic(ctx, id)
	if err != nil {
		return err
	}
	this, last := stats.Months(a.Clock.Now(), a.settings.Zone, hours)
	out := shownStats{Service: id, Zone: a.settings.Zone.String(), Month: monthOf(this), LastMonth: monthOf(last)}
	if !sampled.IsZero() {
		out.Sampled = &sampled
	}
	if chart != "" {
		out.Timeframe = frame
		for _, p := range points {
			out.Points = append(out.Points, shownPoint{p.Time, p.CPU, p.Cores, p.Mem, p.MaxMem, p.DiskRead, p.DiskWrite, p.NetIn, p.NetOut})
		}
	}
	a.show(out, func() {
		t := rows{head: []string{"MONTH", "IN GB", "OUT GB", ""}}
		for _, m := range []stats.Month{this, last} {
			only := ""
			if m.Since.After(m.From) {
				only = "since " + a.when(m.Since)
			}
			t.body = append(t.body, []string{m.From.Format("2006-01"), fmt.Sprintf("%.3f", float64(m.In)/gb), fmt.Sprintf("%.3f", float64(m.Out)/gb), only})
		}
		t.print(a.Stdout)
		fmt.Fprintf(a.Stdout, "last counted: %s\n", a.when(sampled))
		if chart == "" {
			return
		}
		fmt.Fprintln(a.Stdout)
		for _, line := range stats.Chart(chart, points, a.settings.Zone) {
			fmt.Fprintln(a.Stdout, line)
		}
	})
	return nil
}

// usage opens the database and reads the points of the charts, where one is wanted: they are the VM's own, and shown to those
// alone who may see them.
func (a *app) usage(ctx context.Context, id int64, chart, frame string) ([]kvm.Usage, error) {
	if chart != "" {
		l, s, err := a.opened(ctx, id, "charts")
		if err != nil {
			return nil, err
		}
		return l.Usage(ctx, s, frame)
	}
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	_, err := a.store.Service(ctx, id)
	return nil, err
}
