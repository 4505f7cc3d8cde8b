package whmcs

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// What Open has read is what the tables say, so that no command asks twice.
func TestOpened(t *testing.T) {
	db := whmcstest.NewDB(t)
	before := openStore(t, db)
	if o := before.Opened(); o.Schema.OK() || len(o.Settings) != 0 || !errors.Is(o.Schema.Err(), kvm.ErrAdmin) {
		t.Errorf("before the migration: %+v", o)
	}
	if _, err := before.Migrate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	id, err := before.Installation(t.Context()) // made after Open
	if err != nil {
		t.Fatal(err)
	}
	db.Exec("INSERT INTO puq_proxmox_kvm_settings (name, value) VALUES ('whmcs.module', 'other'), ('timezone', 'Europe/Warsaw'), ('empty', NULL)")
	// An administrator who converts tables must not break the program.
	db.Exec("ALTER TABLE puq_proxmox_kvm_settings CONVERT TO CHARACTER SET utf8 COLLATE utf8_general_ci")
	s := openStore(t, db)
	o := s.Opened()
	if d := cmp.Diff(map[string]string{"whmcs.module": "other", "timezone": "Europe/Warsaw", "empty": ""}, o.Settings); d != "" {
		t.Error(d)
	}
	fresh, err := s.SchemaState(t.Context())
	if d := cmp.Diff(fresh, o.Schema); d != "" || err != nil || !o.Schema.OK() {
		t.Error(d, err)
	}
	db.Exec("DELETE FROM puq_proxmox_kvm_meta WHERE name = 'installation_id'")
	if again, err := s.Installation(t.Context()); err != nil || again != id || s.Module() != "other" {
		t.Errorf("installation %q, want %q; %v; module %s", again, id, err, s.Module())
	}
	if _, err := openStore(t, db).Installation(t.Context()); !errors.Is(err, kvm.ErrAdmin) {
		t.Errorf("an installation without an id: %v", err)
	}
	db.Exec("UPDATE puq_proxmox_kvm_meta SET value = '0' WHERE name = 'schema_version'")
	db.Exec("ALTER TABLE puq_proxmox_kvm_slots DROP COLUMN taken_at")
	if o := openStore(t, db).Opened(); o.Schema.Have != 0 || len(o.Schema.Missing) != 1 {
		t.Errorf("an older database: %+v", o.Schema)
	}
}
