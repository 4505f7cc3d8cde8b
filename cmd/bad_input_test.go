package cmd

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// with is the same world for a program with more in its environment; NAME= unsets.
func (w *world) with(env ...string) *world {
	other := *w
	other.env = append(slices.Clone(w.env), env...)
	return &other
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

const wholePHP = `<?php
$license = 'x';
$db_host = 'localhost';
$db_username = 'nobody-knows-him';
$db_password = 'php-db-password';
$db_name = 'whmcs';
$cc_encryption_hash = 'php-encryption-hash';
`

// TestBadConfiguration: what is wrong with the configuration is told before anything is done, and nothing is.
func TestBadConfiguration(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5546)
	free, err := net.Listen("tcp", "127.0.0.1:0") // a port at which nobody answers
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(free.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	noDatabase := []string{"PUQKVM_DATABASE_NAME=", "PUQKVM_DATABASE_USER=", "PUQKVM_DATABASE_PASSWORD=", "PUQKVM_DATABASE_SOCKET=", "PUQKVM_DATABASE_HOST=", "PUQKVM_DATABASE_PORT=", "PUQKVM_ENCRYPTION_HASH="}
	php := func(text string) []string {
		return append([]string{"PUQKVM_WHMCS_ROOT=" + filepath.Dir(write(t, "configuration.php", text))}, noDatabase...)
	}
	toml := func(text string) []string { return []string{"PUQKVM_CONFIG=" + write(t, "puqkvm.toml", text)} }
	secretFile := func(text string) []string {
		return []string{"PUQKVM_DATABASE_PASSWORD=", "PUQKVM_DATABASE_PASSWORD_FILE=" + write(t, "password", text)}
	}
	for _, c := range []struct {
		name  string
		env   []string
		code  int
		words []string
	}{
		{"nothing configured", noDatabase, exitRefused, []string{"database.name is not set", "set name under [database] in ", "PUQKVM_DATABASE_NAME", "--whmcs-root"}},
		{"configuration.php half-written: a text", php(wholePHP + "$db_port = '33"), exitRefused, []string{"configuration.php: line 8"}},
		{"configuration.php half-written: nothing after", php(wholePHP[:strings.Index(wholePHP, "$db_name")]), exitRefused, []string{"$db_name", "$cc_encryption_hash"}},
		{"configuration.php computes", php(wholePHP + "$db_name = getenv('DB');\n"), exitRefused, []string{"line 8", "$db_name"}},
		{"configuration.php of somebody else", php("nothing of PHP"), exitRefused, []string{"configuration.php"}},
		{"no configuration.php", append([]string{"PUQKVM_WHMCS_ROOT=" + t.TempDir()}, noDatabase...), exitRefused, []string{"there is no ", "configuration.php", "--whmcs-root"}},
		{"relative root", append([]string{"PUQKVM_WHMCS_ROOT=www"}, noDatabase...), exitRefused, []string{"whmcs_root", "must be a path that begins with /"}},
		{"file: unknown key", toml("whmcs_rot = \"/x\"\n"), exitRefused, []string{`unknown key "whmcs_rot"`, "line 1", "the keys are"}},
		{"file: unknown key in a table", toml("[database]\nname = \"x\"\npass = \"hunter2\"\n"), exitRefused, []string{`unknown key "database.pass"`, "line 3"}},
		{"file: no TOML", toml("[database]\npassword = hunter2\n"), exitRefused, []string{"line 2", "no TOML"}},
		{"file: number for a text", toml("[database]\nname = true\n"), exitRefused, []string{"line 2", "must be a text in quotes"}},
		{"file: missing", []string{"PUQKVM_CONFIG=/nowhere.toml"}, exitRefused, []string{"/nowhere.toml", "no such file"}},
		{"file: a folder", []string{"PUQKVM_CONFIG=" + t.TempDir()}, exitRefused, []string{"is a directory"}},
		{"port", []string{"PUQKVM_DATABASE_SOCKET=", "PUQKVM_DATABASE_HOST=127.0.0.1", "PUQKVM_DATABASE_PORT=many"}, exitRefused, []string{"database.port", "1 to 65535"}},
		{"secret file: empty", secretFile(""), exitRefused, []string{"is empty", "database.password_file"}},
		{"secret file: lines", secretFile("a\nb\n"), exitRefused, []string{"more than one line"}},
		{"secret file: missing", []string{"PUQKVM_DATABASE_PASSWORD=", "PUQKVM_DATABASE_PASSWORD_FILE=/nowhere"}, exitRefused, []string{"/nowhere", "no such file"}},
		{"API half", []string{"PUQKVM_WHMCS_API_SECRET="}, exitRefused, []string{"configured half", "whmcs.api_secret"}},
		{"API address", []string{"PUQKVM_WHMCS_API_URL=billing"}, exitRefused, []string{"whmcs.api_url", "https://billing.example.com/"}},
		{"database down: socket", []string{"PUQKVM_DATABASE_SOCKET=/nowhere/mysqld.sock"}, exitUnknown, []string{"no database server answers on /nowhere/mysqld.sock", "is the server running?"}},
		{"database down: port", []string{"PUQKVM_DATABASE_SOCKET=", "PUQKVM_DATABASE_HOST=127.0.0.1", "PUQKVM_DATABASE_PORT=" + port}, exitUnknown, []string{"no database server answers on 127.0.0.1:" + port}},
		{"database: unknown host", []string{"PUQKVM_DATABASE_SOCKET=", "PUQKVM_DATABASE_HOST=no.such.host.invalid", "PUQKVM_DATABASE_PORT=3306"}, exitUnknown, []string{"no.such.host.invalid"}},
		{"database: wrong user", []string{"PUQKVM_DATABASE_USER=nobody-knows-him", "PUQKVM_DATABASE_PASSWORD=hunter2"}, exitAdmin, []string{`does not let the user "nobody-knows-him" in`, "$db_password"}},
		{"database: no such database", []string{"PUQKVM_DATABASE_NAME=nowhere"}, exitAdmin, []string{`there is no database "nowhere"`, "$db_name"}},
		{"database: another one", []string{"PUQKVM_DATABASE_NAME=mysql"}, exitAdmin, []string{`the database "mysql" holds no table of WHMCS's`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.state()
			for _, args := range [][]string{{"cron", "--force"}, {"create", "5546"}, {"vm", "list"}, {"db", "migrate"}} {
				out, errs, code := w.with(c.env...).run(args...)
				refused(t, strings.Join(args, " "), out, errs, code, c.code, c.words...)
				for _, secret := range []string{"hunter2", "php-db-password", "php-encryption-hash"} {
					if strings.Contains(errs, secret) {
						t.Errorf("%s shows %q:\n%s", strings.Join(args, " "), secret, errs)
					}
				}
			}
			if diff := changed(before, w.state()); len(diff) > 0 {
				t.Errorf("changed:\n%s", strings.Join(diff, "\n"))
			}
		})
	}
	w.tick()
	w.settle(5546)
}

// TestUnreadableFile: a file that this user may not read is told with the mode that mends it. Root may read all of them,
// so a process of another user is asked.
func TestUnreadableFile(t *testing.T) {
	w := newUnmigrated(t)
	dir, err := os.MkdirTemp("", "puqkvm-unreadable-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"puqkvm.toml", "configuration.php"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(wholePHP), 0o000); err != nil {
			t.Fatal(err)
		}
	}
	out, errs, code := w.asNobody(dir, "vm", "list", "--config", filepath.Join(dir, "puqkvm.toml"))
	refused(t, "config file", out, errs, code, exitRefused, "config file "+dir+"/puqkvm.toml: permission denied", "0640")
	out, errs, code = w.asNobody(dir, "vm", "list", "--whmcs-root", dir)
	refused(t, "configuration.php", out, errs, code, exitAdmin, "configuration.php cannot be read by this user", "run as root or as the web server's user")
}

