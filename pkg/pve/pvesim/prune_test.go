package pvesim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
)

// TestRetention marks backups of three weeks, one each day at noon and one an hour later on the last day.
func TestRetention(t *testing.T) {
	last := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) // a Saturday
	backups := func() []*volume {
		list := []*volume{{ctime: last.Add(time.Hour).Unix()}}
		for day := range 21 {
			list = append(list, &volume{ctime: last.AddDate(0, 0, -day).Unix()})
		}
		return list
	}
	for keep, want := range map[string]string{
		"keep-all=1":                 "kkkkkkkkkkkkkkkkkkkkkk",
		"keep-last=0":                "kkkkkkkkkkkkkkkkkkkkkk",
		"keep-last=3":                "kkk...................",
		"keep-daily=2":               "k.k...................",
		"keep-last=1,keep-daily=2":   "k.kk..................",
		"keep-weekly=2":              "k......k..............",
		"keep-hourly=2":              "kk....................",
		"keep-monthly=2,keep-last=1": "k.....................",
		"keep-yearly=1":              "k.....................",
	} {
		list, got := backups(), ""
		mark := marks(list, keep)
		for _, v := range list {
			got += map[string]string{"keep": "k", "remove": "."}[mark[v]]
		}
		if got != want {
			t.Errorf("%s\n\tkeeps %s\n\t want %s", keep, got, want)
		}
	}
	list := backups()
	list[1].protected = true
	if mark := marks(list, "keep-last=2"); mark[list[1]] != "protected" || mark[list[2]] != "keep" || mark[list[3]] != "remove" {
		t.Error("a protected backup is not left out of the count")
	}
}

// TestLeavingAQueue: those who could share a lock need not wait for the end of one that has given up.
func TestLeavingAQueue(t *testing.T) {
	clk := clock.NewFake(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC))
	c, err := New(Options{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	c.lock()
	defer func() { c.mu.Unlock() }()
	var got []string
	gave := error(nil)
	holder, alone, other := &op{c: c}, &op{c: c}, &op{c: c}
	holder.acquire("x", true, time.Second, func() { got = append(got, "holder") })
	alone.lock(claim{key: "x", limit: time.Second, late: func(err error) { gave = err }, lateText: "too late", then: func() { got = append(got, "alone") }})
	other.acquire("x", true, time.Minute, func() { got = append(got, "other") })
	c.mu.Unlock()
	clk.Advance(time.Second)
	c.lock()
	if text := strings.Join(got, " "); text != "holder other" {
		t.Errorf("the lock went to %s", text)
	}
	if gave == nil || gave.Error() != "too late" || alone.done {
		t.Errorf("gave up with %v, ended %v", gave, alone.done)
	}
	other.fail(errors.New("over"))
	holder.end(nil)
	if len(c.locks) != 0 {
		t.Errorf("%d locks are left", len(c.locks))
	}
}
