package whmcs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// execer is a connection or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// beside is another table's row that is written by the same statement as the service's, only when that one is.
type beside struct {
	join     string // to v, the service's row; it must not leave that out
	joinArgs []any
	set      string
	setArgs  []any
}

// writeRow stores the intents of r and its status to where the row is still at r.Status and still r.Owner's.
// Since the holder of the claim alone writes these columns, what it has in memory is what they shall be.
//
// Where something was noted that comes before to (see kvm.Status.Interrupts) nothing is written, and it is errNoted with that.
func writeRow(ctx context.Context, db execer, service int64, r *kvm.Row, to kvm.Status, others ...beside) error {
	return writeRowFor(ctx, db, service, r, to, "", others...)
}

// orNull is a time as a column has it that may be NULL.
func orNull(t time.Time) sql.NullTime { return sql.NullTime{Time: t.UTC(), Valid: !t.IsZero()} }

// errNoted: the note comes before the status that was to be stored; "" = it did, and is gone again.
type errNoted struct{ note kvm.Status }

func (e errNoted) Error() string { return fmt.Sprintf("%s was asked for meanwhile", e.note) }

// writeRowFor is writeRow with the note that to is taken for, which ends with it; "" = for none.
func writeRowFor(ctx context.Context, db execer, service int64, r *kvm.Row, to, note kvm.Status, others ...beside) error {
	uuids, err := json.Marshal(r.UUIDs)
	if err != nil {
		return fmt.Errorf("service %d: UUIDs: %w", service, err)
	}
	query, args := `UPDATE puqProxmoxKVM_vm_info v`, []any{}
	for _, o := range others {
		query += ` ` + o.join
		args = append(args, o.joinArgs...)
	}
	query += ` SET v.vm_status = ?, v.vm_id = ?, v.server_id = ?, v.vm_node = ?, v.vm_uuid = ?, v.vm_uuids = ?, v.vm_net0_mac = ?,
		v.vm_cluster = ?, v.template = ?, v.clone_sent = ?, v.migrate_target = ?, v.disk_slot = ?, v.password_set = ?, v.task_kind = ?, v.task_upid = ?,
		v.own_snapshots = ?, v.iso_boot = ?, v.restore_failed = ?, v.backup_sent = ?, v.backup_moment = ?, v.backup_day = ?, v.backup_date = ?, v.backup_after = ?`
	args = append(args, string(to), r.VMID, r.ServerID, r.Node, r.UUID, string(uuids), r.MAC,
		r.Cluster, r.Template, r.CloneSent, r.MigrateTarget, r.DiskSlot, r.PasswordSet, r.TaskKind, r.TaskUPID,
		r.OwnSnapshots, r.ISOBoot, r.RestoreFailed, r.BackupSent, orNull(r.BackupMoment), r.BackupDay, r.BackupDate, orNull(r.BackupAfter))
	if to != r.Status {
		query += `, v.status_since = UTC_TIMESTAMP(6), v.alerted = 0`
	}
	if note != "" {
		query += `, v.next_status = ` + restNoted
	}
	if note != "" || over(to) && to != r.Status { // the run is over: the claim ends with it, also when the process dies right after
		query += `, v.claim_owner = NULL, v.claim_until = NULL, v.message = NULL`
	}
	for _, o := range others {
		query += `, ` + o.set
		args = append(args, o.setArgs...)
	}
	query += ` WHERE v.service_id = ? AND v.vm_status = ? AND v.claim_owner = ?`
	args = append(args, service, string(r.Status), r.Owner)
	switch {
	case note != "":
		query += ` AND ` + firstNoted + ` = ?`
		args = append(args, string(note))
	case to == r.Status: // intents alone
	case to == kvm.Ready, to == kvm.Remove:
		query += ` AND v.next_status = ''`
	case kvm.ChangePackage.Interrupts(to):
		query += ` AND ` + firstNoted + ` NOT IN ('terminate', 'change_package')`
	case kvm.Terminate.Interrupts(to):
		query += ` AND ` + firstNoted + ` <> 'terminate'`
	}
	res, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 { // with others written beside it, it is more than one
		return whyNotWritten(ctx, db, service, r, to, note)
	}
	return nil
}

// The note that is taken first, and what is left when it is taken: see kvm.Notes.
const (
	firstNoted = `SUBSTRING_INDEX(v.next_status, ',', 1)`
	restNoted  = `SUBSTRING(v.next_status, LENGTH(` + firstNoted + `) + 2)`
)

