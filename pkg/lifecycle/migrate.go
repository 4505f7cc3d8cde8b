package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const taskMigrate = "migrate"

// migrate brings the fresh VM to its target node. What cannot be done stays undone, with the reason in the title: a VM
// on another node than wished is better than none.
func (l *Lifecycle) migrate(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if !l.Settings.MigrationEnabled {
		return skip("skip — migration is switched off")
	}
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if err := l.follow(ctx, c, s, taskMigrate, l.Settings.MigrationTimeout); err != nil {
		return l.stay(s, err)
	}
	if s.Row.MigrateTarget == "" {
		target, why, err := l.target(ctx, c, s, vm.VM())
		switch {
		case err != nil:
			return pipeline.Result{}, err
		case why != "":
			return skip("skip — " + why)
		case target == vm.VM().Node:
			return skip(noChange)
		}
		s.Row.MigrateTarget = target
		if err := l.Store.Save(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
	}
	// Wherever an earlier run stopped: the cluster says where it is now.
	moved, err := l.arrived(ctx, c, s)
	if err != nil || moved {
		return pipeline.Result{}, err
	}
	if _, vm, err = l.look(ctx, s); err != nil {
		return pipeline.Result{}, err
	}
	why, err := c.MigrateCheck(ctx, vm, s.Row.MigrateTarget)
	switch {
	case err != nil:
		return l.stay(s, err)
	case why != "":
		return skip("skip — " + why)
	}
	err = l.begin(ctx, s, taskMigrate, func(ctx context.Context) (kvm.UPID, error) {
		return c.Migrate(ctx, vm, s.Row.MigrateTarget, s.Package.System.Storage)
	})
	if err == nil {
		err = l.follow(ctx, c, s, taskMigrate, l.Settings.MigrationTimeout)
	}
	if err != nil {
		return l.stay(s, err)
	}
	moved, err = l.arrived(ctx, c, s)
	if err == nil && !moved {
		err = fmt.Errorf("VM %d: the migration to %s ended OK, but the VM is on %s", s.Row.VMID, s.Row.MigrateTarget, s.Row.Node)
	}
	return pipeline.Result{}, err
}

// stay decides what a migration's failure means: what Proxmox would refuse again is noted and the VM stays; the rest is
// an error or a wait like any other.
func (l *Lifecycle) stay(s *kvm.Service, err error) (pipeline.Result, error) {
	if errors.Is(err, kvm.ErrPermanent) || errors.Is(err, kvm.ErrInvalid) {
		s.Seen = nil
		return skip(fmt.Sprintf("skip — stays on %s: %v", s.Row.Node, err))
	}
	return pipeline.Result{}, err
}

// arrived asks the cluster where the VM is. A locked VM is still on its way: kvm.ErrBusy.
func (l *Lifecycle) arrived(ctx context.Context, c Cluster, s *kvm.Service) (bool, error) {
	place, found, err := c.Place(ctx, s.Row.VMID)
	if err != nil {
		return false, err
	}
	if !found {
		return false, fmt.Errorf("VM %d is not listed by the cluster; whether it is gone is not known", s.Row.VMID)
	}
	s.Row.Node = place.Node
	_, vm, err := l.look(ctx, s)
	if err != nil {
		return false, err
	}
	if lock := vm.VM().Lock; lock != "" {
		return false, kvm.Errorf(kvm.ErrBusy, "VM %d: locked by Proxmox (%s)", s.Row.VMID, lock)
	}
	return vm.VM().Node == s.Row.MigrateTarget, nil
}

// target chooses the node: the product's, or the online node with the most free memory that has the storage. why says
// that there is none.
func (l *Lifecycle) target(ctx context.Context, c Cluster, s *kvm.Service, vm *kvm.VM) (target, why string, err error) {
	if s.Package.Node == vm.Node {
		return vm.Node, "", nil
	}
	storage, shared, movable, err := l.diskHome(ctx, c, s, vm)
	if err != nil {
		return "", "", err
	}
	if !movable {
		return "", fmt.Sprintf("a linked clone on the local storage %s stays on %s", storage, vm.Node), nil
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return "", "", err
	}
	want := s.Package.System.Storage
	if want == "" || shared {
		want = storage
	}
	best, seen := "", false
	for _, n := range l.placed.order(s.Row.ServerID, vm.Node, nodes) {
		if s.Package.Node != "" && n.Name != s.Package.Node {
			continue
		}
		seen = true
		if !n.Online {
			continue
		}
		has, err := l.hasStorage(ctx, c, n.Name, want)
		if s.Package.Node == "" && ctx.Err() == nil && errors.Is(err, kvm.ErrUnreachable) {
			continue // a node that does not answer is not chosen; after a signal nothing is known of it
		}
		if err != nil {
			return "", "", err
		}
		if has {
			best = n.Name
			break
		}
	}
	if best != "" {
		l.placed.add(s.Row.ServerID, best, int64(s.Package.RAM)<<20)
	}
	switch {
	case best != "":
		return best, "", nil
	case s.Package.Node != "" && !seen:
		return "", fmt.Sprintf("stays on %s: the cluster has no node %s", vm.Node, s.Package.Node), nil
	case s.Package.Node != "":
		return "", fmt.Sprintf("stays on %s: node %s is offline or has no storage %s", vm.Node, s.Package.Node, want), nil
	}
	return "", fmt.Sprintf("stays on %s: no online node has the storage %s", vm.Node, want), nil
}

// placed is the memory that this process has given away, by node: what the nodes report lags behind, and many orders of
// one tick must not all go to one node.
type placed struct {
	mu   sync.Mutex
	used map[string]int64
}

func newPlaced() *placed { return &placed{used: map[string]int64{}} }

func (p *placed) add(cluster int64, node string, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used[fmt.Sprintf("%d/%s", cluster, node)] += bytes
}

// order is nodes with the most free memory first. Of equals the VM's own comes first (a migration for nothing costs the
// customer minutes), then by name.
func (p *placed) order(cluster int64, own string, nodes []kvm.Node) []kvm.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(nodes)
	for i := range out {
		out[i].FreeRAM -= p.used[fmt.Sprintf("%d/%s", cluster, out[i].Name)]
	}
	slices.SortFunc(out, func(a, b kvm.Node) int {
		switch {
		case a.FreeRAM != b.FreeRAM:
			return cmp.Compare(b.FreeRAM, a.FreeRAM)
		case a.Name == own:
			return -1
		case b.Name == own:
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

// diskHome says where the system disk is, whether that storage is shared, and whether a migration could carry the disk.
// A linked clone on a local storage hangs on its base image; lvmthin alone copies it whole.
func (l *Lifecycle) diskHome(ctx context.Context, c Cluster, s *kvm.Service, vm *kvm.VM) (storage string, shared, movable bool, err error) {
	disk := vm.Disk(vm.SystemSlot)
	if disk == nil {
		return "", false, false, fmt.Errorf("VM %d has no system disk", vm.VMID)
	}
	stores, err := c.Storages(ctx, vm.Node)
	if err != nil {
		return "", false, false, err
	}
	for _, st := range stores {
		if st.Name == disk.Storage {
			return st.Name, st.Shared, s.Package.FullClone || st.Shared || st.Type == "lvmthin", nil
		}
	}
	return disk.Storage, false, s.Package.FullClone, nil
}

func (l *Lifecycle) hasStorage(ctx context.Context, c Cluster, node, storage string) (bool, error) {
	stores, err := c.Storages(ctx, node)
	if err != nil {
		return false, err
	}
	for _, st := range stores {
		if st.Name == storage && st.Active && st.Images {
			return true, nil
		}
	}
	return false, nil
}
