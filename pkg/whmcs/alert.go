package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Alert tells the administrator, once an episode, that the service has been at status for longer than it should: an
// entry in WHMCS's activity log and a mail, with the flag that it was told, in one transaction. A service that has moved
// meanwhile, or that another process has told of, is left alone.
func (s *Store) Alert(ctx context.Context, service, client int64, status kvm.Status, text string, local time.Time) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		var since time.Time
		err := tx.QueryRowContext(ctx, `SELECT status_since FROM puqProxmoxKVM_vm_info WHERE service_id = ? AND vm_status = ? AND alerted = 0 FOR UPDATE`, service, string(status)).Scan(&since)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET alerted = 1 WHERE service_id = ? AND vm_status = ? AND alerted = 0`, service, string(status)); err != nil {
			return err
		}
		mail := kvm.Mail{ServiceID: service, Action: "SendAdminEmail", Key: fmt.Sprintf("alert:%d:%d", service, since.UnixMicro()),
			Params: map[string]string{"customsubject": fmt.Sprintf("puqkvm: service %d does not move", service), "custommessage": text, "type": "system"}}
		if err := insertMail(ctx, tx, mail, client); err != nil {
			return err
		}
		return insertActivity(ctx, tx, client, text, local)
	})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("alert for service %d: %w", service, err)
	}
	return nil
}