// whyNotWritten says why no row was written for to: errNoted or kvm.ErrMoved. In a transaction the row is read as it is now.
func whyNotWritten(ctx context.Context, db execer, service int64, r *kvm.Row, to, note kvm.Status) error {
	var noted string
	err := db.QueryRowContext(ctx, `SELECT `+firstNoted+` FROM puqProxmoxKVM_vm_info v WHERE v.service_id = ? AND v.vm_status = ? AND v.claim_owner = ? FOR UPDATE`,
		service, string(r.Status), r.Owner).Scan(&noted)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && to != r.Status {
		return errNoted{kvm.Status(noted)}
	}
	return kvm.Errorf(kvm.ErrMoved, "service %d is no longer ours at %s: somebody else has it in hand", service, r.Status)
}

// TakeNote moves sv, which the caller has claimed, to what was noted where that comes before its present row: the row of a
// run that failed, waited or died may never pass, and what was asked for does not wait for that. An open task stays open.
func (s *Store) TakeNote(ctx context.Context, sv *kvm.Service) error {
	note := sv.Row.Noted
	if !note.Interrupts(sv.Row.Status) {
		return nil
	}
	for try := 1; ; try++ {
		res, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info v SET v.vm_status = ?, v.next_status = `+restNoted+`,
			v.status_since = UTC_TIMESTAMP(6), v.alerted = 0, v.message = NULL WHERE v.service_id = ? AND v.vm_status = ? AND v.claim_owner = ? AND `+firstNoted+` = ?`,
			string(note), sv.ID, string(sv.Row.Status), sv.Row.Owner, string(note))
		var n int64
		if err == nil {
			n, err = res.RowsAffected()
		}
		switch {
		case err == nil && n == 1:
			sv.Row.Status, sv.Row.Noted = note, ""
			return nil
		case err == nil:
			return kvm.Errorf(kvm.ErrMoved, "service %d is no longer ours at %s: somebody else has it in hand", sv.ID, sv.Row.Status)
		case !notWon(err) || try == writeTries:
			return fmt.Errorf("take up %s of service %d: %w", note, sv.ID, err)
		}
	}
}

// write runs writeRowFor alone, again after a deadlock. After a lost connection it reads back what stands.
func (s *Store) write(ctx context.Context, sv *kvm.Service, to, note kvm.Status, others ...beside) error {
	for try := 1; ; try++ {
		err := writeRowFor(ctx, s.db, sv.ID, &sv.Row, to, note, others...)
		switch {
		case err == nil, errors.Is(err, kvm.ErrMoved), errors.As(err, &errNoted{}):
			return err
		case unknownOutcome(err) && to != sv.Row.Status:
			var status, owner sql.NullString
			back := s.db.QueryRowContext(ctx, `SELECT vm_status, claim_owner FROM puqProxmoxKVM_vm_info WHERE service_id = ?`, sv.ID).Scan(&status, &owner)
			if back == nil && status.String == string(to) && (owner.String == sv.Row.Owner || over(to) || note != "") {
				return nil
			}
		case !notWon(err) && !unknownOutcome(err):
			return fmt.Errorf("store service %d at %s: %w", sv.ID, to, err)
		}
		if try == writeTries {
			return fmt.Errorf("store service %d at %s: %w", sv.ID, to, err)
		}
	}
}

// Save stores the intents of sv.Row; the status stays.
func (s *Store) Save(ctx context.Context, sv *kvm.Service) error {
	return s.write(ctx, sv, sv.Row.Status, "")
}

// passing runs store, which writes the status to for the note "" or in place of to what was noted meanwhile. What ends the
// run (see kvm.Status.Interrupts) is stored with the intents alone: the row's work is done, but not what store writes
// beside them; then it is kvm.ErrAsked. What waits for the end of the run takes the place of ready.
func (s *Store) passing(ctx context.Context, sv *kvm.Service, to kvm.Status, store func(to, note kvm.Status) error) error {
	err := store(to, "")
	for try := 1; try <= writeTries; try++ {
		var noted errNoted
		if !errors.As(err, &noted) {
			break
		}
		switch {
		case noted.note == "":
			err = store(to, "")
			continue
		case noted.note.Interrupts(to):
		case to == kvm.Ready && noted.note.Notable() && noted.note != kvm.Creation: // an order follows a terminate alone
			err = store(noted.note, noted.note)
			continue
		case to == kvm.Remove && noted.note == kvm.Creation:
			err = store(kvm.RDRemoved, noted.note) // whose one row left makes a new order of it
			continue
		default: // of a service without a VM nothing else can be wanted, and what is no verb is nonsense
			err = store(to, noted.note)
			continue
		}
		next := *sv
		next.Row.TaskKind, next.Row.TaskUPID = "", ""
		if err = s.write(ctx, &next, noted.note, noted.note); err == nil {
			next.Row.Status, next.Row.Noted, next.Row.Owner = noted.note, "", ""
			*sv = next
			return kvm.Errorf(kvm.ErrAsked, "stopped here: %s was asked for", noted.note)
		}
	}
	return err
}

// Move stores the status to together with the intents and with what run says, when that is stored already, and ends the
// open task. The claim ends where the status is ready or remove: sv.Row.Owner is then "".
func (s *Store) Move(ctx context.Context, sv *kvm.Service, to kvm.Status, run *kvm.Run) error {
	var others []beside
	if run != nil && run.ID != 0 {
		o, err := runBeside(run)
		if err != nil {
			return err
		}
		others = append(others, o)
	}
	next := *sv
	next.Row.TaskKind, next.Row.TaskUPID = "", ""
	err := s.passing(ctx, sv, to, func(to, note kvm.Status) error { return s.write(ctx, &next, to, note, others...) })
	if err != nil {
		return err
	}
	moved(&next.Row, to)
	sv.Row = next.Row
	return nil
}

// over says whether nothing is left to do at to. A claim that stayed on a row at remove would turn a new order away.
func over(to kvm.Status) bool { return to == kvm.Ready || to == kvm.Remove }

// moved is r at to, as writeRow has stored it.
func moved(r *kvm.Row, to kvm.Status) {
	if over(to) && to != r.Status {
		r.Owner = ""
	}
	r.Status = to
}

// MoveWithMail is Move with m in the outbox, in one transaction.
func (s *Store) MoveWithMail(ctx context.Context, sv *kvm.Service, to kvm.Status, m kvm.Mail) error {
	return s.moveWith(ctx, sv, to, func(tx *sql.Tx) error { return insertMail(ctx, tx, m, sv.ClientID) })
}

// moveWith is Move with what else writes, in one transaction.
func (s *Store) moveWith(ctx context.Context, sv *kvm.Service, to kvm.Status, also func(tx *sql.Tx) error) error {
	row := sv.Row
	row.TaskKind, row.TaskUPID = "", ""
	err := s.passing(ctx, sv, to, func(to, note kvm.Status) error {
		return s.inTx(ctx, func(tx *sql.Tx) error {
			// The row first: where it is not ours nothing else is written, also in tables without transactions.
			if err := writeRowFor(ctx, tx, sv.ID, &row, to, note); err != nil {
				return err
			}
			return also(tx)
		})
	})
	if err != nil {
		return fmt.Errorf("store service %d at %s: %w", sv.ID, to, err)
	}
	moved(&row, to)
	sv.Row = row
	return nil
}

// inTx runs f in a transaction, again after a deadlock; f must only depend on what it reads itself.
func (s *Store) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	for try := 1; ; try++ {
		err := func() error {
			tx, err := s.db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if err := f(tx); err != nil {
				return err
			}
			return tx.Commit()
		}()
		if !notWon(err) || try == writeTries {
			return err
		}
	}
}

// insertOver inserts a row whose unique key may be held by a row that is over, and then takes its place; else the error is
// taken. over is the condition for that row, of which id is the argument. The insert comes first, and a look before the
// DELETE: one that finds nothing would lock a gap, and one that finds a living row would wait for those who want it too.
func insertOver(ctx context.Context, tx *sql.Tx, taken error, table, over string, id any, insert string, args ...any) error {
	_, err := tx.ExecContext(ctx, insert, args...)
	if !duplicate(err) {
		return err
	}
	var n int64
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table+` WHERE `+over, id).Scan(&n); err != nil || n == 0 {
		return errors.Join(err, taken)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE `+over, id); err != nil {
		return err
	}
	if _, err = tx.ExecContext(ctx, insert, args...); duplicate(err) {
		return taken
	}
	return err
}

