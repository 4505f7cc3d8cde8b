package whmcs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// serviceColumns are read by scanService, in this order. Whatever WHMCS may have left NULL is COALESCEd. A row that we did
// not queue is the PHP module's, which may have sent a clone without noting it.
const serviceColumns = `v.service_id, COALESCE(h.id, 0), COALESCE(h.userid, 0), COALESCE(h.packageid, 0), COALESCE(h.server, 0),
	COALESCE(h.domainstatus, ''), COALESCE(h.domain, ''), COALESCE(h.username, ''),
	COALESCE(p.id, 0), COALESCE(p.servertype, ''), ps.settings,
	COALESCE(v.vm_id, 0), COALESCE(v.vm_name, ''), COALESCE(v.vm_status, ''), v.status_since, v.server_id, v.vm_node, v.vm_uuid, v.vm_uuids,
	COALESCE(v.vm_net0_mac, ''), v.vm_cluster, v.template, SUBSTRING_INDEX(v.next_status, ',', 1), v.queued_at IS NULL, v.clone_sent <> 0 OR v.queued_at IS NULL, v.migrate_target, v.disk_slot, v.password_set <> 0, v.suspended <> 0, v.task_kind, v.task_upid,
	COALESCE(v.message, ''), COALESCE(v.claim_owner, ''), COALESCE(v.vm_rev_dns, ''), v.firewall,
	v.own_snapshots, v.iso_boot, v.restore_from, v.restore_failed <> 0, v.backup_note, v.backup_sent, v.backup_moment, v.backup_day, v.backup_date, v.backup_after,
	(SELECT cv.value FROM tblcustomfields cf JOIN tblcustomfieldsvalues cv ON cv.fieldid = cf.id AND cv.relid = h.id
		WHERE cf.type = 'product' AND cf.relid = h.packageid AND (cf.fieldname = 'SSH Key' OR cf.fieldname LIKE 'SSH Key|%') ORDER BY cv.id DESC LIMIT 1)`

const serviceTables = `puqProxmoxKVM_vm_info v
	LEFT JOIN tblhosting h ON h.id = v.service_id
	LEFT JOIN tblproducts p ON p.id = h.packageid
	LEFT JOIN puq_proxmox_kvm_product_settings ps ON ps.product_id = p.id`

// deletedState is the State of a service whose row in tblhosting is gone.
const deletedState = "deleted in WHMCS"

