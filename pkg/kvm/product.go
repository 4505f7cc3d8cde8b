package kvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
)

// Product is the settings of a WHMCS product, as `product set` wrote them: what was set, and nothing of the defaults. The
// zero Product has nothing set. Each value in it passed the table of [Settings]; whether the values go together is
// [Product.Check]'s. A copy is a Product of its own: Set and Unset never change another one.
type Product struct {
	// Canonical text by key, never written to; nil = nothing set. It is behind a function because fmt, which prints
	// unexported fields without asking their type, and follows pointers for some verbs, prints no more of a function than
	// its address: so the console's key cannot get into a log with a struct around it.
	values func() map[string]string
}

// ParseProduct reads a stored document, a JSON object of key to string, number or boolean. Unknown keys, keys that stand
// there twice, and values that are out of range are ErrInvalid, all of them in one line; an empty document sets nothing.
//
// With the error comes a Product of what could be read, for `product set`, which mends documents. Nobody else uses it.
func ParseProduct(doc []byte) (Product, error) {
	var p Product
	if len(bytes.TrimSpace(doc)) == 0 {
		return p, nil
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return p, notDocument(err)
	}
	var problems problems
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return p, notDocument(err)
		}
		key, _ := t.(string)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return p, notDocument(err)
		}
		text, ok := scalar(raw)
		switch {
		case seen[key]:
			problems.addf("%s stands in the document twice", quote(key))
		case !ok:
			problems.addf("%s is neither text, a number nor true or false", quote(key))
		default:
			problems.add(p.Set(key, text))
		}
		seen[key] = true
	}
	if _, err := d.Token(); err != nil {
		return p, notDocument(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, notDocument(errors.New("something follows the closing brace"))
	}
	return p, problems.err("product settings")
}

func notDocument(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("it is not one object of keys and values")
	}
	return Errorf(ErrInvalid, "product settings: no JSON document: %s", strings.ReplaceAll(err.Error(), "\n", " "))
}

// scalar is the text of a JSON string, number or boolean.
func scalar(raw json.RawMessage) (string, bool) {
	switch raw[0] {
	case '{', '[', 'n':
		return "", false
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	}
	return string(raw), true
}

// Set gives the setting key a value. Blanks around it do not count. An unknown key, or a value that the table refuses, is
// ErrInvalid with key, value and range, and changes nothing.
func (p *Product) Set(key, value string) error {
	s, ok := setting(key)
	if !ok {
		return WithHint(Errorf(ErrInvalid, "there is no product setting %s%s", quote(key), nearest(key)),
			"puqkvm product show PID lists the settings")
	}
	v, err := s.parse(value)
	if err != nil {
		return err
	}
	values := p.all()
	values[key] = v.text
	p.values = func() map[string]string { return values }
	return nil
}

// Unset gives the setting key its default again. An unknown key is ErrInvalid; one that is not set is none.
func (p *Product) Unset(key string) error {
	if _, ok := setting(key); !ok {
		return Errorf(ErrInvalid, "there is no product setting %s%s", quote(key), nearest(key))
	}
	values := p.all()
	delete(values, key)
	p.values = func() map[string]string { return values }
	return nil
}

// all is a copy of what is set.
func (p Product) all() map[string]string {
	if p.values == nil {
		return map[string]string{}
	}
	return maps.Clone(p.values())
}

// JSON is the document to store: every setting that was set, even to its default (so that a later version's other default
// does not change the product), in the table's order. It holds the console's key in the clear: store it, show [Product.Show].
func (p Product) JSON() []byte {
	values := p.all()
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range table {
		s := &table[i]
		text, ok := values[s.Key]
		if !ok {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", s.Key, s.json(text))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// Line is a setting as `product show` prints it.
type Line struct {
	Group   string `json:"group"`
	Key     string `json:"key"`
	Value   string `json:"value"` // what counts: the product's or the default; a secret is ***
	Set     bool   `json:"set"`   // the product sets it
	Default string `json:"default"`
	Unit    string `json:"unit,omitempty"`
	Range   string `json:"range"`
	Help    string `json:"help"`
}

// Show is every setting in the table's order.
func (p Product) Show() []Line {
	values := p.all()
	lines := make([]Line, len(table))
	for i := range table {
		s := &table[i]
		text, set := values[s.Key]
		if !set {
			text = s.Default
		}
		if s.Kind == KindHidden {
			text = NewSecret(text).String()
		}
		lines[i] = Line{s.Group, s.Key, text, set, s.Default, s.Unit, s.Range(), s.Help}
	}
	return lines
}

// Package is the wanted state that the product asks for, before any configurable option ([Package.WithOptions]).
func (p Product) Package() Package {
	values := p.all()
	pkg := Package{Permissions: map[string]bool{}}
	for i := range table {
		s := &table[i]
		text, ok := values[s.Key]
		if !ok {
			text = s.Default
		}
		v, err := s.parse(text)
		if err != nil {
			// Set accepted it, or a test has held the default against its own range.
			panic("kvm: product setting " + s.Key + " refuses what it accepted before")
		}
		s.set(&pkg, v)
	}
	return pkg
}

// String is what is set, on one line, secrets hidden.
func (p Product) String() string {
	var parts []string
	for _, l := range p.Show() {
		if l.Set {
			parts = append(parts, l.Key+"="+l.Value)
		}
	}
	return strings.Join(parts, " ")
}

// GoString hides secrets from %#v.
func (p Product) GoString() string { return "kvm.Product(" + p.String() + ")" }

// MarshalJSON refuses: a Product is stored with [Product.JSON] and shown with [Product.Show].
func (p Product) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a product is stored with JSON and shown with Show")
}

// LogValue hides secrets from structured logs.
func (p Product) LogValue() slog.Value { return slog.StringValue(p.String()) }
