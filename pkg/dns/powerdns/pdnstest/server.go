package pdnstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Env names the server: the URL of its API, the key, and the host:port that answers queries, separated by blanks.
// scripts/pdns.sh sets it.
const Env = "PUQKVM_TEST_POWERDNS"

// patience is how long the server may be busy.
const patience = 30 * time.Second

// Server is a PowerDNS server.
type Server struct {
	URL string // of the API, without /api/v1
	Key string
	DNS string // host:port
}

// RRset is one as the API gives and takes it.
type RRset struct {
	Name       string    `json:"name"` // ends with a dot
	Type       string    `json:"type"`
	TTL        int       `json:"ttl"`
	ChangeType string    `json:"changetype,omitempty"`
	Records    []Record  `json:"records"`
	Comments   []Comment `json:"comments,omitempty"`
}

// Record is a value.
type Record struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

// Comment is one of an RRset.
type Comment struct {
	Content string `json:"content"`
	Account string `json:"account"`
}

// New is the server that the environment names.
func New(t testing.TB) *Server {
	t.Helper()
	words := strings.Fields(os.Getenv(Env))
	if len(words) != 3 {
		t.Fatal("this test needs a PowerDNS server and " + Env + " is not set: run scripts/pdns.sh run -- go test ./pkg/dns/powerdns")
	}
	return &Server{URL: words[0], Key: words[1], DNS: words[2]}
}

// Addr is the host:port of the API.
func (s *Server) Addr() string { return strings.TrimPrefix(s.URL, "http://") }

// Zone makes a zone afresh, of kind Native, Master or Slave. It is deleted when t ends.
func (s *Server) Zone(t testing.TB, name, kind string) {
	t.Helper()
	s.drop(t, name)
	fresh := map[string]any{"name": name + ".", "kind": kind, "nameservers": []string{"ns1.example.net."}}
	if kind == "Slave" {
		fresh["nameservers"], fresh["masters"] = []string{}, []string{"192.0.2.1"}
	}
	s.must(t, http.MethodPost, "/zones", fresh)
	t.Cleanup(func() { s.drop(t, name) })
}

func (s *Server) drop(t testing.TB, name string) {
	t.Helper()
	if status, body := s.Call(t, http.MethodDelete, zonePath(name), nil); status != http.StatusNotFound && status >= 300 {
		t.Fatalf("zone %s cannot be deleted: %d %s", name, status, body)
	}
}

// Put adds a value to a name's.
func (s *Server) Put(t testing.TB, zone, name, typ, content string) {
	t.Helper()
	set := s.RRset(t, zone, name, typ)
	if len(set.Records) == 0 {
		set.TTL = 300
	}
	set.Records = append(set.Records, Record{Content: content})
	set.Comments = nil
	s.Replace(t, zone, set)
}

// Replace replaces an RRset, or makes it. Comments stay where none are given.
func (s *Server) Replace(t testing.TB, zone string, set RRset) {
	t.Helper()
	set.ChangeType = "REPLACE"
	s.must(t, http.MethodPatch, zonePath(zone), map[string]any{"rrsets": []RRset{set}})
}

// RRset is one with all that belongs to it; without records where there is none.
func (s *Server) RRset(t testing.TB, zone, name, typ string) RRset {
	t.Helper()
	var z struct {
		RRsets []RRset `json:"rrsets"`
	}
	if err := json.Unmarshal(s.must(t, http.MethodGet, zonePath(zone), nil), &z); err != nil {
		t.Fatal(err)
	}
	for _, set := range z.RRsets {
		if strings.EqualFold(set.Name, name+".") && set.Type == typ {
			if len(set.Comments) == 0 {
				set.Comments = nil
			}
			return set
		}
	}
	return RRset{Name: name + ".", Type: typ}
}

// Values are what a query for name and type is answered with, over UDP, and TCP where that is too long for it.
func (s *Server) Values(t testing.TB, name, typ string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[typ])
	client := &dns.Client{Timeout: patience}
	answer, _, err := client.ExchangeContext(ctx, question, s.DNS)
	if err == nil && answer.Truncated {
		client.Net = "tcp"
		answer, _, err = client.ExchangeContext(ctx, question, s.DNS)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", name, typ, err)
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError || !answer.Authoritative {
		t.Fatalf("%s %s: %v", name, typ, answer)
	}
	var values []string
	for _, rr := range answer.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			values = append(values, rr.A.String())
		case *dns.AAAA:
			values = append(values, rr.AAAA.String())
		case *dns.PTR:
			values = append(values, rr.Ptr)
		default:
			t.Fatalf("%s %s: %v", name, typ, rr)
		}
	}
	return values
}

func (s *Server) must(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	status, text := s.Call(t, method, path, body)
	if status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

// Call sends a request below /api/v1/servers/localhost, again as long as the answer is HTTP 500, and gives the answer.
func (s *Server) Call(t testing.TB, method, path string, body any) (status int, text []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience) // also when t has ended
	defer cancel()
	sent, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	for {
		req, err := http.NewRequestWithContext(ctx, method, s.URL+"/api/v1/servers/localhost"+path, bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", s.Key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("PowerDNS's API: %v", err)
		}
		text, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusInternalServerError {
			return resp.StatusCode, text
		}
	}
}

func zonePath(name string) string {
	return fmt.Sprintf("/zones/%s.", strings.NewReplacer("/", "=2F", "_", "=5F").Replace(name))
}
