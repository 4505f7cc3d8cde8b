package hestiacp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns"
)

// row is a record as v-list-dns-records shows it. Several may have one id.
type row struct {
	id        string
	record    string // relative to the zone, @ for its own name; absolute with a final dot
	typ       dns.Type
	value     string
	suspended bool // not served
}

// name is the row's name in zone as dns.Edit has it.
func (r row) name(zone string) string {
	zone = dns.CanonicalName(zone)
	switch record := strings.ToLower(r.record); {
	case record == "@" || record == "":
		return zone
	case strings.HasSuffix(record, "."):
		return strings.TrimSuffix(record, ".")
	default:
		return record + "." + zone
	}
}

// relative is what name, which lies in zone, is called there.
func relative(name, zone string) string {
	zone = dns.CanonicalName(zone)
	if name == zone {
		return "@"
	}
	return strings.TrimSuffix(name, "."+zone)
}

// decodeRows reads the JSON of v-list-dns-records: an object of rows by id, in which a key may stand more than once. Text
// before it, which PHP's warnings are, is passed over.
func decodeRows(body []byte) ([]row, error) {
	text := bytes.TrimSpace(body)
	if at := bytes.Index(text, []byte("\n{")); at >= 0 && text[0] != '{' {
		text = text[at+1:]
	}
	if !json.Valid(text) {
		text = mend(text)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	var rows []row
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var fields map[string]any
		if err := d.Decode(&fields); err != nil {
			return nil, err
		}
		r, err := newRow(fmt.Sprint(key), fields)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something comes after the JSON object")
	}
	return rows, nil
}

func newRow(key string, fields map[string]any) (row, error) {
	text := func(name string) string {
		switch v := fields[name].(type) {
		case string:
			return v
		case json.Number:
			return v.String()
		}
		return ""
	}
	r := row{id: key, record: text("RECORD"), typ: dns.Type(strings.ToUpper(text("TYPE"))), value: text("VALUE"), suspended: text("SUSPENDED") == "yes"}
	switch id := text("ID"); {
	case key == "" || strings.Trim(key, "0123456789") != "":
		return r, fmt.Errorf("%q is no id", key)
	case id != key:
		return r, fmt.Errorf("the row at %q has the id %q", key, id)
	case r.typ == "":
		return r, fmt.Errorf("the row with the id %s has no type", key)
	}
	return r, nil
}

// mend makes JSON of what was written by echo: in a string a backslash that begins no escape stands for itself, and so does a
// control character.
func mend(text []byte) []byte {
	var out []byte
	inside := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"':
			inside = !inside
		case inside && c < ' ':
			out = fmt.Appendf(out, `\u%04x`, c)
			continue
		case inside && c == '\\' && i+1 < len(text) && strings.IndexByte(`"\/bfnrt`, text[i+1]) >= 0,
			inside && c == '\\' && i+5 < len(text) && json.Valid([]byte(`"`+string(text[i:i+6])+`"`)):
			out = append(out, c)
			i++
			c = text[i]
		case inside && c == '\\':
			out = append(out, c)
		}
		out = append(out, c)
	}
	return out
}
