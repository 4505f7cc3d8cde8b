package whmcs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// zoneDocument is a zone's config column as this program writes it.
type zoneDocument struct {
	kvm.DNSSettings
	Secret string `json:"secret"` // by WHMCS's cipher
}

// Zones are the configured DNS zones, as they were at most lookAge ago. One that cannot be used is among them, with its
// Problem.
func (s *Store) Zones(ctx context.Context) ([]kvm.DNSZone, error) {
	return s.zones.get(ctx, s.ReadZones)
}

// ReadZones are the configured DNS zones as they are now.
func (s *Store) ReadZones(ctx context.Context) ([]kvm.DNSZone, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, COALESCE(zone, ''), COALESCE(type, ''), COALESCE(config, '') FROM puq_proxmox_kvm_dns_zones ORDER BY id`)
	if err != nil {
		return nil, s.failed(err, "DNS zones")
	}
	defer func() { _ = rows.Close() }()
	var out []kvm.DNSZone
	for rows.Next() {
		var z kvm.DNSZone
		var config string
		if err := rows.Scan(&z.ID, &z.Name, &z.Kind, &config); err != nil {
			return nil, s.failed(err, "DNS zones")
		}
		z.Name = strings.ToLower(strings.Trim(z.Name, ". \t\r\n"))
		z.Kind = strings.ToLower(strings.TrimSpace(z.Kind))
		z.Settings, z.Secret, err = s.zoneConfig(config)
		if err != nil {
			z.Problem = fmt.Errorf("DNS zone %d (%s): %w", z.ID, z.Name, err)
		}
		out = append(out, z)
	}
	return out, s.failed(rows.Err(), "DNS zones")
}

// zoneConfig reads a config column. What another program has written there is not guessed at: a wrong guess would write
// into the wrong zone.
func (s *Store) zoneConfig(text string) (kvm.DNSSettings, kvm.Secret, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	var doc zoneDocument
	if err := d.Decode(&doc); err != nil {
		return kvm.DNSSettings{}, kvm.Secret{}, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "its settings are not those of puqkvm"),
			"enter them: puqkvm dns zone edit ID --help")
	}
	secret, err := s.cipher.Decrypt(doc.Secret)
	return doc.DNSSettings, secret, err
}

func (s *Store) zoneText(z kvm.DNSZone) (string, error) {
	sealed, err := s.cipher.Encrypt(z.Secret)
	if err != nil {
		return "", fmt.Errorf("DNS zone %s: %w", z.Name, err)
	}
	text, err := json.Marshal(zoneDocument{z.Settings, sealed})
	if err != nil {
		return "", fmt.Errorf("DNS zone %s: %w", z.Name, err)
	}
	return string(text), nil
}

// AddZone stores z, its secret encrypted, and returns its id. Whether it can be used is the caller's to check.
func (s *Store) AddZone(ctx context.Context, z kvm.DNSZone) (int64, error) {
	text, err := s.zoneText(z)
	if err != nil {
		return 0, err
	}
	res, err := s.db.ExecContext(ctx, `INSERT INTO puq_proxmox_kvm_dns_zones (zone, type, config) VALUES (?, ?, ?)`, z.Name, z.Kind, text)
	if err != nil {
		return 0, s.failed(err, "DNS zone %s", z.Name)
	}
	id, err := res.LastInsertId()
	return id, s.failed(err, "DNS zone %s", z.Name)
}

// EditZone replaces the zone z.ID.
func (s *Store) EditZone(ctx context.Context, z kvm.DNSZone) error {
	text, err := s.zoneText(z)
	if err != nil {
		return err
	}
	res, err := s.db.ExecContext(ctx, `UPDATE puq_proxmox_kvm_dns_zones SET zone = ?, type = ?, config = ? WHERE id = ?`, z.Name, z.Kind, text, z.ID)
	return s.oneZone(res, err, z.ID)
}

// RemoveZone deletes a zone's row. Its records stay at the provider.
func (s *Store) RemoveZone(ctx context.Context, id int64) error {
	res, err := s.db.ExecContext(ctx, `DELETE FROM puq_proxmox_kvm_dns_zones WHERE id = ?`, id)
	return s.oneZone(res, err, id)
}

func (s *Store) oneZone(res interface{ RowsAffected() (int64, error) }, err error, id int64) error {
	if err != nil {
		return s.failed(err, "DNS zone %d", id)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "there is no DNS zone %d", id), "puqkvm dns zone list")
	}
	return nil
}
