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

// errAddressTaken: between the look and the insert another process claimed the address.
type errAddressTaken struct{ addr netip.Addr }

func (e errAddressTaken) Error() string { return e.addr.String() + " was taken meanwhile" }

// Allocate claims what pick chooses, writes the service's addresses to tblhosting and moves it to to, in one transaction.
// When another process was faster, or there are not enough left, pick chooses again from a fresh look.
// The unique key of the address is what keeps two services apart; the look and its mutex only save work.
func (s *Store) Allocate(ctx context.Context, sv *kvm.Service, to kvm.Status,
	pick func(pools []kvm.Pool, taken map[netip.Addr]struct{}) ([]kvm.Claim, error)) error {
	s.given.mu.Lock()
	defer s.given.mu.Unlock()
	var lost []kvm.Claim
	for {
		fresh, err := s.given.refresh(ctx, s)
		if err != nil {
			return err
		}
		s.given.add(lost) // also what the look does not show, for the key does not lie
		pools, err := s.given.poolsOf(ctx, s, sv.Row.ServerID)
		if err != nil {
			return err
		}
		var claims []kvm.Claim
		err = s.given.without(sv.ID, func(taken map[netip.Addr]struct{}) (err error) {
			claims, err = pick(pools, taken)
			return err
		})
		var taken errAddressTaken
		switch {
		case err != nil && fresh:
			return err
		case err == nil:
			if err = s.claimAddresses(ctx, sv, to, claims); err == nil {
				s.given.add(claims)
				return nil
			}
			if !errors.As(err, &taken) {
				return err
			}
			lost = append(lost, kvm.Claim{Addr: taken.addr})
		}
		s.given.at = time.Time{}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("addresses of service %d: %w", sv.ID, err)
		}
	}
}

func (s *Store) claimAddresses(ctx context.Context, sv *kvm.Service, to kvm.Status, claims []kvm.Claim) error {
	all := append(append([]kvm.Claim{}, sv.Addrs...), claims...)
	dedicated, assigned := hostingAddresses(all)
	row := sv.Row
	row.TaskKind, row.TaskUPID = "", ""
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := insertClaims(ctx, tx, sv.ID, claims); err != nil {
			return err
		}
		return writeRow(ctx, tx, sv.ID, &row, to, beside{join: `LEFT JOIN tblhosting h ON h.id = v.service_id`,
			set: `h.dedicatedip = ?, h.assignedips = ?`, setArgs: []any{dedicated, assigned}})
	})
	if err != nil {
		return fmt.Errorf("claim the addresses of service %d: %w", sv.ID, err)
	}
	row.Status = to
	sv.Row, sv.Addrs = row, all
	return nil
}

