package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
)

// printJSON writes v to stdout, one object a line.
func (a *app) printJSON(v any) {
	e := json.NewEncoder(a.Stdout)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		fmt.Fprintln(a.Stderr, "Error: output as JSON:", err)
	}
}

// show writes v as JSON, or calls text.
func (a *app) show(v any, text func()) {
	if a.output == "json" {
		a.printJSON(v)
		return
	}
	text()
}

// rows is a table of text.
type rows struct {
	head []string
	body [][]string
}

// print writes the table to w: columns by blanks, so that it can be cut and grepped.
func (r *rows) print(w io.Writer) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = 0
	t.SetStyle(style)
	t.AppendHeader(cells(r.head))
	for _, b := range r.body {
		t.AppendRow(cells(b))
	}
	for _, line := range strings.Split(t.Render(), "\n") {
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

func cells(texts []string) table.Row {
	out := make(table.Row, len(texts))
	for i, t := range texts {
		out[i] = oneLine(t)
	}
	return out
}

// oneLine is text of others as it may stand in a table: without the characters that end a line or move a cursor.
func oneLine(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text))
}

// when is t in the log's zone, "-" where there is none.
func (a *app) when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(a.settings.Zone).Format(time.DateTime)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
