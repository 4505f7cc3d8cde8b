package hestiacp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/dns/web"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// The commands in use.
const (
	listRecords  = "v-list-dns-records"
	addRecord    = "v-add-dns-record"
	deleteRecord = "v-delete-dns-record"
	arguments    = 9 // of v-add-dns-record, which has the most
)

// rows lists the zone.
func (p *Provider) rows(ctx context.Context, zone string) ([]row, error) {
	args := []string{p.o.User, zone, "json"}
	a, err := p.send(ctx, zone, listRecords, false, args...)
	if err != nil {
		return nil, err
	}
	err = p.judge(zone, listRecords, false, a)
	if errors.Is(err, errUntold) {
		// An old login: the exit code is told in place of the text, to who asks for it.
		if coded, sendErr := p.send(ctx, zone, listRecords, true, args...); sendErr == nil {
			if exit, told := exitCode(coded.Header, true, coded.Body); told && exit != exitOK {
				err = p.failed(zone, listRecords, exit, said(a.Body))
			}
		}
	}
	if err != nil {
		return nil, err
	}
	rows, err := decodeRows(a.Body)
	if err != nil {
		return nil, kvm.WithHint(p.errorf(kvm.ErrRefused, zone, listRecords, "HTTP %d, and no list of records: %s", a.Status, p.client.OneLine(err.Error())), "%s", urlHint)
	}
	return rows, nil
}

// run runs a command that changes something, once. subject is what its error is about.
func (p *Provider) run(ctx context.Context, subject, command string, args ...string) error {
	code := p.o.Key == "" // with a key the header tells it, and the body can be a reason
	a, err := p.send(ctx, subject, command, code, args...)
	if err != nil {
		return err
	}
	return p.judge(subject, command, code, a)
}

// header asks for a connection for each call: on one that the server has just closed an add would be lost, or not.
var header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Connection": {"close"}}

// send posts a command with all arguments, the empty ones too, and the login.
func (p *Provider) send(ctx context.Context, subject, command string, code bool, args ...string) (*web.Answer, error) {
	form := url.Values{"cmd": {command}, "returncode": {"no"}}
	if code {
		form.Set("returncode", "yes")
	}
	for i := range arguments {
		value := ""
		if i < len(args) {
			value = args[i]
		}
		form.Set("arg"+strconv.Itoa(i+1), value)
	}
	switch secret := p.o.Secret.Reveal(); {
	case p.o.Key != "":
		form.Set("access_key", p.o.Key)
		form.Set("secret_key", secret)
	case p.o.Admin != "":
		form.Set("user", p.o.Admin)
		form.Set("password", secret)
	default:
		form.Set("hash", secret)
	}
	a, err := p.client.Do(ctx, http.MethodPost, "/api/", header, []byte(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", subject, command, err)
	}
	return a, nil
}

// judge is the error that an answer stands for. code says whether returncode=yes was asked for.
func (p *Provider) judge(subject, command string, code bool, a *web.Answer) error {
	text := said(a.Body)
	fine := a.Status >= 200 && a.Status < 300
	exit, told := exitCode(a.Header, code && fine, a.Body)
	status := fmt.Sprintf("HTTP %d %s", a.Status, p.client.OneLine(text))
	switch {
	case a.Status >= 500 || a.Status == http.StatusTooManyRequests:
		return p.errorf(kvm.ErrBusy, subject, command, "%s", status)
	case told && exit == exitOK:
		return nil
	case told:
		return p.failed(subject, command, exit, text)
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		return kvm.WithHint(p.errorf(kvm.ErrAuth, subject, command, "%s", status), "%s", loginHint)
	case strings.HasPrefix(text, errorPrefix):
		return p.errorf(errUntold, subject, command, "%s", p.client.OneLine(text))
	case fine && command == listRecords:
		return nil // an old login's, or the header got lost on the way; it is a list, or none
	case fine:
		return p.errorf(kvm.ErrUnknown, subject, command, "the answer is no exit code: %s", status)
	}
	return kvm.WithHint(p.errorf(kvm.ErrRefused, subject, command, "%s", status), "%s", urlHint)
}

// exitCode finds the exit code of an answer: in the header, else, where it was asked for, in the body's last line.
func exitCode(header http.Header, asked bool, body []byte) (exit int, told bool) {
	text := header.Get("Hestia-Exit-Code")
	if text == "" && asked {
		text = lastLine(body)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	return int(n), err == nil
}

// said is the part of a body that tells why: the first line that says so, else the last one.
func said(body []byte) string {
	for line := range strings.Lines(string(body)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, errorPrefix) {
			return line
		}
	}
	return lastLine(body)
}

func lastLine(body []byte) string {
	text := strings.TrimSpace(string(body))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
