package whmcs

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// SetStatus moves sv, held by its claim, to to because an administrator said so, with one entry in the activity log. A
// terminate keeps the open task, whose end it waits for, and drops what was noted. local is the time in WHMCS's zone.
func (s *Store) SetStatus(ctx context.Context, sv *kvm.Service, to kvm.Status, local time.Time) error {
	row := sv.Row
	row.RestoreFailed = row.RestoreFailed && to != kvm.Ready
	var others []beside
	if to == kvm.Terminate {
		others = []beside{{set: `v.next_status = ''`}}
	} else {
		row.TaskKind, row.TaskUPID = "", ""
	}
	text := fmt.Sprintf("VM of service #%d: an administrator set its status from %s to %s", sv.ID, row.Status, to)
	err := s.passing(ctx, sv, to, func(to, note kvm.Status) error {
		return s.inTx(ctx, func(tx *sql.Tx) error {
			if err := insertActivity(ctx, tx, 0, text, local); err != nil {
				return err
			}
			return writeRowFor(ctx, tx, sv.ID, &row, to, note, others...)
		})
	})
	if err != nil {
		return fmt.Errorf("set the status of service %d: %w", sv.ID, err)
	}
	moved(&row, to)
	sv.Row = row
	return nil
}
