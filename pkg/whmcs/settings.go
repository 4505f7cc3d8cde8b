package whmcs

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Settings are the run-time settings that were set, by name; the others have their defaults.
func (s *Store) Settings(ctx context.Context) (map[string]string, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT name, COALESCE(value, '') FROM puq_proxmox_kvm_settings")
	if err != nil {
		return nil, s.failed(err, "settings")
	}
	defer func() { _ = rows.Close() }()
	out := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, s.failed(err, "settings")
		}
		out[name] = value
	}
	if err := rows.Err(); err != nil {
		return nil, s.failed(err, "settings")
	}
	return out, nil
}

// SetSetting stores a setting. Which names and values there are is the caller's to know.
func (s *Store) SetSetting(ctx context.Context, name, value string) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_settings (name, value, updated_at) VALUES (?, ?, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE value = VALUES(value), updated_at = VALUES(updated_at)`, name, value)
	return s.failed(err, "setting %s", name)
}

// UnsetSetting gives a setting its default again.
func (s *Store) UnsetSetting(ctx context.Context, name string) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM puq_proxmox_kvm_settings WHERE name = ?", name)
	return s.failed(err, "setting %s", name)
}

// document reads a JSON document of settings; none is "{}".
func (s *Store) document(ctx context.Context, query string, id int64, what string) ([]byte, error) {
	var text sql.NullString
	err := s.db.QueryRowContext(ctx, query, id).Scan(&text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, s.failed(err, "settings of %s %d", what, id)
	}
	if text.String == "" {
		return []byte("{}"), nil
	}
	return []byte(text.String), nil
}

// replaceDocument stores now where was still stands, so that of two changes made at once none is lost. insert makes an
// empty document where there is none; update is conditional.
func (s *Store) replaceDocument(ctx context.Context, insert, update string, id int64, was, now []byte, what string) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(now, &object); err != nil || object == nil {
		return kvm.Errorf(kvm.ErrInvalid, "settings of %s %d: not a JSON object", what, id)
	}
	if bytes.Equal(bytes.TrimSpace(was), []byte("{}")) || len(was) == 0 {
		was = []byte("{}")
		if _, err := s.db.ExecContext(ctx, insert, id); err != nil {
			return s.failed(err, "settings of %s %d", what, id)
		}
	}
	res, err := s.db.ExecContext(ctx, update, string(now), id, string(was))
	if err != nil {
		return s.failed(err, "settings of %s %d", what, id)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, kvm.WithHint(kvm.Errorf(kvm.ErrChanged, "the settings of %s %d were changed by somebody else meanwhile; nothing was stored", what, id), "the same command once more"))
	}
	return nil
}

// failed wraps an error of the database with what was being done, and gives it the class that callers decide on. It is
// nil for nil.
func (s *Store) failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf(format+": %w", append(args, err)...)
	var e *mysql.MySQLError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &e):
		switch e.Number {
		case 1146, 1054: // no such table, no such column
			return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%w", err), "puqkvm db migrate")
		case 1142, 1143, 1227: // no privilege
			return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%w", err), "GRANT ALL ON `%s`.* to WHMCS's database user", s.name)
		case 1020, 1205, 1213: // conflicts with somebody else's transaction
			return kvm.Errorf(kvm.ErrBusy, "%w", err)
		case 1047: // a Galera node without its cluster
			return kvm.Errorf(kvm.ErrUnreachable, "%w", err)
		case 1180, 1317: // the commit, or the statement, was interrupted
			return kvm.Errorf(kvm.ErrUnknown, "%w", err)
		}
		return err
	case unknownOutcome(err), errors.Is(err, context.DeadlineExceeded):
		return kvm.Errorf(kvm.ErrUnknown, "%w", err)
	}
	return kvm.Errorf(kvm.ErrUnreachable, "%w", err)
}
