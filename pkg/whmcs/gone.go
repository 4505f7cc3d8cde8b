package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Terminated moves sv, whose VM is gone, to remove: its addresses are free, its domain and the VM's identity are wiped (the
// UUIDs stay as the history), the VMID rests, and date and addresses stand in tblhosting.notes and in WHMCS's activity log,
// all or nothing. local is the time in WHMCS's zone.
func (s *Store) Terminated(ctx context.Context, sv *kvm.Service, rest time.Duration, local time.Time) error {
	addrs := addressTexts(sv)
	next := *sv
	next.Row.Gone()
	next.Row.MAC, next.Row.Cluster, next.Row.Template = "", "", 0
	next.Row.BackupSent, next.Row.BackupMoment, next.Row.BackupDay, next.Row.BackupDate, next.Row.BackupAfter = "", time.Time{}, "", "", time.Time{}
	note := fmt.Sprintf("%s VM %d terminated, addresses: %s", local.Format(logTime), sv.Row.VMID, addrs)
	err := s.moveWith(ctx, &next, kvm.Remove, func(tx *sql.Tx) error {
		if err := freeAll(ctx, tx, sv, rest); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET vm_backup_schedule = NULL WHERE service_id = ?`, sv.ID); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE tblhosting SET domain = '', dedicatedip = '', assignedips = '',
			notes = CONCAT(COALESCE(notes, ''), IF(COALESCE(notes, '') = '', '', '\n'), ?) WHERE id = ?`, note, sv.ID); err != nil {
			return err
		}
		return insertActivity(ctx, tx, sv.ClientID, fmt.Sprintf("VM of service #%d terminated successfully: VM %d, addresses: %s", sv.ID, sv.Row.VMID, addrs), local)
	})
	if err == nil {
		next.Addrs, next.Leaving, next.Reverse, next.Firewall = nil, nil, nil, kvm.ClientFirewall{}
		*sv = next
	}
	return err
}

