package cmd

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/console/consolesim"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/whmcs"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcsapi/apisim"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// The secrets have characters that every encoding writes in its own way.
const (
	secretDB        = `dbPass'w0rd"&<7>/+%é`
	secretHash      = `hash-of-WHMCS/+"&<8>é0123456789`
	secretToken     = `aaaabbbb-1111-4222-8333-tokensecret1`
	secretTicket    = `ticketPass/+"&<9>é%`
	secretAPI       = `apiSecret/+"&<1>é%'x`
	secretAccessKey = `accessKey/+"&<2>é%'y`
	secretConsole   = `consoleKey/+"&<3>é%'z`
	secretDNS       = `dnsKey/+"&<4>%'w-0123456789abcdefghij`
)

// hiding is a world in which every secret can be found again wherever it went.
type hiding struct {
	*world
	secrets map[string]string // what it is -> the secret
	said    bytes.Buffer      // stdout and stderr of everything
}

func newHiding(t *testing.T) *hiding {
	h := &hiding{world: newWorld(t, scene{}), secrets: map[string]string{
		"database password": secretDB, "cc_encryption_hash": secretHash, "token secret": secretToken, "ticket password": secretTicket,
		"API secret": secretAPI, "API access key": secretAccessKey, "console_key": secretConsole, "DNS key": secretDNS,
	}}
	user := h.db.Name[:24]
	for _, statement := range []string{"CREATE USER " + user + "@localhost IDENTIFIED BY '" + strings.ReplaceAll(secretDB, "'", "''") + "'", "GRANT ALL ON " + h.db.Name + ".* TO " + user + "@localhost"} {
		h.db.Exec(statement)
	}
	t.Cleanup(func() {
		if _, err := h.db.ExecContext(context.Background(), "DROP USER "+user+"@localhost"); err != nil {
			t.Error(err)
		}
	})
	api, err := apisim.Start("127.0.0.1:0", apisim.Options{Identifier: "puqkvm", Secret: secretAPI, AccessKey: secretAccessKey, AllowedIPs: []string{}, Templates: []string{readyTemplate, welcomeTemplate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	h.api = api
	h.sim.AddToken("root@pam!whmcs", secretToken, false)
	h.sim.AddUser("root@pam", secretTicket)
	h.env = append(h.env, "PUQKVM_DATABASE_USER="+user, "PUQKVM_DATABASE_PASSWORD="+secretDB, "PUQKVM_ENCRYPTION_HASH="+secretHash,
		"PUQKVM_WHMCS_API_URL="+api.URL(), "PUQKVM_WHMCS_API_SECRET="+secretAPI, "PUQKVM_WHMCS_API_ACCESSKEY="+secretAccessKey)
	h.credentials("root@pam!whmcs", secretToken)
	return h
}

// credentials stores the server's user and password as WHMCS does.
func (h *hiding) credentials(user, password string) {
	h.t.Helper()
	text, err := whmcs.NewCipher(kvm.NewSecret(secretHash)).Encrypt(kvm.NewSecret(password))
	if err != nil {
		h.t.Fatal(err)
	}
	h.db.Exec("UPDATE tblservers SET username = ?, password = ? WHERE id = 1", user, text)
}

// say runs a command as text and as JSON, with every request shown.
func (h *hiding) say(args ...string) {
	h.t.Helper()
	for _, more := range [][]string{{"--debug"}, {"--debug", "--output", "json"}} {
		out, errs, _ := h.run(append(more, args...)...)
		fmt.Fprint(&h.said, out, errs)
	}
}

// minute is a tick in the next minute.
func (h *hiding) minute() {
	h.clock.(*clock.Fake).Advance(time.Minute)
	h.say("cron", "--force")
}

// guests are the passwords that the guests have by what WHMCS would decrypt.
func (h *hiding) guests() {
	h.t.Helper()
	cipher := whmcs.NewCipher(kvm.NewSecret(secretHash))
	for _, row := range h.rows("SELECT id, password FROM tblhosting WHERE password <> ''") {
		password, err := cipher.Decrypt(row[1])
		if err != nil || len(password.Reveal()) != 16 {
			h.t.Fatalf("service %s: the stored password: %v", row[0], err)
		}
		h.secrets["guest password of service "+row[0]] = password.Reveal()
	}
}

// forms are the ways in which a secret may stand in a text.
func forms(secret string) map[string]string {
	quoted, err := json.Marshal(secret)
	if err != nil {
		panic(err) // encoding/json takes every string
	}
	out := map[string]string{
		"plain": secret, "JSON": strings.Trim(string(quoted), `"`), "Go": strings.Trim(fmt.Sprintf("%q", secret), `"`), "HTML": html.EscapeString(secret),
		"query": url.QueryEscape(secret), "path": url.PathEscape(secret), "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="), "base64url": strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(secret)), "="),
		"beginning": secret[:10],
	}
	// Within a longer text base64 begins at one of three places; what stands for the whole groups of the secret is the same.
	for shift := 1; shift <= 2; shift++ {
		whole := secret[3-shift:]
		out[fmt.Sprintf("base64 at %d", shift)] = base64.StdEncoding.EncodeToString([]byte(whole[:len(whole)/3*3]))
	}
	return out
}

