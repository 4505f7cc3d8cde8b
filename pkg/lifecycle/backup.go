package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pipeline"
)

const taskVzdump = "vzdump"

// BackupSlot is the kind of slot that counts a node's backups.
const BackupSlot = taskVzdump

// Backup is the table that makes a backup which somebody has asked for.
func (l *Lifecycle) Backup() *pipeline.Pipeline {
	return &pipeline.Pipeline{Name: "Backup", Action: "backup", Check: l.check, Steps: []pipeline.Step{
		{From: kvm.MakeBackup, Title: "Create backup", To: kvm.Ready, Lasting: kvm.Ready, Do: l.row(l.backUp)},
	}}
}

// CheckBackup says whether a backup of s could be made now: the package has room for one more and the storage is there.
func (l *Lifecycle) CheckBackup(ctx context.Context, s *kvm.Service) error {
	c, vm, err := l.look(ctx, s)
	if err != nil {
		return err
	}
	if err := backupStorage(ctx, c, s, vm.VM().Node); err != nil {
		return err
	}
	return l.backupQuota(ctx, c, s)
}

// backupStorage says whether the product's backup storage is there for node: kvm.ErrBusy = it is not active now.
func backupStorage(ctx context.Context, c Cluster, s *kvm.Service, node string) error {
	name := s.Package.BackupStorage
	if name == "" {
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "product %d has no storage for backups", s.ProductID), "puqkvm product set %d backup_storage=NAME", s.ProductID)
	}
	list, err := backupStorages(ctx, c, s, node)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(st kvm.Storage) bool { return st.Name == name })
	switch {
	case i < 0:
		return kvm.WithHint(kvm.Errorf(kvm.ErrInvalid, "the storage %s of product %d takes no backups on %s, or is not there", name, s.ProductID, node), "puqkvm product check %d", s.ProductID)
	case !list[i].Active:
		return kvm.Errorf(kvm.ErrBusy, "the storage %s of %s, which is not active", name, node)
	}
	return nil
}

// backupStorages are the storages that may hold backups, also those that are not active now, as node lists them. The node of s.Seen
// is asked once for each reading of the VM.
func backupStorages(ctx context.Context, c Cluster, s *kvm.Service, node string) ([]kvm.Storage, error) {
	seen := s.Seen != nil && s.Seen.Node == node
	if seen && s.Sees != nil {
		return s.Sees, nil
	}
	list, err := c.BackupStorages(ctx, node)
	if seen && err == nil {
		s.Sees = list
	}
	return list, err
}

// backupQuota refuses when the package has room for no more backups.
func (l *Lifecycle) backupQuota(ctx context.Context, c Cluster, s *kvm.Service) error {
	own, err := l.ownBackups(ctx, c, s)
	quota := s.Package.Backups
	switch {
	case err != nil:
		return err
	case quota == 0:
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "the package of service %d has no backups", s.ID), "puqkvm product set %d backups=N", s.ProductID)
	case len(own) >= quota:
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has %d of %d backups", s.ID, len(own), quota), "puqkvm backup remove %d VOLID", s.ID)
	}
	return nil
}

// backUp makes a backup that somebody has asked for.
func (l *Lifecycle) backUp(ctx context.Context, s *kvm.Service) (pipeline.Result, error) {
	return l.makeBackup(ctx, s, s.Row.BackupNote, l.backupQuota)
}

