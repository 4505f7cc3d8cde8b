package pve

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

// quick fails the test when the library slept: its shortest sleep is one second.
func quick(t *testing.T) {
	t.Helper()
	began := time.Now()
	t.Cleanup(func() {
		if d := time.Since(began); d > 900*time.Millisecond {
			t.Errorf("it took %v: somebody slept", d)
		}
	})
}

// Every answer that Proxmox and what stands before it can give, in all four methods: one request, no sleep, no panic.
func TestOddAnswers(t *testing.T) {
	for _, c := range []struct {
		name, status, contentType, body string
		read, write                     error
		text                            string
	}{
		{"empty 401", "401 Authentication failed!", "", "", kvm.ErrAuth, kvm.ErrAuth, "401 Authentication failed!"},
		{"reason only", "500 VM is locked (clone)", "application/json", `{"data":null}`, kvm.ErrBusy, kvm.ErrBusy, "VM is locked (clone)"},
		{"message", "500 first line", "application/json", `{"data":null,"message":"VM is locked\n(backup)\n"}`, kvm.ErrBusy, kvm.ErrBusy, "VM is locked (backup)"},
		{"html", "502 Bad Gateway", "text/html", "<html><h1>502</h1></html>", kvm.ErrUnreachable, kvm.ErrUnknown, "502 Bad Gateway"},
		{"null errors", "400 Parameter verification failed.", "application/json", `{"data":null,"errors":null,"message":null}`, kvm.ErrInvalid, kvm.ErrInvalid, "400 Parameter verification failed."},
		{"errors as a list", "400 Bad", "application/json", `{"errors":[],"message":{"a":1}}`, kvm.ErrInvalid, kvm.ErrInvalid, "400 Bad"},
		{"errors", "400 Parameter verification failed.", "application/json", `{"errors":{"name":"invalid format\n","vmid":7},"data":null}`, kvm.ErrInvalid, kvm.ErrInvalid, "name: invalid format; vmid: 7"},
		{"a list", "500 x", "application/json", `[1]`, nil, nil, "500 x"},
		{"595", "595 No route to host", "", "", kvm.ErrUnreachable, kvm.ErrUnreachable, "595 No route to host"},
		{"596", "596 Connection timed out", "", "", kvm.ErrUnreachable, kvm.ErrUnknown, "596 Connection timed out"},
		{"no reason", "500 ", "", "", nil, nil, "500 no text"},
		{"200 in html", "200 OK", "text/html", "<html>", kvm.ErrUnreachable, kvm.ErrUnknown, "not what Proxmox answers"},
		{"200 empty", "200 OK", "", "", kvm.ErrUnreachable, kvm.ErrUnknown, "not what Proxmox answers"},
		{"200 without data", "200 OK", "application/json", `{}`, kvm.ErrUnreachable, kvm.ErrUnknown, "not what Proxmox answers"},
		{"redirect", "301 Moved Permanently\r\nLocation: https://127.0.0.1:1/", "", "", kvm.ErrUnreachable, kvm.ErrUnreachable, "301 Moved Permanently"},
	} {
		t.Run(c.name, func(t *testing.T) {
			quick(t)
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) { raw(w, c.status, c.contentType, c.body) })
			for i, method := range []string{"GET", "POST", "PUT", "DELETE"} {
				_, err := s.client(t, nil).call(t.Context(), method, "/x", nil)
				want := c.write
				if method == "GET" {
					want = c.read
				}
				if err == nil || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v", method, err)
				}
				for _, sentinel := range classNames {
					if sentinel != nil && errors.Is(err, sentinel) != (sentinel == want) {
						t.Errorf("%s: %v: is %v: %v", method, err, sentinel, sentinel != want)
					}
				}
				if n := len(s.requests()); n != i+1 {
					t.Errorf("%s was sent %d times", method, n-i)
				}
			}
		})
	}
}