// Service reads a service that has a row of ours, with its package and addresses. What is wrong with the rows of WHMCS
// that it needs is its Problem, not an error; kvm.ErrNotFound = there is no row of ours.
func (s *Store) Service(ctx context.Context, id int64) (*kvm.Service, error) {
	sv, doc, err := s.scanService(s.db.QueryRowContext(ctx, `SELECT `+serviceColumns+` FROM `+serviceTables+` WHERE v.service_id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "service %d has no VM here", id), "puqkvm create %d", id)
	}
	if err != nil {
		return nil, fmt.Errorf("service %d: %w", id, err)
	}
	if err = s.claims(ctx, sv); err != nil {
		return nil, err
	}
	if sv.Problem == nil {
		err := s.applyPackage(ctx, sv, doc)
		if err != nil && !errors.Is(err, kvm.ErrInvalid) && !errors.Is(err, kvm.ErrAdmin) {
			return nil, err
		}
		sv.Problem = err
	}
	return sv, nil
}

// applyPackage sets the wanted state: the product's settings with the configurable options.
func (s *Store) applyPackage(ctx context.Context, sv *kvm.Service, doc []byte) error {
	product, err := kvm.ParseProduct(doc)
	if err != nil {
		return kvm.WithHint(fmt.Errorf("product %d: %w", sv.ProductID, err), "puqkvm product check %d", sv.ProductID)
	}
	options, err := s.Options(ctx, sv.ID)
	if err != nil {
		return err
	}
	if sv.Package, err = product.Package().WithOptions(options); err != nil {
		return fmt.Errorf("service %d: %w", sv.ID, err)
	}
	if err := sv.Package.Ready(); err != nil {
		return kvm.WithHint(fmt.Errorf("product %d: %w", sv.ProductID, err), "puqkvm product set %d template=VMID", sv.ProductID)
	}
	return nil
}

// scanService reads one line of serviceColumns, and the product's settings document.
func (s *Store) scanService(row interface{ Scan(...any) error }) (*kvm.Service, []byte, error) {
	var sv kvm.Service
	var hosting, product int64
	var servertype, reverse string
	var settings, uuids, firewall, sshKey sql.NullString
	var since, moment, after sql.NullTime
	r := &sv.Row
	err := row.Scan(&sv.ID, &hosting, &sv.ClientID, &sv.ProductID, &sv.ServerID, &sv.State, &sv.Domain, &sv.Username,
		&product, &servertype, &settings,
		&r.VMID, &r.Name, &r.Status, &since, &r.ServerID, &r.Node, &r.UUID, &uuids,
		&r.MAC, &r.Cluster, &r.Template, &r.Noted, &r.Legacy, &r.CloneSent, &r.MigrateTarget, &r.DiskSlot, &r.PasswordSet, &r.Suspended, &r.TaskKind, &r.TaskUPID,
		&r.Message, &r.Owner, &reverse, &firewall,
		&r.OwnSnapshots, &r.ISOBoot, &r.From, &r.RestoreFailed, &r.BackupNote, &r.BackupSent, &moment, &r.BackupDay, &r.BackupDate, &after, &sshKey)
	if err != nil {
		return nil, nil, err
	}
	if r.ServerID == 0 { // the PHP module's rows name none
		r.ServerID = sv.ServerID
	}
	r.Since, sv.Reverse = since.Time, reverseNames(reverse)
	r.BackupMoment, r.BackupAfter = moment.Time, after.Time
	sv.SSHKeys = strings.TrimSpace(strings.ReplaceAll(sshKey.String, "\r\n", "\n"))
	if uuids.String != "" && uuids.String != "null" {
		if err := json.Unmarshal([]byte(uuids.String), &r.UUIDs); err != nil {
			sv.Problem = kvm.Errorf(kvm.ErrInvalid, "service %d: puqProxmoxKVM_vm_info.vm_uuids is no list of UUIDs", sv.ID)
		}
	}
	switch {
	case hosting == 0:
		sv.State = deletedState
	case product == 0:
		sv.Problem = kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d: its product %d does not exist in WHMCS", sv.ID, sv.ProductID),
			"give the service a product in WHMCS")
	case servertype != s.module:
		sv.Problem = kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d: its product %d belongs to the module %q, not %q", sv.ID, sv.ProductID, servertype, s.module),
			"give the service a product of this module in WHMCS, or puqkvm settings set whmcs.module")
	case r.VMID <= 0 && r.Status != kvm.Remove:
		sv.Problem = kvm.Errorf(kvm.ErrInvalid, "service %d: puqProxmoxKVM_vm_info.vm_id is not set", sv.ID)
	}
	if sv.Firewall, err = kvm.ParseClientFirewall([]byte(firewall.String)); err != nil && sv.Problem == nil {
		sv.Problem = kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d: puqProxmoxKVM_vm_info.firewall: %w", sv.ID, err),
			"mend that document; set to NULL it forgets the rules that the client has made")
	}
	return &sv, []byte(settings.String), nil
}

// Listed is a line of `vm list`.
type Listed struct {
	ID        int64      `json:"service"`
	ClientID  int64      `json:"client"`
	ProductID int64      `json:"product"`
	ServerID  int64      `json:"server"`
	State     string     `json:"whmcs_status"`
	VMID      int        `json:"vmid"`
	Name      string     `json:"name"`
	Domain    string     `json:"domain"`
	Node      string     `json:"node"`
	Status    kvm.Status `json:"status"`
	Since     time.Time  `json:"since"`
	Addresses []string   `json:"addresses"`
	Message   string     `json:"message,omitempty"` // why it does not move
}

// Filter chooses lines of `vm list`; zero values choose all.
type Filter struct {
	Status kvm.Status
	Server int64
	Node   string
	Client int64
}

// List is every service with a row of ours that f chooses, by id.
func (s *Store) List(ctx context.Context, f Filter) ([]Listed, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT v.service_id, COALESCE(h.userid, 0), COALESCE(h.packageid, 0), v.server_id, COALESCE(h.domainstatus, ?),
		COALESCE(v.vm_id, 0), COALESCE(v.vm_name, ''), COALESCE(h.domain, ''), v.vm_node, COALESCE(v.vm_status, ''), v.status_since, COALESCE(v.message, ''),
		COALESCE(h.dedicatedip, ''), COALESCE(h.assignedips, '')
		FROM puqProxmoxKVM_vm_info v LEFT JOIN tblhosting h ON h.id = v.service_id
		WHERE (? = '' OR v.vm_status = ?) AND (? = 0 OR v.server_id = ?) AND (? = '' OR v.vm_node = ?) AND (? = 0 OR h.userid = ?)
		ORDER BY v.service_id`, deletedState,
		string(f.Status), string(f.Status), f.Server, f.Server, f.Node, f.Node, f.Client, f.Client)
	if err != nil {
		return nil, fmt.Errorf("list of VMs: %w", err)
	}
	defer rows.Close()
	out := []Listed{}
	for rows.Next() {
		var l Listed
		var since sql.NullTime
		var dedicated, assigned string
		if err := rows.Scan(&l.ID, &l.ClientID, &l.ProductID, &l.ServerID, &l.State, &l.VMID, &l.Name, &l.Domain, &l.Node, &l.Status, &since, &l.Message,
			&dedicated, &assigned); err != nil {
			return nil, fmt.Errorf("list of VMs: %w", err)
		}
		l.Since, l.Addresses = since.Time, strings.Fields(dedicated+" "+assigned)
		out = append(out, l)
	}
	return out, rows.Err()
}
