package cmd

import (
	"context"
	"errors"

	"github.com/puqkvm/puqkvm/pkg/cron"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/lifecycle"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
	"github.com/spf13/cobra"
)

// forClients gives c, a command that the product may allow its clients, the flag --as-client.
func (a *app) forClients(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&a.asClient, "as-client", false, "refuse it unless the product allows it to its clients")
	return c
}

// allowed refuses with --as-client what the product of s does not allow its clients: what is a permission of it.
func (a *app) allowed(s *kvm.Service, what string) error {
	switch {
	case !a.asClient:
		return nil
	case s.Problem != nil: // then nothing is known of what the product allows
		return s.Problem
	case !s.Package.Permissions[what]:
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the product of service %d does not allow its clients this (allow_%s)", s.ID, what),
			"puqkvm product set %d allow_%s=on", s.ProductID, what)
	}
	return nil
}

// opened opens the database, reads the service, and refuses what its product does not allow its clients.
func (a *app) opened(ctx context.Context, id int64, may string) (*lifecycle.Lifecycle, *kvm.Service, error) {
	if err := a.open(ctx); err != nil {
		return nil, nil, err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.store.Service(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return l, s, a.allowed(s, may)
}

// atOnce does v, for which the product's permission may is wanted, while the caller waits: it holds the service and walks a
// table that begins and ends where the service is.
func (a *app) atOnce(ctx context.Context, id int64, v kvm.Verb, may string, table func(*lifecycle.Lifecycle) *pipeline.Pipeline) error {
	if err := a.open(ctx); err != nil {
		return err
	}
	p, err := a.process(ctx, id)
	if err != nil {
		return err
	}
	l, err := a.lifecycle(ctx)
	if err != nil {
		return err
	}
	err = cron.Hold(ctx, a.store, p.Owner, id, func(ctx context.Context, s *kvm.Service) error {
		if err := a.allowed(s, may); err != nil {
			return err
		}
		answer := kvm.Answer{Decision: kvm.Decide(v, s.Row.Status.Phase()), Was: s.Row.Status, VMID: s.Row.VMID}
		if err := answer.Refusal(v, id); err != nil {
			return err
		}
		return asError(p.Engine.Run(ctx, table(l), s, event.SinkFunc(func(event.Event) {})))
	})
	if errors.Is(err, kvm.ErrMoved) {
		return kvm.Errorf(kvm.ErrQueued, "%s: WHMCS has asked for something else of service %d meanwhile; cron goes on with it", v, id)
	}
	return err
}

// asError is what kept a run from its end, nil = nothing did.
func asError(out pipeline.Outcome) error {
	switch {
	case out.Complete:
		return nil
	case out.Err != nil:
		return out.Err
	}
	return kvm.Errorf(kvm.ErrBusy, "%s", out.Message)
}
