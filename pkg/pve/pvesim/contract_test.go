package pvesim

import (
	cli "flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	recordingsDir = cli.String("recordings", "", "replay the recordings of this `folder` and those in it")
	updateDir     = cli.String("update-recordings", "", "carry the recordings of this `folder` into testdata, and replay them")
	flavourFlag   = cli.String("flavour", "", "the PVE `version` of the recordings; empty takes it from them")
)

// verdict is how a case came out.
type verdict struct {
	name        string
	level       int
	differences []string
	before      []string // what differed with what the outcome says, where the answer had to be taken as well
	missing     string   // why it does not apply
}

// TestRecordings is the contract with the genuine API: it replays recorded calls and compares status, reason, the shape
// and values of the body as far as they are no facts of the recorded machine, the end of the task, and where PVE makes
// one wait, how long. Without flags it replays what testdata has; -recordings DIR replays any folder in the recordings'
// own form, together with what testdata has of the same groups for a background. A case of testdata that needs a later
// level (see levels) than it is said to need there fails.
func TestRecordings(t *testing.T) {
	if dir := *updateDir; dir != "" {
		carry(t, dir)
	}
	if *recordingsDir == "" {
		for _, version := range carriedVersions(t) {
			t.Run(version, func(t *testing.T) {
				r, err := readCarried(version)
				if err != nil {
					t.Fatal(err)
				}
				report(t, version, r.replay(t, nil, true), true)
			})
		}
		return
	}
	all, err := readOriginals(*recordingsDir, *flavourFlag)
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: no recordings: %v", *recordingsDir, err)
	}
	for _, r := range all {
		t.Run(r.version, func(t *testing.T) {
			background, err := readCarried(r.version)
			if err != nil {
				t.Fatal(err)
			}
			report(t, r.version, r.replay(t, background, false), false)
		})
	}
}

// replay plays all cases, those of background too, and gives the verdicts on r's. strict plays each case of r at the
// level that it has in testdata, and no other.
func (r *recordings) replay(t *testing.T, background *recordings, strict bool) []verdict {
	t.Helper()
	judged := map[*trial]bool{}
	all := &recordings{version: r.version}
	for _, c := range r.trials {
		judged[c] = true
		all.trials = append(all.trials, c)
	}
	if background != nil {
		for _, c := range background.trials {
			if !slices.ContainsFunc(r.trials, func(other *trial) bool { return other.name == c.name }) {
				all.trials = append(all.trials, c)
			}
		}
	}
	all.sort()
	known := learn(all)
	for i, c := range all.trials {
		known.places[c.steps[0].Case] = place{c.group(), i}
	}
	var verdicts []verdict
	for begin := 0; begin < len(all.trials); {
		end := begin
		for end < len(all.trials) && all.trials[end].group() == all.trials[begin].group() {
			end++
		}
		for c, v := range playGroup(t, r.version, known, all.trials[begin:end], strict) {
			if judged[c] {
				verdicts = append(verdicts, v)
			}
		}
		begin = end
	}
	slices.SortFunc(verdicts, func(a, b verdict) int { return strings.Compare(a.name, b.name) })
	return verdicts
}

// playGroup plays the cases of one group in order on one cluster. A case that needs a later level is played again on a
// cluster on which all before it was repeated.
func playGroup(t *testing.T, version string, known *knowledge, cases []*trial, strict bool) map[*trial]verdict {
	t.Helper()
	verdicts := map[*trial]verdict{}
	var played []*trial
	w := newWorld(t, version, known)
	defer func() { w.server.Close() }()
	for _, c := range cases {
		v := verdict{name: c.name, missing: w.missing(c)}
		if v.missing != "" {
			verdicts[c] = v
			continue
		}
		first, last := 0, len(levels)-1
		if strict {
			first = max(0, slices.Index(levels, c.steps[0].State))
			last = first
		}
		for v.level = first; ; v.level++ {
			v.differences, v.missing = w.attempt(c, levels[v.level])
			if v.missing != "" {
				w.server.Close()
				w = repeat(t, version, known, played, verdicts)
				break
			}
			if len(v.differences) == 0 || v.level == last {
				break
			}
			v.before = v.differences
			w.server.Close()
			w = repeat(t, version, known, played, verdicts)
		}
		if verdicts[c] = v; v.missing == "" {
			played = append(played, c)
		}
	}
	return verdicts
}

