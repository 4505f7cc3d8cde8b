package whmcs

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// shape is every column and index of our tables, as the database describes them.
func shape(t *testing.T, db *whmcstest.DB) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT CONCAT_WS(' ', TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COALESCE(COLUMN_DEFAULT, '-'), COALESCE(COLLATION_NAME, '-'), EXTRA)
			FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'puq%'
		UNION ALL SELECT CONCAT_WS(' ', TABLE_NAME, INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME, COALESCE(SUB_PART, '-'))
			FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'puq%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func mustMigrate(t *testing.T, s *Store) []string {
	t.Helper()
	steps, err := s.Migrate(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestMigrateMakesTheTablesOnce(t *testing.T) {
	db := whmcstest.NewDB(t)
	s := openStore(t, db)
	err := s.Check(t.Context())
	if !errors.Is(err, kvm.ErrAdmin) || kvm.Hint(err) != "puqkvm db migrate" {
		t.Errorf("check before the migration: %v, hint %q", err, kvm.Hint(err))
	}
	plan, err := s.Migrate(t.Context(), true)
	if err != nil || len(plan) != len(ownSchema())+2 {
		t.Fatalf("plan of %d steps, %v", len(plan), err)
	}
	if made := shape(t, db); len(made) > 0 {
		t.Fatalf("the plan has made %v", made)
	}
	if done := mustMigrate(t, s); len(done) != len(plan) || !slices.Equal(done[:len(plan)-2], plan[:len(plan)-2]) {
		t.Errorf("planned %q\ndone %q", plan, done)
	}
	made := shape(t, db)
	id, err := s.Installation(t.Context())
	if err != nil || len(id) != 16 {
		t.Errorf("installation %q, %v", id, err)
	}
	if again := mustMigrate(t, s); len(again) != 0 {
		t.Errorf("a second migration did %q", again)
	}
	if diff := cmp.Diff(made, shape(t, db)); diff != "" {
		t.Errorf("a second migration changed tables:\n%s", diff)
	}
	if now, _ := s.Installation(t.Context()); now != id {
		t.Errorf("the installation's id changed from %s to %s", id, now)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMigrateTakesOverPHPTables(t *testing.T) {
	s, db := newStore(t, whmcstest.WithPHPTables())
	for query, want := range map[string]string{
		"SELECT CONCAT_WS('|', vm_id, vm_name, vm_status, vm_rev_dns, vm_backup_schedule, vm_ip_addresses, vm_options, server_id, claim_owner IS NULL) FROM puqProxmoxKVM_vm_info WHERE service_id = 5546": `2003|5546-1775784027|ready|{"192.0.2.10":"host.example.com"}|{"0":"07:00","6":"03:00"}|192.0.2.10|1|0|1`,
		"SELECT COUNT(*) FROM puqProxmoxKVM_vm_info": "2",
		"SELECT GROUP_CONCAT(CONCAT_WS(',', type, vlan, mask, dns1, dns2, address_start) ORDER BY id SEPARATOR ' ') FROM puq_proxmox_kvm_ip_pools": "ipv4,0,24,198.51.100.53,,192.0.2.10 ipv6,20,64,,,2001:db8::10",
		"SELECT CONCAT_WS(',', zone, type, config) FROM puq_proxmox_kvm_dns_zones":                                                                 `example.com,powerdns,{"server":"http://127.0.0.1:8081","api_key":"k"}`,
	} {
		if got := db.Text(query); got != want {
			t.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	// A row of ours fits in, although the table has columns that only the PHP module fills.
	db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_id, vm_status, queued_at) VALUES (1, 100, 'creation', UTC_TIMESTAMP(6))")
	db.Exec("INSERT INTO puq_proxmox_kvm_slots (server_id, node, kind, slot, service_id, vm_status, taken_at) VALUES (1, 'pve1', 'clone', 0, 1, 'creation', UTC_TIMESTAMP(6))")
	if got := db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_slots t JOIN puqProxmoxKVM_vm_info v ON v.service_id = t.service_id WHERE v.vm_status = t.vm_status"); got != "1" {
		t.Errorf("join of our texts with the PHP module's: %s rows", got)
	}
	// What a client types need not be in the PHP module's character set.
	note := "przed aktualizacją 🚀"
	db.Exec("UPDATE puqProxmoxKVM_vm_info SET backup_note = ? WHERE service_id = 5546", note)
	if got := db.Text("SELECT backup_note FROM puqProxmoxKVM_vm_info WHERE service_id = 5546"); got != note {
		t.Errorf("a note came back as %q", got)
	}
	// An administrator who empties the pools gets no old ones back.
	db.Exec("DELETE FROM puq_proxmox_kvm_ip_pools")
	if again := mustMigrate(t, s); len(again) != 0 {
		t.Errorf("a second migration did %q", again)
	}
	pools, err := s.Pools(t.Context(), 0)
	if err != nil || len(pools) != 0 {
		t.Errorf("pools after they were emptied: %v, %v", pools, err)
	}
}

func TestMigrateKeepsPoolsThatAreThere(t *testing.T) {
	db := whmcstest.NewDB(t, whmcstest.WithPHPTables())
	db.Exec("CREATE TABLE puq_proxmox_kvm_ip_pools LIKE puq_customization_module_puq_proxmox_kvm_ip_pools")
	db.Exec("INSERT INTO puq_proxmox_kvm_ip_pools SELECT * FROM puq_customization_module_puq_proxmox_kvm_ip_pools LIMIT 1")
	s := openStore(t, db)
	mustMigrate(t, s)
	if pools, err := s.Pools(t.Context(), 1); err != nil || len(pools) != 1 {
		t.Errorf("pools %v, %v", pools, err)
	}
	if zones := db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_dns_zones"); zones != "1" {
		t.Errorf("%s zones", zones)
	}
}

func TestMigrateSaysWhatItCannotImport(t *testing.T) {
	db := whmcstest.NewDB(t, whmcstest.WithPHPTables())
	db.Exec("ALTER TABLE puq_customization_module_puq_proxmox_kvm_ip_pools DROP COLUMN gateway")
	s := openStore(t, db)
	steps := mustMigrate(t, s)
	if !slices.ContainsFunc(steps, func(line string) bool {
		return strings.HasPrefix(line, "-- ") && strings.Contains(line, "gateway") && strings.Contains(line, "2 rows")
	}) {
		t.Errorf("no remark on the table without gateways: %q", steps)
	}
	if pools := db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_ip_pools"); pools != "0" {
		t.Errorf("%s pools", pools)
	}
	if steps := mustMigrate(t, s); len(steps) != 0 {
		t.Errorf("a second migration did %q", steps)
	}

	db.Exec("DELETE FROM puq_proxmox_kvm_meta WHERE name LIKE 'imported.%'")
	db.Exec("DELETE FROM puq_proxmox_kvm_dns_zones")
	db.Exec("ALTER TABLE puq_customization_module_puq_proxmox_kvm_dns_zones MODIFY type varchar(255), MODIFY zone varchar(255) NULL")
	db.Exec("INSERT INTO puq_customization_module_puq_proxmox_kvm_dns_zones (zone, type, config) VALUES ('example.org', 'cloudflare', '{}'), (NULL, 'hestiacp', '{}')")
	if steps, err := s.Migrate(t.Context(), false); err == nil || kvm.Hint(err) == "" {
		t.Errorf("a row that does not fit: %q, %v", steps, err)
	}
	if zones := db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_dns_zones"); zones != "0" {
		t.Errorf("the import left %s zones behind", zones)
	}
}

