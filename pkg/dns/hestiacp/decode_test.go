package hestiacp

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/hestiacp/hestiasim"
	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func TestDecodeRows(t *testing.T) {
	www := row{id: "3", record: "www", typ: dns.A, value: "192.0.2.1"}
	mail := row{id: "3", record: "mail", typ: "TXT", value: "x", suspended: true}
	const one = `{"3":{"RECORD":"www","TYPE":"A","PRIORITY":"","VALUE":"192.0.2.1","ID":"3","SUSPENDED":"no","TTL":"300"}}`
	for _, tc := range []struct {
		body string
		want []row
	}{
		{one, []row{www}},
		{"{\n}", nil},
		{`{"3":{"RECORD":"www","TYPE":"a","VALUE":"192.0.2.1","ID":3,"SUSPENDED":"no","TTL":300,"PRIORITY":null}}`, []row{www}},
		{`{"3":{"RECORD":"www","TYPE":"A","VALUE":"192.0.2.1","ID":"3"},"3":{"RECORD":"mail","TYPE":"TXT","VALUE":"x","ID":"3","SUSPENDED":"yes"}}`, []row{www, mail}},
		{warnings + one + "\n", []row{www}},
		{`{"3":{"RECORD":"www","TYPE":"TXT","VALUE":"\"v=DKIM1\; k=rsa\\ \u00e4 \u00zz ` + "\t" + `","ID":"3"}}`, []row{{id: "3", record: "www", typ: "TXT", value: `"v=DKIM1\; k=rsa\ ä \u00zz ` + "\t"}}},
	} {
		if got, err := decodeRows([]byte(tc.body)); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %+v, %v; want %+v", tc.body, got, err, tc.want)
		}
	}
	for _, body := range []string{
		"", "OK", "[]", "null", "<html></html>", one[:40], one + "{", one + "x", `{"3":"x"}`, `{"3":null}`, `{"3":{"RECORD":"www","TYPE":"A","ID":"4"}}`,
		`{"x":{"TYPE":"A","ID":"x"}}`, `{"":{"TYPE":"A","ID":""}}`, `{"3":{"ID":"3"}}`, `{"3":{"TYPE":"TXT","VALUE":"x\","ID":"3"}}`, `{"3":{"TYPE":true,"ID":"3"}}`,
	} {
		if got, err := decodeRows([]byte(body)); err == nil {
			t.Errorf("%s is a list: %+v", body, got)
		}
	}
}

// TestUnreadableLists: what is no list is no empty zone, to which everything would be added again.
func TestUnreadableLists(t *testing.T) {
	for _, fault := range []hestiasim.Fault{{Status: 200}, {Status: 204}, {Status: 200, Body: "<html>Login</html>"}, {Status: 200, Body: "OK"}, {Status: 404, Body: "<html>"}, {Status: 301, Body: "x"}} {
		for _, login := range []func(*hestiasim.Server) Options{options, byHash} {
			f := newFixture(t, login)
			put(f.Server, zone, vm, dns.A, "192.0.2.1")
			fault.Command, fault.Times = hestiasim.List, hestiasim.Always
			f.Fail(fault)
			out := f.apply(t, a("192.0.2.1", ""))
			want := kvm.ErrRefused
			if fault.Status == 301 {
				want = kvm.ErrAuth
			}
			if !errors.Is(out[0].Err, want) || !strings.Contains(kvm.Hint(out[0].Err), "URL") {
				t.Errorf("%+v: %v (%s)", fault, out[0].Err, kvm.Hint(out[0].Err))
			}
			f.is(t, "192.0.2.1")
		}
	}
}

