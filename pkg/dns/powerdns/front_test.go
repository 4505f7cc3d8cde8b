package powerdns_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// front stands before a server, counts requests, and answers in its place where it is told to. Requests that the server
// itself answers with HTTP 500 are not counted: others may be writing to it.
type front struct {
	URL string

	mu     sync.Mutex
	fault  func(r *http.Request) (status int) // 0 = the server's own answer
	lines  []string                           // METHOD path
	answer string
	now    int // requests in hand
	most   int
}

// newFront is a front before the server at target; "" = there is none.
func newFront(t *testing.T, target string) *front {
	t.Helper()
	f := &front{fault: func(*http.Request) int { return 0 }}
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	behind := httputil.NewSingleHostReverseProxy(u)
	behind.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode != http.StatusInternalServerError {
			f.count(r.Request)
		}
		return nil
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, text := f.begin(r)
		defer f.end()
		if status == 0 {
			behind.ServeHTTP(w, r)
			return
		}
		f.count(r)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(s.Close)
	f.URL = s.URL
	return f
}

// answers makes it answer for itself: what fault gives, with text as the body.
func (f *front) answers(text string, fault func(r *http.Request) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.answer, f.lines = fault, text, nil
}

func (f *front) begin(r *http.Request) (int, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now++
	f.most = max(f.most, f.now)
	return f.fault(r), f.answer
}

// end comes before the client has the whole answer, for answers are shorter here than what a server buffers.
func (f *front) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now--
}

func (f *front) count(r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, r.Method+" "+r.URL.RequestURI())
}

// seen are the requests since it was asked last.
func (f *front) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.lines
	f.lines = nil
	return lines
}

// atOnce is the highest number of requests that it had in hand at once.
func (f *front) atOnce() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

// methods are the methods of the requests since it was asked last.
func (f *front) methods() []string {
	var out []string
	for _, line := range f.seen() {
		method, _, _ := strings.Cut(line, " ")
		out = append(out, method)
	}
	return out
}

// script answers with each of statuses in turn, then with the last one for ever.
func script(statuses ...int) func(*http.Request) int {
	return func(*http.Request) int {
		status := statuses[0]
		if len(statuses) > 1 {
			statuses = statuses[1:]
		}
		return status
	}
}