// TestMissingTables: a table or column that is gone is named, with what brings it back.
func TestMissingTables(t *testing.T) {
	for _, c := range []struct{ statement, word, hint string }{
		{"DROP TABLE tblservers", "missing: tblservers", "update"},
		{"ALTER TABLE tblhosting DROP COLUMN assignedips", "missing: tblhosting.assignedips", "update"},
		{"DROP TABLE puq_proxmox_kvm_addresses", "puq_proxmox_kvm_addresses", "puqkvm db migrate"},
		{"ALTER TABLE puqProxmoxKVM_vm_info DROP COLUMN vm_uuid", "puqProxmoxKVM_vm_info.vm_uuid", "puqkvm db migrate"},
		{"UPDATE puq_proxmox_kvm_meta SET value = 'x' WHERE name = 'schema_version'", "schema_version", ""},
		{"UPDATE puq_proxmox_kvm_meta SET value = '0' WHERE name = 'schema_version'", "tables", "puqkvm db migrate"},
	} {
		t.Run(c.statement, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scene{})
			w.order(5546)
			w.db.Exec(c.statement)
			before := w.state()
			for _, args := range [][]string{{"cron", "--force"}, {"create", "5546"}, {"vm", "list"}} {
				out, errs, code := w.run(args...)
				refused(t, strings.Join(args, " "), out, errs, code, exitAdmin, c.word, c.hint)
			}
			if diff := changed(before, w.state()); len(diff) > 0 {
				t.Errorf("changed:\n%s", strings.Join(diff, "\n"))
			}
		})
	}
}

