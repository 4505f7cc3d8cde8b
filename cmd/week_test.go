package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

const (
	weekNodes = 4
	weekVMs   = 100
	weekFirst = 5000 // the first service; those of one product are all on one node
)

// weekDay is what happened on a node on a day.
type weekDay struct{ planned, made, skipped, rotated, failed int }

// TestBackupWeek is a week of scheduled backups of 100 VMs on four nodes, at two to a package: crowds at 03:00 and at 23:57, the rest
// spread over the night. Every moment has its backup, whatever the queue before it; a node never makes two at once; nobody has more
// than his package. On Wednesday at noon ten customers move their backup to the afternoon of the same day, and are told that the
// day has one already.
func TestBackupWeek(t *testing.T) {
	model := pvesim.Instant()
	model.Backup = 20 * time.Second
	w := newWorld(t, scene{model: model, nodes: weekNodes, bare: true})
	w.sim.AddStorage(pvesim.Storage{ID: "nfs", Type: "nfs", Content: "backup", Shared: true, Size: 64 << 40})
	w.ok("server", "set", "1", "--fingerprint", w.pve.Fingerprint)
	w.ok("ippool", "add", "--server", "1", "--gateway", "10.0.0.1/16", "--first", "10.0.1.0", "--last", "10.0.2.254", "--dns", "192.0.2.53")
	for i := range weekNodes {
		product := strconv.Itoa(i + 1)
		if i > 0 {
			w.db.AddProduct(whmcstest.Product{ID: int64(i + 1)})
		}
		w.ok("product", "set", product, "template="+strconv.Itoa(pvesim.FirstTemplate+i), "backups=2", "backup_storage=nfs", "mail_ready=")
	}
	for i := range weekVMs {
		id := int64(weekFirst + i)
		w.db.AddService(whmcstest.Service{ID: id, ClientID: 42, ProductID: int64(i%weekNodes + 1), ServerID: 1})
		w.ok("create", strconv.FormatInt(id, 10))
	}
	w.tick()
	fake := w.clock.(*clock.Fake)
	until := func(moment string) {
		at, err := time.Parse(time.RFC3339, moment)
		if err != nil {
			t.Fatal(err)
		}
		fake.Advance(at.Sub(fake.Now()))
	}
	until("2026-04-12T22:00:01Z") // in Warsaw it is Monday, the 13th
	days := []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	table := map[string]*weekDay{}
	cell := func(date string, service int64) *weekDay {
		key := fmt.Sprintf("%s pve%d", date, service%weekNodes+1)
		if table[key] == nil {
			table[key] = &weekDay{}
		}
		return table[key]
	}
	for i := range weekVMs {
		var set []string
		for d, day := range days {
			at := "03:00"
			switch i / weekNodes % 5 {
			case 1:
				at = "23:57"
			case 2:
				at = fmt.Sprintf("%02d:%02d", 1+i%5, i*7%60)
			}
			if (i+d)%3 != 0 {
				set = append(set, day+"="+at)
				cell(fmt.Sprintf("2026-04-%d", 13+d), int64(i)).planned++
			}
		}
		w.ok("backup", "schedule", "set", strconv.Itoa(weekFirst+i), "--days", strings.Join(set, ","))
	}
	end := time.Date(2026, 4, 19, 22, 50, 0, 0, time.UTC) // after the queue of Sunday, 23:57
	changed := false
	for fake.Now().Before(end) {
		fake.Advance(fake.Now().Truncate(5 * time.Minute).Add(5 * time.Minute).Sub(fake.Now()))
		if local := fake.Now().Add(2 * time.Hour); !changed && local.After(time.Date(2026, 4, 15, 12, 0, 0, 0, time.UTC)) {
			changed = true
			for i := range 10 {
				w.ok("backup", "schedule", "set", strconv.Itoa(weekFirst+i), "--days", "wed=15:00,thu=03:00,fri=03:00,sat=03:00,sun=03:00")
				for d := range days[3:] {
					c := cell(fmt.Sprintf("2026-04-%d", 16+d), int64(i))
					if (i+d+3)%3 == 0 {
						c.planned++
					}
				}
				if late := i/weekNodes%5 == 1; !late || (i+2)%3 == 0 { // that of 23:57 gives way
					cell("2026-04-15", int64(i)).planned++
				}
			}
		}
		if w.number("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status = 'scheduled_backup'") == 0 && w.nothingDue() {
			continue
		}
		w.weekTick(cell)
	}
	w.checkWeek(table)
}