func TestNoAnswerAfterTheRequestWasSent(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"reset": func(w http.ResponseWriter, r *http.Request) { reset(w) },
		"truncated": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			data(w, "1")
		},
		"slow": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // an answer now could still be read
		},
	} {
		t.Run(name, func(t *testing.T) {
			quick(t)
			s := newServer(t, h)
			client := s.client(t, func(o *Options) {
				o.Timeout = 100 * time.Millisecond
				o.URLs = append(o.URLs, "127.0.0.1:1") // must not be tried
			})
			for i, method := range []string{"GET", "POST", "PUT", "DELETE"} {
				_, err := client.once(t.Context(), method, "/x", nil, nil)
				want, other := kvm.ErrUnknown, kvm.ErrUnreachable
				if method == "GET" {
					want, other = other, want
				}
				if !errors.Is(err, want) || errors.Is(err, other) {
					t.Errorf("%s: %v", method, err)
				}
				if name == "slow" && !strings.Contains(err.Error(), "no answer within 100ms") {
					t.Errorf("%s: %v", method, err)
				}
				if n := len(s.requests()); n != i+1 {
					t.Errorf("%s was sent %d times", method, n-i)
				}
			}
		})
	}
}

// A connection that pveproxy closed while it was idle must not make a write go out twice, nor fail as unknown when it
// never left.
func TestWritesOnReusedConnections(t *testing.T) {
	quick(t)
	var posts atomic.Int32
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			posts.Add(1)
			reset(w)
			return
		}
		data(w, "1")
	})
	client := s.client(t, nil)
	for range 5 {
		if _, err := client.call(t.Context(), "GET", "/x", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := client.call(t.Context(), "POST", "/x", params{"a": "b"}); !errors.Is(err, kvm.ErrUnknown) {
			t.Fatal(err)
		}
	}
	if posts.Load() != 5 {
		t.Errorf("5 calls sent %d POSTs", posts.Load())
	}
}

func TestFailOverOnDialErrorsOnly(t *testing.T) {
	quick(t)
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { data(w, "1") })
	dead := deadAddress(t)
	client := s.client(t, func(o *Options) { o.URLs = []string{dead, s.URL} })
	if _, err := client.call(t.Context(), "POST", "/x", params{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	if got := s.requests(); len(got) != 1 || got[0] != "POST /x a=b" {
		t.Errorf("%q", got)
	}
	// It is back again, but the address that last answered goes first.
	back := newServerAt(t, dead, func(w http.ResponseWriter, r *http.Request) { data(w, "2") })
	if _, err := client.call(t.Context(), "GET", "/x", nil); err != nil || len(back.requests()) != 0 || len(s.requests()) != 2 {
		t.Errorf("%v; the first address got %q, the second %q", err, back.requests(), s.requests())
	}
	alone := s.client(t, func(o *Options) { o.URLs = []string{deadAddress(t), deadAddress(t)} })
	_, err := alone.call(t.Context(), "POST", "/x", nil)
	if !errors.Is(err, kvm.ErrUnreachable) || errors.Is(err, kvm.ErrUnknown) || strings.Count(err.Error(), "refused") != 2 {
		t.Errorf("no address answers: %v", err)
	}
}

func TestEndedContextSendsNothing(t *testing.T) {
	quick(t)
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { data(w, "1") })
	client := s.client(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, method := range []string{"GET", "POST"} {
		_, err := client.call(ctx, method, "/x", nil)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, kvm.ErrUnreachable) {
			t.Errorf("%s: %v", method, err)
		}
	}
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestRequestsInFlight(t *testing.T) {
	var now, most atomic.Int32
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		arrived <- struct{}{}
		<-release
		now.Add(-1)
		data(w, "1")
	})
	client := s.client(t, func(o *Options) { o.Requests = 2 })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := client.once(t.Context(), "GET", "/x", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	<-arrived
	for range 8 {
		release <- struct{}{}
	}
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d requests were in flight at once, want 2", most.Load())
	}
}

