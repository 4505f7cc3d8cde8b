package hestiasim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ids are those of the rows of the name.
func ids(s *Server, record string) []int {
	var out []int
	for _, r := range s.Records(zoneA) {
		if r.Record == record {
			out = append(out, r.ID)
		}
	}
	return out
}

func TestList(t *testing.T) {
	s := start(t, nil)
	s.Put(zoneA, Record{ID: 9, Record: "t", Type: "TXT", Value: `"a` + "\t" + `b"`, TTL: "300", Suspended: true})
	got := ask(s, "key", "no", List, "alice", zoneA, "json")
	var rows map[string]map[string]string
	if err := json.Unmarshal([]byte(got.body), &rows); err != nil {
		t.Fatalf("%v: %s", err, got.body)
	}
	want := map[string]string{"RECORD": "t", "TYPE": "TXT", "PRIORITY": "", "VALUE": "\"a\tb\"", "ID": "9", "SUSPENDED": "yes", "TIME": "12:00:00", "DATE": "2026-08-22", "TTL": "300"}
	if len(rows) != 4 || fmt.Sprint(rows["9"]) != fmt.Sprint(want) || got.kind != "application/json; charset=utf-8" {
		t.Errorf("%+v %v", got, rows)
	}
	got = ask(s, "key", "no", List, "alice", zoneA, "plain")
	if lines := strings.Split(got.body, "\n"); len(lines) != 4 || lines[2] != "3\twww\tA\t\t192.0.2.1\tno\t12:00:00\t2026-08-22\t14400" {
		t.Errorf("%q", got.body)
	}
	s.Put(zoneA, Record{ID: 9, Record: "t", Type: "TXT", Value: `\;`})
	if got := ask(s, "hash", "no", List, "alice", zoneA, "json"); strings.Count(got.body, `"9": {`) != 2 || json.Valid([]byte(got.body)) || got.kind != "text/html; charset=UTF-8" {
		t.Errorf("%+v: want one key twice, and an escape that JSON has none of", got)
	}
}

func TestAddAndDelete(t *testing.T) {
	s := start(t, nil)
	for range 2 { // no set
		if got := ask(s, "hash", "yes", Add, "alice", zoneA, "VM1", "a", "192.0.2.5", "", "", "", "300"); got.body != "0" {
			t.Fatalf("%+v", got)
		}
	}
	if got := ids(s, "vm1"); !slices.Equal(got, []int{4, 5}) {
		t.Errorf("%v", got)
	}
	if got := ask(s, "hash", "yes", Add, "alice", zoneA, "1", "PTR", "vm1.example.test"); got.body != "0" || s.Records(zoneA)[5].Value != "vm1.example.test." {
		t.Errorf("%+v %+v", got, s.Records(zoneA))
	}
	ask(s, "hash", "yes", Delete, "alice", zoneA, "6")
	ask(s, "hash", "yes", Add, "alice", zoneA, "next", "A", "192.0.2.6")
	if got := ids(s, "next"); !slices.Equal(got, []int{6}) {
		t.Errorf("%v: the id of the deleted row is used again", got)
	}
	s.Put(zoneA, Record{ID: 5, Record: "foreign", Type: "TXT", Value: "x"})
	ask(s, "hash", "yes", Delete, "alice", zoneA, "5")
	if len(ids(s, "foreign")) != 0 || !slices.Equal(ids(s, "vm1"), []int{4}) {
		t.Error("a delete takes every row with the id")
	}
	for _, last := range []string{"4", "6", "2"} {
		ask(s, "hash", "yes", Delete, "alice", zoneA, last)
	}
	for _, id := range []string{"3", "1"} {
		if got := ask(s, "hash", "yes", Delete, "alice", zoneA, id); got.body != "2" {
			t.Errorf("id %s: %+v: the last A and NS stay", id, got)
		}
	}
}

// TestArgumentsMoveUp is the client that leaves out what it does not want to say.
func TestArgumentsMoveUp(t *testing.T) {
	s := start(t, nil)
	got := ask(s, "key", "no", Add, "alice", zoneA, "vm1", "A", "192.0.2.5", "-", "-", "no")
	if got.exit != "2" || !slices.Equal(ids(s, "vm1"), []int{4}) {
		t.Errorf("%+v %v: want exit 2 and the record", got, ids(s, "vm1"))
	}
	if c := s.Calls()[0]; !slices.Equal(c.Numbers, []int{1, 2, 3, 4, 5, 8}) || c.Args[5] != "no" || c.Exit != 2 || c.Login != accessKey {
		t.Errorf("%+v", c)
	}
}