// SetPassword stores the guest's user and password in tblhosting, the password encrypted, and notes that this deploy has
// made them.
func (s *Store) SetPassword(ctx context.Context, sv *kvm.Service, user string, password kvm.Secret) error {
	encrypted, err := s.cipher.Encrypt(password)
	if err != nil {
		return fmt.Errorf("service %d: password: %w", sv.ID, err)
	}
	row := sv.Row
	row.PasswordSet = true
	next := *sv
	next.Row = row
	hosting := beside{join: `JOIN tblhosting h ON h.id = v.service_id`, set: `h.username = ?, h.password = ?`, setArgs: []any{user, encrypted}}
	if err := s.write(ctx, &next, row.Status, "", hosting); err != nil {
		return fmt.Errorf("the password: %w", err)
	}
	sv.Row, sv.Username = row, user
	return nil
}

// Password is the guest's password, decrypted.
func (s *Store) Password(ctx context.Context, sv *kvm.Service) (kvm.Secret, error) {
	var encrypted string
	if err := s.db.QueryRowContext(ctx, `SELECT password FROM tblhosting WHERE id = ?`, sv.ID).Scan(&encrypted); err != nil {
		return kvm.Secret{}, fmt.Errorf("password of service %d: %w", sv.ID, err)
	}
	password, err := s.cipher.Decrypt(encrypted)
	if err != nil {
		return kvm.Secret{}, fmt.Errorf("password of service %d: %w", sv.ID, err)
	}
	return password, nil
}