func TestMigrateWithoutPrimaryKey(t *testing.T) {
	db := whmcstest.NewDB(t, whmcstest.WithPHPTables())
	db.Exec("ALTER TABLE puqProxmoxKVM_vm_info DROP PRIMARY KEY, MODIFY vm_status text NOT NULL, DROP COLUMN vm_net0_mac, ENGINE=MyISAM")
	db.Exec("ALTER TABLE puqProxmoxKVM_vm_info ADD COLUMN vm_net0_mac varchar(32) NOT NULL DEFAULT ''")
	db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status, vm_ip_addresses, vm_options) VALUES (5547, 'ready', '', 0)")
	before := shape(t, db)
	s := openStore(t, db)
	steps, err := s.Migrate(t.Context(), false)
	if !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), "service_id 5547") || !strings.Contains(kvm.Hint(err), "5547") {
		t.Fatalf("two rows for one service: %v, %v", steps, err)
	}
	if diff := cmp.Diff(before, shape(t, db)); diff != "" {
		t.Fatalf("a refused migration has changed something:\n%s", diff)
	}
	db.Exec("DELETE FROM puqProxmoxKVM_vm_info WHERE service_id = 5547 AND vm_status = 'ready'")
	mustMigrate(t, s)
	db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status) VALUES (1, 'creation')")
	db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_net0_mac = NULL WHERE service_id = 1")
	if _, err := db.ExecContext(t.Context(), "INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status) VALUES (1, 'creation')"); !duplicate(err) {
		t.Errorf("a second row for service 1: %v", err)
	}
	if engine := db.Text("SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'puqProxmoxKVM_vm_info'"); engine != "InnoDB" {
		t.Errorf("engine %s", engine)
	}
	if steps := mustMigrate(t, s); len(steps) != 0 {
		t.Errorf("a second migration did %q", steps)
	}
}

