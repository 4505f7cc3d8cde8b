package cloudflaresim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRecords(t *testing.T) {
	c := start(t, Options{})
	made := c.post(200, 0, `{"type":"A","name":"VM1.example.test.","content":"192.0.2.1","ttl":1,"proxied":false,"comment":"x"}`).Result.(map[string]any)
	if made["name"] != "vm1.example.test" || made["comment"] != "x" || made["id"] == "" || made["proxied"] != false {
		t.Errorf("%v", made)
	}
	c.post(200, 0, `{"type":"A","name":"vm2","content":"192.0.2.1"}`)
	c.post(200, 0, `{"type":"A","name":"vm1.other.test","content":"192.0.2.1"}`)
	c.post(200, 0, `{"type":"AAAA","name":"@","content":"2001:DB8:0::1","proxied":true,"ttl":300}`)
	c.post(200, 0, `{"type":"CNAME","name":"alias","content":"vm1.example.test."}`)
	for _, bad := range []struct {
		code int
		body string
	}{
		{81058, `{"type":"A","name":"vm1","content":"192.0.2.1","ttl":300}`},
		{81054, `{"type":"A","name":"alias","content":"192.0.2.1"}`},
		{81053, `{"type":"CNAME","name":"vm1","content":"vm2.example.test"}`},
		{9005, `{"type":"A","name":"vm3","content":"2001:db8::1"}`},
		{9006, `{"type":"AAAA","name":"vm3","content":"192.0.2.1"}`},
		{1004, `{"type":"A","name":"a..b","content":"192.0.2.1"}`},
		{1004, `{"type":"PTR","name":"vm3","content":"a b"}`},
		{1004, `{"type":"PTR","name":"vm3","content":"a.b","proxied":true}`},
		{1004, `{"type":"A","name":"vm3","content":"192.0.2.1","ttl":59}`},
		{1004, `{"type":"A","name":"vm3","content":"192.0.2.1","tags":["a:b"]}`},
		{1004, `{"type":"BOGUS","name":"vm3","content":"192.0.2.1"}`},
		{1004, `{"type":"TXT","name":"vm3","content":""}`},
		{9207, `{`},
	} {
		c.post(400, bad.code, "%s", bad.body)
	}
	var names []string
	for _, r := range c.Records(zoneName) {
		names = append(names, r.Name+" "+r.Content)
	}
	if got := strings.Join(names, ", "); got != "vm1.example.test 192.0.2.1, vm2.example.test 192.0.2.1, vm1.other.test.example.test 192.0.2.1, example.test 2001:db8::1, alias.example.test vm1.example.test" {
		t.Error(got)
	}
	id := made["id"].(string)
	c.wants(200, 0, "user", "PATCH", "/zones/Z/dns_records/"+id, `{"content":"192.0.2.2"}`)
	if r := c.Records(zoneName)[0]; r.Comment != "x" || r.Content != "192.0.2.2" {
		t.Errorf("%+v", r)
	}
	c.wants(200, 0, "user", "PUT", "/zones/Z/dns_records/"+id, `{"type":"A","name":"vm1","content":"192.0.2.3"}`)
	if r := c.Records(zoneName)[0]; r.Comment != "" || r.Content != "192.0.2.3" {
		t.Errorf("%+v", r)
	}
	c.wants(200, 0, "user", "GET", "/zones/Z/dns_records/"+id, "")
	c.wants(200, 0, "user", "DELETE", "/zones/Z/dns_records/"+id, "")
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		c.wants(404, 81044, "user", method, "/zones/Z/dns_records/"+id, `{"type":"A","name":"vm1","content":"192.0.2.3"}`)
	}
}

