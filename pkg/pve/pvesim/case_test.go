package pvesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestCases plays the scripts of testdata. A script is a conversation with a cluster of its own:
//
//	version V            the simulated version; must come first, 8.4.21 without it
//	as WHO               who calls from here on: a token, "ticket" (root@pam with password), or "nobody"
//	do WORDS             changes the cluster: see scene.do
//	& METHOD PATH FORM   a call whose task is not waited for
//	{upid} and {volid}   are the last UPID and the backup that "do newest" found, {name} is the latter without its storage
//	METHOD PATH FORM     a call, the form as k=v&k=v with \n for newlines and otherwise literal values; after RAW as it is.
//	                     What is indented below it is expected of its answer:
//	  CODE REASON        status and reason phrase
//	  data JSON          data is exactly that
//	  has KEY JSON       data, an object, has that; with KEY a/b it goes down
//	  lacks KEY          data, an object, has no such key
//	  row KEY JSON ...   data, a list, has an object with all these
//	  error NAME TEXT    errors has that; \n stands for a newline
//	  message            there is one, and it is the reason phrase
//	  task TEXT          data is a UPID, and the task ends with that
//	  log TEXT           the task's log has a line that contains that
//	  took D             the call took at least D and less than D + 1 s
//
// The figures and texts come from recordings of PVE 7.4, 8.4.21 and 9.2.11.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.case")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".case"), func(t *testing.T) {
			s := &scene{t: t, who: "root@pam!test", version: "8.4.21"}
			for i, line := range strings.Split(string(text), "\n") {
				s.at = fmt.Sprintf("%s:%d: %s", file, i+1, line)
				if strings.TrimSpace(line) != "" && line[0] != '#' {
					s.play(line)
				}
			}
		})
	}
}

type scene struct {
	t       *testing.T
	at      string
	version string
	who     string
	c       *Cluster
	clk     *clock.Fake
	server  *httptest.Server
	ticket  *http.Cookie
	csrf    string
	last    reply
	upid    string
	volid   string
	log     []string
}

type reply struct {
	status  int
	reason  string
	header  http.Header
	data    any
	body    map[string]any
	took    time.Duration
	total   any
	message string
}

// open makes the cluster: node pve1, directories local and store2, local-lvm (thin), thick (LVM), the template 9000 with
// a 1 GiB qcow2 disk and a cloud-init drive, and a few users.
func (s *scene) open() {
	s.clk = clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	model := SmallMachine()
	model.Read, model.Daemon, model.Write, model.Start = 0, 0, 0, 0
	model.LinkedClone = 800 * time.Millisecond
	c, err := New(Options{Version: s.version, Clock: s.clk, Model: model, Seed: 1})
	s.must(err)
	s.c = c
	c.AddNode(Node{Name: "pve1"})
	c.AddNode(Node{Name: "pve2"})
	c.AddStorage(Storage{ID: "local", Type: "dir", Content: "images,iso,backup,snippets,vztmpl,rootdir"})
	c.AddStorage(Storage{ID: "store2", Type: "dir", Content: "images,iso", Nodes: []string{"pve1"}})
	c.AddStorage(Storage{ID: "isoonly", Type: "dir", Content: "iso"})
	c.AddStorage(Storage{ID: "thin", Type: "lvmthin"})
	c.AddStorage(Storage{ID: "thick", Type: "lvm", Size: 10 << 30})
	c.AddStorage(Storage{ID: "tank", Type: "zfspool"})
	c.AddStorage(Storage{ID: "nfs1", Type: "nfs"})
	c.AddUser("root@pam", "pvetest")
	for _, id := range []string{"root@pam!test", "audit@pve!t1", "vmadm@pve!t1"} {
		c.AddToken(id, "s", false)
	}
	c.AddToken("audit@pve!t2", "s", true)
	c.Grant("/", "audit@pve", "VM.Audit", "Datastore.Audit", "Sys.Audit", "Pool.Audit", "SDN.Audit")
	c.Grant("/vms/9000", "vmadm@pve", "VM.Audit", "VM.Clone", "VM.Config.CPU", "VM.PowerMgmt")
	s.must(c.AddTemplate(Template{VMID: 9000, Node: "pve1", Name: "tmpl-small", Storage: "local", DiskGiB: 1, CloudInit: true, Memory: 256}))
	s.server = httptest.NewServer(c.Handler())
	s.t.Cleanup(s.server.Close)
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", s.at, err)
	}
}

