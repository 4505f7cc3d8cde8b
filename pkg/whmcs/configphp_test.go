package whmcs

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const (
	phpStart = "<?php\n$db_host = 'db.example.com'; $db_username = 'whmcs';\n"
	phpRest  = "$db_name = 'whmcs';\n$db_password = 'pa55';\n$cc_encryption_hash = 'h4sh';\n"
)

func TestReadConfiguration(t *testing.T) {
	c, err := ReadConfiguration("testdata/whmcs")
	want := Configuration{Host: "localhost", Port: 3307, Name: "whmcs_db", Username: "whmcs_user", Password: kvm.NewSecret(`it's a "p\ss" $word; ?> #1`),
		EncryptionHash: kvm.NewSecret("0123456789abcdef"), Charset: "utf8"}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%+v (password %q), %v", c, c.Password.Reveal(), err)
	}
	if got := c.Database(); got.Name != "whmcs_db" || got.Port != 3307 || !reflect.DeepEqual(got.Password, want.Password) {
		t.Errorf("database %+v", got)
	}
	if _, err := ReadConfiguration(t.TempDir()); !errors.Is(err, kvm.ErrNotFound) || kvm.Hint(err) == "" {
		t.Errorf("no file: %v", err)
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "configuration.php"), []byte("<?php\n$db_host = 'x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfiguration(root); !errors.Is(err, kvm.ErrInvalid) || !strings.Contains(err.Error(), "configuration.php: line 2: ") {
		t.Errorf("half a file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "configuration.php"), make([]byte, maxConfiguration+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfiguration(root); !errors.Is(err, kvm.ErrInvalid) {
		t.Errorf("a huge file: %v", err)
	}
}

func TestParseConfigurationValues(t *testing.T) {
	for name, c := range map[string]struct{ text, password string }{
		"last wins":                 {phpStart + phpRest + "$db_password = 'second';", "second"},
		"single quotes":             {phpStart + phpRest + `$db_password = 'a\'b\\c\nd$e"f';`, `a'b\c\nd$e"f`},
		"double quotes":             {phpStart + phpRest + `$db_password = "a\"b\\c\td\$e'f\x41\101\u{e9}\q $1";`, "a\"b\\c\td$e'fAAé\\q $1"},
		"number":                    {phpStart + phpRest + "$db_password = 12345;", "12345"},
		"true":                      {phpStart + phpRest + "$db_password = TRUE;", "1"},
		"null":                      {phpStart + phpRest + "$db_password = null;", ""},
		"comments":                  {phpStart + phpRest + "/* $db_password = 'no'; */ // $db_password = 'no';\n# $db_password = 'no';\n$db_password /* x */ = 'yes' // y\n;", "yes"},
		"comment ended by tag":      {phpStart + phpRest + "$db_password = 'a'; // ?>\n", "a"},
		"PHP after a comment's tag": {phpStart + phpRest + "# x ?><?php $db_password = 'b';", "b"},
		"closing tag ends it":       {phpStart + phpRest + "$db_password = 'tag' ?>\n", "tag"},
		"PHP again":                 {phpStart + phpRest + "?>\n<?php $db_password = 'again';", "again"},
		"other statements": {phpStart + "define('X', \"a{$GLOBAL[\"k\"]}b$y\"); $license = getenv('L') . `id`; $a['x'] = [1, 'y' => array(2)];\n" +
			"if (!defined('WHMCS')) { die(\"no $entry\"); }\n$t = <<<EOT\n$db_password = 'no';\nEOT;\n$u = <<<'X'\n it's\n  X;\n" + phpRest, "pa55"},
		"windows": {strings.ReplaceAll(phpStart+phpRest, "\n", "\r\n"), "pa55"},
		"BOM":     {"\uFEFF" + phpStart + phpRest, "pa55"},
		"UTF-8":   {phpStart + phpRest + "$db_password = 'żółć';", "żółć"},
	} {
		got, err := ParseConfiguration([]byte(c.text))
		if err != nil || got.Password.Reveal() != c.password || got.Host != "db.example.com" || got.Name != "whmcs" || got.EncryptionHash.Reveal() != "h4sh" {
			t.Errorf("%s: password %q, %v, %+v", name, got.Password.Reveal(), err, got)
		}
	}
	c, err := ParseConfiguration([]byte(phpStart + phpRest + "$db_host = 'localhost:/var/run/s'; $db_port = '';"))
	if err != nil || c.Host != "localhost" || c.Socket != "/var/run/s" || c.Port != 0 {
		t.Errorf("a socket in the host: %+v, %v", c, err)
	}
}

func TestParseConfigurationRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		line string // "" = no line
	}{
		"expression":                      {phpStart + phpRest + "$db_password = 'se' . 'cret';", "line 6"},
		"function":                        {phpStart + phpRest + "$db_password = getenv('secret');", "line 6"},
		"interpolation":                   {phpStart + phpRest + `$db_password = "se$cret";`, "line 6"},
		"braces in a string":              {phpStart + phpRest + `$db_password = "se{$cret}";`, "line 6"},
		"heredoc":                         {phpStart + phpRest + "$db_password = <<<X\nsecret\nX;", "line 6"},
		"octal":                           {phpStart + phpRest + "$db_port = 0777;", "line 6"},
		"no port":                         {phpStart + phpRest + "$db_port = 'secret';", "line 6"},
		"port out of range":               {phpStart + phpRest + "$db_port = 70000;", "line 6"},
		"appended":                        {phpStart + phpRest + "$db_password .= 'secret';", "line 6"},
		"element":                         {phpStart + phpRest + "$db_password[0] = 'secret';", "line 6"},
		"branch":                          {phpStart + phpRest + "if ($x) {\n$db_password = 'secret'; }", "line 7"},
		"branch, no braces, more follows": {phpStart + phpRest + "if ($x) $db_password = 'secret';\n$y = 1;", "line 6"},
		"chain, more follows":             {phpStart + phpRest + "$x = $db_password = 'secret';\n$y = 1;", "line 6"},
		"in brackets, more follows":       {phpStart + phpRest + "{ $db_password = 'secret'; }\n$y = 1;", "line 6"},
		"text after a comment's tag":      {phpStart + phpRest + "$y = 1; // ?>\nsecret", "line 7"},
		"bracket never ends, more lines":  {phpStart + phpRest + "$x = array('secret';\n\n\n", "line 6: a bracket"},
		"branch, no braces":               {phpStart + phpRest + "if ($x) $db_password = 'secret';", "line 6"},
		"branch, colon":                   {phpStart + phpRest + "if ($x): $y = 1;\n$db_password = 'secret'; endif;", "line 7"},
		"chain":                           {phpStart + phpRest + "$x = $db_password = 'secret';", "line 6"},
		"variable variable":               {phpStart + phpRest + "$$x = 'secret';", "line 6"},
		"globals":                         {phpStart + phpRest + "$GLOBALS['db_password'] = 'secret';", "line 6"},
		"extract":                         {phpStart + phpRest + "extract($x);", "line 6"},
		"early return":                    {phpStart + "if (1) return;\n" + phpRest, "line 3"},
		"missing semicolon":               {phpStart + phpRest + "$db_password = 'secret'", "line 6"},
		"two on a line":                   {phpStart + phpRest + "$db_password = 'secret' 'x';", "line 6"},
		"string never ends":               {phpStart + phpRest + "$db_password = 'secret;\n\n", "line 6"},
		"comment never ends":              {phpStart + phpRest + "/* secret", "line 6"},
		"heredoc never ends":              {phpStart + phpRest + "$x = <<<EOT\nsecret", "line 6"},
		"bracket never ends":              {phpStart + phpRest + "$x = array('secret';", "line 6"},
		"bracket too many":                {phpStart + phpRest + "$x = 'secret');", "line 6"},
		"brackets crossed":                {phpStart + phpRest + "$x = [('secret']);", "line 6"},
		"half a statement":                {phpStart + phpRest + "$x = 1 +", "line 6"},
		"bad escape":                      {phpStart + phpRest + `$x = "\u{zz}";`, "line 6"},
		"text after the tag":              {phpStart + phpRest + "?>\n<html>", "line 7"},
		"no PHP":                          {"db_host: secret", "line 1"},
		"text before":                     {"secret\n" + phpStart + phpRest, "line 1"},
		"empty":                           {"", "line 1"},
		"no name":                         {"<?php\n$db_host='h'; $db_username='u'; $db_password='secret'; $cc_encryption_hash='secret';", ""},
		"empty hash":                      {phpStart + phpRest + "$cc_encryption_hash = '';", ""},
		"another's variables":             {"<?php $DB_HOST = 'h'; $db_hosts = 'h';", ""},
	} {
		got, err := ParseConfiguration([]byte(c.text))
		if !errors.Is(err, kvm.ErrInvalid) || !strings.HasPrefix(err.Error(), c.line) || kvm.Hint(err) == "" && c.line != "line 6" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, Configuration{}) {
			t.Errorf("%s: half a configuration: %+v", name, got)
		}
		if strings.Contains(err.Error()+kvm.Hint(err), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: says too much: %v", name, err)
		}
	}
}

// phpQuote writes text as a PHP string in single quotes.
func phpQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

func FuzzParseConfiguration(f *testing.F) {
	f.Add([]byte(phpStart+phpRest), "pa55")
	f.Add([]byte(phpStart+"$x = \"a{$b[\"c\"]}\"; $t = <<<EOT\n x\n EOT;\n"), `it's \ "x"`)
	f.Add([]byte("<?php $$"), "")
	f.Add([]byte("<?php \"\\u{110000}\\x"), "\x00\xff")
	f.Fuzz(func(t *testing.T, text []byte, password string) {
		const secret = "wholly-secret-5hJ2"
		_, err := ParseConfiguration(text)
		if err != nil && (strings.Contains(err.Error(), "\n") || !errors.Is(err, kvm.ErrInvalid)) {
			t.Errorf("%q: %v", text, err)
		}
		// Whatever stands before, an assignment that is read at all is read right.
		c, err := ParseConfiguration([]byte(string(text) + "\n" + phpStart[len("<?php"):] + phpRest + "$db_password = " + phpQuote(password) + ";\n$cc_encryption_hash = '" + secret + "';"))
		switch {
		case err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("%q: %v", text, err)
		case err == nil && (c.Password.Reveal() != password || c.EncryptionHash.Reveal() != secret):
			t.Errorf("%q, password %q: read as %q", text, password, c.Password.Reveal())
		}
	})
}
