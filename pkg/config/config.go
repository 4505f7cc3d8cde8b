package config

import (
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// DefaultFile is the file that is read when none is named.
const DefaultFile = "/etc/puqkvm.toml"

// Input is what Load looks at.
type Input struct {
	File      string   // --config, "" = not given
	WHMCSRoot string   // --whmcs-root, "" = not given
	Environ   []string // as os.Environ gives it
	// Default is the file that may be missing; "" = DefaultFile.
	Default string
	// ReadPHP reads configuration.php in root. It must be there; it is called when a root is known.
	ReadPHP func(root string) (PHP, error)
}

// Config is the program's configuration.
type Config struct {
	File           string // the file that was read, "" = none
	WHMCSRoot      string // "" = not known
	Database       Database
	EncryptionHash kvm.Secret // $cc_encryption_hash
	API            API
	Warnings       []string // to be shown once, one line each

	values []value
	file   string // the file to name in words
}

// Database says where WHMCS's database is. Either Socket is set or Host is.
type Database struct {
	Host, Socket string
	Port         int // 0 = not set: 3306, or the server's socket where Host is localhost
	Name, User   string
	Password     kvm.Secret // may be empty
}

// API says how the WHMCS API is called.
type API struct {
	URL, Identifier   string
	Secret, AccessKey kvm.Secret
}

// Configured says whether the API can be called. Load refuses an API that is configured half.
func (a API) Configured() bool { return a.URL != "" }

// Line is a line of Describe.
type Line struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // *** for a secret
	Source string `json:"source"` // where it came from, "" = not set
}

// value is what was found for a key.
type value struct {
	key
	text   string
	place  int    // the rank of the source, 1 is the strongest, 0 = not set
	source string // in words
}

// The ranks of the places.
const (
	flagPlace = 1 + iota
	environmentPlace
	filePlace
	phpPlace
	defaultPlace
)

// Load finds the configuration. Every error names the key, the place, and how to mend it, and is kvm.ErrInvalid.
func Load(in Input) (*Config, error) {
	env := environment(in.Environ)
	c := &Config{file: in.Default}
	if c.file == "" {
		c.file = DefaultFile
	}
	named := "--config"
	if in.File == "" {
		in.File, named = env["PUQKVM_CONFIG"], "PUQKVM_CONFIG"
	}
	if in.File != "" {
		c.file = in.File
	} else {
		named = ""
	}
	fromFile, err := c.readFile(named)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		v := value{key: k}
		if k.name == "whmcs_root" && in.WHMCSRoot != "" {
			v.text, v.place, v.source = in.WHMCSRoot, flagPlace, "--whmcs-root"
		}
		if v.place == 0 {
			if err := c.take(&v, environmentPlace, env[variable(k.name)], env[variable(k.name+"_file")], "environment "+variable(k.name)); err != nil {
				return nil, err
			}
		}
		if v.place == 0 {
			if err := c.take(&v, filePlace, fromFile[k.name], fromFile[k.name+"_file"], c.file); err != nil {
				return nil, err
			}
		}
		c.values = append(c.values, v)
	}
	if err := c.addPHP(in.ReadPHP); err != nil {
		return nil, err
	}
	c.choose()
	if err := c.check(); err != nil {
		return nil, err
	}
	c.fill()
	c.warn(env)
	return c, nil
}

// take gives v the text of a place, or the line in the file that the place names.
func (c *Config) take(v *value, place int, text, file, source string) error {
	switch {
	case text != "" && file != "" && v.secret:
		return invalid("keep one of the two", "%s and %s_file are both set (%s)", v.name, v.name, source)
	case text != "":
		v.text, v.place, v.source = text, place, source
	case file != "" && v.secret:
		secret, err := c.readSecret(v.name, file, source)
		if err != nil {
			return err
		}
		v.text, v.place, v.source = secret, place, source+", file "+file
	}
	return nil
}