func (s *scene) play(line string) {
	line = strings.ReplaceAll(line, "{name}", s.volid[strings.IndexByte(s.volid, ':')+1:])
	words := strings.Fields(line)
	switch {
	case line[0] == ' ' || line[0] == '\t':
		line = strings.ReplaceAll(line, "{volid}", s.volid)
		s.expect(strings.Fields(line), strings.TrimSpace(line))
		return
	case words[0] == "version":
		s.version = words[1]
		return
	}
	if s.c == nil {
		s.open()
	}
	switch words[0] {
	case "as":
		s.who = words[1]
	case "do":
		s.do(words[1:])
	case "&":
		s.call(words[1], words[2], encode(s.filled(words[3:])))
	case "RAW":
		s.call(words[1], words[2], strings.Join(words[3:], " "))
	default:
		s.call(words[0], words[1], encode(s.filled(words[2:])))
		if upid, ok := s.last.data.(string); ok && strings.HasPrefix(upid, "UPID:") {
			s.wait(upid)
		}
	}
}

func (s *scene) filled(words []string) string {
	return strings.ReplaceAll(strings.Join(words, " "), "{volid}", s.volid)
}

// encode makes a form of k=v&k=v.
func encode(form string) string {
	values := url.Values{}
	for pair := range strings.FieldsFuncSeq(form, func(c rune) bool { return c == '&' }) {
		k, v, _ := strings.Cut(pair, "=")
		values.Add(k, strings.ReplaceAll(v, `\n`, "\n"))
	}
	return values.Encode()
}

// do changes the cluster.
func (s *scene) do(words []string) {
	number := func(i int) int {
		n, err := strconv.Atoi(words[i])
		s.must(err)
		return n
	}
	switch words[0] {
	case "lock":
		s.must(s.c.SetLock(number(1), words[2]))
	case "unlock":
		s.must(s.c.SetLock(number(1), ""))
	case "on":
		s.must(s.c.SetPower(number(1), kvm.Running))
	case "off":
		s.must(s.c.SetPower(number(1), kvm.Stopped))
	case "deaf":
		s.must(s.c.SetDeaf(number(1), true))
	case "pass":
		d, err := time.ParseDuration(words[1])
		s.must(err)
		s.clk.Advance(d)
	case "vm": // VMID STORAGE
		s.must(s.c.AddVM(VM{VMID: number(1), Node: "pve1", Name: "vm" + words[1], Storage: words[2], DiskGiB: 1, CloudInit: true, Memory: 256}))
	case "template":
		s.must(s.c.AddTemplate(Template{VMID: number(1), Node: "pve1", Name: "t" + words[1], Storage: words[2], DiskGiB: 1, CloudInit: true}))
	case "config":
		key, value, _ := strings.Cut(words[2], "=")
		s.must(s.c.SetConfig(number(1), map[string]string{key: value}))
	case "down":
		s.c.SetNodeDown(words[1], true)
	case "up":
		s.c.SetNodeDown(words[1], false)
	case "quorum":
		s.c.SetQuorum(words[1] == "found")
	case "full":
		s.c.SetStorageFull(words[1], true)
	case "disable":
		s.c.DisableUser(words[1])
	case "pool":
		s.c.AddPool(words[1])
	case "guest": // VMID: one that answers the agent
		s.must(s.c.SetGuest(number(1), &Guest{}))
	case "write": // VMID SLOT TEXT
		s.must(s.c.WriteDisk(number(1), words[2], words[3]))
	case "holds": // VMID SLOT TEXT: the disk holds that, "-" for nothing
		m, _ := s.c.VM(number(1))
		if got := m.Disks[words[2]].Contents; got != strings.TrimPrefix(words[3], "-") {
			s.t.Errorf("%s\n\tthe disk holds %q", s.at, got)
		}
	case "storage": // ID TYPE CONTENT PRUNE
		s.c.AddStorage(Storage{ID: words[1], Type: words[2], Content: words[3], Prune: strings.Join(words[4:], "")})
	case "newest": // VMID
		backups := s.c.Backups(number(1))
		if len(backups) == 0 {
			s.t.Fatalf("%s: there is no backup", s.at)
		}
		s.volid = backups[len(backups)-1].ID
	case "volumes": // VMID ID ...: these are its volumes and no others
		if got := strings.Join(s.c.Volumes(number(1)), " "); got != strings.Join(words[2:], " ") {
			s.t.Errorf("%s\n\tthe volumes are %s", s.at, got)
		}
	case "kill":
		s.must(s.c.KillTask(s.upid))
	case "settle":
		for !s.c.Settled() {
			s.clk.Advance(100 * time.Millisecond)
		}
	default:
		s.t.Fatalf("%s: cannot do %q", s.at, words[0])
	}
}

