package whmcs

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

func TestOpenSaysWhy(t *testing.T) {
	db := whmcstest.NewDB(t)
	good, err := ParseDSN(db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	user := strings.Replace(db.Name, "puqkvm_test_", "u", 1)
	db.Exec("CREATE USER " + user + " IDENTIFIED BY 'right-password'")
	db.Exec("CREATE USER " + user + "@localhost IDENTIFIED BY 'right-password'")
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "DROP USER "+user+", "+user+"@localhost"); err != nil {
			t.Error(err)
		}
	})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.Addr().(*net.TCPAddr).Port
	_ = closed.Close()
	empty := whmcstest.NewDB(t, whmcstest.Empty())

	with := func(change func(*Database)) Database {
		d := good
		change(&d)
		return d
	}
	secret := kvm.NewSecret("wrong-but-secret")
	for name, c := range map[string]struct {
		d     Database
		class error
		words string
	}{
		"wrong password": {with(func(d *Database) { d.Username, d.Password = user, secret }), kvm.ErrAuth, `"` + user + `"`},
		"no privilege":   {with(func(d *Database) { d.Username, d.Password = user, kvm.NewSecret("right-password") }), kvm.ErrAuth, `may not use`},
		"no database":    {with(func(d *Database) { d.Name = "no_such_db" }), kvm.ErrAdmin, `"no_such_db"`},
		"no socket":      {with(func(d *Database) { d.Socket, d.Password = "/nonexistent/s", secret }), kvm.ErrUnreachable, "/nonexistent/s"},
		"refused":        {Database{Host: "127.0.0.1", Port: port, Name: "whmcs", Username: "w", Password: secret}, kvm.ErrUnreachable, "127.0.0.1:"},
		"unknown host":   {Database{Host: "no-such-host.invalid", Name: "whmcs", Username: "w", Password: secret}, kvm.ErrUnreachable, "no-such-host.invalid"},
		"not WHMCS's":    {with(func(d *Database) { d.Name = empty.Name }), kvm.ErrAdmin, "no table of WHMCS's"},
	} {
		s, err := Open(t.Context(), c.d, Options{})
		if err == nil {
			_ = s.Close()
		}
		if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.words) || kvm.Hint(err) == "" {
			t.Errorf("%s: %v (hint %q)", name, err, kvm.Hint(err))
			continue
		}
		if all := err.Error() + kvm.Hint(err); strings.Contains(all, "wrong-but-secret") || strings.Contains(all, "right-password") || strings.Contains(all, "\n") {
			t.Errorf("%s: says too much: %s", name, all)
		}
	}
}

func TestOpenNamesMissingColumns(t *testing.T) {
	db := whmcstest.NewDB(t)
	db.Exec("ALTER TABLE tblhosting DROP COLUMN qty") // some versions have none
	if s := openStore(t, db); s.has("tblhosting", "qty") || !s.has("TBLHOSTING", "DomainStatus") {
		t.Error("columns are not told apart")
	}
	db.Exec("ALTER TABLE tblhosting DROP COLUMN dedicatedip")
	db.Exec("DROP TABLE tblmodulelog")
	d, err := ParseDSN(db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), d, Options{})
	if !errors.Is(err, kvm.ErrAdmin) || !strings.Contains(err.Error(), "missing: tblhosting.dedicatedip, tblmodulelog") || !strings.Contains(kvm.Hint(err), "update") {
		t.Errorf("%v (hint %q)", err, kvm.Hint(err))
	}
}

