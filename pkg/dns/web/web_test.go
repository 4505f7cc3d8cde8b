package web

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const secret = `k&y "<1>/+%é`

func client(t *testing.T, url string, tr trust.Trust) *Client {
	t.Helper()
	c, err := New(Options{URL: url, Trust: tr, Secrets: []kvm.Secret{kvm.NewSecret(secret), {}}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://ns1.example.com:8081": "https://ns1.example.com:8081", " https://ns1.example.com/api/v1/ ": "https://ns1.example.com/api/v1", "http://127.0.0.1:8081": "http://127.0.0.1:8081",
		"http://[::1]:8081/": "http://[::1]:8081", "http://localhost": "http://localhost",
		"": "", "ns1.example.com": "", "ftp://ns1.example.com": "", "https://": "", "http://ns1.example.com": "", "http://192.0.2.1": "", "https://u:p@ns1.example.com": "",
		"https://ns1.example.com/?a=b": "", "https://ns1.example.com/#a": "", "https:ns1": "", "https://ns1.example.com?": "", "://": "",
	} {
		u, err := ParseURL(text)
		if err != nil && (!errors.Is(err, kvm.ErrInvalid) || strings.Contains(err.Error(), "u:p")) || (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%q is %v, %v; want %q", text, u, err, want)
		}
	}
	for _, o := range []Options{{URL: "nowhere"}, {URL: "https://ns1", Trust: trust.Trust{Pins: []string{"AA"}}}} {
		if _, err := New(o); !errors.Is(err, kvm.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestWhatIsKnown: what was not sent is told from what may have been done, and a redirect is not followed.
func TestWhatIsKnown(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/base/echo":
			w.Header().Set("X-Test", r.Header.Get("X-Key"))
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, "%s %s", r.Method, body)
		case "/base/hang":
			<-r.Context().Done()
		case "/base/reset":
			panic(http.ErrAbortHandler)
		case "/base/away":
			http.Redirect(w, r, "/base/echo", http.StatusTemporaryRedirect)
		}
	}))
	defer s.Close()
	c := client(t, s.URL+"/base/", trust.Trust{})
	a, err := c.Do(t.Context(), "POST", "/echo", http.Header{"X-Key": {"v"}}, []byte("body"))
	if err != nil || a.Status != http.StatusTeapot || string(a.Body) != "POST body" || a.Header.Get("X-Test") != "v" {
		t.Errorf("%+v, %v", a, err)
	}
	short, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("too late"))
	defer cancel()
	over, end := context.WithCancel(t.Context())
	end()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for what, is := range map[string]struct {
		ctx   context.Context
		c     *Client
		path  string
		wants []error
		says  string
	}{
		"hang":     {short, c, "/hang", []error{kvm.ErrUnknown, context.DeadlineExceeded}, "gave no answer: too late"},
		"reset":    {t.Context(), c, "/reset", []error{kvm.ErrUnknown}, "gave no answer"},
		"refused":  {t.Context(), client(t, "http://"+l.Addr().String(), trust.Trust{}), "/echo", []error{kvm.ErrUnreachable}, "could not be reached"},
		"cancel":   {over, c, "/echo", []error{kvm.ErrUnreachable, context.Canceled}, "could not be reached"},
		"redirect": {t.Context(), c, "/away", []error{kvm.ErrAuth}, "leads on to another address"},
	} {
		_, err := is.c.Do(is.ctx, "GET", is.path, nil, nil)
		for _, want := range is.wants {
			if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), is.says) {
				t.Errorf("%s: %v, want %v, %q", what, err, want, is.says)
			}
		}
	}
}

// TestCertificates: one that is not trusted is told with its fingerprint, which pins it.
func TestCertificates(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	pin := fmt.Sprintf("%X", sha256.Sum256(s.Certificate().Raw))
	_, err := client(t, s.URL, trust.Trust{}).Do(t.Context(), "GET", "/", nil, nil)
	if hint := strings.ReplaceAll(kvm.Hint(err), ":", ""); !errors.Is(err, kvm.ErrUnreachable) || !strings.Contains(hint, "--fingerprint "+pin) {
		t.Errorf("%v, %s", err, kvm.Hint(err))
	}
	if _, err := client(t, s.URL, trust.Trust{Pins: []string{pin}}).Do(t.Context(), "GET", "/", nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := client(t, s.URL, trust.Trust{Pins: []string{strings.Repeat("00", 32)}}).Do(t.Context(), "GET", "/", nil, nil); !errors.Is(err, kvm.ErrUnreachable) {
		t.Errorf("another pin: %v", err)
	}
}

func TestOneLine(t *testing.T) {
	c := client(t, "https://ns1.example.com", trust.Trust{})
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret), strings.Trim(string(quoted), `"`), `k&y \"<1>/+%é`} {
		if got := c.OneLine("a " + form + " b"); got != "a *** b" {
			t.Errorf("%s: %q", form, got)
		}
	}
	if got := c.OneLine("a\nb\x00c\t\u2028 d"); got != "a b c d" {
		t.Errorf("%q", got)
	}
	if got := []rune(c.OneLine(strings.Repeat("é", 1000))); len(got) != textLimit+1 {
		t.Errorf("%d characters", len(got))
	}
}
