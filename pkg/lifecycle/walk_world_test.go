package lifecycle_test

import (
	"slices"
	"time"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// now walks a table that begins and ends where the service is, as a command does.
func (p *process) now(id int64, table *pipeline.Pipeline) outcome {
	p.w.t.Helper()
	return p.held(id, func(*kvm.Service) *pipeline.Pipeline { return table })
}

// tick walks the service as cron does, a minute later.
func (p *process) tick(id int64) outcome {
	p.w.t.Helper()
	p.w.clock.Advance(61 * time.Second)
	return p.held(id, p.table)
}

// table is the one that cron walks for the service.
func (p *process) table(s *kvm.Service) *pipeline.Pipeline {
	p.w.t.Helper()
	all := p.life.Pipelines()
	i := slices.IndexFunc(all, func(t *pipeline.Pipeline) bool { return slices.Contains(t.Statuses(), s.Row.Status) })
	if i < 0 {
		p.w.t.Fatalf("service %d is at %s, where cron does nothing", s.ID, s.Row.Status)
	}
	return all[i]
}

// held claims the service, walks the table that choose gives for it, and lets it go. The claim of a process that has died falls
// silent.
func (p *process) held(id int64, choose func(s *kvm.Service) *pipeline.Pipeline) outcome {
	w := p.w
	w.t.Helper()
	ctx := w.t.Context()
	if won, err := w.store.Claim(ctx, id, p.owner, ""); err != nil || !won {
		w.t.Fatalf("service %d: claim %t, %v", id, won, err)
	}
	s := w.service(id)
	table := choose(s)
	var out outcome
	out.Outcome = p.engine.Run(ctx, table, s, event.SinkFunc(func(e event.Event) { out.see(w, e) }))
	if p.fuse.blown() {
		w.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE service_id = ?", id)
		return out
	}
	if err := w.store.Release(ctx, id, p.owner, out.Message); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// reach walks the service up to the row last, which must succeed.
func (w *world) reach(id int64, last int) outcome {
	w.t.Helper()
	out := w.run(id, last)
	if !out.Complete {
		w.t.Fatalf("service %d stopped at %s: %s", id, out.At, out.Message)
	}
	return out
}
