package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// PHP is what WHMCS's configuration.php says. Empty fields are not set.
type PHP struct {
	Host, Socket   string
	Port           int
	Name, User     string
	Password       kvm.Secret
	EncryptionHash kvm.Secret
}

// key is one key of the configuration.
type key struct {
	name     string // as in the file: table.key
	fallback string
	secret   bool
	check    func(text string) error // nil = anything; the error says what is wanted
	php      func(PHP) string        // nil = not in configuration.php
}

// keys are all keys, in the order in which Describe shows them.
var keys = []key{
	{name: "whmcs_root", check: absolute},
	{name: "database.host", fallback: "localhost", php: func(p PHP) string { return p.Host }},
	{name: "database.port", check: port, php: phpPort},
	{name: "database.socket", check: absolute, php: func(p PHP) string { return p.Socket }},
	{name: "database.name", php: func(p PHP) string { return p.Name }},
	{name: "database.user", php: func(p PHP) string { return p.User }},
	{name: "database.password", secret: true, php: func(p PHP) string { return p.Password.Reveal() }},
	{name: "encryption_hash", secret: true, php: func(p PHP) string { return p.EncryptionHash.Reveal() }},
	{name: "whmcs.api_url", check: webAddress},
	{name: "whmcs.api_identifier"},
	{name: "whmcs.api_secret", secret: true},
	{name: "whmcs.api_accesskey", secret: true},
}

// lookUp finds a key by its name in the file. file is true for the twin that names a secret's file.
func lookUp(name string) (k key, file, ok bool) {
	for _, k := range keys {
		if name == k.name {
			return k, false, true
		}
		if k.secret && name == k.name+"_file" {
			return k, true, true
		}
	}
	return key{}, false, false
}

// variable is the environment variable of the key name.
func variable(name string) string {
	return "PUQKVM_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// howTo says where the key name can be set.
func howTo(name, file string) string {
	table, last, dotted := strings.Cut(name, ".")
	in := last + " under [" + table + "]"
	if !dotted {
		in = name + " at the top"
	}
	return fmt.Sprintf("set %s in %s, or %s", in, file, variable(name))
}

func absolute(text string) error {
	if !filepath.IsAbs(text) {
		return fmt.Errorf("must be a path that begins with /")
	}
	return nil
}

func port(text string) error {
	if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("must be a number from 1 to 65535")
	}
	return nil
}

func phpPort(p PHP) string {
	if p.Port == 0 {
		return ""
	}
	return strconv.Itoa(p.Port)
}

func webAddress(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return fmt.Errorf("must be the address of WHMCS, like https://billing.example.com/")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("must hold no user, password or query")
	}
	return nil
}
