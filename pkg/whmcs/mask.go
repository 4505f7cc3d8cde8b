package whmcs

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const masked = "********"

// newMask replaces secrets by asterisks, in every form in which a request or an answer may hold them.
func newMask(secrets []kvm.Secret) *strings.Replacer {
	var forms []string
	for _, s := range secrets {
		if !s.Empty() {
			forms = append(forms, spellings(s.Reveal())...)
		}
	}
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a) // a longer secret may hold a shorter one
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, masked)
	}
	return strings.NewReplacer(pairs...)
}

// spellings are the text itself, URL-encoded, JSON-escaped, HTML-escaped and in base64.
func spellings(text string) []string {
	out := []string{text, html.EscapeString(text), base64.StdEncoding.EncodeToString([]byte(text))}
	for _, encoded := range []string{url.QueryEscape(text), url.PathEscape(text), strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), percentAll(text)} {
		out = append(out, encoded, lowerPercent(encoded))
	}
	var plain strings.Builder
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text)
	escaped, _ := json.Marshal(text)
	for _, quoted := range []string{strings.TrimSpace(plain.String()), string(escaped), asciiJSON(strings.TrimSpace(plain.String()))} {
		inner := strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`)
		out = append(out, inner, strings.ReplaceAll(inner, "/", `\/`)) // PHP escapes slashes
	}
	return out
}

// percentAll is what encoders write that leave only letters and digits alone.
func percentAll(text string) string {
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; nameByte(c) && c != '_' && c < 0x80 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

// lowerPercent writes the hexadecimal digits after each percent sign in lower case.
func lowerPercent(text string) string {
	out := []byte(text)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == '%' {
			copy(out[i+1:i+3], strings.ToLower(string(out[i+1:i+3])))
		}
	}
	return string(out)
}

// asciiJSON writes characters beyond ASCII as JSON escapes, as PHP does.
func asciiJSON(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r < 0x80:
			out.WriteRune(r)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04x`, u)
			}
		}
	}
	return out.String()
}
