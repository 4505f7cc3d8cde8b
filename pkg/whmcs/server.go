package whmcs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"html"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// defaultPort is Proxmox VE's.
const defaultPort = 8006

// Server is a row of tblservers with our settings for it: one Proxmox cluster.
type Server struct {
	ID          int64
	Name        string
	Hostname    string
	IP          string
	Port        int        // 8006 where WHMCS has none
	Username    string     // with a ! a token's id, else a user with realm
	Password    kvm.Secret // the token's secret, or the user's password
	Secure      bool
	Active      bool // WHMCS's default server of its module
	Disabled    bool // WHMCS orders nothing more on it
	AssignedIPs string
	Module      string
	Settings    []byte // a JSON object: TLS trust, further addresses
	Problem     error  // why Password is not there; Server returns it, Servers leaves it here
}

// Address is the host to connect to: the hostname, or the IP address where there is none.
func (v Server) Address() string {
	if v.Hostname != "" {
		return v.Hostname
	}
	return v.IP
}

const serverQuery = `SELECT v.id, v.name, v.hostname, v.ipaddress, COALESCE(v.port, 0), v.username, v.password, v.secure, v.active <> 0, v.disabled <> 0,
	v.assignedips, v.type, COALESCE(ss.settings, '{}')
	FROM tblservers v LEFT JOIN puq_proxmox_kvm_server_settings ss ON ss.server_id = v.id `

// Server reads a server, its password decrypted. It is kvm.ErrNotFound when there is none, kvm.ErrRefused when it is
// another module's, kvm.ErrAdmin when its password does not decrypt.
func (s *Store) Server(ctx context.Context, id int64) (Server, error) {
	v, err := s.scanServer(s.db.QueryRowContext(ctx, serverQuery+"WHERE v.id = ?", id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Server{}, kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "server %d does not exist in WHMCS", id), "puqkvm server list")
	case err != nil:
		return Server{}, s.failed(err, "server %d", id)
	case v.Module != s.module:
		return Server{}, kvm.Errorf(kvm.ErrRefused, "server %d (%s) belongs to the module %q, not %q", id, v.Name, v.Module, s.module)
	}
	return v, v.Problem
}

// Servers are those of our module, by id. One whose password does not decrypt is among them, with its Problem.
func (s *Store) Servers(ctx context.Context) ([]Server, error) {
	rows, err := s.db.QueryContext(ctx, serverQuery+"WHERE v.type = ? ORDER BY v.id", s.module)
	if err != nil {
		return nil, s.failed(err, "servers")
	}
	defer func() { _ = rows.Close() }()
	var out []Server
	for rows.Next() {
		v, err := s.scanServer(rows)
		if err != nil {
			return nil, s.failed(err, "servers")
		}
		if v.Module == s.module { // SQL compares without case
			out = append(out, v)
		}
	}
	return out, s.failed(rows.Err(), "servers")
}

func (s *Store) scanServer(row interface{ Scan(...any) error }) (Server, error) {
	var v Server
	var password, secure, settings string
	err := row.Scan(&v.ID, &v.Name, &v.Hostname, &v.IP, &v.Port, &v.Username, &password, &secure, &v.Active, &v.Disabled, &v.AssignedIPs, &v.Module, &settings)
	if err != nil {
		return Server{}, err
	}
	for _, text := range []*string{&v.Name, &v.Hostname, &v.IP, &v.Username, &v.AssignedIPs} {
		*text = strings.TrimSpace(html.UnescapeString(*text))
	}
	if v.Port == 0 {
		v.Port = defaultPort
	}
	v.Secure, v.Settings = secure == "on", []byte(settings)
	if v.Password, err = s.cipher.Decrypt(password); err != nil {
		v.Problem = fmt.Errorf("server %d (%s): %w", v.ID, v.Name, err)
	}
	return v, nil
}

// SetServerSettings replaces the server's settings document was, as Server.Settings gave it, by now. It is
// kvm.ErrChanged when the document is no longer was.
func (s *Store) SetServerSettings(ctx context.Context, server int64, was, now []byte) error {
	if _, err := s.Server(ctx, server); err != nil && !errors.Is(err, kvm.ErrAdmin) {
		return err
	}
	return s.replaceDocument(ctx, "INSERT IGNORE INTO puq_proxmox_kvm_server_settings (server_id, settings, updated_at) VALUES (?, '{}', UTC_TIMESTAMP(6))",
		"UPDATE puq_proxmox_kvm_server_settings SET settings = ?, updated_at = UTC_TIMESTAMP(6) WHERE server_id = ? AND settings = ?", server, was, now, "server")
}
