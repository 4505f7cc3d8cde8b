package whmcstest

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// failing is a test that notes why it ended.
type failing struct {
	*testing.T
	why string
}

func (f *failing) Fatal(args ...any) {
	f.why = fmt.Sprint(args...)
	panic(f)
}

func TestNoServerIsAFailure(t *testing.T) {
	f := &failing{T: t}
	t.Setenv(EnvDSN, "")
	func() {
		defer func() { _ = recover() }()
		NewDB(f)
	}()
	if !strings.Contains(f.why, "make test") || !strings.Contains(f.why, "scripts/mariadb.sh run -- go test ./...") {
		t.Errorf("%q", f.why)
	}
}

func TestDatabasesAreApartAndGo(t *testing.T) {
	a, b := NewDB(t, WithPHPTables()), NewDB(t, Empty())
	if got := a.Text("SELECT COUNT(*) FROM puqProxmoxKVM_vm_info"); got != "2" || a.Name == b.Name {
		t.Errorf("%s rows, %s and %s", got, a.Name, b.Name)
	}
	if got := b.Text("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"); got != "0" {
		t.Errorf("%s tables in an empty database", got)
	}
	c, err := Create(t.Context(), strings.Replace(a.DSN, a.Name, "", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Drop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := b.Text("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", c.Name); got != "0" {
		t.Error("the database is still there")
	}
}

// Every seed gives a row in strict mode, twice, with the id that was asked for.
func TestSeeds(t *testing.T) {
	db := NewDB(t)
	client := db.AddClient(Client{ID: 7})
	server := db.AddServer(Server{Port: 8006})
	product := db.AddProduct(Product{ServerGroup: db.AddServerGroup(server)})
	service := db.AddService(Service{ID: 5546, ClientID: client, ProductID: product, ServerID: server, Quantity: 2})
	if client != 7 || service != 5546 {
		t.Errorf("ids %d, %d", client, service)
	}
	for range 2 {
		db.AddConfigOption(ConfigOption{ProductID: product, Name: "RAM", Kind: Quantity, Number: 4, ServiceID: service})
		db.AddCustomField(CustomField{ProductID: product, Name: "SSH Key", ServiceID: service, Value: "ssh-ed25519 A"})
		db.AddEmailTemplate(EmailTemplate{Name: "a"})
		db.AddEmail(Email{ClientID: client, Subject: "s", Message: "m"})
		db.AddClient(Client{})
		db.AddServer(Server{})
		db.AddProduct(Product{})
		db.AddService(Service{})
		if err := SetConfiguration(t.Context(), db, "Version", "8.13.0-release.1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := db.Text("SELECT CONCAT_WS('|', qty, domainstatus, termination_date) FROM tblhosting WHERE id = 5546"); got != "2|Active|0000-00-00" {
		t.Error(got)
	}
	if got := db.Text("SELECT COUNT(*) FROM tblhostingconfigoptions h JOIN tblproductconfiglinks l ON l.pid = ? JOIN tblproductconfigoptions o ON o.gid = l.gid AND o.id = h.configid", product); got != "2" {
		t.Errorf("%s options", got)
	}
}
