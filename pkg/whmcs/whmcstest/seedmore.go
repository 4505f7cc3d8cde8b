package whmcstest

import (
	"context"
)

// Option kinds of WHMCS's configurable options.
const (
	Dropdown = "1"
	Radio    = "2"
	YesNo    = "3"
	Quantity = "4"
)

// ConfigOption is a configurable option of a product, with what one service has of it.
type ConfigOption struct {
	ProductID int64
	Name      string // key|Display, or plain
	Kind      string // Dropdown, …
	Value     string // the chosen sub-option's name; of Quantity and YesNo unused
	Number    int    // of Quantity and YesNo
	ServiceID int64  // 0 = no service has chosen
}

// AddConfigOption inserts the option in a group of its own that is linked to the product, its one sub-option, and the
// service's choice. It returns the option's id.
func AddConfigOption(ctx context.Context, db Execer, o ConfigOption) (int64, error) {
	group, err := insert(ctx, db, "tblproductconfiggroups", 0, values{"name": "group", "description": ""})
	if err != nil {
		return 0, err
	}
	if _, err := insert(ctx, db, "tblproductconfiglinks", 0, values{"gid": group, "pid": o.ProductID}); err != nil {
		return 0, err
	}
	option, err := insert(ctx, db, "tblproductconfigoptions", 0, values{"gid": group, "optionname": o.Name, "optiontype": or(o.Kind, Dropdown), "qtyminimum": 0, "qtymaximum": 0, "hidden": 0})
	if err != nil {
		return 0, err
	}
	sub, err := AddSubOption(ctx, db, option, o.Value)
	if err != nil || o.ServiceID == 0 {
		return option, err
	}
	return option, Choose(ctx, db, o.ServiceID, option, sub, o.Number)
}

// AddSubOption inserts one more value of an option.
func AddSubOption(ctx context.Context, db Execer, option int64, name string) (int64, error) {
	return insert(ctx, db, "tblproductconfigoptionssub", 0, values{"configid": option, "optionname": name, "hidden": 0})
}

// Choose inserts a service's choice of an option. WHMCS allows several rows.
func Choose(ctx context.Context, db Execer, service, option, sub int64, number int) error {
	_, err := insert(ctx, db, "tblhostingconfigoptions", 0, values{"relid": service, "configid": option, "optionid": sub, "qty": number})
	return err
}

// CustomField is a product's custom field with one service's value.
type CustomField struct {
	ProductID int64
	Name      string
	ServiceID int64 // 0 = no service has a value
	Value     string
}

// AddCustomField inserts the field and the value, and returns the field's id.
func AddCustomField(ctx context.Context, db Execer, f CustomField) (int64, error) {
	v := values{"type": "product", "relid": f.ProductID, "fieldname": f.Name, "fieldtype": "textarea"}
	id, err := insert(ctx, db, "tblcustomfields", 0, v.texts("description fieldoptions regexpr adminonly required showorder showinvoice"))
	if err != nil || f.ServiceID == 0 {
		return id, err
	}
	_, err = insert(ctx, db, "tblcustomfieldsvalues", 0, values{"fieldid": id, "relid": f.ServiceID, "value": f.Value})
	return id, err
}

// EmailTemplate is a row of tblemailtemplates.
type EmailTemplate struct {
	Name, Subject string
	Message       string // HTML with merge fields
	Type          string // product unless said otherwise
	Language      string
	Disabled      bool
}

// AddEmailTemplate inserts a template.
func AddEmailTemplate(ctx context.Context, db Execer, e EmailTemplate) (int64, error) {
	v := values{"type": or(e.Type, "product"), "name": e.Name, "subject": or(e.Subject, e.Name), "message": or(e.Message, "<p>{$service_domain}</p>"), "disabled": e.Disabled, "custom": 1, "language": e.Language, "plaintext": 0}
	return insert(ctx, db, "tblemailtemplates", 0, v.texts("attachments fromname fromemail copyto blind_copy_to"))
}

// Email is a row of tblemails: a mail that WHMCS has sent.
type Email struct {
	ClientID         int64
	Subject, Message string
}

// AddEmail inserts a sent mail.
func AddEmail(ctx context.Context, db Execer, e Email) (int64, error) {
	return insert(ctx, db, "tblemails", 0, values{"userid": e.ClientID, "subject": e.Subject, "message": e.Message, "to": "ada@example.com"})
}

// SetConfiguration stores a setting of WHMCS's, such as ModuleDebugMode.
func SetConfiguration(ctx context.Context, db Execer, setting, value string) error {
	_, err := db.ExecContext(ctx, "INSERT INTO tblconfiguration (setting, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)", setting, value)
	return err
}

// must ends the test when a row could not be inserted.
func (d *DB) must(id int64, err error) int64 {
	d.tb.Helper()
	if err != nil {
		d.tb.Fatal(err)
	}
	return id
}

// AddClient is the function of that name for the test.
func (d *DB) AddClient(c Client) int64 {
	d.tb.Helper()
	return d.must(AddClient(d.tb.Context(), d, c))
}

// AddServer is the function of that name for the test.
func (d *DB) AddServer(s Server) int64 {
	d.tb.Helper()
	return d.must(AddServer(d.tb.Context(), d, s))
}

// AddServerGroup is the function of that name for the test.
func (d *DB) AddServerGroup(servers ...int64) int64 {
	d.tb.Helper()
	return d.must(AddServerGroup(d.tb.Context(), d, servers...))
}

// AddProduct is the function of that name for the test.
func (d *DB) AddProduct(p Product) int64 {
	d.tb.Helper()
	return d.must(AddProduct(d.tb.Context(), d, p))
}

// AddService is the function of that name for the test.
func (d *DB) AddService(s Service) int64 {
	d.tb.Helper()
	return d.must(AddService(d.tb.Context(), d, s))
}

// AddConfigOption is the function of that name for the test.
func (d *DB) AddConfigOption(o ConfigOption) int64 {
	d.tb.Helper()
	return d.must(AddConfigOption(d.tb.Context(), d, o))
}

// AddCustomField is the function of that name for the test.
func (d *DB) AddCustomField(f CustomField) int64 {
	d.tb.Helper()
	return d.must(AddCustomField(d.tb.Context(), d, f))
}

// AddEmailTemplate is the function of that name for the test.
func (d *DB) AddEmailTemplate(e EmailTemplate) int64 {
	d.tb.Helper()
	return d.must(AddEmailTemplate(d.tb.Context(), d, e))
}

// AddEmail is the function of that name for the test.
func (d *DB) AddEmail(e Email) int64 {
	d.tb.Helper()
	return d.must(AddEmail(d.tb.Context(), d, e))
}
