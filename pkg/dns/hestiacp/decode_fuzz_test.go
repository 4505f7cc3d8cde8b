package hestiacp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

func itoa(n int) string { return strconv.Itoa(n) }

// FuzzDecode: whatever a server answers, a list is read whole or not at all, and an answer is success or one error of one
// line with one class, never with the secret.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"3":{"RECORD":"www","TYPE":"A","VALUE":"192.0.2.1","ID":"3"},"3":{"RECORD":"m","TYPE":"TXT","VALUE":"x","ID":"3"}}`, "{\n}", "0", "20", "Error: why", warnings + "0",
		warnings + "{\n}", `{"3":{"TYPE":"TXT","VALUE":"\;\u00","ID":"3"}}`, "OK", "", "\xff", "{\"3\":\"\\", secret,
	} {
		f.Add(200, "", body)
		f.Add(401, "10", body)
		f.Add(422, "x", body)
	}
	p := provider(f, Options{URL: "https://127.0.0.1:8083", User: owner, Key: keyID, Secret: kvm.NewSecret(secret)})
	f.Fuzz(func(t *testing.T, status int, exit, body string) {
		rows, err := decodeRows([]byte(body))
		if err == nil && json.Valid([]byte(body)) {
			var byID map[string]json.RawMessage
			if json.Unmarshal([]byte(body), &byID) == nil && len(rows) < len(byID) {
				t.Fatalf("%d rows of %d ids", len(rows), len(byID))
			}
		}
		for _, r := range rows {
			if err != nil || r.typ == "" || r.id == "" || strings.Trim(r.id, "0123456789") != "" {
				t.Fatalf("%+v, %v", r, err)
			}
		}
		for _, code := range []bool{true, false} {
			for _, command := range []string{listRecords, addRecord} {
				err := p.judge(vm, command, code, &web.Answer{Status: status, Header: http.Header{"Hestia-Exit-Code": {exit}}, Body: []byte(body)})
				if n, told := exitCode(http.Header{"Hestia-Exit-Code": {exit}}, false, nil); status < 500 && told && (n == 0) != (err == nil) && status != http.StatusTooManyRequests {
					t.Fatalf("exit %q: %v", exit, err)
				}
				if err == nil {
					continue
				}
				classes := 0
				for _, s := range []error{kvm.ErrRefused, kvm.ErrUnreachable, kvm.ErrUnknown, kvm.ErrBusy, kvm.ErrAuth, kvm.ErrNotFound} {
					if errors.Is(err, s) {
						classes++
					}
				}
				if classes != 1 || strings.ContainsAny(err.Error(), "\r\n") || strings.Contains(err.Error(), secret) {
					t.Fatalf("%d classes: %q", classes, err)
				}
			}
		}
	})
}
