package hestiasim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	keyID   = "KEYKEYKEYKEYKEYKEY01"
	secret  = "secretsecretsecretsecretsecretsecret0001"
	userKey = "KEYKEYKEYKEYKEYKEY02"
	shipped = "KEYKEYKEYKEYKEYKEY03"
	zoneA   = "example.test"
)

func start(t *testing.T, edit func(*Options)) *Server {
	t.Helper()
	o := Options{Password: "root-pass", Hash: "0123456789abcdef", Keys: []Key{
		{ID: keyID, Secret: secret, User: "admin"},
		{ID: userKey, Secret: secret, User: "alice", Commands: []string{List, Add, Delete}},
		{ID: shipped, Secret: secret, User: "alice", Commands: Shipped},
	}}
	if edit != nil {
		edit(&o)
	}
	s, err := Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.AddZone("alice", zoneA)
	s.AddZone("bob", "bob.test")
	s.Put(zoneA, Record{Record: "www", Type: "A", Value: "192.0.2.1"})
	return s
}

// reply is an answer as a client sees it.
type reply struct {
	status   int
	exit     string // the header
	kind     string
	body     string
	received error
}

func post(s *Server, kind string, body io.Reader) reply {
	conf, err := trust.Trust{Pins: []string{s.Fingerprint}}.Config()
	if err != nil {
		return reply{received: err}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: conf}}
	resp, err := client.Post(s.URL+"/api/", kind, body)
	if err != nil {
		return reply{received: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header.Get(header), resp.Header.Get("Content-Type"), string(text), err}
}

var logins = map[string]url.Values{
	"key":      {"access_key": {keyID}, "secret_key": {secret}},
	"user key": {"access_key": {userKey}, "secret_key": {secret}},
	"shipped":  {"access_key": {shipped}, "secret_key": {secret}},
	"both":     {"hash": {keyID + ":" + secret}},
	"hash":     {"hash": {"0123456789abcdef"}},
	"password": {"user": {"admin"}, "password": {"root-pass"}},
}

