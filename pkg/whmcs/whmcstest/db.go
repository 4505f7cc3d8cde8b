package whmcstest

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
)

// EnvDSN names the server: a DSN of go-sql-driver/mysql without a database, such as root@unix(/run/x)/. scripts/mariadb.sh
// sets it.
const EnvDSN = "PUQKVM_TEST_MYSQL"

//go:embed schema.sql
var schema string

//go:embed php.sql
var phpTables string

// TB is what NewDB needs of a *testing.T.
type TB interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
	Context() context.Context
}

// DB is a database of WHMCS's tables.
type DB struct {
	*sql.DB
	Name string
	DSN  string // of this database, for whmcs.ParseDSN

	server string
	tb     TB
}

// Option chooses what a new database holds.
type Option func(*content)

type content struct{ scripts []string }

// WithPHPTables adds tables and rows as an installation of the PHP module may have left them.
func WithPHPTables() Option {
	return func(c *content) { c.scripts = append(c.scripts, phpTables) }
}

// Empty leaves WHMCS's own tables out.
func Empty() Option { return func(c *content) { c.scripts = nil } }

// NewDB gives t a fresh database, dropped when t ends.
func NewDB(t TB, options ...Option) *DB {
	t.Helper()
	server := os.Getenv(EnvDSN)
	if server == "" {
		t.Fatal("this test needs a database server and " + EnvDSN + " is not set: run make test, or scripts/mariadb.sh run -- go test ./...")
	}
	db, err := Create(t.Context(), server, options...)
	if err != nil {
		t.Fatal(err)
	}
	db.tb = t
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := db.Drop(ctx); err != nil {
			t.Fatal(err)
		}
	})
	return db
}

// Create makes a database with a random name on the server.
func Create(ctx context.Context, server string, options ...Option) (*DB, error) {
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("database's name: %w", err)
	}
	name := "puqkvm_test_" + hex.EncodeToString(random)
	if err := onServer(ctx, server, "CREATE DATABASE "+name+" DEFAULT CHARACTER SET utf8 COLLATE utf8_unicode_ci"); err != nil {
		return nil, err
	}
	d := &DB{Name: name, DSN: dsn(server, name, ""), server: server}
	var err error
	if d.DB, err = sql.Open("mysql", dsn(server, name, "multiStatements=true&parseTime=true&"+session)); err == nil {
		c := content{scripts: []string{schema}}
		for _, o := range options {
			o(&c)
		}
		for _, script := range c.scripts {
			if _, err = d.ExecContext(ctx, script); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", name, err), d.Drop(ctx))
	}
	return d, nil
}

// Drop removes the database and ends its connections.
func (d *DB) Drop(ctx context.Context) error {
	if d.DB != nil {
		if err := d.Close(); err != nil {
			return fmt.Errorf("database %s: %w", d.Name, err)
		}
	}
	return onServer(ctx, d.server, "DROP DATABASE IF EXISTS "+d.Name)
}

// session lets zero dates in and refuses what would be cut off, whatever the server's own mode.
const session = "sql_mode=%27STRICT_TRANS_TABLES%2CNO_ENGINE_SUBSTITUTION%27"

// dsn puts database and parameters into the server's DSN.
func dsn(server, database, params string) string {
	base, own, _ := strings.Cut(server, "?")
	base = base[:strings.LastIndexByte(base, '/')+1] + database
	switch {
	case own != "" && params != "":
		return base + "?" + own + "&" + params
	case own+params != "":
		return base + "?" + own + params
	}
	return base
}

func onServer(ctx context.Context, server, statement string) error {
	db, err := sql.Open("mysql", dsn(server, "", ""))
	if err != nil {
		return fmt.Errorf("%s: %w", EnvDSN, err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// Exec runs a statement for the test.
func (d *DB) Exec(query string, args ...any) {
	d.tb.Helper()
	if _, err := d.ExecContext(d.tb.Context(), query, args...); err != nil {
		d.tb.Fatal(fmt.Errorf("%s: %w", query, err))
	}
}

// Text is the one value that the query gives, as text; NULL is "".
func (d *DB) Text(query string, args ...any) string {
	d.tb.Helper()
	var out sql.NullString
	if err := d.QueryRowContext(d.tb.Context(), query, args...).Scan(&out); err != nil {
		d.tb.Fatal(fmt.Errorf("%s: %w", query, err))
	}
	return out.String
}