// TestExitCodes: each code's class, told by the header (access key) and by the body (old logins).
func TestExitCodes(t *testing.T) {
	p := provider(t, Options{URL: "https://127.0.0.1:8083", User: owner, Key: keyID, Secret: kvm.NewSecret(secret)})
	classes := map[int]error{0: nil, 3: kvm.ErrNotFound, 9: kvm.ErrAuth, 10: kvm.ErrAuth, 14: kvm.ErrBusy, 15: kvm.ErrBusy, 21: kvm.ErrAuth}
	for exit := range 30 {
		want, known := classes[exit]
		if !known {
			want = kvm.ErrRefused
		}
		text := http.Header{"Hestia-Exit-Code": {itoa(exit)}}
		for name, err := range map[string]error{
			"header":           p.judge(vm, addRecord, false, &web.Answer{Status: 400, Header: text, Body: []byte("Error: why")}),
			"header, 401":      p.judge(vm, addRecord, true, &web.Answer{Status: 401, Header: text}),
			"header over body": p.judge(vm, addRecord, true, &web.Answer{Status: 200, Header: text, Body: []byte("77")}),
			"body":             p.judge(vm, addRecord, true, &web.Answer{Status: 200, Body: []byte(itoa(exit))}),
			"after warnings":   p.judge(vm, addRecord, true, &web.Answer{Status: 200, Body: []byte(warnings + itoa(exit) + "\n")}),
		} {
			if want == nil && err != nil || want != nil && (!errors.Is(err, want) || !strings.Contains(err.Error(), "exit "+itoa(exit)+" (")) {
				t.Errorf("exit %d, %s: %v, want %v", exit, name, err, want)
			}
		}
	}
	for _, tc := range []struct {
		answer web.Answer
		code   bool
		want   error
	}{
		{web.Answer{Status: 400, Body: []byte("Error: API has been disabled"), Header: http.Header{"Hestia-Exit-Code": {"11"}}}, true, kvm.ErrAuth},
		{web.Answer{Status: 400, Body: []byte("Error: DNS_SYSTEM is not enabled"), Header: http.Header{"Hestia-Exit-Code": {"11"}}}, false, kvm.ErrRefused},
		{web.Answer{Status: 200, Body: []byte(warnings)}, true, kvm.ErrUnknown},
		{web.Answer{Status: 200, Body: []byte("-1")}, true, kvm.ErrUnknown},
		{web.Answer{Status: 200, Body: []byte("0")}, false, kvm.ErrUnknown}, // it was not asked for: some other text
		{web.Answer{Status: 204}, false, kvm.ErrUnknown},                    // without the header nothing is known
		{web.Answer{Status: 200, Body: []byte("Error: why")}, true, kvm.ErrRefused},
		{web.Answer{Status: 401}, false, kvm.ErrAuth},
		{web.Answer{Status: 403, Body: []byte("0")}, true, kvm.ErrAuth},
		{web.Answer{Status: 404, Body: []byte("0")}, true, kvm.ErrRefused},
		{web.Answer{Status: 429}, false, kvm.ErrBusy},
		{web.Answer{Status: 500, Body: []byte("0")}, true, kvm.ErrBusy},
	} {
		if err := p.judge(vm, addRecord, tc.code, &tc.answer); !errors.Is(err, tc.want) {
			t.Errorf("%d %s: %v, want %v", tc.answer.Status, tc.answer.Body, err, tc.want)
		}
	}
}

// TestCalls counts what a VM costs, at about a second each.
func TestCalls(t *testing.T) {
	for _, n := range []int{1, 64} {
		f := newFixture(t, options)
		var all []string
		for i := range n {
			all = append(all, "192.0.2."+itoa(i))
		}
		set, gone := dns.Edit{Name: vm, Type: dns.A, Add: all}, dns.Edit{Name: vm, Type: dns.A, Remove: all}
		for _, tc := range []struct {
			name  string
			edit  dns.Edit
			calls int
		}{{"set", set, 1 + n}, {"set again", set, 1}, {"remove", gone, 2 * n}, {"remove again", gone, 1}} {
			f.Forget()
			if out := f.apply(t, tc.edit); out[0].Err != nil || len(f.Calls()) != tc.calls {
				t.Errorf("%d addresses, %s: %d calls, want %d; %v", n, tc.name, len(f.Calls()), tc.calls, out[0].Err)
			}
		}
	}
}
