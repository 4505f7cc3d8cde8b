package cron

import (
	"context"
	"errors"
	"sync"

	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Sweep is a task that goes through services which have nothing pending, and does something small with each that needs it.
type Sweep struct {
	Store   Services
	Owner   string
	Workers int
	Action  string // in the log's sid line
	// List are the services that may need it.
	List func(ctx context.Context) ([]int64, error)
	// Do does it with the service, which is held, and says whether there was something to do. What it has to say goes to sink.
	Do func(ctx context.Context, s *kvm.Service, sink event.Sink) (did bool, err error)
}

// Run goes through the services. One that somebody else has in hand, or that is no longer at ready, is left for the next
// time: it is no error. The error is that the list could not be had.
func (w *Sweep) Run(ctx context.Context, sink event.Sink) (Report, error) {
	list, err := w.List(ctx)
	if err != nil {
		return Report{}, err
	}
	var mu sync.Mutex
	var report Report
	next := make(chan int64)
	var wg sync.WaitGroup
	for range min(w.Workers, len(list)) {
		wg.Go(func() {
			for id := range next {
				did, err := w.one(ctx, id, sink)
				if !did && err == nil {
					continue
				}
				mu.Lock()
				report.Processed++
				result := event.ServiceResult{Service: id, Action: w.Action}
				if err != nil {
					report.Errors++
					result.Message, result.From, result.To = err.Error(), kvm.Ready, kvm.Ready
				}
				report.Results = append(report.Results, result)
				mu.Unlock()
			}
		})
	}
	for _, id := range list {
		if ctx.Err() != nil {
			break
		}
		next <- id
	}
	close(next)
	wg.Wait()
	return report, nil
}

func (w *Sweep) one(ctx context.Context, id int64, sink event.Sink) (did bool, err error) {
	err = Hold(ctx, w.Store, w.Owner, id, func(ctx context.Context, s *kvm.Service) (err error) {
		if s.Row.Status != kvm.Ready {
			return nil
		}
		did, err = w.Do(ctx, s, sink)
		return err
	})
	if errors.Is(err, kvm.ErrBusy) || errors.Is(err, kvm.ErrNotFound) || ctx.Err() != nil {
		return did, nil
	}
	return did, err
}
