package whmcs

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted reads a string. Where PHP would have to put it together it is a phpWord without text.
func (s *phpScanner) quoted(quote byte) (phpToken, error) {
	t := phpToken{kind: phpLit, line: s.line}
	if quote == '`' {
		t.kind = phpWord // what a command prints
	}
	s.advance(1)
	var out strings.Builder
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		switch c := rest[0]; {
		case c == quote:
			s.advance(1)
			if t.kind == phpLit {
				t.text = out.String()
			}
			return t, nil
		case c == '\\' && len(rest) > 1:
			n := 2
			if quote == '\'' {
				if rest[1] != '\'' && rest[1] != '\\' {
					out.WriteByte('\\')
				}
				out.WriteByte(rest[1])
			} else {
				var text string
				if text, n = escape(rest, quote); n == 0 {
					return t, phpError(s.line, "a string holds an escape that PHP refuses")
				}
				out.WriteString(text)
			}
			s.advance(n)
		case quote != '\'' && strings.HasPrefix(rest, "{$"):
			t.kind = phpWord
			s.advance(1)
			if err := s.expression(t.line); err != nil {
				return t, err
			}
		case quote != '\'' && strings.HasPrefix(rest, "${"):
			return t, phpError(s.line, "a variable whose name only PHP can tell")
		case quote != '\'' && c == '$' && len(rest) > 1 && nameByte(rest[1]) && (rest[1] < '0' || rest[1] > '9'):
			t.kind = phpWord
			s.advance(1)
		default:
			out.WriteByte(c)
			s.advance(1)
		}
	}
	return t, phpError(t.line, "a string starts here and never ends")
}

// expression skips what stands in braces in a string, up to the closing one.
func (s *phpScanner) expression(line int) error {
	for depth := 1; depth > 0; {
		t, err := s.next()
		switch {
		case err != nil:
			return err
		case t.kind == phpEnd:
			return phpError(line, "a string starts here and never ends")
		case t.kind == phpSymbol && t.text == "{":
			depth++
		case t.kind == phpSymbol && t.text == "}":
			depth--
		}
	}
	return nil
}

// escape is what the escape at the start of text stands for in a string between quote, and its length; 0 = it is none
// that PHP takes. An unknown one stands for itself.
func escape(text string, quote byte) (string, int) {
	switch c := text[1]; c {
	case 'n':
		return "\n", 2
	case 'r':
		return "\r", 2
	case 't':
		return "\t", 2
	case 'v':
		return "\v", 2
	case 'e':
		return "\x1b", 2
	case 'f':
		return "\f", 2
	case '\\', '$', quote:
		return text[1:2], 2
	case 'x', 'X':
		if n := digits(text[2:], 2, "0123456789abcdefABCDEF"); n > 0 && c == 'x' {
			v, _ := strconv.ParseUint(text[2:2+n], 16, 8)
			return string([]byte{byte(v)}), 2 + n
		}
	case 'u':
		if len(text) > 2 && text[2] == '{' {
			n := digits(text[3:], 8, "0123456789abcdefABCDEF")
			if n == 0 || len(text) <= 3+n || text[3+n] != '}' {
				return "", 0
			}
			v, err := strconv.ParseUint(text[3:3+n], 16, 32)
			if err != nil || v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
				return "", 0
			}
			return string(rune(v)), 4 + n
		}
	default:
		if n := digits(text[1:], 3, "01234567"); n > 0 {
			v, _ := strconv.ParseUint(text[1:1+n], 8, 16)
			return string([]byte{byte(v)}), 1 + n
		}
	}
	return text[:2], 2
}

// digits is how many of the first most bytes of text are among set.
func digits(text string, most int, set string) int {
	n := 0
	for n < len(text) && n < most && strings.IndexByte(set, text[n]) >= 0 {
		n++
	}
	return n
}

// heredoc reads the opening of a heredoc or nowdoc: its label, and the length up to the text.
func heredoc(text string) (label string, length int, found bool) {
	first, _, ok := strings.Cut(text, "\n")
	if !ok {
		return "", 0, false
	}
	label = strings.Trim(strings.TrimSpace(first[3:]), `"'`)
	if label == "" || label[0] >= '0' && label[0] <= '9' {
		return "", 0, false
	}
	for i := range len(label) {
		if !nameByte(label[i]) {
			return "", 0, false
		}
	}
	return label, len(first) + 1, true
}

// heredocEnd moves behind the line's blanks and the label that end a heredoc.
func (s *phpScanner) heredocEnd(label string, line int) error {
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		blanks := len(rest) - len(strings.TrimLeft(rest, " \t"))
		if after, found := strings.CutPrefix(rest[blanks:], label); found && (after == "" || !nameByte(after[0])) {
			s.advance(blanks + len(label))
			return nil
		}
		if !s.to("\n") {
			break
		}
	}
	return phpError(line, "a heredoc starts here and never ends")
}
