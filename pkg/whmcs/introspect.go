package whmcs

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// need is a table of WHMCS's with the columns that are used. Columns that only some versions of WHMCS have
// (tblhosting.qty, updated_at) are not named: who uses one asks [Store.has].
type need struct {
	table   string
	columns string // blank separated
}

var whmcsNeeds = [...]need{
	{"tblhosting", "id userid packageid server domain domainstatus username password dedicatedip assignedips"},
	{"tblhostingconfigoptions", "id relid configid optionid qty"},
	{"tblproducts", "id name servertype servergroup"},
	{"tblproductconfiglinks", "gid pid"},
	{"tblproductconfigoptions", "id gid optionname optiontype order"},
	{"tblproductconfigoptionssub", "id configid optionname"},
	{"tblcustomfields", "id type relid fieldname"},
	{"tblcustomfieldsvalues", "id fieldid relid value"},
	{"tblservers", "id name ipaddress hostname assignedips type username password secure port active disabled"},
	{"tblservergroupsrel", "groupid serverid"},
	{"tblconfiguration", "setting value"},
	{"tbladdonmodules", "module setting value"},
	{"tblemailtemplates", "name type subject message language disabled"},
	{"tblemails", "id userid subject message"},
	{"tblactivitylog", "date description user userid ipaddr"},
	{"tblmodulelog", "date module action request response arrdata"},
}

// column is what information_schema says of a column.
type column struct {
	name     string
	dataType string // varchar, int, …
	fullType string // varchar(64), int(11) unsigned, …
	null     bool
	fallback bool // has a default, or fills itself
	charset  string
	collate  string
	engine   string // of the table
}

// columns are those of each table, by lower-cased table and column name: MySQL does not tell column names apart by
// case, and tables only on some systems.
type columns map[string]map[string]column

func (c columns) has(table, name string) bool {
	_, found := c.column(table, name)
	return found
}

func (c columns) column(table, name string) (column, bool) {
	col, found := c[strings.ToLower(table)][strings.ToLower(name)]
	return col, found
}

func (c columns) table(name string) map[string]column { return c[strings.ToLower(name)] }

func whmcsTables() []string {
	var names []string
	for _, n := range whmcsNeeds {
		names = append(names, n.table)
	}
	return names
}

// readColumns looks tables up in information_schema, in one query: a line for each column, and one for each table. (A
// join of the two takes MariaDB ten times as long.)
func readColumns(ctx context.Context, db *sql.DB, tables []string) (columns, error) {
	args := make([]any, 0, 2*len(tables))
	for range 2 {
		for _, t := range tables {
			args = append(args, t)
		}
	}
	list := " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN (" + marks(len(tables)) + ")"
	rows, err := db.QueryContext(ctx, `SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE,
			COLUMN_DEFAULT IS NOT NULL OR EXTRA LIKE '%auto_increment%' OR EXTRA LIKE '%GENERATED%',
			COALESCE(CHARACTER_SET_NAME, ''), COALESCE(COLLATION_NAME, ''), ''
			FROM information_schema.COLUMNS`+list+`
		UNION ALL SELECT TABLE_NAME, '', '', '', '', 0, '', '', COALESCE(ENGINE, '') FROM information_schema.TABLES`+list, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := columns{}
	engines := map[string]string{}
	for rows.Next() {
		var table, null string
		var c column
		if err := rows.Scan(&table, &c.name, &c.dataType, &c.fullType, &null, &c.fallback, &c.charset, &c.collate, &c.engine); err != nil {
			return nil, err
		}
		table = strings.ToLower(table)
		if c.name == "" {
			engines[table] = c.engine
			continue
		}
		c.null, c.dataType = null == "YES", strings.ToLower(c.dataType)
		if out[table] == nil {
			out[table] = map[string]column{}
		}
		out[table][strings.ToLower(c.name)] = c
	}
	for table, list := range out {
		for name, c := range list {
			c.engine = engines[table]
			list[name] = c
		}
	}
	return out, rows.Err()
}

// check names every table and column of needs that is missing.
func (c columns) check(needs [len(whmcsNeeds)]need, database string) error {
	var missing []string
	tables := 0
	for _, n := range needs {
		if c.table(n.table) == nil {
			missing = append(missing, n.table)
			tables++
			continue
		}
		for _, name := range strings.Fields(n.columns) {
			if !c.has(n.table, name) {
				missing = append(missing, n.table+"."+name)
			}
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case tables == len(needs):
		return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "the database %q holds no table of WHMCS's", database),
			"check $db_name in WHMCS's configuration.php, or [database] name in puqkvm's own")
	}
	return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "the database %q is not as WHMCS makes it; missing: %s", database, strings.Join(missing, ", ")),
		"finish WHMCS's own update; if this WHMCS is newer than puqkvm, update puqkvm")
}

// Warnings are what the database makes weaker than it should be, a line each; nothing of it stops the program.
func (s *Store) Warnings() []string {
	var out []string
	for _, n := range whmcsNeeds {
		for _, name := range strings.Fields(n.columns) {
			c, _ := s.columns.column(n.table, name)
			if n.table == "tblhosting" && name == "id" && !strings.EqualFold(c.engine, "InnoDB") {
				out = append(out, fmt.Sprintf("tblhosting is stored in %s, which has no transactions: a killed process can leave a service's addresses half written; mend: ALTER TABLE tblhosting ENGINE=InnoDB", c.engine))
			}
			if (n.table == "tblhosting" || n.table == "tblactivitylog") && c.charset != "" && !strings.HasPrefix(c.charset, "utf8") {
				out = append(out, fmt.Sprintf("%s.%s has the character set %s: other characters become a question mark; mend: convert WHMCS's tables to utf8_unicode_ci", n.table, name, c.charset))
			}
		}
		if n.table == "tblactivitylog" || n.table == "tblmodulelog" {
			for _, c := range s.columns.table(n.table) {
				if !c.null && !c.fallback && !slices.Contains(strings.Fields(n.columns), strings.ToLower(c.name)) {
					out = append(out, fmt.Sprintf("%s.%s must have a value and puqkvm does not know it: entries cannot be written; mend: update puqkvm", n.table, c.name))
				}
			}
		}
	}
	if old := tooOld(s.version); old != "" {
		out = append(out, fmt.Sprintf("the database server is %s; %s or later is needed", s.version, old))
	}
	slices.Sort(out)
	return out
}

// tooOld is the least version of the server's kind when version is below it, else "".
func tooOld(version string) string {
	var major, minor int
	text, mariadb := version, strings.Contains(version, "MariaDB")
	if mariadb {
		text = strings.TrimPrefix(text, "5.5.5-") // how MariaDB before 11 spells itself to old clients
	}
	if _, err := fmt.Sscanf(text, "%d.%d", &major, &minor); err != nil {
		return ""
	}
	switch {
	case mariadb && (major < 10 || major == 10 && minor < 3):
		return "MariaDB 10.3"
	case !mariadb && (major < 5 || major == 5 && minor < 7):
		return "MySQL 5.7"
	}
	return ""
}
