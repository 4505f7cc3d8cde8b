package whmcstest

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Execer is a *sql.DB, *sql.Tx, *sql.Conn or *DB.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// values are a row: column -> value.
type values map[string]any

// texts sets columns to the empty text, as WHMCS does for what has no value.
func (v values) texts(columns string) values {
	for _, c := range strings.Fields(columns) {
		if _, set := v[c]; !set {
			v[c] = ""
		}
	}
	return v
}

// numbers sets columns to 0.
func (v values) numbers(columns string) values {
	for _, c := range strings.Fields(columns) {
		if _, set := v[c]; !set {
			v[c] = 0
		}
	}
	return v
}

// insert inserts a row; an id of 0 lets the database choose.
func insert(ctx context.Context, db Execer, table string, id int64, v values) (int64, error) {
	if id != 0 {
		v["id"] = id
	}
	var columns []string
	for c := range v {
		columns = append(columns, c)
	}
	slices.Sort(columns)
	var args []any
	for _, c := range columns {
		args = append(args, v[c])
	}
	res, err := db.ExecContext(ctx, "INSERT INTO "+table+" (`"+strings.Join(columns, "`, `")+"`) VALUES ("+strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ")+")", args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", table, err)
	}
	if id != 0 {
		return id, nil
	}
	if id, err = res.LastInsertId(); err != nil {
		return 0, fmt.Errorf("%s: %w", table, err)
	}
	return id, nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Module is the server module that products and servers belong to unless they say otherwise.
const Module = "puqProxmoxKVM"

// Client is a row of tblclients.
type Client struct {
	ID                           int64
	FirstName, LastName, Company string
	Email                        string
	Language                     string
}

// AddClient inserts a client.
func AddClient(ctx context.Context, db Execer, c Client) (int64, error) {
	v := values{"firstname": or(c.FirstName, "Ada"), "lastname": or(c.LastName, "Example"), "companyname": c.Company, "email": or(c.Email, "ada@example.com"),
		"language": c.Language, "datecreated": "2026-01-01", "currency": 1}
	v.texts("address1 address2 city state postcode country phonenumber password authmodule authdata defaultgateway notes securityqans cardlastfour").
		texts("cardnum startdate expdate issuenumber bankname banktype bankcode bankacct gatewayid ip host pwresetkey").
		numbers("credit taxexempt latefeeoveride overideduenotices separateinvoices disableautocc billingcid securityqid groupid emailoptout overrideautoclose")
	return insert(ctx, db, "tblclients", c.ID, v)
}

// Server is a row of tblservers.
type Server struct {
	ID                int64
	Name, Hostname    string
	IP                string
	AssignedIPs       string
	Module            string
	Username          string
	EncryptedPassword string // as WHMCS stores it
	Insecure          bool
	Port              int // 0 = NULL
	Inactive          bool
	Disabled          bool
}

// AddServer inserts a server: active, secure, of our module.
func AddServer(ctx context.Context, db Execer, s Server) (int64, error) {
	v := values{"name": or(s.Name, "pve"), "hostname": s.Hostname, "ipaddress": or(s.IP, "127.0.0.1"), "assignedips": s.AssignedIPs, "type": or(s.Module, Module),
		"username": or(s.Username, "root@pam!whmcs"), "password": s.EncryptedPassword, "secure": "on", "active": 1, "disabled": s.Disabled}
	if s.Insecure {
		v["secure"] = ""
	}
	if s.Inactive {
		v["active"] = 0
	}
	if s.Port != 0 {
		v["port"] = s.Port
	}
	v.texts("noc statusaddress nameserver1 nameserver1ip nameserver2 nameserver2ip nameserver3 nameserver3ip nameserver4 nameserver4ip nameserver5 nameserver5ip accesshash")
	return insert(ctx, db, "tblservers", s.ID, v)
}

// AddServerGroup inserts a server group with its servers.
func AddServerGroup(ctx context.Context, db Execer, servers ...int64) (int64, error) {
	group, err := insert(ctx, db, "tblservergroups", 0, values{"name": "group", "filltype": 1})
	for _, s := range servers {
		if err == nil {
			_, err = insert(ctx, db, "tblservergroupsrel", 0, values{"groupid": group, "serverid": s})
		}
	}
	return group, err
}

// Product is a row of tblproducts.
type Product struct {
	ID          int64
	Name        string
	Module      string
	ServerGroup int64
}

// AddProduct inserts a product of our module.
func AddProduct(ctx context.Context, db Execer, p Product) (int64, error) {
	v := values{"type": "server", "gid": 1, "name": or(p.Name, "VPS"), "servertype": or(p.Module, Module), "servergroup": p.ServerGroup, "paytype": "recurring"}
	for i := 1; i <= 24; i++ {
		v[fmt.Sprintf("configoption%d", i)] = ""
	}
	v.texts("description subdomain autosetup freedomain freedomainpaymentterms freedomaintlds billingcycleupgrade overagesenabled affiliatepaytype color tagline short_description").
		numbers("hidden showdomainoptions stockcontrol proratabilling proratadate proratachargenextmonth allowqty recurringcycles autoterminatedays configoptionsupgrade").
		numbers("overagesdisklimit overagesbwlimit overagesdiskprice overagesbwprice tax affiliateonetime affiliatepayamount retired is_featured")
	return insert(ctx, db, "tblproducts", p.ID, v)
}

// Service is a row of tblhosting.
type Service struct {
	ID, ClientID, ProductID, ServerID int64
	Status                            string // Active unless said otherwise
	Domain, Username                  string
	EncryptedPassword                 string // as WHMCS stores it
	DedicatedIP, AssignedIPs          string
	Quantity                          int // 0 = the default, 1
}

// AddService inserts a service.
func AddService(ctx context.Context, db Execer, s Service) (int64, error) {
	v := values{"userid": s.ClientID, "orderid": 1, "packageid": s.ProductID, "server": s.ServerID, "regdate": "2026-01-01", "domain": s.Domain, "paymentmethod": "banktransfer",
		"billingcycle": "Monthly", "nextduedate": "2026-12-01", "nextinvoicedate": "2026-12-01", "domainstatus": or(s.Status, "Active"), "username": s.Username,
		"password": s.EncryptedPassword, "dedicatedip": s.DedicatedIP, "assignedips": s.AssignedIPs, "overidesuspenduntil": "0000-00-00"}
	if s.Quantity != 0 {
		v["qty"] = s.Quantity
	}
	v.texts("notes subscriptionid suspendreason ns1 ns2").numbers("promoid overideautosuspend")
	return insert(ctx, db, "tblhosting", s.ID, v)
}
