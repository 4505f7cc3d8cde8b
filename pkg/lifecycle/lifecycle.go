package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/dns"
	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

// Settings are the run-time settings that rows heed.
type Settings struct {
	Wait             time.Duration // cron.wait: for a task, in one tick
	MigrationEnabled bool
	MigrationTimeout time.Duration
	StartWait        time.Duration // until a started VM must be seen running
	ClonesPerNode    int
	ClonesPerStorage int // to a shared storage
	BackupsPerNode   int
	StopGraceful     time.Duration // that a guest has to shut down
	StopForce        time.Duration // until a VM that was switched off must be seen stopped
	VMIDRest         time.Duration // until the VMID of a VM that is gone is used again
	Quarantine       time.Duration // until an address that a living VM could still use is given out again
}

// Lifecycle holds what the rows' functions need. Make it with New; it is safe for concurrent use.
type Lifecycle struct {
	Store Store
	// Cluster is the client of a WHMCS server's cluster; the same value for the same server within a process.
	Cluster  func(ctx context.Context, serverID int64) (Cluster, error)
	Settings Settings
	Clock    clock.Clock
	Zone     *time.Location // WHMCS's, for what is written to its notes and log; nil = UTC
	Rand     io.Reader
	// Installation is the id that ownership marks carry.
	Installation string
	// DNSZones are the zones as they are configured; nil = there are none. DNS carries their operations out.
	DNSZones func(ctx context.Context) ([]dns.Zone, error)
	DNS      *dns.Syncer
	// ModuleLog takes the summary of what was done in DNS; nil = nobody wants it.
	ModuleLog func(ctx context.Context, action, request, response string)

	queues    *queues
	templates *templates
	placed    *placed
}

// New completes l.
func New(l Lifecycle) *Lifecycle {
	l.queues, l.templates, l.placed = newQueues(), newTemplates(), newPlaced()
	if l.Zone == nil {
		l.Zone = time.UTC
	}
	return &l
}

const (
	noChange  = "skip — no change"
	suspended = "skip — suspended"
)

// digestTries is how often a change is computed anew when somebody else was faster.
const digestTries = 3

func skip(note string) (pipeline.Result, error) { return pipeline.Result{Note: note}, nil }

// row wraps a row's function with what stops every row: rows of WHMCS that are wrong, and a service that WHMCS has ended.
func (l *Lifecycle) row(do func(ctx context.Context, s *kvm.Service) (pipeline.Result, error)) func(context.Context, *kvm.Service) (pipeline.Result, error) {
	return func(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
		wait := ended(s)
		if (s.Row.Status == kvm.SetDNS || s.Row.Status == kvm.RIRemoved) && (s.Problem != nil || wait != "") {
			// It may stay here for long, and a slot that a killed run has left would be missing to others.
			if err := l.Store.FreeSlots(ctx, s); err != nil {
				return pipeline.Result{}, err
			}
		}
		switch {
		case wait != "":
			return pipeline.Result{Wait: wait}, nil
		case s.Problem != nil:
			return pipeline.Result{}, s.Problem
		}
		return do(ctx, s)
	}
}

// ended says why nothing but a terminate is done for s, "" = WHMCS has not ended it.
func ended(s *kvm.Service) string {
	if s.State == "Active" || s.State == "Pending" || s.State == "Suspended" {
		return ""
	}
	return fmt.Sprintf("WHMCS: the service is %s; nothing is done until it is Active again or terminated", s.State)
}

// check is the Check of every pipeline with a VM: a VM that Proxmox has locked is left alone, without a line.
func (l *Lifecycle) check(ctx context.Context, s *kvm.Service) (string, error) {
	if s.Row.UUID == "" || s.Problem != nil || s.Row.TaskUPID != "" {
		return "", nil
	}
	_, vm, err := l.observe(ctx, s)
	if err != nil {
		return "", err
	}
	if lock := vm.VM().Lock; lock != "" {
		return fmt.Sprintf("waiting on VM %d: locked by Proxmox (%s)", s.Row.VMID, lock), nil
	}
	return "", nil
}

func (l *Lifecycle) cluster(ctx context.Context, s *kvm.Service) (Cluster, error) {
	id := s.Row.ServerID
	if id == 0 {
		id = s.ServerID
	}
	return l.Cluster(ctx, id)
}

// observe gives the VM with the proof that it is s's, reading it unless this run has.
func (l *Lifecycle) observe(ctx context.Context, s *kvm.Service) (Cluster, kvm.Owned, error) {
	c, err := l.cluster(ctx, s)
	if err != nil {
		return nil, kvm.Owned{}, err
	}
	if s.Seen == nil {
		s.Sees, s.SeenAt = nil, l.Clock.Now()
		if s.Seen, err = l.read(ctx, c, s); err != nil {
			return nil, kvm.Owned{}, err
		}
	}
	vm, err := kvm.Prove(s.Seen, &s.Row)
	if errors.Is(err, kvm.ErrUnproved) {
		err = kvm.WithHint(err, "puqkvm adopt %d", s.ID)
	}
	return c, vm, err
}

// look is observe with a fresh reading.
func (l *Lifecycle) look(ctx context.Context, s *kvm.Service) (Cluster, kvm.Owned, error) {
	s.Seen = nil
	return l.observe(ctx, s)
}

// sightAge is how old a reading may be that glance takes for one of now: of the order of what lies between any reading and the
// request that comes after it.
const sightAge = time.Second

