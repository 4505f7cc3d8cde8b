package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// FirewallSight is a VM's firewall, for a person to read.
type FirewallSight struct {
	kvm.FirewallState
	Spoof []string // what the VM may send from, nil = anything
	// Off is why no packet meets the firewall, "" = it is on, as far as the VM's own settings say it.
	Off string
	// Unmanaged is why the client's part is not managed, "" = it is.
	Unmanaged string
	// Due: what the client has made is not all in Proxmox, or not in its order.
	Due bool
}

const unmanagedDHCP = "the product gives addresses by DHCP, so the firewall is not managed here"

// Firewall is that of s's VM. It changes nothing.
func (l *Lifecycle) Firewall(ctx context.Context, s *kvm.Service) (FirewallSight, error) {
	if s.Problem != nil {
		return FirewallSight{}, s.Problem
	}
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return FirewallSight{}, err
	}
	var see FirewallSight
	if see.FirewallState, err = c.Firewall(ctx, vm, true); err != nil {
		return FirewallSight{}, err
	}
	see.Spoof = see.IPSets[ipSet]
	switch nic := vm.VM().NIC; {
	case see.Options.Enable && nic != nil && nic.Firewall:
	case !s.Package.Firewall.Enable:
		see.Off = "the product switches it off (fw_enable)"
	case !see.Options.Enable:
		see.Off = "it is switched off in the VM's options"
	default:
		see.Off = "it is switched off at the VM's net0"
	}
	if s.Package.Network.DHCP() {
		see.Unmanaged = unmanagedDHCP
		return see, nil
	}
	_, settled := nextRuleStep(see.Rules.Rules, s.Firewall.Rules, false)
	see.Due = !settled || s.Firewall.Applied(see.Options) != see.Options
	return see, nil
}

// firewallOf is the VM with the proof for a verb that changes its firewall.
func (l *Lifecycle) firewallOf(ctx context.Context, s *kvm.Service) (c Cluster, vm kvm.Owned, err error) {
	if s.Package.Network.DHCP() {
		return nil, vm, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d: %s", s.ID, unmanagedDHCP), "puqkvm product show %d", s.ProductID)
	}
	if c, vm, err = l.observe(ctx, s); err != nil {
		return nil, vm, err
	}
	vm, err = l.settled(ctx, c, s, vm)
	return c, vm, err
}

// looked is how a caller has come to what it asks for: the digest that it saw, nil = it does not say.
func looked(s *kvm.Service, seen *string, digest, what string) error {
	if seen == nil || *seen == digest {
		return nil
	}
	return overtaken(s, "service %d: the %s have changed since they were shown", s.ID, what)
}

func overtaken(s *kvm.Service, format string, args ...any) error {
	return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "%w", kvm.Errorf(kvm.ErrChanged, format, args...)), "puqkvm firewall show %d", s.ID)
}

// wish stores what the client wants of the firewall, then sends it. What Proxmox refuses is taken back; what it may have done
// stays stored, and is made so by whoever comes next.
func (l *Lifecycle) wish(ctx context.Context, s *kvm.Service, wish kvm.ClientFirewall, changed bool, send func() error) error {
	was := s.Firewall
	if changed {
		if err := l.Store.SetClientFirewall(ctx, s, wish); err != nil {
			return err
		}
	}
	err := send()
	part := errors.As(err, &halfDone{})
	if errors.Is(err, kvm.ErrChanged) && !part {
		err = overtaken(s, "%w", err)
	}
	switch {
	case err == nil || !changed:
		return err
	case part || errors.Is(err, kvm.ErrUnknown):
		return fmt.Errorf("it is stored, and the next such command or change of package sees to it: %w", err)
	}
	if back := l.Store.SetClientFirewall(context.WithoutCancel(ctx), s, was); back != nil {
		return errors.Join(err, back)
	}
	return err
}

// halfDone is the error of what came after a change that took effect.
type halfDone struct{ error }

func (h halfDone) Unwrap() error { return h.error }

