package stats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/event"
	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// Task is the name of the task that a Collector is.
const Task = "collectingStatistics"

// Store is what it needs of the database.
type Store interface {
	// Metered are the services whose VM's traffic is counted.
	Metered(ctx context.Context) ([]kvm.Metered, error)
	// CountTraffic stores the samples, and adds to the hours what count makes of each and the one before (nil = none);
	// with keep the one before stays, and nothing is added. A sample and its hours are stored together or not at all.
	CountTraffic(ctx context.Context, samples []kvm.Sample, count func(last *kvm.Counters, now kvm.Sample) (hours []kvm.HourTraffic, keep bool)) (stored int, err error)
	// PurgeTraffic removes what is older than before.
	PurgeTraffic(ctx context.Context, before time.Time) error
}

// Cluster is what it needs of Proxmox.
type Cluster interface {
	// Traffic is what all guests have carried since they were started, by VMID, in one call.
	Traffic(ctx context.Context) (map[int]kvm.Traffic, error)
	// VM reads a configuration.
	VM(ctx context.Context, node string, vmid int) (*kvm.VM, error)
}

// Collector counts traffic.
type Collector struct {
	Store Store
	// Cluster is the client of a WHMCS server's cluster.
	Cluster func(ctx context.Context, serverID int64) (Cluster, error)
	Clock   clock.Clock
}

// serversAtOnce is how many servers are asked at the same time: one that is silent takes as long as a request may.
const serversAtOnce = 8

// outcome is what became of one server.
type outcome struct {
	stored int
	said   []string // what went wrong, a line each
}

// Run counts what the VMs of all services have carried since the last run: stored are the services whose counters were
// stored, failed is what went wrong, each of which is told. A server that fails stops no other. The error is that the list of
// services could not be had.
func (c *Collector) Run(ctx context.Context, sink event.Sink) (stored, failed int, err error) {
	list, err := c.Store.Metered(ctx)
	if err != nil {
		return 0, 0, err
	}
	byServer := map[int64][]kvm.Metered{}
	for _, m := range list {
		byServer[m.Server] = append(byServer[m.Server], m)
	}
	servers := slices.Sorted(maps.Keys(byServer))
	outcomes := make([]outcome, len(servers))
	slots := make(chan struct{}, serversAtOnce)
	var wg sync.WaitGroup
	for i, server := range servers {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			outcomes[i] = c.guarded(ctx, server, byServer[server])
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		if err := c.Store.PurgeTraffic(ctx, c.Clock.Now().Add(-kvm.StatisticsKept)); err != nil {
			outcomes = append(outcomes, outcome{said: []string{err.Error()}})
		}
	}
	for _, o := range outcomes {
		stored, failed = stored+o.stored, failed+len(o.said)
		for _, text := range o.said {
			sink.Emit(event.TaskSaid{At: event.At{Time: c.Clock.Now()}, Task: Task, Text: text})
		}
	}
	return stored, failed, nil
}

// guarded is server, a panic of which is one of its errors.
func (c *Collector) guarded(ctx context.Context, server int64, list []kvm.Metered) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			o.said = append(o.said, fmt.Sprintf("server %d: panic: %v", server, p))
		}
	}()
	return c.server(ctx, server, list)
}

func (c *Collector) server(ctx context.Context, server int64, list []kvm.Metered) (o outcome) {
	fail := func(err error) {
		if ctx.Err() != nil {
			return
		}
		text := fmt.Sprintf("server %d: %v", server, err)
		if hint := kvm.Hint(err); hint != "" {
			text += " — " + hint
		}
		o.said = append(o.said, text)
	}
	cluster, err := c.Cluster(ctx, server)
	if err != nil {
		fail(err)
		return o
	}
	all, err := cluster.Traffic(ctx)
	if err != nil {
		fail(err)
		return o
	}
	at := c.Clock.Now()
	samples, doubts := sampled(ctx, cluster, list, all, at)
	for _, err := range doubts {
		fail(err)
	}
	o.stored, err = c.Store.CountTraffic(ctx, samples, func(last *kvm.Counters, now kvm.Sample) ([]kvm.HourTraffic, bool) {
		carried, keep := Advance(last, now.Counters)
		return Split(carried.From, now.At, carried.In, carried.Out), keep
	})
	if err != nil {
		fail(err)
	}
	return o
}

// sampled are those of list's VMs among all guests of their cluster. A guest that may be another's is proved first; doubts
// are those that could not be.
func sampled(ctx context.Context, cluster Cluster, list []kvm.Metered, all map[int]kvm.Traffic, at time.Time) (out []kvm.Sample, doubts []error) {
	named := map[int]int{}
	listed := false
	for _, m := range list {
		named[m.VMID]++
		_, found := all[m.VMID]
		listed = listed || found
	}
	if !listed {
		return nil, []error{kvm.WithHint(kvm.Errorf(kvm.ErrDenied, "the cluster lists none of the services' %d VMs", len(list)), "give the token VM.Audit on /vms")}
	}
	for _, m := range list {
		t, found := all[m.VMID]
		switch {
		case !found, !t.Known:
			continue
		case t.Container:
			doubts = append(doubts, kvm.Errorf(kvm.ErrForeign, "guest %d is a container, not the VM of service %d", m.VMID, m.Service))
			continue
		case !strings.EqualFold(t.Name, m.Name), named[m.VMID] > 1:
			if err := proved(ctx, cluster, m, t); errors.Is(err, kvm.ErrNotHere) {
				continue // it has just left
			} else if err != nil {
				doubts = append(doubts, fmt.Errorf("service %d: its traffic is not counted: %w", m.Service, err))
				continue
			}
		}
		out = append(out, kvm.Sample{Service: m.Service, Counters: kvm.Counters{UUID: m.UUID, At: at, Uptime: t.Uptime, In: t.In, Out: t.Out}})
	}
	return out, doubts
}

// proved reads the VM and says by nil that it is the service's.
func proved(ctx context.Context, cluster Cluster, m kvm.Metered, t kvm.Traffic) error {
	vm, err := cluster.VM(ctx, t.Node, m.VMID)
	if err == nil {
		_, err = kvm.Prove(vm, &kvm.Row{VMID: m.VMID, UUID: m.UUID, UUIDs: m.UUIDs})
	}
	return err
}
