package whmcs

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// upgrade is what an existing table lacks: one ALTER TABLE, so that it is copied at most once.
func (s *Store) upgrade(ctx context.Context, t tableDef, have map[string]column) ([]step, error) {
	var parts []string
	for _, c := range t.columns {
		if _, found := have[strings.ToLower(c.name)]; !found {
			parts = append(parts, "ADD COLUMN "+quoteName(c.name)+" "+c.definition)
		}
	}
	indexes, err := s.indexes(ctx, t.name)
	if err != nil {
		return nil, err
	}
	for _, k := range t.keys {
		if indexes.serves(k) {
			continue
		}
		if k.unique() && allThere(k, have) {
			if err := s.duplicateRows(ctx, t, k); err != nil {
				return nil, err
			}
		}
		if k.kind == "PRIMARY KEY" && t.name == "puqProxmoxKVM_vm_info" {
			k.kind = "UNIQUE KEY" // it has its rows, and perhaps a primary key of another kind
		}
		if k.kind == "PRIMARY KEY" && indexes.primary() {
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s has another primary key than %s", t.name, k.columns), "rename the table and run puqkvm db migrate again")
		}
		parts = append(parts, "ADD "+k.definition(have))
	}
	if c, found := have["service_id"]; found && !strings.HasSuffix(c.dataType, "int") {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s.%s is %s, not a number", t.name, c.name, c.fullType), "rename the table and run puqkvm db migrate again")
	}
	if t.name == statisticsTable {
		if err := s.swallows(ctx, t, indexes); err != nil {
			return nil, err
		}
	}
	parts = append(parts, relaxed(t, have)...)
	for _, c := range have {
		if !strings.EqualFold(c.engine, "InnoDB") {
			parts = append(parts, "ENGINE=InnoDB") // claims need transactions
		}
		break
	}
	if len(parts) == 0 {
		return nil, nil
	}
	return []step{s.exec("ALTER TABLE " + quoteName(t.name) + " " + strings.Join(parts, ", "))}, nil
}

// swallows refuses a table in which a unique index of another program's could take a row of ours for one of its own, so that
// our INSERT … ON DUPLICATE KEY UPDATE would write to that.
func (s *Store) swallows(ctx context.Context, t tableDef, indexes indexSet) error {
	var counted sql.NullString // a column that numbers its rows itself
	err := s.db.QueryRowContext(ctx, `SELECT MAX(COLUMN_NAME) FROM information_schema.COLUMNS
		WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND EXTRA LIKE '%auto_increment%'`, t.name).Scan(&counted)
	if err != nil {
		return s.failed(err, "columns of %s", t.name)
	}
	for _, index := range indexes {
		ours := slices.ContainsFunc(t.keys, func(k keyDef) bool { return k.unique() && k.columns != "id" && slices.Equal(index.columns, k.names()) })
		if index.unique && !ours && !(len(index.columns) == 1 && strings.EqualFold(index.columns[0], counted.String)) {
			return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s has a unique key on %s, which leaves no room for a row an hour", t.name, strings.Join(index.columns, ", ")),
				"rename the table and run puqkvm db migrate again")
		}
	}
	return nil
}

func allThere(k keyDef, have map[string]column) bool {
	for _, name := range k.names() {
		if _, found := have[strings.ToLower(name)]; !found {
			return false
		}
	}
	return true
}

// relaxed makes columns of another program's optional that would make our INSERTs fail, and those of ours nullable that
// we set to NULL.
func relaxed(t tableDef, have map[string]column) []string {
	ours := map[string]string{}
	for _, c := range t.columns {
		ours[c.name] = c.definition
	}
	var parts []string
	for _, name := range sortedKeys(have) {
		c := have[name]
		definition, known := ours[c.name]
		nullable := strings.Contains(definition, " NULL") && !strings.Contains(definition, "NOT NULL")
		switch {
		case c.null || known && !nullable, !known && (c.fallback || c.dataType == "enum"):
			continue
		case !known && (strings.HasSuffix(c.dataType, "int") || c.dataType == "decimal" || c.dataType == "double" || c.dataType == "float"):
			parts = append(parts, "ALTER COLUMN "+quoteName(c.name)+" SET DEFAULT 0")
			continue
		case !known && strings.HasSuffix(c.dataType, "char"):
			parts = append(parts, "ALTER COLUMN "+quoteName(c.name)+" SET DEFAULT ''")
			continue
		}
		charset := ""
		if c.charset != "" {
			charset = " CHARACTER SET " + c.charset + " COLLATE " + c.collate
		}
		parts = append(parts, "MODIFY COLUMN "+quoteName(c.name)+" "+c.fullType+charset+" NULL")
	}
	return parts
}

func sortedKeys(m map[string]column) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// indexSet are a table's indexes: by name, the columns in order; a column of which only a part is in the index is
// written with its length.
type indexSet map[string]*struct {
	unique  bool
	columns []string
}