// SetPolicies is a table of one row that begins and ends at ready: the client's policies, where they are not nil, are these,
// "" = the product's again. seen is the digest of the options that the caller decided by, nil = any. now gets the policies that are set then.
func (l *Lifecycle) SetPolicies(in, out, seen *string, now *kvm.Firewall) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		c, vm, err := l.firewallOf(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		have, err := c.FirewallAgain(ctx, vm, kvm.FirewallState{}, "")
		if err == nil {
			err = looked(s, seen, have.Digest, "firewall's options")
		}
		if err != nil {
			return pipeline.Result{}, err
		}
		wish := s.Firewall
		if in != nil {
			wish.PolicyIn = *in
		}
		if out != nil {
			wish.PolicyOut = *out
		}
		want := wish.Applied(s.Package.Firewall)
		changed := wish.PolicyIn != s.Firewall.PolicyIn || wish.PolicyOut != s.Firewall.PolicyOut
		return pipeline.Result{}, l.wish(ctx, s, wish, changed, func() error {
			for try := 1; ; try++ {
				// What an earlier command may not have brought to Proxmox goes with it.
				var sendIn, sendOut string
				if (in != nil || wish.PolicyIn != "") && have.Options.PolicyIn != want.PolicyIn {
					sendIn = want.PolicyIn
				}
				if (out != nil || wish.PolicyOut != "") && have.Options.PolicyOut != want.PolicyOut {
					sendOut = want.PolicyOut
				}
				err := c.SetPolicies(context.WithoutCancel(ctx), vm, sendIn, sendOut, have.Digest)
				if err == nil {
					*now = have.Options
					now.PolicyIn, now.PolicyOut = cmp.Or(sendIn, now.PolicyIn), cmp.Or(sendOut, now.PolicyOut)
				}
				if !errors.Is(err, kvm.ErrChanged) || try == digestTries || seen != nil {
					return err
				}
				if have, err = c.FirewallAgain(ctx, vm, have, ""); err != nil {
					return err
				}
			}
		})
	}
	return l.firewallTable("Set firewall policies", do)
}

func (l *Lifecycle) firewallTable(title string, do func(context.Context, *kvm.Service) (pipeline.Result, error)) *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Firewall", Action: "firewall", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.Ready, Title: title, To: kvm.Ready, Do: l.row(do)},
	}}
}

// RuleAsk is what goes with a change of a rule.
type RuleAsk struct {
	// Seen is the digest of the list that the caller has read its positions from, nil = it does not say.
	Seen *string
	// Client: a client asks, whose hands are kept from the rules of others.
	Client bool
	// Rule is told which rule it is that is added, moved or removed: a position alone says little, least of all when a command
	// is given again. nil = nobody wants to know.
	Rule *kvm.Rule
}

func (a RuleAsk) tell(r kvm.Rule) {
	if a.Rule != nil {
		*a.Rule = r
	}
}

// AddRule is a table of one row that begins and ends at ready: the client's rule r is at position, nil = the first.
func (l *Lifecycle) AddRule(r kvm.Rule, position *int, ask RuleAsk) *pipeline.Pipeline {
	return l.editRules("Add firewall rule", ask, position != nil, func(s *kvm.Service, list []kvm.Rule) ([]ruleStep, error) {
		to := 0
		if position != nil {
			to = *position
		}
		switch i := slices.IndexFunc(list, r.Same); {
		case i >= 0:
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has this rule already, at position %d", s.ID, i), "puqkvm firewall rule move %d %d NEWPOS", s.ID, i)
		case len(s.Firewall.Rules) >= kvm.MaxRules:
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has %d rules; more it cannot have", s.ID, kvm.MaxRules), "puqkvm firewall rule remove %d POS", s.ID)
		case to < 0 || to > len(list):
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "a new rule of service %d cannot be at position %d: 0 to %d", s.ID, to, len(list)), "puqkvm firewall show %d", s.ID)
		}
		ask.tell(r)
		if to == 0 {
			return []ruleStep{{kind: addRule, rule: r}}, nil
		}
		return []ruleStep{{kind: addRule, rule: r}, {kind: moveRule, from: 0, to: to}}, nil
	})
}

// MoveRule is a table of one row that begins and ends at ready: the rule at from is at position to.
func (l *Lifecycle) MoveRule(from, to int, ask RuleAsk) *pipeline.Pipeline {
	return l.editRules("Move firewall rule", ask, true, func(s *kvm.Service, list []kvm.Rule) ([]ruleStep, error) {
		err := mayTouch(s, list, from, ask.Client)
		switch {
		case err != nil:
			return nil, err
		case to < 0 || to >= len(list):
			return nil, kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "a rule of service %d cannot be at position %d: 0 to %d", s.ID, to, len(list)-1), "puqkvm firewall show %d", s.ID)
		}
		ask.tell(list[from])
		if from == to {
			return nil, nil
		}
		return []ruleStep{{kind: moveRule, from: from, to: to}}, nil
	})
}

