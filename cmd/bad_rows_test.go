package cmd

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/config"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// templateVMID is the template of pvesim.TwoNodes.
const templateVMID = 9000

// cell is a column of one row, and the nonsense that may stand in it.
type cell struct {
	table, column string
	nonsense      []any
}

// cells are the columns of a table, all but its keys and those of except, by what the database says of them.
func (w *world) cells(table string, except ...string) []cell {
	w.t.Helper()
	var out []cell
	for _, row := range w.rows(`SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE, COALESCE(CHARACTER_MAXIMUM_LENGTH, 0), CHARACTER_SET_NAME, COLUMN_TYPE FROM information_schema.COLUMNS
		WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND COLUMN_KEY <> 'PRI' ORDER BY ORDINAL_POSITION`, table) {
		name, kind, nullable := row[0], row[1], row[2] == "YES"
		if slices.Contains(except, name) {
			continue
		}
		c := cell{table: table, column: name}
		switch kind {
		case "varchar", "text", "mediumtext":
			length, err := strconv.Atoi(row[3])
			if err != nil {
				w.t.Fatal(err)
			}
			nonsense := "garbage \x1b[2J\x01\t\r\n<b>&amp;|,%s'; --"
			if row[4] != "ascii" {
				nonsense = "ünïcødé ☃ " + nonsense
			}
			texts := []string{"", "-1", nonsense, strings.Repeat("x", min(length, 3000))}
			if name == "settings" || name == "vm_uuids" {
				texts = append(texts, `{"a":`, "[1]")
			}
			for _, text := range texts {
				r := []rune(text)
				c.nonsense = append(c.nonsense, string(r[:min(len(r), length)]))
			}
		case "int":
			if c.nonsense = []any{0, 1<<31 - 1}; !strings.Contains(row[5], "unsigned") {
				c.nonsense = append(c.nonsense, -1)
			}
		case "tinyint":
			c.nonsense = []any{-1, 7}
		case "datetime":
			c.nonsense = []any{"0000-00-00 00:00:00", "1970-01-01 00:00:00", "9999-12-31 23:59:59"}
		case "enum":
			c.nonsense = []any{"Completed", "Fraud"}
		case "date", "timestamp", "decimal":
			continue // WHMCS's own affairs: nothing of that kind is read
		default:
			w.t.Fatalf("%s.%s: what is nonsense for %s?", table, name, kind)
		}
		if nullable {
			c.nonsense = append(c.nonsense, nil)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		w.t.Fatalf("no columns of %s", table)
	}
	return out
}

// badRows is a world with a good service's surroundings (product and server 1) and a bad one's (2).
type badRows struct {
	*world
	next int64 // the next service's id
}

func newBadRows(t *testing.T) *badRows {
	w := newWorld(t, scene{})
	host := w.rows("SELECT hostname, port, username, password FROM tblservers WHERE id = 1")[0]
	port, err := strconv.Atoi(host[1])
	if err != nil {
		t.Fatal(err)
	}
	w.db.AddServer(whmcstest.Server{ID: 2, Name: "bad", Hostname: host[0], Port: port, Username: host[2], EncryptedPassword: host[3]})
	w.db.AddProduct(whmcstest.Product{ID: 2})
	w.ok("server", "set", "2", "--fingerprint", w.pve.Fingerprint)
	w.ok("product", "set", "2", "template=9000", "cpu=2", "main_domain=example.com")
	w.ok("ippool", "add", "--server", "2", "--gateway", "198.18.0.1/22", "--first", "198.18.0.10", "--last", "198.18.3.250", "--dns", "198.51.100.53")
	return &badRows{world: w, next: 6000}
}

// pair orders a bad service, and names a good one.
func (b *badRows) pair() (bad, good int64) {
	b.t.Helper()
	bad, good = b.next, b.next+1
	b.next += 2
	b.db.AddService(whmcstest.Service{ID: bad, ClientID: 42, ProductID: 2, ServerID: 2})
	b.ok("create", strconv.FormatInt(bad, 10))
	return bad, good
}

// forget removes what the services have left.
func (b *badRows) forget(ids ...int64) {
	b.t.Helper()
	for _, id := range ids {
		for _, table := range []string{"puqProxmoxKVM_vm_info", "puq_proxmox_kvm_addresses", "puq_proxmox_kvm_vmids", "puq_proxmox_kvm_slots", "puq_proxmox_kvm_runs", "puq_proxmox_kvm_outbox"} {
			b.db.Exec("DELETE FROM "+table+" WHERE service_id = ?", id)
		}
		b.db.Exec("DELETE FROM tblhosting WHERE id = ?", id)
	}
	for vmid := range b.sim.VMs() {
		if vmid != templateVMID {
			b.sim.RemoveVM(vmid)
		}
	}
}

// tells holds bad cells, each of one service, against the promise: the tick runs, the good service becomes ready, and each
// bad one is ready too, or says why not.
func (b *badRows) tells(bad map[int64]string, good int64) {
	b.t.Helper()
	what := ""
	if len(bad) == 1 {
		for _, w := range bad {
			what = w
		}
	}
	template := fmt.Sprintf("%+v", b.sim.VMs()[templateVMID])
	b.ok("create", strconv.FormatInt(good, 10))
	b.clock.(*clock.Fake).Advance(time.Minute)
	log, errs, code := b.run("cron", "--force")
	if code != exitDone || strings.Contains(log+errs, "panic") {
		b.t.Errorf("%s: cron: exit %d\n%s%s", what, code, log, errs)
	}
	if st := b.status(good); st != kvm.Ready {
		b.t.Errorf("%s: the good service is at %s: %s\n%s", what, st, b.message(good), errs)
	}
	if now := fmt.Sprintf("%+v", b.sim.VMs()[templateVMID]); now != template {
		b.t.Errorf("%s: the template was changed:\n%s\n%s", what, template, now)
	}
	if vm, addr := b.sim.VMs()[b.vmid(good)], b.db.Text("SELECT dedicatedip FROM tblhosting WHERE id = ?", good); addr == "" || !strings.Contains(vm.Config["ipconfig0"], "ip="+addr+"/") {
		b.t.Errorf("%s: the good service has %q, its VM %q", what, addr, vm.Config["ipconfig0"])
	}
	for id, what := range bad {
		st, told := b.status(id), b.db.Text("SELECT message FROM puqProxmoxKVM_vm_info WHERE service_id = ?", id)
		b.t.Logf("%s: %s %s", what, st, told)
		if st != kvm.Ready && (told == "" || !strings.Contains(log, fmt.Sprintf("sid:%d action:", id)) && !strings.Contains(errs, strconv.FormatInt(id, 10))) {
			b.t.Errorf("%s: the bad service %d is at %q and tells %q\n%s%s", what, id, st, told, log, errs)
		}
	}
	// The bad row keeps nobody from seeing the others, and the table stays a table.
	out, errs, code := b.run("vm", "list")
	if code != exitDone || !strings.Contains(out, "\n"+strconv.FormatInt(good, 10)+" ") || strings.Count(out, "\n") != len(bad)+2 || strings.ContainsAny(out, "\x1b\r\t") {
		b.t.Errorf("%s: vm list: exit %d\n%s%s", what, code, out, errs)
	}
}

// halfWay lets all pending services come as far as migrated and no further.
func (b *badRows) halfWay() {
	b.t.Helper()
	fault := b.sim.AddFault(pvesim.Fault{Method: "PUT", Path: "/nodes/{node}/qemu/{vmid}/config", Status: 500, Reason: "not now"})
	defer fault.Remove()
	b.tick()
	if left := b.db.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info WHERE vm_status <> 'migrated'"); left != "0" || fault.Hits() == 0 {
		b.t.Fatalf("%s services are not at migrated", left)
	}
}