func (s *Store) indexes(ctx context.Context, table string) (indexSet, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? ORDER BY INDEX_NAME, SEQ_IN_INDEX`, table)
	if err != nil {
		return nil, s.failed(err, "indexes of %s", table)
	}
	defer func() { _ = rows.Close() }()
	out := indexSet{}
	for rows.Next() {
		var name, column string
		var several bool
		var part sql.NullInt64
		if err := rows.Scan(&name, &several, &column, &part); err != nil {
			return nil, s.failed(err, "indexes of %s", table)
		}
		if out[name] == nil {
			out[name] = &struct {
				unique  bool
				columns []string
			}{unique: !several}
		}
		if part.Valid {
			column += fmt.Sprintf("(%d)", part.Int64)
		}
		out[name].columns = append(out[name].columns, strings.ToLower(column))
	}
	return out, s.failed(rows.Err(), "indexes of %s", table)
}

func (x indexSet) primary() bool { return x["PRIMARY"] != nil }

// serves says whether an index does what k is for: a unique one on exactly its columns, or else one that starts with
// them, a part of each being enough.
func (x indexSet) serves(k keyDef) bool {
	want := k.names()
	for _, index := range x {
		if k.unique() {
			if index.unique && slices.Equal(index.columns, want) {
				return true
			}
			continue
		}
		if len(index.columns) < len(want) {
			continue
		}
		fits := true
		for i, name := range want {
			column, _, _ := strings.Cut(index.columns[i], "(")
			fits = fits && column == name
		}
		if fits {
			return true
		}
	}
	return false
}

// legacy are the tables of the PHP module's second version and what they become.
var legacy = [...]struct {
	from, to string
	needed   string // columns without which a row says nothing
	columns  string // what is copied
	instead  string
}{
	{"puq_customization_module_puq_proxmox_kvm_ip_pools", "puq_proxmox_kvm_ip_pools", "server_id type bridge gateway mask address_start address_stop",
		"server_id type bridge vlan gateway mask dns1 dns2 address_start address_stop", "puqkvm ippool add"},
	{"puq_customization_module_puq_proxmox_kvm_dns_zones", "puq_proxmox_kvm_dns_zones", "zone type config", "zone type config", "puqkvm dns zone add"},
}

func legacyTables() []string {
	var names []string
	for _, l := range legacy {
		names = append(names, l.from)
	}
	return names
}

// imports copy the legacy tables, once ever, where ours have no row.
func (s *Store) imports(ctx context.Context, have columns) ([]step, error) {
	var steps []step
	for _, l := range legacy {
		if have.table(l.from) == nil {
			continue
		}
		marker := metaImported + l.to
		if have.table(metaTable) != nil {
			if done, err := s.meta(ctx, s.db, marker); err != nil || done != "" {
				if err != nil {
					return nil, err
				}
				continue
			}
		}
		theirs, err := s.rows(ctx, l.from)
		if err != nil {
			return nil, err
		}
		ours := 0
		if have.table(l.to) != nil {
			if ours, err = s.rows(ctx, l.to); err != nil {
				return nil, err
			}
		}
		mark := "INSERT IGNORE INTO " + metaTable + " (name, value) VALUES ('" + marker + "', '1')"
		var missing, columns, values []string
		for _, name := range strings.Fields(l.columns) {
			if have.has(l.from, name) {
				columns = append(columns, quoteName(name))
				values = append(values, optional(name))
			} else if slices.Contains(strings.Fields(l.needed), name) {
				missing = append(missing, name)
			}
		}
		switch {
		case theirs == 0:
		case ours > 0:
			steps = append(steps, s.exec(mark))
		case len(missing) > 0:
			steps = append(steps, step{text: fmt.Sprintf("-- %s is not imported: it has no %s; enter its %d rows with %s", l.from, strings.Join(missing, ", "), theirs, l.instead)}, s.exec(mark))
		default:
			order := ""
			if have.has(l.from, "id") {
				order = " ORDER BY id"
			}
			query := fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s%s", l.to, strings.Join(columns, ", "), strings.Join(values, ", "), l.from, order)
			steps = append(steps, step{query, func(ctx context.Context) error {
				err := s.inTx(ctx, func(tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, query); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, mark)
					return err
				})
				return kvm.WithHint(err, "mend the row in %s, or rename that table and enter its rows with %s", l.from, l.instead)
			}})
		}
	}
	return steps, nil
}

// optional is the column in the SELECT of an import: those that the legacy tables may leave NULL.
func optional(column string) string {
	switch column {
	case "vlan":
		return "COALESCE(`vlan`, 0)"
	case "dns1", "dns2":
		return "COALESCE(" + quoteName(column) + ", '')"
	}
	return quoteName(column)
}

func (s *Store) rows(ctx context.Context, table string) (int, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&n)
	return n, s.failed(err, "%s", table)
}
