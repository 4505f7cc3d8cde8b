package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// php is what WHMCS's file says in these tests.
var php = PHP{
	Host: "php-host", Port: 3307, Name: "whmcs", User: "whmcs",
	Password: kvm.NewSecret("php-password"), EncryptionHash: kvm.NewSecret("php-hash"),
}

// load loads with a file of text (mode 0600) as the default one, and configuration.php in /var/www/whmcs.
func load(t *testing.T, text string, change func(*Input)) (*Config, error) {
	t.Helper()
	in := Input{
		Default: write(t, "puqkvm.toml", text, 0o600),
		ReadPHP: func(root string) (PHP, error) {
			if root != "/var/www/whmcs" {
				return PHP{}, fmt.Errorf("%s/configuration.php: no such file", root)
			}
			return php, nil
		},
	}
	if change != nil {
		change(&in)
	}
	return Load(in)
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func environ(pairs ...string) func(*Input) { return func(in *Input) { in.Environ = pairs } }

func source(c *Config, key string) string {
	for _, l := range c.Describe() {
		if l.Key == key {
			return l.Value + " < " + l.Source
		}
	}
	return "no such key"
}

func TestPrecedence(t *testing.T) {
	file := "whmcs_root = \"/nowhere\"\n[database]\nname = \"file-name\"\nuser = \"file-user\"\n"
	c, err := load(t, file, func(in *Input) {
		in.WHMCSRoot = "/var/www/whmcs"
		in.Environ = []string{"PUQKVM_WHMCS_ROOT=/nowhere/else", "PUQKVM_DATABASE_USER=env-user", "PUQKVM_DATABASE_NAME="}
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"whmcs_root":        "/var/www/whmcs < --whmcs-root",
		"database.user":     "env-user < environment PUQKVM_DATABASE_USER",
		"database.name":     "file-name < " + c.File,
		"database.host":     "php-host < /var/www/whmcs/configuration.php",
		"database.password": "*** < /var/www/whmcs/configuration.php",
		"encryption_hash":   "*** < /var/www/whmcs/configuration.php",
		"whmcs.api_url":     " < ",
	} {
		if got := source(c, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	want := Database{Host: "php-host", Port: 3307, Name: "file-name", User: "env-user", Password: kvm.NewSecret("php-password")}
	if diff := cmp.Diff(want, c.Database, cmp.AllowUnexported(kvm.Secret{})); diff != "" {
		t.Error(diff)
	}
	if c.EncryptionHash.Reveal() != "php-hash" || c.API.Configured() || len(c.Warnings) != 0 {
		t.Errorf("%v %v %v", c.EncryptionHash.Reveal() == "php-hash", c.API, c.Warnings)
	}
}

func TestEveryKeyComesFromTheEnvironment(t *testing.T) {
	c, err := load(t, "", environ(
		"PUQKVM_DATABASE_HOST=db1", "PUQKVM_DATABASE_PORT=33060", "PUQKVM_DATABASE_NAME=n", "PUQKVM_DATABASE_USER=u",
		"PUQKVM_DATABASE_PASSWORD=p", "PUQKVM_ENCRYPTION_HASH=h", "PUQKVM_WHMCS_API_URL=https://b.example.com/",
		"PUQKVM_WHMCS_API_IDENTIFIER=i", "PUQKVM_WHMCS_API_SECRET=s", "PUQKVM_WHMCS_API_ACCESSKEY=k", "HOME=/root", "PUQKVM_TEST_MYSQL=x"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Database:       Database{Host: "db1", Port: 33060, Name: "n", User: "u", Password: kvm.NewSecret("p")},
		EncryptionHash: kvm.NewSecret("h"),
		API:            API{URL: "https://b.example.com/", Identifier: "i", Secret: kvm.NewSecret("s"), AccessKey: kvm.NewSecret("k")},
	}
	c.File, c.file, c.values = "", "", nil
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(kvm.Secret{}, Config{}, value{}, key{})); diff != "" {
		t.Fatal(diff)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	password := write(t, "password", "from-file\n", 0o600)
	open := write(t, "secret", "open", 0o644)
	c, err := load(t, fmt.Sprintf("[whmcs]\napi_url=\"http://10.0.0.1/\"\napi_identifier=\"i\"\napi_secret_file=%q\n", open),
		environ("PUQKVM_WHMCS_ROOT=/var/www/whmcs", "PUQKVM_DATABASE_PASSWORD_FILE="+password))
	if err != nil {
		t.Fatal(err)
	}
	if c.Database.Password.Reveal() != "from-file" || c.API.Secret.Reveal() != "open" {
		t.Fatal("the secrets are not those of the files")
	}
	if got := source(c, "database.password"); got != "*** < environment PUQKVM_DATABASE_PASSWORD, file "+password {
		t.Error(got)
	}
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "chmod 0640 "+open) || !strings.Contains(c.Warnings[1], "api_url is http") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestSocketAndHost(t *testing.T) {
	for _, tc := range []struct {
		name, file   string
		change       func(*Input)
		socket, host string
		port         int
	}{
		{name: "default", host: "localhost"},
		{name: "port alone", file: "[database]\nport=3307", host: "localhost", port: 3307},
		{name: "socket in the file", file: "[database]\nsocket=\"/run/db.sock\"", socket: "/run/db.sock"},
		{name: "socket before host", file: "[database]\nhost=\"db\"", change: environ("PUQKVM_DATABASE_SOCKET=/run/db.sock"), socket: "/run/db.sock"},
		{name: "host before socket", file: "[database]\nsocket=\"/run/db.sock\"", change: environ("PUQKVM_DATABASE_HOST=db"), host: "db"},
		{name: "both in configuration.php", change: func(in *Input) {
			in.WHMCSRoot = "/w"
			in.ReadPHP = func(string) (PHP, error) { return PHP{Host: "localhost", Port: 3306, Socket: "/php.sock"}, nil }
		}, socket: "/php.sock"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := "encryption_hash=\"h\"\n" + tc.file
			c, err := load(t, text, func(in *Input) {
				if tc.change != nil {
					tc.change(in)
				}
				in.Environ = append(in.Environ, "PUQKVM_DATABASE_NAME=n", "PUQKVM_DATABASE_USER=u")
			})
			if err != nil {
				t.Fatal(err)
			}
			if c.Database.Socket != tc.socket || c.Database.Host != tc.host || c.Database.Port != tc.port {
				t.Fatalf("%+v", c.Database)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	const hidden = "football" // the TOML parser quotes a word that begins like true or false
	long := write(t, "two", hidden+"\nsecond", 0o600)
	for _, tc := range []struct {
		name, file string
		change     func(*Input)
		want, hint string
	}{
		{name: "nothing set", want: "database.name is not set", hint: "PUQKVM_DATABASE_NAME"},
		{name: "no hash", file: "[database]\nname=\"n\"\nuser=\"u\"", want: "encryption_hash is not set", hint: "--whmcs-root"},
		{name: "unknown key", file: "\n[database]\nhots = \"" + hidden + "\"", want: `line 3: unknown key "database.hots"`, hint: "database.host"},
		{name: "unknown table", file: "[databse]\nhost = \"x\"", want: `line 1: unknown key "databse"`},
		{name: "unknown at the top", file: "host = \"" + hidden + "\"", want: `line 1: unknown key "host"`},
		{name: "array of tables", file: "[[database]]\nhost = \"x\"", want: `line 1: unknown key "database"`},
		{name: "dotted", file: "\n\ndatabase.hots = 1", want: `line 3: unknown key "database.hots"`},
		{name: "no file twin", file: "[database]\nhost_file = \"/x\"", want: `unknown key "database.host_file"`},
		{name: "wrong type", file: "[database]\npassword = [\"" + hidden + "\"]", want: "line 2: database.password must be a text"},
		{name: "no quotes", file: "[database]\npassword = " + hidden, want: "line 2: no TOML", hint: "quotes"},
		{name: "bad escape", file: "[database]\npassword = \"" + hidden + "\\q" + hidden + "\"", want: "line 2: no TOML", hint: "quotes"},
		{name: "password as key", file: "[database]\n" + hidden + "\n", want: "no TOML"},
		{name: "twice", file: "[database]\nname = \"a\"\nname = \"b\"", want: "no TOML"},
		{name: "no UTF-8", file: "[database]\nname = \"\xff\"", want: "line 2: no TOML"},
		{name: "too large", file: strings.Repeat("#", fileLimit+1), want: "larger than"},
		{name: "port", file: "[database]\nport = 70000", change: environ("PUQKVM_WHMCS_ROOT=/var/www/whmcs"), want: "database.port"},
		{name: "relative root", change: environ("PUQKVM_WHMCS_ROOT=whmcs"), want: "whmcs_root (environment PUQKVM_WHMCS_ROOT)"},
		{name: "root without WHMCS", change: environ("PUQKVM_WHMCS_ROOT=/nowhere"), want: "/nowhere/configuration.php: no such file"},
		{name: "named file missing", change: func(in *Input) { in.File = "/nowhere.toml" }, want: "config file /nowhere.toml (--config): no such file"},
		{name: "file named by environment missing", change: environ("PUQKVM_CONFIG=/nowhere.toml"), want: "(PUQKVM_CONFIG): no such file"},
		{name: "a directory", change: func(in *Input) { in.Default = "/" }, want: "config file /: is a directory"},
		{name: "secret twice", file: "[database]\npassword=\"" + hidden + "\"\npassword_file=\"/x\"", want: "database.password and database.password_file are both set"},
		{name: "secret file missing", change: environ("PUQKVM_DATABASE_PASSWORD_FILE=/nowhere"), want: "database.password_file /nowhere (environment PUQKVM_DATABASE_PASSWORD): no such file"},
		{name: "secret file relative", change: environ("PUQKVM_DATABASE_PASSWORD_FILE=secret"), want: "must be a path that begins with /"},
		{name: "secret file of two lines", change: environ("PUQKVM_DATABASE_PASSWORD_FILE=" + long), want: "more than one line"},
		{name: "secret file empty", change: environ("PUQKVM_DATABASE_PASSWORD_FILE=/dev/null"), want: "is empty"},
		{name: "socket and host", file: "[database]\nsocket=\"/s\"\nhost=\"h\"", want: "database.socket and database.host are both set"},
		{name: "half an API", file: "[whmcs]\napi_identifier=\"i\"", change: environ("PUQKVM_WHMCS_ROOT=/var/www/whmcs"), want: "configured half: whmcs.api_url, whmcs.api_secret not set", hint: "api_url under [whmcs]"},
		{name: "access key alone", change: environ("PUQKVM_WHMCS_ROOT=/var/www/whmcs", "PUQKVM_WHMCS_API_ACCESSKEY="+hidden), want: "configured half"},
		{name: "API address", file: "[whmcs]\napi_url=\"https://u:" + hidden + "@x/\"", change: environ("PUQKVM_WHMCS_ROOT=/var/www/whmcs"), want: "whmcs.api_url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := load(t, tc.file, tc.change)
			if err == nil {
				t.Fatalf("accepted: %+v", c.Describe())
			}
			if !errors.Is(err, kvm.ErrInvalid) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(kvm.Hint(err), tc.hint) {
				t.Fatalf("error %q\nhint %q\nwant %q and %q", err, kvm.Hint(err), tc.want, tc.hint)
			}
			if all := err.Error() + kvm.Hint(err); strings.Contains(all, hidden) || strings.Contains(all, "\n") {
				t.Fatalf("shows a secret, or is more than a line: %q", all)
			}
		})
	}
}

func TestDefaultFileMayBeMissing(t *testing.T) {
	c, err := load(t, "", func(in *Input) { in.Default, in.WHMCSRoot = "/nowhere.toml", "/var/www/whmcs" })
	if err != nil || c.File != "" {
		t.Fatalf("%v, file %q", err, c.File)
	}
}

func TestWarnings(t *testing.T) {
	text := "[database]\npassword = \"secret\"\n"
	for _, tc := range []struct {
		name, text string
		mode       os.FileMode
		environ    string
		want       string
	}{
		{"open file with a secret", text, 0o644, "", "holds secrets and everybody can read it"},
		{"open file without", "[database]\nuser = \"u\"\npassword_file = \"" + write(t, "p", "p", 0o600) + "\"", 0o644, "", ""},
		{"closed file", text, 0o640, "", ""},
		{"misspelt variable", "", 0o600, "PUQKVM_DATABSE_HOST=x", "PUQKVM_DATABSE_HOST means nothing"},
		{"test variable", "", 0o600, "PUQKVM_TEST_MYSQL=x", ""},
	} {
		c, err := load(t, "", func(in *Input) {
			in.File, in.WHMCSRoot, in.Environ = write(t, "c.toml", tc.text, tc.mode), "/var/www/whmcs", []string{tc.environ}
		})
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if got := strings.Join(c.Warnings, "\n"); (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: warnings %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c, err := load(t, "", environ("PUQKVM_WHMCS_ROOT=/var/www/whmcs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v", c.Describe()), fmt.Sprintf("%+v", c.Database), fmt.Sprintf("%v", c.EncryptionHash)} {
		if strings.Contains(text, "php-password") || strings.Contains(text, "php-hash") {
			t.Error(text)
		}
	}
}

// FuzzFile: no text makes the reader panic or accept a key that is none.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{"", "whmcs_root=\"/x\"", "[database]\nport=1\n[whmcs]\napi_secret='s'", "database.x=1", "[[whmcs]]", "a=[1]", "[database", "[database]\nhost.x=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseFile("f", text)
		if err != nil {
			if !errors.Is(err, kvm.ErrInvalid) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		for name := range found {
			if _, _, ok := lookUp(name); !ok {
				t.Fatalf("%q: accepted key %q", text, name)
			}
		}
	})
}
