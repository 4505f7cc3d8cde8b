package hestiacp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const warnings = "PHP Warning:  Undefined array key \"admin\" in /usr/local/hestia/web/api/index.php on line 81\n<br />\n<b>Warning</b>:  Trying to access array offset {0} on null in <b>index.php</b> on line <b>82</b><br />\n"

// TestLogins: every login sets, sees and deletes, the old ones also with PHP's warnings before each answer.
func TestLogins(t *testing.T) {
	logins := map[string]func(*hestiasim.Server) Options{
		"key": options, "hash": byHash, "password": byPassword,
		"user's key": func(s *hestiasim.Server) Options { o := options(s); o.Key = ownKey; return o },
		"key as hash": func(s *hestiasim.Server) Options {
			o := options(s)
			o.Key, o.Secret = "", kvm.NewSecret(keyID+":"+secret)
			return o
		},
	}
	for name, login := range logins {
		for _, text := range []string{"", warnings} {
			t.Run(fmt.Sprint(name, text != ""), func(t *testing.T) {
				s := sim(t, func(o *hestiasim.Options) { o.Warnings = text })
				f := fixture{s, provider(t, login(s))}
				done(t, f.apply(t, a("192.0.2.1", "")))
				if out := f.apply(t, a("192.0.2.1", "")); out[0].Err != nil || out[0].Changed {
					t.Errorf("%+v", out)
				}
				out := f.apply(t, dns.Edit{Name: "no--such." + zone, Type: dns.A, Add: []string{"192.0.2.2"}})
				if err := out[0].Err; !errors.Is(err, kvm.ErrRefused) || !strings.Contains(err.Error(), "exit 2 (invalid value)") || !strings.Contains(err.Error(), "no--such.example.test A 192.0.2.2") {
					t.Errorf("%v", err)
				}
				done(t, f.apply(t, a("", "192.0.2.1")))
				f.is(t)
				if err := f.p.Check(t.Context(), zone); err != nil {
					t.Error(err)
				}
				if err := f.p.Check(t.Context(), "nowhere.test"); !errors.Is(err, kvm.ErrNotFound) || !strings.Contains(err.Error(), "nowhere.test doesn't exist") {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// TestReasons: with a key HestiaCP tells why.
func TestReasons(t *testing.T) {
	f := newFixture(t, options)
	out := f.apply(t, dns.Edit{Name: "no--such." + zone, Type: dns.A, Add: []string{"192.0.2.2"}})
	if err := out[0].Err; !strings.HasSuffix(err.Error(), "v-add-dns-record: exit 2 (invalid value): invalid record format :: no--such") {
		t.Errorf("%v", err)
	}
}

// TestRefusedLogins: what no edit can do anything about, with what to do.
func TestRefusedLogins(t *testing.T) {
	wrong := func(login func(*hestiasim.Server) Options) func(*hestiasim.Server) Options {
		return func(s *hestiasim.Server) Options { o := login(s); o.Secret = kvm.NewSecret("wrong-secret"); return o }
	}
	own := func(s *hestiasim.Server) Options { o := options(s); o.Key = ownKey; return o }
	for name, tc := range map[string]struct {
		login func(*hestiasim.Server) Options
		edit  func(*hestiasim.Options)
		hint  string
	}{
		"secret":               {wrong(options), nil, "Access Keys"},
		"hash":                 {wrong(byHash), nil, "Access Keys"},
		"password":             {wrong(byPassword), nil, "password"},
		"address":              {options, func(o *hestiasim.Options) { o.AllowedIPs = []string{"192.0.2.7"} }, "API_ALLOWED_IP"},
		"address, by hash":     {byHash, func(o *hestiasim.Options) { o.AllowedIPs = []string{"192.0.2.7"} }, "API_ALLOWED_IP"},
		"off":                  {options, func(o *hestiasim.Options) { o.Off = true }, "switch the API on"},
		"off, by hash":         {byHash, func(o *hestiasim.Options) { o.Off = true }, "switch the API on"},
		"admins only":          {own, func(o *hestiasim.Options) { o.AdminsOnly = true }, "switch the API on"},
		"another user's zones": {func(s *hestiasim.Server) Options { o := own(s); o.User = "bob"; return o }, nil, "zones' user"},
	} {
		s := sim(t, tc.edit)
		f := fixture{s, provider(t, tc.login(s))}
		out := f.apply(t, a("192.0.2.1", ""), a("", "192.0.2.1"))
		for _, err := range []error{out[0].Err, out[1].Err, f.p.Check(t.Context(), zone)} {
			if !errors.Is(err, kvm.ErrAuth) || !strings.Contains(kvm.Hint(err), tc.hint) {
				t.Errorf("%s: %v (%s)", name, err, kvm.Hint(err))
			}
		}
		if f.count(hestiasim.Add) != 0 {
			t.Errorf("%s: something was added", name)
		}
	}
}

// TestShippedPermissions: update-dns-records can list, and no more.
func TestShippedPermissions(t *testing.T) {
	f := newFixture(t, func(s *hestiasim.Server) Options { o := options(s); o.Key = weakKey; return o })
	put(f.Server, zone, vm, dns.A, "192.0.2.9")
	out := f.apply(t, a("192.0.2.1", ""), a("192.0.2.2", ""), a("", "192.0.2.9"))
	for _, err := range []error{out[0].Err, out[1].Err, out[2].Err, f.p.Check(t.Context(), zone)} {
		if !errors.Is(err, kvm.ErrAuth) || !strings.Contains(kvm.Hint(err), "update-dns-records has no add and no delete") {
			t.Errorf("%v (%s)", err, kvm.Hint(err))
		}
	}
	if f.count(hestiasim.Add) != 1 {
		t.Errorf("%d adds, want no second one", f.count(hestiasim.Add))
	}
	f.is(t, "192.0.2.9")
}

// TestNoSecrets: whatever the server says back, no error shows the secret, and no call has it but in its login.
func TestNoSecrets(t *testing.T) {
	for _, login := range []func(*hestiasim.Server) Options{options, byHash, byPassword} {
		f := newFixture(t, login)
		o := login(f.Server)
		text := o.Secret.Reveal()
		body := "Error: bad " + text + "\nin secret_key=" + strings.ReplaceAll(text, "/", "%2F")
		for _, fault := range []hestiasim.Fault{
			{Status: 500, Body: body}, {Status: 200, Body: body}, {Status: 404, Body: body}, {Exit: 2, Output: body}, {Command: hestiasim.Add, Times: 2, Exit: 8, Output: body},
		} {
			f.Fail(fault)
			err := f.apply(t, a("192.0.2.1", ""))[0].Err
			if err == nil || strings.Contains(err.Error()+kvm.Hint(err), text) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%+v: %v", fault, err)
			}
			f.Heal()
		}
		for _, c := range f.Calls() {
			if strings.Contains(fmt.Sprint(c), text) || c.URI != "/api/" {
				t.Errorf("%+v", c)
			}
		}
		if shown := fmt.Sprintf("%v %+v %#v", o, o, f.p.o); strings.Contains(shown, text) {
			t.Error(shown)
		}
	}
}

func TestBadOptions(t *testing.T) {
	s := sim(t, nil)
	for name, edit := range map[string]func(*Options){
		"no URL":        func(o *Options) { o.URL = "" },
		"http":          func(o *Options) { o.URL = "http://panel.example.com:8083" },
		"secret in URL": func(o *Options) { o.URL = "https://admin:" + password + "@panel.example.com" },
		"no user":       func(o *Options) { o.User = "" },
		"odd user":      func(o *Options) { o.User = "a b" },
		"no secret":     func(o *Options) { o.Secret = kvm.Secret{} },
		"two logins":    func(o *Options) { o.Admin = "admin" },
		"negative TTL":  func(o *Options) { o.TTL = -1 },
		"trust":         func(o *Options) { o.Trust.Pins = []string{"AA:BB"} },
	} {
		o := options(s)
		edit(&o)
		if _, err := New(o); !errors.Is(err, kvm.ErrInvalid) || !strings.HasPrefix(err.Error(), "hestiacp: ") || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{"", "/", "/api", "/api/"} {
		o := options(s)
		o.URL, o.TTL = s.URL+path, 60
		if err := provider(t, o).Check(context.Background(), zone); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if len(s.Calls()) != 8 {
		t.Errorf("%d calls: New must send nothing", len(s.Calls()))
	}
}