// found are the secrets that stand in text.
func (h *hiding) found(text string) []string {
	var out []string
	for what, secret := range h.secrets {
		for form, needle := range forms(secret) {
			if i := strings.Index(text, needle); i >= 0 {
				out = append(out, fmt.Sprintf("the %s (%s) in …%s…", what, form, text[max(0, i-150):min(len(text), i+len(needle)+50)]))
			}
		}
	}
	return out
}

// search looks for every secret in all that was said, and in every column of every table.
func (h *hiding) search() {
	h.t.Helper()
	if h.said.Len() < 10000 {
		h.t.Fatalf("only %d bytes were said", h.said.Len())
	}
	for _, f := range h.found(h.said.String()) {
		h.t.Error("said: " + f)
	}
	if strings.Contains(h.said.String(), "PVE:root@pam:") {
		h.t.Error("said: a ticket")
	}
	for _, table := range h.tables() {
		var text strings.Builder
		for _, row := range h.rows("SELECT * FROM `" + table + "`") {
			text.WriteString(strings.Join(row, "\n") + "\n")
		}
		for _, f := range h.found(text.String()) {
			h.t.Error("table " + table + ": " + f)
		}
	}
}

// TestSecrets deploys, meets errors of each kind that repeat secrets, and shows everything there is to show.
func TestSecrets(t *testing.T) {
	h := newHiding(t)
	if err := whmcstest.SetConfiguration(t.Context(), h.db, "ModuleDebugMode", "on"); err != nil {
		t.Fatal(err)
	}
	out, errs, code := h.runIn(t.Context(), secretConsole+"\n", "product", "set", "1", "console_key=-")
	if fmt.Fprint(&h.said, out, errs); code != exitDone {
		t.Fatal(out, errs)
	}
	for _, secret := range []string{secretConsole, "console_key=" + secretConsole} {
		out, errs, _ := h.run("product", "set", "1", "console_key="+secret) // an administrator's slip
		fmt.Fprint(&h.said, out, errs)
	}

	// Every answer of Proxmox that could repeat what it was sent does, and WHMCS's API too.
	var mu sync.Mutex
	var echoed []*pvesim.Armed
	h.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		mu.Lock()
		defer mu.Unlock()
		if v := r.Form["cipassword"]; r.Stage == pvesim.Arrived && v != "" && len(echoed) < 4 {
			echoed = append(echoed, h.sim.AddFault(pvesim.Fault{Method: r.Method, Path: r.Path, Count: 1, Status: 500,
				Reason: fmt.Sprintf("cipassword: %s (%s, %q) is not as it should be", v, url.QueryEscape(v), v)}))
		}
	})
	faults := []*pvesim.Armed{
		h.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/version", Count: 1, Status: 401, Reason: "invalid token value root@pam!whmcs=" + secretToken}),
		h.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/cluster/nextid", Count: 1, Status: 500, Reason: "root@pam!whmcs=" + secretToken}),
		h.sim.AddFault(pvesim.Fault{Method: "POST", Path: "/nodes/{node}/qemu/{vmid}/clone", Count: 1, Status: 403, Reason: secretToken}),
		h.sim.AddFault(pvesim.Fault{Method: "GET", Path: "/cluster/resources", Count: 1, Status: 500, Body: `{"data":null,"message":"` + secretToken + `"}`}),
		h.sim.AddFault(pvesim.Fault{Method: "POST", Path: "/access/ticket", Count: 1, Status: 500, Reason: "password " + secretTicket + " (" + url.QueryEscape(secretTicket) + ") refused"}),
		h.sim.AddFault(pvesim.Fault{Method: "POST", Path: "/access/ticket", Count: 1, Status: 500, Body: `{"data":null,"message":"` + forms(secretTicket)["JSON"] + `"}`}),
	}
	for _, message := range []string{"Authentication Failed: " + secretAPI, url.QueryEscape(secretAPI) + " " + secretAccessKey, html.EscapeString(secretAccessKey)} {
		h.api.Refuse(1, message)
		h.api.RefuseWith(1, 403, message)
	}
	h.api.Answer(1, 500, "<html>"+secretAPI+" "+base64.StdEncoding.EncodeToString([]byte(secretAPI))+"</html>", false)
	h.say("server", "test", "1")
	h.service(5546)
	h.service(5547)
	h.say("create", "5546", "--welcome")
	h.say("create", "5547", "--wait")
	for range 8 {
		h.minute()
		h.db.Exec("UPDATE puq_proxmox_kvm_outbox SET next_try = UTC_TIMESTAMP(6) WHERE state IN ('pending', 'sending')")
		h.guests()
	}
	if st := h.status(5546); st != kvm.Ready || len(echoed) == 0 {
		t.Fatalf("service 5546 is at %s: %s; %d echoes", st, h.message(5546), len(echoed))
	}

	// The same with a ticket.
	h.credentials("root@pam", secretTicket)
	h.service(5548)
	h.say("create", "5548")
	for range 4 {
		h.minute()
		h.guests()
	}
	if st := h.status(5548); st != kvm.Ready {
		t.Fatalf("service 5548 is at %s: %s", st, h.message(5548))
	}
	for i, f := range append(faults, echoed...) {
		if f.Hits() != 1 {
			t.Fatalf("echo %d was heard %d times", i, f.Hits())
		}
	}
	h.say("server", "test", "1", "--product", "1")
	h.echoingDNS()
	h.consoles("5546", "root@pam!whmcs", secretToken)
	h.consoles("5548", "root@pam", secretTicket)

	// Errors of each kind, and everything that shows something.
	for _, env := range [][]string{
		{"PUQKVM_DATABASE_PASSWORD=" + secretDB + "x"}, {"PUQKVM_DATABASE_NAME=mysql"}, {"PUQKVM_DATABASE_SOCKET=/nowhere"}, {"PUQKVM_ENCRYPTION_HASH=" + secretHash + "x"},
		{"PUQKVM_WHMCS_API_URL=http://u:" + url.QueryEscape(secretAPI) + "@127.0.0.1/"}, {"PUQKVM_WHMCS_API_SECRET_FILE=" + write(t, "secret", secretAPI)},
		{"PUQKVM_CONFIG=" + write(t, "a.toml", "[database]\npassword = "+secretDB+"\n")}, {"PUQKVM_CONFIG=" + write(t, "b.toml", "[database]\npasword = '"+secretAccessKey+"'\n")},
		{"PUQKVM_WHMCS_ROOT=" + t.TempDir()}, {"PUQKVM_DATABASE_PASSWORDS=" + secretDB}, {"PUQKVM_WHMCS_ROOT=" + strings.TrimSuffix(write(t, "configuration.php", "<?php\n$cc_encryption_hash = \""+secretHash+"\" . x();\n"), "/configuration.php")},
	} {
		for _, args := range [][]string{{"vm", "list"}, {"settings", "show", "--sources"}, {"server", "test", "1"}} {
			out, errs, _ := h.with(env...).run(append(args, "--debug")...)
			fmt.Fprint(&h.said, out, errs)
		}
	}
	for _, args := range [][]string{
		{"settings", "show", "--sources"}, {"settings", "show"}, {"product", "show", "1"}, {"product", "check", "1"}, {"product", "set", "1", "cpu=2"}, {"server", "list"}, {"server", "test", "1"},
		{"server", "set", "1", "--url", "https://root:" + url.QueryEscape(secretTicket) + "@pve2"}, {"ippool", "list"}, {"vm", "list"}, {"vm", "show", "5546"}, {"vm", "log", "5546"}, {"vm", "show", "5548"}, {"vm", "log", "5548"}, {"explain", "5546"}, {"explain", "5548"},
		{"cron", "--list"}, {"db", "migrate", "--plan"}, {"create", "5546"}, {"version"},
	} {
		h.say(args...)
	}
	h.guests()
	if len(h.secrets) != 11 {
		t.Fatalf("%d secrets", len(h.secrets))
	}
	h.search()
}

