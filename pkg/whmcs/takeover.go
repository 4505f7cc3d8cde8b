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

// legacyRow: the PHP module made the row, and nothing of ours has a proof whose VM it names.
const legacyRow = `queued_at IS NULL AND vm_uuid = '' AND COALESCE(vm_uuids, '') IN ('', 'null', '[]')`

// Unadopted are the services whose VM the PHP module made and nobody has adopted, by id.
func (s *Store) Unadopted(ctx context.Context) ([]int64, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT service_id FROM puqProxmoxKVM_vm_info WHERE `+legacyRow+` AND COALESCE(vm_status, '') <> 'remove' ORDER BY service_id`)
	if err != nil {
		return nil, fmt.Errorf("services to adopt: %w", err)
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("services to adopt: %w", err)
		}
		out = append(out, id)
	}
	return out, rows.Err()
}

// HostingAddresses are the service's addresses as they stand in tblhosting, as text that people edit.
func (s *Store) HostingAddresses(ctx context.Context, service int64) (string, error) {
	var dedicated, assigned sql.NullString
	err := s.db.QueryRowContext(ctx, `SELECT dedicatedip, assignedips FROM tblhosting WHERE id = ?`, service).Scan(&dedicated, &assigned)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", kvm.Errorf(kvm.ErrNotFound, "service %d does not exist in WHMCS", service)
	case err != nil:
		return "", fmt.Errorf("addresses of service %d: %w", service, err)
	}
	return dedicated.String + "\n" + assigned.String, nil
}

// ServerPools are the pools of a server, then the runs of its legacy list.
func (s *Store) ServerPools(ctx context.Context, server int64) ([]kvm.Pool, error) {
	return s.allPools(ctx, server)
}

// errPlanned undoes what was only tried.
var errPlanned = errors.New("planned only")

// Adopt stores what sv, held by its claim, takes over of a VM that the PHP module made: the row, the reservation of its
// VMID, the claims of its addresses, and the journal of its backups, all or nothing. With plan everything is tried and
// nothing stays, and no claim on the service is needed.
//
// kvm.ErrAdmin: another service has the VM, or one of the addresses; the message says which.
func (s *Store) Adopt(ctx context.Context, sv *kvm.Service, a kvm.Adoption, plan bool) error {
	s.given.mu.Lock()
	defer s.given.mu.Unlock()
	if err := s.notGiven(ctx, sv.ID, a.Addrs); err != nil {
		return err
	}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		// The reservation comes first: of two that adopt one VM the second waits here, and then sees the first.
		if _, err := tx.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_vmids (vmid, service_id, state, reserved_at) VALUES (?, ?, 'reserved', UTC_TIMESTAMP(6))
			ON DUPLICATE KEY UPDATE service_id = IF(state = 'tombstone', VALUES(service_id), service_id), until = IF(state = 'tombstone', NULL, until), state = 'reserved'`,
			a.Row.VMID, sv.ID); err != nil {
			return err
		}
		if err := noOther(ctx, tx, sv.ID, &a.Row); err != nil {
			return err
		}
		if err := s.adoptAddresses(ctx, tx, sv.ID, a.Addrs); err != nil {
			return err
		}
		for _, b := range a.Backups {
			if _, err := tx.ExecContext(ctx, `INSERT IGNORE INTO puq_proxmox_kvm_backups (service_id, server_id, storage, volume, noted_at)
				VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6))`, sv.ID, a.Row.ServerID, b.Storage, b.Volume); err != nil {
				return err
			}
		}
		if plan {
			return errPlanned
		}
		return writeRow(ctx, tx, sv.ID, &a.Row, sv.Row.Status, beside{set: `v.vm_name = ?, v.queued_at = COALESCE(v.queued_at, UTC_TIMESTAMP(6))`, setArgs: []any{a.Row.Name}})
	})
	var taken errAddressTaken
	switch {
	case errors.Is(err, errPlanned):
		return nil
	case errors.As(err, &taken):
		s.given.at = time.Time{}
		return s.takenBy(ctx, sv.ID, taken.addr)
	case err != nil:
		return fmt.Errorf("adopt the VM of service %d: %w", sv.ID, err)
	}
	s.given.add(a.Addrs)
	sv.Row, sv.Addrs = a.Row, a.Addrs
	return nil
}