// repeat is a new world on which all that was played has been played again.
func repeat(t *testing.T, version string, known *knowledge, played []*trial, verdicts map[*trial]verdict) *world {
	t.Helper()
	w := newWorld(t, version, known)
	for _, c := range played {
		w.play(c, levels[verdicts[c].level])
	}
	return w
}

// attempt plays a case. A recording from which no state can be made does not apply.
func (w *world) attempt(c *trial, level string) (differences []string, missing string) {
	defer func() {
		wrong := recover()
		if text, isStuck := wrong.(stuck); isStuck {
			differences = []string{string(text)}
		} else if wrong != nil {
			missing = fmt.Sprintf("no state before it can be derived (%v)", wrong)
			w.c.mu.TryLock() // it may have been left held or not; the world is given up either way
			w.c.mu.Unlock()
		}
	}()
	return w.play(c, level), ""
}

// missing says why a case does not apply.
func (w *world) missing(c *trial) string {
	for _, x := range c.steps {
		path, inside := x.path()
		switch {
		case x.status() == 301:
			return "plain HTTP at the TLS port is not simulated"
		case !inside && strings.HasPrefix(path, "/api2/"):
			return "only the JSON format is simulated"
		case !inside || x.status() == 501:
		case w.c.find(x.method(), strings.TrimRight(path, "/"), map[string]string{}) == nil && strings.Trim(path, "/") != "":
			return "not simulated: " + x.method() + " " + pathVMID.ReplaceAllString(pathNode.ReplaceAllString(path, "/nodes/{node}"), "/qemu/{vmid}/")
		}
	}
	return ""
}

// report prints the verdicts, and fails on differences that are not known and on known ones that are none.
func report(t *testing.T, version string, verdicts []verdict, whole bool) {
	t.Helper()
	known := knownDifferences(t, version)
	passed, failed, byLevel, absent := 0, 0, make([]int, len(levels)), map[string][]string{}
	for _, v := range verdicts {
		reason, isKnown := known[v.name]
		delete(known, v.name)
		switch {
		case v.missing != "":
			absent[v.missing] = append(absent[v.missing], v.name)
			continue
		case len(v.differences) == 0:
			passed++
			byLevel[v.level]++
			if v.level == len(levels)-1 && v.before != nil {
				t.Logf("state taken from the answer: %s, for otherwise: %s", v.name, strings.Join(v.before, "; "))
			}
			if isKnown {
				t.Errorf("%s passes: it is no known difference any more", v.name)
			}
			continue
		case isKnown:
			t.Logf("known difference: %s: %s", v.name, reason)
		default:
			t.Errorf("%s\n\t%s", v.name, strings.Join(v.differences, "\n\t"))
		}
		failed++
	}
	for name := range known {
		if whole {
			t.Errorf("%s is a known difference, but there is no such case", name)
		}
	}
	inapplicable := 0
	for _, why := range sortedKeys(absent) {
		inapplicable += len(absent[why])
		t.Logf("not applicable: %s: %s", why, strings.Join(absent[why], " "))
	}
	t.Logf("PVE %s: %d passed (%d with the state of their group, %d with what their outcome says, %d with what their answer shows), %d failed, %d not applicable",
		version, passed, byLevel[0], byLevel[1], byLevel[2], failed, inapplicable)
}

// knownDifferences are the lines "VERSION CASE: REASON" of known.txt; VERSION may be * for all.
func knownDifferences(t *testing.T, version string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "recordings", "known.txt"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(text)) {
		head, reason, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		of, name, _ := strings.Cut(head, " ")
		if of == version || of == "*" {
			known[name] = reason
		}
	}
	return known
}

// carry writes the recordings of a folder into testdata, each with the level that it passes at.
func carry(t *testing.T, dir string) {
	t.Helper()
	all, err := readOriginals(dir, *flavourFlag)
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: no recordings: %v", dir, err)
	}
	for _, r := range all {
		r.sort()
		level := map[string]int{}
		for _, v := range r.replay(t, nil, false) {
			level[v.name] = v.level
		}
		for _, c := range r.trials {
			c.steps[0].State = levels[level[c.name]]
		}
		if err := r.writeCarried(); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("carried %d cases of PVE %s\n", len(r.trials), r.version)
	}
}