// TestBadServer: what is wrong with one server is told by each of its services, and holds up no other server's.
func TestBadServer(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(b *badRows)
		words []string
	}{
		{"wrong token", func(b *badRows) {
			b.db.Exec("UPDATE tblservers SET password = ? WHERE id = 2", b.encrypt("00000000-0000-4000-8000-000000000000"))
		}, []string{"401"}},
		{"wrong user", func(b *badRows) { b.db.Exec("UPDATE tblservers SET username = 'root@pam' WHERE id = 2") }, []string{"401"}},
		{"wrong encryption hash", func(b *badRows) {
			b.db.Exec("UPDATE tblservers SET password = 'bm90IGEgcGFzc3dvcmQgYXMgV0hNQ1MgaGFzIGl0' WHERE id = 2")
		}, []string{"wrong cc_encryption_hash?"}},
		{"wrong pin", func(b *badRows) {
			b.ok("server", "set", "2", "--fingerprint", strings.Repeat("AB:", 31)+"AB")
		}, []string{"SHA-256 fingerprint ", "is not pinned"}},
		{"no trust", func(b *badRows) { b.ok("server", "set", "2", "--system-roots") }, []string{"certificate"}},
		{"unreachable", func(b *badRows) { b.db.Exec("UPDATE tblservers SET port = 1 WHERE id = 2") }, []string{"127.0.0.1:1", "connection refused"}},
		{"deleted", func(b *badRows) { b.db.Exec("DELETE FROM tblservers WHERE id = 2") }, []string{"server 2 does not exist in WHMCS"}},
		{"another module's", func(b *badRows) { b.db.Exec("UPDATE tblservers SET type = 'cpanel' WHERE id = 2") }, []string{`server 2 (bad) belongs to the module "cpanel"`}},
		{"no pool", func(b *badRows) { b.db.Exec("DELETE FROM puq_proxmox_kvm_ip_pools WHERE server_id = 2") }, []string{"pool"}},
		{"no such template", func(b *badRows) { b.ok("product", "set", "2", "template=9009") }, []string{"template 9009 (setting template of product 2) is not in the cluster"}},
		{"template is none", func(b *badRows) {
			b.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'held'")
			b.order(7000)
			b.tick()
			b.ok("product", "set", "2", fmt.Sprintf("template=%d", b.vmid(7000)))
			b.db.Exec("DELETE FROM puqProxmoxKVM_vm_info WHERE service_id = 7000")
			b.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'creation'")
		}, []string{"(setting template of product 2) is no template"}},
		{"no such node", func(b *badRows) { b.ok("product", "set", "2", "node=pve9") }, []string{"pve9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBadRows(t)
			bad, good := b.pair()
			b.service(good)
			c.spoil(b)
			b.tells(map[int64]string{bad: c.name}, good)
			told := b.message(bad)
			if b.status(bad) == kvm.Ready {
				told = b.ok("vm", "log", fmt.Sprint(bad)) // it could be made all the same; its run says what was wrong
			}
			for _, word := range c.words {
				if !strings.Contains(told, word) {
					t.Errorf("%q is not said in %q", word, told)
				}
			}
			// What is told stays one line a tick and one stored run.
			for range 3 {
				b.tick()
			}
			if n := b.db.Text("SELECT COUNT(*) FROM puq_proxmox_kvm_runs WHERE service_id = ?", bad); n != "1" && n != "2" {
				t.Errorf("%s stored runs", n)
			}
		})
	}
}

// TestWrongHash: with another WHMCS's key no server's secret can be read, and no password is written with it.
func TestWrongHash(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5546)
	wrong := w.with("PUQKVM_ENCRYPTION_HASH=another-hash")
	wrong.clock.(*clock.Fake).Advance(0)
	log, _, code := wrong.run("cron", "--force")
	if code != exitDone || !strings.Contains(log, "wrong cc_encryption_hash?") {
		t.Errorf("exit %d\n%s", code, log)
	}
	if password := w.db.Text("SELECT password FROM tblhosting WHERE id = 5546"); password != "" {
		t.Errorf("a password was stored: %q", password)
	}
	out, errs, code := wrong.run("server", "test", "1")
	refused(t, "server test", out, errs, code, exitAdmin, "wrong cc_encryption_hash?", "compare cc_encryption_hash")
	service := whmcstest.Service{ID: 5547, ClientID: 42, ProductID: 1, ServerID: 1}
	w.db.AddService(service)
	out, errs, code = wrong.run("create", "5547")
	refused(t, "create", out, errs, code, exitAdmin, "wrong cc_encryption_hash?")
	w.tick()
	w.settle(5546)
}

// TestInterrupted: a context that has ended is told as that, with its own exit code, and changes nothing.
func TestInterrupted(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5546)
	before := w.state()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, args := range [][]string{{"cron", "--force"}, {"create", "5546"}, {"vm", "list"}, {"server", "test", "1"}} {
		out, errs, code := w.runIn(ctx, "", args...)
		refused(t, strings.Join(args, " "), out, errs, code, exitFailed, "Error: interrupted")
	}
	if diff := changed(before, w.state()); len(diff) > 0 {
		t.Errorf("changed:\n%s", strings.Join(diff, "\n"))
	}
}
