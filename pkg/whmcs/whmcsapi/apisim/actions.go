package apisim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

type object map[string]any

// refusal is an answer with result=error.
type refusal struct {
	status  int
	message string
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil || !strings.HasSuffix(r.URL.Path, "/includes/api.php") {
		http.NotFound(w, r)
		return
	}
	f, slow := s.next()
	if slow > 0 && s.o.Clock.Sleep(r.Context(), slow) != nil {
		return
	}
	if f != nil && !f.acts {
		f.do(s, w, r)
		return
	}
	status, reply := http.StatusOK, object{"result": "success"}
	if no := s.admit(r); no != nil {
		status, reply = no.status, object{"result": "error", "message": no.message}
	} else if no := s.act(r, reply); no != nil {
		status, reply = no.status, object{"result": "error", "message": no.message}
	}
	if f != nil {
		f.do(s, w, r)
		return
	}
	if r.PostForm.Get("responsetype") != "json" {
		_, _ = fmt.Fprintf(w, "result=%v;", reply["result"])
		return
	}
	answer(w, status, reply)
}

func answer(w http.ResponseWriter, status int, reply object) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(reply); err != nil {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}

// admit checks who calls: the address or the access key, then the credentials.
func (s *Server) admit(r *http.Request) *refusal {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	keyed := s.o.AccessKey != "" && r.PostForm.Get("accesskey") == s.o.AccessKey
	switch {
	case s.o.AllowedIPs != nil && !keyed && !slices.Contains(s.o.AllowedIPs, host):
		return &refusal{http.StatusBadRequest, "Invalid IP " + host}
	case r.PostForm.Get("identifier") == "" || r.PostForm.Get("secret") == "":
		return &refusal{http.StatusForbidden, "Invalid or missing credentials"}
	case r.PostForm.Get("identifier") != s.o.Identifier || r.PostForm.Get("secret") != s.o.Secret:
		return &refusal{http.StatusForbidden, "Authentication Failed"}
	case r.PostForm.Get("action") == "":
		return &refusal{http.StatusBadRequest, "Empty action request"}
	}
	return nil
}

// act does what was asked and adds to reply.
func (s *Server) act(r *http.Request, reply object) *refusal {
	switch p := r.PostForm; p.Get("action") {
	case "SendEmail":
		return s.sendEmail(r)
	case "SendAdminEmail":
		if p.Get("customsubject") == "" || p.Get("custommessage") == "" {
			return no("Email Template not found")
		}
		return s.deliver(r, Mail{Action: "SendAdminEmail", Subject: p.Get("customsubject"), Message: p.Get("custommessage")})
	case "OpenTicket":
		return s.openTicket(r, reply)
	case "GetSupportDepartments":
		departments := []object{}
		for i, name := range s.o.Departments {
			departments = append(departments, object{"id": strconv.Itoa(i + 1), "name": name, "awaitingreply": "0", "opentickets": "0"})
		}
		reply["totalresults"], reply["departments"] = len(departments), object{"department": departments}
		return nil
	case "LogActivity":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.activities = append(s.activities, Activity{number(p.Get("clientid")), p.Get("description")})
		return nil
	default:
		return &refusal{http.StatusForbidden, fmt.Sprintf("Invalid Permissions: API action %q is not allowed", strings.ToLower(p.Get("action")))}
	}
}

func (s *Server) sendEmail(r *http.Request) *refusal {
	p := r.PostForm
	m := Mail{Action: "SendEmail", Template: p.Get("messagename"), ServiceID: number(p.Get("id")), Subject: p.Get("customsubject"), Message: p.Get("custommessage")}
	switch {
	case m.Template == "" && p.Get("customtype") == "":
		return no("You must provide either an existing email template name or a custom message type")
	case m.Template == "" && m.Subject == "":
		return no("A subject is required for a custom message")
	case m.Template == "" && m.Message == "":
		return no("A message body is required for a custom message")
	case m.ServiceID <= 0:
		return no("A related ID is required")
	case m.Template != "" && !slices.Contains(s.o.Templates, m.Template):
		return no("Email Template not found")
	case m.Template != "" && slices.Contains(s.o.Disabled, m.Template):
		return no("Email Template is disabled")
	}
	return s.deliver(r, m)
}

// deliver records m and lets it leave its trace, even when the client has left meanwhile: PHP goes on to the end.
func (s *Server) deliver(r *http.Request, m Mail) *refusal {
	m.At = s.o.Clock.Now()
	if s.o.Trace != nil {
		if err := s.o.Trace(context.WithoutCancel(r.Context()), m); err != nil {
			return &refusal{http.StatusInternalServerError, "the trace could not be written: " + err.Error()}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	return nil
}

func (s *Server) openTicket(r *http.Request, reply object) *refusal {
	p := r.PostForm
	t := Ticket{
		Department: int(number(p.Get("deptid"))), ClientID: number(p.Get("clientid")), ServiceID: number(p.Get("serviceid")),
		Subject: p.Get("subject"), Message: p.Get("message"),
	}
	switch {
	case t.Department < 1 || t.Department > len(s.o.Departments):
		return no("Department ID not found")
	case t.Subject == "":
		return no("Subject is required")
	case t.Message == "":
		return no("Message is required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.ID = int64(len(s.tickets)) + 1
	s.tickets = append(s.tickets, t)
	reply["id"], reply["tid"], reply["c"] = strconv.FormatInt(t.ID, 10), fmt.Sprintf("%06d", t.ID), "sim"
	return nil
}

func no(message string) *refusal { return &refusal{http.StatusOK, message} }

// number is text as a number, 0 when it is none.
func number(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
