package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ruleNames are rules by their names: lower case ours, upper case others'.
func ruleNames(list []kvm.Rule) string {
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.Comment)
	}
	return b.String()
}

func namedRules(names string) (list []kvm.Rule) {
	for i, c := range names {
		list = append(list, kvm.Rule{Position: i, Direction: "in", Action: "DROP", Comment: string(c), Enabled: true, Own: c >= 'a'})
	}
	return list
}

// walkRules does the steps until nothing is to be done, and says what they were.
func walkRules(t *testing.T, have, want []kvm.Rule, alone bool) (after []kvm.Rule, steps string) {
	t.Helper()
	most := len(have) + 2*len(want) // what arrangeRules puts up with
	for n := 0; ; n++ {
		step, settled := nextRuleStep(have, want, alone)
		switch {
		case settled:
			return have, strings.TrimSpace(steps)
		case n > most:
			t.Fatalf("%s to %s: no end: %s", ruleNames(have), ruleNames(want), steps)
		case step.kind == addRule:
			steps += " +" + step.rule.Comment
		case step.kind == moveRule:
			steps += fmt.Sprintf(" %s>%d", have[step.from].Comment, step.to)
		default:
			steps += " -" + have[step.from].Comment
		}
		have = step.apply(have)
		for i := range have {
			have[i].Position = i
		}
	}
}

func TestRuleSteps(t *testing.T) {
	for _, c := range []struct {
		have, want string
		alone      bool
		after      string
		steps      string
	}{
		{"", "", true, "", ""},
		{"", "abc", true, "abc", "+c +b +a"},
		{"bc", "abc", true, "abc", "+a"}, // killed in the middle
		{"abc", "abc", true, "abc", ""},
		{"XabY", "abc", true, "abc", "-Y -X +c c>2"},
		{"XabY", "abc", false, "XabcY", "+c c>3"},
		{"XY", "ab", false, "abXY", "+b +a"},
		{"XaYbZ", "ba", false, "XYbaZ", "a>3"},
		{"XaYbZ", "b", false, "XYbZ", "-a"},
		{"XaYbZ", "", false, "XYZ", "-b -a"},
		{"cab", "abc", true, "abc", "c>2"},
		{"aab", "ab", true, "ab", "-a"}, // doubled
		{"AaA", "a", false, "AaA", ""},
	} {
		after, steps := walkRules(t, namedRules(c.have), namedRules(c.want), c.alone)
		if ruleNames(after) != c.after || steps != c.steps {
			t.Errorf("%q to %q: %q by %q, want %q by %q", c.have, c.want, ruleNames(after), steps, c.after, c.steps)
		}
	}
}

// TestRuleStepsOfAnyList: whatever is there, in the end ours are what is wanted, and the others, where they stay, are in the
// order in which they were.
func TestRuleStepsOfAnyList(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(from string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(from[rng.IntN(len(from))])
		}
		return b.String()
	}
	for range 3000 {
		have, want, alone := pick("abcdefXYZ", rng.IntN(9)), "", rng.IntN(2) == 0
		for _, i := range rng.Perm(6)[:rng.IntN(7)] {
			want += string("abcdef"[i])
		}
		after, steps := walkRules(t, namedRules(have), namedRules(want), alone)
		others := func(names string) string {
			return strings.Trim(strings.Map(func(r rune) rune {
				if r >= 'a' {
					return -1
				}
				return r
			}, names), " ")
		}
		left := others(have)
		if alone {
			left = ""
		}
		if ruleNames(kvm.OwnRules(after)) != want || others(ruleNames(after)) != left {
			t.Fatalf("seed %d: %q to %q, alone %t: %q by %q", seed, have, want, alone, ruleNames(after), steps)
		}
		if !slices.EqualFunc(after, namedRules(ruleNames(after)), kvm.Rule.Same) {
			t.Fatalf("seed %d: a rule was changed: %+v", seed, after)
		}
	}
}