// makeBackup has Proxmox make one backup, and notes it in the journal. room makes sure that the package has room, when one of the
// node's slots is ours. What fails for good is kvm.Lasting, and leaves no task behind.
func (l *Lifecycle) makeBackup(ctx context.Context, s *kvm.Service, note string, room func(context.Context, Cluster, *kvm.Service) error) (res pipeline.Result, err error) {
	defer func() {
		if kvm.Lasting(err) { // the run ends here
			s.Row.SetDoubtful(true)
		}
	}()
	c, vm, err := l.observe(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if vm, err = l.settled(ctx, c, s, vm, taskVzdump); err != nil {
		return pipeline.Result{}, err
	}
	if s.Row.Doubtful() {
		if err := l.settle(ctx, c, s); err != nil {
			return pipeline.Result{}, err
		}
	}
	if s.Row.TaskUPID == "" && s.Row.BackupSent != "" {
		if err := l.resolveBackup(ctx, c, s); err != nil {
			return pipeline.Result{}, err
		}
	}
	if s.Row.TaskUPID == "" {
		leave, err := l.slot(ctx, s, taskVzdump, vm.VM().Node, l.Settings.BackupsPerNode)
		if err != nil {
			return pipeline.Result{}, err
		}
		defer leave()
		if res, err := l.sendBackup(ctx, c, s, note, room); err != nil || res.Wait != "" {
			if s.Row.BackupSent == "" { // no task of ours has the slot
				err = l.freeSlot(ctx, s, err)
			}
			return res, err
		}
	}
	err = l.endBackup(ctx, c, s, note)
	if s.Row.TaskUPID == "" {
		err = l.freeSlot(ctx, s, err)
	}
	return pipeline.Result{}, err
}

// sendBackup requests the backup from Proxmox. The VM is looked at anew when it has waited for its turn.
func (l *Lifecycle) sendBackup(ctx context.Context, c Cluster, s *kvm.Service, note string, room func(context.Context, Cluster, *kvm.Service) error) (pipeline.Result, error) {
	_, vm, err := l.glance(ctx, s)
	if err != nil {
		return pipeline.Result{}, err
	}
	if lock := vm.VM().Lock; lock != "" {
		return pipeline.Result{Wait: fmt.Sprintf("VM %d: locked by Proxmox (%s)", s.Row.VMID, lock)}, nil
	}
	if err := backupStorage(ctx, c, s, vm.VM().Node); err != nil {
		return pipeline.Result{}, err
	}
	if err := room(ctx, c, s); err != nil {
		return pipeline.Result{}, err
	}
	tasks, err := c.OwnTasks(ctx, vm.VM().Node, s.Row.VMID, taskVzdump)
	if err != nil {
		return pipeline.Result{}, err
	}
	s.Row.BackupSent = kvm.SentTo(vm.VM().Node, lastTask(tasks))
	if err := l.Store.Save(ctx, s); err != nil {
		return pipeline.Result{}, err
	}
	err = l.begin(ctx, s, taskVzdump, func(ctx context.Context) (kvm.UPID, error) { return c.Backup(ctx, vm, s.Package.BackupStorage, note) })
	if err != nil && s.Row.TaskUPID == "" && !errors.Is(err, kvm.ErrUnknown) {
		s.Row.BackupSent = "" // it was refused
		if saveErr := l.Store.Save(context.WithoutCancel(ctx), s); saveErr != nil {
			return pipeline.Result{}, saveErr
		}
	}
	return pipeline.Result{}, err
}

// resolveBackup finds out what became of a backup that was requested and whose answer nobody has seen: its task is taken over, or
// it was never begun. The request may still wait for its turn within Proxmox: it is given the time to appear. The node that it was
// sent to is asked, wherever the VM is by now; what had begun on a node that the cluster no longer has is over.
func (l *Lifecycle) resolveBackup(ctx context.Context, c Cluster, s *kvm.Service) error {
	node, before := s.Row.Sent()
	for try := range 2 {
		tasks, err := c.OwnTasks(ctx, node, s.Row.VMID, taskVzdump)
		if err != nil && !errors.Is(err, kvm.ErrPermanent) {
			return err
		}
		if last := lastTask(tasks); last != before && last != kvm.NoTask {
			s.Row.TaskKind, s.Row.TaskUPID = taskVzdump, last
			break
		}
		if try > 0 || err != nil {
			s.Row.BackupSent = ""
			break
		}
		if err := pipeline.Waiting(ctx, func() error { return l.Clock.Sleep(ctx, cloneDoubt) }); err != nil {
			return err
		}
	}
	return l.Store.Save(ctx, s)
}

// lastTask is the last of tasks, kvm.NoTask where there is none.
func lastTask(tasks []kvm.Task) string {
	if len(tasks) == 0 {
		return kvm.NoTask
	}
	return string(tasks[len(tasks)-1].UPID)
}

// endBackup follows the task of the backup with that note, and notes what it has made. However the task ended, the archive decides:
// Proxmox gives it its name when it is whole. A task that nobody knows any more is at work as long as the VM is locked for it.
func (l *Lifecycle) endBackup(ctx context.Context, c Cluster, s *kvm.Service, note string) error {
	id := kvm.UPID(s.Row.TaskUPID)
	failed := l.follow(ctx, c, s, taskVzdump, l.Settings.Wait)
	if s.Row.TaskUPID != "" {
		return failed // it has not ended, or nobody knows
	}
	var made bool
	var err error
	if errors.Is(failed, kvm.ErrUnknown) {
		var vm kvm.Owned
		if _, vm, err = l.look(ctx, s); err == nil && vm.VM().Lock == "backup" {
			err = kvm.Errorf(kvm.ErrBusy, "VM %d: locked by Proxmox (backup), for a task that it does not know any more", s.Row.VMID)
		}
	}
	if err == nil {
		made, err = l.noteBackup(ctx, c, s, id)
	}
	if err == nil && !made && (failed == nil || errors.Is(failed, kvm.ErrUnknown)) {
		made, err = l.noteForgotten(ctx, c, s, id, func(b kvm.Backup) bool { return b.Notes == note })
	}
	if err != nil {
		s.Row.TaskKind, s.Row.TaskUPID = taskVzdump, string(id) // to be looked at again
		if saveErr := l.Store.Save(context.WithoutCancel(ctx), s); saveErr != nil {
			return saveErr
		}
		return err
	}
	s.Row.BackupSent = ""
	switch {
	case made:
		return nil
	case failed == nil:
		failed = fmt.Errorf("the task %s went well, but its archive is not there", id)
	}
	err = kvm.Errorf(kvm.ErrPermanent, "backup of VM %d: %w", s.Row.VMID, failed)
	if strings.Contains(failed.Error(), "max backup limit") { // a storage that prunes by itself, which it is not asked to
		err = kvm.WithHint(err, "let the storage keep all in Proxmox, for the packages say how many there may be: pvesm set %s --prune-backups keep-all=1", s.Package.BackupStorage)
	}
	return err
}

// noteBackup puts what the task has made into the journal; made is false where it made nothing. Errors tell that it could not be
// learned.
func (l *Lifecycle) noteBackup(ctx context.Context, c Cluster, s *kvm.Service, id kvm.UPID) (made bool, err error) {
	name, err := c.BackupMade(ctx, id)
	if errors.Is(err, kvm.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// The product's storage first. Which one the task was told only its own request knows, and the product may be another by now.
	product, node := s.Package.BackupStorage, id.Node()
	var failed error
	if product != "" {
		b, found, err := archived(ctx, c, node, product, name)
		if found {
			return l.noteProved(ctx, c, s, b)
		}
		failed = err
	}
	stores, err := c.BackupStorages(ctx, node)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(stores, func(st kvm.Storage) bool { return st.Name == product })
	switch {
	case i >= 0 && !stores[i].Active:
		return false, kvm.Errorf(kvm.ErrBusy, "the storage %s of %s, which is not active", product, node)
	case i >= 0 && failed != nil:
		return false, failed
	}
	for _, st := range stores {
		if st.Name == product || !st.Active {
			continue
		}
		b, found, err := archived(ctx, c, node, st.Name, name)
		switch {
		case err != nil:
			return false, err
		case found:
			return l.noteProved(ctx, c, s, b)
		}
	}
	return false, nil
}

// noteForgotten is noteBackup for a task of which Proxmox knows nothing any more: what it has made is the first that the journal does
// not have, that was begun after it, by the clock of its own node, and that fits.
func (l *Lifecycle) noteForgotten(ctx context.Context, c Cluster, s *kvm.Service, id kvm.UPID, fits func(kvm.Backup) bool) (made bool, err error) {
	list, _, err := l.archives(ctx, c, s)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(list, func(b kvm.Backup) bool { return !b.Own && !b.Time.Before(id.Started()) && fits(b) })
	if i < 0 || id.Started().IsZero() {
		return false, nil
	}
	return true, l.Store.NoteBackup(ctx, s, list[i])
}

// madeAtOnce is how soon after its beginning the task of a backup that waits for nobody begins to write the archive.
const madeAtOnce = time.Minute

// archived is the backup whose volume has that name on the storage, as node sees it.
func archived(ctx context.Context, c Cluster, node, storage, name string) (b kvm.Backup, found bool, err error) {
	list, err := c.Backups(ctx, node, storage, kvm.VolumeVMID(":"+name))
	if err != nil {
		return b, false, err
	}
	i := slices.IndexFunc(list, func(b kvm.Backup) bool { return b.Volume == storage+":"+name })
	if i < 0 {
		return b, false, nil
	}
	return list[i], true, nil
}

// noteProved puts b into the journal, when what is inside is s's.
func (l *Lifecycle) noteProved(ctx context.Context, c Cluster, s *kvm.Service, b kvm.Backup) (bool, error) {
	if err := c.Inside(ctx, &b); err != nil {
		return false, err
	}
	if _, err := kvm.ProveBackup(&b, &s.Row); err != nil {
		return false, nil
	}
	return true, l.Store.NoteBackup(ctx, s, b)
}

// makeRoom removes the oldest of the service's own backups until the package has room for one more. Protected ones stay.
func (l *Lifecycle) makeRoom(ctx context.Context, c Cluster, s *kvm.Service) error {
	own, err := l.ownBackups(ctx, c, s)
	if err != nil {
		return err
	}
	quota := s.Package.Backups
	if quota == 0 {
		return kvm.Errorf(kvm.ErrRefused, "the package of service %d has no backups", s.ID)
	}
	left := len(own)
	for _, b := range own {
		if left < quota {
			break
		}
		if b.Protected {
			continue
		}
		if err := l.deleteBackup(ctx, c, s, &b); err != nil {
			return err
		}
		pipeline.Say(ctx, "oldest backup removed: %s", b.Volume)
		left--
	}
	if left >= quota {
		return kvm.WithHint(kvm.Errorf(kvm.ErrRefused, "service %d has %d of %d backups, and they are protected against removal", s.ID, left, quota),
			"take the protection off one of them in Proxmox")
	}
	return nil
}

// deleteBackup proves b anew, removes it, and takes it out of the journal.
func (l *Lifecycle) deleteBackup(ctx context.Context, c Cluster, s *kvm.Service, b *kvm.Backup) error {
	err := c.Inside(ctx, b)
	if errors.Is(err, kvm.ErrNotFound) {
		return l.Store.ForgetBackup(ctx, s.ID, *b)
	}
	if err != nil {
		return err
	}
	mine, err := kvm.ProveBackup(b, &s.Row)
	if err != nil {
		return err
	}
	err = l.begin(ctx, s, taskBackup, func(ctx context.Context) (kvm.UPID, error) { return c.DeleteBackup(ctx, mine) })
	if err == nil {
		err = l.follow(ctx, c, s, taskBackup, l.Settings.Wait)
	}
	if err != nil {
		return fmt.Errorf("backup %s: %w", b.Volume, err)
	}
	return l.Store.ForgetBackup(ctx, s.ID, *b)
}
