package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"html"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Product is a row of tblproducts.
type Product struct {
	ID         int64
	Name       string
	ServerType string // the server module's directory name
}

// Product reads a product; kvm.ErrNotFound when there is none.
func (s *Store) Product(ctx context.Context, id int64) (Product, error) {
	p := Product{ID: id}
	err := s.db.QueryRowContext(ctx, "SELECT name, servertype FROM tblproducts WHERE id = ?", id).Scan(&p.Name, &p.ServerType)
	if errors.Is(err, sql.ErrNoRows) {
		return Product{}, kvm.Errorf(kvm.ErrNotFound, "product %d does not exist in WHMCS", id)
	}
	p.Name = html.UnescapeString(p.Name)
	return p, s.failed(err, "product %d", id)
}

// Products are those of our module, by id.
func (s *Store) Products(ctx context.Context) ([]Product, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, name, servertype FROM tblproducts WHERE servertype = ? ORDER BY id", s.module)
	if err != nil {
		return nil, s.failed(err, "products")
	}
	defer func() { _ = rows.Close() }()
	var out []Product
	for rows.Next() {
		var p Product
		if err := rows.Scan(&p.ID, &p.Name, &p.ServerType); err != nil {
			return nil, s.failed(err, "products")
		}
		if p.ServerType == s.module { // SQL compares without case
			p.Name = html.UnescapeString(p.Name)
			out = append(out, p)
		}
	}
	return out, s.failed(rows.Err(), "products")
}

// ProductSettings is the product's settings document, a JSON object; "{}" when nothing is set.
func (s *Store) ProductSettings(ctx context.Context, product int64) ([]byte, error) {
	return s.document(ctx, "SELECT settings FROM puq_proxmox_kvm_product_settings WHERE product_id = ?", product, "product")
}

// SetProductSettings replaces the document was, as ProductSettings gave it, by now. It is kvm.ErrNotFound without such a
// product, kvm.ErrRefused when the product is another module's, and kvm.ErrChanged when the document is no longer was.
func (s *Store) SetProductSettings(ctx context.Context, product int64, was, now []byte) error {
	p, err := s.Product(ctx, product)
	if err != nil {
		return err
	}
	if p.ServerType != s.module {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "product %d (%s) belongs to the module %q, not %q", product, p.Name, p.ServerType, s.module),
			"choose the module %s on the product's Module Settings tab in WHMCS", s.module)
	}
	return s.replaceDocument(ctx, "INSERT IGNORE INTO puq_proxmox_kvm_product_settings (product_id, settings, updated_at) VALUES (?, '{}', UTC_TIMESTAMP(6))",
		"UPDATE puq_proxmox_kvm_product_settings SET settings = ?, updated_at = UTC_TIMESTAMP(6) WHERE product_id = ? AND settings = ?", product, was, now, "product")
}

// ProductServers are the servers of our module on which WHMCS may put a service of the product: those of its server
// group, or without a group the module's default one.
func (s *Store) ProductServers(ctx context.Context, product int64) ([]int64, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT v.id, v.type FROM tblproducts p JOIN tblservers v ON v.type = ? AND v.disabled = 0
		LEFT JOIN tblservergroupsrel r ON r.groupid = p.servergroup AND r.serverid = v.id
		WHERE p.id = ? AND (p.servergroup <> 0 AND r.serverid IS NOT NULL OR p.servergroup = 0 AND v.active = 1)
		GROUP BY v.id, v.type ORDER BY v.id`, s.module, product)
	if err != nil {
		return nil, s.failed(err, "servers of product %d", product)
	}
	defer func() { _ = rows.Close() }()
	var out []int64
	for rows.Next() {
		var id int64
		var module string
		if err := rows.Scan(&id, &module); err != nil {
			return nil, s.failed(err, "servers of product %d", product)
		}
		if module == s.module {
			out = append(out, id)
		}
	}
	return out, s.failed(rows.Err(), "servers of product %d", product)
}