// insertClaims claims all addresses, or is errAddressTaken. A claim whose quarantine is over gives way.
func insertClaims(ctx context.Context, tx *sql.Tx, service int64, claims []kvm.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	const insert = `INSERT INTO puq_proxmox_kvm_addresses (address, service_id, position, pool_id, bridge, vlan, gateway, bits, dns1, dns2, state, claimed_at) VALUES `
	const row = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'claimed', UTC_TIMESTAMP(6))`
	values := func(c kvm.Claim) []any {
		return []any{StoredAddr(c.Addr), service, c.Position, c.PoolID, c.Bridge, c.VLAN, addrText(c.Gateway), c.Bits, addrText(c.DNS1), addrText(c.DNS2)}
	}
	var all []any
	for _, c := range claims {
		all = append(all, values(c)...)
	}
	_, err := tx.ExecContext(ctx, insert+row+strings.Repeat(`, `+row, len(claims)-1), all...)
	if !duplicate(err) {
		return err
	}
	for _, c := range claims {
		err := insertOver(ctx, tx, errAddressTaken{c.Addr},
			`puq_proxmox_kvm_addresses`, `address = ? AND state = 'quarantined' AND until < UTC_TIMESTAMP(6)`, StoredAddr(c.Addr),
			insert+row, values(c)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// hostingAddresses are tblhosting.dedicatedip (the first IPv4, else the first IPv6) and assignedips (the rest, one a line).
func hostingAddresses(claims []kvm.Claim) (dedicated, assigned string) {
	var list []string
	for _, f := range []kvm.Family{kvm.IPv4, kvm.IPv6} {
		for _, c := range claims {
			if kvm.FamilyOf(c.Addr) == f {
				list = append(list, StoredAddr(c.Addr))
			}
		}
	}
	if len(list) == 0 {
		return "", ""
	}
	return list[0], strings.Join(list[1:], "\n")
}

// StoredAddr is how addresses stand in the database: IPv4 dotted, IPv6 fully written out in lower case.
func StoredAddr(a netip.Addr) string { return a.Unmap().StringExpanded() }

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return StoredAddr(a)
}

// claims are the addresses that the service holds, first of each family first.
func (s *Store) claims(ctx context.Context, service int64) ([]kvm.Claim, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT address, position, pool_id, bridge, vlan, gateway, bits, dns1, dns2
		FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state = 'claimed' ORDER BY position, address`, service)
	if err != nil {
		return nil, fmt.Errorf("addresses of service %d: %w", service, err)
	}
	defer rows.Close()
	var out []kvm.Claim
	for rows.Next() {
		var c kvm.Claim
		var addr, gw, dns1, dns2 string
		if err := rows.Scan(&addr, &c.Position, &c.PoolID, &c.Bridge, &c.VLAN, &gw, &c.Bits, &dns1, &dns2); err != nil {
			return nil, fmt.Errorf("addresses of service %d: %w", service, err)
		}
		if c.Addr, err = netip.ParseAddr(addr); err != nil {
			return nil, fmt.Errorf("addresses of service %d: puq_proxmox_kvm_addresses.address: %w", service, err)
		}
		c.Addr = c.Addr.Unmap()
		for i, text := range []string{gw, dns1, dns2} {
			if text == "" {
				continue
			}
			if *[]*netip.Addr{&c.Gateway, &c.DNS1, &c.DNS2}[i], err = netip.ParseAddr(text); err != nil {
				return nil, fmt.Errorf("addresses of service %d: the network of %s: %w", service, addr, err)
			}
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// PoolsWithTaken are the pools of a server (0 = of all), the legacy lists included, and every address that is given to
// anybody.
func (s *Store) PoolsWithTaken(ctx context.Context, server int64) ([]kvm.Pool, map[netip.Addr]struct{}, error) {
	g, err := s.readGiven(ctx)
	if err != nil {
		return nil, nil, err
	}
	taken := g.taken
	if server != 0 {
		pools, err := s.allPools(ctx, server)
		return pools, taken, err
	}
	servers, err := s.Servers(ctx)
	if err != nil {
		return nil, nil, err
	}
	var pools []kvm.Pool
	for _, sv := range servers {
		more, err := s.allPools(ctx, sv.ID)
		if err != nil {
			return nil, nil, err
		}
		pools = append(pools, more...)
	}
	return pools, taken, nil
}

// allPools are the pools of a server, then the runs of its legacy list.
func (s *Store) allPools(ctx context.Context, server int64) ([]kvm.Pool, error) {
	pools, err := s.Pools(ctx, server)
	if err != nil {
		return nil, err
	}
	sv, err := s.Server(ctx, server)
	if err != nil {
		return nil, err
	}
	legacy, err := ParseLegacyPools(server, sv.AssignedIPs)
	if err != nil {
		return nil, kvm.WithHint(fmt.Errorf("server %d, Assigned IP Addresses: %w", server, err), "mend the list in WHMCS, or empty it and use puqkvm ippool add")
	}
	return append(pools, legacy...), nil
}

// ReleaseAddress ends a claim whose service has no VM: a quarantined address, or one of a service without a row of ours
// or one that is removed. The address of any other service is refused.
func (s *Store) ReleaseAddress(ctx context.Context, addr netip.Addr) error {
	var service int64
	var state string
	var status sql.NullString
	err := s.db.QueryRowContext(ctx, `SELECT a.service_id, a.state, v.vm_status FROM puq_proxmox_kvm_addresses a
		LEFT JOIN puqProxmoxKVM_vm_info v ON v.service_id = a.service_id WHERE a.address = ?`, StoredAddr(addr)).Scan(&service, &state, &status)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return kvm.Errorf(kvm.ErrNotFound, "no claim holds the address %s", addr)
	case err != nil:
		return fmt.Errorf("release %s: %w", addr, err)
	case state == "claimed" && status.Valid && status.String != string(kvm.Remove):
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%s belongs to service %d, which is at %s", addr, service, status.String), "puqkvm vm show %d", service)
	}
	res, err := s.db.ExecContext(ctx, `DELETE a FROM puq_proxmox_kvm_addresses a LEFT JOIN puqProxmoxKVM_vm_info v ON v.service_id = a.service_id
		WHERE a.address = ? AND a.service_id = ? AND (a.state = 'quarantined' OR v.service_id IS NULL OR v.vm_status = 'remove')`, StoredAddr(addr), service)
	if err != nil {
		return fmt.Errorf("release %s: %w", addr, err)
	}
	if n, err := res.RowsAffected(); err == nil && n != 1 {
		return kvm.Errorf(kvm.ErrRefused, "%s was taken by somebody else meanwhile", addr)
	}
	return nil
}
