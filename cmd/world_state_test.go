package cmd

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// tables are all tables of the database.
func (w *world) tables() []string {
	w.t.Helper()
	return w.column("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME")
}

// column is the query's one column.
func (w *world) column(query string, args ...any) []string {
	w.t.Helper()
	var out []string
	for _, row := range w.rows(query, args...) {
		out = append(out, row[0])
	}
	return out
}

// rows is what the query gives, NULL as \N.
func (w *world) rows(query string, args ...any) [][]string {
	w.t.Helper()
	rows, err := w.db.QueryContext(w.t.Context(), query, args...)
	if err != nil {
		w.t.Fatal(fmt.Errorf("%s: %w", query, err))
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		w.t.Fatal(err)
	}
	var out [][]string
	for rows.Next() {
		values, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			w.t.Fatal(err)
		}
		row := make([]string, len(names))
		for i, v := range values {
			if row[i] = v.String; !v.Valid {
				row[i] = `\N`
			}
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// state is all that a command which was refused must leave as it was: every row of every table, every VM, every mail. One
// line each.
func (w *world) state() []string {
	w.t.Helper()
	var out []string
	for _, table := range w.tables() {
		var lines []string
		for _, row := range w.rows("SELECT * FROM `" + table + "`") {
			lines = append(lines, table+": "+strings.Join(row, " | "))
		}
		slices.Sort(lines)
		out = append(out, lines...)
	}
	if w.sim != nil {
		for id, vm := range w.sim.VMs() {
			out = append(out, fmt.Sprintf("VM %09d: %+v", id, vm))
		}
	}
	if w.api != nil {
		for _, m := range w.api.Mails() {
			out = append(out, fmt.Sprintf("mail: %s %s %d", m.Action, m.Template, m.ServiceID))
		}
	}
	slices.Sort(out)
	return out
}

// changed are the lines that stand in one of two states only.
func changed(before, after []string) []string {
	var out []string
	for _, l := range before {
		if !slices.Contains(after, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range after {
		if !slices.Contains(before, l) {
			out = append(out, "+ "+l)
		}
	}
	return out
}

// checkJSON says what is wrong with stdout as JSON: each line is one object or array.
func checkJSON(stdout string) error {
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	for _, line := range lines {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		switch v.(type) {
		case map[string]any, []any:
		default:
			return fmt.Errorf("%q is neither an object nor an array", line)
		}
	}
	return nil
}

// service adds a service of product 1, and queues nothing.
func (w *world) service(id int64) {
	w.t.Helper()
	w.db.AddService(whmcstest.Service{ID: id, ClientID: 42, ProductID: 1, ServerID: 1})
}

// message is why the service does not move.
func (w *world) message(id int64) string {
	w.t.Helper()
	return w.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
}

// newUnmigrated is a WHMCS with its database alone, in which puqkvm has never been.
func newUnmigrated(t testing.TB, options ...whmcstest.Option) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFake(epoch), db: whmcstest.NewDB(t, options...), rand: &lockedRand{src: rand.NewChaCha8([32]byte{1})}}
	var err error
	if w.env, err = surroundings(w.db.DSN, testHash, "http://127.0.0.1:1/", "puqkvm", testAPISecret); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "HOME="+t.TempDir())
	return w
}

// asNobody runs a command as a process whose user has no rights at all, where this user may do that; else, not being root,
// as this user. dir can be read by everybody.
func (w *world) asNobody(dir string, args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		w.t.Fatal(err)
	}
	program := filepath.Join(dir, "puqkvm")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		w.t.Fatal(err)
	}
	c := exec.Command(program, args...)
	c.Dir = dir
	c.Env = append([]string{asProgram + "=1", "TZ=UTC", "GOCOVERDIR=" + dir}, w.env...)
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	var failed *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &failed) {
		w.t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}