func TestMigrateRefusesForeignTables(t *testing.T) {
	db := whmcstest.NewDB(t)
	db.Exec("CREATE TABLE puqProxmoxKVM_vm_info (service_id varchar(20) PRIMARY KEY)")
	if steps, err := openStore(t, db).Migrate(t.Context(), false); !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), "service_id") {
		t.Errorf("a table whose service_id is text: %v, %v", steps, err)
	}
	db.Exec("DROP TABLE puqProxmoxKVM_vm_info")
	db.Exec("CREATE TABLE puq_proxmox_kvm_addresses (id int PRIMARY KEY, address varchar(45))")
	if steps, err := openStore(t, db).Migrate(t.Context(), true); !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), "primary key") {
		t.Errorf("a table with another primary key: %v, %v", steps, err)
	}
}

// A migration that is killed after any of its statements is finished by the next one.
func TestMigrateAfterKill(t *testing.T) {
	whole := whmcstest.NewDB(t, whmcstest.WithPHPTables())
	mustMigrate(t, openStore(t, whole))
	want := shape(t, whole)
	probe := openStore(t, whmcstest.NewDB(t, whmcstest.WithPHPTables()))
	plan, err := probe.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for killed := 1; killed < len(plan); killed += 3 {
		db := whmcstest.NewDB(t, whmcstest.WithPHPTables())
		s := openStore(t, db)
		steps, err := s.plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range steps[:killed] {
			// The claim makes the meta table before anything else.
			if err := st.run(t.Context()); err != nil && !strings.Contains(err.Error(), metaTable) {
				t.Fatalf("%s: %v", st.text, err)
			}
		}
		mustMigrate(t, s)
		if diff := cmp.Diff(want, shape(t, db)); diff != "" {
			t.Errorf("killed after %d statements:\n%s", killed, diff)
		}
		if got := db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_ip_pools"); got != "2" {
			t.Errorf("killed after %d statements: %s pools", killed, got)
		}
	}
}

func TestMigrationsAtOnce(t *testing.T) {
	db := whmcstest.NewDB(t, whmcstest.WithPHPTables())
	const n = 6
	done := make([][]string, n)
	errs := make([]error, n)
	var stores []*Store
	for range n {
		stores = append(stores, openStore(t, db))
	}
	var group sync.WaitGroup
	for i, s := range stores {
		group.Go(func() { done[i], errs[i] = s.Migrate(t.Context(), false) })
	}
	group.Wait()
	workers := 0
	for i := range n {
		if errs[i] != nil {
			t.Error(errs[i])
		}
		if len(done[i]) > 0 {
			workers++
		}
	}
	if workers != 1 {
		t.Errorf("%d of %d migrations did something", workers, n)
	}
	if got := db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_ip_pools"); got != "2" {
		t.Errorf("%s pools", got)
	}
	if got := db.Text("SELECT value FROM puq_proxmox_kvm_meta WHERE name = 'migration'"); got != "" {
		t.Errorf("the claim was left behind: %s", got)
	}
}

// A migration whose process died or went silent holds nobody up, and one that is at work is waited for.
func TestMigrationClaim(t *testing.T) {
	s, db := newStore(t)
	owner, err := NewOwner()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Split(owner, "/")
	f[4] = "1" // another process that had this pid
	dead := strings.Join(f, "/")
	for name, value := range map[string]string{"silent": "2020-01-01 00:00:00.000000 h/b/n/1/1/x", "dead": "2099-01-01 00:00:00.000000 " + dead} {
		db.Exec("UPDATE puq_proxmox_kvm_meta SET value = ? WHERE name = 'migration'", value)
		if err := s.claimMigration(t.Context(), owner); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := db.Text("SELECT value FROM puq_proxmox_kvm_meta WHERE name = 'migration'"); !strings.HasSuffix(got, " "+owner) {
			t.Errorf("%s: held by %s", name, got)
		}
	}
	if won, err := s.stampMigration(t.Context(), "h/b/n/1/1/y", "value LIKE CONCAT('% ', ?)", "h/b/n/1/1/y"); won || err != nil {
		t.Errorf("renewed by somebody else: %v, %v", won, err)
	}
}