// quiet are columns of which nonsense makes a service rest without a word: it is not known to be a pending one, or seems
// to be in another process's hands. "vm list" shows the status.
var quiet = []string{"vm_status", "claim_until"}

// TestBadRowOfService: nonsense in each column of the rows that belong to one service, in one tick for all, when the
// services were just ordered and half way.
func TestBadRowOfService(t *testing.T) {
	for _, c := range []struct {
		table, key string
		columns    string // those that are read, "" = all
		except     []string
	}{
		{table: "puqProxmoxKVM_vm_info", key: "service_id", except: quiet},
		{table: "tblhosting", key: "id", columns: "userid packageid server domain domainstatus username password qty notes dedicatedip assignedips ns1 ns2"},
		{table: "puq_proxmox_kvm_addresses", key: "service_id", except: []string{"service_id"}},
		{table: "puq_proxmox_kvm_vmids", key: "service_id", except: []string{"service_id"}},
	} {
		for _, half := range []bool{false, true} {
			if !half && c.table == "puq_proxmox_kvm_addresses" {
				continue // there are no rows yet
			}
			t.Run(c.table+map[bool]string{false: ", ordered", true: ", half way"}[half], func(t *testing.T) {
				t.Parallel()
				b := newBadRows(t)
				var set []func()
				bad := map[int64]string{}
				for _, cell := range b.cells(c.table, c.except...) {
					if c.columns != "" && !slices.Contains(strings.Fields(c.columns), cell.column) {
						continue
					}
					for _, v := range cell.nonsense {
						id, _ := b.pair()
						bad[id] = fmt.Sprintf("%s = %.40q", cell.column, v)
						set = append(set, func() { b.db.Exec("UPDATE "+c.table+" SET `"+cell.column+"` = ? WHERE "+c.key+" = ?", v, id) })
					}
				}
				if half {
					b.halfWay()
				}
				for _, f := range set {
					f()
				}
				good := b.next
				b.service(good)
				b.tells(bad, good)
			})
		}
	}
}

