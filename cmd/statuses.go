package cmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

func newVMStatusesCmd(a *app) *cobra.Command {
	var markdown bool
	c := &cobra.Command{
		Use: "statuses", Short: "Draw all statuses, the rows between them, and what becomes of each verb in each",
		Long: `Draw every pipeline, row by row: the status before, the title, the status after, and where the status goes when the row fails.
Then the matrix: what becomes of each verb, by what the service is going through. All of it is drawn from the tables that the
program runs by. It needs no database and no configuration.

Exit codes: 0; 20 bad input.`,
		Example: "  puqkvm vm statuses\n  puqkvm vm statuses --markdown", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			runVMStatuses(a, markdown)
			return nil
		},
	}
	c.Flags().BoolVar(&markdown, "markdown", false, "short, as the README has it: the statuses of a pipeline in one line, the matrix as a table")
	return c
}

// drawnRow is a row of a pipeline as it is drawn.
type drawnRow struct {
	N      int        `json:"n"`
	From   kvm.Status `json:"from"`
	Title  string     `json:"title"`
	To     kvm.Status `json:"to"`
	OnFail kvm.Status `json:"on_failure,omitempty"` // "" = it stays
	// Lasting is where it goes when waiting cannot mend what failed; "" = as OnFail.
	Lasting kvm.Status `json:"on_lasting_failure,omitempty"`
}

// drawnPipeline is a pipeline as it is drawn.
type drawnPipeline struct {
	Name   string     `json:"name"`
	Action string     `json:"action"`
	Rows   []drawnRow `json:"rows"`
}

// drawnVerb is a line of the matrix: what becomes of the verb in each phase.
type drawnVerb struct {
	Verb   kvm.Verb                   `json:"verb"`
	Phases map[kvm.Phase]kvm.Decision `json:"phases"`
}

// drawing is `vm statuses`.
type drawing struct {
	Pipelines []drawnPipeline `json:"pipelines"`
	Matrix    []drawnVerb     `json:"matrix"`
}

func draw(pipelines []*pipeline.Pipeline) drawing {
	var d drawing
	for _, p := range pipelines {
		out := drawnPipeline{Name: p.Name, Action: p.Action}
		for _, st := range p.Steps {
			if st.Alias {
				continue
			}
			out.Rows = append(out.Rows, drawnRow{len(out.Rows) + 1, st.From, st.Title, st.To, st.OnFail, st.Lasting})
		}
		d.Pipelines = append(d.Pipelines, out)
	}
	for _, v := range kvm.Verbs() {
		line := drawnVerb{v, map[kvm.Phase]kvm.Decision{}}
		for _, phase := range kvm.Phases() {
			line.Phases[phase] = kvm.Decide(v, phase)
		}
		d.Matrix = append(d.Matrix, line)
	}
	return d
}

func runVMStatuses(a *app, markdown bool) {
	d := draw(lifecycle.New(lifecycle.Lifecycle{}).Pipelines())
	a.show(d, func() {
		if markdown {
			fmt.Fprint(a.Stdout, d.markdown())
			return
		}
		d.print(a)
	})
}

// decisions say in words what stands in the matrix.
const decisions = `run: at once, or by the next tick; while a process is at work on the service WHMCS's verbs are noted instead. note: taken when
the present run ends; terminate after its present row, change-package begins a change anew. queued: it is in hand already. done:
there is nothing to do. refuse: not in this phase. admin: an administrator must look first (puqkvm explain SID).`

func (d drawing) print(a *app) {
	for _, p := range d.Pipelines {
		fmt.Fprintf(a.Stdout, "%s (%s)\n", p.Name, p.Action)
		t := rows{head: []string{"#", "STATUS BEFORE", "TITLE", "STATUS AFTER", "WHEN IT FAILS"}}
		for _, r := range p.Rows {
			t.body = append(t.body, []string{fmt.Sprintf("%2d", r.N), string(r.From), r.Title, string(r.To), r.fails()})
		}
		t.print(a.Stdout)
		fmt.Fprintln(a.Stdout)
	}
	t := rows{head: []string{"VERB"}}
	for _, phase := range kvm.Phases() {
		t.head = append(t.head, string(phase))
	}
	for _, v := range d.Matrix {
		t.body = append(t.body, v.cells())
	}
	t.print(a.Stdout)
	fmt.Fprintln(a.Stdout, "\n"+decisions)
}

