package whmcs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

func TestSettings(t *testing.T) {
	s, db := newStore(t)
	ctx := t.Context()
	for _, value := range []string{"first", "żółć 😀"} {
		if err := s.SetSetting(ctx, "timezone", value); err != nil {
			t.Fatal(err)
		}
	}
	db.Exec("INSERT INTO puq_proxmox_kvm_settings (name, value) VALUES ('by.hand', NULL)")
	got, err := s.Settings(ctx)
	if diff := cmp.Diff(map[string]string{"timezone": "żółć 😀", "by.hand": ""}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for range 2 {
		if err := s.UnsetSetting(ctx, "timezone"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Settings(ctx); err != nil || len(got) != 1 {
		t.Errorf("after unsetting: %v, %v", got, err)
	}
	if err := s.SetSetting(ctx, "whmcs.module", "otherModule"); err != nil {
		t.Fatal(err)
	}
	if got := openStore(t, db).Module(); got != "otherModule" || s.Module() != DefaultModule {
		t.Errorf("module %s", got)
	}
}

func TestProductSettings(t *testing.T) {
	s, db := newStore(t)
	ctx := t.Context()
	product := db.AddProduct(whmcstest.Product{Name: "VPS &amp; more"})
	foreign := db.AddProduct(whmcstest.Product{Module: "cpanel"})
	similar := db.AddProduct(whmcstest.Product{Module: "PUQproxmoxKVM"})

	p, err := s.Product(ctx, product)
	if err != nil || p.Name != "VPS & more" || p.ServerType != DefaultModule {
		t.Errorf("product %+v, %v", p, err)
	}
	if all, err := s.Products(ctx); err != nil || len(all) != 1 || all[0] != p {
		t.Errorf("products %+v, %v", all, err)
	}
	none, err := s.ProductSettings(ctx, product)
	if err != nil || string(none) != "{}" {
		t.Fatalf("nothing set: %s, %v", none, err)
	}
	first, second := []byte(`{"cpu":"2"}`), []byte(`{"CPU":"2"}`)
	if err := s.SetProductSettings(ctx, product, none, first); err != nil {
		t.Fatal(err)
	}
	// Two changes of one document: the second is not made on top of what its maker has not seen.
	if err := s.SetProductSettings(ctx, product, none, []byte(`{"ram":"4"}`)); !errors.Is(err, kvm.ErrChanged) || kvm.Hint(err) == "" {
		t.Errorf("a lost update: %v", err)
	}
	if err := s.SetProductSettings(ctx, product, second, []byte(`{}`)); !errors.Is(err, kvm.ErrChanged) {
		t.Errorf("documents that differ in case only: %v", err)
	}
	if err := s.SetProductSettings(ctx, product, first, first); err != nil {
		t.Errorf("no change: %v", err)
	}
	if err := s.SetProductSettings(ctx, product, first, second); err != nil {
		t.Error(err)
	}
	if got, err := s.ProductSettings(ctx, product); err != nil || string(got) != string(second) {
		t.Errorf("stored %s, %v", got, err)
	}
	for name, c := range map[string]struct {
		product int64
		now     string
		class   error
	}{
		"no product": {999, "{}", kvm.ErrNotFound}, "another module's": {foreign, "{}", kvm.ErrRefused}, "a module that differs in case": {similar, "{}", kvm.ErrRefused},
		"no object": {product, "[]", kvm.ErrInvalid}, "null": {product, "null", kvm.ErrInvalid}, "nonsense": {product, "{", kvm.ErrInvalid},
	} {
		if err := s.SetProductSettings(ctx, c.product, second, []byte(c.now)); !errors.Is(err, c.class) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProductServers(t *testing.T) {
	s, db := newStore(t)
	normal := db.AddServer(whmcstest.Server{})
	standby := db.AddServer(whmcstest.Server{Inactive: true})
	off := db.AddServer(whmcstest.Server{Disabled: true})
	foreign := db.AddServer(whmcstest.Server{Module: "cpanel"})
	group := db.AddServerGroup(standby, off, foreign)
	for name, c := range map[string]struct {
		group int64
		want  []int64
	}{"no group": {0, []int64{normal}}, "group": {group, []int64{standby}}, "empty group": {999, nil}} {
		product := db.AddProduct(whmcstest.Product{ServerGroup: c.group})
		if got, err := s.ProductServers(t.Context(), product); err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
}

func TestServers(t *testing.T) {
	s, db := newStore(t)
	ctx := t.Context()
	stored, err := s.cipher.Encrypt(kvm.NewSecret("token-secret"))
	if err != nil {
		t.Fatal(err)
	}
	good := db.AddServer(whmcstest.Server{Name: "Cluster &quot;A&quot;", Hostname: " pve.example.com ", IP: "192.0.2.5", Username: "root@pam!a&amp;b", EncryptedPassword: stored, AssignedIPs: "vmbr0|0|192.0.2.10|24|192.0.2.1|"})
	broken := db.AddServer(whmcstest.Server{Name: "B", IP: "192.0.2.6", EncryptedPassword: "AAAA", Port: 443, Insecure: true})
	foreign := db.AddServer(whmcstest.Server{Module: "cpanel"})

	v, err := s.Server(ctx, good)
	if err != nil || v.Name != `Cluster "A"` || v.Address() != "pve.example.com" || v.Port != 8006 || v.Username != "root@pam!a&b" || v.Password.Reveal() != "token-secret" ||
		!v.Secure || !v.Active || v.Disabled || v.AssignedIPs == "" || string(v.Settings) != "{}" {
		t.Errorf("%+v, %v", v, err)
	}
	_, err = s.Server(ctx, broken)
	if !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), "(B)") || strings.Contains(err.Error(), "AAAA") {
		t.Errorf("a password that does not decrypt: %v", err)
	}
	if _, err := s.Server(ctx, foreign); !errors.Is(err, kvm.ErrRefused) {
		t.Errorf("another module's server: %v", err)
	}
	if _, err := s.Server(ctx, 999); !errors.Is(err, kvm.ErrNotFound) {
		t.Errorf("no server: %v", err)
	}
	all, err := s.Servers(ctx)
	if err != nil || len(all) != 2 || all[0].Problem != nil || all[1].Problem == nil || all[1].Port != 443 || all[1].Secure || all[1].Address() != "192.0.2.6" {
		t.Errorf("%+v, %v", all, err)
	}
	// The settings of a server whose password is broken can be mended too.
	for _, id := range []int64{good, broken} {
		if err := s.SetServerSettings(ctx, id, []byte("{}"), []byte(`{"pins":["AA:BB"]}`)); err != nil {
			t.Error(err)
		}
		if err := s.SetServerSettings(ctx, id, []byte("{}"), []byte(`{}`)); !errors.Is(err, kvm.ErrChanged) {
			t.Errorf("a lost update: %v", err)
		}
	}
	if v, err := s.Server(ctx, good); err != nil || string(v.Settings) != `{"pins":["AA:BB"]}` {
		t.Errorf("settings %s, %v", v.Settings, err)
	}
	if err := s.SetServerSettings(ctx, 999, []byte("{}"), []byte("{}")); !errors.Is(err, kvm.ErrNotFound) {
		t.Errorf("no server: %v", err)
	}
}

func TestOptions(t *testing.T) {
	s, db := newStore(t)
	product := db.AddProduct(whmcstest.Product{})
	other := db.AddProduct(whmcstest.Product{})
	service := db.AddService(whmcstest.Service{ProductID: product})
	add := func(name, kind, value string, number int) int64 {
		return db.AddConfigOption(whmcstest.ConfigOption{ProductID: product, Name: name, Kind: kind, Value: value, Number: number, ServiceID: service})
	}
	add("CPU Cores|Processor", whmcstest.Dropdown, "4|4 cores", 0)
	add("Operating System", whmcstest.Radio, "9000|Debian &amp; tools|12", 0)
	add(" Backups &amp; more | x", whmcstest.YesNo, "", 1)
	add("RAM", whmcstest.Quantity, "GB", 16)
	add("Nonsense", "x", "1", 1)
	db.AddConfigOption(whmcstest.ConfigOption{ProductID: product, Name: "Not chosen", Kind: whmcstest.Quantity})
	db.AddConfigOption(whmcstest.ConfigOption{ProductID: other, Name: "Former product's", Kind: whmcstest.Quantity, Number: 3, ServiceID: service})
	gone := add("System Disk", whmcstest.Dropdown, "20", 0)
	db.Exec("DELETE FROM tblproductconfigoptionssub WHERE configid = ?", gone)
	// WHMCS stores two rows for one option now and then.
	twice := add("Snapshots", whmcstest.Quantity, "", 1)
	if err := whmcstest.Choose(t.Context(), db, service, twice, 0, 7); err != nil {
		t.Fatal(err)
	}
	got, err := s.Options(t.Context(), service)
	want := map[string]string{"CPU Cores": "4", "Operating System": "9000", "Backups & more": "1", "RAM": "16", "Snapshots": "7"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := s.Options(t.Context(), 999); err != nil || len(got) != 0 {
		t.Errorf("no service: %v, %v", got, err)
	}
}

func TestAddonCron(t *testing.T) {
	s, db := newStore(t)
	if err := s.AddonCron(t.Context()); err != nil {
		t.Error(err)
	}
	db.Exec("INSERT INTO tbladdonmodules (module, setting, value) VALUES ('puq_proxmox_kvm', 'version', '3.0')")
	if err := s.AddonCron(t.Context()); !errors.Is(err, kvm.ErrRefused) || !strings.Contains(kvm.Hint(err), "delete tables to No") {
		t.Errorf("%v, hint %q", err, kvm.Hint(err))
	}
}

// Each failure of the database has the class that callers decide on.
func TestFailures(t *testing.T) {
	db := whmcstest.NewDB(t)
	s := openStore(t, db)
	if _, err := s.Settings(t.Context()); !errors.Is(err, kvm.ErrAdmin) || kvm.Hint(err) != "puqkvm db migrate" {
		t.Errorf("no tables yet: %v, hint %q", err, kvm.Hint(err))
	}
	mustMigrate(t, s)
	over, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-over.Done()
	if _, err := s.Settings(over); !errors.Is(err, kvm.ErrUnknown) {
		t.Errorf("no time left: %v", err)
	}
	// A row that somebody else holds.
	if err := s.SetSetting(t.Context(), "a", "1"); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "UPDATE puq_proxmox_kvm_settings SET value = '2' WHERE name = 'a'"); err != nil {
		t.Fatal(err)
	}
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(t.Context(), "SET innodb_lock_wait_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	_, err = conn.ExecContext(t.Context(), "UPDATE puq_proxmox_kvm_settings SET value = '3' WHERE name = 'a'")
	if err := s.failed(err, "setting"); !errors.Is(err, kvm.ErrBusy) {
		t.Errorf("a lock: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Settings(t.Context()); err == nil {
		t.Error("a closed store answers")
	}
}
