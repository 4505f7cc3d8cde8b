package powerdns_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns"
	"github.com/puqkvm/puqkvm/pkg/dns/powerdns/pdnstest"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

const (
	zone = "own.powerdns.test"
	key  = "a-key/with+odd&signs"
	// none is a zone without records as the API gives it.
	none = `{"name":"own.powerdns.test.","kind":"Native","rrsets":[]}`
)

// at is a provider for the server at url, which is none of PowerDNS's.
func at(t *testing.T, url string) *powerdns.Provider {
	return provider(t, powerdns.Options{URL: url, Key: kvm.NewSecret(key)})
}

// before is a provider for the server behind f.
func before(t *testing.T, s *pdnstest.Server, f *front) *powerdns.Provider {
	return provider(t, powerdns.Options{URL: f.URL, Key: kvm.NewSecret(s.Key)})
}

func set(name string, values ...string) dns.Edit {
	return dns.Edit{Name: name + "." + zone, Type: dns.A, Add: values}
}

func TestNewRefuses(t *testing.T) {
	good := powerdns.Options{URL: "https://ns1.example.com:8081", Key: kvm.NewSecret(key), TTL: math.MaxInt32}
	provider(t, good)
	for name, change := range map[string]func(*powerdns.Options){
		"no URL":       func(o *powerdns.Options) { o.URL = "" },
		"no scheme":    func(o *powerdns.Options) { o.URL = "ns1.example.com:8081" },
		"http":         func(o *powerdns.Options) { o.URL = "http://ns1.example.com:8081" },
		"key in URL":   func(o *powerdns.Options) { o.URL = "https://" + "u:" + key + "@ns1.example.com" },
		"no key":       func(o *powerdns.Options) { o.Key = kvm.Secret{} },
		"line in key":  func(o *powerdns.Options) { o.Key = kvm.NewSecret(key + "\n") },
		"letter é":     func(o *powerdns.Options) { o.Key = kvm.NewSecret(key + "é") },
		"negative TTL": func(o *powerdns.Options) { o.TTL = -1 },
		"long TTL":     func(o *powerdns.Options) { o.TTL = math.MaxInt32 + 1 },
		"two trusts":   func(o *powerdns.Options) { o.Trust = trust.Trust{Insecure: true, Pins: []string{"AA"}} },
	} {
		o := good
		change(&o)
		_, err := powerdns.New(o)
		if !errors.Is(err, kvm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error()+kvm.Hint(err), key) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

func TestPaths(t *testing.T) {
	f := newFront(t, "")
	for _, tc := range []struct{ url, server, zone, want string }{
		{"", "", zone, "/api/v1/servers/localhost/zones/" + zone + "."},
		{"/", "", zone, "/api/v1/servers/localhost/zones/" + zone + "."},
		{"/api/v1", "", zone, "/api/v1/servers/localhost/zones/" + zone + "."},
		{"/dns/api/v1/", "ns/2", zone, "/dns/api/v1/servers/ns%2F2/zones/" + zone + "."},
		{"/dns", "ns2", "_x.example.test", "/dns/api/v1/servers/ns2/zones/=5Fx.example.test."},
		{"", "", "128/25.2.0.192.in-addr.arpa", "/api/v1/servers/localhost/zones/128=2F25.2.0.192.in-addr.arpa."},
	} {
		f.answers(strings.Replace(none, zone, tc.zone, 1), script(http.StatusOK))
		p := provider(t, powerdns.Options{URL: f.URL + tc.url, Server: tc.server, Key: kvm.NewSecret(key)})
		if err := p.Check(t.Context(), tc.zone); err != nil {
			t.Error(err)
		}
		for _, o := range p.Apply(t.Context(), tc.zone, []dns.Edit{{Name: "7." + tc.zone, Type: dns.PTR, Add: []string{"vm." + zone}, Only: true}}) {
			if o.Err != nil || !o.Changed {
				t.Errorf("%+v", o)
			}
		}
		if diff := cmp.Diff([]string{"GET " + tc.want, "GET " + tc.want, "PATCH " + tc.want}, f.seen()); diff != "" {
			t.Errorf("%+v: %s", tc, diff)
		}
	}
}

// What others have put into an RRset stays when our value comes and when it goes: values, disabled ones, TTL and comments.
func TestForeignStay(t *testing.T) {
	s := pdnstest.New(t)
	s.Zone(t, zone, "Native")
	p := provider(t, powerdns.Options{URL: s.URL, Key: kvm.NewSecret(s.Key), TTL: 60})
	foreign := pdnstest.RRset{
		Name: "vm." + zone + ".", Type: "A", TTL: 777,
		Records:  []pdnstest.Record{{Content: "203.0.113.1"}, {Content: "203.0.113.2", Disabled: true}},
		Comments: []pdnstest.Comment{{Content: "by hand", Account: "ops"}},
	}
	s.Replace(t, zone, foreign)
	is := func(name string, want pdnstest.RRset) {
		t.Helper()
		got := s.RRset(t, zone, name, want.Type)
		slices.SortFunc(got.Records, func(a, b pdnstest.Record) int { return strings.Compare(a.Content, b.Content) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	apply := func(e dns.Edit) {
		t.Helper()
		for _, changed := range []bool{true, false} {
			if out := p.Apply(t.Context(), zone, []dns.Edit{e}); out[0].Err != nil || out[0].Changed != changed {
				t.Fatalf("%+v, want changed %t", out, changed)
			}
		}
	}
	with := foreign
	with.Records = append([]pdnstest.Record{{Content: "192.0.2.1"}, {Content: "192.0.2.2"}}, foreign.Records...)

	apply(set("vm", "192.0.2.1", "192.0.2.2"))
	is("vm."+zone, with)
	apply(dns.Edit{Name: "vm." + zone, Type: dns.A, Remove: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}})
	is("vm."+zone, foreign)

	foreign.Records = foreign.Records[1:] // a disabled one alone is somebody's, too
	s.Replace(t, zone, pdnstest.RRset{Name: foreign.Name, Type: "A", TTL: foreign.TTL, Records: foreign.Records})
	with.Records = append([]pdnstest.Record{{Content: "192.0.2.1"}}, foreign.Records...)
	apply(set("vm", "192.0.2.1"))
	is("vm."+zone, with)
	apply(dns.Edit{Name: "vm." + zone, Type: dns.A, Remove: []string{"192.0.2.1"}})
	is("vm."+zone, foreign)

	apply(set("new", "192.0.2.4"))
	is("new."+zone, pdnstest.RRset{Name: "new." + zone + ".", Type: "A", TTL: 60, Records: []pdnstest.Record{{Content: "192.0.2.4"}}})
	apply(dns.Edit{Name: "new." + zone, Type: dns.A, Remove: []string{"192.0.2.4"}})
	is("new."+zone, pdnstest.RRset{Name: "new." + zone + ".", Type: "A"})
}

// A value of ours that somebody has disabled is not served: it is enabled when it is set, and removed when it is to go.
func TestDisabledValue(t *testing.T) {
	s := pdnstest.New(t)
	s.Zone(t, zone, "Native")
	p := provider(t, powerdns.Options{URL: s.URL, Key: kvm.NewSecret(s.Key)})
	disabled := pdnstest.RRset{Name: "vm." + zone + ".", Type: "AAAA", TTL: 60, Records: []pdnstest.Record{{Content: "2001:db8::1", Disabled: true}}}
	s.Replace(t, zone, disabled)
	for _, changed := range []bool{true, false} {
		out := p.Apply(t.Context(), zone, []dns.Edit{{Name: "vm." + zone, Type: dns.AAAA, Add: []string{"2001:db8::1"}}})
		if out[0].Err != nil || out[0].Changed != changed {
			t.Fatalf("%+v", out)
		}
		if got := s.Values(t, "vm."+zone, "AAAA"); !slices.Equal(got, []string{"2001:db8::1"}) {
			t.Fatal(got)
		}
	}
	s.Replace(t, zone, disabled)
	out := p.Apply(t.Context(), zone, []dns.Edit{{Name: "vm." + zone, Type: dns.AAAA, Remove: []string{"2001:db8::1"}}})
	if set := s.RRset(t, zone, "vm."+zone, "AAAA"); out[0].Err != nil || len(set.Records) > 0 {
		t.Fatalf("%+v, %+v", out, set)
	}
}

// However many addresses a VM has, a zone costs one GET and one PATCH; one GET where all is well.
func TestRequests(t *testing.T) {
	s := pdnstest.New(t)
	const reverse4, reverse6 = "113.0.203.in-addr.arpa", "b.d.0.1.0.0.2.ip6.arpa"
	f := newFront(t, s.URL)
	p := before(t, s, f)
	var addrs4, addrs6 []string
	var ptrs4, ptrs6 []dns.Edit
	for i := range 32 {
		addrs4 = append(addrs4, fmt.Sprintf("203.0.113.%d", 10+i))
		addrs6 = append(addrs6, fmt.Sprintf("2001:db:8000::%x", 0x10+i))
		ptrs4 = append(ptrs4, dns.Edit{Name: fmt.Sprintf("%d.%s", 10+i, reverse4), Type: dns.PTR, Add: []string{"vm." + zone}, Only: true})
		ptrs6 = append(ptrs6, dns.Edit{Name: fmt.Sprintf("%x.%x.%s%s", i%16, 1+i/16, strings.Repeat("0.", 22), reverse6), Type: dns.PTR, Add: []string{"vm." + zone}, Only: true})
	}
	for name, edits := range map[string][]dns.Edit{
		zone: {{Name: "vm." + zone, Type: dns.A, Add: addrs4}, {Name: "vm." + zone, Type: dns.AAAA, Add: addrs6}}, reverse4: ptrs4, reverse6: ptrs6,
	} {
		s.Zone(t, name, "Native")
		var gone []dns.Edit
		for _, e := range edits {
			gone = append(gone, dns.Edit{Name: e.Name, Type: e.Type, Remove: e.Add})
		}
		for i, edits := range [][]dns.Edit{edits, edits, gone, gone} {
			f.seen()
			for _, o := range p.Apply(t.Context(), name, edits) {
				if o.Err != nil || o.Changed != (i%2 == 0) {
					t.Fatalf("%s: %+v", name, o)
				}
			}
			want := []string{"GET"}
			if i%2 == 0 {
				want = append(want, "PATCH")
			}
			if got := f.methods(); !slices.Equal(got, want) {
				t.Errorf("%s: %v for %d edits, want %v", name, got, len(edits), want)
			}
			if i == 0 {
				if got := s.Values(t, edits[0].Name, string(edits[0].Type)); len(got) != len(edits[0].Add) {
					t.Errorf("%s: %v", name, got)
				}
			}
		}
	}
}

// Trouble that may be over soon is waited for.
func TestTroubleIsRepeated(t *testing.T) {
	s := pdnstest.New(t)
	s.Zone(t, zone, "Native")
	f := newFront(t, s.URL)
	p := before(t, s, f)
	for i, tc := range []struct {
		statuses []int
		want     []string
	}{
		{[]int{500, 503, 0}, []string{"GET", "GET", "GET", "PATCH"}},
		{[]int{0, 500, 429, 502, 0}, []string{"GET", "PATCH", "PATCH", "PATCH", "PATCH"}},
	} {
		f.answers("", script(tc.statuses...))
		name := fmt.Sprintf("vm%d", i)
		if out := p.Apply(t.Context(), zone, []dns.Edit{set(name, "192.0.2.1")}); out[0].Err != nil || !out[0].Changed {
			t.Fatalf("%+v", out)
		}
		if got := f.methods(); !slices.Equal(got, tc.want) {
			t.Errorf("%v, want %v", got, tc.want)
		}
		if got := s.Values(t, name+"."+zone, "A"); !slices.Equal(got, []string{"192.0.2.1"}) {
			t.Error(got)
		}
	}
}

// Trouble that stays ends the batch.
func TestTroubleForGood(t *testing.T) {
	f := newFront(t, "")
	p := at(t, f.URL)
	edits := []dns.Edit{set("a", "192.0.2.1"), set("b", "192.0.2.2")}
	f.answers("Internal Server Error "+key, script(http.StatusInternalServerError))
	for _, o := range p.Apply(t.Context(), zone, edits) {
		told(t, o, kvm.ErrBusy, "HTTP 500: Internal Server Error ***")
		if !strings.Contains(kvm.Hint(o.Err), "check-zone "+zone) {
			t.Error(kvm.Hint(o.Err))
		}
	}
	if got := f.methods(); len(got) != 6 {
		t.Errorf("%v", got)
	}

	gets := func(status int) func(*http.Request) int {
		return func(r *http.Request) int {
			if r.Method == http.MethodGet {
				return http.StatusOK
			}
			return status
		}
	}
	f.answers(none, gets(http.StatusServiceUnavailable))
	for _, o := range p.Apply(t.Context(), zone, edits) {
		told(t, o, kvm.ErrBusy, "HTTP 503")
	}
	if got := f.methods(); len(got) != 1+6 {
		t.Errorf("%v", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	f.answers(none, func(r *http.Request) int {
		if r.Method == http.MethodGet {
			return http.StatusOK
		}
		cancel()
		return http.StatusInternalServerError
	})
	for _, o := range p.Apply(ctx, zone, edits) {
		if told(t, o, context.Canceled, ""); !dns.Dead(o.Err) {
			t.Error(o.Err)
		}
	}
}

// told wants an outcome with an error of one line that names zone and not the key.
func told(t *testing.T, o dns.Outcome, sentinel error, text string) {
	t.Helper()
	if !errors.Is(o.Err, sentinel) || o.Changed {
		t.Fatalf("%+v, want %v", o, sentinel)
	}
	all := o.Err.Error() + kvm.Hint(o.Err)
	if !strings.Contains(all, zone) || !strings.Contains(all, text) || strings.Contains(all, key) || strings.ContainsAny(all, "\r\n\t") {
		t.Errorf("%q, want %q in it", all, text)
	}
}

func TestAnswers(t *testing.T) {
	f := newFront(t, "")
	p := at(t, f.URL)
	for _, tc := range []struct {
		status   int
		body     string
		sentinel error
		text     string
	}{
		{401, "Unauthorized", kvm.ErrAuth, "HTTP 401: Unauthorized"},
		{403, `{"error": "Forbidden\n"}`, kvm.ErrAuth, "HTTP 403: Forbidden"},
		{404, "Not Found", kvm.ErrNotFound, "no such zone"},
		{409, "Conflict", kvm.ErrRefused, "HTTP 409: Conflict"},
		{422, `{"error": "Name is out of zone", "errors": ["one", "two"]}`, kvm.ErrRefused, "HTTP 422: Name is out of zone; one; two"},
		{400, "", kvm.ErrRefused, "HTTP 400: Bad Request"},
		{422, "\x00\t " + key + strings.Repeat("x", 4000), kvm.ErrRefused, "HTTP 422: ***xx"},
		{301, "", kvm.ErrAuth, "not followed"},
		{200, "<html>Welcome</html>", kvm.ErrRefused, "not PowerDNS's"},
		{200, `{}`, kvm.ErrRefused, "no zone with its RRsets"},
		{200, `{"name":"` + zone + `.","kind":"Native","rrsets":null}`, kvm.ErrRefused, "no zone with its RRsets"},
		{200, `{"name":"` + zone + `.","kind":"Secondary","rrsets":[]}`, kvm.ErrRefused, "of kind Secondary"},
		{200, `{"name":"` + zone + `.","kind":"Consumer","rrsets":[]}`, kvm.ErrRefused, "of kind Consumer"},
	} {
		f.answers(tc.body, script(tc.status))
		out := p.Apply(t.Context(), zone, []dns.Edit{set("a", "192.0.2.1"), set("b", "192.0.2.2")})
		if got := f.methods(); !slices.Equal(got, []string{"GET"}) {
			t.Errorf("%d: %v", tc.status, got)
		}
		for _, o := range append(out, dns.Outcome{Err: p.Check(t.Context(), zone)}) {
			if tc.status == 404 && o.Err != out[0].Err {
				tc.text = "no such server" // the stand-in knows neither
			}
			told(t, o, tc.sentinel, tc.text)
		}
	}
}

// A server that does not allow our address hangs up.
func TestHangsUp(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer s.Close()
	told(t, dns.Outcome{Err: at(t, s.URL).Check(t.Context(), zone)}, kvm.ErrUnknown, "webserver-allow-from")
}

func TestCheck(t *testing.T) {
	s := pdnstest.New(t)
	s.Zone(t, zone, "Master")
	good := powerdns.Options{URL: s.URL + "/api/v1/", Server: "localhost", Key: kvm.NewSecret(s.Key)}
	if err := provider(t, good).Check(t.Context(), zone); err != nil {
		t.Fatal(err)
	}
	other := good
	other.Server = "ns2"
	told(t, dns.Outcome{Err: provider(t, other).Check(t.Context(), zone)}, kvm.ErrNotFound, "no such server")
	told(t, dns.Outcome{Err: provider(t, good).Check(t.Context(), "missing."+zone)}, kvm.ErrNotFound, "no such zone")
}

// The server takes changes to a zone that it has from another one, and loses them with the next transfer.
func TestSecondary(t *testing.T) {
	s := pdnstest.New(t)
	s.Zone(t, zone, "Slave")
	p := provider(t, powerdns.Options{URL: s.URL, Key: kvm.NewSecret(s.Key)})
	out := p.Apply(t.Context(), zone, []dns.Edit{set("vm", "192.0.2.1")})
	for _, o := range append(out, dns.Outcome{Err: p.Check(t.Context(), zone)}) {
		told(t, o, kvm.ErrRefused, "of kind Slave")
		if dns.Dead(o.Err) {
			t.Errorf("%v ends the batch", o.Err)
		}
	}
	if set := s.RRset(t, zone, "vm."+zone, "A"); len(set.Records) > 0 {
		t.Errorf("%+v", set)
	}
}

// Of a batch that is refused each edit is tried by itself.
func TestRefusedBatch(t *testing.T) {
	s := pdnstest.New(t)
	s.Zone(t, zone, "Native")
	s.Put(t, zone, "alias."+zone, "CNAME", "www.example.net.")
	f := newFront(t, s.URL)
	out := before(t, s, f).Apply(t.Context(), zone, []dns.Edit{set("a", "192.0.2.1"), set("alias", "192.0.2.2"), set("b", "192.0.2.3"), set("c")})
	if got, want := f.methods(), []string{"GET", "PATCH", "PATCH", "PATCH", "PATCH"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	told(t, out[1], kvm.ErrRefused, "alias."+zone+" A: powerdns at "+strings.TrimPrefix(f.URL, "http://")+": HTTP 422: ")
	for i, want := range map[int]dns.Outcome{0: {Changed: true}, 2: {Changed: true}, 3: {}} {
		if out[i] != want {
			t.Errorf("%d: %+v", i, out[i])
		}
	}
	for name, want := range map[string]string{"a": "192.0.2.1", "b": "192.0.2.3"} {
		if got := s.Values(t, name+"."+zone, "A"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// After an error that is the server's or the account's the rest of a refused batch is not tried.
func TestDeadInTheBatch(t *testing.T) {
	f := newFront(t, "")
	f.answers(none, script(http.StatusOK, 422, 204, 401))
	out := at(t, f.URL).Apply(t.Context(), zone, []dns.Edit{set("a", "192.0.2.1"), set("b", "192.0.2.2"), set("c", "192.0.2.3"), set("d", "192.0.2.4")})
	if got := f.methods(); len(got) != 4 {
		t.Errorf("%v", got)
	}
	if out[0] != (dns.Outcome{Changed: true}) {
		t.Errorf("%+v", out[0])
	}
	for _, o := range out[1:] {
		told(t, o, kvm.ErrAuth, "b."+zone+" A")
	}
}

// One Apply follows the other: the server's SQLite answers writes that meet with HTTP 500, and merges that meet lose values.
func TestOneAtATime(t *testing.T) {
	s := pdnstest.New(t)
	s.Zone(t, zone, "Native")
	f := newFront(t, s.URL)
	provider := before(t, s, f)
	var wg sync.WaitGroup
	var want []string
	for i := range 20 {
		value := fmt.Sprintf("192.0.2.%d", 100+i)
		want = append(want, value)
		wg.Go(func() {
			for _, o := range provider.Apply(t.Context(), zone, []dns.Edit{set("shared", value)}) {
				if o.Err != nil || !o.Changed {
					t.Errorf("%+v", o)
				}
			}
		})
	}
	wg.Wait()
	got := s.Values(t, "shared."+zone, "A")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if most := f.atOnce(); most != 1 {
		t.Errorf("%d requests at once", most)
	}
}

// Whoever waits for the turn does not wait longer than told.
func TestTurnIsNotWaitedForLonger(t *testing.T) {
	inHand, done := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inHand)
		<-done
		_, _ = w.Write([]byte(none))
	}))
	defer s.Close()
	p := at(t, s.URL)
	var wg sync.WaitGroup
	wg.Go(func() {
		gone := dns.Edit{Name: "vm." + zone, Type: dns.A, Remove: []string{"192.0.2.1"}}
		if out := p.Apply(t.Context(), zone, []dns.Edit{gone}); out[0] != (dns.Outcome{}) {
			t.Errorf("%+v", out)
		}
	})
	<-inHand
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("not its turn"))
	defer cancel()
	out := p.Apply(ctx, zone, []dns.Edit{set("vm", "192.0.2.1")})
	told(t, out[0], context.DeadlineExceeded, "not its turn")
	told(t, out[0], kvm.ErrUnreachable, "")
	close(done)
	wg.Wait()
}
