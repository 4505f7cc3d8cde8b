package whmcs

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// The kinds of records in the journal.
const (
	forwardRecord = "forward"
	reverseRecord = "reverse"
)

func recordKind(r kvm.DNSRecord) string {
	if r.Reverse {
		return reverseRecord
	}
	return forwardRecord
}

// DNSRecords are the records that were, or may have been, written for the service.
func (s *Store) DNSRecords(ctx context.Context, service int64) ([]kvm.DNSRecord, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT r.kind, r.name, r.address, r.state, EXISTS (SELECT 1 FROM puq_proxmox_kvm_dns_records o
			WHERE o.name = r.name AND o.kind = r.kind AND o.address = r.address AND o.service_id <> r.service_id AND o.state <> 'gone')
		FROM puq_proxmox_kvm_dns_records r WHERE r.service_id = ? ORDER BY r.id`, service)
	if err != nil {
		return nil, s.failed(err, "DNS records of service %d", service)
	}
	defer func() { _ = rows.Close() }()
	var out []kvm.DNSRecord
	for rows.Next() {
		var r kvm.DNSRecord
		var kind, addr, state string
		if err := rows.Scan(&kind, &r.Name, &addr, &state, &r.Others); err != nil {
			return nil, s.failed(err, "DNS records of service %d", service)
		}
		r.Reverse, r.State = kind == reverseRecord, kvm.DNSState(state)
		if r.Addr, err = netip.ParseAddr(addr); err != nil {
			return nil, kvm.Errorf(kvm.ErrAdmin, "DNS records of service %d: puq_proxmox_kvm_dns_records.address: %w", service, err)
		}
		r.Addr = r.Addr.Unmap()
		out = append(out, r)
	}
	return out, s.failed(rows.Err(), "DNS records of service %d", service)
}

// NoteDNS notes what is about to be written or removed, each with its State (kvm.DNSDue, kvm.DNSGone), before it is.
func (s *Store) NoteDNS(ctx context.Context, service int64, records []kvm.DNSRecord) error {
	if len(records) == 0 {
		return nil
	}
	query := `INSERT INTO puq_proxmox_kvm_dns_records (service_id, kind, name, address, state) VALUES (?, ?, ?, ?, ?)` +
		strings.Repeat(`, (?, ?, ?, ?, ?)`, len(records)-1) + ` ON DUPLICATE KEY UPDATE state = VALUES(state)`
	var args []any
	for _, r := range records {
		args = append(args, service, recordKind(r), r.Name, StoredAddr(r.Addr), string(r.State))
	}
	return s.again(ctx, query, args, service)
}

// DNSDone notes that of the service's records those that were due are set, and those that were to go are gone, but for
// failed.
func (s *Store) DNSDone(ctx context.Context, service int64, failed []kvm.DNSRecord) error {
	but, args := "", []any{service}
	if len(failed) > 0 {
		but = ` AND (kind, name, address) NOT IN ((?, ?, ?)` + strings.Repeat(`, (?, ?, ?)`, len(failed)-1) + `)`
		for _, r := range failed {
			args = append(args, recordKind(r), r.Name, StoredAddr(r.Addr))
		}
	}
	if err := s.again(ctx, `UPDATE puq_proxmox_kvm_dns_records SET state = 'set' WHERE service_id = ? AND state = 'due'`+but, args, service); err != nil {
		return err
	}
	return s.again(ctx, `DELETE FROM puq_proxmox_kvm_dns_records WHERE service_id = ? AND state = 'gone'`+but, args, service)
}

// again runs a statement that may be repeated, again where it ran into another's.
func (s *Store) again(ctx context.Context, query string, args []any, service int64) error {
	for try := 1; ; try++ {
		_, err := s.db.ExecContext(ctx, query, args...)
		if err == nil {
			return nil
		}
		if !notWon(err) && !unknownOutcome(err) || try == writeTries {
			return s.failed(err, "DNS records of service %d", service)
		}
	}
}

// UnfinishedDNS are the services of which a record is due, or was to go and is still there, by id.
func (s *Store) UnfinishedDNS(ctx context.Context) ([]int64, error) {
	return s.ids(ctx, `SELECT DISTINCT service_id FROM puq_proxmox_kvm_dns_records WHERE state <> 'set' ORDER BY service_id`)
}

// NamedServices are the services that have addresses, or records that are left of them, by id.
func (s *Store) NamedServices(ctx context.Context) ([]int64, error) {
	return s.ids(ctx, `SELECT v.service_id FROM puqProxmoxKVM_vm_info v WHERE v.vm_status NOT IN ('remove', 'creation')
		UNION SELECT service_id FROM puq_proxmox_kvm_dns_records ORDER BY service_id`)
}

func (s *Store) ids(ctx context.Context, query string) ([]int64, error) {
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, s.failed(err, "list of services")
	}
	defer func() { _ = rows.Close() }()
	var out []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, s.failed(err, "list of services")
		}
		out = append(out, id)
	}
	return out, s.failed(rows.Err(), "list of services")
}

// reverseNames reads vm_rev_dns: a JSON object of addresses and the names that they shall have in place of the VM's. What is
// no such pair is left out: the PHP module's rows are edited by hand.
func reverseNames(text string) map[netip.Addr]string {
	var raw map[string]any
	if json.Unmarshal([]byte(text), &raw) != nil {
		return nil
	}
	out := map[netip.Addr]string{}
	for key, value := range raw {
		a, err := netip.ParseAddr(strings.TrimSpace(key))
		name, _ := value.(string)
		name = strings.ToLower(strings.Trim(name, ". \t\r\n"))
		if err == nil && kvm.ValidDNSName(name) {
			out[a.Unmap()] = name
		}
	}
	return out
}

// SetReverseNames stores the names that addresses of the service shall have in place of the VM's, with a ticket in the
// outbox where there is one, in one transaction. The service is the caller's by its claim.
func (s *Store) SetReverseNames(ctx context.Context, sv *kvm.Service, names map[netip.Addr]string, ticket *kvm.Mail) error {
	text := map[string]string{}
	for a, name := range names {
		text[StoredAddr(a)] = name
	}
	doc, err := json.Marshal(text)
	if err != nil {
		return fmt.Errorf("reverse names of service %d: %w", sv.ID, err)
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE puqProxmoxKVM_vm_info SET vm_rev_dns = ? WHERE service_id = ? AND claim_owner = ?`, string(doc), sv.ID, sv.Row.Owner)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return kvm.Errorf(kvm.ErrMoved, "service %d is no longer ours: somebody else has it in hand", sv.ID)
		}
		if ticket == nil {
			return nil
		}
		return insertMail(ctx, tx, *ticket, sv.ClientID)
	})
	if err != nil {
		return fmt.Errorf("reverse names of service %d: %w", sv.ID, err)
	}
	sv.Reverse = names
	return nil
}

