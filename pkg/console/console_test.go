package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/console/consolesim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	key      = `the+key/"&<k>é%'of the proxy`
	token    = `root@pam!whmcs=aaaabbbb-1111-4222-8333-tokensecret`
	password = `^S"Z .AQ+&#`
	ticket   = password + `:PVEVNC:6B01CBBF::FsAUn4JF+TdY3c/KLj==`
	address  = "wss://pve1.example.com:8006/api2/json/nodes/pve1/qemu/100/vncwebsocket?port=5900&vncticket=x%2By"
)

func opened() kvm.Console {
	return kvm.Console{Node: "pve1", VMID: 100, Port: 5900, User: "root@pam!whmcs", Ticket: kvm.NewSecret(ticket), Password: kvm.NewSecret(password),
		URL: kvm.NewSecret(address), Token: kvm.NewSecret(token)}
}

func start(t *testing.T, secure bool) (*consolesim.Server, Proxy) {
	t.Helper()
	s, err := consolesim.Start("127.0.0.1:0", key, secure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	p := Proxy{Product: 12, Host: s.Addr, Key: kvm.NewSecret(key)}
	if secure {
		p.Trust = trust.Trust{Pins: []string{s.Fingerprint}}
	}
	return s, p
}

var random = strings.Repeat("\x01\xab", 8)

func TestRegister(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, p := start(t, secure)
		got, err := p.Register(t.Context(), opened(), strings.NewReader(random))
		if err != nil {
			t.Fatal(err)
		}
		want := consolesim.Entry{Hash: strings.Repeat("01ab", 8), Token: token, URL: address}
		if seen := s.Entries(); len(seen) != 1 || seen[0] != want {
			t.Errorf("registered: %+v", seen)
		}
		u, err := url.Parse(got.Reveal())
		scheme, encrypt := "http", "0"
		if secure {
			scheme, encrypt = "https", "1"
		}
		if err != nil || u.Scheme != scheme || u.Host != s.Addr || u.Path != "/vnc.html" || u.RawQuery != "" {
			t.Fatalf("%s, %v", got.Reveal(), err)
		}
		// noVNC decodes each value with decodeURIComponent, for which + is itself.
		said := map[string]string{}
		for pair := range strings.SplitSeq(u.EscapedFragment(), "&") {
			k, v, _ := strings.Cut(pair, "=")
			if said[k], err = url.PathUnescape(v); err != nil {
				t.Error(err)
			}
		}
		if said["password"] != password || said["path"] != "vncproxy/"+want.Hash || said["autoconnect"] != "1" || said["encrypt"] != encrypt {
			t.Errorf("the browser is told %v", said)
		}
		c := opened()
		c.Token, c.Cookie, c.CSRF = kvm.Secret{}, kvm.NewSecret("PVE:root@pam:6B01::x+/="), kvm.NewSecret("6B01:csrf")
		if _, err := p.Register(t.Context(), c, strings.NewReader(random)); err != nil {
			t.Fatal(err)
		}
		if e := s.Entries()[1]; e.Token != "" || e.Cookie != "PVE:root@pam:6B01::x+/=" || e.CSRF != "6B01:csrf" {
			t.Errorf("by a login: %+v", e)
		}
	}
}

// TestNames: the name of an entry is nobody's to guess.
func TestNames(t *testing.T) {
	_, p := start(t, false)
	if _, err := p.Register(t.Context(), opened(), strings.NewReader("short")); err == nil {
		t.Error("a name was made of too little")
	}
}

