package cmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// modelSteps is how many steps one world lives for, and modelStepsSoak how many when everything is asked for.
	modelSteps     = 100
	modelStepsSoak = 250
	// modelWorlds is how many worlds there are, and modelWorldsSoak how many when everything is asked for.
	modelWorlds     = 8
	modelWorldsSoak = 400
	// modelWorldVar is the number of the one world that is to be played again, modelShrinkVar asks to drop the steps that
	// its failure does not need.
	modelWorldVar  = "PUQKVM_TEST_MODEL_WORLD"
	modelShrinkVar = "PUQKVM_TEST_MODEL_SHRINK"
	// modelShown is how many of the last steps a failure shows; the one world that is played again shows them all.
	modelShown = 40
)

// modelStep is an operation, and the seed of what it chooses by chance: so a step does the same also when others before it
// are dropped.
type modelStep struct {
	op   *modelOp
	seed uint64
}

// TestModel plays random sequences of what WHMCS, customers, administrators, Proxmox and crashes do to a few services, and
// asks after every step whether what must hold at all times does; at the end, when all troubles are over, whether every
// service gets where it must. PUQKVM_TEST_SEED repeats a run, with PUQKVM_TEST_MODEL_WORLD one world of it; there are 800
// steps, or 100 000 with PUQKVM_SOAK.
func TestModel(t *testing.T) {
	t.Parallel()
	base, worlds := seed(t), modelWorlds
	if soak() {
		worlds = modelWorldsSoak
	}
	first := 0
	if text := os.Getenv(modelWorldVar); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		first, worlds = n, n+1
	}
	began := time.Now()
	tally := newModelTally()
	t.Run("worlds", func(t *testing.T) {
		for i := first; i < worlds; i++ {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				playModel(t, base, i, tally)
			})
		}
	})
	t.Logf("%s, %v of wall time", tally, time.Since(began).Round(time.Second))
	if soak() && os.Getenv(modelWorldVar) == "" {
		tally.complete(t)
	}
}

// playModel plays one world, and when it fails shows how it came to that.
func playModel(t *testing.T, base uint64, number int, tally *modelTally) {
	rng := rand.New(rand.NewPCG(base, uint64(number)))
	s := modelScene(rng, number)
	var steps []modelStep
	n := modelSteps
	if soak() {
		n = modelStepsSoak
	}
	for range n {
		steps = append(steps, modelStep{chooseOp(rng, func(*modelOp) bool { return true }), rng.Uint64()})
	}
	m := newModel(t, s, tally)
	done := m.play(steps)
	if len(m.failures) == 0 {
		return
	}
	if os.Getenv(modelShrinkVar) != "" {
		m = shrink(t, s, steps[:done], m)
	}
	shown := m.story
	if os.Getenv(modelWorldVar) == "" {
		shown = shown[max(0, len(shown)-modelShown):]
	}
	t.Errorf("PUQKVM_TEST_SEED=%d %s=%d (%s), step %d:\n%s\nthe last steps:\n%s", base, modelWorldVar, number, s, done,
		strings.Join(m.failures, "\n"), strings.Join(shown, "\n"))
}

// play does the steps, then the end, and stops at the first failure. It says how many steps were done.
func (m *model) play(steps []modelStep) (done int) {
	for i, s := range steps {
		m.step(i, s)
		if len(m.failures) > 0 {
			return i + 1
		}
	}
	m.end()
	return len(steps)
}

// step does one step and looks.
func (m *model) step(number int, s modelStep) {
	said := s.op.do(m, rand.New(rand.NewPCG(s.seed, 0)))
	m.tally.count(s.op.name, said)
	if said == "" {
		return
	}
	m.story = append(m.story, fmt.Sprintf("%3d %s: %s", number, s.op.name, said))
	m.look(s.op.name)
}

// shrinkPatience is how long steps are dropped.
const shrinkPatience = 5 * time.Minute

// shrink drops steps as long as it fails without them. Only the failure's kind, the word before its colon, has to stay.
func shrink(t *testing.T, s modelSetting, steps []modelStep, m *model) *model {
	t.Helper()
	kind := func(m *model) string {
		word, _, _ := strings.Cut(m.failures[0], ":")
		return word
	}
	want, limit := kind(m), time.Now().Add(shrinkPatience)
	for size := len(steps) / 2; size >= 1 && time.Now().Before(limit); {
		dropped := false
		for from := 0; from < len(steps) && time.Now().Before(limit); {
			fewer := slices.Concat(steps[:from], steps[min(len(steps), from+size):])
			var other *model
			t.Run("shrink", func(t *testing.T) {
				other = newModel(t, s, newModelTally())
				fewer = fewer[:other.play(fewer)]
			})
			if len(other.failures) > 0 && kind(other) == want {
				steps, m, dropped = fewer, other, true
			} else {
				from += size
			}
		}
		if !dropped || size > len(steps)/2 {
			size /= 2
		}
	}
	return m
}

// wrong notes that something does not hold. kind is one word.
func (m *model) wrong(kind, format string, args ...any) {
	m.failures = append(m.failures, kind+": "+fmt.Sprintf(format, args...))
}

// direct runs a command of another process, which nothing disturbs.
func (m *model) direct(args ...string) (out string, code int) {
	o, e, code := m.other.runIn(context.Background(), "", args...)
	m.said(args, o+e)
	return o + e, code
}
