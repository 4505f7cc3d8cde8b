package pve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

// ticketServer hands out tickets T1, T2, … and honours the newest one alone. Ticket numbers up to revoked are refused.
type ticketServer struct {
	*testServer
	issued, valid atomic.Int32
	login         atomic.Pointer[string] // another answer to a login
}

func newTicketServer(t *testing.T) *ticketServer {
	s := &ticketServer{}
	s.testServer = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api2/json/access/ticket" {
			if other := s.login.Load(); other != nil {
				raw(w, *other, "application/json", `{"data":null,"message":"authentication failure\n"}`)
				return
			}
			if r.FormValue("username") != "root@pam" || r.FormValue("password") != testSecret || r.Header.Get("Cookie") != "" {
				raw(w, "401 authentication failure", "", "")
				return
			}
			n := s.issued.Add(1)
			s.valid.Store(n)
			data(w, fmt.Sprintf(`{"ticket":"PVE:root@pam:T%d+/=","CSRFPreventionToken":"C%d","username":"root@pam"}`, n, n))
			return
		}
		n := s.valid.Load()
		csrf := r.Header.Get("CSRFPreventionToken")
		if r.Header.Get("Cookie") != fmt.Sprintf("PVEAuthCookie=PVE%%3Aroot%%40pam%%3AT%d%%2B%%2F%%3D", n) ||
			(r.Method == "GET") != (csrf == "") || csrf != "" && csrf != fmt.Sprintf("C%d", n) || r.Header.Get("Authorization") != "" {
			raw(w, "401 permission denied - invalid PVE ticket", "", "")
			return
		}
		data(w, "1")
	})
	return s
}

func (s *ticketServer) dial(t *testing.T, clk clock.Clock) *Client {
	return s.client(t, func(o *Options) { o.User, o.Clock = "root@pam", clk })
}

func TestTicketIsRenewedByTime(t *testing.T) {
	s := newTicketServer(t)
	clk := clock.NewFake(time.Unix(1_700_000_000, 0))
	c := s.dial(t, clk)
	for i, want := range []int32{1, 1, 2} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if _, err := c.call(t.Context(), method, "/x", nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.issued.Load(); got != want {
			t.Errorf("round %d: %d logins, want %d", i, got, want)
		}
		clk.Advance(50 * time.Minute)
	}
}

func TestOneLoginAfterA401(t *testing.T) {
	s := newTicketServer(t)
	c := s.dial(t, clock.NewFake(time.Unix(1_700_000_000, 0)))
	if _, err := c.call(t.Context(), "GET", "/x", nil); err != nil {
		t.Fatal(err)
	}
	s.valid.Store(99) // as after a restart of the cluster's key
	if _, err := c.call(t.Context(), "POST", "/x", params{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	if s.issued.Load() != 2 {
		t.Errorf("%d logins, want 2", s.issued.Load())
	}
	refusing := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/ticket") {
			data(w, `{"ticket":"T","CSRFPreventionToken":"C"}`)
			return
		}
		raw(w, "401 Authentication failed!", "", "")
	})
	c = refusing.client(t, func(o *Options) { o.User = "root@pam" })
	if _, err := c.call(t.Context(), "POST", "/x", nil); !errors.Is(err, kvm.ErrAuth) {
		t.Error(err)
	}
	if got := refusing.requests(); len(got) != 4 { // login, POST, login, POST
		t.Errorf("%q", got)
	}
}

func TestManyCallersLogInOnce(t *testing.T) {
	s := newTicketServer(t)
	c := s.dial(t, clock.NewFake(time.Unix(1_700_000_000, 0)))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.call(context.Background(), "GET", "/x", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.valid.Store(99)
	for range 20 {
		wg.Go(func() {
			if _, err := c.call(context.Background(), "GET", "/x", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := s.issued.Load(); got != 2 {
		t.Errorf("%d logins, want 2", got)
	}
}

func TestRefusedLogin(t *testing.T) {
	s := newTicketServer(t)
	clk := clock.NewFake(time.Unix(1_700_000_000, 0))
	c := s.dial(t, clk)
	answer := "401 authentication failure"
	s.login.Store(&answer)
	for range 5 {
		_, err := c.call(t.Context(), "GET", "/x", nil)
		if !errors.Is(err, kvm.ErrAuth) || strings.Contains(err.Error(), testSecret) || kvm.Hint(err) == "" {
			t.Fatal(err)
		}
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("a refused login was tried %d times", n)
	}
	s.login.Store(nil)
	clk.Advance(2 * time.Minute)
	if _, err := c.call(t.Context(), "GET", "/x", nil); err != nil {
		t.Errorf("after the password was mended: %v", err)
	}
	answer = "596 timeout"
	s.login.Store(&answer)
	clk.Advance(2 * time.Hour)
	if _, err := c.call(t.Context(), "POST", "/x", nil); !errors.Is(err, kvm.ErrUnreachable) || errors.Is(err, kvm.ErrUnknown) {
		t.Errorf("a login without an answer changes nothing: %v", err)
	}
}

func TestSecondFactorIsNamed(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { data(w, `{"ticket":"PVE:!tfa!x","NeedTFA":1}`) })
	c := s.client(t, func(o *Options) { o.User = "root@pam" })
	_, err := c.call(t.Context(), "GET", "/x", nil)
	if !errors.Is(err, kvm.ErrAuth) || !strings.Contains(err.Error(), "second factor") || !strings.Contains(kvm.Hint(err), "token") {
		t.Errorf("%v (%s)", err, kvm.Hint(err))
	}
}

func TestARefusedTokenIsNotTriedAgainAtOnce(t *testing.T) {
	var requests atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer srv.Close()
	clk := clock.NewFake(time.Unix(0, 0))
	c, err := New(Options{URLs: []string{srv.URL}, User: "root@pam!whmcs", Secret: kvm.NewSecret("wrong-secret"), TLS: trust.Trust{Insecure: true}, Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := c.Nodes(t.Context()); !errors.Is(err, kvm.ErrAuth) {
			t.Fatalf("got %v", err)
		}
	}
	if n := requests.Load(); n != 1 {
		t.Fatalf("a refused token was tried %d times within a minute", n)
	}
	clk.Advance(refusalAge)
	if _, err := c.Nodes(t.Context()); !errors.Is(err, kvm.ErrAuth) || requests.Load() != 2 {
		t.Fatalf("after a minute: %v, %d requests", err, requests.Load())
	}
}