// glance is look, but for a reading of a moment ago, which will do.
func (l *Lifecycle) glance(ctx context.Context, s *kvm.Service) (Cluster, kvm.Owned, error) {
	if l.Clock.Now().Sub(s.SeenAt) >= sightAge {
		s.Seen = nil
	}
	return l.observe(ctx, s)
}

// read locates the VM and reads its configuration. The node on the row is tried first; the cluster is asked when the VM
// is not there any more, or when the node is silent or no more: the VM may have been brought to another one.
func (l *Lifecycle) read(ctx context.Context, c Cluster, s *kvm.Service) (*kvm.VM, error) {
	var silent error
	if s.Row.Node != "" {
		vm, err := c.VM(ctx, s.Row.Node, s.Row.VMID)
		switch {
		case errors.Is(err, kvm.ErrUnreachable), errors.Is(err, kvm.ErrPermanent):
			silent = err
		case !errors.Is(err, kvm.ErrNotHere):
			return vm, err
		}
	}
	place, found, err := c.Place(ctx, s.Row.VMID)
	switch {
	case silent != nil && (err != nil || found && place.Node == s.Row.Node):
		return nil, silent
	case err != nil:
		return nil, err
	}
	if !found {
		return nil, kvm.WithHint(kvm.Errorf(kvm.ErrNotHere, "VM %d is not listed by the cluster; whether it is gone is not known", s.Row.VMID),
			"look for it in Proxmox; the token needs VM.Audit on /vms/%d", s.Row.VMID)
	}
	if place.Container {
		return nil, kvm.Errorf(kvm.ErrForeign, "guest %d on %s is a container, not a VM of this service", s.Row.VMID, place.Node)
	}
	vm, err := c.VM(ctx, place.Node, s.Row.VMID)
	if err != nil {
		return nil, err
	}
	s.Row.Node = place.Node
	return vm, nil
}

// begin sends what starts a task and stores the task before it is waited for. A signal does not end it.
func (l *Lifecycle) begin(ctx context.Context, s *kvm.Service, kind string, post func(ctx context.Context) (kvm.UPID, error)) error {
	ctx = context.WithoutCancel(ctx)
	id, err := post(ctx)
	if err != nil {
		return err
	}
	if id == "" {
		return nil
	}
	s.Row.TaskKind, s.Row.TaskUPID = kind, string(id)
	return l.Store.Save(ctx, s)
}

// follow waits for the open task of kind, if there is one, at most for limit. A task that has ended, or that nobody knows
// any more, is forgotten, whatever its end was.
func (l *Lifecycle) follow(ctx context.Context, c Cluster, s *kvm.Service, kind string, limit time.Duration) error {
	if s.Row.TaskUPID == "" || s.Row.TaskKind != kind {
		return nil
	}
	id := s.Row.TaskUPID
	err := pipeline.Waiting(ctx, func() error { return c.Wait(ctx, kvm.UPID(id), limit) })
	switch {
	case errors.Is(err, kvm.ErrStillRunning):
		return kvm.Errorf(kvm.ErrStillRunning, "task %s", id)
	case err != nil && !errors.Is(err, kvm.ErrTaskFailed) && !errors.Is(err, kvm.ErrUnknown):
		return err // nothing was learned of the task
	}
	s.Row.TaskKind, s.Row.TaskUPID = "", ""
	if kind != taskStart && kind != taskShutdown && kind != taskStop { // which change no configuration
		s.Seen = nil
	}
	if err != nil {
		if saveErr := l.Store.Save(context.WithoutCancel(ctx), s); saveErr != nil {
			return saveErr
		}
	}
	return err
}

// change is one setting of a VM: whether it is as wanted, and what makes it so.
type change struct {
	kind string // of its task
	what string // for the error when it did not take
	same func(vm *kvm.VM) bool
	send func(ctx context.Context, c Cluster, vm kvm.Owned) (kvm.UPID, error)
}

// configure makes ch so: observe, compare, act, wait, verify. A change that somebody else overtakes is computed anew.
func (l *Lifecycle) configure(ctx context.Context, s *kvm.Service, ch change) (pipeline.Result, error) {
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	sent := s.Row.TaskUPID != "" && s.Row.TaskKind == ch.kind
	if err := l.follow(ctx, c, s, ch.kind, l.Settings.Wait); err != nil && !errors.Is(err, kvm.ErrChanged) {
		return pipeline.Result{}, err
	}
	for try := 1; ; try++ {
		if _, vm, err = l.observe(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
		if ch.same(vm.VM()) {
			if sent {
				return pipeline.Result{}, nil
			}
			return skip(noChange)
		}
		err = l.begin(ctx, s, ch.kind, func(ctx context.Context) (kvm.UPID, error) { return ch.send(ctx, c, vm) })
		if err == nil {
			err = l.follow(ctx, c, s, ch.kind, l.Settings.Wait)
		}
		sent = true
		s.Seen = nil
		if errors.Is(err, kvm.ErrChanged) && try < digestTries {
			continue
		}
		if err != nil {
			return pipeline.Result{}, err
		}
		break
	}
	if _, vm, err = l.look(ctx, s); err != nil {
		return pipeline.Result{}, err
	}
	if !ch.same(vm.VM()) {
		return pipeline.Result{}, fmt.Errorf("VM %d: %s was accepted by Proxmox but did not take effect", s.Row.VMID, ch.what)
	}
	return pipeline.Result{}, nil
}
