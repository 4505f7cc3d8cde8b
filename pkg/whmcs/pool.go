package whmcs

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Columns may be NULL in a table that a PHP installation left, hence the COALESCEs.
const poolQuery = `SELECT id, COALESCE(server_id, 0), COALESCE(type, ''), COALESCE(bridge, ''), COALESCE(vlan, 0), COALESCE(gateway, ''),
	COALESCE(mask, ''), COALESCE(dns1, ''), COALESCE(dns2, ''), COALESCE(address_start, ''), COALESCE(address_stop, '') FROM puq_proxmox_kvm_ip_pools `

// Pools are the pools of a server in the order in which they were made; 0 = of all servers. A row that is nonsense is an
// error, kvm.ErrInvalid, which names it: addresses of a pool that nobody can read must not be given out around it.
func (s *Store) Pools(ctx context.Context, server int64) ([]kvm.Pool, error) {
	rows, err := s.db.QueryContext(ctx, poolQuery+"WHERE ? = 0 OR server_id = ? ORDER BY id", server, server)
	if err != nil {
		return nil, s.failed(err, "address pools")
	}
	defer func() { _ = rows.Close() }()
	var out []kvm.Pool
	for rows.Next() {
		var p kvm.Pool
		var family, vlan, gateway, mask, dns1, dns2, first, last string
		if err := rows.Scan(&p.ID, &p.ServerID, &family, &p.Bridge, &vlan, &gateway, &mask, &dns1, &dns2, &first, &last); err != nil {
			return nil, s.failed(err, "address pools")
		}
		if err := fillPool(&p, family, vlan, gateway, mask, dns1, dns2, first, last); err != nil {
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "address pool %d of server %d: %w", p.ID, p.ServerID, err), "puqkvm ippool edit %d, or ippool remove %d", p.ID, p.ID)
		}
		out = append(out, p)
	}
	return out, s.failed(rows.Err(), "address pools")
}

// fillPool reads the text columns of a pool.
func fillPool(p *kvm.Pool, family, vlan, gateway, mask, dns1, dns2, first, last string) error {
	for _, a := range []struct {
		name, text string
		to         *netip.Addr
		optional   bool
	}{
		{"first address", first, &p.First, false}, {"last address", last, &p.Last, false}, {"gateway", gateway, &p.Gateway, false},
		{"dns1", dns1, &p.DNS1, true}, {"dns2", dns2, &p.DNS2, true},
	} {
		text := strings.TrimSpace(a.text)
		if text == "" && a.optional {
			continue
		}
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return fmt.Errorf("%s %q is no address", a.name, text)
		}
		*a.to = addr.Unmap()
	}
	p.Family = kvm.FamilyOf(p.First)
	if kvm.FamilyOf(p.Last) != p.Family || kvm.FamilyOf(p.Gateway) != p.Family || !strings.EqualFold(strings.TrimSpace(family), string(p.Family)) {
		return fmt.Errorf("type %q, first address %s, last address %s and gateway %s are not of one family", family, p.First, p.Last, p.Gateway)
	}
	if p.Last.Less(p.First) {
		return fmt.Errorf("the last address %s is below the first, %s", p.Last, p.First)
	}
	var err error
	if p.VLAN, err = parseVLAN(vlan); err != nil {
		return err
	}
	if p.Bits, err = parseMask(mask, p.First.BitLen()); err != nil {
		return err
	}
	if p.Bridge = strings.TrimSpace(p.Bridge); p.Bridge == "" {
		return fmt.Errorf("no bridge is set")
	}
	return nil
}

func parseVLAN(text string) (int, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 4094 {
		return 0, fmt.Errorf("VLAN %q is not 0 to 4094", text)
	}
	return n, nil
}

// parseMask reads a prefix length, or for IPv4 a dotted mask.
func parseMask(text string, most int) (int, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "/")
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= most {
		return n, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() && most == 32 {
		b := a.As4()
		bits := strings.TrimRight(fmt.Sprintf("%08b%08b%08b%08b", b[0], b[1], b[2], b[3]), "0")
		if bits != "" && !strings.Contains(bits, "0") {
			return len(bits), nil
		}
	}
	return 0, fmt.Errorf("mask %q is no prefix length from 1 to %d%s", text, most, map[int]string{32: " and no netmask"}[most])
}

// PoolClaims are how many claims of ours each pool has; 0 stands for the servers' own lists.
func (s *Store) PoolClaims(ctx context.Context) (map[int64]int, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT pool_id, COUNT(*) FROM puq_proxmox_kvm_addresses GROUP BY pool_id")
	if err != nil {
		return nil, s.failed(err, "claims of the address pools")
	}
	defer func() { _ = rows.Close() }()
	out := map[int64]int{}
	for rows.Next() {
		var id int64
		var n int
		if err := rows.Scan(&id, &n); err != nil {
			return nil, s.failed(err, "claims of the address pools")
		}
		out[id] = n
	}
	return out, s.failed(rows.Err(), "claims of the address pools")
}

// poolArgs are the values of the columns, in the order of AddPool's and EditPool's statements.
func poolArgs(p kvm.Pool) ([]any, error) {
	check := p // what is stored must be readable
	err := fillPool(&check, string(p.Family), strconv.Itoa(p.VLAN), addrText(p.Gateway), strconv.Itoa(p.Bits), addrText(p.DNS1), addrText(p.DNS2), addrText(p.First), addrText(p.Last))
	if err != nil {
		return nil, kvm.Errorf(kvm.ErrInvalid, "address pool: %w", err)
	}
	return []any{p.ServerID, string(check.Family), check.Bridge, p.VLAN, addrText(p.Gateway), p.Bits, addrText(p.DNS1), addrText(p.DNS2), addrText(p.First), addrText(p.Last)}, nil
}

// AddPool stores a pool and returns its id. Whether it overlaps another is the caller's to check.
func (s *Store) AddPool(ctx context.Context, p kvm.Pool) (int64, error) {
	args, err := poolArgs(p)
	if err != nil {
		return 0, err
	}
	if _, err := s.Server(ctx, p.ServerID); err != nil {
		return 0, err
	}
	res, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_ip_pools
		(server_id, type, bridge, vlan, gateway, mask, dns1, dns2, address_start, address_stop) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, args...)
	if err != nil {
		return 0, s.failed(err, "address pool")
	}
	id, err := res.LastInsertId()
	return id, s.failed(err, "address pool")
}

// EditPool replaces the pool p.ID. Claims keep the network that they were given.
func (s *Store) EditPool(ctx context.Context, p kvm.Pool) error {
	args, err := poolArgs(p)
	if err != nil {
		return err
	}
	if _, err := s.Server(ctx, p.ServerID); err != nil {
		return err
	}
	res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_ip_pools SET server_id = ?, type = ?, bridge = ?, vlan = ?, gateway = ?, mask = ?,
		dns1 = ?, dns2 = ?, address_start = ?, address_stop = ? WHERE id = ?`, append(args, p.ID)...)
	return s.onePool(res, err, p.ID)
}

// RemovePool deletes a pool. Claims from it stay and keep their network.
func (s *Store) RemovePool(ctx context.Context, id int64) error {
	res, err := s.db.ExecContext(ctx, "DELETE FROM puq_proxmox_kvm_ip_pools WHERE id = ?", id)
	return s.onePool(res, err, id)
}

func (s *Store) onePool(res interface{ RowsAffected() (int64, error) }, err error, id int64) error {
	if err != nil {
		return s.failed(err, "address pool %d", id)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "there is no address pool %d", id), "puqkvm ippool list")
	}
	return nil
}
