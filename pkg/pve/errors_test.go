package pve

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

var classNames = map[string]error{
	"auth": kvm.ErrAuth, "denied": kvm.ErrDenied, "invalid": kvm.ErrInvalid, "busy": kvm.ErrBusy, "unreachable": kvm.ErrUnreachable,
	"unknown": kvm.ErrUnknown, "nothere": kvm.ErrNotHere, "taken": kvm.ErrTaken, "changed": kvm.ErrChanged, "state": kvm.ErrState, "notfound": kvm.ErrNotFound,
	"permanent": kvm.ErrPermanent, "none": nil,
}

func TestClassify(t *testing.T) {
	f, err := os.Open("testdata/refusals.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, seen := bufio.NewScanner(f), map[string]bool{}
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		field := strings.Split(line, "|")
		if len(field) != 5 {
			t.Fatalf("%q has %d fields", line, len(field))
		}
		for i := range field {
			field[i] = strings.TrimSpace(field[i])
		}
		status, err := strconv.Atoi(field[1])
		if err != nil {
			t.Fatal(err)
		}
		want, ok := classNames[field[4]]
		if !ok {
			t.Fatalf("%q: no such class", line)
		}
		seen[field[4]] = true
		r := refusal{write: field[0] != "GET", status: status, text: field[2]}
		if key, value, ok := strings.Cut(field[3], "="); ok {
			r.params = map[string]string{key: value}
		}
		if got := classify(r); got != want {
			t.Errorf("%s: got %v, want %v", line, got, want)
		}
	}
	for name := range classNames {
		if !seen[name] {
			t.Errorf("no line of class %s was read", name)
		}
	}
}

func TestErrorIsOneLineWithItsParameters(t *testing.T) {
	e := &Error{Method: "POST", Path: "/nodes/n/qemu/1/clone", Status: 400, Message: "Parameter verification failed.",
		Params: map[string]string{"newid": "too small", "name": "no DNS name"}, kind: kvm.ErrInvalid}
	want := "POST /nodes/n/qemu/1/clone: 400 Parameter verification failed: name: no DNS name; newid: too small"
	if e.Error() != want {
		t.Errorf("got  %s\nwant %s", e, want)
	}
	if !errors.Is(e, kvm.ErrInvalid) || errors.Is(e, kvm.ErrBusy) {
		t.Error("the sentinel is not found, or another one is")
	}
	old := &Error{Method: "PUT", Path: "/x", Status: 500, Reason: "VM is locked (clone)"}
	if old.Error() != "PUT /x: 500 VM is locked (clone)" {
		t.Errorf("the reason phrase is lost: %s", old)
	}
}

func TestAlreadyThere(t *testing.T) {
	for text, want := range map[string]bool{
		"IPSet 'ipfilter-net0' already exists":     true,
		"address '192.0.2.50' already exists":      true,
		"invalid format - value is no IP address":  false,
		"property is missing and it is not option": false,
	} {
		err := error(&Error{Status: 400, Params: map[string]string{"cidr": text}})
		if alreadyThere(err) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
	if alreadyThere(&Error{Status: 500, Params: map[string]string{"name": "x already exists"}}) {
		t.Error("a 500 is no such answer")
	}
}
