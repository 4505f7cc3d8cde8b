package pvesim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// apiError is an error as the API answers it.
type apiError struct {
	code   int
	msg    string
	params map[string]string
	bare   bool // no body: what pveproxy itself refuses
	plain  bool // the text as it is for a body, no JSON
	exact  bool // no newline after the message
}

// Error is the message.
func (e *apiError) Error() string { return e.msg }

// failure is a 500, which is what everything becomes that the Perl code dies of.
func failure(format string, args ...any) error {
	return &apiError{code: http.StatusInternalServerError, msg: fmt.Sprintf(format, args...)}
}

func badParams(params map[string]string) error {
	return &apiError{code: http.StatusBadRequest, msg: "Parameter verification failed.", params: params}
}

func badParam(name, text string) error { return badParams(map[string]string{name: text}) }

// denied is a 403 that names the path and the privileges, of which one would do.
func denied(path string, privileges ...string) error {
	return &apiError{code: http.StatusForbidden, msg: fmt.Sprintf("Permission check failed (%s, %s)", path, strings.Join(privileges, "|"))}
}

func deniedBare(note string) error {
	return &apiError{code: http.StatusForbidden, msg: "Permission check failed" + note}
}

// answer is what goes back to the client.
type answer struct {
	code   int
	reason string
	body   []byte
	json   bool
	close  bool // pvedaemon's answers and all errors end the connection
	daemon bool // passed through from pvedaemon, with its second Connection header
}

// answer turns a handler's result into an answer.
func (c *Cluster) answer(r *request, data any, err error) answer {
	if err != nil {
		return c.errorAnswer(err)
	}
	doc := object{"data": data}
	if r.total > 0 { // a total of 0 is left out
		doc["total"] = r.total
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return c.errorAnswer(failure("%v", err))
	}
	return answer{code: http.StatusOK, reason: "OK", body: body, json: true, close: r.ep.daemon, daemon: r.ep.daemon}
}

func (c *Cluster) errorAnswer(err error) answer {
	e := new(apiError)
	if !errors.As(err, &e) {
		e = &apiError{code: http.StatusInternalServerError, msg: err.Error()}
	}
	a := answer{code: e.code, close: true}
	a.reason, _, _ = strings.Cut(strings.TrimSpace(e.msg), "\n")
	switch {
	case e.bare:
		return a
	case e.plain:
		a.body = []byte(e.msg)
		return a
	}
	doc := object{"data": nil}
	if e.params != nil {
		doc["errors"] = e.params
	}
	if c.atLeast(8, 3) { // libpve-http-server 5.2
		doc["message"] = strings.TrimRight(e.msg, "\n")
		if !e.exact {
			doc["message"] = strings.TrimRight(e.msg, "\n") + "\n"
		}
	}
	a.body, _ = json.Marshal(doc)
	a.json = true
	return a
}

// write sends a. Where the connection is to be closed it is written by hand.
func (a answer) write(w http.ResponseWriter) {
	h := http.Header{"Cache-Control": {"max-age=0"}, "Pragma": {"no-cache"}, "Server": {"pve-api-daemon/3.0"}}
	if a.json {
		h.Set("Content-Type", "application/json;charset=UTF-8")
	}
	conn, buffered := net.Conn(nil), (*bytes.Buffer)(nil)
	if hijacker, ok := w.(http.Hijacker); ok && a.close {
		if hijacked, _, err := hijacker.Hijack(); err == nil {
			conn, buffered = hijacked, &bytes.Buffer{}
		}
	}
	if conn == nil {
		for k, v := range h {
			w.Header()[k] = v
		}
		w.Header().Set("Connection", "Keep-Alive")
		if a.close {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(a.code)
		_, _ = w.Write(a.body) // a client that has gone is no error of ours
		return
	}
	defer conn.Close()
	fmt.Fprintf(buffered, "HTTP/1.1 %d %s\r\n", a.code, a.reason)
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	_ = h.Write(buffered)
	buffered.WriteString("Connection: close\r\n")
	if a.daemon {
		buffered.WriteString("Connection: Keep-Alive\r\n")
	}
	fmt.Fprintf(buffered, "Content-Length: %d\r\n\r\n", len(a.body))
	buffered.Write(a.body)
	_ = conn.SetWriteDeadline(time.Now().Add(writeLimit))
	_, _ = conn.Write(buffered.Bytes())
}

// writeLimit is the patience with a client that does not read, in time of the machine.
const writeLimit = 30 * time.Second
