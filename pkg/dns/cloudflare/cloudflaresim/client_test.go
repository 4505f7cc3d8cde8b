package cloudflaresim

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

const zoneName = "example.test"

// client asks a stand-in of its own, and takes whatever certificate it has.
type client struct {
	*testing.T
	*Server
	http  *http.Client
	clock *clock.Fake
	zone  string // id
}

func start(t *testing.T, o Options) *client {
	t.Helper()
	c := &client{T: t, clock: clock.NewFake(time.Unix(1_800_000_000, 0))}
	o.Tokens = append(o.Tokens, Token{Text: "user"})
	o.Clock = c.clock
	s, err := Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	c.Server, c.zone = s, s.AddZone(zoneName)
	return c
}

type answer struct {
	status  int
	header  http.Header
	proto   string
	Success bool
	Errors  []struct{ Code int }
	Result  any
	Info    struct {
		Page, PerPage, Count, TotalCount, TotalPages int
	}
}

// ask sends a request; in the path and the body, Z stands for the zone's id.
func (c *client) ask(token, method, path, body string) (answer, error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.URL+strings.Replace(path, "Z", c.zone, 1), strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, proto: resp.Proto}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &a); err != nil {
			c.Fatalf("%s: %v", raw, err)
		}
		var info struct {
			Info map[string]int `json:"result_info"`
		}
		_ = json.Unmarshal(raw, &info)
		a.Info.Page, a.Info.PerPage, a.Info.Count = info.Info["page"], info.Info["per_page"], info.Info["count"]
		a.Info.TotalCount, a.Info.TotalPages = info.Info["total_count"], info.Info["total_pages"]
	}
	return a, err
}

// wants the answer to have the status and the code; code 0 is a success.
func (c *client) wants(status, code int, token, method, path, body string) answer {
	c.Helper()
	a, err := c.ask(token, method, path, body)
	if err != nil {
		c.Fatalf("%s %s %s: %v", method, path, body, err)
	}
	got := 0
	if len(a.Errors) > 0 {
		got = a.Errors[0].Code
	}
	if a.status != status || got != code || a.Success != (code == 0) {
		c.Fatalf("%s %s %s: %+v, want %d %d", method, path, body, a, status, code)
	}
	return a
}

func (c *client) post(status, code int, format string, args ...any) answer {
	c.Helper()
	return c.wants(status, code, "user", "POST", "/zones/Z/dns_records", fmt.Sprintf(format, args...))
}
