package cmd

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
)

// pendings are the numbers of orders whose growth is looked at.
var pendings = []int{1000, 10_000}

// pendingLimit ends a tick that takes longer; what it did until then is measured.
const pendingLimit = 8 * time.Minute

// BenchmarkPending is one tick among many orders, with a Proxmox that takes no time: what the program itself needs, for a
// VM, and how that grows with the orders that are pending. A tick that has not brought up all of them at pendingLimit is
// stopped, and its figures are those of the VMs that it has.
func BenchmarkPending(b *testing.B) {
	p := newProgram(b)
	table := rows{head: []string{"PENDING", "READY", "WALL s", "CPU s", "CPU ms/VM", "SIMULATOR'S CPU s", "OTHERS %", "STATEMENTS/ROW", "REQUESTS/VM", "MB", "KB/ORDER"},
		body: [][]string{{"aim", "", "", "", "", "", "", fmt.Sprintf("<= %d", aimStatements), fmt.Sprintf("<= %d", aimRequests), fmt.Sprintf("<= %d", aimRSS)}}}
	perVM, memory := map[int]float64{}, map[int]float64{}
	var stopped []string
	for _, n := range pendings {
		b.Run(fmt.Sprintf("orders=%d", n), func(b *testing.B) {
			for b.Loop() {
				f := newFarm(b, scene{model: pvesim.Instant(), clock: clock.Wall{}}, n, false)
				d := f.drain(1, func() processes { return p.cron(b, f, pendingLimit) })
				switch {
				case d.left == 0:
					f.settleFarm()
				case d.wall < pendingLimit:
					b.Errorf("%d of %d orders are not ready after %v", d.left, n, d.wall)
				default:
					stopped = append(stopped, fmt.Sprintf("the tick among %d orders was stopped after %v: its figures are of the %d VMs that were ready then", n, pendingLimit, n-d.left))
				}
				ready := float64(n - d.left)
				perVM[n], memory[n] = 1000*d.cpu.Seconds()/ready, float64(d.rss)
				table.body = append(table.body, []string{strconv.Itoa(n), strconv.Itoa(n - d.left), seconds(d.wall), seconds(d.cpu), fmt.Sprintf("%.1f", perVM[n]), seconds(d.simulator), percent(d.others),
					fmt.Sprintf("%.2f", float64(d.statements)/ready/deployRows), fmt.Sprintf("%.1f", float64(d.requests+d.polls)/ready), fmt.Sprintf("%.1f", float64(d.rss)/1000), fmt.Sprintf("%.1f", float64(d.rss)/float64(n))})
				report(b, map[string]float64{"ready": ready, "s": d.wall.Seconds(), "cpu-ms/VM": perVM[n], "MB": float64(d.rss) / 1000})
			}
		})
	}
	few, many := pendings[0], pendings[len(pendings)-1]
	fmt.Println()
	table.print(os.Stdout)
	for _, line := range stopped {
		fmt.Println(line)
	}
	if perVM[few] > 0 && perVM[many] > 0 {
		growth := rows{head: []string{"GROWTH, " + fmt.Sprintf("%d TO %d", few, many), "FACTOR", "AIM"}, body: [][]string{
			{"processor time for a VM", fmt.Sprintf("%.2f", perVM[many]/perVM[few]), fmt.Sprintf("%.1f (linear)", aimGrowth)},
			{"memory for ten times the orders", fmt.Sprintf("%.2f", memory[many]/memory[few]), fmt.Sprintf("<= %d (linear)", many/few)}}}
		fmt.Println()
		growth.print(os.Stdout)
	}
}
