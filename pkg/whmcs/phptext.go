package whmcs

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

const useOwnFile = "write [database] and encryption_hash_file into puqkvm's own configuration file instead"

// phpValue is a literal that was assigned, as PHP would turn it into a string.
type phpValue struct {
	text string
	line int
}

type phpKind int

const (
	phpEnd    phpKind = iota // end of the file
	phpVar                   // $name; text is the name
	phpLit                   // string without interpolation, decimal integer, true, false, null; text is the value
	phpWord                  // other names and numbers, and strings that PHP would have to put together
	phpSymbol                // one character; "==" where a = is no assignment; ";" also for a closing tag
)

type phpToken struct {
	kind phpKind
	text string
	line int
}

// phpRefused are words that can set a variable unseen, or end or branch the file without a brace.
var phpRefused = [...]string{"eval", "extract", "parse_str", "return", "goto", "__halt_compiler",
	"endif", "endwhile", "endfor", "endforeach", "endswitch", "enddeclare"}

// phpValues are the values of the wanted variables, without $.
func phpValues(text string, wanted ...string) (map[string]phpValue, error) {
	want := map[string]bool{}
	for _, name := range wanted {
		want[name] = true
	}
	s := &phpScanner{text: text, line: 1}
	if err := s.open(); err != nil {
		return nil, err
	}
	values := map[string]phpValue{}
	var depth []phpToken // the brackets that are open
	start := true        // of a statement, outside all brackets
	for {
		t, err := s.next()
		if err != nil {
			return nil, err
		}
		switch {
		case t.kind == phpEnd:
			if len(depth) > 0 {
				return nil, phpError(depth[len(depth)-1].line, "a bracket is opened here and never closed")
			}
			if !start {
				return nil, phpError(t.line, "the file ends in the middle of a statement")
			}
			return values, nil
		case t.kind == phpVar && want[t.text]:
			if !start {
				return nil, phpError(t.line, "$%s is used in a way that only PHP could follow", t.text)
			}
			v, err := s.assignment(t)
			if err != nil {
				return nil, err
			}
			values[t.text] = v
			continue // still at a statement's start
		case t.kind == phpWord:
			for _, word := range phpRefused {
				if strings.EqualFold(t.text, word) {
					return nil, phpError(t.line, "%q makes the values in this file depend on PHP", word)
				}
			}
		case t.kind == phpSymbol && strings.Contains("([{", t.text):
			depth = append(depth, t)
		case t.kind == phpSymbol && strings.Contains(")]}", t.text):
			if len(depth) == 0 || strings.IndexByte("([{", depth[len(depth)-1].text[0]) != strings.IndexByte(")]}", t.text[0]) {
				return nil, phpError(t.line, "a bracket is closed that was not opened")
			}
			depth = depth[:len(depth)-1]
			if t.text == "}" && len(depth) == 0 {
				start = true
				continue
			}
		}
		start = len(depth) == 0 && t.kind == phpSymbol && t.text == ";"
	}
}

// assignment reads what follows the variable: = literal ;
func (s *phpScanner) assignment(name phpToken) (phpValue, error) {
	var tokens [3]phpToken
	for i := range tokens {
		var err error
		if tokens[i], err = s.next(); err != nil {
			return phpValue{}, err
		}
	}
	if tokens[0].text != "=" || tokens[0].kind != phpSymbol || tokens[1].kind != phpLit || tokens[2].kind != phpSymbol || tokens[2].text != ";" {
		return phpValue{}, phpError(name.line, "$%s is not assigned a plain value", name.text)
	}
	return phpValue{tokens[1].text, name.line}, nil
}

func phpError(line int, format string, args ...any) error {
	return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "line "+strconv.Itoa(line)+": "+format, args...), useOwnFile)
}

// phpScanner cuts PHP into tokens.
type phpScanner struct {
	text string
	pos  int
	line int
}