// notGiven refuses addresses that another service has, by a claim or in tblhosting.
func (s *Store) notGiven(ctx context.Context, service int64, claims []kvm.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	if _, err := s.given.refresh(ctx, s); err != nil {
		return err
	}
	return s.given.without(service, func(taken map[netip.Addr]struct{}) error {
		for _, c := range claims {
			if _, given := taken[c.Addr.Unmap()]; !given {
				continue
			}
			if err := s.takenBy(ctx, service, c.Addr); err != nil {
				return err
			}
		}
		return nil
	})
}

// takenBy says who else has the address; nil = nobody.
func (s *Store) takenBy(ctx context.Context, service int64, addr netip.Addr) error {
	var other int64
	var state string
	err := s.db.QueryRowContext(ctx, `SELECT service_id, state FROM puq_proxmox_kvm_addresses WHERE address = ?`, StoredAddr(addr)).Scan(&other, &state)
	switch {
	case err == nil && other != service:
		return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s is %s by service %d", addr, state, other),
			"puqkvm vm show %d; take the address off one of the two services in WHMCS, and off its VM", other)
	case err == nil:
		return nil
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("who has %s: %w", addr, err)
	}
	err = s.each(ctx, `SELECT id, dedicatedip, assignedips FROM tblhosting WHERE dedicatedip <> '' OR assignedips <> '' ORDER BY id`, func(id int64, a netip.Addr) {
		if id != service && a == addr.Unmap() && other == 0 {
			other = id
		}
	})
	if err != nil || other == 0 {
		return err
	}
	return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s stands in WHMCS at service %d too", addr, other),
		"take the address off one of the two services in WHMCS, and off its VM")
}

// adoptAddresses claims the addresses for the service; those that it has a claim on already are written anew.
func (s *Store) adoptAddresses(ctx context.Context, tx *sql.Tx, service int64, claims []kvm.Claim) error {
	for _, c := range claims {
		if _, err := tx.ExecContext(ctx, `DELETE FROM puq_proxmox_kvm_addresses WHERE address = ? AND service_id = ?`, StoredAddr(c.Addr), service); err != nil {
			return err
		}
	}
	return insertClaims(ctx, tx, service, claims)
}

// noOther refuses a VM that another service has: one with a UUID of this VM, or with its VMID in the same cluster. In
// another cluster the same VMID is another VM.
func noOther(ctx context.Context, tx *sql.Tx, service int64, r *kvm.Row) error {
	var same []string
	args := []any{r.VMID, r.ServerID, r.Cluster, service}
	for _, uuid := range r.UUIDs {
		same = append(same, `LOWER(v.vm_uuid) = ? OR LOWER(COALESCE(v.vm_uuids, '')) LIKE ?`)
		args = append(args, strings.ToLower(uuid), `%"`+strings.ToLower(uuid)+`"%`)
	}
	args = append(args, r.VMID, r.ServerID, r.Cluster)
	const sameVMID = `v.vm_id = ? AND COALESCE(v.vm_status, '') <> 'remove' AND (IF(v.server_id = 0, COALESCE(h.server, 0), v.server_id) = ? OR v.vm_cluster <> '' AND v.vm_cluster = ?)`
	var other int64
	var byVMID bool
	err := tx.QueryRowContext(ctx, `SELECT v.service_id, COALESCE(`+sameVMID+`, 0) FROM puqProxmoxKVM_vm_info v LEFT JOIN tblhosting h ON h.id = v.service_id
		WHERE v.service_id <> ? AND (`+strings.Join(same, ` OR `)+` OR `+sameVMID+`) ORDER BY v.service_id LIMIT 1`, args...).Scan(&other, &byVMID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case byVMID:
		err = kvm.Errorf(kvm.ErrAdmin, "VM %d is that of service %d too", r.VMID, other)
	default:
		err = kvm.Errorf(kvm.ErrAdmin, "service %d has or had a UUID of %s", other, strings.Join(r.UUIDs, ", "))
	}
	return kvm.WithHint(err, "puqkvm vm show %d; look whose VM it is, and terminate or forget the other service", other)
}
