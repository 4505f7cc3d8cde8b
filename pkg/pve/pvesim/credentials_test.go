package pvesim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// credentials are the headers that x was sent with. What is needed for its 401, or for there being none, is made so: the
// recordings do not tell it elsewhere.
func (w *world) credentials(x *exchange) http.Header {
	h := http.Header{}
	kind, rest, _ := strings.Cut(x.Auth, " ")
	switch kind {
	case "":
		h.Set("Authorization", "PVEAPIToken="+rootToken+"=s")
	case "header":
		name, value, _ := strings.Cut(rest, ": ")
		h.Set(name, value)
	case "token":
		id, _, _ := strings.Cut(rest, "=")
		h.Set("Authorization", "PVEAPIToken="+id+"="+w.token(x, id))
	case "cookie":
		w.login()
		cookie, csrf := *w.cookie, w.csrf
		if x.status() == http.StatusUnauthorized && !strings.Contains(x.reason(), "csrf") {
			cookie.Value = "garbage"
		}
		if x.status() == http.StatusUnauthorized {
			csrf = "wrong"
		}
		h.Set("Cookie", cookie.Name+"="+cookie.Value)
		if strings.Contains(rest, "CSRFPreventionToken") {
			h.Set("CSRFPreventionToken", csrf)
		}
	}
	w.oldTexts(x)
	if path, _ := x.path(); path == "/access/ticket" && x.status() == http.StatusOK && x.method() == http.MethodPost {
		w.account(x)
	}
	return h
}

// token makes the token such as the answer says that it was, and gives the secret that was sent.
func (w *world) token(x *exchange, id string) string {
	user, name, _ := strings.Cut(id, "!")
	reason := x.reason()
	w.c.mu.Lock()
	w.c.user(user).disabled = false
	w.c.mu.Unlock()
	if x.status() != http.StatusUnauthorized {
		w.c.mu.Lock()
		u := w.c.user(user)
		if u.tokens[name] == nil || u.tokens[name].secret != "s" {
			u.tokens[name] = &token{secret: "s", grants: map[string][]string{}}
		}
		u.tokens[name].expire = time.Time{}
		w.c.mu.Unlock()
		return "s"
	}
	switch {
	case strings.Contains(reason, "is disabled"):
		w.c.AddToken(id, "s", false)
		w.c.DisableUser(user)
	case strings.Contains(reason, "expired"):
		w.c.AddToken(id, "s", false)
		w.c.ExpireToken(id, w.clk.Now().Add(-time.Hour))
	case strings.Contains(reason, "invalid token value"):
		w.c.AddToken(id, "other", false)
	case strings.Contains(reason, "no such token"):
		w.c.mu.Lock()
		delete(w.c.user(user).tokens, name)
		w.c.mu.Unlock()
	case strings.Contains(reason, "no such user"):
	default:
		return "wrong"
	}
	return "s"
}

// specific are the reasons that only versions before 8.4.17 and 9.1.5 have.
var specific = regexp.MustCompile(`^(invalid token value!|no such (token|user)|user '|token '|no tokenid|permission denied - invalid PVE ticket)`)

func (w *world) oldTexts(x *exchange) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.c.opts.OldAuthTexts = x.status() == http.StatusUnauthorized && specific.MatchString(x.reason())
}

// account makes the user that logged in.
func (w *world) account(x *exchange) {
	form, _ := url.ParseQuery(x.Form)
	name := form.Get("username")
	if realm := form.Get("realm"); realm != "" {
		name += "@" + realm
	}
	if password := form.Get("password"); !strings.HasPrefix(password, "PVE:") {
		w.c.AddUser(name, password)
	}
}

// login gets a ticket for root@pam.
func (w *world) login() {
	if w.cookie != nil {
		return
	}
	res, err := http.PostForm(w.server.URL+apiRoot+"/access/ticket", url.Values{"username": {"root@pam"}, "password": {"pvetest"}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var doc struct {
		Data struct{ Ticket, CSRFPreventionToken string }
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || doc.Data.Ticket == "" {
		w.t.Fatalf("no login: %v", err)
	}
	w.cookie = &http.Cookie{Name: "PVEAuthCookie", Value: url.QueryEscape(doc.Data.Ticket)}
	w.csrf = doc.Data.CSRFPreventionToken
}

var missingRight = regexp.MustCompile(`^Permission check failed \((/[^,]*), (.+)\)$`)

// grant gives the caller what a refusal says it lacks: an answer other than that refusal proves that it had it.
func (w *world) grant(x *exchange, refusal string) bool {
	m := missingRight.FindStringSubmatch(refusal)
	id, isToken := strings.CutPrefix(x.Auth, "token ")
	if m == nil || !isToken {
		return false
	}
	user, _, _ := strings.Cut(id, "!")
	w.c.Grant(m[1], user, strings.Split(m[2], "|")...)
	return true
}

// deny takes all privileges from a token: it has a privilege of its own for nothing.
func (w *world) deny(x *exchange) {
	id, isToken := strings.CutPrefix(x.Auth, "token ")
	id, _, _ = strings.Cut(id, "=")
	user, name, _ := strings.Cut(id, "!")
	w.c.lock()
	defer w.c.mu.Unlock()
	if u := w.c.users[user]; isToken && u != nil && u.tokens[name] != nil {
		u.tokens[name].privsep = true
	}
}
