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

// Allocate makes the service's addresses what pick decides, writes those that it keeps to tblhosting and moves it to to, in
// one transaction. When another process was faster, or there are not enough left, pick chooses again from a fresh look.
// The unique key of the address is what keeps two services apart; the look and its mutex only save work.
func (s *Store) Allocate(ctx context.Context, sv *kvm.Service, to kvm.Status,
	pick func(pools []kvm.Pool, taken map[netip.Addr]struct{}) (kvm.Allotment, error)) error {
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
		var allot kvm.Allotment
		err = s.given.without(sv.ID, func(taken map[netip.Addr]struct{}) (err error) {
			allot, err = pick(pools, taken)
			return err
		})
		var taken errAddressTaken
		switch {
		case err != nil && fresh:
			return err
		case err == nil:
			if err = s.claimAddresses(ctx, sv, to, allot); err == nil {
				s.given.add(allot.Add)
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

func (s *Store) claimAddresses(ctx context.Context, sv *kvm.Service, to kvm.Status, allot kvm.Allotment) error {
	next := *sv
	next.Addrs, next.Leaving = allot.Apply(sv.Addrs, sv.Leaving)
	next.Row.TaskKind, next.Row.TaskUPID = "", ""
	var hosting []beside
	if len(sv.Addrs)+len(sv.Leaving)+len(next.Addrs) > 0 { // else what stands there is not ours: somebody typed it in
		dedicated, assigned := hostingAddresses(next.Addrs)
		hosting = []beside{{join: `LEFT JOIN tblhosting h ON h.id = v.service_id`,
			set: `h.dedicatedip = ?, h.assignedips = ?`, setArgs: []any{dedicated, assigned}}}
	}
	err := s.passing(ctx, sv, to, func(to, note kvm.Status) error {
		return s.inTx(ctx, func(tx *sql.Tx) error {
			if err := insertClaims(ctx, tx, sv.ID, allot.Add); err != nil {
				return err
			}
			for _, c := range []struct {
				state  string
				claims []kvm.Claim
			}{{"leaving", allot.Leave}, {"claimed", allot.Return}} {
				for _, claim := range c.claims {
					if _, err := tx.ExecContext(ctx, `UPDATE puq_proxmox_kvm_addresses SET state = ? WHERE address = ? AND service_id = ?`,
						c.state, StoredAddr(claim.Addr), sv.ID); err != nil {
						return err
					}
				}
			}
			return writeRowFor(ctx, tx, sv.ID, &next.Row, to, note, hosting...)
		})
	})
	if errors.Is(err, kvm.ErrAsked) {
		return err
	}
	if err != nil {
		return fmt.Errorf("claim the addresses of service %d: %w", sv.ID, err)
	}
	moved(&next.Row, to)
	*sv = next
	return nil
}

// MoveLeaving is Move that gives back the addresses which are leaving: they are free at once, or after rest.
func (s *Store) MoveLeaving(ctx context.Context, sv *kvm.Service, to kvm.Status, rest time.Duration) error {
	err := s.moveWith(ctx, sv, to, func(tx *sql.Tx) error {
		query, args := `DELETE FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state = 'leaving'`, []any{sv.ID}
		if rest > 0 {
			query = `UPDATE puq_proxmox_kvm_addresses SET state = 'quarantined', until = UTC_TIMESTAMP(6) + INTERVAL ? SECOND WHERE service_id = ? AND state = 'leaving'`
			args = []any{int64(rest / time.Second), sv.ID}
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err == nil {
		sv.Leaving = nil
	}
	return err
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

// claims reads the addresses that sv holds, and those that are leaving it, first of each family first.
func (s *Store) claims(ctx context.Context, sv *kvm.Service) error {
	rows, err := s.db.QueryContext(ctx, `SELECT address, position, pool_id, bridge, vlan, gateway, bits, dns1, dns2, state
		FROM puq_proxmox_kvm_addresses WHERE service_id = ? AND state IN ('claimed', 'leaving') ORDER BY position, address`, sv.ID)
	if err != nil {
		return fmt.Errorf("addresses of service %d: %w", sv.ID, err)
	}
	defer rows.Close()
	sv.Addrs, sv.Leaving = nil, nil
	for rows.Next() {
		var c kvm.Claim
		var addr, gw, dns1, dns2, state string
		if err := rows.Scan(&addr, &c.Position, &c.PoolID, &c.Bridge, &c.VLAN, &gw, &c.Bits, &dns1, &dns2, &state); err != nil {
			return fmt.Errorf("addresses of service %d: %w", sv.ID, err)
		}
		if c.Addr, err = netip.ParseAddr(addr); err != nil {
			return kvm.Errorf(kvm.ErrAdmin, "addresses of service %d: puq_proxmox_kvm_addresses.address: %w", sv.ID, err)
		}
		c.Addr = c.Addr.Unmap()
		for i, text := range []string{gw, dns1, dns2} {
			if text == "" {
				continue
			}
			if *[]*netip.Addr{&c.Gateway, &c.DNS1, &c.DNS2}[i], err = netip.ParseAddr(text); err != nil {
				return kvm.Errorf(kvm.ErrAdmin, "addresses of service %d: puq_proxmox_kvm_addresses, the network of %s: %w", sv.ID, addr, err)
			}
		}
		if state == "leaving" {
			sv.Leaving = append(sv.Leaving, c)
		} else {
			sv.Addrs = append(sv.Addrs, c)
		}
	}
	return rows.Err()
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
	case state != "quarantined" && status.Valid && status.String != string(kvm.Remove):
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
