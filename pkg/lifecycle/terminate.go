package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const (
	taskDestroy  = "destroy"
	taskSnapshot = "snapshot"
	taskBackup   = "imgdel"
)

const noVM = "skip — there is no VM"

// Terminate is the table that ends a service. It runs whatever WHMCS says of the service: nothing of it is needed but the
// server. What waiting cannot mend ends in error_terminate.
func (l *Lifecycle) Terminate() *pipeline.Pipeline {
	const lost = kvm.ErrorTerminate
	return &pipeline.Pipeline{Name: "Terminate", Action: "terminate", Lines: true, Check: l.checkLock, Fail: l.giveUp, Steps: []pipeline.Step{
		{From: kvm.Terminate, Title: "Stop VM", To: kvm.TEStopped, Lasting: lost, Do: l.stopToDestroy},
		{From: kvm.TEStopped, Title: "Delete DNS records", To: kvm.TEDNSRemoved, Lasting: lost, Do: l.deleteDNS},
		{From: kvm.TEDNSRemoved, Title: "Delete VM", To: kvm.TERemoved, Lasting: lost, Do: l.destroyVM},
		{From: kvm.TERemoved, Title: "Remove backups", To: kvm.TEBackupsRemoved, Lasting: lost, Do: l.removeBackups},
		{From: kvm.TEBackupsRemoved, Title: "Clean up", To: kvm.Remove, Lasting: lost, Do: l.cleanUp},
	}}
}

// Redeploy is the table that destroys a VM and begins again at creation, with nothing kept but the order.
func (l *Lifecycle) Redeploy() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Redeploy", Action: "redeploy", Check: l.checkLock, Steps: []pipeline.Step{
		{From: kvm.Redeploy, Title: "Stop VM", To: kvm.RDStopped, Do: l.row(l.stopToDestroy)},
		{From: kvm.RDStopped, Title: "Delete DNS records", To: kvm.RDDNSRemoved, Do: l.row(l.deleteDNS)},
		{From: kvm.RDDNSRemoved, Title: "Delete VM", To: kvm.RDRemoved, Do: l.row(l.destroyVM)},
		{From: kvm.RDRemoved, Title: "Release addresses", To: kvm.Creation, Do: l.row(l.requeue)},
	}}
}

// giveUp keeps everything, and tells the administrator.
func (l *Lifecycle) giveUp(ctx context.Context, s *kvm.Service, to kvm.Status, message string) error {
	return l.Store.GiveUp(ctx, s, to, "termination", message, l.Clock.Now().In(l.Zone))
}

// checkLock is the Check of what destroys: a VM that Proxmox has locked is left alone, without a line. What else is wrong
// with the VM the rows will meet.
func (l *Lifecycle) checkLock(ctx context.Context, s *kvm.Service) (string, error) {
	if s.Row.UUID == "" || s.Row.TaskUPID != "" {
		return "", nil
	}
	if _, vm, err := l.observe(ctx, s); err == nil && vm.VM().Lock != "" {
		return fmt.Sprintf("waiting on VM %d: locked by Proxmox (%s)", s.Row.VMID, vm.VM().Lock), nil
	}
	return "", nil
}

