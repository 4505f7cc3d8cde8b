package lifecycle

import (
	"context"
	"fmt"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// ruleStep is one change of a list of rules.
type ruleStep struct {
	kind     ruleStepKind
	rule     kvm.Rule // to add, at the top
	from, to int      // to move; from alone to remove
}

type ruleStepKind int

const (
	addRule ruleStepKind = iota
	moveRule
	removeRule
)

func (st ruleStep) send(ctx context.Context, c Cluster, vm kvm.Owned, digest string) error {
	switch st.kind {
	case addRule:
		return c.AddRule(ctx, vm, st.rule, digest)
	case moveRule:
		return c.MoveRule(ctx, vm, st.from, st.to, digest)
	}
	return c.RemoveRule(ctx, vm, st.from, digest)
}

// apply is list after st.
func (st ruleStep) apply(list []kvm.Rule) []kvm.Rule {
	list = slices.Clone(list)
	switch st.kind {
	case addRule:
		return slices.Insert(list, 0, st.rule)
	case moveRule:
		r := list[st.from]
		return slices.Insert(slices.Delete(list, st.from, st.from+1), st.to, r)
	}
	return slices.Delete(list, st.from, st.from+1)
}

// nextRuleStep is what brings have one step nearer to having the rules want of ours, in this order; with alone it shall have
// no others. settled = there is nothing to do. It looks at nothing but the list, so who was killed in the middle goes on
// where that ended.
//
// First what is too much goes, from the last to the first. Then what is missing comes, the last first, since each new rule
// becomes the first of the list: on a VM without rules of ours they are in their order then, and nothing is moved.
func nextRuleStep(have, want []kvm.Rule, alone bool) (step ruleStep, settled bool) {
	var missing []kvm.Rule
	var own []int // where ours are
	spare := map[int]bool{}
	for i, r := range have {
		if r.Own {
			own, spare[i] = append(own, i), true
		}
	}
	for _, w := range want {
		i := slices.IndexFunc(own, func(i int) bool { return spare[i] && have[i].Same(w) })
		if i < 0 {
			missing = append(missing, w)
			continue
		}
		spare[own[i]] = false
	}
	for i, r := range slices.Backward(have) {
		if spare[i] || !r.Own && alone {
			return ruleStep{kind: removeRule, from: i}, false
		}
	}
	if n := len(missing); n > 0 {
		return ruleStep{kind: addRule, rule: missing[n-1]}, false
	}
	// All are there, so there are as many as wanted; they are brought into their order from the last on.
	for i, w := range slices.Backward(want) {
		if have[own[i]].Same(w) {
			continue
		}
		for _, j := range slices.Backward(own[:i]) {
			if have[j].Same(w) {
				return ruleStep{kind: moveRule, from: j, to: own[i]}, false
			}
		}
	}
	return ruleStep{}, true
}

// arrangeRules walks the steps of nextRuleStep, each with the digest of the list that it was decided by, and gives the list
// that came of it. kvm.ErrChanged: somebody else was faster; look again.
func arrangeRules(ctx context.Context, c Cluster, vm kvm.Owned, list kvm.RuleList, want []kvm.Rule, alone bool) (kvm.RuleList, error) {
	for limit := len(list.Rules) + 2*len(want); ; limit-- {
		step, settled := nextRuleStep(list.Rules, want, alone)
		switch {
		case settled:
			return list, nil
		case limit < 0:
			return list, fmt.Errorf("VM %d: the firewall's rules were accepted by Proxmox but are not those that were sent", vm.VM().VMID)
		case ctx.Err() != nil:
			return list, ctx.Err()
		}
		err := step.send(context.WithoutCancel(ctx), c, vm, list.Digest)
		if err == nil {
			list, err = c.Rules(ctx, vm)
		}
		if err != nil {
			return list, err
		}
	}
}
