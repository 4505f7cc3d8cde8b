package pvesim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

type ticket struct {
	user, csrf string
	issued     time.Time
}

const ticketLife = 2 * time.Hour

// createTicket logs in with the password, or with a ticket that is still good.
func (r *request) createTicket() (any, error) {
	c := r.c
	name := r.str("username")
	if realm := r.str("realm"); realm != "" && !strings.Contains(name, "@") {
		name += "@" + realm
	}
	u, password := c.users[name], r.str("password")
	old := c.tickets[password]
	byTicket := old != nil && old.user == name && c.now.Sub(old.issued) <= ticketLife
	if u == nil || u.disabled || !byTicket && (u.password == "" || u.password != password) {
		c.mu.Unlock()
		gone := c.clock.Sleep(r.ctx, c.model.Denied)
		c.lock()
		if gone != nil {
			return nil, errGone
		}
		return nil, &apiError{code: http.StatusUnauthorized, msg: "authentication failure"}
	}
	for text, t := range c.tickets {
		if c.now.Sub(t.issued) > ticketLife {
			delete(c.tickets, text)
		}
	}
	sum := func(kind string) string {
		h := sha256.Sum256([]byte(kind + name + c.uuid()))
		return hex.EncodeToString(h[:])
	}
	stamp := fmt.Sprintf("%08X", c.now.Unix())
	t := &ticket{user: name, csrf: stamp + ":" + sum("csrf"), issued: c.now}
	text := fmt.Sprintf("PVE:%s:%s::%s", name, stamp, sum("ticket"))
	c.tickets[text] = t
	r.who = identity{user: name}
	return object{"username": name, "ticket": text, "CSRFPreventionToken": t.csrf, "cap": r.capabilities()}, nil
}

// capabilities are the rights that the web interface asks for.
func (r *request) capabilities() object {
	at := map[string]string{"vms": "/vms", "storage": "/storage", "access": "/access", "nodes": "/nodes", "dc": "/",
		"sdn": "/sdn", "mapping": "/mapping"}
	prefix := map[string][]string{"vms": {"VM."}, "storage": {"Datastore."}, "access": {"User.", "Group."},
		"nodes": {"Sys."}, "dc": {"Sys.Audit", "Sys.Modify", "SDN."}, "sdn": {"SDN."}, "mapping": {"Mapping."}}
	res := object{}
	for kind, p := range at {
		have := object{}
		for _, privilege := range r.c.privileges(r.who, p) {
			if privilege == "Permissions.Modify" && kind != "dc" || slices.ContainsFunc(prefix[kind], func(s string) bool { return strings.HasPrefix(privilege, s) }) {
				have[privilege] = 1
			}
		}
		res[kind] = have
	}
	return res
}

// nothing answers null.
func (r *request) nothing() (any, error) { return nil, nil }