func (s *scene) call(method, path, form string) {
	s.t.Helper()
	path = strings.NewReplacer("{upid}", url.PathEscape(s.upid), "{volid}", url.PathEscape(s.volid)).Replace(path)
	body := strings.NewReader("")
	if form != "" && (method == http.MethodGet || method == http.MethodDelete) {
		path += "?" + form
	} else if form != "" {
		body = strings.NewReader(form)
	}
	hr, err := http.NewRequest(method, s.server.URL+"/api2/json"+path, body)
	s.must(err)
	if body.Len() > 0 {
		hr.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	switch {
	case s.who == "ticket":
		s.login()
		hr.AddCookie(s.ticket)
		hr.Header.Set("CSRFPreventionToken", s.csrf)
	case s.who == "cookie":
		s.login()
		hr.AddCookie(s.ticket)
		hr.Header.Set("CSRFPreventionToken", "0:wrong")
	case strings.Contains(s.who, "="):
		hr.Header.Set("Authorization", "PVEAPIToken="+s.who)
	case s.who != "nobody":
		hr.Header.Set("Authorization", "PVEAPIToken="+s.who+"=s")
	}
	begun := s.clk.Now()
	s.last = send(s.t, hr)
	s.last.took = s.clk.Now().Sub(begun)
	if upid, ok := s.last.data.(string); ok && strings.HasPrefix(upid, "UPID:") {
		s.upid = upid
	}
}

// send does one request and takes its answer apart.
func send(t *testing.T, hr *http.Request) reply {
	t.Helper()
	res, err := http.DefaultClient.Do(hr)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := reply{status: res.StatusCode, reason: strings.TrimPrefix(res.Status, strconv.Itoa(res.StatusCode)+" "), header: res.Header, body: map[string]any{}}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := json.NewDecoder(res.Body).Decode(&r.body); err != nil {
			t.Fatalf("%s %s: %v", hr.Method, hr.URL, err)
		}
	}
	r.data, r.total = r.body["data"], r.body["total"]
	r.message, _ = r.body["message"].(string)
	return r
}

func (s *scene) login() {
	if s.ticket != nil {
		return
	}
	who := s.who
	s.who = "nobody"
	last := s.last
	s.call(http.MethodPost, "/access/ticket", "username=root@pam&password=pvetest")
	data, _ := s.last.data.(map[string]any)
	if data == nil {
		s.t.Fatalf("%s: no login: %d %s", s.at, s.last.status, s.last.reason)
	}
	s.ticket = &http.Cookie{Name: "PVEAuthCookie", Value: url.PathEscape(data["ticket"].(string))}
	s.csrf, s.who, s.last = data["CSRFPreventionToken"].(string), who, last
}