// echoingDNS has zones at providers whose every answer repeats what it was sent.
func (h *hiding) echoingDNS() {
	h.t.Helper()
	at := serveLocal(h.t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text := fmt.Sprintf("%s %s %v %s %s", r.Method, r.URL, r.Header, body, secretDNS)
		quoted, _ := json.Marshal(text)
		status := []int{400, 401, 403, 404, 422, 500, 302, 200}[len(body)%8]
		w.Header().Set("Location", "/"+url.QueryEscape(secretDNS))
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"success":false,"errors":[{"code":1,"message":%[1]s}],"error":%[1]s}`+"\nError: %[2]s\n", quoted, text)
	}))
	for _, args := range [][]string{
		{"example.com", "--provider", "cloudflare"}, {"2.0.192.in-addr.arpa", "--provider", "powerdns"},
		{"example.com", "--provider", "hestiacp", "--user", "dns", "--key", hestiaKey}, {"2.0.192.in-addr.arpa", "--provider", "hestiacp", "--user", "dns", "--admin", "admin"},
		{"example.com", "--provider", "powerdns", "--url", "https://u:" + secretDNS + "@ns1"}, {"nonsense zone", "--provider", "powerdns"},
	} {
		out, errs, _ := h.runIn(h.t.Context(), secretDNS+"\n", append([]string{"dns", "zone", "add", "--debug", "--secret-file", "-", "--url", at}, args...)...)
		fmt.Fprint(&h.said, out, errs)
	}
	if n := h.number("SELECT COUNT(*) FROM puq_proxmox_kvm_dns_zones"); n != 4 {
		h.t.Fatalf("%d zones", n)
	}
	h.env = append(h.env, "PUQKVM_DNS_SECRET="+secretDNS)
	for id := 1; id <= 4; id++ {
		h.say("dns", "zone", "test", strconv.Itoa(id))
		h.say("dns", "zone", "edit", strconv.Itoa(id), "--ttl", "300")
	}
	h.say("dns", "zone", "list")
	h.say("dns", "sync", "5546")
	h.say("dns", "sync", "--all")
	h.say("rdns", "set", "5546", "192.0.2.10", "mail.example.org")
	h.say("rdns", "list", "5546")
	h.say("status", "set", "5546", "set_dns_records")
	h.minute()
	if said := h.said.String(); strings.Count(said, "ERR [cloudflare]") == 0 || strings.Count(said, "ERR [powerdns]") == 0 || strings.Count(said, "ERR [hestiacp]") == 0 {
		h.t.Errorf("not every provider has failed:\n%s", said[max(0, len(said)-4000):])
	}
}

// TestSecretsOfProcess: neither the command line of a process nor what is in its work shows a secret to another user.
func TestSecretsOfProcess(t *testing.T) {
	h := newHiding(t)
	arrived := make(chan struct{}, 16)
	h.sim.SetHook(func(_ context.Context, r pvesim.Request) {
		if r.Stage == pvesim.Arrived {
			select {
			case arrived <- struct{}{}:
			default:
			}
		}
	})
	h.service(5546)
	h.say("create", "5546")
	hang := h.sim.AddFault(pvesim.Fault{Path: "/cluster/nextid", Hang: true})
	defer hang.Remove()
	var out bytes.Buffer
	c := h.process(&out, "cron", "--force", "--debug")
	<-arrived
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(line), "cron\x00--force") {
		t.Errorf("the command line is %q", line)
	}
	for _, f := range h.found(string(line)) {
		t.Error("command line: " + f)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // its exit code says interrupted
	for _, f := range h.found(out.String()) {
		t.Error("said: " + f)
	}
	if !strings.Contains(out.String(), "Cron End") {
		t.Errorf("the interrupted tick closed nothing:\n%s", out.String())
	}
}

// consoles opens one through a proxy that takes our credentials, and that repeats them.
func (h *hiding) consoles(id, user, password string) {
	h.t.Helper()
	h.credentials(user, password)
	proxy, err := consolesim.Start("127.0.0.1:0", secretConsole, false)
	if err != nil {
		h.t.Fatal(err)
	}
	defer proxy.Close()
	h.say("product", "set", "1", "console_proxy="+proxy.Addr)
	h.say("console", id)
	seen := proxy.Entries()
	if len(seen) != 2 || (seen[0].Token == user+"="+password) == (strings.HasPrefix(seen[0].Cookie, "PVE:root@pam:")) {
		h.t.Fatalf("the proxy was not told our credentials: %+v", seen)
	}
	proxy.Fail(consolesim.Echo)
	h.say("console", id)
	h.say("product", "set", "1", "console_proxy=")
	if said := h.said.String(); strings.Count(said, "refuses: HTTP 500") < 2 || strings.Contains(said, seen[0].Cookie) && seen[0].Cookie != "" {
		h.t.Errorf("the proxy's echo:\n%s", said[max(0, len(said)-4000):])
	}
}