// Every connection behaves the same, whatever the server's defaults are.
func TestSession(t *testing.T) {
	s, db := newStore(t)
	for _, mode := range []string{"", "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ANSI_QUOTES,NO_BACKSLASH_ESCAPES"} {
		before := db.Text("SELECT @@GLOBAL.sql_mode")
		db.Exec("SET GLOBAL sql_mode = ?", mode)
		fresh := openStore(t, db)
		db.Exec("SET GLOBAL sql_mode = ?", before)
		var got, charset string
		if err := fresh.db.QueryRowContext(t.Context(), "SELECT @@sql_mode, @@character_set_client").Scan(&got, &charset); err != nil || got != "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION" || charset != "utf8mb4" {
			t.Errorf("server's mode %q: session's %q, %s, %v", mode, got, charset, err)
		}
	}
	service := db.AddService(whmcstest.Service{Domain: "vps.example.com"})
	var zero, utc time.Time
	if err := s.db.QueryRowContext(t.Context(), "SELECT termination_date, UTC_TIMESTAMP(6) FROM tblhosting WHERE id = ?", service).Scan(&zero, &utc); err != nil || !zero.IsZero() {
		t.Errorf("zero date: %v, %v", zero, err)
	}
	if d := time.Since(utc); d < -time.Minute || d > time.Minute || utc.Location() != time.UTC {
		t.Errorf("UTC_TIMESTAMP is read as %v", utc)
	}
	res, err := s.db.ExecContext(t.Context(), "UPDATE tblhosting SET domain = domain WHERE id = ?", service)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n != 1 {
		t.Errorf("an UPDATE that changes nothing found %d rows", n)
	}
	if _, err := s.db.ExecContext(t.Context(), "UPDATE puq_proxmox_kvm_vmids SET state = ?", strings.Repeat("x", 20)); err != nil {
		t.Errorf("no row, no error: %v", err)
	}
	if _, err := s.db.ExecContext(t.Context(), "INSERT INTO puq_proxmox_kvm_vmids (vmid, state, reserved_at) VALUES (1, ?, UTC_TIMESTAMP(6))", strings.Repeat("x", 20)); err == nil {
		t.Error("text that is too long was cut off silently")
	}
	evil := `x' OR 1=1 -- \ " é €`
	var back string
	if err := s.db.QueryRowContext(t.Context(), "SELECT ?", evil).Scan(&back); err != nil || back != evil {
		t.Errorf("parameter came back as %q, %v", back, err)
	}
}

func TestWarnings(t *testing.T) {
	db := whmcstest.NewDB(t)
	if w := openStore(t, db).Warnings(); len(w) != 0 {
		t.Errorf("an ordinary WHMCS: %q", w)
	}
	db.Exec("ALTER TABLE tblhosting ENGINE=MyISAM")
	db.Exec("ALTER TABLE tblactivitylog CONVERT TO CHARACTER SET latin1, ADD COLUMN severity int NOT NULL")
	w := strings.Join(openStore(t, db).Warnings(), "\n")
	for _, words := range []string{"tblhosting is stored in MyISAM", "tblactivitylog.description has the character set latin1", "tblactivitylog.severity"} {
		if !strings.Contains(w, words) {
			t.Errorf("no word of %q in:\n%s", words, w)
		}
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]string{
		"10.11.19-MariaDB-0+deb12u1": "", "5.5.5-10.6.4-MariaDB": "", "11.8.1-MariaDB": "", "10.3.0-MariaDB": "", "10.2.44-MariaDB": "MariaDB 10.3",
		"8.4.0": "", "5.7.44-log": "", "5.6.51": "MySQL 5.7", "nonsense": "",
	} {
		if got := tooOld(version); got != want {
			t.Errorf("%s: %q, want %q", version, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct {
		d    Database
		want string
	}{
		{Database{Host: "db.example.com"}, "tcp db.example.com:3306"},
		{Database{Host: "db.example.com", Port: 3307}, "tcp db.example.com:3307"},
		{Database{Host: "db.example.com:3308"}, "tcp db.example.com:3308"},
		{Database{Host: "2001:db8::1"}, "tcp [2001:db8::1]:3306"},
		{Database{Host: "[2001:db8::1]", Port: 3307}, "tcp [2001:db8::1]:3307"},
		{Database{Host: "db.example.com", Socket: socket}, "unix " + socket},
		{Database{Host: "localhost", Port: 3306}, "tcp localhost:3306"},
		{Database{Host: "127.0.0.1"}, "tcp 127.0.0.1:3306"},
	} {
		if network, addr := c.d.address(); network+" "+addr != c.want {
			t.Errorf("%+v: %s %s, want %s", c.d, network, addr, c.want)
		}
	}
	local := "tcp localhost:3306"
	for _, path := range slices.Backward(sockets[:]) {
		if info, err := os.Stat(path); err == nil && info.Mode().Type() == os.ModeSocket {
			local = "unix " + path
		}
	}
	if network, addr := (Database{Host: "localhost"}).address(); network+" "+addr != local {
		t.Errorf("localhost: %s %s, want %s", network, addr, local)
	}
}

func TestParseDSN(t *testing.T) {
	for dsn, want := range map[string]Database{
		"root@unix(/run/s)/whmcs":     {Socket: "/run/s", Name: "whmcs", Username: "root"},
		"w:p@tcp(db.example:3307)/w2": {Host: "db.example", Port: 3307, Name: "w2", Username: "w", Password: kvm.NewSecret("p")},
	} {
		if got, err := ParseDSN(dsn); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", dsn, got, err)
		}
	}
	if _, err := ParseDSN("w:hidden@tcp(db"); !errors.Is(err, kvm.ErrInvalid) || strings.Contains(err.Error(), "hidden") {
		t.Errorf("nonsense: %v", err)
	}
}
