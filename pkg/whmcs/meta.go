package whmcs

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	metaTable     = "puq_proxmox_kvm_meta"
	settingsTable = "puq_proxmox_kvm_settings"
)

// Rows of the meta table.
const (
	metaVersion      = "schema_version"
	metaInstallation = "installation_id"
	metaMigration    = "migration" // who migrates, until when
	metaImported     = "imported." // + table: that the legacy table was imported, or need not be
)

// SchemaState is how our tables stand to this program.
type SchemaState struct {
	Have    int      // the schema's version in the database, 0 = never migrated
	Want    int      // this program's
	Missing []string // tables and columns that this program needs and that are not there
}

// OK says that the program can work with the tables. Those of a newer program hold all that this one needs.
func (st SchemaState) OK() bool { return st.Have >= st.Want && len(st.Missing) == 0 }

// Newer says that a newer program has migrated the database.
func (st SchemaState) Newer() bool { return st.Have > st.Want }

// Err is nil when the state is OK, else kvm.ErrAdmin with what is missing and the command that mends it.
func (st SchemaState) Err() error {
	var err error
	switch {
	case st.OK():
		return nil
	case st.Have == 0:
		err = kvm.Errorf(kvm.ErrAdmin, "puqkvm's tables have not been made in this database yet")
	case st.Have < st.Want:
		err = kvm.Errorf(kvm.ErrAdmin, "puqkvm's tables are of version %d, this program needs %d", st.Have, st.Want)
	default:
		err = kvm.Errorf(kvm.ErrAdmin, "missing in puqkvm's tables: %s", strings.Join(st.Missing, ", "))
	}
	return kvm.WithHint(err, "puqkvm db migrate")
}

// QueueErr is Err for who only queues what WHMCS asks for: WHMCS does not ask twice, so that must work between a new program
// and its migration.
func (st SchemaState) QueueErr() error {
	if st.Have > 0 && st.Have < st.Want && !slices.ContainsFunc(st.Missing, func(name string) bool { return !slices.Contains(sinceVersion1[:], name) }) {
		return nil
	}
	return st.Err()
}

// SchemaState looks at our tables as they are now.
func (s *Store) SchemaState(ctx context.Context) (SchemaState, error) {
	have, err := readColumns(ctx, s.db, ownTables())
	if err != nil {
		return SchemaState{}, s.failed(err, "puqkvm's tables")
	}
	version := ""
	if have.has(metaTable, "value") {
		if version, err = s.meta(ctx, s.db, metaVersion); err != nil {
			return SchemaState{}, err
		}
	}
	return schemaState(have, version)
}

// schemaState compares the columns, and the version in the meta table ("" = none), with what this program needs.
func schemaState(have columns, version string) (SchemaState, error) {
	st := SchemaState{Want: schemaVersion}
	for _, t := range ownSchema() {
		if have.table(t.name) == nil {
			st.Missing = append(st.Missing, t.name)
			continue
		}
		for _, c := range t.columns {
			if !have.has(t.name, c.name) {
				st.Missing = append(st.Missing, t.name+"."+c.name)
			}
		}
	}
	if version != "" {
		var err error
		if st.Have, err = strconv.Atoi(version); err != nil {
			return st, kvm.Errorf(kvm.ErrAdmin, "%s: %s is %q, which is no number", metaTable, metaVersion, version)
		}
	}
	return st, nil
}

// Opened is what our tables said when the database was opened: what every command needs, read in one query.
type Opened struct {
	Schema   SchemaState
	Settings map[string]string // that were set, by name

	installation string
}

// Opened is what our tables said when the database was opened.
func (s *Store) Opened() Opened { return s.opened }

// readOpened reads the settings and the meta table, as far as they are there.
func (s *Store) readOpened(ctx context.Context) (Opened, error) {
	o := Opened{Settings: map[string]string{}}
	version := ""
	var parts []string
	for _, table := range []string{settingsTable, metaTable} {
		if s.has(table, "name") && s.has(table, "value") {
			// The collation is said, for a table that somebody has converted must not make the union fail.
			parts = append(parts, "SELECT '"+table+"', CONVERT(name USING utf8mb4) COLLATE utf8mb4_bin, CONVERT(COALESCE(value, '') USING utf8mb4) COLLATE utf8mb4_bin FROM "+table)
		}
	}
	if len(parts) > 0 {
		rows, err := s.db.QueryContext(ctx, strings.Join(parts, " UNION ALL "))
		if err != nil {
			return o, s.failed(err, "settings")
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var table, name, value string
			if err := rows.Scan(&table, &name, &value); err != nil {
				return o, s.failed(err, "settings")
			}
			switch {
			case table == settingsTable:
				o.Settings[name] = value
			case name == metaVersion:
				version = value
			case name == metaInstallation:
				o.installation = value
			}
		}
		if err := rows.Err(); err != nil {
			return o, s.failed(err, "settings")
		}
	}
	var err error
	o.Schema, err = schemaState(s.columns, version)
	return o, err
}

// Check is nil when the program can work with our tables: see SchemaState.Err.
func (s *Store) Check(ctx context.Context) error {
	st, err := s.SchemaState(ctx)
	if err != nil {
		return err
	}
	return st.Err()
}

// Installation is this installation's random id, made by Migrate and never changed: part of the mark on each VM.
func (s *Store) Installation(ctx context.Context) (string, error) {
	if s.opened.installation != "" {
		return s.opened.installation, nil
	}
	id, err := s.meta(ctx, s.db, metaInstallation)
	if err == nil && id == "" {
		err = kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "this installation has no id in %s", metaTable), "puqkvm db migrate")
	}
	return id, err
}

// meta reads a row of the meta table, "" = none.
func (s *Store) meta(ctx context.Context, db execer, name string) (string, error) {
	var value sql.NullString
	err := db.QueryRowContext(ctx, "SELECT value FROM "+metaTable+" WHERE name = ?", name).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", s.failed(err, "%s", metaTable)
	}
	return value.String, nil
}

func randomHex(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("random number: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// AddonCron is kvm.ErrRefused while WHMCS has the PHP module's addon activated: two programs would work on one set of
// tables.
func (s *Store) AddonCron(ctx context.Context) error {
	var rows int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM tbladdonmodules WHERE module = 'puq_proxmox_kvm'").Scan(&rows)
	if err != nil {
		return s.failed(err, "addon modules")
	}
	if rows == 0 {
		return nil
	}
	return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the PHP addon PUQ Proxmox KVM is activated in this WHMCS, and its cron works on the same tables"),
		"in WHMCS, first set the addon's option to delete tables to No, then deactivate the addon under Addon Modules")
}
