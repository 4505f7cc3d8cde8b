package apisim

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.Identifier, o.Secret, o.Templates = "id", "secret", []string{"Ready"}
	s, err := Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func post(s *Server, form url.Values) (int, string, error) {
	for key, value := range map[string]string{"identifier": "id", "secret": "secret", "responsetype": "json"} {
		if !form.Has(key) {
			form.Set(key, value)
		}
	}
	resp, err := http.PostForm(s.URL()+"includes/api.php", form)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func ready() url.Values {
	return url.Values{"action": {"SendEmail"}, "messagename": {"Ready"}, "id": {"5546"}}
}

func TestChecks(t *testing.T) {
	s := start(t, Options{Departments: []string{"Support"}, Disabled: []string{"Nothing"}})
	for _, tc := range []struct {
		form   url.Values
		status int
		text   string
	}{
		{url.Values{"action": {""}}, 400, "Empty action request"},
		{url.Values{"secret": {"x"}, "action": {"SendEmail"}}, 403, "Authentication Failed"},
		{url.Values{"identifier": {""}, "action": {"SendEmail"}}, 403, "Invalid or missing credentials"},
		{url.Values{"action": {"SendEmail"}}, 200, "You must provide either"},
		{url.Values{"action": {"SendEmail"}, "customtype": {"product"}}, 200, "A subject is required"},
		{url.Values{"action": {"SendEmail"}, "customtype": {"product"}, "customsubject": {"x"}}, 200, "A message body is required"},
		{url.Values{"action": {"SendEmail"}, "messagename": {"Ready"}}, 200, "A related ID is required"},
		{url.Values{"action": {"SendEmail"}, "messagename": {"ready"}, "id": {"1"}}, 200, "Email Template not found"},
		{url.Values{"action": {"OpenTicket"}, "deptid": {"2"}}, 200, "Department ID not found"},
		{url.Values{"action": {"OpenTicket"}, "deptid": {"1"}}, 200, "Subject is required"},
		{url.Values{"action": {"ModuleTerminate"}}, 403, "Invalid Permissions"},
		{url.Values{"action": {"LogActivity"}, "description": {"x"}, "responsetype": {"xml"}}, 200, "result=success;"},
		{ready(), 200, `"result":"success"`},
	} {
		status, body, err := post(s, tc.form)
		if err != nil || status != tc.status || !strings.Contains(body, tc.text) {
			t.Errorf("%v: %d %s %v; want %d %s", tc.form, status, body, err, tc.status, tc.text)
		}
	}
	if len(s.Mails()) != 1 || len(s.Tickets()) != 0 || len(s.Activities()) != 1 {
		t.Fatalf("%v %v %v", s.Mails(), s.Tickets(), s.Activities())
	}
}

func TestTraceComesBeforeTheAnswer(t *testing.T) {
	now := time.Date(2026, 4, 10, 3, 0, 0, 0, time.UTC)
	var traced []Mail
	fail := errors.New("no database")
	s := start(t, Options{Clock: clock.NewFake(now), Trace: func(ctx context.Context, m Mail) error {
		traced = append(traced, m)
		if len(traced) > 1 {
			return fail
		}
		return nil
	}})
	if _, _, err := post(s, ready()); err != nil {
		t.Fatal(err)
	}
	want := Mail{Action: "SendEmail", Template: "Ready", ServiceID: 5546, At: now}
	if len(traced) != 1 || traced[0] != want {
		t.Fatalf("traced %+v, want %+v", traced, want)
	}
	if status, body, err := post(s, ready()); err != nil || status != 500 || !strings.Contains(body, fail.Error()) {
		t.Fatalf("%d %s %v", status, body, err)
	}
	if len(s.Mails()) != 1 {
		t.Fatal("a mail without its trace counts as sent")
	}
}

func TestFaultsHappenInOrder(t *testing.T) {
	s := start(t, Options{})
	s.Refuse(2, "Sending Failed")
	s.LoseAnswer(1)
	s.Answer(1, 502, "bad gateway", false)
	var got []string
	for range 5 {
		status, body, err := post(s, ready())
		switch {
		case err != nil:
			got = append(got, "reset")
		case status != 200:
			got = append(got, body)
		case strings.Contains(body, "Sending Failed"):
			got = append(got, "refused")
		default:
			got = append(got, "sent")
		}
	}
	if want := "refused refused reset bad gateway sent"; strings.Join(got, " ") != want {
		t.Fatalf("%v, want %s", got, want)
	}
	if len(s.Mails()) != 2 {
		t.Fatalf("%d mails, want that of the lost answer and the last", len(s.Mails()))
	}
	s.Refuse(Always, "no")
	for range 3 {
		if _, body, err := post(s, ready()); err != nil || !strings.Contains(body, "error") {
			t.Fatalf("%s %v", body, err)
		}
	}
	s.Heal()
	if _, body, err := post(s, ready()); err != nil || !strings.Contains(body, "success") {
		t.Fatalf("after Heal: %s %v", body, err)
	}
}

func TestSlowTakesTheClocksTime(t *testing.T) {
	fake := clock.NewFake(time.Unix(0, 0))
	s := start(t, Options{Clock: fake})
	s.Slow(20 * time.Second)
	if _, _, err := post(s, ready()); err != nil {
		t.Fatal(err)
	}
	if got := fake.Now().Sub(time.Unix(0, 0)); got != 20*time.Second {
		t.Fatalf("took %v", got)
	}
}

func TestCloseEndsHangingCalls(t *testing.T) {
	s := start(t, Options{})
	s.Hang(Always, false)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, _, err := post(s, ready()); err == nil {
				t.Error("a hanging call was answered")
			}
		})
	}
	for s.Requests() < 4 {
		if err := (clock.Wall{}).Sleep(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	wg.Wait()
}
