package whmcs

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

var noon = time.Date(2026, 4, 10, 12, 0, 0, 0, time.UTC)

// grew is a count that gives what the counters grew by to the hour of the sample; a sample that is not later than the last
// counts nothing.
func grew(last *kvm.Counters, now kvm.Sample) ([]kvm.HourTraffic, bool) {
	switch {
	case last == nil:
		return nil, false
	case !now.At.After(last.At):
		return nil, true
	}
	return []kvm.HourTraffic{{Hour: now.At.Truncate(time.Hour), In: now.In - last.In, Out: now.Out - last.Out}}, false
}

func sample(service int64, after time.Duration, in, out int64) kvm.Sample {
	return kvm.Sample{Service: service, Counters: kvm.Counters{UUID: someUUID, At: noon.Add(after), Uptime: time.Hour + after, In: in, Out: out}}
}

func mustCount(t *testing.T, s *Store, want int, samples ...kvm.Sample) {
	t.Helper()
	if n, err := s.CountTraffic(t.Context(), samples, grew); err != nil || n != want {
		t.Fatalf("stored %d, %v; want %d", n, err, want)
	}
}

const allHours = "SELECT COALESCE(GROUP_CONCAT(CONCAT_WS(' ', service_id, HOUR(utc_hour), in_bytes, out_bytes) ORDER BY service_id, utc_hour SEPARATOR '; '), '') FROM puqProxmoxKVM_statistics WHERE utc_hour IS NOT NULL"

func TestCountTraffic(t *testing.T) {
	s, db := newStore(t)
	mustCount(t, s, 2, sample(1, 0, 100, 10), sample(2, 0, 5, 5))
	mustCount(t, s, 2, sample(1, 20*time.Minute, 150, 20), sample(3, 20*time.Minute, 9, 9))
	mustCount(t, s, 1, sample(1, 50*time.Minute, 160, 25), sample(2, -time.Minute, 90, 90))
	mustCount(t, s, 0, sample(1, 50*time.Minute, 160, 25)) // the same again
	mustCount(t, s, 1, sample(1, time.Hour, 161, 25))
	if got := db.Text(allHours); got != "1 12 60 15; 1 13 1 0" {
		t.Error(got)
	}
	hours, sampled, err := s.Traffic(t.Context(), 1)
	if err != nil || len(hours) != 2 || hours[0] != (kvm.HourTraffic{Hour: noon, In: 60, Out: 15}) || !sampled.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v, %v, %v", hours, sampled, err)
	}
	if hours, sampled, err := s.Traffic(t.Context(), 9); err != nil || hours != nil || !sampled.IsZero() {
		t.Errorf("never counted: %+v, %v, %v", hours, sampled, err)
	}
	// What was stored comes back as it was.
	var back *kvm.Counters
	if _, err := s.CountTraffic(t.Context(), []kvm.Sample{sample(1, 2*time.Hour, 1<<60, 1)}, func(last *kvm.Counters, _ kvm.Sample) ([]kvm.HourTraffic, bool) {
		back = last
		return nil, true
	}); err != nil || back == nil || *back != sample(1, time.Hour, 161, 25).Counters {
		t.Errorf("%+v, %v", back, err)
	}
}

// What one sample says is stored whole or not at all.
func TestCountTrafficIsOneTransaction(t *testing.T) {
	s, db := newStore(t)
	mustCount(t, s, 1, sample(1, 0, 100, 10))
	db.Exec("ALTER TABLE puqProxmoxKVM_statistics RENAME COLUMN in_bytes TO gone")
	if n, err := s.CountTraffic(t.Context(), []kvm.Sample{sample(1, time.Hour, 200, 20)}, grew); !errors.Is(err, kvm.ErrAdmin) || n != 0 || kvm.Hint(err) != "puqkvm db migrate" {
		t.Errorf("%d, %v", n, err)
	}
	db.Exec("ALTER TABLE puqProxmoxKVM_statistics RENAME COLUMN gone TO in_bytes")
	mustCount(t, s, 1, sample(1, 2*time.Hour, 300, 30))
	if got := db.Text(allHours); got != "1 14 200 20" {
		t.Error(got)
	}
}

