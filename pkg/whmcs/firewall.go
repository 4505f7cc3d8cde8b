package whmcs

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// SetClientFirewall stores what the client has made of its VM's firewall, which outlives the VM. The service is the caller's
// by its claim; kvm.ErrMoved when it is that no more.
func (s *Store) SetClientFirewall(ctx context.Context, sv *kvm.Service, f kvm.ClientFirewall) error {
	doc, err := f.JSON()
	if err != nil {
		return fmt.Errorf("firewall of service %d: %w", sv.ID, err)
	}
	res, err := s.db.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET firewall = ? WHERE service_id = ? AND vm_status = ? AND claim_owner = ?`,
		sql.NullString{String: string(doc), Valid: doc != nil}, sv.ID, string(sv.Row.Status), sv.Row.Owner)
	if err != nil {
		return s.failed(err, "firewall of service %d", sv.ID)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return kvm.Errorf(kvm.ErrMoved, "service %d is no longer ours at %s: somebody else has it in hand", sv.ID, sv.Row.Status)
	}
	sv.Firewall = f
	return nil
}