// addPHP fills what is not set from configuration.php, and then from the defaults.
func (c *Config) addPHP(read func(string) (PHP, error)) error {
	var php PHP
	root := c.find("whmcs_root")
	if root.text != "" {
		if err := absolute(root.text); err != nil {
			return invalid("", "whmcs_root (%s): %w", root.source, err)
		}
		var err error
		if php, err = read(root.text); err != nil {
			return kvm.Errorf(kvm.ErrInvalid, "whmcs_root (%s): %w", root.source, err)
		}
	}
	for i := range c.values {
		v := &c.values[i]
		if v.place == 0 && v.php != nil && v.php(php) != "" {
			v.text, v.place, v.source = v.php(php), phpPlace, filepath.Join(root.text, "configuration.php")
		}
		if v.place == 0 && v.fallback != "" {
			v.text, v.place, v.source = v.fallback, defaultPlace, "default"
		}
	}
	return nil
}

// choose lets the socket or the host go, whichever comes from the later place. configuration.php has both when its host is
// like localhost:/path: there the socket is meant.
func (c *Config) choose() {
	socket, host, port := c.find("database.socket"), c.find("database.host"), c.find("database.port")
	switch {
	case socket.place == 0:
	case socket.place < host.place, socket.place == phpPlace && host.place == phpPlace:
		*host, *port = value{key: host.key}, value{key: port.key}
	case socket.place > host.place:
		*socket = value{key: socket.key}
	}
}

// check refuses values that can never work, and keys that are missing.
func (c *Config) check() error {
	for _, v := range c.values {
		if v.place != 0 && v.check != nil {
			if err := v.check(v.text); err != nil {
				return invalid("", "%s (%s) %w", v.name, v.source, err)
			}
		}
	}
	if socket, host := c.find("database.socket"), c.find("database.host"); socket.place != 0 && host.place != 0 {
		return invalid("keep one of the two", "database.socket and database.host are both set (%s)", host.source)
	}
	for _, name := range []string{"database.name", "database.user", "encryption_hash"} {
		if c.find(name).place == 0 {
			return invalid(howTo(name, c.file)+", or give --whmcs-root, where WHMCS's configuration.php has it", "%s is not set", name)
		}
	}
	needed := []string{"whmcs.api_url", "whmcs.api_identifier", "whmcs.api_secret"}
	var missing []string
	for _, name := range needed {
		if c.find(name).place == 0 {
			missing = append(missing, name)
		}
	}
	if some := len(missing) < len(needed) || c.find("whmcs.api_accesskey").place != 0; some && len(missing) > 0 {
		return invalid(howTo(missing[0], c.file), "the WHMCS API is configured half: %s not set", strings.Join(missing, ", "))
	}
	return nil
}

// fill turns the texts into the fields of c.
func (c *Config) fill() {
	text := func(name string) string { return c.find(name).text }
	secret := func(name string) kvm.Secret { return kvm.NewSecret(c.find(name).text) }
	number, _ := strconv.Atoi(text("database.port")) // checked by port, or empty
	c.WHMCSRoot = text("whmcs_root")
	c.Database = Database{
		Host: text("database.host"), Socket: text("database.socket"), Port: number,
		Name: text("database.name"), User: text("database.user"), Password: secret("database.password"),
	}
	c.EncryptionHash = secret("encryption_hash")
	c.API = API{
		URL: text("whmcs.api_url"), Identifier: text("whmcs.api_identifier"),
		Secret: secret("whmcs.api_secret"), AccessKey: secret("whmcs.api_accesskey"),
	}
}

// warn adds the warnings that do not come from a file.
func (c *Config) warn(env map[string]string) {
	if u, err := url.Parse(c.API.URL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		c.Warnings = append(c.Warnings, "whmcs.api_url is http: the API's secret crosses the network unencrypted; use https")
	}
	for _, name := range unknownVariables(env) {
		c.Warnings = append(c.Warnings, "the environment variable "+name+" means nothing: is it misspelt?")
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// find is the value of the key name, which exists.
func (c *Config) find(name string) *value {
	for i := range c.values {
		if c.values[i].name == name {
			return &c.values[i]
		}
	}
	return &value{}
}

// Describe lists every key, its value with secrets hidden, and where it came from.
func (c *Config) Describe() []Line {
	lines := make([]Line, 0, len(c.values))
	for _, v := range c.values {
		shown := v.text
		if v.secret {
			shown = kvm.NewSecret(v.text).String()
		}
		lines = append(lines, Line{v.name, shown, v.source})
	}
	return lines
}

func invalid(hint, format string, args ...any) error {
	err := kvm.Errorf(kvm.ErrInvalid, format, args...)
	if hint == "" {
		return err
	}
	return kvm.WithHint(err, "%s", hint)
}
