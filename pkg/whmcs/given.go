package whmcs

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// given is one look at which addresses are given to anybody, and at the pools, for all services of a tick: with 100 000
// services it takes half a second. What this process claims itself is added to it.
type given struct {
	mu sync.Mutex
	at time.Time // of the look; zero = none
	addresses
	pools map[int64][]kvm.Pool // by server, with the runs of its legacy list
}

// addresses are those that are given.
type addresses struct {
	taken map[netip.Addr]struct{}
	// own are those that only the service's own row in tblhosting names: for the service itself they are free.
	own map[int64][]netip.Addr
}

// refresh looks anew when the look is too old, and says so. mu is held.
func (g *given) refresh(ctx context.Context, s *Store) (fresh bool, err error) {
	if !g.at.IsZero() && time.Since(g.at) < lookAge {
		return false, nil
	}
	began := time.Now()
	if g.addresses, err = s.readGiven(ctx); err != nil {
		return false, err
	}
	g.at, g.pools = began, map[int64][]kvm.Pool{}
	return true, nil
}

func (g *given) poolsOf(ctx context.Context, s *Store, server int64) ([]kvm.Pool, error) {
	if pools, ok := g.pools[server]; ok {
		return pools, nil
	}
	pools, err := s.allPools(ctx, server)
	if err == nil {
		g.pools[server] = pools
	}
	return pools, err
}

// without runs f with what is given to others than the service.
func (a *addresses) without(service int64, f func(taken map[netip.Addr]struct{}) error) error {
	for _, addr := range a.own[service] {
		delete(a.taken, addr)
	}
	defer func() {
		for _, addr := range a.own[service] {
			a.taken[addr] = struct{}{}
		}
	}()
	return f(a.taken)
}

func (a *addresses) add(claims []kvm.Claim) {
	for _, c := range claims {
		a.taken[c.Addr.Unmap()] = struct{}{}
	}
}

// readGiven reads the addresses that are given: by a claim of ours, or by any row of tblhosting whose service still has
// them. Terminated, Cancelled and Fraud services that have no row of ours, or one that is removed, have given theirs back;
// so has the end of a quarantine. What is unreadable in tblhosting is no address.
func (s *Store) readGiven(ctx context.Context) (addresses, error) {
	a := addresses{taken: map[netip.Addr]struct{}{}, own: map[int64][]netip.Addr{}}
	err := s.each(ctx, `SELECT 0, address, '' FROM puq_proxmox_kvm_addresses WHERE NOT (state = 'quarantined' AND COALESCE(until < UTC_TIMESTAMP(6), 0))`,
		func(_ int64, addr netip.Addr) { a.taken[addr] = struct{}{} })
	if err != nil {
		return a, fmt.Errorf("claimed addresses: %w", err)
	}
	holders := map[netip.Addr]int64{}
	err = s.each(ctx, `SELECT h.id, h.dedicatedip, h.assignedips FROM tblhosting h
		LEFT JOIN puqProxmoxKVM_vm_info v ON v.service_id = h.id
		WHERE (h.dedicatedip <> '' OR h.assignedips <> '')
		AND NOT (COALESCE(h.domainstatus, '') IN ('Terminated', 'Cancelled', 'Fraud') AND (v.service_id IS NULL OR COALESCE(v.vm_status, '') = 'remove'))`,
		func(service int64, addr netip.Addr) {
			if _, claimed := a.taken[addr]; claimed {
				return
			}
			if holder, known := holders[addr]; known && holder != service {
				service = 0 // two name it: it is nobody's alone
			}
			holders[addr] = service
		})
	if err != nil {
		return a, fmt.Errorf("addresses in tblhosting: %w", err)
	}
	for addr, service := range holders {
		a.taken[addr] = struct{}{}
		if service != 0 {
			a.own[service] = append(a.own[service], addr)
		}
	}
	return a, nil
}

// each runs a query of a service and two texts and hands every address in the texts to f.
func (s *Store) each(ctx context.Context, query string, f func(service int64, addr netip.Addr)) error {
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var service int64
		var texts [2]sql.NullString
		if err := rows.Scan(&service, &texts[0], &texts[1]); err != nil {
			return err
		}
		for _, t := range texts {
			for _, addr := range addressesIn(t.String) {
				f(service, addr)
			}
		}
	}
	return rows.Err()
}

// addressesIn are the addresses in a text that people edit; what is unreadable is none.
func addressesIn(text string) []netip.Addr {
	var out []netip.Addr
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(",;|/ \t\r\n", r) }) {
		if addr, err := netip.ParseAddr(field); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	return out
}