func TestSchemaStateOfOtherVersions(t *testing.T) {
	s, db := newStore(t)
	db.Exec("UPDATE puq_proxmox_kvm_meta SET value = '99' WHERE name = 'schema_version'")
	st, err := s.SchemaState(t.Context())
	if err != nil || !st.OK() || !st.Newer() {
		t.Errorf("newer: %+v, %v", st, err)
	}
	if steps := mustMigrate(t, s); len(steps) != 0 {
		t.Errorf("an older program did %q", steps)
	}
	db.Exec("ALTER TABLE puq_proxmox_kvm_outbox DROP COLUMN trace_after")
	st, err = s.SchemaState(t.Context())
	if err != nil || st.OK() || !slices.Equal(st.Missing, []string{"puq_proxmox_kvm_outbox.trace_after"}) || !strings.Contains(st.Err().Error(), "trace_after") {
		t.Errorf("column missing: %+v, %v", st, err)
	}
	mustMigrate(t, s)
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	db.Exec("UPDATE puq_proxmox_kvm_meta SET value = '0' WHERE name = 'schema_version'")
	if err := s.Check(t.Context()); !errors.Is(err, kvm.ErrAdmin) {
		t.Errorf("older: %v", err)
	}
	mustMigrate(t, s)
	if got := db.Text("SELECT value FROM puq_proxmox_kvm_meta WHERE name = 'schema_version'"); got != strconv.Itoa(schemaVersion) {
		t.Errorf("version %s", got)
	}
}

// TestMigrateFromVersion3: what the tables of the last version lack is added, and then they are as if they had been made today;
// their rows stay. Until then what WHMCS asks for is queued all the same, and everything else says what to type.
func TestMigrateFromVersion3(t *testing.T) {
	_, fresh := newStore(t)
	want := shape(t, fresh)
	_, db := newStore(t)
	db.Exec("INSERT INTO puqProxmoxKVM_vm_info (service_id, vm_status, vm_id, vm_backup_schedule, queued_at) VALUES (7, 'ready', 100, '{\"5\":\"03:00\"}', UTC_TIMESTAMP(6))")
	db.Exec("INSERT INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at) VALUES (7, 1, 'nfs', ?, '2026-01-01')", volume100)
	db.Exec("ALTER TABLE puqProxmoxKVM_vm_info DROP KEY puqkvm_own_snapshots")
	db.Exec(`ALTER TABLE puqProxmoxKVM_vm_info DROP COLUMN own_snapshots, DROP COLUMN backup_day, DROP COLUMN backup_date, DROP COLUMN backup_moment, DROP COLUMN backup_after, DROP COLUMN backup_sent,
		DROP COLUMN backup_note, DROP COLUMN restore_from, DROP COLUMN restore_failed, DROP COLUMN firewall, DROP COLUMN iso_boot`)
	db.Exec("ALTER TABLE puq_proxmox_kvm_backups DROP COLUMN uuid, DROP COLUMN made_at, DROP COLUMN size")
	db.Exec("DROP TABLE puq_proxmox_kvm_counters, " + statisticsTable)
	db.Exec("UPDATE puq_proxmox_kvm_meta SET value = '3' WHERE name = 'schema_version'")
	s := openStore(t, db)
	st := s.Opened().Schema
	if st.Have != 3 || st.OK() || st.QueueErr() != nil || !errors.Is(st.Err(), kvm.ErrAdmin) || kvm.Hint(st.Err()) != "puqkvm db migrate" {
		t.Errorf("before: %+v, %v, queueing %v", st, st.Err(), st.QueueErr())
	}
	mustMigrate(t, s)
	if d := cmp.Diff(want, shape(t, db)); d != "" {
		t.Errorf("upgraded tables are others than new ones:\n%s", d)
	}
	s = openStore(t, db)
	if err := s.Check(t.Context()); err != nil || len(mustMigrate(t, s)) != 0 || db.Text("SELECT value FROM puq_proxmox_kvm_meta WHERE name = 'schema_version'") != strconv.Itoa(schemaVersion) {
		t.Errorf("after: %v", err)
	}
	if text, taken, err := s.BackupSchedule(t.Context(), 7); err != nil || text != `{"5":"03:00"}` || !taken.IsZero() {
		t.Errorf("the schedule: %q, %s, %v", text, taken, err)
	}
	if list, err := s.Backups(t.Context(), 7); err != nil || len(list) != 1 || list[0] != (kvm.Backup{Storage: "nfs", Volume: volume100, VMID: 100, Own: true}) {
		t.Errorf("the journal: %+v, %v", list, err)
	}
}