// DNSEntries are the names and addresses of all services that have a VM, by service, as tblhosting has them.
func (s *Store) DNSEntries(ctx context.Context) ([]kvm.DNSEntry, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT v.service_id, h.domain, COALESCE(h.dedicatedip, ''), COALESCE(h.assignedips, ''), COALESCE(v.vm_rev_dns, '')
		FROM puqProxmoxKVM_vm_info v JOIN tblhosting h ON h.id = v.service_id
		WHERE h.domain <> '' AND v.vm_status NOT IN ('remove', 'creation') ORDER BY v.service_id`)
	if err != nil {
		return nil, s.failed(err, "names of the services")
	}
	defer func() { _ = rows.Close() }()
	out := []kvm.DNSEntry{}
	for rows.Next() {
		var e kvm.DNSEntry
		var dedicated, assigned, reverse string
		if err := rows.Scan(&e.Service, &e.Domain, &dedicated, &assigned, &reverse); err != nil {
			return nil, s.failed(err, "names of the services")
		}
		names := reverseNames(reverse)
		for _, word := range strings.FieldsFunc(dedicated+" "+assigned, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;", r) }) {
			if e.Addr, err = netip.ParseAddr(word); err != nil {
				continue // people edit these columns
			}
			e.Addr = e.Addr.Unmap()
			if e.Reverse = names[e.Addr]; e.Reverse == "" {
				e.Reverse = e.Domain
			}
			out = append(out, e)
		}
	}
	return out, s.failed(rows.Err(), "names of the services")
}
