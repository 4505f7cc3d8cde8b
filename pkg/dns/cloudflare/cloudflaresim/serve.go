package cloudflaresim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

const (
	root      = "/client/v4"
	bodyLimit = 8 << 20
)

type object map[string]any

// refusal is an answer without success.
type refusal struct {
	status, code int
	message      string
	chain        []refusal
}

func (r *refusal) text() string {
	text := fmt.Sprintf("%s (%d)", r.message, r.code)
	for _, c := range r.chain {
		text += ": " + c.text()
	}
	return text
}

func (r *refusal) shown() object {
	out := object{"code": r.code, "message": r.message}
	if len(r.chain) > 0 {
		out["error_chain"] = []object{r.chain[0].shown()}
	}
	return out
}

// reply is the answer to a call: a result, with info where it is a page of a list.
type reply struct {
	result any
	info   object
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		panic(http.ErrAbortHandler) // the client has left
	}
	token, who := s.whose(r)
	call, at, before := s.note(r, body)
	if before != nil {
		before(call)
	}
	left := s.spend(r.Header.Get("Authorization"))
	left.write(w.Header())
	f, found := s.next(call)
	if found && !f.Acts {
		s.answered(at, f.do(s, w, r))
		return
	}
	no := who
	if no == nil {
		no = left.refused()
	}
	var out reply
	if no == nil {
		out, no = s.act(token, r, body)
	}
	if found {
		s.answered(at, f.do(s, w, r))
		return
	}
	status := http.StatusOK
	envelope := object{"success": true, "errors": []object{}, "messages": []object{}, "result": out.result}
	if out.info != nil {
		envelope["result_info"] = out.info
	}
	if no != nil {
		status = no.status
		envelope = object{"success": false, "errors": []object{no.shown()}, "messages": []object{}, "result": nil}
	}
	s.answered(at, status)
	write(w, status, envelope)
}

func write(w http.ResponseWriter, status int, envelope object) {
	body, err := json.Marshal(envelope)
	if err != nil {
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// note records the request, and gives the place of its record.
func (s *Server) note(r *http.Request, body []byte) (Call, int, func(Call)) {
	c := Call{Method: r.Method, Path: strings.TrimPrefix(r.URL.Path, root), Query: r.URL.Query(), At: s.o.Clock.Now()}
	if r.Method != http.MethodGet {
		c.Operations = 1
	}
	if strings.HasSuffix(c.Path, "/batch") {
		var b batch
		_ = json.Unmarshal(body, &b)
		c.Operations = b.operations()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	return c, len(s.calls) - 1, s.before
}

func (s *Server) answered(at, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[at].Status = status
}

// whose is the token that the request bears.
func (s *Server) whose(r *http.Request) (Token, *refusal) {
	text, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	odd := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-')
	}
	if !found || text == "" || strings.ContainsFunc(text, odd) {
		return Token{}, &refusal{http.StatusBadRequest, 6003, "Invalid request headers", []refusal{{code: 6111, message: "Invalid format for Authorization header"}}}
	}
	i := slices.IndexFunc(s.o.Tokens, func(t Token) bool { return t.Text == text })
	if i < 0 {
		return Token{}, &refusal{status: http.StatusForbidden, code: 9109, message: "Invalid access token"}
	}
	return s.o.Tokens[i], nil
}

// act does what the request asks for.
func (s *Server) act(token Token, r *http.Request, body []byte) (reply, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.Split(strings.TrimPrefix(r.URL.Path, root+"/"), "/")
	if len(path) == 3 && strings.Join(path, "/") == "user/tokens/verify" && r.Method == http.MethodGet {
		if token.Account {
			return reply{}, &refusal{status: http.StatusUnauthorized, code: 1000, message: "Invalid API Token"}
		}
		return reply{result: object{"id": "0123456789abcdef0123456789abcdef", "status": "active"}}, nil
	}
	if path[0] != "zones" || len(path) == 2 || len(path) > 4 || len(path) > 2 && path[2] != "dns_records" {
		return reply{}, noRoute(r)
	}
	if len(path) == 1 {
		if r.Method != http.MethodGet {
			return reply{}, noRoute(r)
		}
		return s.listZones(token, r.URL.Query()), nil
	}
	z, no := s.zone(token, path[1], r)
	if no != nil {
		return reply{}, no
	}
	if r.Method != http.MethodGet && token.ReadOnly {
		return reply{}, &refusal{status: http.StatusForbidden, code: 10000, message: "Authentication error"}
	}
	if len(path) == 3 {
		path = append(path, "")
	}
	return s.records(z, r, path[3], body)
}

func noRoute(r *http.Request) *refusal {
	return &refusal{status: http.StatusNotFound, code: 7003, message: "Could not route to " + r.URL.Path + ", perhaps your object identifier is invalid?"}
}
