package whmcs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// statisticsTable holds the hourly traffic. The PHP module has one of that name, whose rows stay and are not read.
const statisticsTable = "puqProxmoxKVM_statistics"

// Metered are the services whose VM's traffic is counted, by id.
func (s *Store) Metered(ctx context.Context) ([]kvm.Metered, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT v.service_id, IF(v.server_id = 0, COALESCE(h.server, 0), v.server_id), v.vm_id, COALESCE(v.vm_name, ''), v.vm_uuid, COALESCE(v.vm_uuids, '')
		FROM puqProxmoxKVM_vm_info v LEFT JOIN tblhosting h ON h.id = v.service_id
		WHERE v.vm_uuid <> '' AND v.vm_id > 0 AND COALESCE(v.vm_status, '') NOT IN ('', 'creation', 'remove') ORDER BY v.service_id`)
	if err != nil {
		return nil, s.failed(err, "VMs to count the traffic of")
	}
	defer func() { _ = rows.Close() }()
	var out []kvm.Metered
	for rows.Next() {
		var m kvm.Metered
		var uuids, server, vmid string // the PHP module's columns may hold anything; one bad row stops no other
		if err := rows.Scan(&m.Service, &server, &vmid, &m.Name, &m.UUID, &uuids); err != nil {
			return nil, s.failed(err, "VMs to count the traffic of")
		}
		if m.VMID, err = strconv.Atoi(vmid); err != nil {
			continue
		}
		if m.Server, err = strconv.ParseInt(server, 10, 64); err != nil {
			continue
		}
		_ = json.Unmarshal([]byte(uuids), &m.UUIDs) // what is no list proves nothing; the present UUID is beside it
		out = append(out, m)
	}
	return out, s.failed(rows.Err(), "VMs to count the traffic of")
}

// countingTask is the cron task that counts. Its row is the lock of all who count: each alone would wait for gaps between rows
// that are not there yet, and the others for its own.
const countingTask = "collectingStatistics"

// countedAtOnce is how many services one transaction is about.
const countedAtOnce = 1000

// CountTraffic stores samples, and adds to the hours what count makes of each and the one before (nil = none). With keep the
// former sample stays, and nothing is added. A sample and its hours are stored together or not at all, so that the same
// sample again, by whomever, adds nothing. stored is how many replaced the one before.
func (s *Store) CountTraffic(ctx context.Context, samples []kvm.Sample, count func(last *kvm.Counters, now kvm.Sample) (hours []kvm.HourTraffic, keep bool)) (stored int, err error) {
	if len(samples) == 0 {
		return 0, nil
	}
	if _, err := s.db.ExecContext(ctx, `INSERT IGNORE INTO puq_proxmox_kvm_cron_tasks (name) VALUES (?)`, countingTask); err != nil && !notWon(err) {
		return 0, s.failed(err, "the cron task %s", countingTask)
	}
	for len(samples) > 0 {
		chunk := samples[:min(countedAtOnce, len(samples))]
		samples = samples[len(chunk):]
		n := 0
		err := s.inTx(ctx, func(tx *sql.Tx) error {
			var err error
			n, err = countChunk(ctx, tx, chunk, count)
			return err
		})
		if err != nil {
			return stored, s.failed(err, "traffic of services %d to %d", chunk[0].Service, chunk[len(chunk)-1].Service)
		}
		stored += n
	}
	return stored, nil
}

func countChunk(ctx context.Context, tx *sql.Tx, samples []kvm.Sample, count func(*kvm.Counters, kvm.Sample) ([]kvm.HourTraffic, bool)) (int, error) {
	var held string
	if err := tx.QueryRowContext(ctx, `SELECT name FROM puq_proxmox_kvm_cron_tasks WHERE name = ? FOR UPDATE`, countingTask).Scan(&held); err != nil {
		return 0, err
	}
	last, err := lastCounters(ctx, tx, samples)
	if err != nil {
		return 0, err
	}
	var counters, traffic []any
	n := 0
	for _, now := range samples {
		var before *kvm.Counters
		if c, found := last[now.Service]; found {
			before = &c
		}
		hours, keep := count(before, now)
		if keep {
			continue
		}
		n++
		counters = append(counters, now.Service, now.UUID, now.In, now.Out, int64(now.Uptime/time.Second), now.At.UTC())
		for _, h := range hours {
			traffic = append(traffic, now.Service, h.Hour.UTC(), h.In, h.Out)
		}
	}
	// The counters first: where the tables have no transactions, a process that dies in between loses traffic and doubles none.
	if err := insertRows(ctx, tx, `puq_proxmox_kvm_counters (service_id, vm_uuid, in_bytes, out_bytes, uptime_s, sampled_at)`, 6, counters,
		`vm_uuid = VALUES(vm_uuid), in_bytes = VALUES(in_bytes), out_bytes = VALUES(out_bytes), uptime_s = VALUES(uptime_s), sampled_at = VALUES(sampled_at)`); err != nil {
		return 0, err
	}
	return n, insertRows(ctx, tx, statisticsTable+` (service_id, utc_hour, in_bytes, out_bytes)`, 4, traffic,
		`in_bytes = in_bytes + VALUES(in_bytes), out_bytes = out_bytes + VALUES(out_bytes)`)
}

// lastCounters are the stored ones of the services of samples, which nobody else changes before tx ends.
func lastCounters(ctx context.Context, tx *sql.Tx, samples []kvm.Sample) (map[int64]kvm.Counters, error) {
	args := make([]any, len(samples))
	for i, now := range samples {
		args[i] = now.Service
	}
	rows, err := tx.QueryContext(ctx, `SELECT service_id, vm_uuid, in_bytes, out_bytes, uptime_s, sampled_at FROM puq_proxmox_kvm_counters
		WHERE service_id IN (`+marks(len(args))+`) ORDER BY service_id FOR UPDATE`, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := make(map[int64]kvm.Counters, len(samples))
	for rows.Next() {
		var service, uptime int64
		var c kvm.Counters
		if err := rows.Scan(&service, &c.UUID, &c.In, &c.Out, &uptime, &c.At); err != nil {
			return nil, err
		}
		c.Uptime = time.Duration(uptime) * time.Second
		out[service] = c
	}
	return out, rows.Err()
}

// rowsAtOnce keeps a statement below the smallest max_allowed_packet.
const rowsAtOnce = 2000

// insertRows inserts values, width for each row, and updates the rows that are there.
func insertRows(ctx context.Context, tx *sql.Tx, into string, width int, values []any, update string) error {
	row := "(" + marks(width) + ")"
	for len(values) > 0 {
		n := min(rowsAtOnce, len(values)/width)
		query := `INSERT INTO ` + into + ` VALUES ` + strings.TrimSuffix(strings.Repeat(row+", ", n), ", ") + ` ON DUPLICATE KEY UPDATE ` + update
		if _, err := tx.ExecContext(ctx, query, values[:n*width]...); err != nil {
			return err
		}
		values = values[n*width:]
	}
	return nil
}

// Traffic is the service's hourly traffic, as far as it is kept, the oldest hour first, and when it was last counted; zero =
// never.
func (s *Store) Traffic(ctx context.Context, service int64) (hours []kvm.HourTraffic, sampled time.Time, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT sampled_at FROM puq_proxmox_kvm_counters WHERE service_id = ?`, service).Scan(&sampled)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, sampled, s.failed(err, "traffic of service %d", service)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT utc_hour, in_bytes, out_bytes FROM `+statisticsTable+` WHERE service_id = ? AND utc_hour IS NOT NULL ORDER BY utc_hour`, service)
	if err != nil {
		return nil, sampled, s.failed(err, "traffic of service %d", service)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var h kvm.HourTraffic
		if err := rows.Scan(&h.Hour, &h.In, &h.Out); err != nil {
			return nil, sampled, s.failed(err, "traffic of service %d", service)
		}
		hours = append(hours, h)
	}
	return hours, sampled, s.failed(rows.Err(), "traffic of service %d", service)
}

// purgedAtOnce is how many rows one statement removes, so that none holds locks for long.
const purgedAtOnce = 5000

// PurgeTraffic removes the hours before before, and the counters of services that have not been read since. The PHP module's
// rows stay.
func (s *Store) PurgeTraffic(ctx context.Context, before time.Time) error {
	for _, query := range []string{
		`DELETE FROM ` + statisticsTable + ` WHERE utc_hour < ? ORDER BY utc_hour LIMIT ?`,
		`DELETE FROM puq_proxmox_kvm_counters WHERE sampled_at < ? ORDER BY service_id LIMIT ?`,
	} {
		for {
			res, err := s.db.ExecContext(ctx, query, before.UTC(), purgedAtOnce)
			if err != nil {
				return s.failed(err, "removing old traffic")
			}
			if n, err := res.RowsAffected(); err != nil || n < purgedAtOnce {
				break
			}
		}
	}
	return nil
}
