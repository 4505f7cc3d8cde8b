package whmcs

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

var warsaw = time.Date(2026, 4, 10, 1, 20, 27, 0, time.UTC).In(time.FixedZone("CEST", 2*3600))

func TestActivityLog(t *testing.T) {
	s, db := newStore(t)
	if err := s.ActivityLog(t.Context(), 7, "VM\n\x1b[31m żółć 😀 "+strings.Repeat("é", 40000), warsaw); err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"", "x"} { // one of them would be cut in the middle of a character
		if got := logText(before + strings.Repeat("é", 40000)); !utf8.ValidString(got) || len(got) < maxLogText-1 || len(got) > maxLogText {
			t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-3:])
		}
	}
	if got := db.Text("SELECT CONCAT_WS('|', date, user, userid, ipaddr) FROM tblactivitylog"); got != "2026-04-10 03:20:27|System|7|" {
		t.Error(got)
	}
	got := db.Text("SELECT description FROM tblactivitylog")
	if !strings.HasPrefix(got, "VM  [31m żółć \uFFFD é") || len(got) < maxLogText-3 || len(got) > maxLogText || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %.40q", len(got), got)
	}
}

// Old installations have latin1 columns and MyISAM tables: an entry with other characters is better than none.
func TestLogsOfOldInstallations(t *testing.T) {
	db := whmcstest.NewDB(t)
	db.Exec("ALTER TABLE tblactivitylog CONVERT TO CHARACTER SET latin1, ENGINE=MyISAM")
	db.Exec("ALTER TABLE tblmodulelog CONVERT TO CHARACTER SET latin1, MODIFY request text NOT NULL, MODIFY response text NOT NULL, ENGINE=MyISAM")
	s := openStore(t, db)
	if err := s.ActivityLog(t.Context(), 0, "café żółć", warsaw); err != nil {
		t.Fatal(err)
	}
	if err := s.ActivityLog(t.Context(), 0, "café", warsaw); err != nil {
		t.Fatal(err)
	}
	if got := db.Text("SELECT GROUP_CONCAT(description ORDER BY id) FROM tblactivitylog"); got != "caf? ????,café" {
		t.Error(got)
	}
	if err := whmcstest.SetConfiguration(t.Context(), db, "ModuleDebugMode", "on"); err != nil {
		t.Fatal(err)
	}
	if err := s.ModuleLog(t.Context(), warsaw, "Create", "żółć", strings.Repeat("x", 70000)); err != nil {
		t.Fatal(err)
	}
	if got := db.Text("SELECT CONCAT_WS('|', request, LENGTH(response)) FROM tblmodulelog"); got != "????|60000" {
		t.Error(got)
	}
}

func TestModuleLog(t *testing.T) {
	s, db := newStore(t)
	secret, other := kvm.NewSecret(`pä/ss+w "o&rd`), kvm.NewSecret(`pä/ss`)
	write := func() {
		t.Helper()
		quoted, err := json.Marshal(map[string]string{"password": secret.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		request := url.Values{"password": {secret.Reveal()}, "plain": {"kept"}}.Encode() + " " + url.PathEscape(secret.Reveal()) + " " + strings.ToLower(url.QueryEscape(secret.Reveal()))
		response := string(quoted) + " " + `"p\u00e4\/ss+w \"o&rd"` + " " + secret.Reveal() + " p&auml; " + other.Reveal() + " kept"
		if err := s.ModuleLog(t.Context(), warsaw, "Create", request, response, secret, kvm.Secret{}, other); err != nil {
			t.Fatal(err)
		}
	}
	write()
	for _, off := range []string{"", "0", "off"} {
		if err := whmcstest.SetConfiguration(t.Context(), db, "ModuleDebugMode", off); err != nil {
			t.Fatal(err)
		}
		write()
	}
	if got := db.Text("SELECT COUNT(*) FROM tblmodulelog"); got != "0" {
		t.Errorf("%s entries while the log is off", got)
	}
	if err := whmcstest.SetConfiguration(t.Context(), db, "ModuleDebugMode", "on"); err != nil {
		t.Fatal(err)
	}
	write()
	if got := db.Text("SELECT CONCAT_WS('|', date, module, action, arrdata) FROM tblmodulelog"); got != "2026-04-10 03:20:27|puqProxmoxKVM|Create|" {
		t.Error(got)
	}
	if got := db.Text("SELECT request FROM tblmodulelog"); got != "password=********&plain=kept ******** ********" {
		t.Errorf("request %s", got)
	}
	if got := db.Text("SELECT response FROM tblmodulelog"); got != `{"password":"********"} "********" ******** p&auml; ******** kept` {
		t.Errorf("response %s", got)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("pass word", "x")
	f.Add(`"\/ä<>&'`, "%2f")
	f.Add("\u2028😀\x00", "*")
	f.Fuzz(func(t *testing.T, secret, around string) {
		if secret == "" || strings.Contains(masked, secret) || strings.Contains(around, secret) || !utf8.ValidString(secret) {
			return
		}
		mask := newMask([]kvm.Secret{kvm.NewSecret(secret)})
		quoted, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), string(quoted[1 : len(quoted)-1])} {
			// Blanks keep the secret from beginning in what stands around it.
			if got := mask.Replace(around + "\n" + form + "\n" + around); !strings.Contains(got, "\n"+masked) && !strings.Contains(secret, "\n") {
				t.Errorf("secret %q as %q: %q", secret, form, got)
			}
		}
	})
}
