package whmcs

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	maxConns = 20 // shared hosting allows an account some thirty
	idleTime = time.Minute
	lifeTime = 5 * time.Minute // less than a server's wait_timeout, or what a balancer allows a session
	syncWait = "wsrep_sync_wait"
)

// sockets are where distributions put the server's socket.
var sockets = [...]string{"/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"}

// Database says where WHMCS's database is and who we are to it.
type Database struct {
	Host     string // "" and "localhost" mean the local socket when there is one; PHP's host:port too
	Port     int    // 0 = 3306
	Socket   string // a socket's path; wins over Host
	Name     string
	Username string
	Password kvm.Secret
}

// ParseDSN reads a DSN of go-sql-driver/mysql, such as user:password@unix(/run/mysqld/mysqld.sock)/whmcs. Its parameters
// are ignored: the Store has its own.
func ParseDSN(dsn string) (Database, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return Database{}, kvm.Errorf(kvm.ErrInvalid, "the DSN is not of the form user:password@unix(/path/to/socket)/database or …@tcp(host:port)/database")
	}
	d := Database{Name: c.DBName, Username: c.User, Password: kvm.NewSecret(c.Passwd)}
	if c.Net == "unix" {
		d.Socket = c.Addr
		return d, nil
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return Database{}, kvm.Errorf(kvm.ErrInvalid, "the DSN's address %q is no host:port", c.Addr)
	}
	d.Host = host
	if d.Port, err = strconv.Atoi(port); err != nil {
		return Database{}, kvm.Errorf(kvm.ErrInvalid, "the DSN's port %q is no number", port)
	}
	return d, nil
}

// address is the network and address to dial.
func (d Database) address() (network, addr string) {
	host, port := d.Host, d.Port
	if d.Socket != "" {
		return "unix", d.Socket
	}
	if before, after, found := strings.Cut(host, ":"); found && !strings.Contains(after, ":") {
		if n, err := strconv.Atoi(after); err == nil && port == 0 {
			host, port = before, n
		}
	}
	if (host == "" || host == "localhost") && port == 0 {
		for _, path := range sockets {
			if info, err := os.Stat(path); err == nil && info.Mode().Type() == os.ModeSocket {
				return "unix", path
			}
		}
	}
	if host == "" {
		host = "localhost"
	}
	if port == 0 {
		port = 3306
	}
	return "tcp", net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}

func (d Database) where() string {
	_, addr := d.address()
	return addr
}

// config is how every connection is made; see the package's comment for the reasons.
func (d Database) config() *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr = d.address()
	c.DBName, c.User, c.Passwd = d.Name, d.Username, d.Password.Reveal()
	c.Timeout, c.ReadTimeout, c.WriteTimeout = 5*time.Second, time.Minute, time.Minute
	c.ParseTime, c.Loc = true, time.UTC
	c.ClientFoundRows, c.InterpolateParams = true, true
	c.Logger = &mysql.NopLogger{} // what it would print on stderr comes back as an error anyway
	c.Params = map[string]string{
		"sql_mode":                 "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
		"innodb_lock_wait_timeout": "20",
		"lock_wait_timeout":        "50",
		// What SET NAMES does, in the one statement that sets the rest.
		"character_set_client": "utf8mb4", "character_set_connection": "utf8mb4", "character_set_results": "utf8mb4",
	}
	return c
}

// connectError says why there is no connection, and how to mend it.
func connectError(err error, host, name, user string) error {
	var e *mysql.MySQLError
	var dial *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &e):
		switch e.Number {
		case 1045, 1698, 3159:
			return kvm.WithHint(kvm.Errorf(kvm.ErrAuth, "the database server on %s does not let the user %q in", host, user),
				"check $db_username and $db_password in WHMCS's configuration.php, or [database] in puqkvm's own")
		case 1044:
			return kvm.WithHint(kvm.Errorf(kvm.ErrAuth, "the user %q may not use the database %q on %s", user, name, host),
				"GRANT ALL ON `%s`.* to this user, as WHMCS's installation asks", name)
		case 1049:
			return kvm.WithHint(kvm.Errorf(kvm.ErrAdmin, "there is no database %q on %s", name, host),
				"check $db_name and $db_host in WHMCS's configuration.php, or [database] in puqkvm's own")
		case 1040, 1203, 1226:
			return kvm.WithHint(kvm.Errorf(kvm.ErrUnreachable, "the database server on %s takes no more connections (error %d)", host, e.Number),
				"try again; if it lasts, raise max_connections or max_user_connections")
		}
		return kvm.Errorf(kvm.ErrUnreachable, "database %q on %s: %w", name, host, err)
	case errors.As(err, &dns):
		return kvm.WithHint(kvm.Errorf(kvm.ErrUnreachable, "the database's host %s is not known", host),
			"check $db_host in WHMCS's configuration.php, or [database] host in puqkvm's own")
	case errors.As(err, &dial):
		return kvm.WithHint(kvm.Errorf(kvm.ErrUnreachable, "no database server answers on %s: %w", host, dial.Err),
			"is the server running? check $db_host and $db_port in WHMCS's configuration.php, or [database] in puqkvm's own")
	}
	return kvm.Errorf(kvm.ErrUnreachable, "database %q on %s: %w", name, host, err)
}
