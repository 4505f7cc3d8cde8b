package whmcs

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Create makes the service's row at kvm.Creation: it checks the service and its product, names the VM, and reserves a
// VMID, without a call to Proxmox. now, in WHMCS's zone, is for the name's macros. welcome, if not nil, goes into the
// outbox in the same transaction.
//
// A service in hand already is kvm.ErrQueued and nothing is changed; at ready it is kvm.ErrRefused; at error_terminate
// kvm.ErrAdmin; a removed one is deployed anew.
func (s *Store) Create(ctx context.Context, id int64, now time.Time, welcome *kvm.Mail) (*kvm.Service, error) {
	sv, err := s.orderable(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := named(sv, now); err != nil {
		return nil, err
	}
	for from := sv.Package.FirstVMID; ; from = sv.Row.VMID + 1 {
		if sv.Row.VMID, err = s.lowestVMID(ctx, id, from); err == nil {
			err = s.inTx(ctx, func(tx *sql.Tx) error { return s.insertOrder(ctx, tx, sv, welcome) })
		}
		switch {
		case errors.Is(err, errVMIDTaken):
			continue
		case errors.Is(err, kvm.ErrQueued):
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("create service %d: %w", id, err)
		}
		sv.Row.Status = kvm.Creation
		return sv, nil
	}
}

// named gives the service's VM its name and domain, at now.
func named(sv *kvm.Service, now time.Time) (err error) {
	sv.Row.Name, err = kvm.ExpandName(sv.Package.NameRule, kvm.MacroValues{Prefix: sv.Package.NamePrefix, ClientID: sv.ClientID, ServiceID: sv.ID, Now: now, Rand: rand.Reader})
	if err != nil {
		return fmt.Errorf("service %d: %w", sv.ID, err)
	}
	sv.Domain = sv.Row.Name
	if sv.Package.MainDomain != "" {
		sv.Domain += "." + sv.Package.MainDomain
	}
	return nil
}

// orderable reads the service from WHMCS's own tables and says whether a VM can be made for it.
func (s *Store) orderable(ctx context.Context, id int64) (*kvm.Service, error) {
	sv := &kvm.Service{ID: id}
	var servertype string
	var product int64
	var row sql.NullInt64
	var status, settings sql.NullString
	quantity := "1"
	if s.has("tblhosting", "qty") {
		quantity = "h.qty"
	}
	var qty int64
	err := s.db.QueryRowContext(ctx, `SELECT h.userid, h.packageid, h.server, COALESCE(h.domainstatus, ''), COALESCE(h.domain, ''), COALESCE(h.username, ''), COALESCE(`+quantity+`, 1),
		COALESCE(p.id, 0), COALESCE(p.servertype, ''), ps.settings, v.service_id, v.vm_status
		FROM tblhosting h LEFT JOIN tblproducts p ON p.id = h.packageid
		LEFT JOIN puq_proxmox_kvm_product_settings ps ON ps.product_id = p.id
		LEFT JOIN puqProxmoxKVM_vm_info v ON v.service_id = h.id WHERE h.id = ?`, id).
		Scan(&sv.ClientID, &sv.ProductID, &sv.ServerID, &sv.State, &sv.Domain, &sv.Username, &qty, &product, &servertype, &settings, &row, &status)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, kvm.Errorf(kvm.ErrNotFound, "service %d does not exist in WHMCS", id)
	case err != nil:
		return nil, fmt.Errorf("service %d: %w", id, err)
	case product == 0:
		return nil, kvm.Errorf(kvm.ErrInvalid, "service %d: its product %d does not exist in WHMCS", id, sv.ProductID)
	case servertype != s.module:
		return nil, kvm.Errorf(kvm.ErrInvalid, "service %d: its product %d belongs to the module %q, not %q", id, sv.ProductID, servertype, s.module)
	case qty != 1:
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d has the quantity %d; one service is one VM", id, qty),
			"switch off multiple quantities on product %d and order the services one by one", sv.ProductID)
	case sv.State == "Terminated", sv.State == "Cancelled", sv.State == "Fraud":
		return nil, kvm.Errorf(kvm.ErrRefused, "service %d is %s in WHMCS", id, sv.State)
	}
	sv.Row.Status = kvm.Status(status.String)
	phase := kvm.PhaseNone
	if row.Valid {
		phase = sv.Row.Status.Phase()
	}
	decision := kvm.Decide(kvm.VerbCreate, phase)
	switch {
	case decision == kvm.Take:
	case phase == kvm.PhaseReady:
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has a VM already", id), "puqkvm vm show %d", id)
	default: // in hand, or on its way out
		answer, err := s.Ask(ctx, id, kvm.Wish{Verb: kvm.VerbCreate})
		switch {
		case err != nil:
			return nil, err
		case answer.Decision == kvm.Take: // it was over meanwhile
			return nil, kvm.Errorf(kvm.ErrBusy, "create: service %d is being changed by others; try again", id)
		}
		return nil, kvm.Errorf(kvm.ErrQueued, "service %d is being terminated; that it gets a new VM afterwards is noted", id)
	}
	if _, err := s.Server(ctx, sv.ServerID); err != nil {
		return nil, fmt.Errorf("service %d: %w", id, err)
	}
	if err := s.applyPackage(ctx, sv, []byte(settings.String)); err != nil {
		return nil, err
	}
	sv.Row.ServerID = sv.ServerID
	return sv, nil
}

