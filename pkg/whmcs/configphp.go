package whmcs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Configuration is what WHMCS's configuration.php says of the database and the cipher.
type Configuration struct {
	Host           string // $db_host; may be "localhost" or host:port
	Socket         string // the path in a $db_host of the form host:/path
	Port           int    // $db_port; 0 = not set
	Name           string // $db_name
	Username       string // $db_username
	Password       kvm.Secret
	EncryptionHash kvm.Secret // $cc_encryption_hash
	Charset        string     // $mysql_charset; "" = not set, which PHP takes for latin1
}

// Database is where the configuration says that the database is.
func (c Configuration) Database() Database {
	return Database{Host: c.Host, Socket: c.Socket, Port: c.Port, Name: c.Name, Username: c.Username, Password: c.Password}
}

// maxConfiguration is more than any configuration.php has, in bytes.
const maxConfiguration = 1 << 20

// ReadConfiguration reads the configuration.php in WHMCS's directory root.
func ReadConfiguration(root string) (Configuration, error) {
	path := filepath.Join(root, "configuration.php")
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Configuration{}, kvm.WithHint(kvm.Errorf(kvm.ErrNotFound, "there is no %s", path), "give WHMCS's own directory with --whmcs-root")
	case errors.Is(err, fs.ErrPermission):
		return Configuration{}, kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "%s cannot be read by this user", path), "run as root or as the web server's user")
	case err != nil:
		return Configuration{}, fmt.Errorf("WHMCS's configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxConfiguration+1))
	if err != nil {
		return Configuration{}, fmt.Errorf("WHMCS's configuration: %w", err)
	}
	if len(text) > maxConfiguration {
		return Configuration{}, kvm.Errorf(kvm.ErrInvalid, "%s is larger than %d bytes: is it WHMCS's?", path, maxConfiguration)
	}
	c, err := ParseConfiguration(text)
	if err != nil {
		return Configuration{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseConfiguration reads the text of a configuration.php. It is never executed. Of several assignments to one variable
// the last wins. A file is refused, with the line, when it is no complete PHP, or when one of the wanted variables is
// anything but assigned a literal, at the top level: its value would be a guess. No value is ever part of an error.
func ParseConfiguration(text []byte) (Configuration, error) {
	values, err := phpValues(string(text), "db_host", "db_port", "db_name", "db_username", "db_password", "cc_encryption_hash", "mysql_charset")
	if err != nil {
		return Configuration{}, err
	}
	var missing []string
	for _, name := range []string{"db_host", "db_name", "db_username", "db_password", "cc_encryption_hash"} {
		if v, found := values[name]; !found || v.text == "" && name != "db_password" {
			missing = append(missing, "$"+name)
		}
	}
	if len(missing) > 0 {
		return Configuration{}, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "no value for %s is set in this file", strings.Join(missing, ", ")), useOwnFile)
	}
	c := Configuration{
		Host:           values["db_host"].text,
		Name:           values["db_name"].text,
		Username:       values["db_username"].text,
		Password:       kvm.NewSecret(values["db_password"].text),
		EncryptionHash: kvm.NewSecret(values["cc_encryption_hash"].text),
		Charset:        values["mysql_charset"].text,
	}
	if host, path, found := strings.Cut(c.Host, ":"); found && strings.HasPrefix(path, "/") {
		c.Host, c.Socket = host, path
	}
	if port := values["db_port"]; port.text != "" {
		if c.Port, err = strconv.Atoi(port.text); err != nil || c.Port < 1 || c.Port > 65535 {
			return Configuration{}, kvm.Errorf(kvm.ErrInvalid, "line %d: $db_port is no port number", port.line)
		}
	}
	return c, nil
}
