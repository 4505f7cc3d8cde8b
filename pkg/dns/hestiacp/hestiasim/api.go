package hestiasim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/hangup"
)

const (
	accessKey = "access key"
	hash      = "hash"
	password  = "password"
	bodyLimit = 1 << 20
	unread    = "Error: data received is null or invalid, check https://hestiacp.com/docs/server-administration/rest-api.html"
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/api/" && r.URL.Path != "/api/index.php" {
		http.NotFound(w, r)
		return
	}
	fields := read(r)
	if parts := strings.Split(fields["hash"], ":"); fields["access_key"] == "" && len(parts) == 2 && len(parts[0]) == 20 && len(parts[1]) == 40 {
		fields["access_key"], fields["secret_key"] = parts[0], parts[1]
	}
	c := Call{From: r.RemoteAddr, URI: r.RequestURI, Code: fields["returncode"] == "yes", Command: strings.TrimSpace(fields["cmd"])}
	for i := 1; i <= 13; i++ {
		if value, given := fields["arg"+strconv.Itoa(i)]; given { // else what follows moves up
			c.Numbers = append(c.Numbers, i)
			c.Args = append(c.Args, strings.TrimSpace(value))
		}
	}
	_, withKey := fields["access_key"]
	_, withSecret := fields["secret_key"]
	_, withUser := fields["user"]
	_, withHash := fields["hash"]
	switch {
	case withKey && withSecret:
		c.Login = accessKey
	case withHash && fields["hash"] != "":
		c.Login = hash
	case withUser || withHash:
		c.Login = password
	default:
		apiError(w, c, http.StatusMethodNotAllowed, unread)
		return
	}
	exit, text := s.admit(c, fields, address(r))
	noted := s.note(c, exit)
	if exit != exitOK {
		apiError(w, c, exit, text)
		return
	}
	f := s.fault(c.Command)
	out := ""
	if f.Acts {
		exit, out = s.run(c)
	}
	if f.Exit != exitOK {
		exit, out = f.Exit, f.Output
	}
	s.exited(noted, exit)
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.stop:
		}
		hangup.Reset(w) // a client that is leaving might still read an answer
	case f.Reset:
		hangup.Reset(w)
	case f.Status != 0:
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
	case c.Login == accessKey:
		answer(w, c, exit, strings.TrimSpace(out))
	default:
		s.answerOld(w, c, exit, out)
	}
}

// read gives the fields of a form, when it has a login, else those of a JSON object.
func read(r *http.Request) map[string]string {
	fields := map[string]string{}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		return fields
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if r.ParseForm() == nil && (r.PostForm.Has("access_key") || r.PostForm.Has("user") || r.PostForm.Has("hash")) {
			for name, values := range r.PostForm {
				fields[name] = values[len(values)-1]
			}
			return fields
		}
	}
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&object) == nil {
		for name, value := range object {
			if value != nil { // isset is false for null
				fields[name] = fmt.Sprint(value)
			}
		}
	}
	return fields
}

// admit judges address, login and command.
func (s *Server) admit(c Call, fields map[string]string, from string) (int, string) {
	switch {
	case s.o.Off:
		return exitDisabled, "API has been disabled"
	case s.o.AllowedIPs != nil && !slices.Contains(s.o.AllowedIPs, from):
		return exitForbidden, "IP is not allowed to connect with API"
	case c.Login == password && fields["user"] != s.o.Root:
		return exitForbidden, "authentication failed"
	case c.Login == password && (s.o.Password == "" || fields["password"] != s.o.Password),
		c.Login == hash && (len(s.o.Hash) < 16 || fields["hash"] != s.o.Hash):
		return exitPassword, "authentication failed"
	case c.Command == "":
		return exitInvalid, "Command not provided"
	case strings.Trim(c.Command, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "":
		return exitInvalid, c.Command + " command invalid"
	case c.Login != accessKey:
		return exitOK, ""
	}
	id, secret := strings.TrimSpace(fields["access_key"]), strings.TrimSpace(fields["secret_key"])
	i := slices.IndexFunc(s.o.Keys, func(k Key) bool { return k.ID == id })
	switch {
	case id == "" || secret == "":
		return exitPassword, "Authentication failed"
	case i < 0:
		return exitPassword, "key key " + id + " doesn't exist"
	case s.o.Keys[i].Secret != secret:
		return exitPassword, "Invalid secret key for key " + id
	}
	k := s.o.Keys[i]
	root := k.User == s.o.Root
	switch {
	case !slices.Contains([]string{List, Add, Delete, change}, c.Command):
		return exitForbidden, "Command " + c.Command + " not found"
	case k.Commands != nil && !slices.Contains(k.Commands, c.Command) || k.Commands == nil && !root:
		return exitForbidden, "Key " + id + " don't have permission to run the command " + c.Command
	case !root && s.o.AdminsOnly:
		return exitAPIOff, "API has been disabled"
	case !root && c.arg(1) != k.User:
		return exitForbidden, "Key " + id + ` - the "user" argument doesn\'t match the key\'s user`
	}
	return exitOK, ""
}

func (s *Server) note(c Call, exit int) *Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Exit = exit
	s.calls = append(s.calls, &c)
	return &c
}

func (s *Server) exited(c *Call, exit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Exit = exit
}
