package lifecycle

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// declared are the statuses that package kvm declares, by its source.
func declared(t *testing.T) []kvm.Status {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../kvm/status.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []kvm.Status
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Status" {
			for _, v := range spec.Values {
				text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, kvm.Status(text))
			}
		}
		return false
	})
	return out
}

// settled are the statuses at which nothing is to be done.
var settled = []kvm.Status{kvm.Ready, kvm.Remove, kvm.ErrorTerminate, kvm.ErrorRestore}

// graph is where a service can go from each status: by a row, one that fails included, and by a verb that is taken, or
// noted and taken in place of ready.
func graph(t *testing.T) map[kvm.Status][]kvm.Status {
	t.Helper()
	out := map[kvm.Status][]kvm.Status{}
	for _, s := range settled {
		out[s] = nil
	}
	for _, p := range New(Lifecycle{}).Pipelines() {
		for _, st := range p.Steps {
			for _, to := range []kvm.Status{st.To, st.OnFail, st.Lasting} {
				if to != "" && to != st.From {
					out[st.From] = append(out[st.From], to)
				}
			}
		}
	}
	out[kvm.Ready] = append(out[kvm.Ready], kvm.ScheduledBackup) // by its schedule, which is no verb
	for from := range out {
		for _, v := range kvm.Verbs() {
			if to := v.Status(); to != "" && kvm.Decide(v, from.Phase()) == kvm.Take {
				out[from] = append(out[from], to)
			}
		}
	}
	return out
}

// reach are the statuses that can be got to from start.
func reach(g map[kvm.Status][]kvm.Status, start ...kvm.Status) []kvm.Status {
	seen := slices.Clone(start)
	for i := 0; i < len(seen); i++ {
		for _, to := range g[seen[i]] {
			if !slices.Contains(seen, to) {
				seen = append(seen, to)
			}
		}
	}
	return seen
}

// TestEveryStatusIsReached: from creation a service gets to every status by rows and verbs, but for two that have another
// way in: set_dns_records, which an administrator sets, and the PHP module's word for cp_stop.
func TestEveryStatusIsReached(t *testing.T) {
	got := reach(graph(t), kvm.Creation, kvm.SetDNSRecords)
	for _, s := range declared(t) {
		if s != kvm.CPUpdateIP && !slices.Contains(got, s) {
			t.Errorf("nothing leads to %s", s)
		}
	}
	if by := kvm.Decide(kvm.VerbCreate, kvm.PhaseNone); by != kvm.Take || kvm.VerbCreate.Status() != kvm.Creation {
		t.Errorf("create leads to %s (%s)", kvm.VerbCreate.Status(), by)
	}
}

// TestEveryStatusIsLeft: from every status a terminated service gets to remove, by rows alone once terminate is taken, and
// from every one but remove there is a way to ready.
func TestEveryStatusIsLeft(t *testing.T) {
	g := graph(t)
	for _, s := range declared(t) {
		next, known := g[s]
		if !known || len(next) == 0 {
			t.Errorf("nothing leads away from %s", s)
		}
		got := reach(g, s)
		if !slices.Contains(got, kvm.Remove) || !slices.Contains(got, kvm.Ready) {
			t.Errorf("from %s there is no way to remove and to ready, only to %v", s, got)
		}
		switch d := kvm.Decide(kvm.VerbTerminate, s.Phase()); d {
		case kvm.Take, kvm.Queued, kvm.Done:
		default:
			t.Errorf("terminate at %s: %s", s, d)
		}
	}
	if unknown := kvm.Status("restore_of_the_php_module"); kvm.Decide(kvm.VerbTerminate, unknown.Phase()) != kvm.Take {
		t.Error("a status that is none of ours cannot be left by terminate")
	}
	rows := map[kvm.Status][]kvm.Status{}
	for _, st := range New(Lifecycle{}).Terminate().Steps {
		rows[st.From] = append(rows[st.From], st.To)
	}
	if !slices.Contains(reach(rows, kvm.Terminate), kvm.Remove) {
		t.Error("the rows of terminate do not lead to remove")
	}
}
