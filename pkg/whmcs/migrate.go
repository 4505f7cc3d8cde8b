package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	migrationLife  = 60 * time.Second // how long a migration holds its claim without renewing it
	migrationRenew = migrationLife / 4
	migrationWait  = 10 * time.Minute // for another one to end
)

// Migrate makes our tables, or brings them up to date, and returns the statements that it ran; with plan it runs none. It
// only ever adds: rows and foreign columns stay. Run again, or after it was killed, it does what is left. Of two at once
// the second waits for the first and then finds nothing to do.
//
// Tables that a PHP installation left are taken over. Where their rows contradict what is needed (two rows for one
// service) it is kvm.ErrAdmin, names them, and nothing was changed.
func (s *Store) Migrate(ctx context.Context, plan bool) ([]string, error) {
	// DDL may take long: no read time-out. The claim is real time's, whatever the program's clock.
	slow := &Store{config: s.config.Clone(), host: s.host, name: s.name, clock: clock.Wall{}}
	slow.config.ReadTimeout, slow.config.WriteTimeout = 0, 0
	if err := slow.connect(); err != nil {
		return nil, err
	}
	defer func() { _ = slow.db.Close() }()

	steps, err := slow.plan(ctx)
	if plan || err != nil || len(steps) == 0 {
		return texts(steps), err
	}
	owner, err := NewOwner()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := slow.claimMigration(ctx, owner); err != nil {
		return nil, err
	}
	held := make(chan struct{})
	go func() {
		defer close(held)
		slow.holdMigration(ctx, owner, cancel)
	}()
	done, err := slow.runPlan(ctx)
	if len(done) > 0 && steps[0].text == settingsTables()[0].create() {
		done = append(texts(steps[:1]), done...) // the claim needed the table
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = errors.Join(err, cause)
	}
	cancel(nil)
	<-held
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if _, release := slow.db.ExecContext(end, "UPDATE "+metaTable+" SET value = '' WHERE name = ? AND value LIKE CONCAT('% ', ?)", metaMigration, owner); err == nil && release != nil {
		err = s.failed(release, "end of the migration")
	}
	return done, err
}

// step is one thing to do.
type step struct {
	text string // what is shown: the statement, or a remark that starts with --
	run  func(ctx context.Context) error
}

func texts(steps []step) []string {
	var out []string
	for _, st := range steps {
		out = append(out, st.text)
	}
	return out
}

// runPlan plans anew, since another migration may have ended meanwhile, and does it.
func (s *Store) runPlan(ctx context.Context) ([]string, error) {
	steps, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	var done []string
	for _, st := range steps {
		if st.run != nil {
			if err := st.run(ctx); err != nil {
				return done, s.failed(err, "%s", st.text)
			}
		}
		done = append(done, st.text)
	}
	return done, nil
}

// exec is the step of one statement.
func (s *Store) exec(query string) step {
	return step{query, func(ctx context.Context) error {
		_, err := s.db.ExecContext(ctx, query)
		return err
	}}
}

// plan is what is left to do.
func (s *Store) plan(ctx context.Context) ([]step, error) {
	have, err := readColumns(ctx, s.db, append(ownTables(), legacyTables()...))
	if err != nil {
		return nil, s.failed(err, "puqkvm's tables")
	}
	var steps []step
	for _, t := range ownSchema() {
		if have.table(t.name) == nil {
			steps = append(steps, s.exec(t.create()))
			continue
		}
		more, err := s.upgrade(ctx, t, have.table(t.name))
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	imports, err := s.imports(ctx, have)
	if err != nil {
		return nil, err
	}
	metas, err := s.metaSteps(ctx, have)
	if err != nil {
		return nil, err
	}
	return append(append(steps, imports...), metas...), nil
}

// metaSteps write the installation's id and, as the very last thing, the version.
func (s *Store) metaSteps(ctx context.Context, have columns) ([]step, error) {
	var id, version string
	if have.table(metaTable) != nil {
		var err error
		if id, err = s.meta(ctx, s.db, metaInstallation); err != nil {
			return nil, err
		}
		if version, err = s.meta(ctx, s.db, metaVersion); err != nil {
			return nil, err
		}
	}
	var steps []step
	if id == "" {
		id, err := randomHex(8)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s.exec(fmt.Sprintf("INSERT IGNORE INTO %s (name, value) VALUES ('%s', '%s')", metaTable, metaInstallation, id)))
	}
	if n, err := strconv.Atoi(version); version == "" || err == nil && n < schemaVersion {
		steps = append(steps, s.exec(fmt.Sprintf("INSERT INTO %s (name, value) VALUES ('%s', '%d') ON DUPLICATE KEY UPDATE value = VALUES(value)", metaTable, metaVersion, schemaVersion)))
	}
	return steps, nil
}

