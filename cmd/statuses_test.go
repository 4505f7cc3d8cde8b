package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
)

var updateReadme = flag.Bool("update-readme", false, "write the drawing of the statuses into the README")

// statusesDrawn is what `vm statuses` prints where there is no configuration at all.
func statusesDrawn(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	code := Program{Args: append([]string{"vm", "statuses"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Environ: []string{"HOME=" + t.TempDir()}}.Run(context.Background())
	if code != exitDone || errs.Len() > 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	return out.String()
}

// TestReadmeStatuses: what the README draws is what the program runs by.
func TestReadmeStatuses(t *testing.T) {
	const path, begin, end = "../README.md", "<!-- statuses: begin; \"make readme\" writes what stands here -->\n", "<!-- statuses: end -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	have, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("the README has lost its marks %s%s", begin, end)
	}
	want := statusesDrawn(t, "--markdown")
	switch {
	case have == want:
	case *updateReadme:
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the README draws the statuses as they were; make readme writes them anew:\n%s", strings.Join(changed(strings.Split(have, "\n"), strings.Split(want, "\n")), "\n"))
	}
}

// TestDrawing: every row, every status and every cell of the matrix is drawn, in each of the three forms.
func TestDrawing(t *testing.T) {
	full, short := statusesDrawn(t), statusesDrawn(t, "--markdown")
	var read drawing
	if err := json.Unmarshal([]byte(statusesDrawn(t, "--output", "json")), &read); err != nil {
		t.Fatal(err)
	}
	for i, p := range lifecycle.New(lifecycle.Lifecycle{}).Pipelines() {
		n := 0
		for _, st := range p.Steps {
			if st.Alias {
				if strings.Contains(full+short, string(st.From)) {
					t.Errorf("%s is another's word for a status, and is drawn", st.From)
				}
				continue
			}
			row := read.Pipelines[i].Rows[n]
			if n++; row != (drawnRow{n, st.From, st.Title, st.To, st.OnFail, st.Lasting}) {
				t.Errorf("%s row %d as JSON: %+v", p.Name, n, row)
			}
			for _, status := range []kvm.Status{st.From, st.To, st.OnFail, st.Lasting} {
				if !strings.Contains(full, string(status)) || !strings.Contains(short, string(status)) {
					t.Errorf("%s is not drawn", status)
				}
			}
			if !strings.Contains(full, st.Title) {
				t.Errorf("%q is not drawn", st.Title)
			}
		}
		if n != len(read.Pipelines[i].Rows) {
			t.Errorf("%s: %d rows as JSON, want %d", p.Name, len(read.Pipelines[i].Rows), n)
		}
	}
	for i, v := range kvm.Verbs() {
		for _, phase := range kvm.Phases() {
			if got := read.Matrix[i].Phases[phase]; read.Matrix[i].Verb != v || got != kvm.Decide(v, phase) || got == "" {
				t.Errorf("%s at %s as JSON: %q", v, phase, got)
			}
		}
	}
	for line := range strings.SplitSeq(short, "\n") {
		if len([]rune(line)) > 130 && !strings.HasPrefix(line, "|") {
			t.Errorf("a line of %d characters: %s", len([]rune(line)), line)
		}
	}
}