// nothingDue says whether no schedule has a moment that has passed: a tick would do nothing.
func (w *world) nothingDue() bool {
	w.t.Helper()
	zone, err := time.LoadLocation("Europe/Warsaw")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, row := range w.rows("SELECT vm_backup_schedule, UNIX_TIMESTAMP(CONVERT_TZ(backup_moment, '+00:00', @@session.time_zone)) FROM puqProxmoxKVM_vm_info") {
		schedule, err := kvm.ParseSchedule(row[0])
		if err != nil {
			w.t.Fatal(err)
		}
		seconds, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			w.t.Fatal(err)
		}
		if m, ok := schedule.Latest(w.clock.Now(), zone); ok && m.Time.After(time.UnixMilli(int64(seconds*1000))) {
			return false
		}
	}
	return true
}

var weekLine = regexp.MustCompile(`^\S+ \S+   sid:(\d+) (?:action:scheduled_backup (.*)|\[skipped\] already_done_today, last:(\S+))$`)

// weekTick runs the task, and counts what it has done.
func (w *world) weekTick(cell func(string, int64) *weekDay) {
	w.t.Helper()
	out := w.ok("cron", "--task=scheduleBackup")
	service := int64(0)
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if n, err := fmt.Sscanf(line, "--- ScheduledBackup: service=%d", &service); n == 1 && err == nil {
			continue
		}
		if strings.Contains(line, "oldest backup removed") {
			cell(w.db.Text("SELECT DATE_FORMAT(backup_moment + INTERVAL 2 HOUR, '%Y-%m-%d') FROM puqProxmoxKVM_vm_info WHERE service_id = ?", service), service).rotated++
			continue
		}
		m := weekLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		id, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		date := w.db.Text("SELECT DATE_FORMAT(backup_moment + INTERVAL 2 HOUR, '%Y-%m-%d') FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
		switch {
		case m[3] != "":
			cell(m[3], id).skipped++
		case m[2] == "result:success":
			cell(date, id).made++
		case !strings.HasPrefix(m[2], "waiting on "):
			w.t.Errorf("%s", line)
			cell(date, id).failed++
		}
	}
}

// checkWeek holds the table against the one that is kept, and the storage against the packages.
func (w *world) checkWeek(table map[string]*weekDay) {
	w.t.Helper()
	var keys []string
	for key := range table {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	text := "day        node  planned  made  skipped  rotated  failed\n"
	for _, key := range keys {
		c := table[key]
		text += fmt.Sprintf("%s  %7d %5d %8d %8d %7d\n", key, c.planned, c.made, c.skipped, c.rotated, c.failed)
		if c.made+c.skipped != c.planned || c.failed != 0 {
			w.t.Errorf("%s: %+v", key, *c)
		}
	}
	want, err := os.ReadFile(filepath.Join("..", "testdata", "golden", "backup-week.txt"))
	if err != nil || string(want) != text {
		w.t.Errorf("%v: the week was\n%s", err, text)
	}
	busy := map[string][]pvesim.TaskState{}
	for _, task := range w.sim.Tasks() {
		if task.Type == "vzdump" {
			busy[task.Node] = append(busy[task.Node], task)
		}
	}
	for node, tasks := range busy {
		slices.SortFunc(tasks, func(a, b pvesim.TaskState) int { return a.Start.Compare(b.Start) })
		for i := 1; i < len(tasks); i++ {
			if tasks[i].Start.Before(tasks[i-1].End) {
				w.t.Errorf("%s made two at once, at %s and %s", node, tasks[i-1].Start, tasks[i].Start)
			}
		}
	}
	for i := range weekVMs {
		if n := len(w.sim.Backups(w.vmid(int64(weekFirst + i)))); n != 2 {
			w.t.Errorf("service %d has %d backups", weekFirst+i, n)
		}
	}
}
