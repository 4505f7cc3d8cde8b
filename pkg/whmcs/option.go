package whmcs

import (
	"context"
	"database/sql"
	"html"
	"strconv"
	"strings"
)

// Options are the configurable options that are set for a service, by the key that modules see: the option's name up to
// the first bar. A dropdown's or radio button's value is that part of the chosen sub-option's name, a yes/no's or
// quantity's is its number. Options that the service's present product does not have, that have no row for the service,
// or whose choice is gone, are not set. WHMCS allows two rows for one option; the one with the highest id counts.
func (s *Store) Options(ctx context.Context, service int64) (map[string]string, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT o.optionname, o.optiontype, h.qty, sub.optionname"+`
		FROM tblhosting svc
		JOIN tblproductconfiglinks l ON l.pid = svc.packageid
		JOIN tblproductconfigoptions o ON o.gid = l.gid
		JOIN tblhostingconfigoptions h ON h.relid = svc.id AND h.configid = o.id
		LEFT JOIN tblproductconfigoptionssub sub ON sub.id = h.optionid AND sub.configid = o.id
		WHERE svc.id = ? `+"ORDER BY o.`order`, o.id, h.id", service)
	if err != nil {
		return nil, s.failed(err, "configurable options of service %d", service)
	}
	defer func() { _ = rows.Close() }()
	out := map[string]string{}
	for rows.Next() {
		var name, kind string
		var quantity int64
		var sub sql.NullString
		if err := rows.Scan(&name, &kind, &quantity, &sub); err != nil {
			return nil, s.failed(err, "configurable options of service %d", service)
		}
		switch key := optionKey(name); strings.TrimSpace(kind) {
		case "1", "2":
			if sub.Valid {
				out[key] = optionKey(sub.String)
			} else {
				delete(out, key)
			}
		case "3", "4":
			out[key] = strconv.FormatInt(quantity, 10)
		}
	}
	return out, s.failed(rows.Err(), "configurable options of service %d", service)
}

// optionKey is what stands before the first bar.
func optionKey(name string) string {
	key, _, _ := strings.Cut(html.UnescapeString(name), "|")
	return strings.TrimSpace(key)
}