// claimMigration waits until nobody else migrates. GET_LOCK would hold on one node of a cluster only.
func (s *Store) claimMigration(ctx context.Context, owner string) error {
	if _, err := s.db.ExecContext(ctx, settingsTables()[0].create()); err != nil {
		return s.failed(err, "%s", metaTable)
	}
	if _, err := s.db.ExecContext(ctx, "INSERT IGNORE INTO "+metaTable+" (name, value) VALUES (?, '')", metaMigration); err != nil && !notWon(err) {
		return s.failed(err, "%s", metaTable)
	}
	for deadline := s.clock.Now().Add(migrationWait); ; {
		won, err := s.stampMigration(ctx, owner, "value = '' OR value IS NULL OR CAST(value AS BINARY) < CAST(UTC_TIMESTAMP(6) AS BINARY)")
		if won || err != nil {
			return err
		}
		if held, err := s.meta(ctx, s.db, metaMigration); err == nil {
			if i := strings.LastIndexByte(held, ' '); i > 0 && ownerDead(held[i+1:]) {
				if won, err := s.stampMigration(ctx, owner, "value LIKE CONCAT('% ', ?)", held[i+1:]); won || err != nil {
					return err
				}
			}
		}
		if s.clock.Now().After(deadline) {
			return kvm.Errorf(kvm.ErrBusy, "another process has been migrating this database for %s", migrationWait)
		}
		if err := s.clock.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// stampMigration makes the claim owner's for migrationLife, where condition holds.
func (s *Store) stampMigration(ctx context.Context, owner, condition string, args ...any) (bool, error) {
	res, err := s.db.ExecContext(ctx, "UPDATE "+metaTable+" SET value = CONCAT(UTC_TIMESTAMP(6) + INTERVAL ? SECOND, ' ', ?) WHERE name = ? AND ("+condition+")",
		append([]any{int64(migrationLife / time.Second), owner, metaMigration}, args...)...)
	if notWon(err) {
		return false, nil
	}
	if err != nil {
		return false, s.failed(err, "claim of the migration")
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// holdMigration renews the claim until ctx ends, and ends it when the claim is lost.
func (s *Store) holdMigration(ctx context.Context, owner string, cancel context.CancelCauseFunc) {
	for last := s.clock.Now(); s.clock.Sleep(ctx, migrationRenew) == nil; {
		held, err := s.stampMigration(ctx, owner, "value LIKE CONCAT('% ', ?)", owner)
		switch {
		case held:
			last = s.clock.Now()
		case err == nil || s.clock.Now().Sub(last) > migrationLife*6/10:
			cancel(kvm.Errorf(kvm.ErrMoved, "the claim of the migration was lost"))
			return
		}
	}
}

// duplicateRows names up to five values that stand in more than one row.
func (s *Store) duplicateRows(ctx context.Context, t tableDef, k keyDef) error {
	var cols []string
	for _, name := range k.names() {
		cols = append(cols, quoteName(name))
	}
	list := strings.Join(cols, ", ")
	rows, err := s.db.QueryContext(ctx, "SELECT CONCAT_WS('/', "+list+"), COUNT(*) FROM "+quoteName(t.name)+" WHERE "+strings.Join(cols, " IS NOT NULL AND ")+" IS NOT NULL GROUP BY "+list+" HAVING COUNT(*) > 1 ORDER BY "+list+" LIMIT 5")
	if err != nil {
		return s.failed(err, "%s", t.name)
	}
	defer func() { _ = rows.Close() }()
	var found []string
	for rows.Next() {
		var value sql.NullString
		var n int
		if err := rows.Scan(&value, &n); err != nil {
			return s.failed(err, "%s", t.name)
		}
		found = append(found, value.String)
	}
	if err := rows.Err(); err != nil || len(found) == 0 {
		return s.failed(err, "%s", t.name)
	}
	return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s has more than one row for %s %s", t.name, k.columns, strings.Join(found, ", ")),
		"keep the row of the VM that exists and delete the others: SELECT * FROM %s WHERE %s = '%s'", t.name, k.names()[0], strings.Split(found[0], "/")[0])
}