func addressTexts(sv *kvm.Service) string {
	var list []string
	for _, c := range sv.Addrs {
		list = append(list, c.Addr.String())
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// freeAll gives back what a VM that is gone has held: addresses with the names that were chosen for them, what its client made
// of its firewall, slots, and its VMID, which rests. Mails about it that have not been tried are given up: they would name
// nothing any more.
func freeAll(ctx context.Context, tx *sql.Tx, sv *kvm.Service, rest time.Duration) error {
	for _, query := range []string{
		`DELETE FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state IN ('claimed', 'leaving')`,
		`DELETE FROM puq_proxmox_kvm_slots WHERE service_id = ?`,
		`UPDATE puqProxmoxKVM_vm_info SET vm_rev_dns = NULL, firewall = NULL WHERE service_id = ?`,
		`UPDATE puq_proxmox_kvm_outbox SET state = 'failed', last_error = 'the VM that it is about is gone' WHERE service_id = ? AND action = 'SendEmail' AND state = 'pending'`,
	} {
		if _, err := tx.ExecContext(ctx, query, sv.ID); err != nil {
			return err
		}
	}
	return tombstone(ctx, tx, sv.ID, sv.Row.VMID, rest)
}

// tombstone lets the service's VMID rest. Another's reservation of it stays.
func tombstone(ctx context.Context, tx *sql.Tx, service int64, vmid int, rest time.Duration) error {
	if vmid <= 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_vmids (vmid, service_id, state, until, reserved_at)
		VALUES (?, ?, 'tombstone', UTC_TIMESTAMP(6) + INTERVAL ? SECOND, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE until = IF(service_id = VALUES(service_id), VALUES(until), until), state = IF(service_id = VALUES(service_id), 'tombstone', state)`,
		vmid, service, int64(rest/time.Second))
	return err
}

// GiveUp moves sv to to, since what (termination, restore, …) needs an administrator, and writes one entry into WHMCS's activity log. Nothing is
// freed. The entry belongs to no client: it quotes Proxmox. local is the time in WHMCS's zone.
func (s *Store) GiveUp(ctx context.Context, sv *kvm.Service, to kvm.Status, what, message string, local time.Time) error {
	text := fmt.Sprintf("VM of service #%d: %s FAILED, an administrator must act. Error: %s", sv.ID, what, clean(message))
	return s.moveWith(ctx, sv, to, func(tx *sql.Tx) error { return insertActivity(ctx, tx, 0, text, local) })
}

// Requeue makes a new order of a service whose VM is gone, as Create does: name, VMID, and status creation. Its addresses
// are free, its former VMID rests. now is in WHMCS's zone.
func (s *Store) Requeue(ctx context.Context, sv *kvm.Service, rest time.Duration, now time.Time) error {
	next := *sv
	if err := named(&next, now); err != nil {
		return err
	}
	next.Row.ServerID = next.ServerID
	for from := next.Package.FirstVMID; ; from = next.Row.VMID + 1 {
		var err error
		if next.Row.VMID, err = s.lowestVMID(ctx, sv.ID, from); err != nil {
			return fmt.Errorf("reserve a VMID for service %d: %w", sv.ID, err)
		}
		err = s.passing(ctx, sv, kvm.Creation, func(_, _ kvm.Status) error {
			return s.inTx(ctx, func(tx *sql.Tx) error {
				if err := freeAll(ctx, tx, sv, rest); err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, `UPDATE tblhosting SET dedicatedip = '', assignedips = '' WHERE id = ?`, sv.ID); err != nil {
					return err
				}
				err := s.insertOrder(ctx, tx, &next, nil)
				if !errors.Is(err, kvm.ErrQueued) {
					return err
				}
				return whyNotWritten(ctx, tx, sv.ID, &sv.Row, kvm.Creation, "")
			})
		})
		switch {
		case errors.Is(err, errVMIDTaken):
			continue
		case err != nil:
			return fmt.Errorf("order service %d anew: %w", sv.ID, err)
		}
		row := kvm.Row{VMID: next.Row.VMID, Name: next.Row.Name, Status: kvm.Creation, ServerID: next.Row.ServerID, UUIDs: sv.Row.UUIDs, Suspended: sv.Row.Suspended}
		next.Row, next.Addrs, next.Leaving, next.Reverse, next.Firewall, next.Seen = row, nil, nil, nil, kvm.ClientFirewall{}, nil
		*sv = next
		return nil
	}
}

// Forget deletes the row of a service that is at remove or error_terminate. The addresses that it still has stay out of use
// until somebody releases them by hand, and its VMID rests: nobody knows whether a VM uses them. kept are those addresses.
func (s *Store) Forget(ctx context.Context, service int64, rest time.Duration) (kept []netip.Addr, err error) {
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		var status sql.NullString
		var vmid int
		err := tx.QueryRowContext(ctx, `SELECT vm_status, COALESCE(vm_id, 0) FROM puqProxmoxKVM_vm_info WHERE service_id = ? FOR UPDATE`, service).Scan(&status, &vmid)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return kvm.Errorf(kvm.ErrNotFound, "service %d has no VM here", service)
		case err != nil:
			return err
		case status.String != string(kvm.Remove) && status.String != string(kvm.ErrorTerminate):
			return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d is at %s; only one at remove or error_terminate can be forgotten", service, status.String), "puqkvm terminate %d", service)
		}
		for _, query := range []string{
			`DELETE FROM puqProxmoxKVM_vm_info WHERE service_id = ?`,
			`UPDATE puq_proxmox_kvm_addresses SET state = 'quarantined', until = NULL WHERE service_id = ? AND state IN ('claimed', 'leaving')`,
			`DELETE FROM puq_proxmox_kvm_slots WHERE service_id = ?`,
			`DELETE FROM puq_proxmox_kvm_backups WHERE service_id = ?`,
		} {
			if _, err := tx.ExecContext(ctx, query, service); err != nil {
				return err
			}
		}
		if status.String == string(kvm.ErrorTerminate) {
			if err := s.quarantineUnclaimed(ctx, tx, service); err != nil {
				return err
			}
		}
		if kept, err = quarantined(ctx, tx, service); err != nil {
			return err
		}
		return tombstone(ctx, tx, service, vmid, rest)
	})
	if err != nil {
		return nil, fmt.Errorf("forget service %d: %w", service, err)
	}
	return kept, nil
}

// quarantineUnclaimed keeps the service's addresses in tblhosting out of use that nobody claims: those of a VM that the PHP
// module made and nobody adopted.
func (s *Store) quarantineUnclaimed(ctx context.Context, tx *sql.Tx, service int64) error {
	text, err := s.HostingAddresses(ctx, service)
	if errors.Is(err, kvm.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, addr := range addressesIn(text) {
		if _, err := tx.ExecContext(ctx, `INSERT IGNORE INTO puq_proxmox_kvm_addresses (address, service_id, state, claimed_at) VALUES (?, ?, 'quarantined', UTC_TIMESTAMP(6))`,
			StoredAddr(addr), service); err != nil {
			return err
		}
	}
	return nil
}

// quarantined are the service's addresses that only somebody's hand releases.
func quarantined(ctx context.Context, tx *sql.Tx, service int64) ([]netip.Addr, error) {
	rows, err := tx.QueryContext(ctx, `SELECT address FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state = 'quarantined' AND until IS NULL ORDER BY address`, service)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []netip.Addr
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("puq_proxmox_kvm_addresses.address: %w", err)
		}
		out = append(out, addr)
	}
	return out, rows.Err()
}
