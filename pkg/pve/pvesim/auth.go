package pvesim

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/pve/pattern"
)

// identity is who calls: a user, or one of the user's tokens.
type identity struct{ user, token string }

// String is the form that UPIDs have.
func (i identity) String() string {
	if i.token == "" {
		return i.user
	}
	return i.user + "!" + i.token
}

// root says whether the caller is root@pam with a ticket. Nobody else may use root-only options, not even root's token.
func (i identity) root() bool { return i == identity{user: "root@pam"} }

type user struct {
	password string
	disabled bool
	tokens   map[string]*token
	grants   map[string][]string // path to privileges
}

type token struct {
	secret  string
	privsep bool
	expire  time.Time
	grants  map[string][]string
}

// AddUser adds a user ("root@pam", "audit@pve") or changes the password. root@pam may do everything, others what is
// granted.
func (c *Cluster) AddUser(id, password string) {
	c.lock()
	defer c.mu.Unlock()
	c.user(id).password = password
}

func (c *Cluster) user(id string) *user {
	u := c.users[id]
	if u == nil {
		u = &user{tokens: map[string]*token{}, grants: map[string][]string{}}
		c.users[id] = u
	}
	return u
}

// AddToken adds an API token ("root@pam!whmcs") and its user, or changes the secret. A token with privsep has only what
// is granted to both it and its user.
func (c *Cluster) AddToken(id, secret string, privsep bool) {
	c.lock()
	defer c.mu.Unlock()
	name, tokenName, _ := strings.Cut(id, "!")
	c.user(name).tokens[tokenName] = &token{secret: secret, privsep: privsep, grants: map[string][]string{}}
}

// ExpireToken makes a token expire at a moment.
func (c *Cluster) ExpireToken(id string, at time.Time) {
	c.lock()
	defer c.mu.Unlock()
	name, tokenName, _ := strings.Cut(id, "!")
	if t := c.user(name).tokens[tokenName]; t != nil {
		t.expire = at
	}
}

// DisableUser disables a user and so the user's tokens.
func (c *Cluster) DisableUser(id string) {
	c.lock()
	defer c.mu.Unlock()
	c.user(id).disabled = true
}

// Grant gives a user ("u@pve") or a token ("u@pve!t") privileges on a path and all below. As in PVE, a grant on a deeper
// path replaces what is inherited from above.
func (c *Cluster) Grant(at, who string, privileges ...string) {
	c.lock()
	defer c.mu.Unlock()
	name, tokenName, isToken := strings.Cut(who, "!")
	grants := c.user(name).grants
	if isToken {
		t := c.user(name).tokens[tokenName]
		if t == nil {
			t = &token{privsep: true, grants: map[string][]string{}}
			c.user(name).tokens[tokenName] = t
		}
		grants = t.grants
	}
	grants[at] = append(grants[at], privileges...)
}

// allPrivileges are those of the role Administrator.
func (c *Cluster) allPrivileges() []string {
	all := strings.Fields(`Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit
		Group.Allocate Permissions.Modify Pool.Allocate Pool.Audit Realm.Allocate Realm.AllocateUser SDN.Allocate SDN.Audit
		Sys.Audit Sys.Console Sys.Incoming Sys.Modify Sys.PowerMgmt Sys.Syslog User.Modify VM.Allocate VM.Audit VM.Backup
		VM.Clone VM.Config.CDROM VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory
		VM.Config.Network VM.Config.Options VM.Console VM.Migrate VM.PowerMgmt VM.Snapshot VM.Snapshot.Rollback`)
	if c.major >= 8 {
		all = append(all, "Mapping.Audit", "Mapping.Modify", "Mapping.Use", "SDN.Use", "Sys.AccessNetwork")
	}
	if c.major >= 9 {
		return append(all, "VM.GuestAgent.Audit", "VM.GuestAgent.FileRead", "VM.GuestAgent.FileWrite",
			"VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted", "VM.Replicate")
	}
	return append(all, "VM.Monitor")
}

// granted is what the grants give on a path: the entry of the deepest path that is it or above it.
func granted(grants map[string][]string, at string) []string {
	for at = path.Clean("/" + at); ; at = path.Dir(at) {
		if privileges, ok := grants[at]; ok {
			return privileges
		}
		if at == "/" {
			return nil
		}
	}
}