// TestQuietColumns: the two columns that TestBadRowOfOurs leaves out keep nobody else from going on. A claim that no
// holder could have made holds nothing: there the bad one goes on too.
func TestQuietColumns(t *testing.T) {
	b := newBadRows(t)
	for _, set := range []string{"vm_status = 'garbage'", "vm_status = NULL", "vm_status = ''", "claim_owner = 'garbage', claim_until = '9999-12-31 23:59:59'"} {
		bad, good := b.pair()
		b.service(good)
		b.db.Exec("UPDATE puqProxmoxKVM_vm_info SET "+set+" WHERE service_id = ?", bad)
		made := 1
		if strings.Contains(set, "claim") {
			made = 2
		}
		before := len(b.sim.VMs())
		b.ok("create", strconv.FormatInt(good, 10))
		b.tick()
		if st := b.status(good); st != kvm.Ready || len(b.sim.VMs()) != before+made {
			t.Errorf("%s: the good service is at %s, and there are %d VMs", set, st, len(b.sim.VMs()))
		}
		b.forget(bad, good)
	}
}

// TestBadRowOfProduct: nonsense in each column of the rows that the bad service shares with others like it: product,
// server, pool, options, fields; one tick each.
func TestBadRowOfProduct(t *testing.T) {
	for _, c := range []struct {
		table, row string
		columns    string // those that are read, "" = all
		nullable   bool   // a PHP installation may have left NULLs
		says       string // what every word about it has in it, a regular expression
	}{
		{table: "tblproducts", row: "id = 2", columns: "name servertype servergroup", says: `^service \d+: its product 2 belongs to the module `},
		{table: "tblservers", row: "id = 2", columns: "name ipaddress hostname assignedips type username password secure port active disabled", says: `server 2\b|dial tcp`},
		{table: "puq_proxmox_kvm_product_settings", row: "product_id = 2", says: `^product 2: (product settings: |no template is set, neither )`},
		{table: "puq_proxmox_kvm_server_settings", row: "server_id = 2", says: `^server 2: its settings are no JSON document(; mend: puqkvm server set 2 --system-roots)?$|certificate`},
		{table: "puq_proxmox_kvm_ip_pools", row: "server_id = 2", columns: "type bridge vlan gateway mask dns1 dns2 address_start address_stop", nullable: true, says: `^address pool 2 of server 2: |^not enough free addresses: `},
		{table: "tblproductconfiglinks", row: "id = 1"},
		{table: "tblproductconfigoptions", row: "id = 1", columns: "gid optionname optiontype order"},
		{table: "tblproductconfigoptionssub", row: "id = 1", columns: "configid optionname", says: `configurable options: "RAM": `},
		{table: "tblhostingconfigoptions", row: "id = 1"},
		{table: "tblcustomfields", row: "id = 1", columns: "type relid fieldname"},
		{table: "tblcustomfieldsvalues", row: "id = 1", columns: "fieldid relid value", says: "SSH public key"},
		{table: "puq_proxmox_kvm_dns_zones", row: "id = 1", columns: "zone", nullable: true},
		{table: "puq_proxmox_kvm_cron_tasks", row: "name <> ''", columns: "finished_at result"},
		{table: "tblconfiguration", row: "setting <> ''", columns: "value"},
	} {
		t.Run(c.table, func(t *testing.T) {
			t.Parallel()
			b := newBadRows(t)
			b.db.Exec("INSERT INTO puq_proxmox_kvm_dns_zones (zone, type, config) VALUES ('example.net', 'powerdns', '{}')")
			if c.nullable {
				for _, col := range b.rows("SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND COLUMN_KEY = ''", c.table) {
					b.db.Exec("ALTER TABLE " + c.table + " MODIFY `" + col[0] + "` varchar(255) NULL")
				}
			}
			b.chosen()
			b.db.Exec("CREATE TABLE kept AS SELECT * FROM " + c.table)
			for _, cell := range b.cells(c.table) {
				if c.columns != "" && !slices.Contains(strings.Fields(c.columns), cell.column) {
					continue
				}
				for _, v := range cell.nonsense {
					bad, good := b.pair()
					b.service(good)
					b.db.Exec("UPDATE tblhostingconfigoptions SET relid = ?", bad)
					b.db.Exec("UPDATE tblcustomfieldsvalues SET relid = ?", bad)
					b.db.Exec("UPDATE "+c.table+" SET `"+cell.column+"` = ? WHERE "+c.row, v)
					b.tells(map[int64]string{bad: fmt.Sprintf("%s = %.40q", cell.column, v)}, good)
					if told := b.message(bad); c.says != "" && told != "" && !regexp.MustCompile(c.says).MatchString(told) {
						b.t.Errorf("%s = %.40q: %q is not said in %q", cell.column, v, c.says, told)
					}
					b.db.Exec("REPLACE INTO " + c.table + " SELECT * FROM kept")
					b.forget(bad, good)
				}
			}
		})
	}
}

