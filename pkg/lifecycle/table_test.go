package lifecycle

import (
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// TestTables holds the tables against their rules: no status in two of them, no gap, every status reached.
func TestTables(t *testing.T) {
	l := New(Lifecycle{})
	owner := map[kvm.Status]string{}
	for _, p := range l.Pipelines() {
		from := map[kvm.Status]bool{}
		for i, st := range p.Steps {
			if st.Title == "" || st.Do == nil || st.From == "" || st.To == "" {
				t.Errorf("%s row %d is not complete: %+v", p.Name, i+1, st)
			}
			if i > 0 && st.From != p.Steps[i-1].To {
				t.Errorf("%s row %d starts from %s, but the one before ends at %s", p.Name, i+1, st.From, p.Steps[i-1].To)
			}
			if from[st.From] {
				t.Errorf("%s has two rows from %s", p.Name, st.From)
			}
			from[st.From] = true
			if other, taken := owner[st.From]; taken && other != p.Name {
				t.Errorf("%s stands in %s and in %s", st.From, other, p.Name)
			}
			owner[st.From] = p.Name
		}
		for i, st := range p.Steps {
			if st.OnFail != "" && !from[st.OnFail] {
				t.Errorf("%s row %d falls back to %s, where no row starts", p.Name, i+1, st.OnFail)
			}
		}
		if last := p.Steps[len(p.Steps)-1].To; last != kvm.Ready {
			t.Errorf("%s ends at %s", p.Name, last)
		}
		if from[kvm.Ready] {
			t.Errorf("%s has a row from ready", p.Name)
		}
	}
	if n := len(l.Deploy().Steps); n != 15 {
		t.Errorf("Deploy has %d rows, want 15", n)
	}
}
