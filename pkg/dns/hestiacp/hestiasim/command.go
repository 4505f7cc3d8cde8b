package hestiasim

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// HestiaCP's exit codes (func/main.sh), as far as the stand-in gives them.
const (
	exitOK        = 0
	exitArgs      = 1
	exitInvalid   = 2
	exitNotExist  = 3
	exitExists    = 4
	exitSuspended = 5
	exitLimit     = 8
	exitPassword  = 9
	exitForbidden = 10
	exitDisabled  = 11
	exitAPIOff    = 21
	notFound      = 127 // the shell's, for a command that there is none of
)

// run is one command to its end. It gives the exit code and what was printed.
func (s *Server) run(c Call) (int, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at(Arrived, c)
	switch c.Command {
	case List:
		return s.list(c)
	case Add:
		return s.add(c)
	case Delete:
		return s.delete(c)
	}
	return notFound, ""
}

// arg is the nth argument, "" when there are fewer.
func (c *Call) arg(n int) string {
	if n > len(c.Args) {
		return ""
	}
	return c.Args[n-1]
}

func fails(code int, format string, args ...any) (int, string) {
	return code, "Error: " + fmt.Sprintf(format, args...)
}

// usage is check_args with fewer arguments than needed.
func usage(c Call, options string) (int, string) {
	return exitArgs, "Usage: " + c.Command + " " + options
}

func (s *Server) list(c Call) (int, string) {
	if len(c.Args) < 2 {
		return usage(c, "USER DOMAIN [FORMAT]")
	}
	z, code, text := s.find(c)
	if z == nil {
		return code, text
	}
	switch c.arg(3) {
	case "json":
		return exitOK, z.json()
	case "plain":
		return exitOK, z.plain()
	}
	return exitOK, "" // csv, and shell for people, are not known here
}

// find is the zone of arguments 1 and 2, else how the command ends.
func (s *Server) find(c Call) (z *zone, code int, text string) {
	user, domain := c.arg(1), c.arg(2)
	switch {
	case user != "" && !userFormat.MatchString(user):
		code, text = fails(exitInvalid, "invalid user format :: %s", user)
	case strings.ContainsAny(domain, noDomain) || strings.Contains(domain, ".."):
		code, text = fails(exitInvalid, "invalid domain format :: %s", domain)
	case !s.users[user]:
		code, text = fails(exitNotExist, "user %s doesn't exist", user)
	case s.zones[domain] == nil || s.zones[domain].user != user:
		code, text = fails(exitNotExist, "dns domain %s doesn't exist", domain)
	default:
		z = s.zones[domain]
	}
	return
}

func (s *Server) add(c Call) (int, string) {
	record, typ, value := strings.ToLower(c.arg(3)), strings.ToUpper(c.arg(4)), c.arg(5)
	r := Record{Record: record, Type: typ, Value: value, TTL: c.arg(9)}
	if slices.Contains([]string{"NS", "CNAME", "MX", "PTR", "SRV"}, typ) && !strings.HasSuffix(value, ".") {
		r.Value += "."
	}
	if typ == "MX" || typ == "SRV" {
		r.Priority = c.arg(6)
	}
	if len(c.Args) < 5 {
		return usage(c, "USER DOMAIN RECORD TYPE VALUE [PRIORITY] [ID] [RESTART] [TTL]")
	}
	switch {
	case !validRecord(record):
		return fails(exitInvalid, "invalid record format :: %s", record)
	case !slices.Contains(types, typ):
		return fails(exitInvalid, "invalid dns record type format :: %s", typ)
	case typ == "A" && !ipFormat.MatchString(value):
		return fails(exitInvalid, "invalid ip format :: %s", value)
	}
	z, code, text := s.find(c)
	switch {
	case z == nil:
		return code, text
	case z.suspended:
		return fails(exitSuspended, "dns %s is suspended", c.arg(2))
	case z.limit > 0 && len(z.rows) >= z.limit:
		return fails(exitLimit, "DNS_RECORDS limit is reached :: upgrade user package")
	}
	r.ID = z.next()
	if given, err := strconv.Atoi(c.arg(7)); err == nil {
		r.ID = given
	} else if c.arg(7) != "" {
		return fails(exitInvalid, "invalid id format :: %s", c.arg(7))
	}
	s.at(Read, c)
	switch {
	case z.has(r.ID):
		return fails(exitExists, "ID=%d already exists", r.ID)
	case typ == "PTR" && strings.Count(r.Value, ".") < 2:
		return fails(exitInvalid, "PTR record %s should be a fully qualified domain name (FQDN)", strings.TrimSuffix(r.Value, "."))
	case r.TTL != "" && !number.MatchString(r.TTL):
		return fails(exitInvalid, "invalid ttl format :: %s", r.TTL)
	}
	s.at(Checked, c)
	z.add(r)
	s.at(Changed, c)
	if priority := c.arg(6); priority != "" && !number.MatchString(priority) {
		return exitInvalid, "Error: 20" // arguments that moved up: BIND is restarted in no known way
	}
	return exitOK, ""
}

func (s *Server) delete(c Call) (int, string) {
	if len(c.Args) < 3 {
		return usage(c, "USER DOMAIN ID [RESTART]")
	}
	if id := c.arg(3); id != "" && !number.MatchString(id) {
		return fails(exitInvalid, "invalid id format :: %s", id)
	}
	z, code, text := s.find(c)
	if z == nil {
		return code, text
	}
	id, err := strconv.Atoi(c.arg(3))
	if err != nil || !z.has(id) {
		return fails(exitNotExist, "%s id %s doesn't exist", c.arg(2), c.arg(3))
	}
	typ, same := "", 0
	for _, r := range z.rows {
		if r.ID == id {
			typ = r.Type
		}
	}
	for _, r := range z.rows {
		if r.Type == typ {
			same++
		}
	}
	if (typ == "A" || typ == "NS") && same <= 1 { // read, not measured
		return fails(exitInvalid, "at least one %s record should remain active", typ)
	}
	z.remove(id)
	s.at(Changed, c)
	return exitOK, ""
}

const (
	noDomain = "!|@#$^&*()+={}:,<>?_/\\\"';%` "
	noRecord = "!|#$^&()+={}:<>?/\\\"';%` "
)

var (
	number     = regexp.MustCompile(`^[0-9]+$`)
	userFormat = regexp.MustCompile(`^[A-Za-z0-9]([-._A-Za-z0-9]{0,28}[A-Za-z0-9])?$`)
	ipFormat   = regexp.MustCompile(`^(([1-9]?[0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])(\.|$)){4}$`)
	edges      = regexp.MustCompile(`^[a-zA-Z0-9_*@](.*[a-zA-Z0-9_*@.])?$`)
	types      = []string{"A", "AAAA", "NS", "CNAME", "MX", "TXT", "SRV", "DNSKEY", "KEY", "IPSECKEY", "PTR", "SPF", "TLSA", "CAA", "DS"}
)

// validRecord is is_common_format_valid, which is not asked about an empty argument. Read, not measured.
func validRecord(record string) bool {
	switch {
	case record == "":
		return true
	case strings.ContainsAny(record, noRecord) || len(record) >= 400 || strings.Contains(record, "@") && record != "@":
		return false
	case strings.Contains(record, "..") || strings.Contains(record, "--") || strings.Contains(record, "__"):
		return false
	}
	return edges.MatchString(record)
}