func TestBatch(t *testing.T) {
	c := start(t, Options{BatchLimit: 4})
	id, err := c.Put(zoneName, Record{Name: "vm1", Type: "A", Content: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(zoneName, Record{Name: "vm1", Type: "A", Content: "192.0.2.1"}); err == nil {
		t.Error("an identical record was put")
	}
	one := `{"type":"A","name":"vm1","content":"192.0.2.1"}`
	batch := func(status, code int, body string) {
		t.Helper()
		c.wants(status, code, "user", "POST", "/zones/Z/dns_records/batch", body)
	}
	batch(400, 81058, `{"deletes":[{"id":"`+id+`"}],"posts":[`+one+`,`+one+`]}`)
	batch(404, 81044, `{"deletes":[{"id":"none"}],"posts":[`+one+`]}`)
	batch(400, 1004, `{"posts":[`+one+`,`+one+`,`+one+`,`+one+`,`+one+`]}`)
	if r := c.Records(zoneName); len(r) != 1 || r[0].ID != id {
		t.Fatalf("%+v", r)
	}
	batch(200, 0, `{"deletes":[{"id":"`+id+`"}],"posts":[`+one+`]}`) // deletes come first
	r := c.Records(zoneName)
	if len(r) != 1 || r[0].ID == id {
		t.Fatalf("%+v", r)
	}
	batch(200, 0, `{"patches":[{"id":"`+r[0].ID+`","content":"192.0.2.2"}],"puts":[{"id":"`+r[0].ID+`","type":"A","name":"vm2","content":"192.0.2.2"}]}`)
	if got := c.Records(zoneName)[0]; got.Name != "vm2.example.test" || got.Content != "192.0.2.2" {
		t.Errorf("%+v", got)
	}
	if calls := c.Calls(); calls[2].Operations != 5 || calls[2].Status != 400 || calls[3].Operations != 2 {
		t.Errorf("%+v", calls)
	}
}

func TestPages(t *testing.T) {
	c := start(t, Options{PerPage: 3})
	for i := range 7 {
		c.post(200, 0, `{"type":"A","name":"vm","content":"192.0.2.%d"}`, i)
	}
	for i := range 24 {
		c.AddZone(fmt.Sprintf("zone%d.test", i))
	}
	c.AddZoneAs(zoneName, "pending")
	for _, want := range []struct {
		path                               string
		page, per, count, total, totalPage int
	}{
		{"/zones", 1, 20, 20, 26, 2},
		{"/zones?page=2", 2, 20, 6, 26, 2},
		{"/zones?per_page=1000", 1, 50, 26, 26, 1},
		{"/zones?name=Example.test", 1, 20, 2, 2, 1},
		{"/zones?name=example.test&status=active", 1, 20, 1, 1, 1},
		{"/zones?name=example", 1, 20, 0, 0, 0},
		{"/zones/Z/dns_records?per_page=100", 1, 3, 3, 7, 3},
		{"/zones/Z/dns_records?page=3", 3, 3, 1, 7, 3},
		{"/zones/Z/dns_records?page=4", 4, 3, 0, 7, 3},
		{"/zones/Z/dns_records?page=2&per_page=2&type=A&name=vm.example.test", 2, 2, 2, 7, 4},
		{"/zones/Z/dns_records?content=192.0.2.6", 1, 3, 1, 1, 1},
		{"/zones/Z/dns_records?type=AAAA", 1, 3, 0, 0, 0},
	} {
		a := c.wants(200, 0, "user", "GET", want.path, "")
		if got := a.Info; got.Page != want.page || got.PerPage != want.per || got.Count != want.count || got.TotalCount != want.total || got.TotalPages != want.totalPage || len(a.Result.([]any)) != want.count {
			t.Errorf("%s: %+v", want.path, got)
		}
	}
}

func TestTokens(t *testing.T) {
	c := start(t, Options{Tokens: []Token{{Text: "account", Account: true}, {Text: "reader", ReadOnly: true}, {Text: "other", Zones: []string{"other.test"}}}})
	c.wants(200, 0, "user", "GET", "/user/tokens/verify", "")
	c.wants(401, 1000, "account", "GET", "/user/tokens/verify", "")
	c.wants(403, 9109, "stranger", "GET", "/zones", "")
	c.wants(400, 6003, "", "GET", "/zones", "")
	c.wants(400, 6003, "no token", "GET", "/zones", "")
	c.wants(200, 0, "reader", "GET", "/zones/Z/dns_records", "")
	c.wants(403, 10000, "reader", "POST", "/zones/Z/dns_records", `{}`)
	c.wants(403, 9109, "other", "GET", "/zones/Z/dns_records", "")
	for _, path := range []string{"/zones/0123/dns_records", "/zones/Z", "/zones/Z/other", "/zones/Z/dns_records/a/b", "/nothing"} {
		c.wants(404, 7003, "user", "GET", path, "")
	}
	c.wants(404, 7003, "user", "DELETE", "/zones", "")
	c.wants(404, 7003, "user", "DELETE", "/zones/Z/dns_records", "")
	hidden := start(t, Options{Hidden: true, Exists: 81057, Quota: 1})
	hidden.post(200, 0, `{"type":"A","name":"vm","content":"192.0.2.1"}`)
	hidden.post(400, 81057, `{"type":"A","name":"vm","content":"192.0.2.1"}`)
	hidden.post(400, 81045, `{"type":"A","name":"vm","content":"192.0.2.2"}`)
	hidden.DropZone(zoneName)
	hidden.wants(403, 9109, "user", "GET", "/zones/Z/dns_records", "")
}

func TestLimit(t *testing.T) {
	c := start(t, Options{Limit: 3})
	c.clock.Advance(time.Hour)
	for left := 2; left >= 0; left-- {
		a := c.wants(200, 0, "user", "GET", "/zones", "")
		if got := a.header.Get("Ratelimit"); got != fmt.Sprintf(`"default";r=%d;t=%d`, left, 280+10*left) || a.header.Get("Ratelimit-Policy") != `"default";q=3;w=300` {
			t.Errorf("%s", got)
		}
		c.clock.Advance(10 * time.Second)
	}
	for range 2 {
		a := c.wants(429, 971, "user", "GET", "/zones", "")
		if got, want := a.header.Get("Retry-After"), fmt.Sprint(seconds(5*time.Minute-c.clock.Now().Sub(c.Calls()[3].At))); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		c.clock.Advance(100 * time.Second)
	}
	c.clock.Advance(100 * time.Second)
	c.wants(200, 0, "user", "GET", "/zones", "")
	c.SetLeft(1, 30*time.Second)
	c.wants(200, 0, "user", "GET", "/zones", "")
	c.clock.Advance(30 * time.Second)
	c.wants(200, 0, "user", "GET", "/zones", "")
}

func TestFaults(t *testing.T) {
	for _, http1 := range []bool{false, true} {
		c := start(t, Options{HTTP1: http1})
		c.Fail(Fault{Method: "POST", Reset: true, Acts: true, Skip: 1})
		c.Fail(Fault{Method: "POST", Reset: true})
		c.Fail(Fault{Path: "/zones", Status: 502, HTML: true, Times: 2})
		c.Fail(Fault{Path: "/zones", Status: 429, RetryAfter: 90 * time.Second})
		c.Fail(Fault{Path: "/zones", Status: 500, Code: 7, Message: "no"})
		for i, fails := range []bool{false, true, true} {
			if _, err := c.ask("user", "POST", "/zones/Z/dns_records", fmt.Sprintf(`{"type":"A","name":"vm%d","content":"192.0.2.1"}`, i)); (err != nil) != fails {
				t.Fatalf("%d: %v", i, err)
			}
		}
		if got := len(c.Records(zoneName)); got != 2 {
			t.Errorf("%d records, want that of the lost answer, too", got)
		}
		for range 2 {
			a, err := c.ask("user", "GET", "/zones", "")
			if err != nil || a.status != 502 || a.header.Get("Content-Type") != "text/html; charset=UTF-8" || (a.proto == "HTTP/2.0") == http1 {
				t.Errorf("%+v, %v", a, err)
			}
		}
		if a := c.wants(429, 971, "user", "GET", "/zones", ""); a.header.Get("Retry-After") != "90" {
			t.Errorf("%v", a.header)
		}
		c.wants(500, 7, "user", "GET", "/zones", "")
		c.Fail(Fault{Status: 500, Times: Always})
		for range 3 {
			c.wants(500, 1000, "user", "GET", "/zones", "")
		}
		c.Heal()
		var seen string
		c.Before(func(call Call) { seen = call.Method + " " + call.Path + " " + call.Query.Get("name") })
		c.wants(200, 0, "user", "GET", "/zones?name=a", "")
		if seen != "GET /zones a" {
			t.Error(seen)
		}
	}
}

func TestCloseEndsHangingCalls(t *testing.T) {
	for _, http1 := range []bool{false, true} {
		c := start(t, Options{HTTP1: http1})
		came := make(chan struct{}, 4)
		c.Before(func(Call) { came <- struct{}{} })
		c.Fail(Fault{Hang: true, Times: Always})
		var wg sync.WaitGroup
		for range cap(came) {
			wg.Go(func() {
				if _, err := c.ask("user", "GET", "/zones", ""); err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a hanging call: %v", err)
				}
			})
		}
		for range cap(came) {
			<-came
		}
		_ = c.Close()
		wg.Wait()
	}
}