// newOrder is orderAnew with the columns that are there: a row that an older program has made has no others to clear.
func (s *Store) newOrder() string {
	if !s.notes() {
		return orderAnew
	}
	query := orderAnew + `, vm_cluster = '', template = 0, next_status = ''`
	if s.has("puqProxmoxKVM_vm_info", "restore_from") {
		query += `, own_snapshots = 0, backup_sent = '', restore_from = '', restore_failed = 0, iso_boot = ''`
	}
	return query
}

// orderAnew makes a new order of a row whose VM is gone. The UUIDs of former VMs stay: what was once this service's is never
// a foreign VM.
const orderAnew = `UPDATE puqProxmoxKVM_vm_info SET vm_id = ?, vm_name = ?, vm_status = ?, server_id = ?, status_since = UTC_TIMESTAMP(6), queued_at = UTC_TIMESTAMP(6),
	vm_node = '', vm_uuid = '', vm_net0_mac = NULL, clone_sent = 0, migrate_target = '', disk_slot = '', password_set = 0,
	task_kind = '', task_upid = '', message = NULL, alerted = 0`

// insertOrder writes the order: reservation, row, domain, mail.
func (s *Store) insertOrder(ctx context.Context, tx *sql.Tx, sv *kvm.Service, welcome *kvm.Mail) error {
	if err := reserveVMID(ctx, tx, sv.ID, sv.Row.VMID); err != nil {
		return err
	}
	query := `INSERT INTO puqProxmoxKVM_vm_info (vm_id, vm_name, vm_status, server_id, status_since, queued_at, service_id) VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), ?)`
	args := []any{sv.Row.VMID, sv.Row.Name, string(kvm.Creation), sv.Row.ServerID, sv.ID}
	switch sv.Row.Status {
	case kvm.Remove:
		query = s.newOrder() + `, suspended = 0 WHERE service_id = ? AND vm_status = ? AND (claim_owner IS NULL OR claim_until IS NULL OR claim_until < UTC_TIMESTAMP(6))`
		args = append(args, string(kvm.Remove))
	case kvm.RDRemoved: // the holder of the claim orders; it has it from here on no more
		query = s.newOrder() + `, claim_owner = NULL, claim_until = NULL WHERE service_id = ? AND vm_status = ? AND claim_owner = ? AND SUBSTRING_INDEX(next_status, ',', 1) <> 'terminate'`
		args = append(args, string(kvm.RDRemoved), sv.Row.Owner)
	}
	res, err := tx.ExecContext(ctx, query, args...)
	if duplicate(err) {
		return kvm.Errorf(kvm.ErrQueued, "service %d is in hand already; cron goes on with it", sv.ID)
	}
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, kvm.Errorf(kvm.ErrQueued, "service %d is in hand already; cron goes on with it", sv.ID))
	}
	if _, err := tx.ExecContext(ctx, `UPDATE tblhosting SET domain = ? WHERE id = ?`, sv.Domain, sv.ID); err != nil {
		return err
	}
	if welcome == nil {
		return nil
	}
	return insertMail(ctx, tx, *welcome, sv.ClientID)
}

// lowestVMID is the lowest VMID from first on that no reservation, no tombstone at rest, and no row of another service with
// a VM has: the PHP module's rows have no reservation.
func (s *Store) lowestVMID(ctx context.Context, service int64, first int) (int, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT vmid FROM puq_proxmox_kvm_vmids WHERE vmid >= ? AND NOT (state = 'tombstone' AND COALESCE(until < UTC_TIMESTAMP(6), 0))
		UNION SELECT vm_id FROM puqProxmoxKVM_vm_info WHERE vm_id >= ? AND service_id <> ? AND COALESCE(vm_status, '') <> 'remove' ORDER BY 1`, first, first, service)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	next := first
	for rows.Next() {
		var used int
		if err := rows.Scan(&used); err != nil {
			return 0, err
		}
		if used > next {
			break
		}
		next = used + 1
	}
	return next, rows.Err()
}

// errVMIDTaken: between the look and the insert another process reserved it.
var errVMIDTaken = errors.New("VMID taken meanwhile")

// reserveVMID reserves vmid. Of two who chose the same one the second gets errVMIDTaken, by the unique key.
func reserveVMID(ctx context.Context, tx *sql.Tx, service int64, vmid int) error {
	return insertOver(ctx, tx, errVMIDTaken, `puq_proxmox_kvm_vmids`, `vmid = ? AND state = 'tombstone' AND until < UTC_TIMESTAMP(6)`, vmid,
		`INSERT INTO puq_proxmox_kvm_vmids (vmid, service_id, state, reserved_at) VALUES (?, ?, 'reserved', UTC_TIMESTAMP(6))`, vmid, service)
}

// NextVMID reserves the lowest free VMID above the service's present one, which it gives up: somebody else's VM has it.
func (s *Store) NextVMID(ctx context.Context, sv *kvm.Service) error {
	row := sv.Row
	row.CloneSent, row.Node = false, ""
	for {
		var err error
		if row.VMID, err = s.lowestVMID(ctx, sv.ID, row.VMID+1); err != nil {
			return fmt.Errorf("reserve a VMID for service %d: %w", sv.ID, err)
		}
		err = s.inTx(ctx, func(tx *sql.Tx) error {
			if err := reserveVMID(ctx, tx, sv.ID, row.VMID); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM puq_proxmox_kvm_vmids WHERE vmid = ? AND service_id = ?`, sv.Row.VMID, sv.ID); err != nil {
				return err
			}
			return writeRow(ctx, tx, sv.ID, &row, row.Status)
		})
		if errors.Is(err, errVMIDTaken) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reserve a VMID for service %d: %w", sv.ID, err)
		}
		sv.Row = row
		return nil
	}
}
