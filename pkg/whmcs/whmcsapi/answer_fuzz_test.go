package whmcsapi

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// FuzzJudge: whatever a server answers, there is a result or one error of one line with one class, and never the secret.
func FuzzJudge(f *testing.F) {
	for _, body := range []string{`{"result":"success"}`, `{"result":"error","message":"Email Template not found"}`, `[]`, `null`, `{"result":1}`, `<html>`, `{"result":"success"`, "\xff", `{"result":"error","message":{"a":[1]}}`} {
		f.Add(200, body)
		f.Add(403, body)
		f.Add(503, body)
	}
	const secret = "a-secret-of-the-api"
	c, err := New(Options{URL: "http://127.0.0.1:1/", Identifier: "id", Secret: kvm.NewSecret(secret)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		result, err := c.judge("SendEmail", &http.Response{StatusCode: status, Header: http.Header{}}, []byte(body))
		if err == nil {
			if result == nil || result.Text("result") != "success" {
				t.Fatalf("%d %q is a success: %v", status, body, result)
			}
			return
		}
		classes := 0
		for _, s := range []error{kvm.ErrRefused, kvm.ErrUnreachable, kvm.ErrUnknown, kvm.ErrInvalid} {
			if errors.Is(err, s) {
				classes++
			}
		}
		if classes != 1 || strings.ContainsAny(err.Error(), "\r\n") || strings.Contains(err.Error(), secret) {
			t.Fatalf("%d classes: %q", classes, err)
		}
	})
}
