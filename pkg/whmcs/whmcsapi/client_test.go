package whmcsapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi/apisim"
)

const (
	identifier = "Id3ntifier"
	secret     = "s3cret&with/odd+signs"
	accessKey  = "K.e(y)[1]"
	template   = "puqProxmoxKVM VM is ready"
)

func start(t *testing.T, change func(*apisim.Options)) *apisim.Server {
	t.Helper()
	o := apisim.Options{Identifier: identifier, Secret: secret, Templates: []string{template, "Off"}, Disabled: []string{"Off"}}
	if change != nil {
		change(&o)
	}
	sim, err := apisim.Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim
}

func client(t *testing.T, url string, change func(*Options)) *Client {
	t.Helper()
	o := Options{URL: url, Identifier: identifier, Secret: kvm.NewSecret(secret)}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// class is the sentinel that err carries; every error of this package carries exactly one.
func class(err error) error {
	var found error
	for _, sentinel := range []error{kvm.ErrRefused, kvm.ErrUnreachable, kvm.ErrUnknown, kvm.ErrInvalid} {
		if errors.Is(err, sentinel) {
			if found != nil {
				return errors.New("more than one class")
			}
			found = sentinel
		}
	}
	return found
}

func TestSendEmail(t *testing.T) {
	sim := start(t, nil)
	c := client(t, sim.URL(), nil)
	m := kvm.Mail{ServiceID: 5546, Action: "SendEmail", Template: template, Key: "ready:5546:1"}
	if err := c.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	admin := kvm.Mail{Action: "SendAdminEmail", Params: map[string]string{"customsubject": "stuck", "custommessage": "service 5546 waits"}}
	if err := c.Send(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	mails := sim.Mails()
	if len(mails) != 2 || mails[0].Template != template || mails[0].ServiceID != 5546 || mails[0].Action != "SendEmail" {
		t.Fatalf("mails %+v", mails)
	}
	if mails[1].Action != "SendAdminEmail" || mails[1].Subject != "stuck" || mails[1].Message != "service 5546 waits" {
		t.Fatalf("admin mail %+v", mails[1])
	}
	if err := c.SendAdminEmail(t.Context(), "direct", "message"); err != nil {
		t.Fatal(err)
	}
	if sim.Requests() != 3 || len(sim.Mails()) != 3 {
		t.Fatalf("%d requests and %d mails for three mails", sim.Requests(), len(sim.Mails()))
	}
}

func TestInvalidInputIsNotSent(t *testing.T) {
	sim := start(t, nil)
	c := client(t, sim.URL(), nil)
	calls := map[string]func() error{
		"no service":   func() error { return c.SendEmail(t.Context(), template, 0, nil) },
		"no template":  func() error { return c.SendEmail(t.Context(), "", 5546, nil) },
		"no message":   func() error { return c.SendAdminEmail(t.Context(), "subject", "") },
		"other action": func() error { return c.Send(t.Context(), kvm.Mail{Action: "ModuleTerminate", Key: "k"}) },
		"no action":    func() error { _, err := c.Call(t.Context(), "", nil); return err },
		"own parameter": func() error {
			_, err := c.Call(t.Context(), "LogActivity", map[string]string{"Secret": "x"})
			return err
		},
	}
	for name, call := range calls {
		if err := call(); class(err) != kvm.ErrInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sim.Requests() != 0 {
		t.Fatalf("%d requests were sent", sim.Requests())
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{URL: "https://billing.example.com/", Identifier: identifier, Secret: kvm.NewSecret(secret)}
	for name, change := range map[string]func(*Options){
		"no URL":           func(o *Options) { o.URL = "" },
		"no scheme":        func(o *Options) { o.URL = "billing.example.com" },
		"wrong scheme":     func(o *Options) { o.URL = "ftp://billing.example.com/" },
		"no host":          func(o *Options) { o.URL = "https:///whmcs" },
		"password in URL":  func(o *Options) { o.URL = "https://u:" + secret + "@billing.example.com/" },
		"secret in query":  func(o *Options) { o.URL = "https://billing.example.com/?secret=" + secret },
		"control sign":     func(o *Options) { o.URL = "https://billing.example.com/\x7f" + secret },
		"no identifier":    func(o *Options) { o.Identifier = "" },
		"no secret":        func(o *Options) { o.Secret = kvm.Secret{} },
		"negative timeout": func(o *Options) { o.Timeout = -1 },
	} {
		o := good
		change(&o)
		_, err := New(o)
		if class(err) != kvm.ErrInvalid {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error()+kvm.Hint(err), secret) {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
}

func TestEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"https://billing.example.com":                        "https://billing.example.com/includes/api.php",
		"https://billing.example.com/whmcs/":                 "https://billing.example.com/whmcs/includes/api.php",
		" http://127.0.0.1:8080/includes/api.php ":           "http://127.0.0.1:8080/includes/api.php",
		"https://billing.example.com/whmcs/includes/api.php": "https://billing.example.com/whmcs/includes/api.php",
	} {
		if got, err := Endpoint(text); err != nil || got != want {
			t.Errorf("Endpoint(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name      string
		sim       func(*apisim.Options)
		opts      func(*Options)
		fault     func(*apisim.Server)
		template  string
		everyCall bool
		text      string
		hint      string
	}{
		{name: "template missing", template: "Nobody's", text: "Email Template not found", hint: "product set PID"},
		{name: "template disabled", template: "Off", text: "Email Template is disabled", hint: "enable"},
		{name: "wrong secret", opts: func(o *Options) { o.Secret = kvm.NewSecret("wrong") }, everyCall: true, text: "HTTP 403: Authentication Failed", hint: "whmcs.api_identifier"},
		{name: "address not listed", sim: func(o *apisim.Options) { o.AllowedIPs = []string{} }, everyCall: true, text: "HTTP 400: Invalid IP 127.0.0.1", hint: "api_accesskey"},
		{name: "wrong access key", sim: func(o *apisim.Options) { o.AllowedIPs, o.AccessKey = []string{}, accessKey }, opts: func(o *Options) { o.AccessKey = kvm.NewSecret("wrong") }, everyCall: true, text: "Invalid IP", hint: "api_accesskey"},
		{name: "role", fault: func(s *apisim.Server) {
			s.RefuseWith(1, 403, `Invalid Permissions: API action "sendemail" is not allowed`)
		}, everyCall: true, text: "is not allowed", hint: "allow SendEmail in the API role"},
		{name: "mail server", fault: func(s *apisim.Server) { s.Refuse(1, "Sending Failed. Please see documentation.") }, text: "Sending Failed"},
		{name: "no reason", fault: func(s *apisim.Server) { s.Refuse(1, "") }, text: "no reason was given"},
		{name: "firewall", fault: func(s *apisim.Server) { s.Answer(1, 403, "<html>Forbidden</html>", false) }, everyCall: true, text: "of the web server", hint: "log"},
		{name: "wrong path", opts: func(o *Options) { o.URL += "shop/api.php" }, everyCall: true, text: "HTTP 404", hint: "check whmcs.api_url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sim := start(t, tc.sim)
			if tc.fault != nil {
				tc.fault(sim)
			}
			c := client(t, sim.URL(), tc.opts)
			name := tc.template
			if name == "" {
				name = template
			}
			err := c.SendEmail(t.Context(), name, 5546, nil)
			if class(err) != kvm.ErrRefused || errors.Is(err, kvm.ErrAuth) != tc.everyCall {
				t.Fatalf("class %v, ErrAuth %v: %v", class(err), errors.Is(err, kvm.ErrAuth), err)
			}
			if !strings.Contains(err.Error(), tc.text) || !strings.Contains(kvm.Hint(err), tc.hint) {
				t.Fatalf("error %q, hint %q; want %q and %q in them", err, kvm.Hint(err), tc.text, tc.hint)
			}
			if len(sim.Mails()) != 0 {
				t.Fatal("a refused mail was sent")
			}
		})
	}
}

func TestAccessKeyStandsInForTheIPList(t *testing.T) {
	sim := start(t, func(o *apisim.Options) { o.AllowedIPs, o.AccessKey = []string{}, accessKey })
	c := client(t, sim.URL(), func(o *Options) { o.AccessKey = kvm.NewSecret(accessKey) })
	if err := c.SendEmail(t.Context(), template, 5546, nil); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownOutcomes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(*apisim.Server)
		sent  int
	}{
		{"no answer within 500ms", func(s *apisim.Server) { s.Hang(1, false) }, 0},
		{"no answer within 500ms", func(s *apisim.Server) { s.Hang(1, true) }, 1},
		{"answer lost", func(s *apisim.Server) { s.LoseAnswer(1) }, 1},
		{"dropped", func(s *apisim.Server) { s.Drop(1) }, 0},
		{"PHP died", func(s *apisim.Server) { s.Answer(1, 500, "", true) }, 1},
		{"500 in JSON", func(s *apisim.Server) { s.Answer(1, 500, `{"result":"error","message":"x"}`, true) }, 1},
		{"gateway", func(s *apisim.Server) { s.Answer(1, 504, "<html>", true) }, 1},
		{"warning in front", func(s *apisim.Server) { s.Answer(1, 200, `Warning: x in y {"result":"success"}`, true) }, 1},
		{"cut", func(s *apisim.Server) { s.Answer(1, 200, `{"result":"succ`, true) }, 1},
		{"two objects", func(s *apisim.Server) { s.Answer(1, 200, `{"result":"success"}{"result":"error"}`, true) }, 1},
		{"list", func(s *apisim.Server) { s.Answer(1, 200, `[]`, true) }, 1},
		{"null", func(s *apisim.Server) { s.Answer(1, 200, `null`, true) }, 1},
		{"no result", func(s *apisim.Server) { s.Answer(1, 200, `{"result":{}}`, true) }, 1},
		{"huge", func(s *apisim.Server) {
			s.Answer(1, 200, `{"result":"success","x":"`+strings.Repeat("x", bodyLimit)+`"}`, true)
		}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sim := start(t, nil)
			tc.fault(sim)
			c := client(t, sim.URL(), func(o *Options) { o.Timeout = 500 * time.Millisecond })
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := c.SendEmail(ctx, template, 5546, nil)
			if class(err) != kvm.ErrUnknown {
				t.Fatalf("class %v: %v", class(err), err)
			}
			if strings.HasPrefix(tc.name, "no answer") && !strings.Contains(err.Error(), tc.name) {
				t.Fatalf("%v, want %s", err, tc.name)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
				t.Fatalf("not one bearable line: %q", err)
			}
			if sim.Requests() != 1 || len(sim.Mails()) != tc.sent {
				t.Fatalf("%d requests, %d mails; want 1 and %d", sim.Requests(), len(sim.Mails()), tc.sent)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c := client(t, "http://"+address, nil)
	err = c.SendEmail(t.Context(), template, 5546, nil)
	if class(err) != kvm.ErrUnreachable || !strings.Contains(kvm.Hint(err), "api_url") {
		t.Fatalf("refused connection: %v", err)
	}

	// A TLS handshake with a server that speaks none fails before anything of the request is written.
	sim := start(t, nil)
	c = client(t, strings.Replace(sim.URL(), "http:", "https:", 1), nil)
	if err = c.SendEmail(t.Context(), template, 5546, nil); class(err) != kvm.ErrUnreachable {
		t.Fatalf("failed handshake: %v", err)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c = client(t, sim.URL(), nil)
	if err = c.SendEmail(ended, template, 5546, nil); class(err) != kvm.ErrUnreachable || !errors.Is(err, context.Canceled) {
		t.Fatalf("ended context: %v", err)
	}
	if sim.Requests() != 0 {
		t.Fatal("something was sent")
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	sim := start(t, nil)
	for _, status := range []int{301, 302, 307, 308} {
		from := apiThat(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, sim.URL()+"includes/api.php?token="+secret, status)
		})
		err := client(t, from, nil).SendEmail(t.Context(), template, 5546, nil)
		if class(err) != kvm.ErrRefused || !strings.Contains(kvm.Hint(err), sim.URL()+"includes/api.php") {
			t.Fatalf("%d: %v (%s)", status, err, kvm.Hint(err))
		}
		if strings.Contains(err.Error()+kvm.Hint(err), secret) {
			t.Fatalf("%d: the query is shown", status)
		}
	}
	if sim.Requests() != 0 {
		t.Fatal("a redirect was followed")
	}
}

func TestNoSecretInErrors(t *testing.T) {
	echo := apiThat(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"result":"error","message":"bad secret ` + r.PostForm.Get("secret") + ` or key\n` + accessKey + ` or s3cret%26with%2Fodd%2Bsigns"}`))
	})
	c := client(t, echo, func(o *Options) { o.AccessKey = kvm.NewSecret(accessKey) })
	err := c.SendEmail(t.Context(), template, 5546, nil)
	if err == nil || !strings.Contains(err.Error(), "bad secret *** or key *** or ***") {
		t.Fatalf("%v", err)
	}
}

func TestCallDecodesLoosely(t *testing.T) {
	sim := start(t, func(o *apisim.Options) { o.Departments = []string{"Support"} })
	c := client(t, sim.URL(), nil)
	got, err := c.Call(t.Context(), "OpenTicket", map[string]string{"deptid": "1", "subject": "PTR", "message": "192.0.2.6", "clientid": "7"})
	if err != nil || got.Text("id") != "1" || got.Text("tid") != "000001" || got.Text("departments") != "" {
		t.Fatalf("%v, %v", got, err)
	}
	got, err = c.Call(t.Context(), "GetSupportDepartments", nil)
	if err != nil || got.Text("totalresults") != "1" {
		t.Fatalf("%v, %v", got, err)
	}
}

func apiThat(t *testing.T, do http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: do, ReadHeaderTimeout: time.Minute}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return "http://" + l.Addr().String() + "/"
}