func TestRefusals(t *testing.T) {
	wrong := func(p *Proxy) { p.Key = kvm.NewSecret("another key") }
	for _, c := range []struct {
		name   string
		fault  consolesim.Fault
		change func(*Proxy)
		err    error
		text   string
		hint   string
	}{
		{"the key", consolesim.None, wrong, kvm.ErrAdmin, "HTTP 401 Invalid API Key", "puqkvm product set 12 console_key=- < FILE, with the key that the proxy was started with (-api_key)"},
		{"the address", consolesim.Forbidden, nil, kvm.ErrAdmin, "HTTP 403 Forbidden IP", "start the proxy with this machine's address (-puqcloud_ip)"},
		{"a web server alone", consolesim.Stranger, nil, kvm.ErrAdmin, "HTTP 404", "let the proxy's web server pass /api/proxy on to it, as it does with /vncproxy"},
		{"elsewhere", consolesim.Elsewhere, nil, kvm.ErrAdmin, "HTTP 307 leads on", "puqkvm product set 12 console_proxy=HOST, with the host that answers itself"},
		{"an error that repeats all", consolesim.Echo, nil, kvm.ErrUnreachable, "HTTP 500", "see whether the proxy runs behind its web server"},
		{"neither yes nor no", consolesim.Nonsense, nil, kvm.ErrAdmin, "HTTP 200", ""},
		{"nobody there", consolesim.None, func(p *Proxy) { p.Host = "127.0.0.1:1" }, kvm.ErrUnreachable, "could not be reached", ""},
	} {
		s, p := start(t, false)
		s.Fail(c.fault)
		if c.change != nil {
			c.change(&p)
		}
		_, err := p.Register(t.Context(), opened(), strings.NewReader(random))
		if !errors.Is(err, c.err) || !strings.Contains(fmt.Sprint(err), c.text) || kvm.Hint(err) != c.hint {
			t.Errorf("%s: %v; hint %q", c.name, err, kvm.Hint(err))
		}
		if len(s.Entries()) > 0 {
			t.Errorf("%s: something was registered", c.name)
		}
		text := fmt.Sprint(err) + kvm.Hint(err)
		for _, secret := range []string{key, token, "tokensecret", ticket, password, address} {
			quoted, _ := json.Marshal(secret)
			for _, form := range []string{secret, url.QueryEscape(secret), strings.Trim(string(quoted), `"`)} {
				if strings.Contains(text, form) {
					t.Errorf("%s: the error shows %q: %s", c.name, form, text)
				}
			}
		}
	}
}

// TestStrangeCertificate: nothing is sent to whom nobody trusts.
func TestStrangeCertificate(t *testing.T) {
	s, p := start(t, true)
	p.Trust.Pins = []string{strings.Repeat("AA:", 31) + "AA"}
	_, err := p.Register(t.Context(), opened(), strings.NewReader(random))
	if !errors.Is(err, kvm.ErrAdmin) || kvm.Hint(err) != "give the proxy a certificate that browsers trust" || len(s.Entries()) > 0 {
		t.Errorf("%v; hint %q; %d entries", err, kvm.Hint(err), len(s.Entries()))
	}
}

func TestNoAnswer(t *testing.T) {
	s, p := start(t, false)
	s.Fail(consolesim.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Register(ctx, opened(), bytes.NewReader([]byte(random))); !errors.Is(err, kvm.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestBase: http is for this machine alone.
func TestBase(t *testing.T) {
	for host, want := range map[string]string{
		"console.example.com": "https://console.example.com", "console.example.com:8443": "https://console.example.com:8443", "192.0.2.7": "https://192.0.2.7",
		"10.0.0.1:8080": "https://10.0.0.1:8080", "2001:db8::1": "https://[2001:db8::1]", "[2001:db8::1]:8443": "https://[2001:db8::1]:8443", "[2001:db8::1]": "https://[2001:db8::1]",
		"localhost": "http://localhost", "localhost:8080": "http://localhost:8080", "127.0.0.1": "http://127.0.0.1", "127.8.9.1:80": "http://127.8.9.1:80", "::1": "http://[::1]", "[::1]:8080": "http://[::1]:8080",
		"localhost.example.com": "https://localhost.example.com", "127.0.0.1.example.com": "https://127.0.0.1.example.com",
	} {
		if got := (Proxy{Host: host}).base(); got != want {
			t.Errorf("%s: %s", host, got)
		}
	}
}