// privileges are the caller's on a path.
func (c *Cluster) privileges(who identity, at string) []string {
	u := c.users[who.user]
	if u == nil {
		return nil
	}
	of := func(grants map[string][]string) []string {
		got := granted(grants, at)
		var vmid int
		if _, err := fmt.Sscanf(at, "/vms/%d", &vmid); err == nil {
			if m := c.vms[vmid]; m != nil && m.pool != "" {
				got = append(slices.Clone(got), granted(grants, "/pool/"+m.pool)...)
			}
		}
		return got
	}
	have := c.all
	if who.user != "root@pam" {
		have = of(u.grants)
	}
	if t := u.tokens[who.token]; who.token != "" && t != nil && t.privsep {
		own := of(t.grants)
		have = slices.DeleteFunc(slices.Clone(have), func(p string) bool { return !slices.Contains(own, p) })
	}
	return have
}

// may says whether the caller has one of the privileges on the path.
func (r *request) may(at string, privileges ...string) bool {
	have := r.c.privileges(r.who, at)
	return slices.ContainsFunc(privileges, func(p string) bool { return slices.Contains(have, p) })
}

// aclPath is what PVE::AccessControl takes for a path; nobody has privileges on another.
var aclPath = pattern.New(`^[a-zA-Z0-9._/-]+$`)

// needs is the check for one of the privileges on a path with {variables}.
func needs(at string, privileges ...string) func(*request) error {
	return func(r *request) error {
		p := at
		for name, value := range r.vars {
			p = strings.ReplaceAll(p, "{"+name+"}", value)
		}
		if !aclPath.MatchString(p) {
			return denied("", privileges...)
		}
		if !r.may(p, privileges...) {
			return denied(p, privileges...)
		}
		return nil
	}
}

// authenticate says who calls, or gives the reason of the 401.
func (c *Cluster) authenticate(hr *http.Request) (identity, string) {
	old := func(specific string) string {
		if c.opts.OldAuthTexts {
			return specific
		}
		return "Authentication failed!"
	}
	if header, ok := strings.CutPrefix(hr.Header.Get("Authorization"), "PVEAPIToken="); ok {
		who, text := c.tokenIdentity(header)
		if text != "" {
			return identity{}, old(text)
		}
		return who, ""
	}
	cookie, err := hr.Cookie("PVEAuthCookie")
	if err != nil {
		return identity{}, "No ticket"
	}
	text, _ := url.PathUnescape(cookie.Value)
	t := c.tickets[text]
	if t == nil || c.now.Sub(t.issued) > ticketLife {
		return identity{}, old("permission denied - invalid PVE ticket")
	}
	if c.users[t.user].disabled {
		return identity{}, old(fmt.Sprintf("user '%s' is disabled", t.user))
	}
	if hr.Method != http.MethodGet && hr.Header.Get("CSRFPreventionToken") != t.csrf {
		return identity{}, "Permission denied - invalid csrf token"
	}
	return identity{user: t.user}, ""
}

func (c *Cluster) tokenIdentity(header string) (identity, string) {
	id, secret, _ := strings.Cut(header, "=")
	name, tokenName, _ := strings.Cut(id, "!")
	if secret == "" || tokenName == "" {
		return identity{}, "no tokenid specified"
	}
	u := c.users[name]
	if u == nil {
		return identity{}, fmt.Sprintf("no such user ('%s')", name)
	}
	if u.disabled {
		return identity{}, fmt.Sprintf("user '%s' is disabled", name)
	}
	t := u.tokens[tokenName]
	if t == nil {
		return identity{}, fmt.Sprintf("no such token '%s' for user '%s'", tokenName, name)
	}
	if !t.expire.IsZero() && !c.now.Before(t.expire) {
		return identity{}, fmt.Sprintf("token '%s' access expired", tokenName)
	}
	if t.secret == "" || t.secret != secret {
		return identity{}, "invalid token value!"
	}
	return identity{name, tokenName}, ""
}

// permissions is what the caller may do, on one path or on all that a grant names.
func (r *request) permissions() (any, error) {
	if id := r.str("userid"); id != "" && id != r.who.String() && !r.may("/access", "Sys.Audit") {
		return nil, denied("/access", "Sys.Audit")
	}
	paths := []string{"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
	if p := r.str("path"); p != "" {
		paths = []string{path.Clean("/" + p)}
	} else if u := r.c.users[r.who.user]; u != nil {
		for p := range u.grants {
			paths = append(paths, p)
		}
		if t := u.tokens[r.who.token]; t != nil {
			for p := range t.grants {
				paths = append(paths, p)
			}
		}
	}
	res := object{}
	for _, p := range paths {
		have := object{}
		for _, privilege := range r.c.privileges(r.who, p) {
			have[privilege] = 1
		}
		if len(have) > 0 || r.has("path") {
			res[p] = have
		}
	}
	return res, nil
}
