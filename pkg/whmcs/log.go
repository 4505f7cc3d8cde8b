package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// maxLogText is the most that is written into a column of a log, in bytes: older WHMCS have text columns (65535) for it.
const maxLogText = 60000

// logTime is how WHMCS's datetimes are written: PHP's local time.
const logTime = "2006-01-02 15:04:05"

// ActivityLog writes an entry into WHMCS's activity log. client 0 belongs to no client; clients read their own entries,
// so nothing secret may stand in text. local is the time in WHMCS's zone.
func (s *Store) ActivityLog(ctx context.Context, client int64, text string, local time.Time) error {
	return s.failed(insertActivity(ctx, s.db, client, text, local), "activity log")
}

func insertActivity(ctx context.Context, db execer, client int64, text string, local time.Time) error {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	const insert = "INSERT INTO tblactivitylog (date, description, user, userid, ipaddr) VALUES (?, ?, 'System', ?, '')"
	_, err := db.ExecContext(ctx, insert, local.Format(logTime), logText(text), client)
	if foreignCharacter(err) {
		_, err = db.ExecContext(ctx, insert, local.Format(logTime), asciiText(text), client)
	}
	return err
}

// ModuleLog writes a call into WHMCS's module log, while the administrator has that switched on. Each secret is masked
// in all forms in which it may stand in the texts. local is the time in WHMCS's zone.
func (s *Store) ModuleLog(ctx context.Context, local time.Time, action, request, response string, secrets ...kvm.Secret) error {
	on, err := s.ModuleLogOn(ctx)
	if err != nil || !on {
		return err
	}
	mask := newMask(secrets)
	write := func(fit func(string) string) error {
		_, err := s.db.ExecContext(ctx, "INSERT INTO tblmodulelog (date, module, action, request, response, arrdata) VALUES (?, ?, ?, ?, ?, '')",
			local.Format(logTime), s.module, fit(mask.Replace(action)), fit(mask.Replace(request)), fit(mask.Replace(response)))
		return err
	}
	if err = write(logText); foreignCharacter(err) {
		err = write(asciiText)
	}
	return s.failed(err, "module log")
}

// ModuleLogOn says whether WHMCS's module debug log is on.
func (s *Store) ModuleLogOn(ctx context.Context) (bool, error) {
	var value string
	err := s.db.QueryRowContext(ctx, "SELECT value FROM tblconfiguration WHERE setting = 'ModuleDebugMode'").Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	value = strings.ToLower(strings.TrimSpace(value))
	return value != "" && value != "0" && value != "off", s.failed(err, "whether the module log is on")
}

// logText makes text fit for a utf8 column of three bytes a character, and short enough.
func logText(text string) string {
	text = strings.Map(func(r rune) rune {
		if r > 0xFFFF {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
	if len(text) <= maxLogText {
		return text
	}
	end := maxLogText
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// foreignCharacter: the column's character set lacks a character; old installations have latin1.
func foreignCharacter(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && (e.Number == 1366 || e.Number == 1267)
}

// asciiText is logText with a question mark for every character beyond ASCII.
func asciiText(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, logText(text))
}
