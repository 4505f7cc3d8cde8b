package whmcs

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// DefaultModule is the directory name of the server module whose products are ours, unless the setting whmcs.module
// says otherwise.
const DefaultModule = "puqProxmoxKVM"

// Options are what Open needs beside the database.
type Options struct {
	EncryptionHash kvm.Secret  // cc_encryption_hash; without it no password can be read or written
	Clock          clock.Clock // nil = clock.Wall
}

// Store is WHMCS's database with our tables in it.
type Store struct {
	db      *sql.DB
	config  *mysql.Config // what db connects with
	host    string        // for messages
	name    string        // the database
	clock   clock.Clock
	cipher  Cipher
	module  string
	version string
	columns columns // as they were when the database was opened
	opened  Opened

	given given // see Allocate
	zones look[[]kvm.DNSZone]
	due   dueMails // see TakeMail
}

// Open connects to d and looks at what is there. It is an error when the database cannot be reached (kvm.ErrUnreachable),
// refuses the login (kvm.ErrAuth), is not there, or lacks a table or column of WHMCS's that is needed (kvm.ErrAdmin).
// Our own tables may be missing: see SchemaState.
func Open(ctx context.Context, d Database, o Options) (*Store, error) {
	config := d.config()
	s := &Store{config: config, host: d.where(), name: d.Name, clock: o.Clock, cipher: NewCipher(o.EncryptionHash), module: DefaultModule}
	if s.clock == nil {
		s.clock = clock.Wall{}
	}
	if err := s.connect(); err != nil {
		return nil, err
	}
	if err := s.inspect(ctx); err != nil {
		_ = s.db.Close()
		return nil, err
	}
	return s, nil
}

// connect makes the pool. Nothing is dialled yet.
func (s *Store) connect() error {
	connector, err := mysql.NewConnector(s.config)
	if err != nil {
		return kvm.Errorf(kvm.ErrInvalid, "database %s on %s: %w", s.name, s.host, err)
	}
	s.db = sql.OpenDB(connector)
	s.db.SetMaxOpenConns(maxConns)
	s.db.SetMaxIdleConns(maxConns)
	s.db.SetConnMaxIdleTime(idleTime)
	s.db.SetConnMaxLifetime(lifeTime)
	return nil
}

func (s *Store) inspect(ctx context.Context) error {
	galera, err := s.galera(ctx)
	if err != nil {
		return connectError(err, s.host, s.name, s.config.User)
	}
	if galera && s.config.Params[syncWait] == "" {
		if err := s.db.Close(); err != nil {
			return fmt.Errorf("database %s on %s: %w", s.name, s.host, err)
		}
		s.config.Params[syncWait] = "1"
		if err := s.connect(); err != nil {
			return err
		}
	}
	if s.columns, err = readColumns(ctx, s.db, append(whmcsTables(), ownTables()...)); err != nil {
		return fmt.Errorf("database %s on %s: columns: %w", s.name, s.host, err)
	}
	if err := s.columns.check(whmcsNeeds, s.name); err != nil {
		return err
	}
	if s.opened, err = s.readOpened(ctx); err != nil {
		return err
	}
	if m := s.opened.Settings["whmcs.module"]; m != "" {
		s.module = m
	}
	return nil
}

// galera says whether the server is a node of a Galera cluster, and notes its version.
func (s *Store) galera(ctx context.Context) (bool, error) {
	rows, err := s.db.QueryContext(ctx, "SHOW VARIABLES WHERE Variable_name IN ('version', 'wsrep_on')")
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	on := false
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return false, err
		}
		switch strings.ToLower(name) {
		case "version":
			s.version = value
		case "wsrep_on":
			on = value == "ON"
		}
	}
	return on, rows.Err()
}

// Close ends all connections.
func (s *Store) Close() error { return s.db.Close() }

// Module is the server module whose products are ours: the setting whmcs.module.
func (s *Store) Module() string { return s.module }

// Version is what the database server calls itself.
func (s *Store) Version() string { return s.version }

// has says whether the table has the column.
func (s *Store) has(table, column string) bool { return s.columns.has(table, column) }