// wait moves the clock until the task has ended and keeps its log.
func (s *scene) wait(upid string) {
	s.t.Helper()
	last := s.last
	node := strings.Split(upid, ":")[1]
	at := "/nodes/" + node + "/tasks/" + url.PathEscape(upid)
	for range 10000 {
		s.call(http.MethodGet, at+"/status", "")
		status, _ := s.last.data.(map[string]any)
		if status == nil {
			s.t.Fatalf("%s: status of %s: %d %s %v", s.at, upid, s.last.status, s.last.reason, s.last.body)
		}
		if status["status"] == "stopped" {
			last.body["exit"] = status["exitstatus"]
			s.call(http.MethodGet, at+"/log", "limit=1000")
			s.log = nil
			for _, row := range s.last.data.([]any) {
				s.log = append(s.log, row.(map[string]any)["t"].(string))
			}
			s.last = last
			return
		}
		s.clk.Advance(50 * time.Millisecond)
	}
	s.t.Fatalf("%s: %s does not end", s.at, upid)
}

func (s *scene) expect(words []string, line string) {
	s.t.Helper()
	rest := func(n int) string {
		text := line
		for range n {
			_, text, _ = strings.Cut(strings.TrimSpace(text), " ")
		}
		return strings.TrimSpace(text)
	}
	wrong := func(format string, args ...any) {
		s.t.Helper()
		s.t.Errorf("%s\n\tgot %s\n\tin %d %s %v", s.at, fmt.Sprintf(format, args...), s.last.status, s.last.reason, s.last.body)
	}
	switch words[0] {
	case "data":
		if !same(s.last.data, parseJSON(s, rest(1))) {
			wrong("other data")
		}
	case "has", "lacks":
		got, found := down(s.last.data, words[1])
		if words[0] == "lacks" && found || words[0] == "has" && (!found || !same(got, parseJSON(s, rest(2)))) {
			wrong("%v", got)
		}
	case "row":
		want := map[string]any{}
		for key, text, more := strings.Cut(rest(1), " "); more; key, text, more = strings.Cut(strings.TrimSpace(text), " ") {
			var v any
			decoder := json.NewDecoder(strings.NewReader(text))
			s.must(decoder.Decode(&v))
			want[key], text = v, text[decoder.InputOffset():]
		}
		rows, _ := s.last.data.([]any)
		if !slices.ContainsFunc(rows, func(row any) bool { return contains(row, want) }) {
			wrong("no such row")
		}
	case "error":
		errs, _ := s.last.body["errors"].(map[string]any)
		text, _ := errs[words[1]].(string)
		if want := strings.ReplaceAll(rest(2), `\n`, "\n"); strings.TrimRight(text, "\n") != strings.TrimRight(want, "\n") {
			wrong("%q", text)
		}
	case "message":
		if strings.TrimSpace(s.last.message) != s.last.reason {
			wrong("%q", s.last.message)
		}
	case "task":
		if exit, _ := s.last.body["exit"].(string); exit != rest(1) {
			wrong("task %q", exit)
		}
	case "log":
		if !slices.ContainsFunc(s.log, func(l string) bool { return strings.Contains(l, rest(1)) }) {
			wrong("log %q", s.log)
		}
	case "took":
		d, err := time.ParseDuration(words[1])
		s.must(err)
		if s.last.took < d || s.last.took >= d+time.Second {
			wrong("%v", s.last.took)
		}
	default:
		if code, err := strconv.Atoi(words[0]); err != nil {
			s.t.Fatalf("%s: unknown expectation", s.at)
		} else if s.last.status != code || len(words) > 1 && s.last.reason != rest(1) {
			wrong("%d %s", s.last.status, s.last.reason)
		}
	}
}

func parseJSON(s *scene, text string) any {
	s.t.Helper()
	var v any
	s.must(json.Unmarshal([]byte(text), &v))
	return v
}

func same(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func contains(row any, want map[string]any) bool {
	m, _ := row.(map[string]any)
	for k, v := range want {
		if got, ok := m[k]; !ok || !same(got, v) {
			return false
		}
	}
	return m != nil
}

func down(v any, path string) (any, bool) {
	for key := range strings.SplitSeq(path, "|") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[key]; !ok {
			return nil, false
		}
	}
	return v, true
}
