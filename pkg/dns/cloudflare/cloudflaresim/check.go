package cloudflaresim

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

func missing() *refusal {
	return &refusal{status: http.StatusNotFound, code: 81044, message: "Record does not exist."}
}

func notJSON(err error) *refusal {
	return &refusal{status: http.StatusBadRequest, code: 9207, message: "Failed to parse request body: " + err.Error()}
}

func refused(code int, message string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, message: message}
}

func invalid(code int, message string) *refusal {
	return &refusal{http.StatusBadRequest, 1004, "DNS Validation Error", []refusal{{code: code, message: message}}}
}

func proxiable(typ string) bool { return typ == "A" || typ == "AAAA" || typ == "CNAME" }

// onto is r with what in gives. Addresses are spelled as Cloudflare spells them.
func (in input) onto(z *zone, r Record) Record {
	set(&r.Type, in.Type)
	set(&r.Content, in.Content)
	set(&r.TTL, in.TTL)
	set(&r.Proxied, in.Proxied)
	set(&r.Comment, in.Comment)
	set(&r.Tags, in.Tags)
	if in.Name != nil {
		r.Name = z.full(*in.Name)
	}
	if a, err := netip.ParseAddr(r.Content); err == nil {
		r.Content = a.String()
	}
	if r.Type == "PTR" || r.Type == "CNAME" {
		r.Content = canonical(r.Content)
	}
	if r.Proxied {
		r.TTL = 1
	}
	return r
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// check says why r cannot stand beside the others.
func (s *Server) check(others []Record, r Record) *refusal {
	if no := r.valid(); no != nil {
		return no
	}
	for _, o := range others {
		if o.Name != r.Name {
			continue
		}
		switch {
		case o.Type == r.Type && o.Content == r.Content && s.o.Exists == defaultExists:
			return refused(81058, "An identical record already exists.")
		case o.Type == r.Type && o.Content == r.Content:
			return refused(s.o.Exists, "The record already exists.")
		case r.Type == "CNAME" && proxiable(o.Type):
			return refused(81053, "An A, AAAA, or CNAME record with that host already exists.")
		case o.Type == "CNAME" && proxiable(r.Type):
			return refused(81054, "A CNAME record with that host already exists.")
		}
	}
	if s.o.Quota > 0 && len(others) >= s.o.Quota {
		return refused(81045, "Record quota exceeded.")
	}
	return nil
}

// valid says why r cannot be at all.
func (r Record) valid() *refusal {
	addr, err := netip.ParseAddr(r.Content)
	switch {
	case !validName(r.Name):
		return invalid(1004, "DNS name is invalid.")
	case r.Type == "A" && (err != nil || !addr.Is4()):
		return refused(9005, "Content for A record must be a valid IPv4 address.")
	case r.Type == "AAAA" && (err != nil || !addr.Is6() || addr.Is4In6()):
		return refused(9006, "Content for AAAA record must be a valid IPv6 address.")
	case (r.Type == "PTR" || r.Type == "CNAME") && !validName(canonical(r.Content)):
		return invalid(1004, "Content for "+r.Type+" record is invalid.")
	case r.Type != "A" && r.Type != "AAAA" && r.Type != "PTR" && r.Type != "CNAME" && r.Type != "TXT":
		return invalid(1004, fmt.Sprintf("DNS record type %q is invalid.", r.Type))
	case r.Content == "":
		return invalid(1004, "Content is missing.")
	case r.TTL != 1 && (r.TTL < 60 || r.TTL > 86400):
		return invalid(9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
	case r.Proxied && !proxiable(r.Type):
		return invalid(9041, "Invalid proxied mode. Record cannot be proxied")
	case len(r.Tags) > 0:
		return invalid(9300, fmt.Sprintf("DNS record has %d tags, exceeding the quota of 0.", len(r.Tags)))
	}
	return nil
}

func validName(name string) bool {
	for _, label := range strings.Split(name, ".") {
		odd := func(c rune) bool {
			return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("-_*/", c))
		}
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, odd) {
			return false
		}
	}
	return len(name) <= 253
}