// open finds the opening tag, before which only blanks may stand.
func (s *phpScanner) open() error {
	s.text = strings.TrimPrefix(s.text, "\uFEFF")
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.pos]) >= 0 {
		s.advance(1)
	}
	if rest := s.text[s.pos:]; len(rest) < 5 || !strings.EqualFold(rest[:5], "<?php") || len(rest) > 5 && strings.IndexByte(" \t\r\n", rest[5]) < 0 {
		return phpError(s.line, "no PHP starts here")
	}
	s.advance(5)
	return nil
}

// advance moves on by n bytes and counts the lines.
func (s *phpScanner) advance(n int) {
	s.line += strings.Count(s.text[s.pos:s.pos+n], "\n")
	s.pos += n
}

// to moves behind the next end, or says false.
func (s *phpScanner) to(end string) bool {
	i := strings.Index(s.text[s.pos:], end)
	if i < 0 {
		return false
	}
	s.advance(i + len(end))
	return true
}

func (s *phpScanner) next() (phpToken, error) {
	if err := s.blanks(); err != nil {
		return phpToken{}, err
	}
	t := phpToken{line: s.line}
	rest := s.text[s.pos:]
	if rest == "" {
		return t, nil
	}
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "?>"):
		return s.closing()
	case c == '$':
		return s.variable()
	case c == '\'' || c == '"' || c == '`':
		return s.quoted(c)
	case strings.HasPrefix(rest, "<<<"):
		if label, after, found := heredoc(rest); found {
			s.advance(after)
			t.kind = phpWord
			return t, s.heredocEnd(label, t.line)
		}
	case nameByte(c):
		n := 1
		for n < len(rest) && (nameByte(rest[n]) || rest[n] == '.' && c >= '0' && c <= '9') {
			n++
		}
		s.advance(n)
		t.kind, t.text = phpWord, rest[:n]
		return t.literal(), nil
	}
	t.kind, t.text = phpSymbol, rest[:1]
	if strings.HasPrefix(rest, "==") || strings.HasPrefix(rest, "=>") {
		t.text = rest[:2]
	}
	s.advance(len(t.text))
	return t, nil
}

// literal turns a word that stands for a value into one: PHP's text of it.
func (t phpToken) literal() phpToken {
	switch strings.ToLower(t.text) {
	case "true":
		return phpToken{phpLit, "1", t.line}
	case "false", "null":
		return phpToken{phpLit, "", t.line}
	}
	if n, err := strconv.ParseInt(t.text, 10, 64); err == nil && strconv.FormatInt(n, 10) == t.text {
		t.kind = phpLit
	}
	return t
}

func nameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

// blanks skips white space and comments.
func (s *phpScanner) blanks() error {
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		switch {
		case strings.IndexByte(" \t\r\n\v\f", rest[0]) >= 0:
			s.advance(1)
		case rest[0] == '#' || strings.HasPrefix(rest, "//"):
			n := strings.IndexAny(rest, "\r\n")
			if n < 0 {
				n = len(rest)
			}
			if tag := strings.Index(rest[:n], "?>"); tag >= 0 {
				n = tag
			}
			s.advance(n)
		case strings.HasPrefix(rest, "/*"):
			line := s.line
			s.advance(2)
			if !s.to("*/") {
				return phpError(line, "a comment starts here and never ends")
			}
		default:
			return nil
		}
	}
	return nil
}

// closing reads a closing tag: the end, or PHP that starts again; anything else is text that PHP would print.
func (s *phpScanner) closing() (phpToken, error) {
	t := phpToken{phpSymbol, ";", s.line}
	s.advance(2)
	if strings.TrimSpace(s.text[s.pos:]) == "" {
		s.advance(len(s.text) - s.pos)
		return t, nil
	}
	return t, s.open()
}

func (s *phpScanner) variable() (phpToken, error) {
	t := phpToken{kind: phpVar, line: s.line}
	rest := s.text[s.pos+1:]
	n := 0
	for n < len(rest) && nameByte(rest[n]) {
		n++
	}
	if n == 0 || rest[0] >= '0' && rest[0] <= '9' || rest[:n] == "GLOBALS" {
		return t, phpError(t.line, "a variable whose name only PHP can tell")
	}
	s.advance(1 + n)
	t.text = rest[:n]
	return t, nil
}