// ask sends a command by a form. args that are "-" are not sent.
func ask(s *Server, login, code, cmd string, args ...string) reply {
	form := url.Values{"returncode": {code}, "cmd": {cmd}}
	for name, values := range logins[login] {
		form[name] = values
	}
	for i, arg := range args {
		if arg != "-" {
			form.Set(fmt.Sprint("arg", i+1), arg)
		}
	}
	return post(s, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

// TestStatuses is the table of outcomes, for access keys and for the old logins.
func TestStatuses(t *testing.T) {
	s := start(t, nil)
	for _, tc := range []struct {
		login, code, cmd string
		args             []string
		want             reply
	}{
		{"key", "yes", List, []string{"alice", zoneA, "json"}, reply{status: 200, exit: "0", body: "0"}},
		{"both", "yes", List, []string{"alice", zoneA, "json"}, reply{status: 200, exit: "0", body: "0"}},
		{"key", "no", Add, []string{"alice", zoneA, "a", "A", "192.0.2.2"}, reply{status: 204, exit: "0"}},
		{"user key", "no", Add, []string{"alice", zoneA, "b", "A", "192.0.2.2"}, reply{status: 204, exit: "0"}},
		{"key", "no", List, []string{"alice", zoneA}, reply{status: 204, exit: "0"}},
		{"key", "no", Add, []string{"alice", zoneA}, reply{status: 400, exit: "1", body: "Usage: v-add-dns-record USER DOMAIN RECORD TYPE VALUE [PRIORITY] [ID] [RESTART] [TTL]"}},
		{"key", "no", Add, []string{"alice", zoneA, "c", "A", "::1"}, reply{status: 422, exit: "2", body: "Error: invalid ip format :: ::1"}},
		{"key", "no", Add, []string{"alice", zoneA, "c--d", "A", "192.0.2.2"}, reply{status: 422, exit: "2", body: "Error: invalid record format :: c--d"}},
		{"key", "no", Add, []string{"alice", zoneA, "c", "B", "192.0.2.2"}, reply{status: 422, exit: "2", body: "Error: invalid dns record type format :: B"}},
		{"key", "no", Add, []string{"alice", zoneA, "c", "A", "192.0.2.2", "", "x"}, reply{status: 422, exit: "2", body: "Error: invalid id format :: x"}},
		{"key", "no", Add, []string{"alice", zoneA, "c", "A", "192.0.2.2", "", "3"}, reply{status: 400, exit: "4", body: "Error: ID=3 already exists"}},
		{"key", "no", Add, []string{"alice", zoneA, "c", "A", "192.0.2.2", "", "", "", "x"}, reply{status: 422, exit: "2", body: "Error: invalid ttl format :: x"}},
		{"key", "no", Add, []string{"alice", zoneA, "c", "PTR", "host"}, reply{status: 422, exit: "2", body: "Error: PTR record host should be a fully qualified domain name (FQDN)"}},
		{"key", "yes", Add, []string{"alice", zoneA, "c", "A", "::1"}, reply{status: 200, exit: "2", body: "2"}},
		{"key", "no", List, []string{"alice", "EXAMPLE.test", "json"}, reply{status: 400, exit: "3", body: "Error: dns domain EXAMPLE.test doesn't exist"}},
		{"key", "no", List, []string{"alice", "bob.test", "json"}, reply{status: 400, exit: "3", body: "Error: dns domain bob.test doesn't exist"}},
		{"key", "no", List, []string{"alice", "1/2.test", "json"}, reply{status: 422, exit: "2", body: "Error: invalid domain format :: 1/2.test"}},
		{"key", "no", List, []string{"carol", zoneA, "json"}, reply{status: 400, exit: "3", body: "Error: user carol doesn't exist"}},
		{"key", "no", List, []string{"a b", zoneA, "json"}, reply{status: 422, exit: "2", body: "Error: invalid user format :: a b"}},
		{"key", "no", List, []string{"alice"}, reply{status: 400, exit: "1", body: "Usage: v-list-dns-records USER DOMAIN [FORMAT]"}},
		{"key", "no", Delete, []string{"alice", zoneA, "99"}, reply{status: 400, exit: "3", body: "Error: example.test id 99 doesn't exist"}},
		{"key", "no", Delete, []string{"alice", zoneA, "x"}, reply{status: 422, exit: "2", body: "Error: invalid id format :: x"}},
		{"key", "no", Delete, []string{"alice", zoneA}, reply{status: 400, exit: "1", body: "Usage: v-delete-dns-record USER DOMAIN ID [RESTART]"}},
		{"key", "no", "v-list-users", nil, reply{status: 401, exit: "10", body: "Error: Command v-list-users not found"}},
		{"key", "no", "v;ls", nil, reply{status: 422, exit: "2", body: "Error: v;ls command invalid"}},
		{"key", "no", "", nil, reply{status: 422, exit: "2", body: "Error: Command not provided"}},
		{"shipped", "no", Add, []string{"alice", zoneA, "c", "A", "192.0.2.2"}, reply{status: 401, exit: "10", body: "Error: Key " + shipped + " don't have permission to run the command v-add-dns-record"}},
		{"user key", "no", List, []string{"bob", "bob.test", "json"}, reply{status: 401, exit: "10", body: "Error: Key " + userKey + ` - the "user" argument doesn\'t match the key\'s user`}},
		{"hash", "yes", List, []string{"alice", zoneA, "json"}, reply{status: 200, body: "0"}},
		{"hash", "no", Add, []string{"alice", zoneA, "d", "A", "192.0.2.2"}, reply{status: 200, body: "OK"}},
		{"hash", "no", Add, []string{"alice", zoneA, "d", "A", "::1"}, reply{status: 200, body: "Error: invalid ip format :: ::1\n"}},
		{"hash", "yes", Add, []string{"alice", zoneA, "d", "A", "::1"}, reply{status: 200, body: "2"}},
		{"password", "yes", "v-list-users", nil, reply{status: 200, body: "127"}},
		{"password", "no", "v-list-users", nil, reply{status: 200, body: "OK"}},
	} {
		got := ask(s, tc.login, tc.code, tc.cmd, tc.args...)
		got.kind = ""
		if got != tc.want {
			t.Errorf("%s %s %s %v: %+v, want %+v", tc.login, tc.code, tc.cmd, tc.args, got, tc.want)
		}
	}
}

// TestRefusedLogins: what comes before the command is told by status and header, to the old logins too.
func TestRefusedLogins(t *testing.T) {
	wrong := url.Values{"access_key": {keyID}, "secret_key": {"wrong"}, "cmd": {List}}
	for _, tc := range []struct {
		name string
		edit func(*Options)
		form url.Values
		want reply
	}{
		{"wrong secret", nil, wrong, reply{status: 401, exit: "9", body: "Error: Invalid secret key for key " + keyID}},
		{"wrong secret, code", nil, url.Values{"access_key": {keyID}, "secret_key": {"wrong"}, "cmd": {List}, "returncode": {"yes"}}, reply{status: 401, exit: "9", body: "9"}},
		{"no such key", nil, url.Values{"access_key": {"x"}, "secret_key": {"wrong"}, "cmd": {List}}, reply{status: 401, exit: "9", body: "Error: key key x doesn't exist"}},
		{"empty key", nil, url.Values{"access_key": {""}, "secret_key": {""}, "cmd": {List}}, reply{status: 401, exit: "9", body: "Error: Authentication failed"}},
		{"wrong hash", nil, url.Values{"hash": {"fedcba9876543210"}, "cmd": {List}}, reply{status: 401, exit: "9", body: "Error: authentication failed"}},
		{"short hash", func(o *Options) { o.Hash = "short" }, url.Values{"hash": {"short"}, "cmd": {List}}, reply{status: 401, exit: "9", body: "Error: authentication failed"}},
		{"wrong password", nil, url.Values{"user": {"admin"}, "password": {"x"}, "cmd": {List}}, reply{status: 401, exit: "9", body: "Error: authentication failed"}},
		{"another user's password", nil, url.Values{"user": {"alice"}, "password": {"x"}, "cmd": {List}}, reply{status: 401, exit: "10", body: "Error: authentication failed"}},
		{"address", func(o *Options) { o.AllowedIPs = []string{"192.0.2.7"} }, logins["key"], reply{status: 401, exit: "10", body: "Error: IP is not allowed to connect with API"}},
		{"off", func(o *Options) { o.Off = true }, logins["key"], reply{status: 400, exit: "11", body: "Error: API has been disabled"}},
		{"admins only", func(o *Options) { o.AdminsOnly = true }, url.Values{"access_key": {userKey}, "secret_key": {secret}, "cmd": {List}, "arg1": {"alice"}}, reply{status: 401, exit: "21", body: "Error: API has been disabled"}},
		{"nothing", nil, url.Values{"cmd": {List}}, reply{status: 405, exit: "405", body: unread}},
	} {
		got := post(start(t, tc.edit), "application/x-www-form-urlencoded", strings.NewReader(tc.form.Encode()))
		got.kind = ""
		if got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
	s := start(t, nil)
	if got := post(s, "application/json", strings.NewReader("{")); got.status != 405 {
		t.Errorf("half a JSON: %+v", got)
	}
	if resp := ask(&Server{URL: s.URL + "/other", Fingerprint: s.Fingerprint}, "key", "no", List); resp.status != 404 {
		t.Errorf("another path: %+v", resp)
	}
}

func TestJSONBody(t *testing.T) {
	s := start(t, nil)
	body, err := json.Marshal(map[string]any{"access_key": userKey, "secret_key": secret, "cmd": Add, "arg1": "alice", "arg2": zoneA, "arg3": "j", "arg4": "a", "arg5": "192.0.2.9", "arg6": "", "arg7": 77, "arg8": nil, "arg9": 14400000})
	if err != nil {
		t.Fatal(err)
	}
	if got := post(s, "application/json", bytes.NewReader(body)); got.status != 204 {
		t.Fatalf("%+v", got)
	}
	rows := s.Records(zoneA)
	if last := rows[len(rows)-1]; last != (Record{ID: 77, Record: "j", Type: "A", Value: "192.0.2.9"}) {
		t.Errorf("%+v: a null argument lets the TTL move up into RESTART's place", last)
	}
	if c := s.Calls()[0]; len(c.Args) != 8 || c.Args[7] != "14400000" || fmt.Sprint(c.Numbers) != "[1 2 3 4 5 6 7 9]" {
		t.Errorf("%+v", c)
	}
}
