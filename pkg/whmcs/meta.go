package whmcs

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const metaTable = "puq_proxmox_kvm_meta"

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

// SchemaState looks at our tables as they are now.
func (s *Store) SchemaState(ctx context.Context) (SchemaState, error) {
	st := SchemaState{Want: schemaVersion}
	have, err := readColumns(ctx, s.db, ownTables())
	if err != nil {
		return st, s.failed(err, "puqkvm's tables")
	}
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
	if have.has(metaTable, "value") {
		text, err := s.meta(ctx, s.db, metaVersion)
		if err != nil {
			return st, err
		}
		if text != "" {
			if st.Have, err = strconv.Atoi(text); err != nil {
				return st, kvm.Errorf(kvm.ErrAdmin, "%s: %s is %q, which is no number", metaTable, metaVersion, text)
			}
		}
	}
	return st, nil
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
