package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"html"
	"net/netip"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Sheet is what the database has about a service besides what its pipelines need. It is for people to read.
type Sheet struct {
	Hosting   bool // tblhosting has the service
	State     string
	ClientID  int64
	ProductID int64
	Product   string // its name
	Ours      bool   // the product is of our module
	Module    string // the product's
	ServerID  int64
	Domain    string
	Age       time.Duration // since the row's status was reached, by the database's clock; 0 = there is no row, or no stamp
	Holder    *Holder       // nil = nobody has claimed the service
	Addresses []SheetAddress
	Mails     []SheetMail // those that are not sent, the oldest first
	Addon     error       // kvm.ErrRefused with the way to mend it while the PHP module's addon is activated, see AddonCron
}

// Holder is who has claimed a service.
type Holder struct {
	Host string        // "" = the token is not one of ours
	PID  string        // on that host
	Left time.Duration // until the claim ends unless it is renewed; less than 0 = it has ended
	Dead bool          // the process has certainly died
}

// Holds says whether the holder keeps others from the service.
func (h *Holder) Holds() bool {
	return h != nil && !h.Dead && h.Left >= 0 && h.Left <= 2*ClaimLife
}

// SheetAddress is an address of a service.
type SheetAddress struct {
	Address string
	State   string // claimed, leaving, quarantined; "" = it stands in tblhosting, and the service has no claim on it
	Bridge  string
	VLAN    int
	Gateway string
	Bits    int
	Pool    int64 // 0 = the server's legacy list
	Other   int64 // the service that has the claim where this one has none, 0 = none
}

// SheetMail is a mail of a service that is not sent.
type SheetMail struct {
	Name     string // the template, or the action of one without
	State    kvm.OutboxState
	Attempts int
	Created  time.Time
	Error    string // of the last attempt
}

// Sheet reads a service's; one that is neither in tblhosting nor in ours is empty, and no error.
func (s *Store) Sheet(ctx context.Context, id int64) (Sheet, error) {
	var sheet Sheet
	var dedicated, assigned string
	err := s.db.QueryRowContext(ctx, `SELECT COALESCE(h.domainstatus, ''), h.userid, h.packageid, COALESCE(p.name, ''), COALESCE(p.servertype, ''), h.server, COALESCE(h.domain, ''),
		COALESCE(h.dedicatedip, ''), COALESCE(h.assignedips, '')
		FROM tblhosting h LEFT JOIN tblproducts p ON p.id = h.packageid WHERE h.id = ?`, id).
		Scan(&sheet.State, &sheet.ClientID, &sheet.ProductID, &sheet.Product, &sheet.Module, &sheet.ServerID, &sheet.Domain, &dedicated, &assigned)
	switch {
	case err == nil:
		sheet.Hosting, sheet.Ours, sheet.Product = true, sheet.Module == s.module, html.UnescapeString(sheet.Product)
	case errors.Is(err, sql.ErrNoRows):
		sheet.State = deletedState
	default:
		return sheet, s.failed(err, "service %d", id)
	}
	for _, read := range []func() error{
		func() error { return s.sheetRow(ctx, id, &sheet) },
		func() error { return s.sheetAddresses(ctx, id, strings.Fields(dedicated+" "+assigned), &sheet) },
		func() error { return s.sheetMails(ctx, id, &sheet) },
	} {
		if err := read(); err != nil {
			return sheet, err
		}
	}
	if sheet.Addon = s.AddonCron(ctx); errors.Is(sheet.Addon, kvm.ErrRefused) {
		return sheet, nil
	}
	return sheet, sheet.Addon
}