// stopToDestroy stops the VM, if there is one.
func (l *Lifecycle) stopToDestroy(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, vm, gone, err := l.find(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if gone {
		tell(ctx, "there is no VM, vmid: %d", s.Row.VMID)
		return skip(noVM)
	}
	if vm, err = l.settled(ctx, c, s, vm, taskShutdown, taskStop); err != nil {
		return pipeline.Result{}, err
	}
	if lock := vm.VM().Lock; lock != "" {
		return pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", s.Row.VMID, lock)}, nil
	}
	if err := l.nameCluster(ctx, c, s); err != nil { // the VM is here, whatever its cluster was called before
		return pipeline.Result{}, err
	}
	stopped, err := l.halt(ctx, c, s, vm)
	if err == nil && !stopped {
		return skip(noChange)
	}
	return pipeline.Result{}, err
}

// destroyVM destroys the VM, if there is one. The proof is made anew. Proxmox refuses to destroy a VM that runs: one that
// somebody has started since is stopped, once more.
func (l *Lifecycle) destroyVM(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	c, err := l.cluster(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	// Our own task's OK is a proof that holds, also when the VMID has been given to another VM since.
	done, err := l.destroyed(ctx, c, s)
	if done || err != nil && !errors.Is(err, kvm.ErrTaskFailed) && !errors.Is(err, kvm.ErrUnknown) {
		return pipeline.Result{}, err
	}
	s.Seen = nil
	vm, gone, err := l.findLate(ctx, s)
	switch {
	case err != nil:
		return pipeline.Result{}, err
	case gone:
		s.Row.Gone()
		tell(ctx, "there is no VM, vmid: %d", s.Row.VMID)
		return skip(noVM)
	case vm.VM().Lock != "":
		return pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", s.Row.VMID, vm.VM().Lock)}, nil
	case vm.VM().Protection:
		return pipeline.Result{}, kvm.WithHint(kvm.Errorf(kvm.ErrPermanent, "VM %d on %s is protected against removal", s.Row.VMID, vm.VM().Node),
			"take the protection off in Proxmox (qm set %d --protection 0), then ask again", s.Row.VMID)
	}
	tell(ctx, "DELETE VM vmid=%d node=%s purge=1", s.Row.VMID, vm.VM().Node)
	send := func() error {
		return l.begin(ctx, s, taskDestroy, func(ctx context.Context) (kvm.UPID, error) { return c.Delete(ctx, vm) })
	}
	if err = send(); errors.Is(err, kvm.ErrState) {
		if _, err := l.halt(ctx, c, s, vm); err != nil {
			return pipeline.Result{}, err
		}
		if _, vm, err = l.look(ctx, s); err != nil {
			return pipeline.Result{}, err
		}
		err = send()
	}
	if err != nil {
		return pipeline.Result{}, err
	}
	if done, err = l.destroyed(ctx, c, s); err == nil && !done {
		err = fmt.Errorf("VM %d: Proxmox named no task that destroys it", s.Row.VMID)
	}
	return pipeline.Result{}, err
}

// destroyed follows an open task that destroys the VM; done = it ended well, and the row forgets the VM.
func (l *Lifecycle) destroyed(ctx context.Context, c Cluster, s *kvm.Service) (done bool, err error) {
	if s.Row.TaskUPID == "" || s.Row.TaskKind != taskDestroy {
		return false, nil
	}
	if err := l.follow(ctx, c, s, taskDestroy, l.Settings.Wait); err != nil {
		return false, err
	}
	s.Row.Gone()
	s.Seen = nil
	tell(ctx, "VM deleted")
	return true, nil
}

// removeBackups removes what is known to be the service's, one after the other. One that is not the service's any more, or
// that is protected, stays.
func (l *Lifecycle) removeBackups(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	if s.Row.TaskUPID != "" || s.Row.BackupSent != "" { // what is still being made goes, too
		c, err := l.cluster(ctx, s)
		if err == nil {
			err = l.settle(ctx, c, s)
		}
		if err != nil {
			return pipeline.Result{}, err
		}
	}
	list, err := l.Store.Backups(ctx, s.ID)
	if err != nil {
		return pipeline.Result{}, err
	}
	tell(ctx, "removing backups")
	if len(list) == 0 {
		tell(ctx, "backups removed")
		return skip("skip — none")
	}
	c, err := l.cluster(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	kept := 0
	for _, b := range list {
		removed, err := l.removeBackup(ctx, c, s, b)
		if err != nil {
			return pipeline.Result{}, err
		}
		if !removed {
			kept++
		}
	}
	if kept > 0 {
		tell(ctx, "backups kept: %d, protected or another's", kept)
		return pipeline.Result{Note: fmt.Sprintf("kept %d, protected or another's", kept)}, nil
	}
	tell(ctx, "backups removed")
	return pipeline.Result{}, nil
}

func (l *Lifecycle) removeBackup(ctx context.Context, c Cluster, s *kvm.Service, b kvm.Backup) (removed bool, err error) {
	found, err := l.findBackup(ctx, c, &b)
	switch {
	case err != nil:
		return false, err
	case !found:
		return true, l.Store.ForgetBackup(ctx, s.ID, b)
	}
	mine, err := kvm.ProveBackup(&b, &s.Row)
	if err != nil {
		return false, nil
	}
	err = l.begin(ctx, s, taskBackup, func(ctx context.Context) (kvm.UPID, error) { return c.DeleteBackup(ctx, mine) })
	if err == nil {
		err = l.follow(ctx, c, s, taskBackup, l.Settings.Wait)
	}
	if errors.Is(err, kvm.ErrPermanent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, l.Store.ForgetBackup(ctx, s.ID, b)
}

// findBackup reads which VM b is of, at a node that sees it. A backup is not found only where a storage that nodes share
// says so, or each node's own: the journal does not say which node's it is.
func (l *Lifecycle) findBackup(ctx context.Context, c Cluster, b *kvm.Backup) (found bool, err error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return false, err
	}
	var missing []string // nodes that could not be asked
	asked := false
	for _, n := range nodes {
		if !n.Online {
			missing = append(missing, n.Name)
			continue
		}
		stores, err := c.BackupStorages(ctx, n.Name)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(stores, func(st kvm.Storage) bool { return st.Name == b.Storage })
		if i < 0 {
			continue
		}
		if !stores[i].Active {
			missing = append(missing, n.Name)
			continue
		}
		b.Node, asked = n.Name, true
		err = c.Inside(ctx, b)
		if !errors.Is(err, kvm.ErrNotFound) {
			return err == nil, err
		}
		if stores[i].Shared {
			return false, nil
		}
	}
	if !asked || len(missing) > 0 {
		return false, kvm.Errorf(kvm.ErrUnreachable, "the backup %s: no node that is online has an active storage %s with it (not asked: %s)", b.Volume, b.Storage, orNone(missing))
	}
	return false, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// cleanUp forgets the service's VM. Its status moves with all that belongs to it.
func (l *Lifecycle) cleanUp(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
	return pipeline.Result{Commit: func(ctx context.Context) error {
		return l.Store.Terminated(ctx, s, l.Settings.VMIDRest, l.Clock.Now().In(l.Zone))
	}}, nil
}

func (l *Lifecycle) requeue(_ context.Context, s *kvm.Service) (pipeline.Result, error) {
	return pipeline.Result{Commit: func(ctx context.Context) error {
		return l.Store.Requeue(ctx, s, l.Settings.VMIDRest, l.Clock.Now().In(l.Zone))
	}}, nil
}
