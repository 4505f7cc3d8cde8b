package pve

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Rules are the VM's firewall rules with the digest that a change of them wants. It needs VM.Audit.
func (c *Client) Rules(ctx context.Context, o kvm.Owned) (kvm.RuleList, error) {
	vm, err := target(o)
	if err != nil {
		return kvm.RuleList{}, err
	}
	list, err := c.rules(ctx, vm)
	return list, onVM(vm, "reading the firewall's rules", err)
}

func (c *Client) rules(ctx context.Context, vm *kvm.VM) (kvm.RuleList, error) {
	var rows []struct {
		Pos      integer `json:"pos"`
		Type     text    `json:"type"`
		Action   text    `json:"action"`
		Macro    text    `json:"macro"`
		Proto    text    `json:"proto"`
		Source   text    `json:"source"`
		Dest     text    `json:"dest"`
		SPort    text    `json:"sport"`
		DPort    text    `json:"dport"`
		ICMPType text    `json:"icmp-type"`
		Iface    text    `json:"iface"`
		Log      text    `json:"log"`
		Comment  text    `json:"comment"`
		Enable   integer `json:"enable"`
		Digest   text    `json:"digest"`
	}
	where := guest(vm, "firewall", "rules")
	if err := c.get(ctx, where, nil, &rows); err != nil {
		return kvm.RuleList{}, err
	}
	var list kvm.RuleList
	for _, r := range rows {
		rule := kvm.Rule{Position: int(r.Pos), Direction: string(r.Type), Action: string(r.Action), Macro: string(r.Macro), Proto: string(r.Proto),
			Source: string(r.Source), Dest: string(r.Dest), SPort: string(r.SPort), DPort: string(r.DPort), ICMPType: string(r.ICMPType),
			Iface: string(r.Iface), Log: string(r.Log), Enabled: r.Enable != 0}
		rule.Comment, rule.Own = kvm.UnmarkComment(string(r.Comment))
		list.Rules, list.Digest = append(list.Rules, rule), string(r.Digest)
	}
	slices.SortFunc(list.Rules, func(a, b kvm.Rule) int { return cmp.Compare(a.Position, b.Position) })
	for i, r := range list.Rules {
		if r.Position != i {
			return kvm.RuleList{}, kvm.Errorf(kvm.ErrUnreachable, "GET %s: the answer has no rule at position %d, but one at %d", where, i, r.Position)
		}
	}
	return list, nil
}

// AddRule makes a client's rule, which gets our mark. It is the first of the list then: Proxmox heeds no position here.
func (c *Client) AddRule(ctx context.Context, o kvm.Owned, r kvm.Rule, digest string) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	p := params{"type": r.Direction, "action": r.Action, "enable": bit(r.Enabled), "comment": kvm.MarkedComment(r.Comment)}
	for key, value := range map[string]string{"macro": r.Macro, "proto": r.Proto, "source": r.Source, "dest": r.Dest, "sport": r.SPort, "dport": r.DPort,
		"icmp-type": r.ICMPType, "iface": r.Iface, "log": r.Log} {
		if value != "" {
			p[key] = value
		}
	}
	return onVM(vm, "adding a firewall rule", c.do(ctx, http.MethodPost, guest(vm, "firewall", "rules"), asRead(p, digest)))
}

// MoveRule moves the rule at from to where its position is to. Proxmox itself says before which rule of the present list it
// shall stand.
func (c *Client) MoveRule(ctx context.Context, o kvm.Owned, from, to int, digest string) error {
	vm, err := target(o)
	switch {
	case err != nil:
		return err
	case from == to: // a PUT would be a change of the rule's fields
		return nil
	case to > from:
		to++
	}
	return onVM(vm, "moving a firewall rule", c.do(ctx, http.MethodPut, guest(vm, "firewall", "rules", from), asRead(params{"moveto": strconv.Itoa(to)}, digest)))
}

// RemoveRule deletes the rule at pos.
func (c *Client) RemoveRule(ctx context.Context, o kvm.Owned, pos int, digest string) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	return onVM(vm, "deleting a firewall rule", c.do(ctx, http.MethodDelete, guest(vm, "firewall", "rules", pos), asRead(params{}, digest)))
}

// SetPolicies sets the policies that are not "", and no other option. digest is that of the options.
func (c *Client) SetPolicies(ctx context.Context, o kvm.Owned, in, out, digest string) error {
	vm, err := target(o)
	if err != nil {
		return err
	}
	p := params{}
	if in != "" {
		p["policy_in"] = in
	}
	if out != "" {
		p["policy_out"] = out
	}
	if len(p) == 0 {
		return nil
	}
	return onVM(vm, "setting the firewall's policies", c.do(ctx, http.MethodPut, guest(vm, "firewall", "options"), asRead(p, digest)))
}

// asRead adds the digest of what the change was computed from, so that it is kvm.ErrChanged when that has changed since. What
// has no digest is an empty list, of which nothing can be told.
func asRead(p params, digest string) params {
	if digest != "" {
		p["digest"] = digest
	}
	return p
}