func (v drawnVerb) cells() []string {
	out := []string{string(v.Verb)}
	for _, phase := range kvm.Phases() {
		out = append(out, string(v.Phases[phase]))
	}
	return out
}

// fails is where the status goes when the row fails.
func (r drawnRow) fails() string {
	to := "stays"
	if r.OnFail != "" && r.OnFail != r.From {
		to = string(r.OnFail)
	}
	if r.Lasting != "" {
		to += "; for good: " + string(r.Lasting)
	}
	return to
}

// lineWidth is how long a line of the drawing in the README may be.
const lineWidth = 124

func (d drawing) markdown() string {
	var b strings.Builder
	indent := 0
	for _, p := range d.Pipelines {
		indent = max(indent, len(p.Name)+1)
	}
	b.WriteString("```\n")
	for _, p := range d.Pipelines {
		var words, falls []string
		lasting := map[kvm.Status]bool{}
		for i, r := range p.Rows {
			if i == 0 || r.From != p.Rows[i-1].From {
				words = append(words, string(r.From))
			}
			if r.OnFail != "" && r.OnFail != r.From {
				if fall := fmt.Sprintf("%s fails: %s", r.From, r.OnFail); len(falls) == 0 || falls[len(falls)-1] != fall {
					falls = append(falls, fall)
				}
			}
			if r.Lasting != "" && !lasting[r.Lasting] {
				lasting[r.Lasting] = true
				falls = append(falls, fmt.Sprintf("%s fails for good: %s", r.From, r.Lasting))
			}
		}
		words = append(words, string(p.Rows[len(p.Rows)-1].To))
		text := strings.Join(words, " → ")
		if len(lasting) == 1 && len(falls) == 1 && everyRow(p) {
			falls[0] = "any fails for good: " + string(p.Rows[0].Lasting)
		}
		b.WriteString(folded(fmt.Sprintf("%-*s", indent, p.Name), text))
		if len(falls) > 0 {
			b.WriteString(folded(strings.Repeat(" ", indent), "("+strings.Join(falls, "; ")+")"))
		}
	}
	b.WriteString("```\n\n| |")
	alike := d.alike()
	for _, verbs := range alike {
		var names []string
		for _, v := range verbs {
			names = append(names, string(v.Verb))
		}
		b.WriteString(" " + strings.Join(names, ", ") + " |")
	}
	b.WriteString("\n|" + strings.Repeat("---|", len(alike)+1) + "\n")
	for _, phase := range kvm.Phases() {
		fmt.Fprintf(&b, "| `%s` |", phase)
		for _, verbs := range alike {
			b.WriteString(" " + string(verbs[0].Phases[phase]) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n" + decisions + "\n")
	return b.String()
}

// alike are the verbs of the matrix, those together of which the same becomes everywhere.
func (d drawing) alike() (groups [][]drawnVerb) {
	for _, v := range d.Matrix {
		i := slices.IndexFunc(groups, func(g []drawnVerb) bool { return maps.Equal(g[0].Phases, v.Phases) })
		if i < 0 {
			groups = append(groups, nil)
			i = len(groups) - 1
		}
		groups[i] = append(groups[i], v)
	}
	return groups
}

// everyRow says whether all rows of p go to one status when they fail for good.
func everyRow(p drawnPipeline) bool {
	for _, r := range p.Rows {
		if r.Lasting == "" || r.Lasting != p.Rows[0].Lasting {
			return false
		}
	}
	return true
}

// folded is text after head in lines of at most lineWidth characters, broken at blanks.
func folded(head, text string) string {
	width := len([]rune(head))
	line, out := head, ""
	for _, word := range strings.Fields(text) {
		if len([]rune(line))+1+len([]rune(word)) > lineWidth {
			out += strings.TrimRight(line, " ") + "\n"
			line = strings.Repeat(" ", width)
		}
		if len([]rune(line)) > width {
			line += " "
		}
		line += word
	}
	return out + line + "\n"
}
