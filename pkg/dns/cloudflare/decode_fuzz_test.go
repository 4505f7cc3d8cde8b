package cloudflare

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// FuzzDecode: whatever a server answers, there is an envelope or one error of one line with one class, and never the token;
// and whatever its headers say, the wait is bounded.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"success":true,"errors":[],"messages":[],"result":[{"id":"1","type":"A","name":"a.b","content":"192.0.2.1"}],"result_info":{"page":1,"per_page":20,"count":1,"total_count":1,"total_pages":1}}`,
		`{"success":false,"errors":[{"code":1004,"message":"DNS Validation Error","error_chain":[{"code":9021,"message":"Invalid TTL."}]}],"result":null}`,
		`{"success":false,"errors":[{"code":"81058","message":"An identical record already exists."}]}`,
		`{"success":true,"result":null,"result_info":null}`, `{"success":true,"result_info":{"total_pages":"2"}}`,
		`{"success":null}`, `{}`, `[]`, `null`, `<html>`, `{"success":true`, "\xff", `{"errors":{}}`, `{"success":false,"errors":[{"message":"Bearer ` + token + `\r\n"}]}`,
	} {
		for _, status := range []int{200, 400, 401, 403, 404, 429, 502} {
			f.Add(status, body, `"default";r=50;t=30`, "30")
		}
	}
	for _, header := range []string{`"default";r=0;t=30,"burst";r=1;t=2`, `"a,b;c";r=1;t=1`, `";r=1`, `;;,=`, `"default";r=-1;t=99999999999`, ``} {
		f.Add(429, `{}`, header, "Sat, 21 Nov 2026 18:57:06 GMT")
	}
	p, err := New(Options{Token: kvm.NewSecret(token), Clock: clock.NewFake(time.Unix(0, 0))})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body, ratelimit, retry string) {
		hold := p.pace.note(status, http.Header{"Ratelimit": {ratelimit}, "Retry-After": {retry}})
		if hold < 0 || hold > longestHold || status == http.StatusTooManyRequests && hold < time.Second {
			t.Fatalf("%d %q %q: %v", status, ratelimit, retry, hold)
		}
		for _, inZone := range []bool{false, true} {
			e, err := p.judge(&web.Answer{Status: status, Body: []byte(body)}, inZone, "it asks to wait")
			if err == nil {
				if status/100 != 2 || !*e.Success {
					t.Fatalf("%d %q is a success", status, body)
				}
				continue
			}
			classes := 0
			for _, s := range []error{kvm.ErrRefused, kvm.ErrUnknown, kvm.ErrBusy, kvm.ErrAuth, kvm.ErrDenied, kvm.ErrNotFound} {
				if errors.Is(err, s) {
					classes++
				}
			}
			text := err.Error() + kvm.Hint(err)
			if classes != 1 || strings.ContainsAny(text, "\r\n") || strings.Contains(text, token) {
				t.Fatalf("%d classes: %q", classes, text)
			}
		}
	})
}