func (s *Store) sheetRow(ctx context.Context, id int64, sheet *Sheet) error {
	var owner sql.NullString
	var age, left sql.NullInt64
	err := s.db.QueryRowContext(ctx, `SELECT TIMESTAMPDIFF(SECOND, status_since, UTC_TIMESTAMP(6)), claim_owner, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), claim_until)
		FROM puqProxmoxKVM_vm_info WHERE service_id = ?`, id).Scan(&age, &owner, &left)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return s.failed(err, "service %d", id)
	}
	sheet.Age = time.Duration(age.Int64) * time.Second
	if owner.String == "" || !left.Valid {
		return nil
	}
	sheet.Holder = &Holder{Left: time.Duration(left.Int64) * time.Second, Dead: ownerDead(owner.String)}
	if f := strings.Split(owner.String, "/"); len(f) == 6 {
		sheet.Holder.Host, sheet.Holder.PID = f[0], f[3]
	}
	return nil
}

// sheetAddresses reads the service's claims, and whose those are that tblhosting has for it.
func (s *Store) sheetAddresses(ctx context.Context, id int64, hosting []string, sheet *Sheet) error {
	args := []any{id}
	for _, text := range hosting {
		if a, err := netip.ParseAddr(text); err == nil { // people type other things there too
			args = append(args, StoredAddr(a))
		}
	}
	query := `SELECT address, state, bridge, vlan, gateway, bits, pool_id, service_id FROM puq_proxmox_kvm_addresses WHERE service_id = ?`
	if len(args) > 1 {
		query += ` OR address IN (` + marks(len(args)-1) + `)`
	}
	rows, err := s.db.QueryContext(ctx, query+` ORDER BY state = 'quarantined', state, position, address`, args...)
	if err != nil {
		return s.failed(err, "addresses of service %d", id)
	}
	defer rows.Close()
	own, others := map[string]bool{}, map[string]int64{}
	for rows.Next() {
		var a SheetAddress
		var service int64
		if err := rows.Scan(&a.Address, &a.State, &a.Bridge, &a.VLAN, &a.Gateway, &a.Bits, &a.Pool, &service); err != nil {
			return s.failed(err, "addresses of service %d", id)
		}
		if service != id {
			others[a.Address] = service
			continue
		}
		own[a.Address] = true
		sheet.Addresses = append(sheet.Addresses, a)
	}
	for _, text := range hosting {
		stored := text
		if a, err := netip.ParseAddr(text); err == nil {
			stored = StoredAddr(a)
		}
		if !own[stored] {
			own[stored] = true
			sheet.Addresses = append(sheet.Addresses, SheetAddress{Address: text, Other: others[stored]})
		}
	}
	return s.failed(rows.Err(), "addresses of service %d", id)
}

func (s *Store) sheetMails(ctx context.Context, id int64, sheet *Sheet) error {
	rows, err := s.db.QueryContext(ctx, `SELECT COALESCE(NULLIF(template, ''), action), state, attempts, created_at, COALESCE(last_error, '')
		FROM puq_proxmox_kvm_outbox WHERE service_id = ? AND state <> 'sent' ORDER BY created_at, id`, id)
	if err != nil {
		return s.failed(err, "mails of service %d", id)
	}
	defer rows.Close()
	for rows.Next() {
		var m SheetMail
		if err := rows.Scan(&m.Name, &m.State, &m.Attempts, &m.Created, &m.Error); err != nil {
			return s.failed(err, "mails of service %d", id)
		}
		sheet.Mails = append(sheet.Mails, m)
	}
	return s.failed(rows.Err(), "mails of service %d", id)
}

// ServicesOf are the services whose VM has or had the SMBIOS UUID, by id.
func (s *Store) ServicesOf(ctx context.Context, uuid string) ([]int64, error) {
	if uuid == "" || strings.ContainsAny(uuid, `%_\"`) {
		return nil, nil
	}
	rows, err := s.db.QueryContext(ctx, `SELECT service_id FROM puqProxmoxKVM_vm_info
		WHERE LOWER(vm_uuid) = LOWER(?) OR LOWER(vm_uuids) LIKE CONCAT('%"', LOWER(?), '"%') ORDER BY service_id`, uuid, uuid)
	if err != nil {
		return nil, s.failed(err, "services of the UUID %s", uuid)
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, s.failed(err, "services of the UUID %s", uuid)
		}
		out = append(out, id)
	}
	return out, s.failed(rows.Err(), "services of the UUID %s", uuid)
}
