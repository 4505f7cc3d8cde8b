package mail

import (
	"html"
	"strings"
	"unicode"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Traced says whether the evidence shows that the mail left WHMCS.
//
// Among the logged mails with the template's subject, one that holds the service's domain or dedicated address is this
// entry's, unless other entries of the service account for it. Where the template shows neither of the two, the mails of
// no known service are counted, and those beyond what the client's other entries account for are this one's.
//
// at is the id of tblemails at or below which the entry's own mail is; 0 = it was not traced.
func Traced(ev kvm.MailEvidence) (at int64, traced bool) {
	named := namesService(ev.Templates)
	var own, nameless []int64
	for _, m := range ev.Logged {
		literal, fits := subjectFits(ev.Templates, m.Subject)
		message := html.UnescapeString(m.Message)
		switch {
		case !fits:
		case holds(message, ev.Domain) || holds(message, ev.Dedicated):
			own = append(own, m.ID)
		case literal:
			nameless = append(nameless, m.ID)
		}
	}
	switch {
	case len(own) > ev.OfService:
		return own[ev.OfService], true
	case !named && len(own) == 0 && len(nameless) > ev.OfClient:
		return nameless[ev.OfClient], true
	}
	return 0, false
}

// namesService says whether every language of the template shows the domain or the dedicated address, so that each of its
// mails can be told from those of other services.
func namesService(templates []kvm.MailText) bool {
	for _, t := range templates {
		if !strings.Contains(t.Message, "$service_domain") && !strings.Contains(t.Message, "$service_dedicated_ip") {
			return false
		}
	}
	return len(templates) > 0
}

// subjectFits says whether a template makes subject, judged by what stands before its first and after its last variable.
// literal is false when nothing stands there: such a template makes any subject.
func subjectFits(templates []kvm.MailText, subject string) (literal, fits bool) {
	subject = normal(subject)
	for _, t := range templates {
		text := normal(t.Subject)
		first, last := strings.IndexByte(text, '{'), strings.LastIndexByte(text, '}')
		if first < 0 || last < first {
			if text == subject {
				return true, true
			}
			continue
		}
		before, after := strings.TrimSpace(text[:first]), strings.TrimSpace(text[last+1:])
		if len(subject) < len(before)+len(after) || !strings.HasPrefix(subject, before) || !strings.HasSuffix(subject, after) {
			continue
		}
		fits = true
		if before+after != "" {
			return true, true
		}
	}
	return false, fits
}

// normal is text without entities, doubled blanks and capitals, in which a table and a rendered mail may differ.
func normal(text string) string {
	return strings.ToLower(strings.Join(strings.Fields(html.UnescapeString(text)), " "))
}

// holds says whether text holds word whole: 192.0.2.1 is not in 192.0.2.12, nor 5-1.example.com in 15-1.example.com.
func holds(text, word string) bool {
	text, word = strings.ToLower(text), strings.ToLower(strings.TrimSpace(word))
	if word == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(word)
		if !joins(lastRune(text[:start])) && !goesOn(text[end:]) {
			return true
		}
		from = start + 1
	}
}

// joins says whether r before a name or an address makes it another one.
func joins(r rune) bool { return r == '-' || r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// goesOn says whether what follows a name or an address makes it another one; a full stop at its end does not.
func goesOn(rest string) bool {
	r := []rune(rest[:min(len(rest), 8)])
	switch {
	case len(r) == 0:
		return false
	case r[0] == '.':
		return len(r) > 1 && (unicode.IsLetter(r[1]) || unicode.IsDigit(r[1]))
	default:
		return joins(r[0])
	}
}

func lastRune(text string) rune {
	r := []rune(text[max(0, len(text)-4):])
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1]
}
