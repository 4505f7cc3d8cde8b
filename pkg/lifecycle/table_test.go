package lifecycle

import (
	"slices"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ends are where tables end that do not end at ready.
var ends = map[string]kvm.Status{"Terminate": kvm.Remove, "Redeploy": kvm.Creation}

// TestTables holds the tables against their rules: no status in two of them, no gap, every status reached, and each status
// of the phase that its table is.
func TestTables(t *testing.T) {
	l := New(Lifecycle{})
	owner := map[kvm.Status]string{}
	for _, p := range l.Pipelines() {
		from := map[kvm.Status]int{}
		before := kvm.Status("")
		for i, st := range p.Steps {
			if st.Title == "" || st.Do == nil || st.From == "" || st.To == "" {
				t.Errorf("%s row %d is not complete: %+v", p.Name, i+1, st)
			}
			if from[st.From]++; before != "" && st.From != before && !st.Alias {
				t.Errorf("%s row %d starts from %s, but the one before ends at %s", p.Name, i+1, st.From, before)
			}
			if !st.Alias {
				before = st.To
			}
			if other, taken := owner[st.From]; taken && other != p.Name {
				t.Errorf("%s stands in %s and in %s", st.From, other, p.Name)
			}
			owner[st.From] = p.Name
			if phase := st.From.Phase(); string(phase) != p.Action {
				t.Errorf("%s has the status %s, which is of the phase %s", p.Name, st.From, phase)
			}
		}
		for i, st := range p.Steps {
			if st.OnFail != "" && from[st.OnFail] == 0 {
				t.Errorf("%s row %d falls back to %s, where no row starts", p.Name, i+1, st.OnFail)
			}
			if two := from[st.From] > 1; two && (st.From != st.To && p.Steps[i-1].From != st.From || p.Name != "ChangePackage") {
				t.Errorf("%s has two rows from %s", p.Name, st.From)
			}
		}
		want := kvm.Ready
		if e, other := ends[p.Name]; other {
			want = e
		}
		if before != want {
			t.Errorf("%s ends at %s", p.Name, before)
		}
		if from[kvm.Ready] > 0 {
			t.Errorf("%s has a row from ready", p.Name)
		}
	}
	rows := map[string]int{"Deploy": 15, "ChangePackage": 13} // the twelve, and the PHP module's word for one
	for _, p := range l.Pipelines() {
		if n := rows[p.Name]; n != 0 && len(p.Steps) != n {
			t.Errorf("%s has %d rows, want %d", p.Name, len(p.Steps), n)
		}
	}
}

// TestMatrix: every verb has an answer in every phase, what WHMCS sends is never refused because the service is busy, and
// each phase is one of a table or stands alone.
func TestMatrix(t *testing.T) {
	busy := []kvm.Phase{}
	for _, p := range New(Lifecycle{}).Pipelines() {
		busy = append(busy, kvm.Phase(p.Action))
	}
	for _, v := range kvm.Verbs() {
		for _, phase := range kvm.Phases() {
			d := kvm.Decide(v, phase)
			if d == "" {
				t.Errorf("%s at %s: nothing is decided", v, phase)
			}
			ending := phase == kvm.PhaseTerminate
			if v.FromWHMCS() && d == kvm.Refuse && slices.Contains(busy, phase) && !ending {
				t.Errorf("%s at %s is refused, and WHMCS does not ask twice", v, phase)
			}
			if !v.FromWHMCS() && d == kvm.Note {
				t.Errorf("%s at %s is noted", v, phase)
			}
		}
	}
	for _, phase := range busy {
		if !slices.Contains(kvm.Phases(), phase) {
			t.Errorf("the phase %s is not listed", phase)
		}
	}
}