// RemoveRule is a table of one row that begins and ends at ready: the rule at pos is gone.
func (l *Lifecycle) RemoveRule(pos int, ask RuleAsk) *pipeline.Pipeline {
	return l.editRules("Remove firewall rule", ask, true, func(s *kvm.Service, list []kvm.Rule) ([]ruleStep, error) {
		if err := mayTouch(s, list, pos, ask.Client); err != nil {
			return nil, err
		}
		ask.tell(list[pos])
		return []ruleStep{{kind: removeRule, from: pos}}, nil
	})
}

// mayTouch says why the rule at pos is not moved or removed.
func mayTouch(s *kvm.Service, list []kvm.Rule, pos int, client bool) error {
	switch {
	case pos < 0 || pos >= len(list):
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "service %d has no firewall rule at position %d", s.ID, pos), "puqkvm firewall show %d", s.ID)
	case client && !list[pos].Own:
		return kvm.Errorf(kvm.ErrRefused, "the rule at position %d of service %d is an administrator's: no client moves or removes it", pos, s.ID)
	}
	return nil
}

// editRules walks the steps of plan. Before anything else what the client has made already is made so in Proxmox, as it may
// have been left by a command that was killed; where positions have moved by that, what was asked by position is refused.
func (l *Lifecycle) editRules(title string, ask RuleAsk, byPosition bool, plan func(s *kvm.Service, list []kvm.Rule) ([]ruleStep, error)) *pipeline.Pipeline {
	do := func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		c, vm, err := l.firewallOf(ctx, s)
		if err != nil {
			return pipeline.Result{}, err
		}
		list, err := c.Rules(ctx, vm)
		if err == nil {
			err = looked(s, ask.Seen, list.Digest, "firewall's rules")
		}
		if err != nil {
			return pipeline.Result{}, err
		}
		if _, settled := nextRuleStep(list.Rules, s.Firewall.Rules, false); !settled {
			if err := l.followWish(ctx, c, s, vm); err != nil {
				return pipeline.Result{}, err
			}
			if list, err = c.Rules(ctx, vm); err != nil {
				return pipeline.Result{}, err
			}
			if byPosition {
				return pipeline.Result{}, overtaken(s, "service %d: the client's rules were not all in Proxmox as they are stored; now they are, and positions may have moved", s.ID)
			}
		}
		steps, err := plan(s, list.Rules)
		if err != nil {
			return pipeline.Result{}, err
		}
		after := list.Rules
		for _, st := range steps {
			after = st.apply(after)
		}
		wish := s.Firewall
		wish.Rules = kvm.OwnRules(after)
		changed := !slices.EqualFunc(wish.Rules, s.Firewall.Rules, kvm.Rule.Same)
		return pipeline.Result{}, l.wish(ctx, s, wish, changed, func() error {
			err := sendSteps(ctx, c, vm, list, steps)
			if errors.Is(err, kvm.ErrChanged) && !errors.As(err, &halfDone{}) && !byPosition && ask.Seen == nil {
				return l.followWish(ctx, c, s, vm) // wherever the others are, it is the first of ours
			}
			return err
		})
	}
	return l.firewallTable(title, do)
}

// sendSteps sends steps, the first to the list as it was read, each other to the list as it is then if that is what the one
// before has made of it.
func sendSteps(ctx context.Context, c Cluster, vm kvm.Owned, list kvm.RuleList, steps []ruleStep) error {
	ctx = context.WithoutCancel(ctx)
	for i, st := range steps {
		if err := st.send(ctx, c, vm, list.Digest); err != nil {
			if i > 0 {
				return halfDone{err}
			}
			return err
		}
		if i == len(steps)-1 {
			return nil
		}
		expected := st.apply(list.Rules)
		var err error
		if list, err = c.Rules(ctx, vm); err != nil {
			return halfDone{err}
		}
		if !slices.EqualFunc(list.Rules, expected, kvm.Rule.Same) {
			return halfDone{kvm.Errorf(kvm.ErrChanged, "VM %d: the firewall's rules were changed by somebody else meanwhile", vm.VM().VMID)}
		}
	}
	return nil
}

// followWish makes the rules what is stored, and looks anew when somebody else is faster.
func (l *Lifecycle) followWish(ctx context.Context, c Cluster, s *kvm.Service, vm kvm.Owned) error {
	for try := 1; ; try++ {
		list, err := c.Rules(ctx, vm)
		if err == nil {
			_, err = arrangeRules(ctx, c, vm, list, s.Firewall.Rules, false)
		}
		if !errors.Is(err, kvm.ErrChanged) || try == digestTries {
			return err
		}
	}
}