func TestLimits(t *testing.T) {
	s := start(t, nil)
	s.Limit(zoneA, 3)
	if got := ask(s, "key", "no", Add, "alice", zoneA, "vm1", "A", "192.0.2.5"); got.exit != "8" || got.status != 400 {
		t.Errorf("%+v", got)
	}
	s.Suspend(zoneA, true)
	if got := ask(s, "key", "no", Add, "alice", zoneA, "vm1", "A", "192.0.2.5"); got.exit != "5" || got.status != 401 {
		t.Errorf("%+v", got)
	}
	s.Remove(zoneA, 3)
	if len(s.Records(zoneA)) != 2 {
		t.Error("Remove")
	}
}

// TestSideBySide is eight adds at once: those that looked before any wrote share an id, and of those that looked before and
// compare afterwards each is refused.
func TestSideBySide(t *testing.T) {
	s := start(t, nil)
	const late = 2
	var wg sync.WaitGroup
	var all, written sync.WaitGroup
	all.Add(8)
	written.Add(8 - late)
	s.On(Read, func(c Call) {
		all.Done()
		all.Wait()
		if c.Args[2] < "vm2" { // vm0 and vm1
			written.Wait()
		}
	})
	var checked sync.WaitGroup
	checked.Add(8 - late)
	s.On(Checked, func(Call) { checked.Done(); checked.Wait() })
	s.On(Changed, func(Call) { written.Done() })
	statuses := make([]int, 8)
	for i := range 8 {
		wg.Go(func() {
			statuses[i] = ask(s, "key", "no", Add, "alice", zoneA, fmt.Sprint("vm", i), "A", "192.0.2.5").status
		})
	}
	wg.Wait()
	if !slices.Equal(statuses, []int{400, 400, 204, 204, 204, 204, 204, 204}) {
		t.Errorf("%v", statuses)
	}
	for i := 2; i < 8; i++ {
		if got := ids(s, fmt.Sprint("vm", i)); !slices.Equal(got, []int{4}) {
			t.Errorf("vm%d has %v, want the one id of all", i, got)
		}
	}
	for _, p := range []Point{Read, Checked, Changed} {
		s.On(p, nil)
	}
	if got := ask(s, "key", "no", Add, "alice", zoneA, "vm9", "A", "192.0.2.5"); got.status != 204 || !slices.Equal(ids(s, "vm9"), []int{5}) {
		t.Errorf("%+v", got)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, func(o *Options) {
		o.Warnings = "<br />\n<b>Warning</b>: x on line <b>62</b><br />\n"
		o.Work = time.Microsecond
	})
	s.Fail(Fault{Command: Add, Skip: 1, Acts: true, Exit: 20})
	s.Fail(Fault{Command: Delete, Exit: 14, Output: "Error: load"})
	s.Fail(Fault{Command: Delete, Status: 500, Body: "oops"})
	s.Fail(Fault{Command: Delete, Acts: true, Reset: true})
	add := func(name string) reply { return ask(s, "password", "yes", Add, "alice", zoneA, name, "A", "192.0.2.5") }
	if got := add("vm1"); got.body != s.o.Warnings+"0" {
		t.Errorf("%+v", got)
	}
	if got := add("vm2"); got.body != s.o.Warnings+"20" || len(ids(s, "vm2")) != 1 {
		t.Errorf("%+v", got)
	}
	for _, want := range []reply{{status: 400, exit: "14", body: "Error: load"}, {status: 500, body: "oops"}} {
		if got := ask(s, "key", "no", Delete, "alice", zoneA, "4"); got.status != want.status || got.exit != want.exit || got.body != want.body || len(ids(s, "vm1")) != 1 {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if got := ask(s, "key", "no", Delete, "alice", zoneA, "4"); got.received == nil || len(ids(s, "vm1")) != 0 {
		t.Errorf("%+v: want a reset, and the row gone", got)
	}
	s.Fail(Fault{Times: Always, Exit: 15})
	for range 3 {
		if got := add("vm3"); got.body != s.o.Warnings+"15" {
			t.Errorf("%+v", got)
		}
	}
	s.Heal()
	s.Forget()
	if got := add("vm3"); got.body != s.o.Warnings+"0" || len(s.Calls()) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestCloseEndsHangingCalls(t *testing.T) {
	s := start(t, nil)
	s.Fail(Fault{Times: Always, Acts: true, Hang: true})
	var arrived, wg sync.WaitGroup
	arrived.Add(4)
	s.On(Changed, func(Call) { arrived.Done() })
	for range 4 {
		wg.Go(func() {
			if got := ask(s, "key", "no", Add, "alice", zoneA, "vm1", "A", "192.0.2.5"); got.received == nil {
				t.Errorf("a hanging call was answered: %+v", got)
			}
		})
	}
	arrived.Wait()
	_ = s.Close()
	wg.Wait()
}