func TestWaitingForASlotIsNotSending(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { close(arrived); <-release; data(w, "1") })
	client := s.client(t, func(o *Options) { o.Requests = 1 })
	first := make(chan error)
	go func() { _, err := client.call(context.Background(), "GET", "/first", nil); first <- err }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := client.once(ctx, "POST", "/x", nil, nil)
	close(release)
	if !errors.Is(err, kvm.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || len(s.requests()) != 1 {
		t.Errorf("%v, %q", err, s.requests())
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestWhatIsSent(t *testing.T) {
	var header http.Header
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { header = r.Header; data(w, `"UPID"`) })
	client := s.client(t, nil)
	p := params{"b": "x y+z/ä&=", "a": "1"}
	for _, method := range []string{"GET", "DELETE", "POST", "PUT"} {
		if _, err := client.call(t.Context(), method, path("nodes", "n 1", "x/y"), p); err != nil {
			t.Fatal(err)
		}
		if got := header.Get("Authorization"); got != "PVEAPIToken=whmcs@pve!puqkvm="+testSecret {
			t.Errorf("%s: Authorization: %s", method, got)
		}
	}
	const form, at = "a=1&b=x+y%2Bz%2F%C3%A4%26%3D", " /nodes/n%201/x%2Fy"
	want := []string{"GET" + at + "?" + form, "DELETE" + at + "?" + form, "POST" + at + " " + form, "PUT" + at + " " + form}
	for i, got := range s.requests() {
		if got != want[i] {
			t.Errorf("got  %s\nwant %s", got, want[i])
		}
	}
	for _, bad := range []func() error{
		func() error { _, err := client.call(t.Context(), "PUT", "/x", params{"scsi0": ""}); return err },
		func() error { _, err := client.VM(t.Context(), "", 100); return err },
	} {
		if err := bad(); !errors.Is(err, kvm.ErrInvalid) {
			t.Errorf("an empty name or value: %v", err)
		}
	}
	if n := len(s.requests()); n != 4 {
		t.Errorf("an empty name or value was sent (%d)", n)
	}
}

func TestLongAnswersAreRefused(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { data(w, `"`+strings.Repeat("x", bodyLimit)+`"`) })
	client := s.client(t, nil)
	if _, err := client.once(t.Context(), "GET", "/x", nil, nil); err == nil || !strings.Contains(err.Error(), "longer than 8 MiB") {
		t.Errorf("%.200v", err)
	}
	if _, err := client.call(t.Context(), "GET", resourcesPath, nil); err != nil {
		t.Errorf("cluster/resources: %.200v", err)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	const password = "hunter2-very"
	var mu sync.Mutex
	var lines []string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		raw(w, "400 bad "+password+" "+testSecret, "application/json", `{"errors":{"cipassword":"got '`+password+`'"},"message":"no `+password+` `+testSecret+`"}`)
	})
	client := s.client(t, func(o *Options) {
		o.Debug = func(line string) { mu.Lock(); lines = append(lines, line); mu.Unlock() }
	})
	_, err := client.call(t.Context(), "PUT", "/x", params{"cipassword": password, "ciuser": "bob", "sshkeys": "ssh-ed25519%20AAAA"})
	all := strings.Join(lines, "\n") + err.Error() + kvm.Hint(err)
	var e *Error
	if errors.As(err, &e) {
		all += e.Reason
	}
	for _, secret := range []string{password, testSecret, "AAAA"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is shown: %s", secret, all)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "PUT /api2/json/x") || !strings.Contains(lines[0], "ciuser=bob") || !strings.Contains(lines[0], "400") {
		t.Errorf("%q", lines)
	}
}

type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("boom") }

