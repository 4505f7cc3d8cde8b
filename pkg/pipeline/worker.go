package pipeline

import "context"

type workersKey struct{}

// WithWorkers gives ctx the workers of a tick, one of which the caller has taken by sending to workers.
func WithWorkers(ctx context.Context, workers chan struct{}) context.Context {
	return context.WithValue(ctx, workersKey{}, workers)
}

// Waiting runs wait, which does nothing but wait for what is not ours (a task of Proxmox, somebody else's slot), and lends
// ctx's worker to others meanwhile. Its error is wait's. The caller holds nothing that another service may wait for with
// its worker in hand: all workers could be waiting for it then, and the caller for one of them.
func Waiting(ctx context.Context, wait func() error) error {
	workers, _ := ctx.Value(workersKey{}).(chan struct{})
	if workers == nil {
		return wait()
	}
	<-workers
	defer func() { workers <- struct{}{} }()
	return wait()
}