// Hosts that count the same samples at the same time count them once.
func TestCountTrafficOnSeveralHosts(t *testing.T) {
	s, db := newStore(t)
	const services, hosts = 2500, 4
	var stores []*Store
	for range hosts {
		stores = append(stores, openStore(t, db))
	}
	for hour := range 3 {
		var samples []kvm.Sample
		for id := range services {
			samples = append(samples, sample(int64(id+1), time.Duration(hour)*time.Hour, int64(1000*hour), int64(10*hour)))
		}
		total := 0
		var mu sync.Mutex
		var group sync.WaitGroup
		for _, host := range stores {
			group.Go(func() {
				n, err := host.CountTraffic(context.Background(), samples, grew)
				mu.Lock()
				defer mu.Unlock()
				if total += n; err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if total != services {
			t.Errorf("hour %d: %d stored", hour, total)
		}
	}
	if got := db.Text("SELECT CONCAT_WS(' ', COUNT(*), SUM(in_bytes), SUM(out_bytes), MIN(in_bytes), MAX(in_bytes)) FROM puqProxmoxKVM_statistics"); got != "5000 5000000 50000 1000 1000" {
		t.Error(got)
	}
	_ = s
}

func TestPurgeTraffic(t *testing.T) {
	s, db := newStore(t)
	for _, at := range []time.Duration{-kvm.StatisticsKept - 2*time.Hour, -kvm.StatisticsKept - time.Hour, -kvm.StatisticsKept, 0} {
		mustCount(t, s, 1, sample(1, at, int64(kvm.StatisticsKept+at), 0))
	}
	mustCount(t, s, 1, sample(2, -kvm.StatisticsKept-time.Hour, 1, 1))
	db.Exec("INSERT INTO puqProxmoxKVM_statistics (service_id) VALUES (1)") // the PHP module's
	if err := s.PurgeTraffic(t.Context(), noon.Add(-kvm.StatisticsKept)); err != nil {
		t.Fatal(err)
	}
	if got := db.Text("SELECT CONCAT_WS(' ', COUNT(*), MIN(utc_hour), (SELECT GROUP_CONCAT(service_id) FROM puq_proxmox_kvm_counters)) FROM puqProxmoxKVM_statistics"); got != "3 2026-03-06 12:00:00 1" {
		t.Error(got)
	}
}

func TestMetered(t *testing.T) {
	x := newShop(t)
	for id, set := range map[int64]string{
		1: "vm_uuid = '" + someUUID + "', vm_uuids = '[\"x\",\"" + someUUID + "\"]', vm_status = 'ready'",
		2: "vm_uuid = '', vm_status = 'set_dns'",
		3: "vm_uuid = '" + someUUID + "', vm_status = 'cp_stop', server_id = 0, vm_uuids = 'nonsense'",
		4: "vm_uuid = '" + someUUID + "', vm_status = 'remove'",
		5: "vm_uuid = '" + someUUID + "', vm_status = 'creation'",
		6: "vm_uuid = '" + someUUID + "', vm_status = 'ready', vm_id = NULL",
		7: "vm_uuid = '" + someUUID + "', vm_status = NULL",
	} {
		x.order(id)
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_name = 'vps', "+set+" WHERE service_id = ?", id)
	}
	x.db.Exec("UPDATE tblhosting SET server = 7 WHERE id = 3")
	list, err := x.Metered(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if m := list[0]; m.Service != 1 || m.Server != 1 || m.VMID == 0 || m.Name != "vps" || m.UUID != someUUID || strings.Join(m.UUIDs, " ") != "x "+someUUID {
		t.Errorf("%+v", m)
	}
	if m := list[1]; m.Service != 3 || m.Server != 7 || m.UUIDs != nil {
		t.Errorf("%+v", m)
	}
}

// The PHP module's table is taken over with its rows; ours stand beside them.
func TestStatisticsOfThePHPModule(t *testing.T) {
	s, db := newStore(t, whmcstest.WithPHPTables())
	mustCount(t, s, 1, sample(5546, 0, 100, 10))
	mustCount(t, s, 1, sample(5546, time.Hour, 150, 20))
	mustCount(t, s, 1, sample(5546, time.Hour+time.Minute, 160, 20))
	if got := db.Text("SELECT GROUP_CONCAT(CONCAT_WS(' ', service_id, date, netin, netout, COALESCE(utc_hour, '-'), in_bytes) ORDER BY id SEPARATOR '; ') FROM puqProxmoxKVM_statistics"); got !=
		"5546 2026-04-10 07:00:00 1 2 - 0; 5546 2026-04-10 08:00:00 3 4 - 0; 5546 0 0 2026-04-10 13:00:00 60" {
		t.Error(got)
	}
	if err := s.PurgeTraffic(t.Context(), noon.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_statistics"); n != "2" {
		t.Errorf("%s of the PHP module's rows are left", n)
	}
	if hours, _, err := s.Traffic(t.Context(), 5546); err != nil || len(hours) != 0 {
		t.Errorf("%+v, %v", hours, err)
	}
}

// A table in which a row of ours could be taken for another's is refused, and nothing is changed.
func TestStatisticsThatLeaveNoRoom(t *testing.T) {
	for name, columns := range map[string]string{
		"a row a service":    "id int NOT NULL AUTO_INCREMENT PRIMARY KEY, service_id int NOT NULL, UNIQUE KEY (service_id)",
		"the service as key": "service_id int NOT NULL PRIMARY KEY, data text",
		"a key of its own":   "id int NOT NULL PRIMARY KEY, service_id int NOT NULL",
		"a service and day":  "id int NOT NULL AUTO_INCREMENT PRIMARY KEY, service_id int NOT NULL, day date NOT NULL, UNIQUE KEY (service_id, day)",
	} {
		db := whmcstest.NewDB(t)
		db.Exec("CREATE TABLE puqProxmoxKVM_statistics (" + columns + ")")
		before := shape(t, db)
		steps, err := openStore(t, db).Migrate(t.Context(), false)
		if !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), "puqProxmoxKVM_statistics has a") || !strings.Contains(kvm.Hint(err), "rename the table") || strings.Join(before, "\n") != strings.Join(shape(t, db), "\n") {
			t.Errorf("%s: %q, %v", name, steps, err)
		}
	}
	db := whmcstest.NewDB(t)
	db.Exec("CREATE TABLE puqProxmoxKVM_statistics (service_id int NOT NULL, bytes int NOT NULL)") // without any key
	s := openStore(t, db)
	mustMigrate(t, s)
	mustCount(t, s, 1, sample(1, 0, 100, 10))
	mustCount(t, s, 1, sample(1, time.Hour, 150, 20))
	if got := db.Text(allHours); got != "1 13 50 10" {
		t.Error(got)
	}
}