func TestPanicInTheLibraryIsAnError(t *testing.T) {
	w, err := newWire("https://127.0.0.1:1/api2/json", panicking{}, "a@b!c", kvm.NewSecret("s"))
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange{}
	w.send(t.Context(), x, "POST", "/x", nil)
	if x.err == nil || !strings.Contains(x.err.Error(), "boom") {
		t.Errorf("%v", x.err)
	}
}

func TestTrust(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { data(w, "1") })
	pin := s.pin(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Repeat("AB:", 31) + "AB"
	for _, c := range []struct {
		name  string
		trust trust.Trust
		ok    bool
	}{
		{"pin", trust.Trust{Pins: []string{wrong, pin}}, true},
		{"plain hex", trust.Trust{Pins: []string{strings.ToLower(strings.ReplaceAll(pin, ":", ""))}}, true},
		{"ca", trust.Trust{CAFile: ca}, true},
		{"insecure", trust.Trust{Insecure: true}, true},
		{"wrong pin", trust.Trust{Pins: []string{wrong}}, false},
		{"system roots", trust.Trust{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(s.requests())
			client := s.client(t, func(o *Options) { o.TLS = c.trust })
			for range 2 { // the second time the session may be resumed
				_, err := client.call(t.Context(), "POST", "/x", nil)
				if c.ok != (err == nil) {
					t.Fatal(err)
				}
				if c.ok {
					continue
				}
				if !errors.Is(err, kvm.ErrUnreachable) || errors.Is(err, kvm.ErrUnknown) || !strings.Contains(err.Error()+kvm.Hint(err), pin) {
					t.Errorf("%v (%s)", err, kvm.Hint(err))
				}
				if len(s.requests()) != before {
					t.Error("a request was sent to a server that is not trusted")
				}
			}
		})
	}
}

// Proxmox closes the connection after each write, so what can be saved is the handshake.
func TestSessionsAreResumed(t *testing.T) {
	var resumed []bool
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		resumed = append(resumed, r.TLS.DidResume)
		w.Header().Set("Connection", "close")
		data(w, "1")
	})
	client := s.client(t, nil)
	for range 3 {
		if _, err := client.call(t.Context(), "POST", "/x", nil); err != nil {
			t.Fatal(err)
		}
	}
	if resumed[0] || !resumed[1] || !resumed[2] {
		t.Errorf("resumed: %v", resumed)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	good := Options{URLs: []string{"pve1"}, User: "a@pve!t", Secret: kvm.NewSecret("s")}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no address":     func(o *Options) { o.URLs = nil },
		"http":           func(o *Options) { o.URLs = []string{"http://pve1:8006"} },
		"path":           func(o *Options) { o.URLs = []string{"https://pve1/pve"} },
		"password":       func(o *Options) { o.URLs = []string{"https://u:topsecret@pve1"} },
		"no host":        func(o *Options) { o.URLs = []string{"https://:8006"} },
		"no realm":       func(o *Options) { o.User = "root" },
		"no token name":  func(o *Options) { o.User = "root@pam!" },
		"no secret":      func(o *Options) { o.Secret = kvm.Secret{} },
		"newline":        func(o *Options) { o.Secret = kvm.NewSecret("topsecret\n") },
		"short pin":      func(o *Options) { o.TLS.Pins = []string{"AA:BB"} },
		"no CA file":     func(o *Options) { o.TLS.CAFile = "/nonexistent/ca.pem" },
		"two ways":       func(o *Options) { o.TLS = trust.Trust{Insecure: true, Pins: []string{strings.Repeat("00", 32)}} },
		"negative limit": func(o *Options) { o.Requests = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(o); !errors.Is(err, kvm.ErrInvalid) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for in, want := range map[string]string{"pve1": "pve1:8006", "2001:db8::1": "[2001:db8::1]:8006", "[2001:db8::1]:9000": "[2001:db8::1]:9000",
		"https://pve1/api2/json/": "pve1:8006", "192.0.2.1:443": "192.0.2.1:443", "https://pve1:8443": "pve1:8443"} {
		if got, err := host(in); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}