// chosen gives product 2 one configurable option and one custom field, each with the id 1.
func (b *badRows) chosen() {
	b.t.Helper()
	for _, statement := range []string{
		"INSERT INTO tblproductconfiglinks (id, gid, pid) VALUES (1, 1, 2)",
		"INSERT INTO tblproductconfigoptions (id, gid, optionname, optiontype, qtyminimum, qtymaximum, hidden) VALUES (1, 1, 'RAM|Memory', '1', 0, 0, 0)",
		"INSERT INTO tblproductconfigoptionssub (id, configid, optionname, hidden) VALUES (1, 1, '4|4 GB', 0)",
		"INSERT INTO tblhostingconfigoptions (id, relid, configid, optionid, qty) VALUES (1, 1, 1, 1, 0)",
		"INSERT INTO tblcustomfields (id, type, relid, fieldname, fieldtype, description, fieldoptions, regexpr, adminonly, required, showorder, showinvoice) VALUES (1, 'product', 2, 'SSH Key', 'textarea', '', '', '', '', '', '', '')",
		"INSERT INTO tblcustomfieldsvalues (id, fieldid, relid, value) VALUES (1, 1, 1, '')",
	} {
		b.db.Exec(statement)
	}
}

// TestBadSetting: one stored setting that is nonsense stops the tick before it does anything, in one line that names it
// and the command that mends it, for what it would do on a guess may be too much.
func TestBadSetting(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5546)
	for _, s := range config.Table() {
		value := "\x01 nonsense"
		w.db.Exec("INSERT INTO puq_proxmox_kvm_settings (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)", s.Name, value)
		before := w.state()
		for _, args := range [][]string{{"cron", "--force"}, {"create", "5546"}, {"vm", "list"}, {"server", "test", "1"}} {
			out, errs, code := w.run(args...)
			refused(t, strings.Join(args, " "), out, errs, code, exitRefused, s.Name, "puqkvm settings set "+s.Name)
		}
		if diff := changed(before, w.state()); len(diff) > 0 {
			t.Errorf("%s: changed:\n%s", s.Name, strings.Join(diff, "\n"))
		}
		w.ok("settings", "show")
		w.ok("settings", "set", s.Name, "--default")
	}
	w.tick()
	w.settle(5546)
}

// refused holds a refusal against what it has to be: nothing on stdout, one line that begins with Error on stderr, at most
// one more that begins with Hint, the right exit code, and in it all of words.
func refused(t *testing.T, what, out, errs string, code, wantCode int, words ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
	for len(lines) > 0 && strings.HasPrefix(lines[0], "Warning: ") {
		lines = lines[1:]
	}
	prefix := "Error: "
	if wantCode == exitQueued {
		prefix = ""
	}
	if code != wantCode || out != "" || len(lines) == 0 || len(lines) > 2 || !strings.HasPrefix(lines[0], prefix) || len(lines) == 2 && !strings.HasPrefix(lines[1], "Hint: ") {
		t.Errorf("%s: exit %d, want %d\nstdout: %s\nstderr: %s", what, code, wantCode, out, errs)
	}
	for _, word := range words {
		if !strings.Contains(errs, word) {
			t.Errorf("%s: %q is not said in\n%s", what, word, errs)
		}
	}
}
